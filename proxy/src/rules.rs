//! The HTTP caching rules as functions of values: a request head, a response head, times, and `now`.
//!
//! Nothing here reads a clock, a socket or a setting: what a rule depends on is an argument, so each is
//! tested by a table. Which rules apply, and what follows from an answer, is the policy's business; when
//! they are asked, the machines'.
//!
//! In reading order: what a response says about itself ([`cache_control`], [`date`]), whether it may be
//! kept ([`storability`]), under which key ([`key`], [`vary`]), for how long ([`freshness`]), how a request is
//! answered from it ([`conditional`], [`range`]), how it is renewed ([`revalidation`]) or dropped
//! ([`invalidation`]), and what is said about all that on the way out ([`hop_by_hop`], [`cache_status`]).

pub mod cache_control;
pub mod cache_groups;
pub mod cache_status;
pub mod conditional;
pub mod date;
pub mod entity_tag;
pub mod freshness;
pub mod hop_by_hop;
pub mod invalidation;
pub mod key;
pub mod part;
pub mod range;
pub mod request_fault;
pub mod revalidation;
pub mod status;
pub mod storability;
pub mod vary;

mod structured;
mod syntax;

#[cfg(test)]
mod tests;

//! HTTP messages as values: heads, field lists, methods. No I/O, no policy.
//!
//! Bytes become heads in [`crate::http1`] and [`crate::downstream`]; what the fields mean for caching
//! is in [`crate::rules`].

mod fields;
mod head;
mod outgoing;

pub use fields::{Field, Fields, InvalidField};
pub(crate) use fields::{Lines, alphanumeric_or, is_token, trim};
pub use head::{Method, Reason, RequestHead, ResponseHead, Scheme, Version, reason_phrase};
pub use outgoing::{OutgoingHead, Sent};

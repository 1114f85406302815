//! The API as clients meet it: the real library on port 0, a real PostgreSQL, one database per test.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers are tests too: a panic says all there is to say"
)]

mod buckets;
mod conditions;
mod failures;
mod listing;
mod multi;
mod patch;
mod program;
mod races;
mod schema;
mod server;
mod support;
mod ttl;
mod value;

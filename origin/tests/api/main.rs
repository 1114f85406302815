//! The API as clients meet it: the real library on port 0, a real PostgreSQL, one database per test.

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

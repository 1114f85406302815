//! `lacquer-origin`: keys and values over HTTP on PostgreSQL.
//!
//! HTTP types end at [`http`], `tokio_postgres` types at [`store`]; between them
//! [`kv`] holds the rules as plain functions and values. `ARCHITECTURE.md` beside
//! this crate is the map.

pub mod settings;

pub mod kv;

pub mod store;

pub mod metrics;
pub mod purge;

pub mod cluster;

pub use settings::Settings;

//! `lacquer-origin`: keys and values over HTTP on PostgreSQL.
//!
//! HTTP types end at [`http`], `tokio_postgres` types at [`store`]; between them
//! [`kv`] holds the rules as plain functions and values. `ARCHITECTURE.md` beside
//! this crate is the map.

pub mod settings;

pub mod kv;

pub mod store;

pub mod http;
pub mod metrics;
pub mod purge;
pub mod serve;

pub mod cluster;

pub mod command;

pub use serve::{Drained, Origin, ServeError, serve};
pub use settings::Settings;

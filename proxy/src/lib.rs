//! `lacquer`, the front door: a caching HTTP reverse proxy on pingora and moka.

pub mod cli;
pub mod http;
pub mod time;

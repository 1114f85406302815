//! `lacquer`, the front door: a caching HTTP reverse proxy on pingora and moka.

pub mod http;
pub mod rules;
pub mod time;

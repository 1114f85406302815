//! `lacquer`, the front door: a caching HTTP reverse proxy on pingora and moka.

pub mod backend;
pub mod downstream;
pub mod http;
pub mod http1;
pub mod time;

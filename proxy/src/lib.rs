//! `lacquer`, the front door: a caching HTTP reverse proxy on pingora and moka.

pub mod access_log;
pub mod acl;
pub mod bans;
pub mod http;
pub mod metrics;
pub mod ops;
pub mod time;
pub mod tls;

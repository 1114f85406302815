//! `lacquer`, the front door: a caching HTTP reverse proxy on pingora and moka.
//!
//! In reading order: messages as values, the bytes they are made of, the connections they come and go by, the
//! rules of caching, what is stored and how it is found, the two machines, and what watches over them.

pub mod http;
pub mod time;

pub mod http1;
pub mod http2;

pub mod backend;
pub mod downstream;

pub mod rules;

pub mod acl;
pub mod bans;
pub mod object;
pub mod store;

pub mod fetch;
pub mod front;
pub mod policy;
pub mod request;

pub mod access_log;
pub mod explain;
pub mod housekeeping;
pub mod listener;
pub mod metrics;
pub mod ops;
mod settings;
pub mod tls;
mod workers;

pub mod server;

pub mod cli;

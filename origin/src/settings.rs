//! What the library has to be told, as plain values.
//!
//! `main` fills it from the configuration file, the environment and the command line;
//! tests fill it by hand. Nothing here reads any of those.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::kv::Timestamps;

/// Cache-Control of a value, for browsers.
pub const CACHE_CONTROL: &str = "no-cache";
/// CDN-Cache-Control of a value, for shared caches (RFC 9213).
pub const CDN_CACHE_CONTROL: &str = "max-age=14400, stale-while-revalidate=300";

/// Settings of the origin. [`Default`] is what runs with no configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// The PostgreSQL behind it.
    pub postgres: PostgresSettings,
    /// Whether a write to a bucket that was never created makes it appear.
    pub auto_create_buckets: bool,
    /// Most bytes of one value, and of any request body.
    pub value_bytes_max: usize,
    /// Bytes of request bodies and large values held at once; who would exceed it waits, then gets 503.
    pub body_bytes_held_max: usize,
    /// How long a request may wait for PostgreSQL before it is answered 503.
    pub timeout: Duration,
    /// How long a client may take for a request head, between two parts of a body, and to take up an answer.
    pub client_timeout: Duration,
    /// Connections served at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long running requests may take after the signal to stop.
    pub drain_timeout: Duration,
    /// How often expired entries are removed from disk.
    pub expiry_interval: Duration,
    /// Caches (`host:port`) that are sent a PURGE after an update or a delete.
    pub purge_hosts: Vec<String>,
    /// How long one PURGE may take.
    pub purge_timeout: Duration,
    /// Cache-Control of values.
    pub cache_control: String,
    /// CDN-Cache-Control of values.
    pub cdn_cache_control: String,
    /// Buckets with settings of their own. They count as created, and win over what `bucket create` was told.
    pub buckets: BTreeMap<String, BucketSettings>,
}

/// Settings of one bucket; `None` means the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Time to live, in seconds, of a write that does not bring one.
    pub default_ttl_seconds: Option<i64>,
    /// Who dates the writes.
    pub timestamps: Option<Timestamps>,
    /// Cache-Control.
    pub cache_control: Option<String>,
    /// CDN-Cache-Control.
    pub cdn_cache_control: Option<String>,
}

/// How PostgreSQL is used.
#[derive(Clone)]
pub struct PostgresSettings {
    /// libpq key-value string or `postgresql://` address.
    pub dsn: String,
    /// Connections that answer reads.
    pub read_connections: usize,
    /// Connections that carry writes; each commits one group of writes at a time.
    pub write_connections: usize,
    /// Most reads or writes that share a statement.
    pub batch_max: usize,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
}

/// Hides the data source name, which may hold a password.
impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("dsn", &"(hidden)")
            .field("read_connections", &self.read_connections)
            .field("write_connections", &self.write_connections)
            .field("batch_max", &self.batch_max)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            dsn: String::new(),
            read_connections: 2,
            write_connections: 2,
            batch_max: 64,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            postgres: PostgresSettings::default(),
            auto_create_buckets: true,
            value_bytes_max: 64 << 20,
            body_bytes_held_max: 512 << 20,
            timeout: Duration::from_secs(10),
            client_timeout: Duration::from_secs(30),
            connections_max: 10_000,
            drain_timeout: Duration::from_secs(30),
            expiry_interval: Duration::from_secs(5),
            purge_hosts: Vec::new(),
            purge_timeout: Duration::from_secs(2),
            cache_control: CACHE_CONTROL.to_owned(),
            cdn_cache_control: CDN_CACHE_CONTROL.to_owned(),
            buckets: BTreeMap::new(),
        }
    }
}

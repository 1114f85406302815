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
    /// Where metrics are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Most bytes of one value, and of any request body.
    pub value_bytes_max: usize,
    /// Bytes of request bodies and large values held at once; who would exceed it waits, then gets 503.
    pub body_bytes_held_max: usize,
    /// How long a request may wait for PostgreSQL before it is answered 503.
    pub timeout: Duration,
    /// Longest pause between two parts of a request's body.
    pub body_read_timeout: Duration,
    /// How long a client may take for a request's head, and to take up a part of an answer.
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
    /// Whether it gets a partition of its own when the origin starts.
    pub partition: bool,
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
    /// Most connections in all; those that neither read nor write serve batches, lists and large values.
    pub connections: usize,
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
            .field("connections", &self.connections)
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
            connections: 8,
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
            metrics_listen: None,
            postgres: PostgresSettings::default(),
            auto_create_buckets: true,
            value_bytes_max: 64 << 20,
            body_bytes_held_max: 512 << 20,
            timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
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

/// From the configuration file's types. The data source name is left empty: it may come
/// from elsewhere, or from a private cluster that has to be started first.
impl From<&config::OriginConfig> for Settings {
    fn from(origin: &config::OriginConfig) -> Self {
        let bytes = |size: config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let postgres = &origin.postgres;
        let value_bytes_max = bytes(origin.value_bytes_max);
        let defaults = Self::default();
        Self {
            listen: origin.listen,
            metrics_listen: origin.metrics_address,
            postgres: PostgresSettings {
                dsn: String::new(),
                connections: postgres.connections.get() as usize,
                read_connections: postgres.read_connections.get() as usize,
                write_connections: postgres.write_connections.get() as usize,
                batch_max: postgres.batch_max.get(),
                connect_timeout: postgres.connect_timeout,
            },
            auto_create_buckets: origin.auto_create_buckets,
            value_bytes_max,
            // Room for a few of the largest values at once.
            body_bytes_held_max: defaults
                .body_bytes_held_max
                .max(value_bytes_max.saturating_mul(4)),
            timeout: origin.timeout,
            body_read_timeout: origin.body_read_timeout,
            drain_timeout: origin.drain_timeout,
            expiry_interval: origin.expiry_interval,
            purge_hosts: origin.purge_hosts.iter().map(ToString::to_string).collect(),
            purge_timeout: origin.purge_timeout,
            cache_control: origin.cache_control.to_string(),
            cdn_cache_control: origin.cdn_cache_control.to_string(),
            buckets: origin
                .buckets
                .iter()
                .map(|(name, bucket)| (name.clone(), bucket.into()))
                .collect(),
            ..defaults
        }
    }
}

impl From<&config::BucketConfig> for BucketSettings {
    fn from(bucket: &config::BucketConfig) -> Self {
        Self {
            default_ttl_seconds: bucket.default_ttl.map(|ttl| {
                i64::try_from(ttl.as_secs())
                    .unwrap_or(i64::MAX)
                    .clamp(1, crate::kv::TTL_SECONDS_MAX)
            }),
            partition: bucket.partition,
            timestamps: Some(match bucket.timestamps {
                config::Timestamps::Client => Timestamps::Client,
                config::Timestamps::Server => Timestamps::Server,
            }),
            cache_control: bucket.cache_control.as_ref().map(ToString::to_string),
            cdn_cache_control: bucket.cdn_cache_control.as_ref().map(ToString::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_reaches_the_settings() {
        let text = "
            [origin]
            listen = \"127.0.0.1:9\"
            metrics_address = \"\"
            auto_create_buckets = false
            value_bytes_max = \"1MiB\"
            timeout = \"3s\"
            purge_hosts = [\"cache.example:81\"]
            cache_control = \"max-age=1\"
            [origin.postgres]
            read_connections = 3
            write_connections = 2
            batch_max = 7
            [origin.buckets.b]
            default_ttl = \"30m\"
            timestamps = \"server\"
            partition = true
            cdn_cache_control = \"max-age=2\"
        ";
        let config = config::Config::from_str(text, "test").unwrap();
        let settings = Settings::from(&config.origin);
        assert_eq!(settings.listen.port(), 9);
        assert_eq!(settings.metrics_listen, None);
        assert!(!settings.auto_create_buckets);
        assert_eq!(settings.value_bytes_max, 1 << 20);
        assert_eq!(settings.timeout, Duration::from_secs(3));
        assert_eq!(settings.purge_hosts, ["cache.example:81"]);
        assert_eq!(settings.cache_control, "max-age=1");
        assert_eq!(settings.cdn_cache_control, CDN_CACHE_CONTROL);
        let postgres = &settings.postgres;
        assert_eq!(
            (
                postgres.read_connections,
                postgres.write_connections,
                postgres.batch_max
            ),
            (3, 2, 7)
        );
        let bucket = BucketSettings {
            default_ttl_seconds: Some(1_800),
            partition: true,
            timestamps: Some(Timestamps::Server),
            cache_control: None,
            cdn_cache_control: Some("max-age=2".to_owned()),
        };
        assert_eq!(settings.buckets, BTreeMap::from([("b".to_owned(), bucket)]));
    }

    #[test]
    fn values_are_cached_alike_with_and_without_a_file() {
        let from_file = Settings::from(&config::OriginConfig::default());
        let defaults = Settings::default();
        assert_eq!(from_file.cache_control, defaults.cache_control);
        assert_eq!(from_file.cdn_cache_control, defaults.cdn_cache_control);
        assert_eq!(from_file.value_bytes_max, defaults.value_bytes_max);
    }
}

//! The origin: keys and values over HTTP on PostgreSQL.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::ConfigError;
use crate::server::{nonzero, nonzero_u32};
use crate::setting::{named, settings};
use crate::value::{ByteSize, DirectoryName, FieldText, HostPort, Secret, choice, known};

settings! {
    /// `lacquer-origin`: keys and values over HTTP.
    pub struct OriginConfig {
        /// Address and port, `:PORT` for all addresses of both families.
        pub listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
        /// Directory of the private PostgreSQL cluster, made where it is missing. Relative to where the origin is started.
        pub data_dir: PathBuf = PathBuf::from("./data");
        /// Make a bucket when something is first written to it. Otherwise only `lacquer-origin bucket create NAME` makes
        /// one.
        pub auto_create_buckets: bool = true;
        /// Largest value (413), at most 1000MiB, which is what PostgreSQL can take.
        pub value_bytes_max: ByteSize = ByteSize::mebibytes(64);
        /// Caches that get `PURGE` for a key after each update or delete, as `host:port`. A `lacquer` in front needs none of it
        /// for writes that pass through it.
        pub purge_hosts: Vec<HostPort> = Vec::new();
        /// How long one such request may take before it counts as failed.
        pub purge_timeout: Duration = Duration::from_secs(2);
        /// How long a request waits for PostgreSQL before it gets 503.
        pub timeout: Duration = Duration::from_secs(5);
        /// Longest pause between two pieces of a request's body.
        pub body_read_timeout: Duration = Duration::from_secs(30);
        /// Cache-Control of values, meant for browsers. A bucket may have its own.
        pub cache_control: FieldText = known("no-cache");
        /// CDN-Cache-Control of values, meant for caches, which it keeps fresh because writes invalidate. Lifetimes end with the
        /// value's own expiry. A bucket may have its own.
        pub cdn_cache_control: FieldText = known("max-age=14400, stale-while-revalidate=300");
        /// How often expired keys, which readers no longer see, are removed from disk.
        pub expiry_interval: Duration = Duration::from_secs(10);
        /// How long requests may finish after SIGTERM.
        pub drain_timeout: Duration = Duration::from_secs(10);
        /// Address and port of the origin's own metrics, apart from the API so that a front door does not publish them. `""`
        /// serves none.
        pub metrics_address: Option<SocketAddr> = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9132)));
        /// PostgreSQL.
        pub postgres: PostgresConfig = PostgresConfig::default();
        /// The private cluster.
        pub cluster: ClusterConfig = ClusterConfig::default();
        /// Buckets with settings of their own.
        pub buckets: BTreeMap<String, BucketConfig> = BTreeMap::new();
    }
}

settings! {
    /// How the origin reaches PostgreSQL (13 or later).
    pub struct PostgresConfig {
        /// Where it is, such as `postgresql://user:password@host/database`. Without `dsn`, `dsn_file` and `DATABASE_URL` the
        /// origin runs a private cluster in `origin.data_dir`.
        pub dsn: Option<Secret> = None, example r#""postgresql://lacquer@db.example/lacquer""#;
        /// File that holds the DSN alone, to keep passwords out of this one.
        pub dsn_file: Option<PathBuf> = None, example r#""/etc/lacquer/dsn""#;
        /// Most connections at once in all; PostgreSQL's `max_connections` must allow them. Those left by readers and writers
        /// serve batches, lists and large values.
        pub connections: NonZeroU32 = nonzero_u32(16);
        /// How many of them read. More help only while PostgreSQL has idle cores.
        pub read_connections: NonZeroU32 = nonzero_u32(4);
        /// How many of them write. Each commits whole groups of writes, so few are fast.
        pub write_connections: NonZeroU32 = nonzero_u32(2);
        /// Most writes that share one statement and one commit.
        pub batch_max: NonZeroUsize = nonzero(256);
        /// How long to wait for a connection.
        pub connect_timeout: Duration = Duration::from_secs(5);
    }
}

impl PostgresConfig {
    /// The DSN, read from `dsn_file` where that is set; `None` means the private cluster.
    pub fn resolved_dsn(&self) -> Result<Option<Secret>, ConfigError> {
        match (&self.dsn, &self.dsn_file) {
            (Some(dsn), _) => Ok(Some(dsn.clone())),
            (None, Some(path)) => match Secret::from_file(path) {
                Ok(dsn) => Ok(Some(dsn)),
                Err(source) => Err(ConfigError::Read {
                    path: path.clone(),
                    source,
                }),
            },
            (None, None) => Ok(None),
        }
    }
}

settings! {
    /// The private PostgreSQL cluster, which the origin runs when it has no DSN.
    pub struct ClusterConfig {
        /// Its directory within `origin.data_dir`.
        pub directory: DirectoryName = known("postgres");
        /// How long it may take to start. After a crash PostgreSQL first replays its log: raise it for large ones.
        pub start_timeout: Duration = Duration::from_secs(60);
        /// How long it may take to stop before it is killed; nothing is lost by that, the next start takes longer.
        pub stop_timeout: Duration = Duration::from_secs(30);
        /// PostgreSQL's own cache. A quarter of the machine is usual where the origin has it to itself.
        pub shared_buffers: ByteSize = ByteSize::mebibytes(128);
        /// PostgreSQL's limit; keep a few above `origin.postgres.connections` for tools.
        pub max_connections: NonZeroU32 = nonzero_u32(64);
    }
}

settings! {
    /// A bucket with settings of its own; NAME is the bucket's.
    pub struct BucketConfig {
        /// Give it a partition of its own when it is made, so that dropping it is instant. For buckets with very many keys.
        pub partition: bool = false;
        /// How long its keys live when a write does not say (`Lacquer-TTL`). Without it: forever.
        pub default_ttl: Option<Duration> = None, example r#""30d""#;
        /// `client`: a write's If-Unmodified-Since becomes the time of modification. `server`: it is always the time of the write.
        pub timestamps: Timestamps = Timestamps::Client;
        /// Replaces `origin.cache_control` for it.
        pub cache_control: Option<FieldText> = None, example r#""private, max-age=60""#;
        /// Replaces `origin.cdn_cache_control` for it.
        pub cdn_cache_control: Option<FieldText> = None, example r#""max-age=60""#;
    }
}
named!(BucketConfig);

choice! {
    /// Who says when a value was modified.
    pub enum Timestamps {
        /// The client, by If-Unmodified-Since.
        Client = "client",
        /// The server's clock.
        Server = "server",
    }
}

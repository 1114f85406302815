//! What a caller may choose about the private cluster.
//!
//! Typed values only: the configuration file and the environment are read elsewhere.

use std::path::PathBuf;
use std::time::Duration;

/// How a private cluster is found, started, sized and stopped.
///
/// Only `data_dir` has no default; see [`ClusterOptions::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The folder that keeps everything: the database, its log, its socket and the lock. Created where missing.
    pub data_dir: PathBuf,
    /// The folder with `postgres` and `initdb`. `None`: `LACQUER_PG_BIN`, then Debian's versioned folders, then `PATH`.
    pub bin_dir: Option<PathBuf>,
    /// How long the first start may take, `initdb` and crash recovery included, and how long each restart may.
    /// Raise it for a cluster of many gigabytes: recovery after a crash must fit in it.
    pub start_timeout: Duration,
    /// How long PostgreSQL may take to end cleanly before it is told to end at once (which costs a recovery at the
    /// next start, and no data).
    pub stop_timeout: Duration,
    /// Memory that PostgreSQL keeps for pages, in bytes.
    pub shared_buffers_bytes: u64,
    /// Connections that PostgreSQL accepts at once. Must be above the origin's own pool; three more are kept for
    /// maintenance.
    pub max_connections: u32,
    /// Whether an acknowledged commit survives a crash. Anything but [`Durability::Full`] is for tests.
    pub durability: Durability,
    /// Further settings of PostgreSQL, by name. They come before those that this module depends on (the socket, the
    /// log, durability), so they cannot override them.
    pub settings: Vec<(String, String)>,
    /// The program that answers to the hidden mode of [`super::shim`]. `None`: the running program itself, which must
    /// then call [`super::shim::run_if_asked`] first in its `main`. Tests name the `lacquer-origin` binary here.
    pub shim: Option<PathBuf>,
}

impl ClusterOptions {
    /// The defaults for a cluster in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> ClusterOptions {
        ClusterOptions {
            data_dir: data_dir.into(),
            bin_dir: None,
            start_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(30),
            shared_buffers_bytes: 128 << 20,
            max_connections: 100,
            durability: Durability::Full,
            settings: Vec::new(),
            shim: None,
        }
    }
}

/// What a commit promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `fsync` and `synchronous_commit` on: an acknowledged commit survives the machine's death.
    #[default]
    Full,
    /// Nothing is forced to disk. A crash of the machine may destroy the whole cluster: for test data only.
    Throwaway,
}

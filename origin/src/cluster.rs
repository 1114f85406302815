//! The private PostgreSQL: for a laptop and for tests, a cluster that the origin starts, watches and ends itself.
//!
//! It owns a data folder ([`folder`]) and one server process on it. It knows nothing of tables, keys or HTTP: whoever
//! starts it gets a connection string, the same thing that `DATABASE_URL` would have been.
//!
//! What it promises:
//!
//! - The server listens on a Unix socket only, in a folder that only its account can enter; the kernel vouches for the
//!   client's account, and there is no password ([`access`], [`socket`]).
//! - An acknowledged commit is on disk ([`Durability::Full`]).
//! - The server does not outlive the origin, however that ends: the kernel sends it a fast shutdown when the thread
//!   that started it is gone ([`shim`], [`supervisor`]).
//! - A server that dies is started again, with growing pauses ([`supervisor`]).
//! - Nothing that a crash leaves blocks the next start: half an `initdb` ([`initdb`]), a stale pid file or socket, a
//!   server or some of its processes that still run ([`remains`]).
//! - Two origins never share a data folder: the second is told which process holds it ([`folder`]).
//! - Root never runs PostgreSQL; it lends it an account ([`account`]).
//!
//! Start reading at [`supervisor`].

mod access;
mod account;
mod binaries;
mod error;
mod folder;
mod hold;
mod initdb;
mod log;
mod options;
mod remains;
mod server;
pub mod shim;
mod socket;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;

use std::path::{Path, PathBuf};

use tokio::sync::{oneshot, watch};

pub use error::ClusterError;
pub use options::{ClusterOptions, Durability};
pub use server::Ending;
pub use supervisor::ClusterState;

/// A running private cluster.
///
/// Dropping it tells the server to end and does not wait; [`Cluster::stop`] waits.
#[derive(Debug)]
pub struct Cluster {
    socket_folder: PathBuf,
    state: watch::Receiver<ClusterState>,
    stop: watch::Sender<bool>,
}

impl Cluster {
    /// Starts PostgreSQL on `options.data_dir`, which is created where missing, and returns once it answers.
    ///
    /// Dropping the future ends whatever was started.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] says what to do about it. Nothing is left running.
    pub async fn start(options: ClusterOptions) -> Result<Cluster, ClusterError> {
        let (ready, is_ready) = oneshot::channel();
        let (state, state_seen) = watch::channel(ClusterState::Starting);
        let (stop, stop_asked) = watch::channel(false);
        let data_dir = options.data_dir.clone();
        let channels = supervisor::Channels {
            ready,
            state,
            stop: stop_asked,
        };
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || supervisor::run(options, channels))
            .map_err(ClusterError::io("start a thread for", &data_dir))?;
        let ready = is_ready.await.unwrap_or(Err(ClusterError::Stopped))?;
        Ok(Cluster {
            socket_folder: ready.socket_folder,
            state: state_seen,
            stop,
        })
    }

    /// The connection string of the cluster in `data_dir` that another process runs.
    ///
    /// # Errors
    ///
    /// The folder cannot be read. Whether the cluster answers, the connection will tell.
    pub fn dsn_of_running(data_dir: &Path) -> std::io::Result<String> {
        let socket_folder = socket::of_running(&data_dir.canonicalize()?)?;
        Ok(access::dsn(&socket_folder, access::NAME, access::NAME))
    }

    /// The connection string (libpq's `key=value` form) of the origin's own database, as its owner, who is no superuser.
    pub fn dsn(&self) -> String {
        access::dsn(&self.socket_folder, access::NAME, access::NAME)
    }

    /// The connection string of the superuser, for maintenance and tests.
    pub fn admin_dsn(&self) -> String {
        access::dsn(&self.socket_folder, access::ADMIN, "postgres")
    }

    /// The folder of the Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.socket_folder
    }

    /// What the cluster is doing, now and from now on.
    pub fn state(&self) -> watch::Receiver<ClusterState> {
        self.state.clone()
    }

    /// Ends PostgreSQL and waits until it has ended and the data folder is free: within `stop_timeout` in order, else
    /// harder, and sixteen seconds later at the latest.
    ///
    /// Close the connections first: it waits up to two seconds for them before it cuts them.
    pub async fn stop(mut self) -> Ending {
        self.stop.send_replace(true);
        let stopped = self
            .state
            .wait_for(|state| matches!(state, ClusterState::Stopped(_)))
            .await;
        match stopped.as_deref() {
            Ok(ClusterState::Stopped(ending)) => *ending,
            // The thread is gone without a word: it panicked, and took the server with it.
            _ => Ending::Failed,
        }
    }
}

//! The cluster that many test processes share: a process of its own that holds it for as long as somebody uses it.
//!
//! ```text
//! <folder>/users      test processes hold a shared lock on it, as long as they live
//! <folder>/holder     the holder holds an exclusive lock on it
//! <folder>/dsn        the superuser's connection string, while the cluster is up
//! <folder>/run-XXXXXX the cluster's data folder, new for each holder
//! ```
//!
//! Locks and not connections say who uses it: the kernel gives them back however a process ends, and the holder that
//! gets an exclusive lock on `users` knows that nobody comes in while it leaves.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::mkdtemp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::socket::{NOTE, forget_noted};
use super::{Cluster, ClusterOptions, Durability};

/// The first argument that turns `lacquer-origin` into the holder: `internal-hold FOLDER SECONDS`.
pub(crate) const MODE: &str = "internal-hold";

const LOOK_EVERY: Duration = Duration::from_millis(500);
const RUN_PREFIX: &str = "run-";

/// The files of a folder that a holder serves.
#[derive(Clone, Debug)]
pub(crate) struct SharedFolder {
    pub(crate) root: PathBuf,
}

impl SharedFolder {
    pub(crate) fn dsn_file(&self) -> PathBuf {
        self.root.join("dsn")
    }

    pub(crate) fn open_users(&self) -> std::io::Result<File> {
        open_lock(&self.root.join("users"))
    }

    fn open_holder(&self) -> std::io::Result<File> {
        open_lock(&self.root.join("holder"))
    }
}

pub(crate) fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Holds a cluster until nobody has used it for the given number of seconds.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let usage = || format!("{MODE}: give a folder and a number of seconds");
    let root = PathBuf::from(args.next().ok_or_else(usage)?);
    let idle = args
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .ok_or_else(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|problem| problem.to_string())?;
    runtime
        .block_on(hold(&SharedFolder { root }, Duration::from_secs(idle)))
        .map_err(|problem| format!("{problem:#}"))
}

async fn hold(folder: &SharedFolder, idle: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let holder = folder.open_holder()?;
    // An older holder that was killed leaves the lock at once; one that is leaving, soon.
    holder.lock()?;
    remove_old_runs(&folder.root);
    let data_dir = mkdtemp(&folder.root.join(format!("{RUN_PREFIX}XXXXXX")))?;
    // The server account must pass; what it may not read is closed further down.
    std::fs::set_permissions(&data_dir, Permissions::from_mode(0o755))?;
    let mut options = ClusterOptions::new(&data_dir);
    options.durability = Durability::Throwaway;
    options.max_connections = 300;
    let cluster = Cluster::start(options).await?;
    let new = folder.root.join("dsn.new");
    std::fs::write(&new, cluster.admin_dsn())?;
    std::fs::rename(&new, folder.dsn_file())?;

    let users = folder.open_users()?;
    let mut unused_since = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            () = sleep(LOOK_EVERY) => {}
        }
        if users.try_lock().is_err() {
            unused_since = Instant::now();
        } else if unused_since.elapsed() >= idle {
            // Kept until the end: who comes now waits, and then starts a holder of its own.
            break;
        } else {
            users.unlock()?;
        }
    }
    std::fs::remove_file(folder.dsn_file())?;
    cluster.stop().await;
    std::fs::remove_dir_all(&data_dir)?;
    Ok(())
}

fn remove_old_runs(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(RUN_PREFIX))
    {
        let run = entry.path();
        if let Ok(database) = std::fs::symlink_metadata(run.join("pgdata")) {
            forget_noted(&run.join(NOTE), database.uid());
        }
        // A server that is still ending may hold on to a file; the next holder tries again.
        let _ = std::fs::remove_dir_all(run);
    }
    let _ = std::fs::remove_file(root.join("dsn"));
}

//! A new database folder: made beside its place and moved there when whole.

use std::fs::File;
use std::path::Path;

use nix::unistd::mkdtemp;
use tokio::time::timeout;

use super::access::write_rules;
use super::error::ClusterError;
use super::folder::{DataFolder, hand_over, open_folder, path_for};
use super::log::ServerLog;
use super::server::{Launcher, describe};

const UNFINISHED: &str = "pgdata.new-";

/// Makes `pgdata`. Dropping the future ends `initdb`; what it leaves, the next start removes.
pub(crate) async fn create(
    folder: &DataFolder,
    launcher: &Launcher,
    log: &mut ServerLog,
) -> Result<(), ClusterError> {
    let root = folder.root();
    let new =
        mkdtemp(&root.join(format!("{UNFINISHED}XXXXXX"))).map_err(|errno| ClusterError::Io {
            action: "create a folder in",
            path: root.to_path_buf(),
            source: errno.into(),
        })?;
    let made = initialise(&new, launcher, log).await;
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&new);
    }
    made?;
    let pgdata = folder.pgdata();
    std::fs::rename(&new, &pgdata).map_err(ClusterError::io("create", &pgdata))?;
    File::open(root)
        .and_then(|root| root.sync_all())
        .map_err(ClusterError::io("force to disk", root))
}

async fn initialise(
    new: &Path,
    launcher: &Launcher,
    log: &mut ServerLog,
) -> Result<(), ClusterError> {
    let account = &launcher.account;
    let folder = open_folder(new).map_err(ClusterError::io("open", new))?;
    hand_over(&folder, account).map_err(ClusterError::io("hand over", new))?;
    log.mark();
    let mut child = launcher.initdb(&path_for(account, new)?, folder, log)?;
    let waited = launcher.options.start_timeout;
    let failed = |status| ClusterError::Init {
        status,
        log: log.path().to_path_buf(),
        tail: log.tail(),
    };
    match timeout(waited, child.wait()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(status) => return Err(failed(describe(&status))),
        Err(_) => {
            let _ = child.kill().await;
            return Err(failed(format!("not done after {} s", waited.as_secs())));
        }
    }
    write_rules(new, account)
}

/// Removes what an `initdb` that was interrupted has left.
pub(crate) fn remove_unfinished(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED))
    {
        let path = entry.path();
        match std::fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::info!(folder = %path.display(), "removed an initdb that had not finished")
            }
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "cannot remove an initdb that had not finished")
            }
        }
    }
}

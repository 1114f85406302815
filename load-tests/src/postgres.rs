//! PostgreSQL for the origin: a database of the cluster that tests share, or a private one that may be killed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use origin::cluster::Cluster;
pub use origin::cluster::testing::{TestDatabase, private_options};

/// The server process of the private cluster below a data folder, by the pid file that PostgreSQL keeps.
pub fn server_pid(data_dir: &Path) -> Result<u32> {
    let file = find(data_dir, "postmaster.pid", 3)
        .with_context(|| format!("no postmaster.pid below {}", data_dir.display()))?;
    let text = std::fs::read_to_string(&file)?;
    let first = text.lines().next().unwrap_or_default();
    first
        .trim()
        .parse()
        .with_context(|| format!("{}: {first:?}", file.display()))
}

fn find(folder: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let here = folder.join(name);
    if here.is_file() {
        return Some(here);
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let folders = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    if depth == 0 {
        None
    } else {
        folders
            .into_iter()
            .find_map(|path| find(&path, name, depth - 1))
    }
}

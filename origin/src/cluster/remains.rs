//! What an earlier origin or server may have left, and how the next start gets past it.
//!
//! The server and all of its children inherit a lock on the database's folder (see [`super::shim`]). While any of them
//! lives, on whatever terminal, in whatever container, the lock is taken; once we hold it, none does, and a
//! `postmaster.pid` can only be a leftover. Process ids are used to end a leftover server, never to conclude that
//! there is none.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::error::ClusterError;
use super::folder::{open_folder, read_small};

/// The setting that every server of ours carries on its command line, with the database's folder as its value.
pub(crate) const MARK: &str = "lacquer.data_dir";

const POLL_EVERY: Duration = Duration::from_millis(50);

/// How patient to be with a server that was left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long it may take to end in order.
    pub(crate) in_order: Duration,
    /// How long each of the harder signals has to work.
    pub(crate) harder: Duration,
}

/// Waits for, and ends, any server that still runs on `pgdata`; then removes what it left there. The returned
/// descriptor carries the lock that the next server inherits.
pub(crate) async fn clear(pgdata: &Path, patience: Patience) -> Result<File, ClusterError> {
    let Patience { in_order, harder } = patience;
    let began = Instant::now();
    let signals = [
        (Duration::ZERO, Signal::SIGINT),
        (in_order, Signal::SIGQUIT),
        (in_order + harder, Signal::SIGKILL),
    ];
    let mut signals = signals.into_iter().peekable();
    loop {
        let folder =
            open_folder(pgdata).map_err(ClusterError::io("open the database's folder", pgdata))?;
        let locked = match folder.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => {
                return Err(ClusterError::Io {
                    action: "lock",
                    path: pgdata.to_path_buf(),
                    source,
                });
            }
        };
        let servers = Servers::on(pgdata);
        if locked && servers.is_empty() {
            remove_misleading_pid_file(pgdata)?;
            return Ok(folder);
        }
        if let Some((_, signal)) = signals.next_if(|(due, _)| began.elapsed() >= *due) {
            tracing::warn!(folder = %pgdata.display(), processes = %servers, %signal, "an older PostgreSQL still runs on the data; ending it");
            servers.signal_roots(signal);
        } else if signals.peek().is_none() && began.elapsed() >= in_order + 2 * harder {
            return Err(ClusterError::StillRunning {
                folder: pgdata.to_path_buf(),
                pids: servers.to_string(),
            });
        }
        sleep(POLL_EVERY).await;
    }
}

/// Removes a `postmaster.pid` that PostgreSQL would take for a running server: one that names a living process, which
/// is a stranger (the number was given out again, or is of another boot or container), or one that names nothing.
///
/// Any other leftover stays, because PostgreSQL removes it itself and uses it to look for shared memory in use.
fn remove_misleading_pid_file(pgdata: &Path) -> Result<(), ClusterError> {
    let path = pgdata.join("postmaster.pid");
    let text = match read_small(&path) {
        Ok(text) => text,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => String::new(),
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<i32>().ok())
        .map(i32::abs);
    let harmless = pid.is_some_and(|pid| {
        pid > 1 && kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
    });
    if harmless {
        return Ok(());
    }
    tracing::info!(file = %path.display(), pid, "removing a stale pid file");
    std::fs::remove_file(&path).map_err(ClusterError::io("remove the stale", &path))
}

/// The PostgreSQL processes on one database folder, as far as `/proc` shows them.
#[derive(Debug, Default)]
struct Servers {
    /// Process and parent.
    processes: Vec<(i32, i32)>,
}

impl Servers {
    fn on(pgdata: &Path) -> Servers {
        let Ok(folder) = std::fs::metadata(pgdata) else {
            return Servers::default();
        };
        let own = std::process::id();
        let pids = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let processes = pids
            .filter(|pid| *pid != own && is_server_on(*pid, &folder, pgdata))
            .filter_map(|pid| Some((i32::try_from(pid).ok()?, parent_of(pid)?)))
            .collect();
        Servers { processes }
    }

    fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Signals the servers, and children whose server is gone; a server passes it on to its own.
    fn signal_roots(&self, signal: Signal) {
        let all: BTreeSet<i32> = self.processes.iter().map(|(pid, _)| *pid).collect();
        for (pid, _) in self
            .processes
            .iter()
            .filter(|(_, parent)| !all.contains(parent))
        {
            // It may have ended meanwhile, which is as good.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }
}

impl std::fmt::Display for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.processes.is_empty() {
            return f.write_str("none visible from here");
        }
        let pids: Vec<String> = self
            .processes
            .iter()
            .map(|(pid, _)| pid.to_string())
            .collect();
        f.write_str(&pids.join(", "))
    }
}

/// By its name and, where we may see it, its working folder; else by the mark on its command line.
fn is_server_on(pid: u32, folder: &std::fs::Metadata, pgdata: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    if !read_small(&proc.join("comm"))
        .is_ok_and(|name| ["postgres", "postmaster"].contains(&name.trim()))
    {
        return false;
    }
    match std::fs::metadata(proc.join("cwd")) {
        Ok(cwd) => (cwd.dev(), cwd.ino()) == (folder.dev(), folder.ino()),
        Err(_) => {
            let mark = [MARK.as_bytes(), b"=", pgdata.as_os_str().as_bytes()].concat();
            let mut line = Vec::new();
            let read = File::open(proc.join("cmdline"))
                .and_then(|file| file.take(1 << 16).read_to_end(&mut line));
            read.is_ok() && line.split(|byte| *byte == 0).any(|arg| arg == mark)
        }
    }
}

fn parent_of(pid: u32) -> Option<i32> {
    parse_parent(&read_small(&Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
}

/// `pid (name) state parent …`, see proc_pid_stat(5); the name may hold anything, so the last parenthesis counts. A
/// process that has ended and only waits to be noticed (`Z`) is none any more.
fn parse_parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_past_any_name() {
        fn check(stat: &str, expected: Option<i32>) {
            assert_eq!(parse_parent(stat), expected, "{stat}");
        }
        check("12 (postgres) S 7 12 12 0", Some(7));
        check("12 (a) R 3 (b)) S 7 12", Some(7));
        check("12 (postgres) Z 7 12", None);
        check("12 (postgres)", None);
        check("", None);
    }

    #[test]
    fn only_a_pid_file_that_misleads_is_removed() {
        fn check(text: &str, expected: Leftover) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("postmaster.pid");
            std::fs::write(&path, text).unwrap();
            remove_misleading_pid_file(dir.path()).unwrap();
            assert_eq!(path.exists(), expected == Leftover::Stays, "{text:?}");
        }
        let ours = std::process::id();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        check(&format!("{ours}\n/somewhere\n"), Leftover::Goes);
        check(&format!("-{ours}\n"), Leftover::Goes);
        check("1\n", Leftover::Goes);
        check("", Leftover::Goes);
        check("not a number\n", Leftover::Goes);
        check(&format!("{dead}\n/somewhere\n"), Leftover::Stays);
        remove_misleading_pid_file(Path::new("/nonexistent")).unwrap();
    }

    #[derive(Debug, PartialEq)]
    enum Leftover {
        Goes,
        Stays,
    }

    #[tokio::test]
    async fn a_free_folder_is_locked_at_once_and_a_held_one_is_refused_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let patience = Patience {
            in_order: Duration::from_millis(60),
            harder: Duration::from_millis(60),
        };
        let held = clear(dir.path(), patience).await.unwrap();
        let refused = clear(dir.path(), patience).await.unwrap_err();
        assert!(
            matches!(&refused, ClusterError::StillRunning { pids, .. } if pids == "none visible from here"),
            "{refused:?}"
        );
        drop(held);
        clear(dir.path(), patience).await.unwrap();
    }
}

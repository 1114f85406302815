//! The two programs as child processes: `initdb` once, `postgres` for as long as it serves.
//!
//! Both are started through the shim, with a clean environment, in a process group of their own (so that Ctrl-C on a
//! terminal reaches the origin alone, which then ends the server in order).

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::access::ADMIN;
use super::account::Account;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::log::ServerLog;
use super::options::{ClusterOptions, Durability};
use super::remains::MARK;
use super::shim::{Exec, own_program};

/// How long a server that was told to end at once may take. It gives its own children five seconds before it kills them.
const IMMEDIATE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long clients may finish before they are disconnected.
const SMART_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// What both programs need.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) options: ClusterOptions,
    pub(crate) account: Account,
    pub(crate) binaries: Binaries,
}

impl Launcher {
    /// Starts the server on `pgdata`, which it knows as `known_as`. `lock` becomes the server's and its children's.
    ///
    /// **Invariant:** called on the thread that lives as long as the server, because the death signal is sent when
    /// that thread ends, not when the process does (prctl(2), `PR_SET_PDEATHSIG`).
    pub(crate) fn postgres(
        &self,
        pgdata: &Path,
        known_as: &Path,
        socket_folder: &Path,
        lock: File,
        log: &ServerLog,
    ) -> Result<Child, ClusterError> {
        let mut args: Vec<OsString> = vec!["-D".into(), known_as.into()];
        for (name, value) in settings(&self.options, socket_folder) {
            args.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        let mut mark = OsString::from(format!("{MARK}="));
        mark.push(pgdata);
        args.extend(["-c".into(), mark]);
        // Fast shutdown: the origin is gone, so nobody waits for the answers, and a clean end spares the next start a recovery.
        self.spawn(self.binaries.postgres(), args, Signal::SIGINT, lock, log)
    }

    /// Starts `initdb` on an empty folder, which it knows as `known_as`.
    pub(crate) fn initdb(
        &self,
        known_as: &Path,
        folder: File,
        log: &ServerLog,
    ) -> Result<Child, ClusterError> {
        let mut args: Vec<OsString> = vec!["-D".into(), known_as.into()];
        // The C collation: keys are listed in the order of their bytes, and an index serves prefixes, everywhere alike.
        args.extend(
            [
                "--username",
                ADMIN,
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
            ]
            .map(OsString::from),
        );
        args.extend(["--auth-local=peer", "--auth-host=reject"].map(OsString::from));
        if self.options.durability == Durability::Throwaway {
            args.push("--no-sync".into());
        }
        self.spawn(self.binaries.initdb(), args, Signal::SIGKILL, folder, log)
    }

    fn spawn(
        &self,
        program: PathBuf,
        args: Vec<OsString>,
        death_signal: Signal,
        folder: File,
        log: &ServerLog,
    ) -> Result<Child, ClusterError> {
        let exec = Exec {
            parent: std::process::id(),
            death_signal,
            run_as: self.account.run_as(),
            keep_folder: true,
            program,
            args,
        };
        let shim = self.options.shim.as_deref().unwrap_or(own_program());
        Command::new(shim)
            .arg0("lacquer-origin")
            .args(exec.to_args())
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("LC_ALL", "C"),
                ("TZ", "UTC"),
            ])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(folder))
            .stdout(Stdio::from(log.writer()?))
            .stderr(Stdio::from(log.writer()?))
            .kill_on_drop(true)
            .spawn()
            .map_err(ClusterError::io("run", shim))
    }
}

/// What the server is told on its command line; a later one wins, and all win over `postgresql.conf`.
fn settings(options: &ClusterOptions, socket_folder: &Path) -> Vec<(String, String)> {
    let sized = [
        (
            "shared_buffers",
            format!("{}kB", (options.shared_buffers_bytes / 1024).max(128)),
        ),
        ("max_connections", options.max_connections.to_string()),
    ];
    // For many short statements on a fast disk.
    let tuned = [
        ("jit", "off"),
        ("random_page_cost", "1.1"),
        ("update_process_title", "off"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
    ];
    let on = match options.durability {
        Durability::Full => "on",
        Durability::Throwaway => "off",
    };
    let fixed = [
        ("listen_addresses", String::new()),
        (
            "unix_socket_directories",
            socket_folder.display().to_string(),
        ),
        ("unix_socket_permissions", "0700".to_owned()),
        ("port", super::socket::PORT.to_string()),
        ("fsync", on.to_owned()),
        ("full_page_writes", on.to_owned()),
        ("synchronous_commit", on.to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("restart_after_crash", "on".to_owned()),
        ("cluster_name", "lacquer".to_owned()),
    ];
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    let tuned = tuned
        .into_iter()
        .map(|(name, value)| owned((name, value.to_owned())));
    let sized = sized.into_iter().map(owned);
    sized
        .chain(tuned)
        .chain(options.settings.iter().cloned())
        .chain(fixed.into_iter().map(owned))
        .collect()
}

/// Ends a server and waits until it has ended: politely, then without waiting for its clients, then at once.
pub(crate) async fn end(child: &mut Child, stop_timeout: Duration) -> Ending {
    let smart = (stop_timeout / 3).min(SMART_TIMEOUT_MAX);
    let steps = [
        (Signal::SIGTERM, smart, Ending::Clean),
        (
            Signal::SIGINT,
            stop_timeout.saturating_sub(smart),
            Ending::Clean,
        ),
        (Signal::SIGQUIT, IMMEDIATE_TIMEOUT, Ending::Immediate),
        (Signal::SIGKILL, IMMEDIATE_TIMEOUT, Ending::Killed),
    ];
    for (signal, patience, ending) in steps {
        signal_child(child, signal);
        match timeout(patience, child.wait()).await {
            Ok(Ok(status)) if status.success() || ending != Ending::Clean => return ending,
            // It ended by itself in between, or would rather crash.
            Ok(_) => return Ending::Failed,
            Err(_) => {}
        }
    }
    Ending::Stuck
}

/// How a server ended when told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: the next start needs no recovery.
    Clean,
    /// At once, after it had not ended in order within the time it had.
    Immediate,
    /// By `SIGKILL`.
    Killed,
    /// With an error of its own.
    Failed,
    /// Not at all: the kernel holds it, in an I/O operation that does not return.
    Stuck,
}

/// Does nothing once the child was waited for, so never hits a stranger with the same number.
fn signal_child(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// For messages: `exit status: 1`, `signal: 9 (SIGKILL)`.
pub(crate) fn describe(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(problem) => format!("cannot tell how: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(options: &ClusterOptions, name: &str) -> String {
        let all = settings(options, Path::new("/run/x"));
        all.into_iter().rfind(|(known, _)| known == name).unwrap().1
    }

    #[test]
    fn own_settings_tune_but_do_not_undo_what_the_cluster_promises() {
        let mut options = ClusterOptions::new("/data");
        options.settings = [
            ("jit", "on"),
            ("fsync", "off"),
            ("listen_addresses", "*"),
            ("max_connections", "7"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        fn check(options: &ClusterOptions, name: &str, expected: &str) {
            assert_eq!(effective(options, name), expected, "{name}");
        }
        check(&options, "jit", "on");
        check(&options, "max_connections", "7");
        check(&options, "fsync", "on");
        check(&options, "synchronous_commit", "on");
        check(&options, "listen_addresses", "");
        check(&options, "unix_socket_directories", "/run/x");
        check(&options, "shared_buffers", "131072kB");
        options.durability = Durability::Throwaway;
        check(&options, "fsync", "off");
    }
}

//! One of the programs as a process: started, watched, signalled, and ended with the test.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end in order before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(8);
const RUN_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);
/// How much of a log a failed test shows.
const LOG_BYTES_SHOWN: usize = 16 << 10;
/// Variables that would change what the programs do.
const CLEARED: [&str; 6] = [
    "DATABASE_URL",
    "LACQUER_CONFIG",
    "LOG",
    "VARNISH_PURGE_HOST",
    "VARNISH_PURGE_PORT",
    "XDG_RUNTIME_DIR",
];

/// The path of a program of this workspace, built with the same profile as the running test.
///
/// # Panics
/// When it is not there: tests of this package do not build the programs of the others.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/<profile>/deps");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "no {}: `make test` builds it; by hand: `cargo build --workspace --bins`",
        path.display()
    );
    path
}

/// What a program that ends by itself has said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program of this workspace to its end, with variables on top of a clean environment.
///
/// # Panics
/// When it does not end within twenty seconds.
pub async fn run<A: AsRef<OsStr>>(
    name: &str,
    args: &[A],
    folder: &Path,
    variables: &[(&str, &str)],
) -> Outcome {
    let mut command = tokio::process::Command::new(program(name));
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for variable in CLEARED {
        command.env_remove(variable);
    }
    command.envs(variables.iter().copied());
    let output = tokio::time::timeout(RUN_TIMEOUT, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("{name} does not end"))
        .expect("it can be started");
    Outcome {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running program. Dropping it ends it: by SIGTERM, then by SIGKILL.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
}

impl Process {
    /// Starts a program of this workspace in `folder`, with its output in `folder/<log>.log`.
    pub fn start<A: AsRef<OsStr>>(name: &str, args: &[A], folder: &Path, log: &str) -> Process {
        Process::start_with(name, args, folder, log, &[])
    }

    /// The same, with variables on top of a clean environment.
    pub fn start_with<A: AsRef<OsStr>>(
        name: &str,
        args: &[A],
        folder: &Path,
        log: &str,
        variables: &[(&str, &str)],
    ) -> Process {
        let log = folder.join(format!("{log}.log"));
        let output = File::create(&log)
            .unwrap_or_else(|problem| panic!("create {}: {problem}", log.display()));
        let again = output.try_clone().expect("an open file can be cloned");
        let mut command = Command::new(program(name));
        command
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(again);
        for variable in CLEARED {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied());
        let child = command
            .spawn()
            .unwrap_or_else(|problem| panic!("start {name}: {problem}"));
        Process {
            name: name.to_owned(),
            child,
            status: None,
            log,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = i32::try_from(self.pid()).expect("process ids are small");
            kill(Pid::from_raw(pid), signal)
                .unwrap_or_else(|problem| panic!("{signal} to {}: {problem}", self.name));
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only when it has ended.
        let _ = self.child.kill();
        self.status = self.child.wait().ok();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        self.status
    }

    /// Waits for its end.
    pub async fn ends_within(&mut self, wait: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + wait;
        while self.ended().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL_EVERY).await;
        }
        self.ended()
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the process ends first, or the time is up.
    pub async fn wait_until<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        wait: Duration,
        ready: impl Fn() -> F,
    ) {
        let deadline = Instant::now() + wait;
        while !ready().await {
            if let Some(status) = self.ended() {
                panic!(
                    "{} ended ({status}) before {what}:\n{}",
                    self.name,
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "{}: not {what} after {wait:?}:\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + END_TIMEOUT;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                self.kill();
            }
            std::thread::sleep(POLL_EVERY);
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log
                .char_indices()
                .map(|(at, _)| at)
                .find(|at| log.len() - at <= LOG_BYTES_SHOWN)
                .unwrap_or(0);
            eprintln!(
                "--- log of {} (pid {}, {:?}):\n{}",
                self.name,
                self.pid(),
                self.status,
                &log[from..]
            );
        }
    }
}

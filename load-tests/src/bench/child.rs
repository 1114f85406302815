//! Programs that the benchmark starts, bound to a core and ended with it.
//!
//! Each is started through `setpriv --pdeathsig`, so that it goes even when the benchmark is killed, and `taskset`; both
//! end by becoming the program, so the process id is the program's own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const END_TIMEOUT: Duration = Duration::from_secs(8);
const POLL_EVERY: Duration = Duration::from_millis(2);
const LOG_BYTES_SHOWN: usize = 4 << 10;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether someone has asked the benchmark to end.
///
/// # Errors
/// When so.
pub fn check_interrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Makes SIGINT, SIGTERM and SIGHUP end the benchmark in order: everything that waits notices, and what runs is ended
/// by its guard.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn end_in_order_on_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let watch = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)?;
    Ok(())
}

/// How a program is called.
#[derive(Clone, Debug)]
pub struct Call {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub variables: Vec<(String, OsString)>,
    /// What `taskset --cpu-list` takes.
    pub cores: String,
}

impl Call {
    pub fn new(program: impl Into<PathBuf>, cores: impl Into<String>) -> Call {
        Call {
            program: program.into(),
            args: Vec::new(),
            variables: Vec::new(),
            cores: cores.into(),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Call {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Call {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.variables
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }
}

/// A running program. Dropping it ends it: by SIGTERM, then by SIGKILL.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program in `folder`; what it says goes to `folder/NAME.log`. To be called from the main thread: the
    /// program is signalled when the thread that started it ends.
    ///
    /// # Errors
    /// When it, `setpriv` or `taskset` is missing.
    pub fn start(name: &str, call: &Call, folder: &Path) -> Result<Running> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let again = output.try_clone()?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &call.cores])
            .arg(&call.program)
            .args(&call.args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(again);
        for variable in ["LACQUER_CONFIG", "RUST_LOG", "XDG_RUNTIME_DIR"] {
            command.env_remove(variable);
        }
        command.envs(call.variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Running {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has said.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_BYTES_SHOWN);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    /// All that it has said.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the program ends first, or the time is up.
    pub fn wait_until(&mut self, wait: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + wait;
        while !ready() {
            check_interrupted()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended ({status}):\n{}", self.name, self.log());
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready after {wait:?}:\n{}", self.name, self.log());
            }
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait(&mut self, wait: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            check_interrupted()?;
            if Instant::now() >= deadline {
                bail!(
                    "{} has not ended after {wait:?}:\n{}",
                    self.name,
                    self.log()
                );
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn end(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(patience)
    }

    fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.pid()).expect("process ids are small");
            // Fails only when it has ended.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = super::cpu::family(self.pid());
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + END_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // A master that has to be killed leaves its workers behind.
                for pid in &family {
                    let pid = i32::try_from(*pid).expect("process ids are small");
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

/// Runs a program to its end and returns what it has said on standard output.
///
/// # Errors
/// When it fails or takes too long.
pub fn output_of(name: &str, call: &Call, folder: &Path, patience: Duration) -> Result<String> {
    let mut running = Running::start(name, call, folder)?;
    let status = running.wait(patience)?;
    ensure!(
        status.success(),
        "{name} has failed ({status}):\n{}",
        running.log()
    );
    Ok(String::from_utf8_lossy(&std::fs::read(running.log_path())?).into_owned())
}

/// Where a program lies, looked for on the PATH and where Debian keeps servers.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

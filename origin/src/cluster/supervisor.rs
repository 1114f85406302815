//! The thread that owns the server: starts it, waits for it, starts it again when it dies, and ends it.
//!
//! It is a thread and not a task because the kernel ties the server's life to the thread that started it
//! ([`super::shim`]); a runtime's worker may end long before its process. The thread runs a small runtime of its own.
//!
//! ```text
//! prepare ─▶ launch ─▶ ready ─▶ serve ──stop──▶ end
//!              ▲                  │ died
//!              └── back off ◀─────┘
//! ```

use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use super::access::{connect_admin, ensure_database, write_rules};
use super::account::Account;
use super::binaries::Places;
use super::error::ClusterError;
use super::folder::{Contents, DataFolder, path_for};
use super::initdb;
use super::log::ServerLog;
use super::options::ClusterOptions;
use super::remains::{self, Patience};
use super::server::{Ending, Launcher, describe, end};
use super::socket::{self, SocketFolder};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A server that has served this long is healthy: the next restart is immediate again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// The first and the longest pause between two attempts to connect; each refused one is a line in the server's log.
const READY_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
const READY_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long each harder signal has to end a server that an earlier origin left.
const HARDER_AFTER: Duration = Duration::from_secs(5);
const LOG_CHECK_EVERY: Duration = Duration::from_secs(5);

/// What the private cluster is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Not ready for the first time yet.
    Starting,
    /// Answers queries.
    Running {
        /// The server process.
        pid: u32,
        /// How often it had to be started again.
        restarts: u64,
    },
    /// Died and is being started again.
    Restarting {
        /// How often it had to be started again, this time included.
        restarts: u64,
    },
    /// Ended, because it was asked to.
    Stopped(Ending),
}

/// What the starter is told once the cluster is ready.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) socket_folder: std::path::PathBuf,
}

/// Both ends of what passes between the thread and [`super::Cluster`].
#[derive(Debug)]
pub(crate) struct Channels {
    /// Told once: ready, or why not.
    pub(crate) ready: oneshot::Sender<Result<Ready, ClusterError>>,
    pub(crate) state: watch::Sender<ClusterState>,
    /// True, or closed: stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// The body of the thread.
pub(crate) fn run(options: ClusterOptions, channels: Channels) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => {
            let path = options.data_dir;
            let _ = channels.ready.send(Err(ClusterError::Io {
                action: "start a runtime for",
                path,
                source,
            }));
            return;
        }
    };
    runtime.block_on(supervise(options, channels));
}

async fn supervise(options: ClusterOptions, channels: Channels) {
    let Channels { ready, state, stop } = channels;
    let started = tokio::select! {
        biased;
        () = asked(stop.clone()) => Err(ClusterError::Stopped),
        prepared = Supervisor::prepare(options) => prepared,
    };
    let mut supervisor = match started {
        Ok(supervisor) => supervisor,
        Err(problem) => return drop(ready.send(Err(problem))),
    };
    let launched = supervisor.launch(&stop, FirstTime::Yes).await;
    let child = match launched {
        Ok(child) => child,
        Err(problem) => {
            supervisor.socket.remove();
            // The data folder is given back before anyone hears that it is free.
            drop(supervisor);
            return drop(ready.send(Err(problem)));
        }
    };
    // Before anyone hears of it, so that who does sees it running.
    state.send_replace(ClusterState::Running {
        pid: child.id().unwrap_or(0),
        restarts: 0,
    });
    let _ = ready.send(Ok(Ready {
        socket_folder: supervisor.socket.path().to_path_buf(),
    }));
    let ending = supervisor.serve(child, &state, &stop).await;
    if ending != Ending::Stuck {
        supervisor.socket.remove();
    }
    drop(supervisor);
    state.send_replace(ClusterState::Stopped(ending));
}

/// Whether the role and the database must be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstTime {
    Yes,
    No,
}

struct Supervisor {
    launcher: Launcher,
    folder: DataFolder,
    socket: SocketFolder,
    log: ServerLog,
}

impl Supervisor {
    async fn prepare(options: ClusterOptions) -> Result<Supervisor, ClusterError> {
        let folder = DataFolder::take(&options.data_dir)?;
        let pgdata = folder.pgdata();
        let (version, owner) = match folder.inspect()? {
            Contents::Nothing => (None, None),
            Contents::Database { major, owner } => (Some(major), Some(owner)),
        };
        let account = Account::choose(&pgdata, owner)?;
        let binaries =
            Places::of_this_machine(options.bin_dir.as_deref()).find(&pgdata, version)?;
        let mut log = ServerLog::open(folder.root())?;
        let launcher = Launcher {
            options,
            account,
            binaries,
        };
        initdb::remove_unfinished(folder.root());
        if version.is_none() {
            let Launcher {
                account, binaries, ..
            } = &launcher;
            tracing::info!(folder = %pgdata.display(), version = binaries.major, account = account.name, "creating the private PostgreSQL");
            initdb::create(&folder, &launcher, &mut log).await?;
        }
        let socket = SocketFolder::make(folder.root(), &launcher.account, &socket::elsewhere())?;
        Ok(Supervisor {
            launcher,
            folder,
            socket,
            log,
        })
    }

    /// Starts the server and waits until it answers. On failure no server is left.
    async fn launch(
        &mut self,
        stop: &watch::Receiver<bool>,
        first_time: FirstTime,
    ) -> Result<Child, ClusterError> {
        let pgdata = self.folder.pgdata();
        let stop_timeout = self.launcher.options.stop_timeout;
        let lock = tokio::select! {
            biased;
            () = asked(stop.clone()) => return Err(ClusterError::Stopped),
            cleared = remains::clear(&pgdata, Patience { in_order: stop_timeout, harder: HARDER_AFTER }) => cleared?,
        };
        self.socket.clear()?;
        write_rules(&pgdata, &self.launcher.account)?;
        self.log.mark();
        let known_as = path_for(&self.launcher.account, &pgdata)?;
        let mut child =
            self.launcher
                .postgres(&pgdata, &known_as, self.socket.path(), lock, &self.log)?;
        let answer = tokio::select! {
            biased;
            () = asked(stop.clone()) => Err(ClusterError::Stopped),
            ready = self.ready(&mut child, first_time) => ready,
        };
        match answer {
            Ok(()) => Ok(child),
            Err(problem) => {
                end(&mut child, stop_timeout).await;
                Err(problem)
            }
        }
    }

    async fn ready(&self, child: &mut Child, first_time: FirstTime) -> Result<(), ClusterError> {
        let waited = self.launcher.options.start_timeout;
        let path = || self.log.path().to_path_buf();
        let answers = async {
            let (mut pause, longest) = READY_PAUSES;
            loop {
                if let Ok(Ok(client)) =
                    timeout(READY_ATTEMPT_TIMEOUT, connect_admin(self.socket.path())).await
                {
                    return client;
                }
                sleep(pause).await;
                pause = (pause * 3 / 2).min(longest);
            }
        };
        let client = tokio::select! {
            status = child.wait() => return Err(ClusterError::Exited { status: describe(&status), log: path(), tail: self.log.tail() }),
            answer = timeout(waited, answers) => answer.map_err(|_| ClusterError::StartTimeout { waited, log: path(), tail: self.log.tail() })?,
        };
        match first_time {
            FirstTime::No => Ok(()),
            FirstTime::Yes => tokio::select! {
                status = child.wait() => Err(ClusterError::Exited { status: describe(&status), log: path(), tail: self.log.tail() }),
                ensured = ensure_database(&client) => ensured,
            },
        }
    }

    /// Keeps the server running until asked to stop; then ends it.
    async fn serve(
        &mut self,
        child: Child,
        state: &watch::Sender<ClusterState>,
        stop: &watch::Receiver<bool>,
    ) -> Ending {
        let mut child = child;
        let mut restarts = 0;
        let mut backoff = BACKOFF_MIN;
        loop {
            let pid = child.id().unwrap_or(0);
            state.send_replace(ClusterState::Running { pid, restarts });
            tracing::info!(pid, socket = %self.socket.path().display(), "private PostgreSQL is ready");
            let since = Instant::now();
            let status = tokio::select! {
                biased;
                () = asked(stop.clone()) => {
                    let ending = end(&mut child, self.launcher.options.stop_timeout).await;
                    tracing::info!(?ending, "private PostgreSQL has ended");
                    return ending;
                }
                status = child.wait() => status,
                never = self.keep_log_small() => match never {},
            };
            tracing::error!(status = describe(&status), log = %self.log.path().display(), "private PostgreSQL died; starting it again");
            if since.elapsed() >= HEALTHY_AFTER {
                backoff = BACKOFF_MIN;
            }
            child = loop {
                restarts += 1;
                state.send_replace(ClusterState::Restarting { restarts });
                tokio::select! {
                    biased;
                    () = asked(stop.clone()) => return Ending::Failed,
                    () = sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
                match self.launch(stop, FirstTime::No).await {
                    Ok(child) => break child,
                    Err(ClusterError::Stopped) => return Ending::Failed,
                    Err(problem) => tracing::error!(%problem, "private PostgreSQL does not start"),
                }
            };
        }
    }

    /// Never returns.
    async fn keep_log_small(&mut self) -> std::convert::Infallible {
        let mut ticks = interval(LOG_CHECK_EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = self.log.rotate() {
                tracing::warn!(%error, log = %self.log.path().display(), "cannot move PostgreSQL's log aside");
            }
        }
    }
}

/// Returns once somebody asks for a stop, or nobody is left who could.
async fn asked(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|asked| *asked).await;
}

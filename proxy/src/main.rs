//! `lacquer`, the front door.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use config::{Config, LogFormat};
use proxy::cli::{self, Command, Overrides};
use proxy::listener::handover::{self, Giver, HandoverError, Inherited};
use proxy::server::{Control, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Fewer instructions than the system's allocator on misses and passes, and less memory an object.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that are blocked get to end once everything else has.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// A client's and its backend's.
const FILES_PER_CONNECTION: u64 = 2;

/// How long a new process waits for the old one's listeners.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match cli::parse() {
        Command::Serve {
            config,
            config_path,
            overrides,
            upgrade,
        } => {
            logging(&config);
            match serve(*config, config_path, overrides, upgrade) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Check { config_path } => cli::report_check(config_path.as_deref()),
        Command::Send { order, to } => cli::run_order(&order, &to),
        Command::Explain { question, to } => cli::run_question(&question, &to),
    }
}

fn serve(
    config: Config,
    config_path: Option<PathBuf>,
    overrides: Overrides,
    upgrade: bool,
) -> anyhow::Result<()> {
    raise_file_limit(config.limits.connections_max.get());
    // For all but the clients, whose threads have their own. Of the kind that lets a task block while listeners are
    // handed over.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name("lacquer")
        .build()
        .context("cannot start threads")?;
    let served = runtime.block_on(async {
        let upgrade_socket = upgrade_socket(&config);
        let pid_file = config.server.pid_file.clone();
        let mut signals = Signals::new()?;
        let (inherited, giver) = match upgrade {
            true => take_over(&upgrade_socket).await?,
            false => (Inherited::default(), None),
        };
        let server = Server::bind(config, inherited).await?;
        // Never dropped: giving back a full cache object by object takes seconds, and the process ends anyway.
        std::mem::forget(server.control());
        for address in server.addresses() {
            tracing::info!(%address, "listening");
        }
        if let Some(path) = &pid_file {
            std::fs::write(path, format!("{}\n", std::process::id()))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let (control, sockets) = (
            server.control(),
            server.sockets().context("cannot keep the listeners")?,
        );
        // From here on nothing can fail any more: the process before may end.
        if let Some(giver) = giver {
            giver.ready();
        }
        server
            .run(
                signals.until_stopped(&control, config_path.as_deref(), &overrides, move || {
                    let sockets = sockets
                        .iter()
                        .map(|(address, socket)| (address.as_str(), socket));
                    handover::give(&upgrade_socket, sockets)
                }),
            )
            .await;
        if let Some(path) = &pid_file {
            // A new process may have written its own by now.
            if std::fs::read_to_string(path)
                .is_ok_and(|pid| pid.trim() == std::process::id().to_string())
            {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    });
    // A name that is just being looked up may take longer than the drain deadline leaves.
    runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    served
}

/// Takes as many file descriptors as the system lets this process have. What it begins with is a soft limit for programs that
/// cannot handle more, and too low for a server.
fn raise_file_limit(connections_max: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = (connections_max as u64).saturating_mul(FILES_PER_CONNECTION);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "fewer file descriptors than limits.connections_max may need: raise the hard limit (ulimit -Hn, LimitNOFILE)"
        );
    }
}

fn upgrade_socket(config: &Config) -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    config
        .server
        .upgrade_socket_path(runtime_dir, rustix::process::geteuid().is_root())
}

/// Waits for the running process to hand its listeners over, which it does on SIGQUIT.
async fn take_over(socket: &Path) -> anyhow::Result<(Inherited, Option<Giver>)> {
    tracing::info!(socket = %socket.display(), "waiting for listeners");
    let socket = socket.to_owned();
    let taken =
        tokio::task::spawn_blocking(move || handover::take(&socket, HANDOVER_PATIENCE)).await;
    let (inherited, giver) = taken.context("taking listeners over has panicked")??;
    Ok((inherited, Some(giver)))
}

/// The signals of an operator.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// SIGHUP reloads; SIGTERM and SIGINT stop; SIGQUIT hands the listeners over and stops.
    async fn until_stopped(
        &mut self,
        control: &Control,
        config_path: Option<&Path>,
        overrides: &Overrides,
        hand_over: impl Fn() -> Result<(), HandoverError>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!("terminated, draining"),
                _ = self.interrupt.recv() => return tracing::info!("interrupted, draining"),
                _ = self.hang_up.recv() => {
                    let loaded = cli::load(config_path, overrides).map_err(anyhow::Error::from);
                    match loaded.and_then(|config| Ok(control.reload(config)?)) {
                        Ok(()) => tracing::info!("settings reloaded"),
                        Err(error) => tracing::error!("settings stay as they were: {error:#}"),
                    }
                }
                _ = self.quit.recv() => match tokio::task::block_in_place(&hand_over) {
                    Ok(()) => {
                        control.front().hand_over();
                        return tracing::info!("listeners handed over, draining");
                    }
                    Err(error) => tracing::error!("{:#}", anyhow::Error::from(error)),
                },
            }
        }
    }
}

/// Standard error, in the form the settings ask for; `RUST_LOG` has the last word.
fn logging(config: &Config) {
    use tracing_subscriber::EnvFilter;
    let level = config.server.log_level.as_str();
    // pingora tells of its own business at info, and of connections that servers closed as errors: noise to an
    // operator of this program, which reports what failed itself.
    let default =
        format!("{level},pingora_core=warn,pingora_core::connectors=off,h2=warn,hyper=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.server.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

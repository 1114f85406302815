//! The servers that are compared: how each is started in the best configuration that its documentation knows for small
//! objects in memory, and what it cannot do.
//!
//! One module each. All run on the same core, with the same memory for their cache, in front of the same backend, and
//! keep their files on a tmpfs. None writes an access log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::child::{self, Call, Running};
use super::cpu;
use super::probe;
use crate::place::free_address;

mod bare;
mod haproxy;
pub mod lacquer;
mod nginx;
mod trafficserver;
mod varnish;

pub use lacquer::program as lacquer_program;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const START_ATTEMPTS: u32 = 3;
/// How the system's message for it ends, in every server's log.
const PORT_TAKEN: &str = "ddress already in use";
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);
/// Where files cost no disk.
const TMPFS: &str = "/dev/shm";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lacquer,
    Nginx,
    Varnish,
    Haproxy,
    Trafficserver,
    /// Not a server: see [`super::bare`].
    BareLoop,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Lacquer,
        Kind::Nginx,
        Kind::Varnish,
        Kind::Haproxy,
        Kind::Trafficserver,
        Kind::BareLoop,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lacquer => "lacquer",
            Kind::Nginx => "nginx",
            Kind::Varnish => "varnish",
            Kind::Haproxy => "haproxy",
            Kind::Trafficserver => "trafficserver",
            Kind::BareLoop => "bare-loop",
        }
    }

    /// Its name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Lacquer => "Lacquer",
            Kind::Nginx => "nginx",
            Kind::Varnish => "Varnish",
            Kind::Haproxy => "HAProxy",
            Kind::Trafficserver => "ATS",
            Kind::BareLoop => "bare loop",
        }
    }

    /// The program, as it is installed here.
    ///
    /// # Errors
    /// When it is missing, with what to do about it.
    pub fn program(self) -> Result<PathBuf> {
        let name = match self {
            Kind::Lacquer => return lacquer::program(),
            Kind::BareLoop => return std::env::current_exe().context("this program's own path"),
            Kind::Nginx => "nginx",
            Kind::Varnish => "varnishd",
            Kind::Haproxy => "haproxy",
            Kind::Trafficserver => "traffic_server",
        };
        child::find_program(name).with_context(|| {
            format!("{name} is missing: `.ci/deps bench` installs it, `--peers` leaves it out")
        })
    }

    /// What it says of its version.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn version(self) -> Result<String> {
        let flag = match self {
            Kind::Lacquer => "--version",
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Varnish | Kind::Trafficserver => "-V",
            Kind::BareLoop => return Ok(self.title().to_owned()),
        };
        let output = std::process::Command::new(self.program()?)
            .arg(flag)
            .output()
            .with_context(|| format!("{} {flag}", self.name()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let line = said.lines().find(|line| !line.trim().is_empty());
        Ok(line.unwrap_or_default().trim().to_owned())
    }
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 by prior knowledge, in plain text.
    Http2,
    /// HTTP/1 in TLS.
    Tls,
}

/// How many cores the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    One,
    /// The load generator's too.
    Two,
}

impl Cores {
    pub fn count(self) -> usize {
        match self {
            Cores::One => 1,
            Cores::Two => 2,
        }
    }

    fn list(self) -> String {
        match self {
            Cores::One => cpu::PROXY_CORE.to_string(),
            Cores::Two => format!("{},{}", cpu::PROXY_CORE, cpu::LOAD_CORE),
        }
    }
}

/// How large most answers are, for servers whose documentation has a setting for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    Small,
    Large,
}

/// What a line of the benchmark needs of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    pub memory_bytes: u64,
    pub protocol: Protocol,
    pub cores: Cores,
    pub bodies: Bodies,
    /// Most connections of clients at once.
    pub connections_max: u32,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            // Lacquer's default.
            memory_bytes: 256 << 20,
            protocol: Protocol::Http1,
            cores: Cores::One,
            bodies: Bodies::Small,
            connections_max: 10_000,
        }
    }
}

/// Where a server lives.
#[derive(Debug)]
struct Place<'a> {
    folder: &'a Path,
    listen: SocketAddr,
    /// For whatever else it listens to.
    control: SocketAddr,
    backend: SocketAddr,
    certificate: Certificate,
}

impl Place<'_> {
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }
}

/// PEM files.
#[derive(Clone, Debug)]
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// A certificate of its own, on the curve that all of them are fast with.
    fn make(folder: &Path) -> Result<Certificate> {
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let call = Call::new("openssl", Cores::Two.list())
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "7"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-subj", "/CN=bench.test", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&chain);
        child::output_of("openssl", &call, folder, TOOL_TIMEOUT)?;
        Ok(Certificate { chain, key })
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Peer {
    pub kind: Kind,
    pub address: SocketAddr,
    pub setup: Setup,
    /// From the start of the program to its first answer, which the backend had to give.
    pub first_answer_after: Duration,
    running: Running,
    folder: TempDir,
}

impl Peer {
    /// Starts a server and waits for its first answer.
    ///
    /// # Errors
    /// When it does not start, or answers with anything but what the backend has.
    pub fn start(kind: Kind, setup: Setup, backend: SocketAddr) -> Result<Peer> {
        let mut attempt = 1;
        loop {
            match Peer::start_once(kind, setup, backend) {
                // A port that was free a moment ago need not be any more.
                Err(error)
                    if attempt < START_ATTEMPTS && format!("{error:#}").contains(PORT_TAKEN) =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(kind: Kind, setup: Setup, backend: SocketAddr) -> Result<Peer> {
        ensure!(kind != Kind::BareLoop, "the bare loop has no backend");
        let folder = make_folder(kind.name())?;
        let place = Place {
            folder: folder.path(),
            listen: free_address(),
            control: free_address(),
            backend,
            certificate: match setup.protocol {
                Protocol::Tls => Certificate::make(folder.path())?,
                Protocol::Http1 | Protocol::Http2 => Certificate {
                    chain: PathBuf::new(),
                    key: PathBuf::new(),
                },
            },
        };
        let call = Call::new(kind.program()?, setup.cores.list());
        let call = match kind {
            Kind::Lacquer => lacquer::call(call, &place, &setup)?,
            Kind::Nginx => nginx::call(call, &place, &setup)?,
            Kind::Varnish => varnish::call(call, &place, &setup)?,
            Kind::Haproxy => haproxy::call(call, &place, &setup)?,
            Kind::Trafficserver => trafficserver::call(call, &place, &setup)?,
            Kind::BareLoop => unreachable!("refused above"),
        };
        let address = place.listen;
        let started = Instant::now();
        let mut running = Running::start(kind.name(), &call, folder.path())?;
        running.wait_until(START_TIMEOUT, || answers(address, setup.protocol))?;
        Ok(Peer {
            kind,
            address,
            setup,
            first_answer_after: started.elapsed(),
            running,
            folder,
        })
    }

    /// Starts the bare loop with the answer that it shall give.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_bare_loop(setup: Setup, response: &[u8]) -> Result<Peer> {
        let folder = make_folder(Kind::BareLoop.name())?;
        let address = free_address();
        let call = Call::new(Kind::BareLoop.program()?, setup.cores.list());
        let call = bare::call(call, folder.path(), address, response)?;
        let started = Instant::now();
        let mut running = Running::start(Kind::BareLoop.name(), &call, folder.path())?;
        running.wait_until(START_TIMEOUT, || probe::Probe::connect(address).is_ok())?;
        Ok(Peer {
            kind: Kind::BareLoop,
            address,
            setup,
            first_answer_after: started.elapsed(),
            running,
            folder,
        })
    }

    /// User and system time of all its processes so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        cpu::processor_time(self.running.pid())
            .with_context(|| format!("{} has ended:\n{}", self.kind.name(), self.running.log()))
    }

    /// Memory of all its processes, and of its files on the tmpfs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_bytes(&self) -> Result<u64> {
        Ok(cpu::memory_bytes(self.running.pid())? + file_bytes(self.folder.path()))
    }

    /// The most memory that its first process has held.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        cpu::peak_memory_bytes(self.running.pid())
    }

    /// Lists so many bans that match nothing.
    ///
    /// # Errors
    /// When it has none, or refuses.
    pub fn ban(&self, count: usize) -> Result<()> {
        match self.kind {
            Kind::Lacquer => lacquer::ban(self.address, count),
            Kind::Varnish => varnish::ban(self.folder.path(), count),
            other => bail!("{} has no bans", other.name()),
        }
    }
}

/// A folder in memory, which goes with its value.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(name: &str) -> Result<TempDir> {
    let prefix = format!("lacquer-bench-{name}-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    let folder = match Path::new(TMPFS).is_dir() {
        true => builder.tempdir_in(TMPFS),
        false => builder.tempdir(),
    };
    let folder = folder.context("a folder in memory")?;
    // Some of them give up root's rights before they open their files.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everyone)?;
    Ok(folder)
}

/// Whether it gives what the backend has.
fn answers(address: SocketAddr, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http1 => {
            let request = b"GET /store/16/first HTTP/1.1\r\nHost: bench.test\r\n\r\n";
            probe::ask(address, request)
                .is_ok_and(|answer| probe::check_body(&answer.body, 16).is_ok())
        }
        Protocol::Http2 | Protocol::Tls => curl(address, protocol, "/store/16/first", &[])
            .is_ok_and(|body| probe::check_body(&body, 16).is_ok()),
    }
}

/// Asks once for `target` with curl, for protocols that the probe does not speak, and returns the body.
///
/// # Errors
/// When the answer is not 200.
pub fn curl(
    address: SocketAddr,
    protocol: Protocol,
    target: &str,
    fields: &[String],
) -> Result<Vec<u8>> {
    let (scheme, version) = match protocol {
        Protocol::Http1 => ("http", "--http1.1"),
        Protocol::Http2 => ("http", "--http2-prior-knowledge"),
        Protocol::Tls => ("https", "--http1.1"),
    };
    let mut command = std::process::Command::new("curl");
    command
        .args(["--silent", "--fail", "--insecure", "--noproxy", "*"])
        .args(["--max-time", "10", version]);
    for field in fields {
        command.args(["--header", field]);
    }
    command.arg(format!("{scheme}://{address}{target}"));
    let output = command.output().context("curl")?;
    ensure!(
        output.status.success(),
        "curl could not get {target} from {address}: {}",
        output.status
    );
    Ok(output.stdout)
}

/// Bytes of all files in a folder, as the file system counts them.
fn file_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += file_bytes(&entry.path()),
            Ok(metadata) => bytes += metadata.blocks() * 512,
            // Removed meanwhile.
            Err(_) => {}
        }
    }
    bytes
}

//! What a pool is built from: plain values, converted from the configuration (or from a VCL backend)
//! by whoever composes the process.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::http1::is_authority;

/// A named group of servers that answer the same requests.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The name in metrics and errors.
    pub name: String,
    /// At least one; their names differ.
    pub servers: Vec<ServerSettings>,
    pub balance: Balance,
    pub timeouts: Timeouts,
    /// How long an unused connection is kept open. Stay below the servers' own limit.
    pub idle_timeout: Duration,
    /// Unused connections kept open over all servers of the pool. Zero: none is reused.
    pub idle_connections_max: usize,
    /// Exchanges at once per server; one more is [`BackendError::Busy`](super::BackendError::Busy).
    /// `None`: no limit.
    pub connections_max: Option<NonZeroUsize>,
    /// Further servers tried after the first one failed, where the request allows it.
    pub retries_max: u32,
    /// How often host names are looked up again.
    pub dns_interval: Duration,
    /// Longest response head (status line and fields) in bytes.
    pub head_bytes_max: usize,
    /// Most field lines in a response head, and in a trailer section.
    pub fields_max: usize,
    /// Active probing of every server; `None`: servers count as healthy.
    pub probe: Option<ProbeSettings>,
    /// PEM file with the authorities that sign the servers' certificates. `None`: the system's.
    pub ca_file: Option<PathBuf>,
}

impl PoolSettings {
    /// A pool with the defaults of this module.
    pub fn new(name: impl Into<String>, servers: Vec<ServerSettings>) -> PoolSettings {
        PoolSettings {
            name: name.into(),
            servers,
            balance: Balance::RoundRobin,
            timeouts: Timeouts::default(),
            idle_timeout: Duration::from_secs(55),
            idle_connections_max: 256,
            connections_max: None,
            retries_max: 2,
            dns_interval: Duration::from_secs(10),
            head_bytes_max: 64 * 1024,
            fields_max: 128,
            probe: None,
            ca_file: None,
        }
    }
}

/// Servers that one pool may have: every request looks at each.
const SERVERS_MAX: usize = 1024;

impl PoolSettings {
    /// What the settings say about each other. Addresses and names are checked where they are used.
    pub(super) fn check(&self) -> Result<(), PoolError> {
        let pool = || self.name.clone();
        if self.servers.is_empty() {
            return Err(PoolError::NoServer { pool: pool() });
        }
        if self.servers.len() > SERVERS_MAX {
            return Err(PoolError::TooManyServers {
                pool: pool(),
                max: SERVERS_MAX,
            });
        }
        for (place, server) in self.servers.iter().enumerate() {
            let is_same = |other: &ServerSettings| other.name == server.name;
            if self.servers[..place].iter().any(is_same) {
                return Err(PoolError::DuplicateServer {
                    pool: pool(),
                    server: server.name.clone(),
                });
            }
        }
        for (setting, is_zero) in [
            ("connect timeout", self.timeouts.connect.is_zero()),
            ("first byte timeout", self.timeouts.first_byte.is_zero()),
            (
                "between bytes timeout",
                self.timeouts.between_bytes.is_zero(),
            ),
            ("dns interval", self.dns_interval.is_zero()),
            ("head limit", self.head_bytes_max == 0),
        ] {
            if is_zero {
                return Err(PoolError::Zero {
                    pool: pool(),
                    setting,
                });
            }
        }
        match self.probe.as_ref().and_then(ProbeSettings::fault) {
            Some(reason) => Err(PoolError::Probe {
                pool: pool(),
                reason,
            }),
            None => Ok(()),
        }
    }
}

/// One server of a pool.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The name in metrics and errors, and the server's place in consistent hashing.
    pub name: String,
    pub address: ServerAddress,
    /// The Host of requests that carry none, and of probes. `None`: taken from the address.
    pub host: Option<String>,
    pub tls: Option<TlsSettings>,
}

impl ServerSettings {
    /// A server named after its address, without TLS.
    pub fn new(address: ServerAddress) -> ServerSettings {
        ServerSettings {
            name: address.to_string(),
            address,
            host: None,
            tls: None,
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    Socket(SocketAddr),
    /// Looked up by the system's resolver, again and again; each address found is used.
    Name {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl ServerAddress {
    /// `host` may be an address literal (IPv6 in brackets or bare) or a name.
    pub fn from_host_and_port(host: &str, port: u16) -> ServerAddress {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => ServerAddress::Socket(SocketAddr::new(ip, port)),
            Err(_) => ServerAddress::Name {
                host: host.to_owned(),
                port,
            },
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Socket(address) => write!(f, "{address}"),
            ServerAddress::Name { host, port } => write!(f, "{host}:{port}"),
            ServerAddress::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// TLS towards one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The name sent as SNI and expected in the certificate. `None`: the host of the address; a Unix
    /// socket has none, so it must be given there.
    pub server_name: Option<String>,
    pub verification: Verification,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Chain and name must be right.
    Full,
    /// The chain must be right, the name is not looked at.
    ChainOnly,
    /// Any certificate will do. Protects against nobody who can answer in the server's place.
    Off,
}

/// How a server is chosen among the healthy ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    Random,
    LeastConnections,
    /// By the request's key; a server that leaves moves only its own share of keys.
    ConsistentHash,
}

/// Bounds on waiting for a server. A request may bring its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect and TLS handshake together, and the first look-up of a name.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response head, and again to its end.
    pub first_byte: Duration,
    /// Longest silence inside a response, and longest time without a byte of the request being taken.
    pub between_bytes: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_millis(3500),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
        }
    }
}

/// Active probing with Varnish's window: a server is healthy while at least `threshold` of the last
/// `window` probes went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// For the whole probe: connect, send, and read the answer.
    pub timeout: Duration,
    /// 1 to 64.
    pub window: u32,
    /// 0 to `window`. Zero: the server is healthy whatever probes say.
    pub threshold: u32,
    /// How many of the probes before the first count as good. `threshold - 1` makes the first probe
    /// decide.
    pub initial: u32,
    /// Path and query of the GET request.
    pub path: String,
    /// The Host of the probe. `None`: the server's.
    pub host: Option<String>,
    pub expected_status: u16,
}

impl Default for ProbeSettings {
    fn default() -> ProbeSettings {
        ProbeSettings {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            window: 8,
            threshold: 3,
            initial: 2,
            path: "/".to_owned(),
            host: None,
            expected_status: 200,
        }
    }
}

impl ProbeSettings {
    fn fault(&self) -> Option<&'static str> {
        let is_target =
            self.path.starts_with('/') && self.path.bytes().all(|byte| byte.is_ascii_graphic());
        let host_is_valid = |host: &String| is_authority(host.as_bytes());
        Some(if self.interval.is_zero() {
            "interval may not be zero"
        } else if self.timeout.is_zero() {
            "timeout may not be zero"
        } else if !(1..=64).contains(&self.window) {
            "window must be 1 to 64"
        } else if self.threshold > self.window {
            "threshold must not be above window"
        } else if !is_target {
            "path must start with / and hold no spaces"
        } else if !self.host.as_ref().is_none_or(host_is_valid) {
            "invalid host"
        } else if !(200..=999).contains(&self.expected_status) {
            "expected status must be a final one"
        } else {
            return None;
        })
    }
}

/// Settings that no pool can be built from.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("pool {pool} has no server")]
    NoServer { pool: String },
    #[error("pool {pool} has more than {max} servers")]
    TooManyServers { pool: String, max: usize },
    #[error("pool {pool} has two servers named {server}")]
    DuplicateServer { pool: String, server: String },
    #[error("server {server} has an invalid address {address}")]
    Address { server: String, address: String },
    #[error("server {server} needs a TLS server name")]
    NoServerName { server: String },
    #[error("server {server} has an invalid TLS server name {name}")]
    ServerName { server: String, name: String },
    #[error("server {server} has an invalid host {host:?}")]
    Host { server: String, host: String },
    #[error("probe of pool {pool}: {reason}")]
    Probe { pool: String, reason: &'static str },
    #[error("pool {pool}: {setting} may not be zero")]
    Zero { pool: String, setting: &'static str },
    #[error("no trusted certificates of the system found, name a file of them")]
    NoTrustStore,
    #[error("cannot use {path} as a list of trusted certificates: {reason}")]
    TrustFile { path: PathBuf, reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_address_literals() {
        fn check(host: &str, expected: &str, is_name: bool) {
            let address = ServerAddress::from_host_and_port(host, 80);
            assert_eq!(address.to_string(), expected);
            assert_eq!(matches!(address, ServerAddress::Name { .. }), is_name);
        }
        check("127.0.0.1", "127.0.0.1:80", false);
        check("::1", "[::1]:80", false);
        check("[::1]", "[::1]:80", false);
        check("localhost", "localhost:80", true);
        check("1.example", "1.example:80", true);
    }
}

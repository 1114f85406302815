//! Where to listen, and whom to call.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::leaf::socket_address;
use super::text::is_host;
use super::{ValueError, string_leaf};

/// Port of a host that is named without one (RFC 9110 §4.2.1).
const PORT_DEFAULT: u16 = 80;

/// Bytes that a Unix socket's path may have: `sun_path` on Linux, without the closing zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

const LISTEN_EXPECTED: &str = "an address to listen at, such as \"127.0.0.1:6081\", \":6081\" for all addresses, \
                               or \"unix:/run/lacquer.sock\"";
const BACKEND_EXPECTED: &str = "a server without a scheme, such as \"app.example:8080\", \"[::1]:8080\" or \
                                \"unix:/run/app.sock\"";
const HOST_PORT_EXPECTED: &str = "a host and a port, such as \"cache.example:6081\"";

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `"127.0.0.1:6081"`; `":6081"` is all addresses, `[::]:6081`.
    Tcp(SocketAddr),
    /// `"unix:/run/lacquer.sock"`.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<ListenAddress, ValueError> {
        let refuse = || ValueError::new(text, LISTEN_EXPECTED);
        match text.strip_prefix("unix:") {
            Some(path) => unix_path(path).map(ListenAddress::Unix).ok_or_else(refuse),
            None => socket_address(text)
                .map(ListenAddress::Tcp)
                .map_err(|_| refuse()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

string_leaf!(ListenAddress, LISTEN_EXPECTED);

/// A server that answers requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendAddress {
    /// A host name or address (IPv6 without brackets) and its port.
    Host { host: String, port: u16 },
    /// A Unix socket.
    Unix(PathBuf),
}

impl BackendAddress {
    /// Reads an address; a host without a port gets `port_default`.
    pub fn parse(text: &str, port_default: u16) -> Result<BackendAddress, ValueError> {
        let refuse = || ValueError::new(text, BACKEND_EXPECTED);
        match text.strip_prefix("unix:") {
            Some(path) => unix_path(path).map(BackendAddress::Unix).ok_or_else(refuse),
            None => host_and_port(text, port_default)
                .map(|(host, port)| BackendAddress::Host { host, port })
                .ok_or_else(refuse),
        }
    }
}

impl FromStr for BackendAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<BackendAddress, ValueError> {
        BackendAddress::parse(text, PORT_DEFAULT)
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendAddress::Host { host, port } => write_host_and_port(f, host, *port),
            BackendAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

string_leaf!(BackendAddress, BACKEND_EXPECTED);

/// A host and a port, over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name or address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<HostPort, ValueError> {
        host_and_port(text, PORT_DEFAULT)
            .map(|(host, port)| HostPort { host, port })
            .ok_or_else(|| ValueError::new(text, HOST_PORT_EXPECTED))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_and_port(f, &self.host, self.port)
    }
}

string_leaf!(HostPort, HOST_PORT_EXPECTED);

fn unix_path(path: &str) -> Option<PathBuf> {
    let fits = (1..=UNIX_PATH_BYTES_MAX).contains(&path.len()) && !path.contains('\0');
    fits.then(|| Path::new(path).to_owned())
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`. A bare IPv6 address is refused: `::1:80` could mean two things.
fn host_and_port(text: &str, port_default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            (host, port)
        }
    };
    let port = match port {
        None => port_default,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (is_host(host) && port != 0).then(|| (host.to_owned(), port))
}

fn write_host_and_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(text: &str, printed: Option<&str>)
    where
        T: FromStr + fmt::Display,
    {
        let parsed = text.parse::<T>().ok().map(|address| address.to_string());
        assert_eq!(parsed.as_deref(), printed, "{text:?}");
    }

    #[test]
    fn listeners_take_addresses_ports_and_sockets() {
        check::<ListenAddress>("127.0.0.1:6081", Some("127.0.0.1:6081"));
        check::<ListenAddress>("127.0.0.1:0", Some("127.0.0.1:0"));
        check::<ListenAddress>("[::1]:6081", Some("[::1]:6081"));
        check::<ListenAddress>(":6081", Some("[::]:6081"));
        check::<ListenAddress>("unix:/run/l.sock", Some("unix:/run/l.sock"));
        for wrong in [
            "",
            "6081",
            "127.0.0.1",
            "localhost:6081",
            "127.0.0.1:65536",
            ":-1",
            "::1:80",
            "unix:",
            "http://127.0.0.1:80",
        ] {
            check::<ListenAddress>(wrong, None);
        }
        check::<ListenAddress>(&format!("unix:/{}", "x".repeat(107)), None);
    }

    #[test]
    fn servers_take_hosts_with_and_without_port_and_sockets() {
        check::<BackendAddress>("127.0.0.1:8081", Some("127.0.0.1:8081"));
        check::<BackendAddress>("app.example", Some("app.example:80"));
        check::<BackendAddress>("app.example:8080", Some("app.example:8080"));
        check::<BackendAddress>("[::1]:8080", Some("[::1]:8080"));
        check::<BackendAddress>("[::1]", Some("[::1]:80"));
        check::<BackendAddress>("unix:/run/app.sock", Some("unix:/run/app.sock"));
        for wrong in [
            "",
            ":80",
            "app:",
            "app:0",
            "app:+80",
            "app:65536",
            "::1",
            "::1:80",
            "[::1]80",
            "[::1",
            "[app]:80",
            "http://app",
            "app/path",
            "a b:80",
            "unix:",
        ] {
            check::<BackendAddress>(wrong, None);
        }
    }

    #[test]
    fn a_default_port_may_be_given() {
        let address = BackendAddress::parse("app.example", 443).unwrap();
        assert_eq!(address.to_string(), "app.example:443");
    }
}

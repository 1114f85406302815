//! Who is at the other end.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::socket::SocketAddr as StreamAddr;

use crate::http::Scheme;
use crate::time::Timestamp;

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The client, as the socket or the PROXY protocol names it.
    pub client: Address,
    pub local: Address,
    pub scheme: Scheme,
    /// Present when this hop itself is encrypted.
    pub tls: Option<Tls>,
    /// Unique in this process.
    pub id: u64,
    pub accepted: Timestamp,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Inet(SocketAddr),
    /// A Unix socket; clients' ends rarely have a path.
    Unix(Option<PathBuf>),
    Unknown,
}

/// What TLS agreed on, for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub version: Cow<'static, str>,
    pub cipher: Cow<'static, str>,
}

impl ConnectionInfo {
    /// Reads what the stream itself knows. `id` is to be unique.
    pub fn of(stream: &Stream, id: u64, accepted: Timestamp) -> ConnectionInfo {
        let tls = stream.get_ssl_digest().map(|digest| Tls {
            version: digest.version.clone(),
            cipher: digest.cipher.clone(),
        });
        let socket = stream.get_socket_digest();
        let socket = socket.as_deref();
        ConnectionInfo {
            client: Address::from(socket.and_then(|socket| socket.peer_addr())),
            local: Address::from(socket.and_then(|socket| socket.local_addr())),
            scheme: match tls {
                Some(_) => Scheme::Https,
                None => Scheme::Http,
            },
            tls,
            id,
            accepted,
        }
    }
}

impl Address {
    /// The IP address and port, where it has them.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) | Address::Unknown => None,
        }
    }
}

impl From<Option<&StreamAddr>> for Address {
    fn from(address: Option<&StreamAddr>) -> Address {
        match address {
            Some(StreamAddr::Inet(address)) => Address::Inet(*address),
            Some(StreamAddr::Unix(address)) => {
                Address::Unix(address.as_pathname().map(PathBuf::from))
            }
            None => Address::Unknown,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Address::Unix(None) => f.write_str("unix:"),
            Address::Unknown => f.write_str("-"),
        }
    }
}

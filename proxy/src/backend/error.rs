//! Why a request got no (whole) answer from its backend.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::http1::{BadBody, BadResponse};

/// One failed exchange. Which server it was is part of the message, not of the variant.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No server of the pool is healthy; nothing was sent.
    #[error("no healthy server in pool {pool}")]
    Unhealthy { pool: String },
    /// Every healthy server has its limit of connections in use; nothing was sent.
    #[error("all servers of pool {pool} are busy")]
    Busy { pool: String },
    /// No connection could be opened; nothing was sent.
    #[error("cannot connect to {server}: {failure}")]
    Connect {
        server: String,
        failure: ConnectFailure,
        #[source]
        source: Option<io::Error>,
    },
    /// The whole request was sent and no response head came in time.
    #[error("{server} did not answer within {waited:?}")]
    FirstByteTimeout { server: String, waited: Duration },
    /// A response began and then came to a stand.
    #[error("{server} stopped in the middle of its answer for {waited:?}")]
    BetweenBytesTimeout { server: String, waited: Duration },
    /// The server took no byte of the request for this long.
    #[error("{server} took nothing of the request for {waited:?}")]
    SendTimeout { server: String, waited: Duration },
    /// The connection ended before a whole response head.
    #[error("{server} closed the connection without an answer")]
    Closed {
        server: String,
        #[source]
        source: Option<io::Error>,
    },
    /// The connection ended within the response body.
    #[error("{server} closed the connection within its answer")]
    Truncated {
        server: String,
        #[source]
        source: Option<io::Error>,
    },
    /// What came is no HTTP response, or one whose end cannot be known for certain.
    #[error("{server} sent a malformed answer")]
    Malformed {
        server: String,
        #[source]
        source: MalformedResponse,
    },
    /// The client's side of the request body failed: it ended early, or was longer than announced.
    #[error("the request body ended early")]
    RequestBody,
}

/// What was wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    #[error(transparent)]
    Head(#[from] BadResponse),
    #[error(transparent)]
    Body(#[from] BadBody),
    /// RFC 9110 §15.2.2: only who asked for an upgrade may be given one.
    #[error("a protocol switch that nobody asked for")]
    UnexpectedUpgrade,
    #[error("too many informational responses")]
    TooManyInformational,
}

/// Why a connection could not be opened; Varnish's classes of `errno`, and what it has none for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// EACCES, EPERM.
    Denied,
    /// EADDRNOTAVAIL: out of local ports.
    AddressNotAvailable,
    /// ECONNREFUSED.
    Refused,
    /// ENETUNREACH, EHOSTUNREACH.
    Unreachable,
    /// ETIMEDOUT, or our own connect timeout.
    TimedOut,
    /// The TLS handshake failed: no common ground, or a certificate that is not trusted.
    Tls,
    /// The server's name has no address that we know of.
    Unresolved,
    Other,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectFailure::Denied => "permission denied",
            ConnectFailure::AddressNotAvailable => "no local address available",
            ConnectFailure::Refused => "connection refused",
            ConnectFailure::Unreachable => "unreachable",
            ConnectFailure::TimedOut => "timed out",
            ConnectFailure::Tls => "TLS handshake failed",
            ConnectFailure::Unresolved => "its name has no address",
            ConnectFailure::Other => "failed",
        })
    }
}

impl BackendError {
    /// The status code that tells a client (RFC 9110 §15.6): 503 when nobody was asked, 504 when nobody
    /// answered in time, 502 for what came back wrong, 400 when the request itself broke off.
    pub fn status(&self) -> u16 {
        match self {
            BackendError::Unhealthy { .. }
            | BackendError::Busy { .. }
            | BackendError::Connect { .. } => 503,
            BackendError::FirstByteTimeout { .. }
            | BackendError::BetweenBytesTimeout { .. }
            | BackendError::SendTimeout { .. } => 504,
            BackendError::Closed { .. }
            | BackendError::Truncated { .. }
            | BackendError::Malformed { .. } => 502,
            BackendError::RequestBody => 400,
        }
    }

    /// A fixed word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            BackendError::Unhealthy { .. } => "unhealthy",
            BackendError::Busy { .. } => "busy",
            BackendError::Connect { .. } => "connect",
            BackendError::FirstByteTimeout { .. } => "first_byte_timeout",
            BackendError::BetweenBytesTimeout { .. } => "between_bytes_timeout",
            BackendError::SendTimeout { .. } => "send_timeout",
            BackendError::Closed { .. } => "closed",
            BackendError::Truncated { .. } => "truncated",
            BackendError::Malformed { .. } => "malformed",
            BackendError::RequestBody => "request_body",
        }
    }
}

//! Why a client connection ended.

use super::Counter;

/// Why a client connection ended; the names and the split into errors are Varnish's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionClose {
    /// The client closed it.
    Remote,
    /// The request said `Connection: close`.
    Request,
    /// The request was HTTP/1.0 without keep-alive.
    Http10,
    /// The response, the policy, a limit on requests or a shutdown asked for it.
    Response,
    /// A request was refused, but for its size.
    BadRequest,
    /// The request's body could not be read, or was too long to be skipped.
    RequestBody,
    /// No request came within the idle time.
    Idle,
    /// What came was not HTTP, or not TLS where it had to be.
    Junk,
    /// A request head was over the limits.
    Overflow,
    /// A request's head or a TLS handshake took too long.
    Timeout,
    /// Closing marked the end of a body.
    EndOfBody,
    /// A response could not be written, or broke off.
    WriteError,
    /// A pipe ended.
    Pipe,
}

impl SessionClose {
    pub(super) fn counter(self) -> Counter {
        match self {
            SessionClose::Remote => Counter::SessionCloseRemote,
            SessionClose::Request => Counter::SessionCloseRequest,
            SessionClose::Http10 => Counter::SessionCloseHttp10,
            SessionClose::Response => Counter::SessionCloseResponse,
            SessionClose::BadRequest => Counter::SessionCloseBadRequest,
            SessionClose::RequestBody => Counter::SessionCloseRequestBody,
            SessionClose::Idle => Counter::SessionCloseIdle,
            SessionClose::Junk => Counter::SessionCloseJunk,
            SessionClose::Overflow => Counter::SessionCloseOverflow,
            SessionClose::Timeout => Counter::SessionCloseTimeout,
            SessionClose::EndOfBody => Counter::SessionCloseEndOfBody,
            SessionClose::WriteError => Counter::SessionCloseWriteError,
            SessionClose::Pipe => Counter::SessionClosePipe,
        }
    }

    /// Whether Varnish counts it among `closed_err`.
    pub fn is_error(self) -> bool {
        match self {
            SessionClose::Http10
            | SessionClose::BadRequest
            | SessionClose::RequestBody
            | SessionClose::Junk
            | SessionClose::Overflow
            | SessionClose::Timeout
            | SessionClose::WriteError => true,
            SessionClose::Remote
            | SessionClose::Request
            | SessionClose::Response
            | SessionClose::EndOfBody
            | SessionClose::Idle
            | SessionClose::Pipe => false,
        }
    }
}

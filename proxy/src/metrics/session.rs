//! Why a client connection ended.

use super::Counter;

/// Why a client connection ended; the names and the split into errors are Varnish's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionClose {
    /// The client closed it between requests.
    Remote,
    /// The request said `Connection: close`.
    Request,
    /// The request was HTTP/1.0 without keep-alive.
    Http10,
    /// The response or the policy asked for it.
    Response,
    /// A malformed request was refused.
    BadRequest,
    /// The request's body could not be read.
    RequestBody,
    /// No request came within the idle time.
    Idle,
    /// What came was not HTTP.
    Junk,
    /// A request head was over the limits.
    Overflow,
    /// A request took too long to arrive.
    Timeout,
    /// Closing marked the end of a body.
    EndOfBody,
    /// A response could not be written.
    WriteError,
    /// A pipe ended.
    Pipe,
    /// A limit on connections was reached.
    Overload,
    /// A body ended before the range it had promised.
    RangeShort,
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
            SessionClose::Overload => Counter::SessionCloseOverload,
            SessionClose::RangeShort => Counter::SessionCloseRangeShort,
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
            | SessionClose::WriteError
            | SessionClose::Overload
            | SessionClose::RangeShort
            | SessionClose::Idle => true,
            SessionClose::Remote
            | SessionClose::Request
            | SessionClose::Response
            | SessionClose::EndOfBody
            | SessionClose::Pipe => false,
        }
    }
}

//! Why a connection ended.

use super::error::{ClientError, Refusal};

/// Why a connection ended, as its own side saw it; the first cause where one led to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed or reset it, between requests or within one.
    ByClient,
    /// The request said `Connection: close`.
    ByRequest,
    /// The request was HTTP/1.0 and did not ask to keep the connection.
    Http10,
    /// The reply, the limit on requests, or the server's shutdown said that it ends.
    ByReply,
    /// A request was refused before it became an exchange.
    Refused(Refusal),
    /// The client broke the rules of HTTP/2.
    Http2Violated,
    /// A request body failed, or was too long to be skipped.
    RequestBody,
    /// No request came within the idle time.
    Idle,
    /// Closing told the client where the body ends.
    EndOfBody,
    /// The client took nothing of a reply in time, or the reply itself broke off.
    ReplyFailed,
    /// The connection left HTTP behind, and that has ended.
    Upgraded,
    /// The handler panicked.
    Panicked,
}

impl End {
    /// What it means for the connection that something could not be sent.
    pub(super) fn unsent(error: &ClientError) -> End {
        match error {
            ClientError::Gone(_) => End::ByClient,
            _ => End::ReplyFailed,
        }
    }
}

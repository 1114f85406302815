//! Why an exchange with a client cannot go on.

use std::io;
use std::time::Duration;

use super::exchange::Traffic;
use crate::http1::{BadBody, Refused};
use crate::http2::Violation;

/// Why a request got its answer before it became an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Head(#[from] Refused),
    #[error("the request head took too long")]
    HeadTimeout,
}

impl Refusal {
    /// The status code that was sent.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Head(refused) => refused.status(),
            Refusal::HeadTimeout => 408,
        }
    }
}

/// A refused request, for whoever counts and logs.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest {
    pub refusal: Refusal,
    pub traffic: Traffic,
    /// From the refusal to the last byte of its answer.
    pub duration: Duration,
}

/// What we were waiting for when the time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The next bytes of the request body.
    Body,
    /// The client to take bytes of the reply.
    Write,
}

/// Why an exchange with a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client closed or reset the connection or the stream.
    #[error("the client went away")]
    Gone(#[source] Option<io::Error>),
    #[error("timed out while waiting for {}", match .0 {
        Waiting::Body => "the request body",
        Waiting::Write => "the client to take the reply",
    })]
    Timeout(Waiting),
    /// The request body's framing or its trailers are broken.
    #[error("bad request body")]
    Body(#[from] BadBody),
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// HTTP/2 as the client speaks it is at fault, on this stream or on its connection.
    #[error("HTTP/2 error")]
    Http2(#[source] Violation),
    /// The reply does not fit what its own head said: too many or too few bytes, no head, or two heads.
    #[error("the reply does not fit its head")]
    ReplyMismatch,
    /// There is no byte stream of its own to take: HTTP/2.
    #[error("the protocol has no upgrade")]
    NoUpgrade,
}

impl ClientError {
    /// The status code to answer with, where the fault is the client's and an answer may still reach it.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::BodyTooLarge(_) => Some(413),
            ClientError::Timeout(Waiting::Body) => Some(408),
            ClientError::Body(_) => Some(400),
            ClientError::Gone(_)
            | ClientError::Timeout(Waiting::Write)
            | ClientError::Http2(_)
            | ClientError::ReplyMismatch
            | ClientError::NoUpgrade => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        ClientError::Gone(Some(error))
    }
}

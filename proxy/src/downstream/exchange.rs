//! One request and its reply, whatever the protocol.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::Stream;

use super::end::End;
use super::error::ClientError;
use super::http1::Http1;
use super::http2::Http2;
use super::info::ConnectionInfo;
use crate::http::{Fields, OutgoingHead, RequestHead, ResponseHead};

/// One request of a client and the reply to it.
///
/// Calls go in the order of HTTP: informational heads, the head, the body, [`Exchange::finish`]. The request
/// body may be read before, between and after them. Dropping the exchange breaks the reply off.
#[derive(Debug)]
pub struct Exchange {
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

/// What is known of a request body before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// Bytes; may be zero where the client said so.
    Known(u64),
    Unknown,
}

/// What the caller is going to send behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendBody {
    /// Nothing. The list's own Content-Length stays in answers to HEAD and in 304, and elsewhere becomes zero.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Bytes until [`Exchange::finish`].
    Unknown,
}

/// How a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It sends no more but may still read: a one-shot client, or one that is gone and whose kernel said no more.
    HalfClosed,
    /// Nobody will read a reply.
    Gone,
}

/// Bytes of one exchange. Heads as HTTP/1 would write them; bodies without chunk lines or frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub request_head: u64,
    pub request_body: u64,
    pub response_head: u64,
    pub response_body: u64,
}

/// What a handler leaves behind.
#[derive(Debug)]
#[must_use = "the connection ends when this is dropped"]
pub struct Served(pub(super) Left);

#[derive(Debug)]
pub(super) enum Left {
    Exchange(Exchange),
    /// Nothing: the connection, or the stream, has ended.
    Nothing(End),
}

macro_rules! each {
    ($exchange:expr, $inner:ident => $call:expr) => {
        match $exchange {
            Protocol::Http1($inner) => $call,
            Protocol::Http2($inner) => $call,
        }
    };
}

impl Exchange {
    pub(super) fn http1(connection: Box<Http1>) -> Exchange {
        Exchange {
            protocol: Protocol::Http1(connection),
        }
    }

    pub(super) fn http2(stream: Box<Http2>) -> Exchange {
        Exchange {
            protocol: Protocol::Http2(stream),
        }
    }

    pub(super) fn into_http1(self) -> Option<Box<Http1>> {
        match self.protocol {
            Protocol::Http1(connection) => Some(connection),
            Protocol::Http2(_) => None,
        }
    }

    pub(super) fn into_http2(self) -> Option<Box<Http2>> {
        match self.protocol {
            Protocol::Http1(_) => None,
            Protocol::Http2(stream) => Some(stream),
        }
    }

    /// The request head; after [`Exchange::take_head`] an empty one.
    pub fn head(&self) -> &RequestHead {
        each!(&self.protocol, inner => inner.head())
    }

    pub fn head_mut(&mut self) -> &mut RequestHead {
        each!(&mut self.protocol, inner => inner.head_mut())
    }

    /// Takes the request head out, for whoever outlives the exchange.
    pub fn take_head(&mut self) -> RequestHead {
        std::mem::take(self.head_mut())
    }

    /// Gives back what [`Exchange::take_head`] and [`Exchange::take_memory`] gave: the next request is read into it.
    /// `now` is when the reply was done.
    pub fn give_back(&mut self, head: RequestHead, memory: Fields, now: Instant) {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.give_back(head, memory, now),
            Protocol::Http2(stream) => stream.give_back(head, memory),
        }
    }

    pub fn info(&self) -> &Arc<ConnectionInfo> {
        each!(&self.protocol, inner => inner.info())
    }

    /// Which request of its connection this is, from 1.
    pub fn number(&self) -> u32 {
        each!(&self.protocol, inner => inner.number())
    }

    pub fn body_length(&self) -> BodyLength {
        each!(&self.protocol, inner => inner.body_length())
    }

    /// The client waits for 100 (Continue) and has not got it. [`Exchange::read_body`] sends it by itself.
    pub fn expects_continue(&self) -> bool {
        each!(&self.protocol, inner => inner.expects_continue())
    }

    /// What the client would change to: the value of Upgrade, or `CONNECT`. HTTP/1 only.
    pub fn upgrade(&self) -> Option<&str> {
        match &self.protocol {
            Protocol::Http1(connection) => connection.upgrade(),
            Protocol::Http2(_) => None,
        }
    }

    /// The next piece of the request body, `None` at its end. May be dropped and called again.
    ///
    /// # Errors
    /// See [`ClientError`]. The reply may still be sent, and [`ClientError::status`] says which; the connection is
    /// closed behind it.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        each!(&mut self.protocol, inner => inner.read_body().await)
    }

    /// Whether the body may be as long as the client says it is: to be asked before a backend is.
    ///
    /// # Errors
    /// [`ClientError::BodyTooLarge`], which [`Exchange::read_body`] gives as well.
    pub fn refuse_declared_length(&mut self) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.refuse_declared_length())
    }

    /// The request's trailers, once [`Exchange::read_body`] has come to the end.
    pub fn take_trailers(&mut self) -> Option<Fields> {
        each!(&mut self.protocol, inner => inner.take_trailers())
    }

    /// Sends 100, 102, 103 … at once. Not to HTTP/1.0, which does not know them, and not after the head.
    pub async fn send_informational(&mut self, head: &ResponseHead) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.send_informational(head).await)
    }

    /// Sends the head of the reply, or keeps it for the first piece of body so that both go out at once. Adds
    /// Date where there is none, and writes the framing and Connection itself: what the list says of them is
    /// ignored, but that `Connection: close` is obeyed. 101 keeps its Connection and Upgrade.
    pub async fn send_head(
        &mut self,
        head: &ResponseHead,
        body: SendBody,
    ) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.send_head(head, body).await)
    }

    /// [`Exchange::send_head`] for the head of an object: its lines go out as they lie in memory.
    pub async fn send_outgoing(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
    ) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.send_outgoing(head, body).await)
    }

    /// Sends a reply that is all here: head, body and end. `body` is what the head says of it; `pieces` are dropped where
    /// the reply has none (HEAD, 204, 304).
    pub async fn send_whole(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
        pieces: &[Bytes],
    ) -> Result<(), ClientError> {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.send_whole(head, body, pieces).await,
            Protocol::Http2(stream) => {
                stream.send_outgoing(head, body).await?;
                for piece in pieces {
                    stream.send_body(piece.clone()).await?;
                }
                stream.finish(None).await
            }
        }
    }

    /// Memory for the fields of an [`OutgoingHead`], which [`Exchange::give_back`] takes back.
    pub fn take_memory(&mut self) -> Fields {
        each!(&mut self.protocol, inner => inner.take_memory())
    }

    /// Sends a piece of body; returns when the client's connection has taken it, but may keep the last one for
    /// [`Exchange::finish`]. Dropped without being sent where the reply has no body (HEAD, 204, 304).
    pub async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.send_body(piece).await)
    }

    /// [`Exchange::send_body`] for pieces that are all here: HTTP/1 offers them to the socket together.
    pub async fn send_pieces(&mut self, pieces: &[Bytes]) -> Result<(), ClientError> {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.send_pieces(pieces).await,
            Protocol::Http2(stream) => {
                for piece in pieces {
                    stream.send_body(piece.clone()).await?;
                }
                Ok(())
            }
        }
    }

    /// Sends what is kept back, now. To be called before waiting for anything but the client, since replies
    /// to pipelined requests are kept back for the next one.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.flush().await)
    }

    /// Ends the reply. Trailers are dropped where the protocol or the framing has no place for them.
    pub async fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientError> {
        each!(&mut self.protocol, inner => inner.finish(trailers).await)
    }

    /// Resolves when the client goes away while we wait for something else. May be dropped and called again; once
    /// the client has left, resolves at once.
    ///
    /// HTTP/1 reads ahead for that, boundedly: a client that has pipelined more than a few KiB is not noticed.
    pub async fn closed(&mut self) -> Departure {
        each!(&mut self.protocol, inner => inner.closed().await)
    }

    pub fn traffic(&self) -> Traffic {
        each!(&self.protocol, inner => inner.traffic())
    }

    /// Gives the exchange back for the connection's next request.
    pub fn done(self) -> Served {
        Served(Left::Exchange(self))
    }

    /// Breaks the reply off so that the client notices: HTTP/1 closes the connection, HTTP/2 resets the stream.
    pub fn abort(self) -> Served {
        Served::ended(match self.protocol {
            Protocol::Http1(connection) => connection.aborted(),
            Protocol::Http2(mut stream) => {
                stream.reset();
                End::ReplyFailed
            }
        })
    }

    /// Takes the connection and the bytes already read from it, after sending what is queued: for pipes, after 101
    /// or 2xx to CONNECT. The handler then returns [`Served::taken`].
    ///
    /// # Errors
    /// [`ClientError::NoUpgrade`] on HTTP/2; and what sending comes to.
    pub async fn into_upgraded(self) -> Result<(Stream, BytesMut), ClientError> {
        match self.protocol {
            Protocol::Http1(connection) => connection.into_upgraded().await,
            Protocol::Http2(_) => Err(ClientError::NoUpgrade),
        }
    }
}

impl Served {
    /// The handler has taken the connection, and is done with it.
    pub fn taken() -> Served {
        Served::ended(End::Upgraded)
    }

    pub(super) fn ended(end: End) -> Served {
        Served(Left::Nothing(end))
    }
}

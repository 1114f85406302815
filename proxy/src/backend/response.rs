//! A response on its way in, and the connection's way back to the pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::Stream;

use super::connect::{Connector, Origin};
use super::endpoint::Endpoint;
use super::error::{BackendError, MalformedResponse};
use super::server::{Lease, Server};
use super::wire::{Awaited, Stop, Waiting, Wire};
use crate::http::{Fields, ResponseHead};
use crate::http1::{BadBody, BodyFraming, Decoded, Decoder, HeadLimits, Persistence};

/// A final response: its head, and its body to be read.
#[derive(Debug)]
pub struct BackendResponse {
    /// As received. Hop-by-hop fields are still in it.
    pub head: ResponseHead,
    pub body: ResponseBody,
    server: Arc<Server>,
    origin: Origin,
    /// See [`BackendResponse::is_repeated`].
    pub(super) repeated: bool,
}

/// How much body is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Bytes; zero also where the response cannot have a body (HEAD, 204, 304).
    Known(u64),
    /// Unknown until the last chunk.
    Chunked,
    /// Unknown until the connection ends.
    UntilClose,
}

/// The body of a response. Read to its end, or here with its head, it gives the connection back by itself; dropped before,
/// it closes the connection, since nobody knows how much would have to be thrown away.
#[derive(Debug)]
pub struct ResponseBody {
    state: State,
    length: BodyLength,
    trailers: Option<Fields>,
}

/// A connection that has left HTTP behind (101, or 2xx to CONNECT).
pub struct Upgraded {
    pub stream: Stream,
    /// Bytes of the new protocol that came right behind the head; they precede what the stream gives.
    pub buffered: BytesMut,
    /// Counts as a connection in use until it is dropped.
    lease: Lease,
}

#[derive(Debug)]
enum State {
    Receiving(Box<(Receiving, Decoder)>),
    /// All of it came with the head, and has not been asked for; the connection has gone back.
    Here(Bytes),
    /// Complete.
    Done,
    /// Broke off; stays so.
    Broken(Arc<Server>),
    Tunnel(Box<Receiving>),
}

/// The connection of a response that is under way.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) wire: Wire,
    pub(super) endpoint: Endpoint,
    pub(super) lease: Lease,
    pub(super) connector: Arc<Connector>,
    pub(super) persistence: Persistence,
    /// How long the server keeps the connection at most, where it says so.
    pub(super) keep_alive: Option<Duration>,
}

impl BackendResponse {
    pub(super) fn new(
        head: ResponseHead,
        framing: BodyFraming,
        origin: Origin,
        mut receiving: Receiving,
        limits: &HeadLimits,
        tunnel: bool,
    ) -> BackendResponse {
        let server = Arc::clone(&receiving.lease.server);
        let length = match framing {
            BodyFraming::Empty => BodyLength::Known(0),
            BodyFraming::Length(length) => BodyLength::Known(length),
            BodyFraming::Chunked => BodyLength::Chunked,
            BodyFraming::UntilClose => BodyLength::UntilClose,
        };
        let state = if tunnel {
            State::Tunnel(Box::new(receiving))
        } else if length == BodyLength::Known(0) {
            receiving.finish();
            State::Done
        } else if let Some(body) = receiving.take_whole(length) {
            receiving.finish();
            State::Here(body)
        } else {
            let decoder = Decoder::new(framing, limits);
            State::Receiving(Box::new((receiving, decoder)))
        };
        BackendResponse {
            head,
            body: ResponseBody {
                state,
                length,
                trailers: None,
            },
            server,
            origin,
            repeated: false,
        }
    }

    /// The name of the server that answered.
    pub fn server(&self) -> &str {
        &self.server.name
    }

    /// The same, to be kept.
    pub fn server_name(&self) -> Arc<str> {
        Arc::clone(&self.server.name)
    }

    /// The connection had been used for a request before.
    pub fn is_reused(&self) -> bool {
        self.origin == Origin::Kept
    }

    /// An attempt before this one may have reached a server, and done there what it asked for.
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// The response ends HTTP on its connection: 101 to an upgrade, or 2xx to CONNECT.
    pub fn is_upgrade(&self) -> bool {
        matches!(self.body.state, State::Tunnel(_))
    }

    /// Hands over the connection, where [`BackendResponse::is_upgrade`].
    pub fn into_upgraded(self) -> Option<Upgraded> {
        match self.body.state {
            State::Tunnel(receiving) => Some(Upgraded {
                stream: receiving.wire.stream,
                buffered: receiving.wire.input,
                lease: receiving.lease,
            }),
            _ => None,
        }
    }
}

impl ResponseBody {
    /// The next piece, never empty; `None` at the end. Also sends what is left of the request body.
    /// Safe to cancel. A piece may share a buffer that is larger than itself.
    ///
    /// # Errors
    /// [`BackendError::Truncated`], `Malformed`, `BetweenBytesTimeout`, `SendTimeout` or `RequestBody`; the
    /// body then stays broken.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackendError> {
        let (receiving, decoder) = match &mut self.state {
            State::Receiving(receiving) => &mut **receiving,
            State::Here(_) => return Ok(self.take_whole()),
            State::Done | State::Tunnel(_) => return Ok(None),
            State::Broken(server) => {
                return Err(BackendError::Truncated {
                    server: server.name.to_string(),
                    source: None,
                });
            }
        };
        match receiving.receive(decoder).await {
            Ok(Received::Piece(piece)) => {
                let counters = &receiving.lease.server.counters;
                counters.beresp_bodybytes.add(piece.len() as u64);
                // With the last byte of a known length the connection is free, not with the next call.
                if decoder.is_done() {
                    self.finish();
                }
                Ok(Some(piece))
            }
            Ok(Received::End(trailers)) => {
                self.trailers = trailers;
                self.finish();
                Ok(None)
            }
            Err(error) => {
                self.state = State::Broken(Arc::clone(&receiving.lease.server));
                Err(error)
            }
        }
    }

    pub fn length(&self) -> BodyLength {
        self.length
    }

    /// All of the body, where its length was announced and every byte of it has come with the head, which is the rule for
    /// small ones. Else nothing is taken.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Here(body) => Some(body),
            State::Done if self.length == BodyLength::Known(0) => Some(Bytes::new()),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The trailers of a chunked body, once [`ResponseBody::next`] has returned `None`.
    pub fn trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    fn finish(&mut self) {
        if let State::Receiving(receiving) = std::mem::replace(&mut self.state, State::Done) {
            receiving.0.finish();
        }
    }
}

/// By how much a connection is given up earlier than its server announced to do it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// The `timeout` of a Keep-Alive field, in seconds: an old custom of HTTP/1 that many servers still keep.
pub(super) fn keep_alive_timeout(fields: &Fields) -> Option<Duration> {
    fields.list("keep-alive").find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
        let seconds = std::str::from_utf8(value).ok()?.parse().ok()?;
        name.eq_ignore_ascii_case(b"timeout=")
            .then(|| Duration::from_secs(seconds))
    })
}

enum Received {
    Piece(Bytes),
    End(Option<Fields>),
}

impl Receiving {
    /// A body of this length that is here already.
    fn take_whole(&mut self, length: BodyLength) -> Option<Bytes> {
        let BodyLength::Known(bytes) = length else {
            return None;
        };
        let bytes = usize::try_from(bytes).ok()?;
        let is_here = bytes <= self.wire.input.len();
        is_here.then(|| {
            let counters = &self.lease.server.counters;
            counters.beresp_bodybytes.add(bytes as u64);
            self.wire.input.split_to(bytes).freeze()
        })
    }

    async fn receive(&mut self, decoder: &mut Decoder) -> Result<Received, BackendError> {
        loop {
            match decoder.decode(&mut self.wire.input) {
                Ok(Decoded::Data(piece)) => return Ok(Received::Piece(piece)),
                Ok(Decoded::End(trailers)) => return Ok(Received::End(trailers)),
                Ok(Decoded::NeedMore) => {}
                Err(error) => return Err(self.bad_body(error, None)),
            }
            let counters = &self.lease.server.counters;
            let server = || self.lease.server.name.to_string();
            match self.wire.receive(Awaited::Body, counters).await {
                Ok(_) => {}
                Err(Stop::Ended) => match decoder.end_of_input() {
                    Ok(()) => return Ok(Received::End(None)),
                    Err(error) => {
                        let source = self.wire.send_error.take();
                        return Err(self.bad_body(error, source));
                    }
                },
                Err(Stop::Failed(error)) => {
                    return Err(BackendError::Truncated {
                        server: server(),
                        source: Some(error),
                    });
                }
                Err(Stop::ClientFailed) => return Err(BackendError::RequestBody),
                Err(Stop::TimedOut(Waiting::Send(waited))) => {
                    return Err(BackendError::SendTimeout {
                        server: server(),
                        waited,
                    });
                }
                Err(Stop::TimedOut(waiting)) => {
                    return Err(BackendError::BetweenBytesTimeout {
                        server: server(),
                        waited: waiting.duration(),
                    });
                }
            }
        }
    }

    fn bad_body(&self, error: BadBody, source: Option<std::io::Error>) -> BackendError {
        let server = self.lease.server.name.to_string();
        match error {
            BadBody::Truncated => BackendError::Truncated { server, source },
            error => BackendError::Malformed {
                server,
                source: MalformedResponse::Body(error),
            },
        }
    }

    /// The response is complete: the connection is kept when both sides agree on where it stands.
    fn finish(self) {
        let clean = self.persistence == Persistence::KeepAlive
            && self.wire.upload.is_done()
            && self.wire.input.is_empty();
        // Let go before the server does: a request must not meet its close halfway.
        let idle_max = self
            .keep_alive
            .map(|limit| limit.saturating_sub(KEEP_ALIVE_MARGIN));
        if clean && self.connector.keeps() && idle_max != Some(Duration::ZERO) {
            self.lease.server.counters.recycled.add(1);
            let Wire { stream, timer, .. } = self.wire;
            self.connector.keep(stream, timer, &self.endpoint, idle_max);
        }
    }
}

impl Upgraded {
    /// Counts bytes that went through the connection.
    pub fn count(&self, to_server: u64, from_server: u64) {
        let counters = &self.lease.server.counters;
        counters.pipe_out.add(to_server);
        counters.pipe_in.add(from_server);
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("server", &self.lease.server.name)
            .field("buffered", &self.buffered.len())
            .finish_non_exhaustive()
    }
}

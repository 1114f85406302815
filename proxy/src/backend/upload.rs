//! The request on its way out: head, then body pieces as the client's side delivers them.
//!
//! Driven by polls from [`super::wire`], beside the reading of the response. Holds at most one batch of
//! pieces; the channel behind it holds the client back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use pingora_core::protocols::Stream;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::counters::Counters;
use crate::http::{Fields, Method};
use crate::http1::{CHUNK_END, SentFraming, write_chunk_head, write_last_chunk};

/// The body of a request, as the client's side delivers it.
#[derive(Debug)]
pub enum RequestBody {
    Empty,
    /// All of it is here. Sent with its length, also where that is zero.
    Whole(Bytes),
    /// `length`: as the client announced it, in bytes; `None` is sent chunked. The receiver is dropped once
    /// the body is complete, or when the backend wants no more of it.
    Stream {
        length: Option<u64>,
        receiver: mpsc::Receiver<BodyPiece>,
    },
}

/// What a client's side sends over the channel of a [`RequestBody::Stream`]. A channel that closes without
/// [`BodyPiece::End`], before `length` bytes came, is a body that broke off: it is never passed on as a
/// complete one.
#[derive(Clone, Debug)]
pub enum BodyPiece {
    Data(Bytes),
    /// The body is complete. Trailers reach the backend only with a chunked body (RFC 9112 §7.1.2).
    End(Option<Fields>),
}

/// Pieces are gathered up to so many bytes before they are written.
const BATCH_BYTES: usize = 64 * 1024;
/// Most buffers handed to one write.
const SLICES_MAX: usize = 16;
/// A body of which no more than this was taken can be sent again.
const REPLAY_BYTES_MAX: usize = 64 * 1024;
const REPLAY_PIECES_MAX: usize = 16;

/// Whether what was taken from the client is kept for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeatable {
    Yes,
    No,
}

/// Whether the body may follow the head (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Until the backend asks for the body, or has been silent for long enough.
    AwaitsContinue,
}

/// What holds up an upload that is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// To take what was written.
    Backend,
    /// To deliver the next piece.
    Client,
    Gate,
}

#[derive(Debug)]
pub(super) enum UploadError {
    /// The body broke off, or is not as long as announced.
    Client,
    /// The backend takes no more.
    Io(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More pieces are to come.
    Sending,
    /// All pieces are taken; what is queued is still to be written.
    Draining,
    /// Everything is with the kernel.
    Done,
    /// Given up before the end.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Upload {
    receiver: Option<mpsc::Receiver<BodyPiece>>,
    /// Pieces taken by an attempt that failed, or here from the start, to be sent before the receiver is asked: the next
    /// one last.
    replayed: SmallVec<[BodyPiece; 1]>,
    /// Pieces taken by this attempt; `None` once there are too many, or where nothing may be repeated.
    taken: Option<Vec<BodyPiece>>,
    taken_bytes: usize,
    framing: SentFraming,
    /// Bytes still to come under [`SentFraming::Length`].
    remaining: u64,
    head: Vec<u8>,
    head_sent: usize,
    /// Behind the head. Small requests fit without an allocation.
    queue: SmallVec<[Bytes; 2]>,
    /// Pieces at its beginning that are with the kernel.
    queue_sent: usize,
    /// Of the head and the queue together.
    queued_bytes: usize,
    state: State,
    gate: Gate,
    /// The client was told to go on with its body, by whichever attempt.
    continue_told: bool,
    waits_for: WaitsFor,
    /// Bytes given to the stream so far: tells progress from standstill.
    written: u64,
}

impl Upload {
    pub(super) fn new(body: RequestBody, method: &Method, repeatable: Repeatable) -> Upload {
        let mut replayed = SmallVec::new();
        let (receiver, framing) = match body {
            // RFC 9110 §8.6: these methods expect a body, so its absence is said.
            RequestBody::Empty => match method {
                Method::Post | Method::Put | Method::Patch => (None, SentFraming::Length(0)),
                _ => (None, SentFraming::Nothing),
            },
            RequestBody::Whole(bytes) => {
                let framing = SentFraming::Length(bytes.len() as u64);
                replayed.push(BodyPiece::Data(bytes));
                (None, framing)
            }
            RequestBody::Stream {
                length: Some(length),
                receiver,
            } => (Some(receiver), SentFraming::Length(length)),
            RequestBody::Stream {
                length: None,
                receiver,
            } => (Some(receiver), SentFraming::Chunked),
        };
        Upload {
            receiver,
            replayed,
            taken: (repeatable == Repeatable::Yes).then(Vec::new),
            taken_bytes: 0,
            framing,
            remaining: 0,
            head: Vec::new(),
            head_sent: 0,
            queue: SmallVec::new(),
            queue_sent: 0,
            queued_bytes: 0,
            state: State::Abandoned,
            gate: Gate::Open,
            continue_told: false,
            waits_for: WaitsFor::Backend,
            written: 0,
        }
    }

    pub(super) fn framing(&self) -> SentFraming {
        self.framing
    }

    pub(super) fn has_body(&self) -> bool {
        !matches!(
            self.framing,
            SentFraming::Nothing | SentFraming::Described | SentFraming::Length(0)
        )
    }

    /// Begins an attempt: `head` goes out first. Pieces of an attempt before are sent again; only call it
    /// again while [`Upload::can_repeat`].
    pub(super) fn start(&mut self, head: Vec<u8>, gate: Gate) {
        if let Some(taken) = &mut self.taken {
            for piece in taken.drain(..).rev() {
                self.replayed.push(piece);
            }
        }
        self.taken_bytes = 0;
        self.clear_queue();
        self.queued_bytes = head.len();
        self.head = head;
        self.gate = gate;
        self.written = 0;
        self.state = match self.framing {
            SentFraming::Length(length) if length > 0 => {
                self.remaining = length;
                State::Sending
            }
            SentFraming::Chunked => State::Sending,
            _ => State::Draining,
        };
    }

    /// Whether another attempt can send the same request from its start.
    pub(super) fn can_repeat(&self) -> bool {
        self.taken.is_some()
    }

    /// The backend takes no more of this attempt; another one may still start.
    pub(super) fn stop(&mut self) {
        self.clear_queue();
        self.state = State::Abandoned;
    }

    /// The request is no longer wanted: the client's side learns it from the closed channel.
    pub(super) fn abandon(&mut self) {
        self.receiver = None;
        self.replayed.clear();
        self.taken = None;
        self.clear_queue();
        self.state = State::Abandoned;
    }

    /// The whole request is with the kernel.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// There is something left that [`Upload::poll`] could do.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::Sending | State::Draining)
    }

    pub(super) fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    pub(super) fn open_gate(&mut self) {
        self.gate = Gate::Open;
    }

    /// Whether the client is still to be told to go on; true once.
    pub(super) fn tell_continue(&mut self) -> bool {
        !std::mem::replace(&mut self.continue_told, true)
    }

    /// Sends as much as it can. Ready when the request is out or cannot be sent; otherwise
    /// [`Upload::waits_for`] says who is waited for.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        counters: &Counters,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            let filled = match self.poll_fill(cx, counters) {
                Poll::Ready(Ok(())) => Poll::Ready(()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            self.waits_for = WaitsFor::Backend;
            ready!(self.poll_write(cx, stream)).map_err(UploadError::Io)?;
            // The stream below buffers; nothing may stay there while we wait.
            if self.state == State::Draining || filled.is_pending() {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(UploadError::Io)?;
            }
            if self.state == State::Draining {
                self.state = State::Done;
                self.receiver = None;
                return Poll::Ready(Ok(()));
            }
            if filled.is_pending() {
                self.waits_for = match self.gate {
                    Gate::Open => WaitsFor::Client,
                    Gate::AwaitsContinue => WaitsFor::Gate,
                };
                return Poll::Pending;
            }
        }
    }

    /// Takes pieces until a batch is full or the body is complete. Pending when none is there.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        counters: &Counters,
    ) -> Poll<Result<(), UploadError>> {
        while self.state == State::Sending && self.queued_bytes < BATCH_BYTES {
            if self.gate == Gate::AwaitsContinue {
                return Poll::Pending;
            }
            let piece = match (self.replayed.pop(), &mut self.receiver) {
                (Some(piece), _) => piece,
                (None, Some(receiver)) => {
                    ready!(receiver.poll_recv(cx)).ok_or(UploadError::Client)?
                }
                (None, None) => return Poll::Ready(Err(UploadError::Client)),
            };
            self.remember(&piece);
            self.queue_piece(piece, counters)?;
        }
        Poll::Ready(Ok(()))
    }

    fn remember(&mut self, piece: &BodyPiece) {
        let Some(taken) = &mut self.taken else { return };
        if let BodyPiece::Data(data) = piece {
            self.taken_bytes += data.len();
        }
        match self.taken_bytes > REPLAY_BYTES_MAX || taken.len() == REPLAY_PIECES_MAX {
            true => self.taken = None,
            false => taken.push(piece.clone()),
        }
    }

    fn queue_piece(&mut self, piece: BodyPiece, counters: &Counters) -> Result<(), UploadError> {
        let chunked = self.framing == SentFraming::Chunked;
        match piece {
            BodyPiece::Data(data) if data.is_empty() => {}
            BodyPiece::Data(data) => {
                counters.bereq_bodybytes.add(data.len() as u64);
                if chunked {
                    let mut head = Vec::with_capacity(10);
                    write_chunk_head(&mut head, data.len());
                    self.push(head.into());
                    self.push(data);
                    self.push(Bytes::from_static(CHUNK_END));
                } else {
                    self.remaining = self
                        .remaining
                        .checked_sub(data.len() as u64)
                        .ok_or(UploadError::Client)?;
                    self.push(data);
                    if self.remaining == 0 {
                        self.state = State::Draining;
                    }
                }
            }
            BodyPiece::End(trailers) if chunked => {
                let mut end = Vec::new();
                write_last_chunk(&mut end, trailers.as_ref());
                self.push(end.into());
                self.state = State::Draining;
            }
            BodyPiece::End(_) => return Err(UploadError::Client),
        }
        Ok(())
    }

    fn push(&mut self, bytes: Bytes) {
        self.queued_bytes += bytes.len();
        self.queue.push(bytes);
    }

    fn clear_queue(&mut self) {
        self.head.clear();
        self.head_sent = 0;
        self.queue.clear();
        self.queue_sent = 0;
        self.queued_bytes = 0;
    }

    /// Empties the queue into the stream.
    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while self.queued_bytes > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let unsent = self.queue[self.queue_sent..].iter().map(|piece| &**piece);
            let unsent = std::iter::once(&self.head[self.head_sent..]).chain(unsent);
            for (slice, bytes) in slices
                .iter_mut()
                .zip(unsent.filter(|bytes| !bytes.is_empty()))
            {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let stream = Pin::new(&mut *stream);
            let mut accepted = match count {
                1 => ready!(stream.poll_write(cx, &slices[0]))?,
                _ => ready!(stream.poll_write_vectored(cx, &slices[..count]))?,
            };
            if accepted == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += accepted as u64;
            self.queued_bytes -= accepted;
            let of_head = accepted.min(self.head.len() - self.head_sent);
            self.head_sent += of_head;
            accepted -= of_head;
            while let Some(front) = self.queue.get_mut(self.queue_sent)
                && accepted > 0
            {
                let step = accepted.min(front.len());
                front.advance(step);
                accepted -= step;
                if front.is_empty() {
                    *front = Bytes::new();
                    self.queue_sent += 1;
                }
            }
        }
        self.clear_queue();
        Poll::Ready(Ok(()))
    }
}

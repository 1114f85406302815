//! An HTTP/1 connection as two buffers: bytes read and not yet used, bytes written and not yet sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::poll_fn;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;

use super::KEPT_BYTES_MAX;
use super::error::{ClientError, Waiting};
use super::timer::Timer;

/// Replies up to this size, head and body, are copied into one buffer: cheaper than a second slice.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Smallest and largest read. Reads grow while they fill their room, so an idle connection holds little.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Slices of one write. Most bodies have fewer pieces; what a server has trickled in may have thousands.
const SLICES_MAX: usize = 64;

/// The stream and its buffers. Every method may be dropped half-way and called again: what is queued stays
/// queued, what was read stays in `input`.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Read and not yet used.
    pub(super) input: BytesMut,
    /// What `input` may hold on to: it tells only of the room that is left behind what was read.
    input_bytes: usize,
    /// The client has closed its side.
    pub(super) input_closed: bool,
    pub(super) output: Output,
    pub(super) timer: Timer,
    read_bytes: usize,
}

/// Bytes to send: a head or what was copied, then pieces of body, then what ends them.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    head_sent: usize,
    /// None is empty.
    body: VecDeque<Bytes>,
    /// In all of them.
    body_bytes: usize,
    tail: &'static [u8],
    needs_flush: bool,
}

impl Output {
    /// Where to append heads, chunk lines and trailers. Only while no body piece is queued.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        debug_assert!(!self.has_piece(), "a head never overtakes a body");
        &mut self.head
    }

    pub(super) fn has_piece(&self) -> bool {
        self.body_bytes > 0 || !self.tail.is_empty()
    }

    pub(super) fn queued(&self) -> usize {
        self.head.len() - self.head_sent + self.body_bytes + self.tail.len()
    }

    /// Whether a piece of body is small enough to be copied behind the head.
    pub(super) fn takes(&self, piece: &[u8]) -> bool {
        self.head.len() + piece.len() <= COPY_BYTES_MAX
    }

    /// Queues pieces of body behind what is there: `bytes` in all.
    pub(super) fn queue(
        &mut self,
        pieces: impl IntoIterator<Item = Bytes>,
        bytes: usize,
        tail: &'static [u8],
    ) {
        debug_assert!(!self.has_piece(), "what was queued before is sent before");
        if self.head.len() + bytes + tail.len() <= COPY_BYTES_MAX {
            for piece in pieces {
                self.head.extend_from_slice(&piece);
            }
            self.head.extend_from_slice(tail);
        } else {
            self.body
                .extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            self.body_bytes = bytes;
            self.tail = tail;
        }
    }

    /// What is queued, as far as one write takes it.
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let unsent = &self.head[self.head_sent..];
        let pieces = self.body.iter().map(|piece| &piece[..]);
        let all = std::iter::once(unsent).chain(pieces).chain([self.tail]);
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(all.filter(|bytes| !bytes.is_empty())) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    fn advance(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        let of_body = (sent - of_head).min(self.body_bytes);
        self.body_bytes -= of_body;
        let mut left = of_body;
        while left > 0
            && let Some(piece) = self.body.front_mut()
        {
            let of_piece = left.min(piece.len());
            left -= of_piece;
            piece.advance(of_piece);
            if piece.is_empty() {
                self.body.pop_front();
            }
        }
        let of_tail = sent - of_head - of_body;
        self.tail = &self.tail[of_tail..];
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, input: BytesMut) -> Wire {
        Wire {
            stream,
            input_bytes: input.capacity(),
            input,
            input_closed: false,
            output: Output::default(),
            timer: Timer::default(),
            read_bytes: READ_BYTES_MIN,
        }
    }

    /// The stream and what was read ahead of it.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.input)
    }

    /// Reads once into `input`; zero bytes mean the client has closed its side.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input_closed {
            return Poll::Ready(Ok(0));
        }
        self.input.reserve(self.read_bytes);
        self.input_bytes = self.input_bytes.max(self.input.capacity());
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input));
        let count = ready!(read.poll(cx))?;
        self.input_closed = count == 0;
        if count >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(count))
    }

    /// Sends what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.queued() > 0 {
            let output = &self.output;
            let stream = Pin::new(&mut *self.stream);
            let sent = if output.has_piece() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = output.slices(&mut slices);
                ready!(stream.poll_write_vectored(cx, &slices[..count]))?
            } else {
                ready!(stream.poll_write(cx, &output.head[output.head_sent..]))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(sent);
            self.output.needs_flush = true;
            self.timer.restart();
        }
        if self.output.needs_flush {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.output.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is queued; `limit` is how long the client may take nothing.
    pub(super) async fn flush(&mut self, limit: Duration) -> Result<(), ClientError> {
        self.timer.restart();
        poll_fn(|cx| match self.poll_flush(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(ClientError::from)),
            Poll::Pending => self
                .timer
                .poll_elapsed(cx, limit)
                .map(|()| Err(ClientError::Timeout(Waiting::Write))),
        })
        .await
    }

    /// Ends our side and reads on, up to `bytes_max` and `limit`, so that the last reply is not lost to a reset: a socket closed
    /// with unread bytes makes the client's kernel throw away what it has not yet read (RFC 9112 §9.6).
    pub(super) async fn linger(mut self, bytes_max: u64, limit: Duration) {
        let lingering = async {
            poll_fn(|cx| Pin::new(&mut *self.stream).poll_shutdown(cx)).await?;
            let mut skipped = 0;
            while !self.input_closed && skipped < bytes_max {
                self.input.clear();
                skipped += poll_fn(|cx| self.poll_read(cx)).await? as u64;
            }
            io::Result::Ok(())
        };
        // Nothing is owed to a client that fails here.
        let _ = tokio::time::timeout(limit, lingering).await;
    }

    /// Gives up memory that one large message has claimed.
    pub(super) fn shrink(&mut self) {
        if self.output.queued() == 0 && self.output.head.capacity() > KEPT_BYTES_MAX {
            self.output.head = Vec::new();
        }
        if self.output.body.is_empty() && self.output.body.capacity() > SLICES_MAX {
            self.output.body = VecDeque::new();
        }
        if self.input.is_empty() && self.input_bytes > KEPT_BYTES_MAX {
            self.input = BytesMut::new();
            self.input_bytes = 0;
            self.read_bytes = READ_BYTES_MIN;
        }
    }
}

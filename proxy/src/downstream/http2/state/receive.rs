//! Request bodies: from frames to handlers, and the windows by which clients send them (RFC 9113 §6.9).

use std::task::{Context, Poll};

use bytes::Bytes;

use super::super::super::error::ClientError;
use super::stream::StreamKey;
use super::{State, Violation};
use crate::http::Fields;
use crate::http1::BadBody;
use crate::http2::{ErrorCode, WINDOW_BYTES_MAX, write_window_update};

/// Most that is given to a handler at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

pub(super) type Trailers = Result<Fields, BadBody>;

/// What there is of a request's body.
#[derive(Debug)]
pub(in super::super) enum Received {
    /// Never empty.
    Data(Bytes),
    End(Option<Trailers>),
}

impl State {
    /// DATA: `window_bytes` with its padding.
    ///
    /// # Errors
    /// What the client loses by it.
    pub(in super::super) fn data(
        &mut self,
        id: u32,
        data: &[u8],
        window_bytes: usize,
        is_end: bool,
    ) -> Result<(), Violation> {
        let counted = window_bytes as i64;
        if counted > self.receive_window {
            return Err(Violation::Connection(ErrorCode::FLOW_CONTROL_ERROR));
        }
        self.receive_window -= counted;
        let slot = self.find(id);
        let stream = slot.map(|slot| &mut self.slots[slot]);
        let Some(stream) = stream.filter(|stream| stream.ended.is_none()) else {
            self.release(window_bytes);
            return match self.was_reset_lately(id) {
                true => Ok(()),
                false => Err(Violation::Stream(id, ErrorCode::STREAM_CLOSED)),
            };
        };
        let length = data.len() as u64;
        let wrong = if stream.is_received {
            Some(ErrorCode::STREAM_CLOSED)
        } else if counted > stream.receive_window {
            Some(ErrorCode::FLOW_CONTROL_ERROR)
        } else if stream.expected.is_some_and(|expected| match is_end {
            true => length != expected,
            false => length > expected,
        }) {
            Some(ErrorCode::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(code) = wrong {
            self.release(window_bytes);
            return Err(Violation::Stream(id, code));
        }
        stream.receive_window -= counted;
        if let Some(expected) = &mut stream.expected {
            *expected -= length;
        }
        // Copied: a piece of the input would hold all of it, however small the piece.
        stream.body.extend_from_slice(data);
        stream.is_received = is_end;
        stream.wake();
        let padding = window_bytes - data.len();
        if padding > 0 {
            self.release_of(id, padding);
            self.release(padding);
        }
        Ok(())
    }

    /// Trailers end a body as the last DATA does.
    ///
    /// # Errors
    /// The body is shorter than its head said, or has ended before.
    pub(in super::super) fn trailers(
        &mut self,
        id: u32,
        trailers: Trailers,
    ) -> Result<(), Violation> {
        let Some(slot) = self.find(id) else {
            return Ok(());
        };
        let stream = &mut self.slots[slot];
        if stream.ended.is_some() || stream.is_received {
            return Err(Violation::Stream(id, ErrorCode::STREAM_CLOSED));
        }
        if stream.expected.is_some_and(|expected| expected > 0) {
            return Err(Violation::Stream(id, ErrorCode::PROTOCOL_ERROR));
        }
        stream.is_received = true;
        stream.trailers = Some(trailers);
        stream.wake();
        Ok(())
    }

    /// The next piece of a body. The window opens again by what leaves here: whoever takes pieces slowly is sent them
    /// slowly.
    pub(in super::super) fn poll_body(
        &mut self,
        key: StreamKey,
        cx: &Context<'_>,
    ) -> Poll<Result<Received, ClientError>> {
        let is_half_closed = self.is_half_closed;
        let stream = self.stream(key);
        if let Some(ended) = stream.ended {
            return Poll::Ready(Err(ended.error(key.id)));
        }
        if !stream.body.is_empty() {
            let length = stream.body.len().min(PIECE_BYTES_MAX);
            let piece = stream.body.split_to(length).freeze();
            self.release_of(key.id, length);
            self.release(length);
            return Poll::Ready(Ok(Received::Data(piece)));
        }
        if stream.is_received {
            return Poll::Ready(Ok(Received::End(stream.trailers.take())));
        }
        if is_half_closed {
            return Poll::Ready(Err(ClientError::Gone(None)));
        }
        stream.wait(cx);
        Poll::Pending
    }

    /// Gives back so many bytes of the connection's window, once it is worth a frame.
    pub(super) fn release(&mut self, bytes: usize) {
        self.released += bytes as u32;
        if self.released >= self.connection_window_bytes / 2 && !self.is_over {
            write_window_update(self.output.end(), 0, self.released);
            self.receive_window += i64::from(self.released);
            self.released = 0;
            self.wake_connection();
        }
    }

    /// The same for the window of a stream.
    fn release_of(&mut self, id: u32, bytes: usize) {
        let window = self.stream_window_bytes;
        let Some(slot) = self.find(id) else {
            return;
        };
        let stream = &mut self.slots[slot];
        stream.released += bytes as u32;
        if stream.released >= window / 2 && !stream.is_received {
            write_window_update(self.output.end(), id, stream.released);
            stream.receive_window += i64::from(stream.released);
            stream.released = 0;
            self.wake_connection();
        }
    }

    /// The client takes more of the replies of all streams (0) or of one.
    ///
    /// # Errors
    /// The window would become too large (RFC 9113 §6.9.1).
    pub(in super::super) fn window_update(
        &mut self,
        id: u32,
        increment: u32,
    ) -> Result<(), Violation> {
        let max = i64::from(WINDOW_BYTES_MAX);
        if id == 0 {
            self.send_window += i64::from(increment);
            return match self.send_window > max {
                true => Err(Violation::Connection(ErrorCode::FLOW_CONTROL_ERROR)),
                false => Ok(()),
            };
        }
        let Some(slot) = self.find(id) else {
            return Ok(());
        };
        let stream = &mut self.slots[slot];
        stream.send_window += i64::from(increment);
        if stream.send_window > max {
            return Err(Violation::Stream(id, ErrorCode::FLOW_CONTROL_ERROR));
        }
        self.make_ready(slot);
        Ok(())
    }
}

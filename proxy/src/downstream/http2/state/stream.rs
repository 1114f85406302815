//! One stream, as the connection keeps it.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};

use super::super::super::error::ClientError;
use super::receive::Trailers;
use super::send::ReplyEnd;
use crate::http2::{ErrorCode, Violation};

/// Which stream, for its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct StreamKey {
    pub(in super::super) id: u32,
    pub(super) slot: usize,
}

/// Why a stream has ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    ByClient(ErrorCode),
    ByUs(ErrorCode),
    WithConnection,
}

impl Ended {
    pub(super) fn error(self, id: u32) -> ClientError {
        match self {
            Ended::WithConnection | Ended::ByClient(ErrorCode::CANCEL | ErrorCode::NO_ERROR) => {
                ClientError::Gone(None)
            }
            Ended::ByClient(code) | Ended::ByUs(code) => {
                ClientError::Http2(Violation::Stream(id, code))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) ended: Option<Ended>,
    /// The handler, where it waits for anything.
    waker: Option<Waker>,

    /// What came of the request's body and was not yet read.
    pub(super) body: BytesMut,
    /// The client has ended its side.
    pub(super) is_received: bool,
    pub(super) trailers: Option<Trailers>,
    /// What the client may still send; what was read and not yet given back.
    pub(super) receive_window: i64,
    pub(super) released: u32,
    /// Bytes that are to come, where the head says it.
    pub(super) expected: Option<u64>,

    /// Pieces of the reply's body that wait for windows, and their bytes.
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    /// How many of them the handler that waits would leave there.
    pub(super) wanted: usize,
    pub(super) reply_end: ReplyEnd,
    pub(super) send_window: i64,
    /// Bytes of the body that have left the queue.
    pub(super) drained: u64,
    /// It stands among those that take turns.
    pub(super) is_ready: bool,
}

impl Stream {
    pub(super) fn begin(
        &mut self,
        id: u32,
        is_received: bool,
        content_length: Option<u64>,
        send_window: i64,
        receive_window: i64,
    ) {
        self.id = id;
        self.is_received = is_received;
        self.expected = content_length;
        self.send_window = send_window;
        self.receive_window = receive_window;
    }

    /// END_STREAM is in the output.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.reply_end, ReplyEnd::Sent)
    }

    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Drops what waits on either side; gives the bytes that nobody has read.
    pub(super) fn drop_content(&mut self) -> usize {
        let unread = self.body.len();
        self.queue.clear();
        self.queued = 0;
        self.trailers = None;
        // Its capacity would not tell how large the allocation is of which pieces were split off.
        self.body = BytesMut::new();
        unread
    }

    /// Makes the slot one for another stream; gives the bytes that nobody has read. What is among those that take
    /// turns stays there until its turn.
    pub(super) fn clear(&mut self) -> usize {
        let unread = self.drop_content();
        self.id = 0;
        self.ended = None;
        self.waker = None;
        self.released = 0;
        self.reply_end = ReplyEnd::Open;
        self.drained = 0;
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_read_in_part_leaves_no_memory() {
        let mut stream = Stream::default();
        stream.body.extend_from_slice(&[0; 256 * 1024]);
        drop(stream.body.split_to(250 * 1024));
        assert_eq!(stream.drop_content(), 6 * 1024);
        assert_eq!(stream.body.capacity(), 0);
    }
}

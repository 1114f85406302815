//! Replies: from handlers to frames, as far as the client's windows allow, one stream after the other.

use std::task::Context;

use bytes::Bytes;

use super::super::super::error::ClientError;
use super::State;
use super::stream::StreamKey;
use crate::http2::{ErrorCode, FRAME_HEAD_BYTES, Kind, flags, write_frame_head, write_table_size};

/// How far the end of a reply is.
#[derive(Debug, Default)]
pub(in super::super) enum ReplyEnd {
    #[default]
    Open,
    /// It goes with the last of the body.
    Data,
    /// A header block goes behind the body.
    Trailers(Vec<u8>),
    /// END_STREAM is in the output.
    Sent,
}

/// What is sent of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum AnswerBody {
    Sent,
    /// Only its length: to HEAD.
    Described,
}

/// Whether enough of a body has left its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Sending {
    Done,
    /// So many bytes have, of all of the body.
    Waits(u64),
}

impl State {
    /// Appends a header block that `write` writes, in as many frames as it takes. Gives what `write` gives.
    pub(in super::super) fn send_block(
        &mut self,
        id: u32,
        end_stream: u8,
        write: impl FnOnce(&mut Vec<u8>) -> u64,
    ) -> u64 {
        let out = self.output.end();
        let start = out.len();
        write_frame_head(out, 0, Kind::Headers, 0, id);
        if self.table_was_resized {
            write_table_size(out);
            self.table_was_resized = false;
        }
        let size = write(out);
        let length = out.len() - start - FRAME_HEAD_BYTES;
        if length <= self.frame_bytes_max {
            let [_, a, b, c] = (length as u32).to_be_bytes();
            out[start..start + 3].copy_from_slice(&[a, b, c]);
            out[start + 4] = flags::END_HEADERS | end_stream;
        } else {
            let block = out.split_off(start + FRAME_HEAD_BYTES);
            out.truncate(start);
            let mut pieces = block.chunks(self.frame_bytes_max).peekable();
            let (mut kind, mut flags) = (Kind::Headers, end_stream);
            while let Some(piece) = pieces.next() {
                if pieces.peek().is_none() {
                    flags |= flags::END_HEADERS;
                }
                write_frame_head(out, piece.len(), kind, flags, id);
                out.extend_from_slice(piece);
                (kind, flags) = (Kind::Continuation, 0);
            }
        }
        self.wake_connection();
        size
    }

    /// Answers on a stream that nobody has taken up. The body is left out where the windows have no room for it. Gives
    /// what `write` gives, which gets the length of the body, and the bytes that were sent of it.
    pub(in super::super) fn answer(
        &mut self,
        id: u32,
        is_received: bool,
        body: Bytes,
        body_is: AnswerBody,
        write: impl FnOnce(&mut Vec<u8>, u64) -> u64,
    ) -> (u64, u64) {
        let window = self.send_window.min(self.initial_send_window);
        let has_room = window >= body.len() as i64;
        let (stated, length, end_stream) = match body_is {
            AnswerBody::Described => (body.len() as u64, 0, flags::END_STREAM),
            AnswerBody::Sent if has_room => (body.len() as u64, body.len() as u64, 0),
            AnswerBody::Sent => (0, 0, flags::END_STREAM),
        };
        let size = self.send_block(id, end_stream, |out| write(out, stated));
        if length > 0 {
            self.send_window -= length as i64;
            let out = self.output.end();
            write_frame_head(out, body.len(), Kind::Data, flags::END_STREAM, id);
            out.extend_from_slice(&body);
        }
        if !is_received {
            self.refuse(id, ErrorCode::NO_ERROR);
        }
        (size, length)
    }

    /// Sends the head of a reply, and its end where nothing follows.
    pub(in super::super) fn send_head(
        &mut self,
        key: StreamKey,
        is_end: bool,
        write: impl FnOnce(&mut Vec<u8>) -> u64,
    ) -> Result<u64, ClientError> {
        if let Some(error) = self.error(key) {
            return Err(error);
        }
        if is_end {
            self.stream(key).reply_end = ReplyEnd::Sent;
        }
        let end_stream = if is_end { flags::END_STREAM } else { 0 };
        Ok(self.send_block(key.id, end_stream, write))
    }

    /// Queues a piece of body, and `end` behind it. Says whether no more than `most` bytes are left in the queue.
    ///
    /// # Errors
    /// The stream is over.
    pub(in super::super) fn send(
        &mut self,
        key: StreamKey,
        piece: Bytes,
        end: ReplyEnd,
        most: usize,
    ) -> Result<Sending, ClientError> {
        if let Some(error) = self.error(key) {
            return Err(error);
        }
        let stream = &mut self.slots[key.slot];
        if stream.is_sent() {
            return Ok(Sending::Done);
        }
        if !matches!(end, ReplyEnd::Open) {
            stream.reply_end = end;
        }
        if !piece.is_empty() {
            stream.queued += piece.len();
            if stream.queue.is_empty() && self.ready.is_empty() {
                // Nobody stands before it: it need not stand in line either.
                if let Some(rest) = self.send_some(key.slot, piece) {
                    self.slots[key.slot].queue.push_back(rest);
                }
            } else {
                stream.queue.push_back(piece);
            }
        }
        if self.slots[key.slot].queue.is_empty() {
            self.send_end(key.slot);
        } else {
            self.make_ready(key.slot);
            self.pump();
        }
        self.wake_connection();
        Ok(self.sending(key, most))
    }

    /// How far the queue of a stream is.
    ///
    /// # Errors
    /// As [`State::send`].
    pub(in super::super) fn poll_sending(
        &mut self,
        key: StreamKey,
        most: usize,
        cx: &Context<'_>,
    ) -> Result<Sending, ClientError> {
        if let Some(error) = self.error(key) {
            return Err(error);
        }
        let stream = self.stream(key);
        stream.wanted = most;
        stream.wait(cx);
        Ok(self.sending(key, most))
    }

    fn sending(&mut self, key: StreamKey, most: usize) -> Sending {
        let stream = self.stream(key);
        match stream.queued <= most {
            true => Sending::Done,
            false => Sending::Waits(stream.drained),
        }
    }

    /// Puts a stream among those that take turns, if it has something to send and may.
    pub(super) fn make_ready(&mut self, slot: usize) {
        let stream = &mut self.slots[slot];
        if !stream.is_ready && stream.send_window > 0 && !stream.queue.is_empty() {
            stream.is_ready = true;
            self.ready.push_back(slot);
        }
    }

    pub(super) fn can_pump(&self) -> bool {
        !self.ready.is_empty() && self.send_window > 0 && !self.has_much_output()
    }

    /// Moves bodies to the output, a frame of each stream in turn.
    pub(super) fn pump(&mut self) {
        while self.can_pump()
            && let Some(slot) = self.ready.pop_front()
        {
            self.slots[slot].is_ready = false;
            let Some(piece) = self.slots[slot].queue.pop_front() else {
                continue;
            };
            if let Some(rest) = self.send_some(slot, piece) {
                self.slots[slot].queue.push_front(rest);
            }
            let stream = &mut self.slots[slot];
            if stream.queued <= stream.wanted {
                stream.wake();
            }
            match stream.queue.is_empty() {
                true => self.send_end(slot),
                false => self.make_ready(slot),
            }
        }
    }

    /// One frame of a piece that is the first of its queue; gives what is left of it.
    fn send_some(&mut self, slot: usize, mut piece: Bytes) -> Option<Bytes> {
        let is_full = self.has_much_output();
        let stream = &mut self.slots[slot];
        let window = stream.send_window.min(self.send_window);
        let window = usize::try_from(window).unwrap_or(0);
        let length = piece.len().min(window).min(self.frame_bytes_max);
        if length == 0 || is_full {
            return Some(piece);
        }
        let rest = piece.split_off(length);
        stream.send_window -= length as i64;
        self.send_window -= length as i64;
        stream.queued -= length;
        stream.drained += length as u64;
        let is_last = rest.is_empty() && stream.queue.is_empty();
        let mut bits = 0;
        if is_last && matches!(stream.reply_end, ReplyEnd::Data) {
            bits = flags::END_STREAM;
            stream.reply_end = ReplyEnd::Sent;
        }
        write_frame_head(self.output.end(), length, Kind::Data, bits, stream.id);
        self.output.push(piece);
        (!rest.is_empty()).then_some(rest)
    }

    /// Sends the end of a reply whose queue is empty, if it is due.
    fn send_end(&mut self, slot: usize) {
        let stream = &mut self.slots[slot];
        let id = stream.id;
        match std::mem::take(&mut stream.reply_end) {
            ReplyEnd::Data => {
                stream.reply_end = ReplyEnd::Sent;
                write_frame_head(self.output.end(), 0, Kind::Data, flags::END_STREAM, id);
            }
            ReplyEnd::Trailers(block) => {
                stream.reply_end = ReplyEnd::Sent;
                self.send_block(id, flags::END_STREAM, |out| {
                    out.extend_from_slice(&block);
                    0
                });
            }
            unchanged => stream.reply_end = unchanged,
        }
    }
}

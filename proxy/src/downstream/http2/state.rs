//! What the streams of a connection share with it: their states, the windows of both sides, and what waits to be sent.
//!
//! One lock holds it all, and it is held for no await and no call of a handler. The connection's own task takes it for
//! each frame, a handler for each thing it sends or reads; nearly always both are the same task, and nobody waits.

mod receive;
mod send;
mod stream;

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use self::stream::{Ended, Stream};
use super::super::error::ClientError;
use super::super::exchange::Departure;
use super::super::settings::Http2Settings;
use super::output::Output;
use crate::http2::{
    ErrorCode, FRAME_BYTES_DEFAULT, PeerSettings, Violation, WINDOW_BYTES_DEFAULT,
    WINDOW_BYTES_MAX, write_reset, write_settings_ack, write_window_update,
};

pub(super) use self::receive::Received;
pub(super) use self::send::{AnswerBody, ReplyEnd, Sending};
pub(super) use self::stream::StreamKey;

/// Queued output beyond which no more is taken from bodies, and no more frames are read.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// Largest frame of ours, whatever the client allows: so that streams take turns.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The state behind its lock.
#[derive(Debug)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(output: Output, settings: &Http2Settings) -> Shared {
        Shared(Mutex::new(State::new(output, settings)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) output: Output,
    /// Bytes that the connection's task has taken out of it and not yet sent.
    in_flight: usize,
    /// All that were ever open at once, with their memory.
    slots: Vec<Stream>,
    free: Vec<usize>,
    /// Streams with a handler, by number: identifier and slot.
    by_id: Vec<(u32, usize)>,
    /// Of these, such as count for the client's limit.
    open: usize,
    /// Slots that have something to send and a window for it, in turn.
    ready: VecDeque<usize>,
    /// What the client takes, of all streams and at first of each, and in one frame.
    send_window: i64,
    initial_send_window: i64,
    frame_bytes_max: usize,
    /// The client has changed the size of a table that we do not use, and wants to hear so.
    table_was_resized: bool,
    /// What the client may still send, and what was taken of it and not yet given back.
    receive_window: i64,
    released: u32,
    connection_window_bytes: u32,
    stream_window_bytes: u32,
    /// Streams that are gone although the client may not know it yet, the oldest first.
    reset_lately: VecDeque<u32>,
    reset_lately_max: usize,
    /// Streams that the client has reset before their replies were complete, less those whose replies were completed,
    /// and less one for each second since.
    resets: usize,
    forgiven: Instant,
    /// The connection's task, and whether it will look at the output by itself.
    connection: Waker,
    is_awake: bool,
    /// Something was done that the connection's task has to look at.
    is_touched: bool,
    is_over: bool,
    /// The client sends nothing more.
    is_half_closed: bool,
    /// Who waits for the output to become shorter.
    crowd: Vec<Waker>,
}

impl State {
    fn new(output: Output, settings: &Http2Settings) -> State {
        // All that may be open can be reset at once, while frames of each are still under way.
        let streams_max = settings.concurrent_streams_max as usize + settings.resets_max;
        let reset_lately_max = settings
            .reset_streams_max
            .max(streams_max.saturating_mul(2));
        State {
            output,
            in_flight: 0,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: Vec::new(),
            open: 0,
            ready: VecDeque::new(),
            send_window: i64::from(WINDOW_BYTES_DEFAULT),
            initial_send_window: i64::from(WINDOW_BYTES_DEFAULT),
            frame_bytes_max: FRAME_BYTES_DEFAULT,
            table_was_resized: false,
            receive_window: i64::from(WINDOW_BYTES_DEFAULT),
            released: 0,
            connection_window_bytes: settings.connection_window_bytes,
            stream_window_bytes: settings.stream_window_bytes,
            reset_lately: VecDeque::new(),
            reset_lately_max,
            resets: 0,
            forgiven: Instant::now(),
            connection: Waker::noop().clone(),
            is_awake: true,
            is_touched: false,
            is_over: false,
            is_half_closed: false,
            crowd: Vec::new(),
        }
    }

    /// Opens the connection's window as far as it goes.
    pub(super) fn open_window(&mut self) {
        let more = i64::from(self.connection_window_bytes) - self.receive_window;
        if let Ok(more @ 1..) = u32::try_from(more) {
            write_window_update(self.output.end(), 0, more);
            self.receive_window += i64::from(more);
        }
    }

    /// The connection's task has begun a round.
    pub(super) fn awake(&mut self, cx: &Context<'_>) {
        self.is_awake = true;
        if !self.connection.will_wake(cx.waker()) {
            self.connection = cx.waker().clone();
        }
    }

    /// The connection's task ends its round, unless there is something that it has not looked at.
    pub(super) fn sleep(&mut self) -> bool {
        self.is_awake = std::mem::take(&mut self.is_touched);
        !self.is_awake
    }

    /// Has the connection's task look again.
    fn wake_connection(&mut self) {
        self.is_touched = true;
        if !self.is_awake {
            self.is_awake = true;
            self.connection.wake_by_ref();
        }
    }

    /// Streams with a handler.
    pub(super) fn streams(&self) -> usize {
        self.by_id.len()
    }

    /// No stream has a handler, and nothing waits to be sent.
    pub(super) fn is_done(&self) -> bool {
        self.by_id.is_empty() && self.output.queued() + self.in_flight == 0
    }

    /// Streams that count for the client's limit.
    pub(super) fn open_streams(&self) -> usize {
        self.open
    }

    pub(super) fn has_much_output(&self) -> bool {
        self.output.queued() + self.in_flight >= OUTPUT_BYTES_MAX
    }

    /// Moves bodies to the output, and the output to `sending`, which is empty: it is sent without the lock. Says whether
    /// there is any.
    pub(super) fn take_output(&mut self, sending: &mut Output) -> bool {
        self.in_flight = 0;
        self.is_touched = false;
        self.pump();
        if self.is_half_closed {
            self.end_stuck();
        }
        if self.output.queued() == 0 {
            self.output.shrink();
            return false;
        }
        std::mem::swap(&mut self.output, sending);
        self.in_flight = sending.queued();
        true
    }

    /// Waits for the output to become short enough for another frame of the handler's own making.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        const CROWD_MAX: usize = 1024;
        if !self.has_much_output() || self.is_over || self.crowd.len() >= CROWD_MAX {
            return Poll::Ready(());
        }
        self.crowd.push(cx.waker().clone());
        Poll::Pending
    }

    /// So much of what was taken out is left.
    pub(super) fn sent_but(&mut self, bytes: usize) {
        self.in_flight = bytes;
        if !self.crowd.is_empty() && !self.has_much_output() {
            self.crowd.drain(..).for_each(Waker::wake);
        }
    }

    fn find(&self, id: u32) -> Option<usize> {
        let found = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[found].1)
    }

    fn stream(&mut self, key: StreamKey) -> &mut Stream {
        let stream = &mut self.slots[key.slot];
        debug_assert_eq!(
            stream.id, key.id,
            "a slot is not given away under its handler"
        );
        stream
    }

    /// Whether this stream has a handler.
    pub(super) fn has(&self, id: u32) -> bool {
        self.find(id).is_some()
    }

    /// Whether the stream was reset by us a short time ago: what the client sends on it may be from before.
    pub(super) fn was_reset_lately(&self, id: u32) -> bool {
        self.reset_lately.contains(&id)
    }

    /// Takes up a stream, whose number is the highest so far.
    pub(super) fn open(
        &mut self,
        id: u32,
        is_received: bool,
        content_length: Option<u64>,
    ) -> StreamKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() - 1
        });
        self.slots[slot].begin(
            id,
            is_received,
            content_length,
            self.initial_send_window,
            i64::from(self.stream_window_bytes),
        );
        self.by_id.push((id, slot));
        self.open += 1;
        StreamKey { id, slot }
    }

    /// Why the stream is over before its time.
    pub(super) fn error(&mut self, key: StreamKey) -> Option<ClientError> {
        self.stream(key).ended.map(|ended| ended.error(key.id))
    }

    /// Ready once the stream has ended before its time, or its client sends no more.
    pub(super) fn poll_departure(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<Departure> {
        let is_half_closed = self.is_half_closed;
        let stream = self.stream(key);
        if stream.ended.is_some() {
            return Poll::Ready(Departure::Gone);
        }
        if is_half_closed {
            return Poll::Ready(Departure::HalfClosed);
        }
        stream.wait(cx);
        Poll::Pending
    }

    /// Breaks a reply off, unless it is complete or the stream has ended before.
    pub(super) fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        let stream = self.stream(key);
        if stream.ended.is_none() && !stream.is_sent() {
            self.end(key.slot, Ended::ByUs(code));
            self.write_reset(key.id, code);
            self.wake_connection();
        }
    }

    /// The handler is done with its stream. Says whether its reply was complete.
    pub(super) fn close(&mut self, key: StreamKey) -> bool {
        let stream = self.stream(key);
        let is_sent = stream.is_sent();
        let is_received = stream.is_received;
        if stream.ended.is_none() {
            if !is_sent {
                self.write_reset(key.id, ErrorCode::INTERNAL_ERROR);
            } else if !is_received {
                // The rest of the body is not wanted; nobody is to blame (RFC 9113 §8.1).
                self.write_reset(key.id, ErrorCode::NO_ERROR);
            }
            self.open -= 1;
        }
        if is_sent {
            // It makes up for one that was reset.
            self.resets = self.resets.saturating_sub(1);
        }
        let unread = self.stream(key).clear();
        self.release(unread);
        if let Ok(found) = self.by_id.binary_search_by_key(&key.id, |(id, _)| *id) {
            self.by_id.remove(found);
        }
        self.free.push(key.slot);
        self.wake_connection();
        is_sent
    }

    fn write_reset(&mut self, id: u32, code: ErrorCode) {
        write_reset(self.output.end(), id, code);
        self.reset_lately.push_back(id);
        if self.reset_lately.len() > self.reset_lately_max {
            self.reset_lately.pop_front();
        }
    }

    /// Ends a stream before its time, for its handler to notice.
    fn end(&mut self, slot: usize, ended: Ended) {
        let stream = &mut self.slots[slot];
        if stream.ended.is_none() {
            stream.ended = Some(ended);
            self.open -= 1;
            let unread = stream.drop_content();
            stream.wake();
            self.release(unread);
        }
    }

    /// The client sends nothing more: who waits for it learns so.
    pub(super) fn half_close(&mut self) {
        self.is_half_closed = true;
        for (_, slot) in &self.by_id {
            self.slots[*slot].wake();
        }
    }

    /// Ends the streams for which a client that sends nothing more will never open a window.
    fn end_stuck(&mut self) {
        for index in 0..self.by_id.len() {
            let slot = self.by_id[index].1;
            let stream = &self.slots[slot];
            let window = stream.send_window.min(self.send_window);
            if !stream.queue.is_empty() && window <= 0 {
                self.end(slot, Ended::WithConnection);
            }
        }
    }

    /// Ends all streams: nobody reads what they would send.
    pub(super) fn end_all(&mut self) {
        self.is_over = true;
        for index in 0..self.by_id.len() {
            self.end(self.by_id[index].1, Ended::WithConnection);
        }
        self.ready.clear();
        self.crowd.drain(..).for_each(Waker::wake);
    }

    /// Refuses a stream that nobody has taken up.
    pub(super) fn refuse(&mut self, id: u32, code: ErrorCode) {
        self.write_reset(id, code);
    }

    /// The client has broken a rule on a stream that exists or existed: the stream ends.
    pub(super) fn fail(&mut self, id: u32, code: ErrorCode) {
        if let Some(slot) = self.find(id) {
            self.end(slot, Ended::ByUs(code));
        }
        self.write_reset(id, code);
    }

    /// The client resets a stream. Gives the number of those that it did not wait for.
    pub(super) fn reset_by_client(&mut self, id: u32, code: ErrorCode) -> usize {
        let Some(slot) = self.find(id) else {
            return self.resets;
        };
        let stream = &self.slots[slot];
        if stream.ended.is_none() && !stream.is_sent() {
            let seconds = self.forgiven.elapsed().as_secs();
            if seconds > 0 {
                // Once in a while a client has a reason; a connection may last for days.
                let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
                self.resets = self.resets.saturating_sub(seconds);
                self.forgiven = Instant::now();
            }
            self.resets += 1;
        }
        self.end(slot, Ended::ByClient(code));
        self.resets
    }

    /// What the client says of itself.
    ///
    /// # Errors
    /// A window would become too large (RFC 9113 §6.9.2).
    pub(super) fn settings(&mut self, settings: &PeerSettings) -> Result<(), Violation> {
        if let Some(bytes) = settings.frame_bytes_max {
            self.frame_bytes_max = (bytes as usize).min(FRAME_BYTES_MAX);
        }
        self.table_was_resized |= settings.header_table_bytes.is_some();
        if let Some(bytes) = settings.initial_window_bytes {
            let more = i64::from(bytes) - self.initial_send_window;
            self.initial_send_window = i64::from(bytes);
            for index in 0..self.by_id.len() {
                let slot = self.by_id[index].1;
                self.slots[slot].send_window += more;
                if self.slots[slot].send_window > i64::from(WINDOW_BYTES_MAX) {
                    return Err(Violation::Connection(ErrorCode::FLOW_CONTROL_ERROR));
                }
                self.make_ready(slot);
            }
        }
        write_settings_ack(self.output.end());
        Ok(())
    }
}

//! The HTTP/2 server side of a connection: its loop, its limits and its end.
//!
//! One task reads what there is, handles all frames in it, runs handlers as far as they need not wait, and writes what
//! came of it all at once. What it shares with handlers that wait is [`state`]; what each frame does is in [`frames`].

mod control;
mod exchange;
mod frames;
mod output;
mod state;
mod work;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::BytesMut;
use futures_util::future::poll_fn;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};

use self::control::{Control, Faults};
pub(super) use self::exchange::Http2;
use self::frames::{Block, Handled, Stage};
use self::output::Output;
use self::state::Shared;
use self::work::Worker;
use super::end::End;
use super::error::Refusal;
use super::prefixed::Prefixed;
use super::shutdown::Shutdown;
use super::timer::Timer;
use super::{Context, Handler, KEPT_BYTES_MAX, REQUESTS_PER_TURN};
use crate::http::RequestHead;
use crate::http2::{Decoder, ErrorCode, HeadMemory, write_goaway, write_ping, write_settings};

/// Smallest and largest read. Reads grow while they fill their room, so an idle connection holds little.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Bytes read and thrown away behind the last frame.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// RFC 9113 §6.8: with this number no stream is refused yet.
const LAST_STREAM_MAX: u32 = (1 << 31) - 1;

/// The PING whose answer says that the client has seen the first GOAWAY.
const GOAWAY_PING: [u8; 8] = *b"last one";

/// Serves the connection to its end, and tells why that came.
pub(super) async fn serve<H: Handler>(io: Prefixed, context: Context<H>) -> End {
    let mut connection = Connection::new(io, context);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    connection.shared.lock().end_all();
    connection.close().await;
    end
}

/// How the connection comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    No,
    /// The client was told that we end, and may not have heard it yet: its streams are still taken up.
    Announced(End),
    /// No more streams are taken up; those that are open are finished.
    Final(End),
    /// Nothing is read any more: what is queued goes out, and that is all.
    AtOnce(End),
}

impl Ending {
    fn end(self) -> Option<End> {
        match self {
            Ending::No => None,
            Ending::Announced(end) | Ending::Final(end) | Ending::AtOnce(end) => Some(end),
        }
    }
}

struct Connection<H> {
    stream: Stream,
    /// What is being written.
    sending: Output,
    needs_flush: bool,
    is_half_closed: bool,
    input: BytesMut,
    /// What is known of its allocation, which its capacity does not tell once some of it is handled.
    input_bytes: usize,
    read_bytes: usize,
    context: Context<H>,
    shared: Arc<Shared>,
    stage: Stage,
    decoder: Decoder,
    memory: HeadMemory,
    /// A header block that goes on with the next frame.
    block: Option<Block>,
    /// The head that is read next.
    head: RequestHead,
    /// The exchange of a request that is done with.
    spare: Option<Box<Http2>>,
    worker: Option<Worker>,
    /// Requests whose bodies may have come with them: they begin once all frames are handled that are here.
    starting: VecDeque<Box<Http2>>,
    /// The highest number of a stream so far.
    last_stream: u32,
    /// The client was told that no stream above this one is taken up.
    last_taken: u32,
    requests: u32,
    /// Requests that were refused.
    refused: Faults,
    /// Streams that we have reset for the client's own errors.
    stream_errors: Faults,
    control: Control,
    shutdown: Shutdown,
    ending: Ending,
    /// For waits without a stream, and for the end.
    timer: Timer,
    /// For the client to confirm that it knows of the end.
    announced_timer: Timer,
    /// For the client to take something of the output.
    write_timer: Timer,
    requests_left: usize,
}

impl<H: Handler> Connection<H> {
    fn new(io: Prefixed, context: Context<H>) -> Connection<H> {
        let limits = &context.settings.http2;
        let takes_slices = io.stream.is_write_vectored();
        let shared = Arc::new(Shared::new(Output::new(takes_slices), limits));
        {
            let mut state = shared.lock();
            write_settings(
                state.output.end(),
                limits.concurrent_streams_max,
                limits.stream_window_bytes,
                limits.frame_bytes_max,
                limits.header_list_bytes_max,
            );
            state.open_window();
        }
        Connection {
            stream: io.stream,
            sending: Output::new(takes_slices),
            needs_flush: false,
            is_half_closed: false,
            input_bytes: io.prefix.capacity(),
            input: io.prefix,
            read_bytes: READ_BYTES_MIN,
            shared,
            stage: Stage::Preface,
            decoder: Decoder::new(),
            memory: HeadMemory::default(),
            block: None,
            head: RequestHead::default(),
            spare: None,
            worker: None,
            starting: VecDeque::new(),
            last_stream: 0,
            last_taken: LAST_STREAM_MAX,
            requests: 0,
            refused: Faults::new(),
            stream_errors: Faults::new(),
            control: Control::new(limits.control_frames_max),
            shutdown: Shutdown::new(context.shutdown.clone()),
            ending: Ending::No,
            timer: Timer::default(),
            announced_timer: Timer::default(),
            write_timer: Timer::default(),
            requests_left: 0,
            context,
        }
    }

    /// Goes on until there is nothing to do but wait.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<End> {
        self.shared.lock().awake(cx);
        self.requests_left = REQUESTS_PER_TURN;
        loop {
            let handled = match self.ending {
                Ending::AtOnce(_) => Handled::All,
                _ => self.handle_input(cx),
            };
            let is_flushed = match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(self.ending.end().unwrap_or(End::ByClient));
                }
                Poll::Pending => false,
            };
            if is_flushed && self.is_done() {
                return Poll::Ready(self.ending.end().unwrap_or(End::ByClient));
            }
            match handled {
                Handled::Yields => {
                    // A client that never lets us wait is not to miss the end by it.
                    let _ = self.poll_ending(cx);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Handled::UntilOutput if is_flushed => continue,
                Handled::All
                    if !self.is_half_closed && !matches!(self.ending, Ending::AtOnce(_)) =>
                {
                    match self.poll_read(cx) {
                        Poll::Ready(Ok(1..)) => continue,
                        Poll::Ready(Ok(0)) => {
                            self.half_close();
                            continue;
                        }
                        Poll::Ready(Err(_)) => {
                            return Poll::Ready(self.ending.end().unwrap_or(End::ByClient));
                        }
                        Poll::Pending => {}
                    }
                }
                Handled::All | Handled::UntilOutput => {}
            }
            match self.poll_time(cx, is_flushed) {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                // There is something new to send.
                Poll::Ready(None) => continue,
                Poll::Pending => {}
            }
            if self.shared.lock().sleep() {
                self.shrink();
                return Poll::Pending;
            }
        }
    }

    /// Whether nothing is left to do but to close.
    fn is_done(&self) -> bool {
        match self.ending {
            Ending::No | Ending::Announced(_) => false,
            Ending::Final(_) => self.shared.lock().is_done(),
            Ending::AtOnce(_) => true,
        }
    }

    /// The waits of the connection itself. Gives its end, or nothing where something is to be sent.
    fn poll_time(&mut self, cx: &mut TaskContext<'_>, is_flushed: bool) -> Poll<Option<End>> {
        let settings = &self.context.settings;
        if is_flushed {
            self.write_timer.restart();
        } else {
            let limit = match self.ending {
                Ending::AtOnce(_) => settings.linger_timeout,
                _ => settings.write_timeout,
            };
            if self.write_timer.poll_elapsed(cx, limit).is_ready() {
                return Poll::Ready(Some(self.ending.end().unwrap_or(End::ReplyFailed)));
            }
        }
        if self.poll_ending(cx).is_ready() {
            return Poll::Ready(None);
        }
        let settings = &self.context.settings;
        if self.stage != Stage::Open {
            ready!(self.timer.poll_elapsed(cx, settings.head_read_timeout));
            return Poll::Ready(Some(End::Refused(Refusal::HeadTimeout)));
        }
        // A client that is slow to take the last reply has the time to write, and not only that to linger.
        if !is_flushed || self.shared.lock().streams() > 0 {
            self.timer.restart();
            return Poll::Pending;
        }
        match self.ending.end() {
            None => {
                ready!(self.timer.poll_elapsed(cx, settings.idle_timeout));
                self.announce_end(End::Idle);
                Poll::Ready(None)
            }
            Some(end) => {
                ready!(self.timer.poll_elapsed(cx, settings.linger_timeout));
                Poll::Ready(Some(end))
            }
        }
    }

    /// Goes on with the end where it is time for that; ready if there is something to send then.
    fn poll_ending(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        match self.ending {
            Ending::No => {
                ready!(self.shutdown.poll_begun(cx));
                self.announce_end(End::ByReply);
            }
            Ending::Announced(end) => {
                // Who does not say that it knows is not served for ever.
                let limit = self.context.settings.linger_timeout;
                ready!(self.announced_timer.poll_elapsed(cx, limit));
                self.finish_end(end);
            }
            Ending::Final(_) | Ending::AtOnce(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    /// GOAWAY, then on until the streams that the client has already opened are done (RFC 9113 §6.8).
    fn announce_end(&mut self, end: End) {
        let mut state = self.shared.lock();
        write_goaway(state.output.end(), LAST_STREAM_MAX, ErrorCode::NO_ERROR);
        write_ping(state.output.end(), 0, GOAWAY_PING);
        drop(state);
        self.ending = Ending::Announced(end);
        self.timer.restart();
        self.announced_timer.restart();
    }

    /// The client knows that we end.
    fn finish_end(&mut self, end: End) {
        let mut state = self.shared.lock();
        write_goaway(state.output.end(), self.last_stream, ErrorCode::NO_ERROR);
        drop(state);
        self.last_taken = self.last_stream;
        self.ending = Ending::Final(end);
        self.timer.restart();
    }

    /// The client sends nothing more, and may still read what it has asked for.
    fn half_close(&mut self) {
        self.is_half_closed = true;
        self.shared.lock().half_close();
        self.ending = Ending::Final(self.ending.end().unwrap_or(End::ByClient));
    }

    /// Ends everything, and says why.
    fn fail(&mut self, code: ErrorCode, end: End) {
        if matches!(self.ending, Ending::AtOnce(_)) {
            return;
        }
        let mut state = self.shared.lock();
        state.end_all();
        // RFC 9113 §6.8: what was refused is not taken up after all.
        let last_stream = self.last_stream.min(self.last_taken);
        write_goaway(state.output.end(), last_stream, code);
        drop(state);
        self.starting.clear();
        self.ending = Ending::AtOnce(end);
        self.write_timer.restart();
    }

    /// Reads once; zero bytes mean the client has closed its side.
    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.read_bytes);
        self.input_bytes = self.input_bytes.max(self.input.capacity());
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input));
        let count = ready!(read.poll(cx))?;
        if count >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(count))
    }

    /// Gives up memory that large frames and heads have claimed: the wait may be a long one.
    fn shrink(&mut self) {
        self.decoder.shrink();
        self.memory.shrink();
        if self.head.heap_bytes() > KEPT_BYTES_MAX {
            self.head = RequestHead::default();
        }
        let spare = self.spare.as_ref();
        if spare.is_some_and(|spare| spare.kept_bytes() > KEPT_BYTES_MAX) {
            self.spare = None;
        }
        if self.input_bytes > KEPT_BYTES_MAX && self.input.len() < self.input_bytes / 2 {
            // What is left, if anything, is most often the beginning of one frame.
            self.input = BytesMut::from(&self.input[..]);
            self.input_bytes = self.input.capacity();
        }
    }

    /// Moves bodies to the output and writes it, until there is nothing left that may be sent.
    fn poll_flush(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.queued() == 0 && !self.shared.lock().take_output(&mut self.sending) {
                self.sending.shrink();
                break;
            }
            let written = self.poll_write(cx);
            self.shared.lock().sent_but(self.sending.queued());
            ready!(written)?;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was taken out of the output.
    fn poll_write(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while self.sending.queued() > 0 {
            let stream = Pin::new(&mut *self.stream);
            let written = match self.sending.whole() {
                Some(bytes) => stream.poll_write(cx, bytes),
                None => stream.poll_write_vectored(cx, &self.sending.slices()),
            };
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sending.advance(count);
            self.needs_flush = true;
            self.write_timer.restart();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our side and reads on for a while, so that the last frames are not lost to a reset: a socket closed with
    /// unread bytes makes the client's kernel throw away what it has not yet read.
    async fn close(mut self) {
        let limit = self.context.settings.linger_timeout;
        let lingering = async {
            poll_fn(|cx| Pin::new(&mut *self.stream).poll_shutdown(cx)).await?;
            if self.sending.queued() > 0 {
                // Nobody takes it.
                return Ok(());
            }
            let mut skipped = 0;
            loop {
                self.input.clear();
                let count = poll_fn(|cx| self.poll_read(cx)).await?;
                skipped += count;
                if count == 0 || skipped > LINGER_BYTES_MAX {
                    return io::Result::Ok(());
                }
            }
        };
        // Nothing is owed to a client that fails here.
        let _ = tokio::time::timeout(limit, lingering).await;
    }
}

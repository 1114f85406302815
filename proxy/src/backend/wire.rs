//! One connection with one request on it: sends and receives at the same time, and knows how long to wait
//! for what. What the bytes mean is not known here.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, Sleep};

use super::counters::Counters;
use super::settings::Timeouts;
use super::upload::{Upload, UploadError, WaitsFor};

/// How long a backend may think about `Expect: 100-continue` before the body is sent all the same.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// First read; enough for most heads and small bodies.
const READ_BYTES_MIN: usize = 8 * 1024;
/// Reads grow up to this while they fill their buffer.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Stands for durations that the clock cannot count to.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// Received and not yet understood.
    pub(super) input: BytesMut,
    pub(super) upload: Upload,
    /// Why the request could not be sent to its end; an answer may come nevertheless.
    pub(super) send_error: Option<io::Error>,
    timeouts: Timeouts,
    pub(super) timer: Timer,
    read_bytes: usize,
}

/// Which part of the response is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Its head, within one stretch of time.
    Head,
    /// Its body, each piece within its own.
    Body,
}

/// Why nothing was received.
#[derive(Debug)]
pub(super) enum Stop {
    /// The backend has closed its side.
    Ended,
    Failed(io::Error),
    /// The client's side of the request body broke off.
    ClientFailed,
    TimedOut(Waiting),
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For 100 or a final answer; no error: the body goes out now.
    Continue,
    /// For the backend to take a byte.
    Send(Duration),
    FirstByte(Duration),
    BetweenBytes(Duration),
}

impl Waiting {
    pub(super) fn duration(self) -> Duration {
        match self {
            Waiting::Continue => CONTINUE_TIMEOUT,
            Waiting::Send(duration)
            | Waiting::FirstByte(duration)
            | Waiting::BetweenBytes(duration) => duration,
        }
    }
}

impl Wire {
    /// `upload` has been started.
    pub(super) fn new(stream: Stream, timer: Timer, upload: Upload, timeouts: Timeouts) -> Wire {
        Wire {
            stream,
            input: BytesMut::new(),
            upload,
            send_error: None,
            timeouts,
            timer,
            read_bytes: READ_BYTES_MIN,
        }
    }

    /// Sends what can be sent until something is received; says how many bytes were added to the input.
    /// Safe to cancel.
    pub(super) async fn receive(
        &mut self,
        awaited: Awaited,
        counters: &Counters,
    ) -> Result<usize, Stop> {
        std::future::poll_fn(|cx| self.poll_receive(cx, awaited, counters)).await
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        awaited: Awaited,
        counters: &Counters,
    ) -> Poll<Result<usize, Stop>> {
        if self.upload.is_under_way() {
            match self.upload.poll(cx, &mut self.stream, counters) {
                Poll::Ready(Err(UploadError::Client)) => {
                    return Poll::Ready(Err(Stop::ClientFailed));
                }
                Poll::Ready(Err(UploadError::Io(error))) => {
                    // Who refuses a body often answers first and closes then: read on.
                    self.send_error = Some(error);
                    self.upload.stop();
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if let Poll::Ready(read) = self.poll_read(cx) {
            if awaited == Awaited::Body {
                self.timer.disarm();
            }
            return Poll::Ready(match read {
                Ok(0) => Err(Stop::Ended),
                Ok(count) => Ok(count),
                Err(error) => Err(Stop::Failed(error)),
            });
        }
        match self.waiting(awaited) {
            Some(waiting) => self
                .timer
                .poll(cx, waiting, self.upload.written())
                .map(|()| Err(Stop::TimedOut(waiting))),
            None => {
                self.timer.disarm();
                Poll::Pending
            }
        }
    }

    /// `None` while it is the client's turn, who is watched by its own side.
    fn waiting(&self, awaited: Awaited) -> Option<Waiting> {
        if self.upload.is_under_way() {
            return match self.upload.waits_for() {
                WaitsFor::Backend => Some(Waiting::Send(self.timeouts.between_bytes)),
                WaitsFor::Gate => Some(Waiting::Continue),
                WaitsFor::Client => None,
            };
        }
        Some(match awaited {
            Awaited::Head => Waiting::FirstByte(self.timeouts.first_byte),
            Awaited::Body => Waiting::BetweenBytes(self.timeouts.between_bytes),
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < self.read_bytes / 4 {
            self.input.reserve(self.read_bytes);
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        if let Poll::Ready(Ok(count)) = read
            && count == room
        {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        read
    }

    /// A new stretch of time for the head, after an informational one.
    pub(super) fn restart_timer(&mut self) {
        self.timer.disarm();
    }
}

/// One timer for all the waits of a connection, one after the other; it stays with the connection when that is
/// kept. Most waits end long before their time, and each ends later than the one before would have: so the
/// runtime's timer stays where it is while the deadline moves back, and is moved when it goes off too early.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Armed>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    waiting: Waiting,
    /// How much had been sent when the wait began.
    progress: u64,
    deadline: Instant,
}

impl Timer {
    pub(super) fn disarm(&mut self) {
        self.armed = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>, waiting: Waiting, progress: u64) -> Poll<()> {
        let is_same = |armed: &Armed| armed.waiting == waiting && armed.progress == progress;
        let deadline = match self.armed.filter(is_same) {
            Some(armed) => armed.deadline,
            None => {
                let now = Instant::now();
                now.checked_add(waiting.duration()).unwrap_or(now + FOREVER)
            }
        };
        self.armed = Some(Armed {
            waiting,
            progress,
            deadline,
        });
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                self.armed = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

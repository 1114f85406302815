//! The HTTP/2 server side of a connection: its loop and its limits. Frames and flow control are `h2`'s.
//!
//! Each stream is a task, so that one whose client stops reading holds up no other.

mod exchange;
mod head;
mod meter;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::exchange::Http2;
use self::meter::Metered;
use super::end::End;
use super::error::{Refusal, RefusedRequest};
use super::exchange::{Exchange, Left};
use super::settings::DownstreamSettings;
use super::shutdown::Shutdown;
use super::timer::Timer;
use super::{Context, Handler, handle};

/// The streams that handlers work on.
#[derive(Debug, Default)]
struct Active {
    count: AtomicUsize,
    /// Streams that the client has reset before their replies were complete, less those whose replies were completed,
    /// and less one for each second.
    resets: AtomicUsize,
    /// The connection, to be told when the last one ends, or when it has to look at the resets.
    connection: AtomicWaker,
}

impl Active {
    /// The client did not wait for a reply: we have worked for nothing.
    fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::AcqRel);
        self.connection.wake();
    }

    /// A reply was completed, which makes up for one that was not.
    fn count_reply(&self) {
        self.forgive(1);
    }

    /// Takes back so many resets, as far as there are any.
    fn forgive(&self, count: usize) {
        let _ = self
            .resets
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |resets| {
                (resets > 0).then(|| resets.saturating_sub(count))
            });
    }
}

/// One stream among the active ones.
#[derive(Debug)]
struct ActiveStream(Arc<Active>);

impl Drop for ActiveStream {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.connection.wake();
        }
    }
}

type Accepted = Result<(http::Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// Why the wait for a stream ended without one.
enum Interrupted {
    Shutdown,
    Idle,
    /// The client makes more work than it has a use for.
    Abused,
}

/// Serves the connection to its end, and tells why that came.
pub(super) async fn serve<S, H>(io: S, context: Context<H>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let settings = context.settings.clone();
    let (io, flooded) = Metered::new(io, settings.http2.control_frames_max);
    let handshake = builder(&settings).handshake(io);
    let connected = tokio::time::timeout(settings.head_read_timeout, handshake).await;
    let mut connection: Connection<Metered<S>, Bytes> = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return end_by(&error),
        Err(_) => return End::Refused(Refusal::HeadTimeout),
    };
    let mut shutdown = Shutdown::new(context.shutdown.clone());
    let mut timer = Timer::default();
    let active = Arc::new(Active::default());
    // Why, once GOAWAY has been sent.
    let mut ending = None;
    // When resets were last taken back for the time that went by.
    let mut forgiven = Instant::now();
    let mut requests = 0u32;
    let mut refused = 0u32;
    loop {
        let accepted = poll_fn(|cx| {
            active.connection.register(cx.waker());
            // Once in a while a client has a reason; a connection may last for days.
            let seconds = forgiven.elapsed().as_secs();
            if seconds > 0 {
                forgiven = Instant::now();
                active.forgive(usize::try_from(seconds).unwrap_or(usize::MAX));
            }
            let resets = active.resets.load(Ordering::Acquire);
            let is_abused = resets > settings.http2.resets_max || flooded.load(Ordering::Acquire);
            if is_abused && ending != Some(End::Http2Violated) {
                return Poll::Ready(Err(Interrupted::Abused));
            }
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                let accepted: Option<Accepted> = accepted;
                return Poll::Ready(Ok(accepted));
            }
            if ending.is_none() && shutdown.poll_begun(cx).is_ready() {
                return Poll::Ready(Err(Interrupted::Shutdown));
            }
            if active.count.load(Ordering::Acquire) > 0 {
                timer.restart();
                return Poll::Pending;
            }
            let limit = match ending {
                Some(_) => settings.linger_timeout,
                None => settings.idle_timeout,
            };
            let elapsed = timer.poll_elapsed(cx, limit);
            elapsed.map(|()| Err(Interrupted::Idle))
        })
        .await;
        let (request, respond) = match accepted {
            Ok(Some(Ok(accepted))) => accepted,
            Ok(None) => return ending.unwrap_or(End::ByClient),
            Ok(Some(Err(error))) => return ending.unwrap_or_else(|| end_by(&error)),
            Err(interrupted) => {
                if let (Some(end), Interrupted::Idle) = (ending, &interrupted) {
                    return end;
                }
                if matches!(interrupted, Interrupted::Abused) {
                    // Ends all streams at once; what is left is to say so.
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    ending = Some(End::Http2Violated);
                    timer.restart();
                    continue;
                }
                // GOAWAY, then on until the streams that the client has already opened are done.
                connection.graceful_shutdown();
                ending = Some(match interrupted {
                    Interrupted::Shutdown => End::ByReply,
                    Interrupted::Idle => End::Idle,
                    Interrupted::Abused => End::Http2Violated,
                });
                timer.restart();
                continue;
            }
        };
        timer.restart();
        requests = requests.saturating_add(1);
        let (parts, body) = request.into_parts();
        match head::read(&parts, &settings, context.info.scheme) {
            Ok((head, expectation)) => {
                let streams = (body, respond, active.clone());
                let exchange = Http2::new(head, expectation, streams, requests, &context);
                spawn(exchange, context.handler.clone(), &active);
            }
            Err(reason) => {
                let begun = Instant::now();
                let traffic = exchange::refuse(&parts, respond, reason);
                let refusal = Refusal::from(reason);
                let answered = RefusedRequest {
                    refusal,
                    traffic,
                    duration: begun.elapsed(),
                };
                context.handler.refused(&context.info, answered);
                refused += 1;
                if refused > settings.http2.refused_requests_max {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    ending = Some(End::Refused(refusal));
                }
            }
        }
        let is_last = |max: std::num::NonZeroU32| requests >= max.get();
        if ending.is_none() && settings.requests_per_connection_max.is_some_and(is_last) {
            connection.graceful_shutdown();
            ending = Some(End::ByReply);
        }
    }
}

/// What an error of the whole connection means. A client that says GOAWAY without blame has only left.
fn end_by(error: &h2::Error) -> End {
    let blameless = error.is_go_away() && error.is_remote();
    match error.is_io() || blameless {
        true => End::ByClient,
        false => End::Http2Violated,
    }
}

fn spawn<H: Handler>(exchange: Http2, handler: Arc<H>, active: &Arc<Active>) {
    active.count.fetch_add(1, Ordering::AcqRel);
    let stream = ActiveStream(active.clone());
    tokio::spawn(async move {
        let _stream = stream;
        let info = exchange.info().clone();
        let served = handle(&*handler, Exchange::http2(exchange), &info).await;
        if let Left::Exchange(exchange) = served.0
            && let Some(returned) = exchange.into_http2()
        {
            returned.conclude().await;
        }
    });
}

fn builder(settings: &DownstreamSettings) -> Builder {
    let limits = &settings.http2;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.concurrent_streams_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buffer_size(limits.send_buffer_bytes_max)
        .max_frame_size(limits.frame_bytes_max)
        .max_concurrent_reset_streams(limits.reset_streams_max)
        .max_pending_accept_reset_streams(limits.resets_max)
        .max_local_error_reset_streams(Some(limits.local_error_reset_streams_max));
    builder
}

//! Client connections: bytes on a socket become [`Exchange`]s, one for each request, and replies go back.
//!
//! HTTP/1 is our own, on [`crate::http1`], because it has to keep trailers, pipelined bytes and the origin's
//! Date, and to send a hit with one system call; HTTP/2 is our own, on [`crate::http2`], because a hit is to be
//! answered without a task, and all replies of a round with one call. Both give the same `Exchange`, so that nobody
//! behind it asks which it is. This module owns framing, persistence of connections, limits and
//! timeouts. It knows nothing of caching, backends or policy.

mod date;
mod end;
mod error;
mod exchange;
mod http1;
mod http2;
mod info;
mod prefixed;
mod settings;
mod shutdown;
mod timer;
mod wire;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use pingora_core::protocols::{ALPN, Stream};
use tokio::sync::watch;

pub use end::End;
pub use error::{ClientError, Refusal, RefusedRequest, Waiting};
pub use exchange::{BodyLength, Departure, Exchange, SendBody, Served, Traffic};
use prefixed::Prefixed;

pub use info::{Address, ConnectionInfo, Tls};
pub use settings::{DownstreamSettings, Http2Settings};

/// Memory for input, for output, for heads and for exchanges, each, that a connection keeps while it waits.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Requests of a connection that are answered before others on its thread have their turn; in HTTP/2 large heads count as several.
const REQUESTS_PER_TURN: usize = 256;

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request and gives the exchange back with [`Exchange::done`], or keeps its connection
    /// ([`Exchange::into_upgraded`]), or breaks it off ([`Exchange::abort`]).
    ///
    /// A reply that is not finished when the exchange comes back is finished where its length allows, else the
    /// client sees it broken off; where there is none, the client gets 500.
    fn handle(&self, exchange: Exchange) -> impl Future<Output = Served> + Send;

    /// A request was refused before it became an exchange. For counting and logging; the client has its answer.
    fn refused(&self, _info: &ConnectionInfo, _request: RefusedRequest) {}

    /// So many bytes of a request body were read and thrown away after the handler was done, so that the next
    /// request can be read. For counting.
    fn skipped(&self, _bytes: u64) {}

    /// [`Handler::handle`] panicked. For counting; the client sees the connection or the stream end.
    fn panicked(&self, _info: &ConnectionInfo) {}
}

/// Runs the handler so that a panic ends this request and nothing else.
async fn handle<H: Handler>(handler: &H, exchange: Exchange, info: &ConnectionInfo) -> Served {
    // What a panic leaves behind is dropped with the exchange; the handler guards its own state.
    let handled = AssertUnwindSafe(handler.handle(exchange)).catch_unwind();
    handled.await.unwrap_or_else(|_| {
        handler.panicked(info);
        Served::ended(End::Panicked)
    })
}

/// What a connection runs with.
struct Context<H> {
    info: Arc<ConnectionInfo>,
    settings: Arc<DownstreamSettings>,
    handler: Arc<H>,
    shutdown: watch::Receiver<bool>,
}

/// Serves one client connection to its end, in whatever protocol the client speaks: HTTP/2 where ALPN chose it
/// or where the first bytes on plain text are its preface (RFC 9113 §3.3), else HTTP/1.
///
/// `shutdown` turns true once: replies then say that the connection ends, and idle ones end at once. Gives why
/// it ended.
pub async fn serve_connection<H: Handler>(
    stream: Stream,
    info: ConnectionInfo,
    settings: Arc<DownstreamSettings>,
    handler: Arc<H>,
    shutdown: watch::Receiver<bool>,
) -> End {
    let context = Context {
        info: Arc::new(info),
        settings,
        handler,
        shutdown,
    };
    match stream.selected_alpn_proto() {
        Some(ALPN::H2) => {
            Box::pin(http2::serve(
                Prefixed::new(BytesMut::new(), stream),
                context,
            ))
            .await
        }
        Some(_) => http1::serve(stream, BytesMut::new(), http1::Preface::Refused, context).await,
        None if context.info.tls.is_some() => {
            http1::serve(stream, BytesMut::new(), http1::Preface::Refused, context).await
        }
        None => http1::serve(stream, BytesMut::new(), http1::Preface::Accepted, context).await,
    }
}

/// Serves HTTP/1 only. `input` is what was already read from the stream.
pub async fn serve_http1<H: Handler>(
    stream: Stream,
    input: BytesMut,
    info: ConnectionInfo,
    settings: Arc<DownstreamSettings>,
    handler: Arc<H>,
    shutdown: watch::Receiver<bool>,
) -> End {
    let context = Context {
        info: Arc::new(info),
        settings,
        handler,
        shutdown,
    };
    http1::serve(stream, input, http1::Preface::Refused, context).await
}

//! The HTTP/1 server side of a connection: its loop, and what it remembers.
//!
//! One box holds the connection for its whole life. It is handed to the handler as an exchange and comes back,
//! so that a request costs no allocation here and an upgrade can take the stream with it.

mod reply;
mod request;

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use futures_util::future::poll_fn;
use memchr::memmem;
use pingora_core::protocols::Stream;

use self::reply::{Left, Reply};
use super::end::End;
use super::error::{ClientError, Refusal, RefusedRequest};
use super::exchange::{self, Exchange, SendBody, Traffic};
use super::info::ConnectionInfo;
use super::prefixed::Prefixed;
use super::settings::DownstreamSettings;
use super::shutdown::Shutdown;
use super::wire::Wire;
use super::{Context, Handler, KEPT_BYTES_MAX, REQUESTS_PER_TURN, handle, http2};
use crate::http::{Fields, Method, RequestHead, ResponseHead, Version, reason_phrase};
use crate::http1::{
    BodyFraming, Decoder, Expectation, ParsedRequest, Persistence, parse_request_into,
};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes read and thrown away behind a last reply.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;

/// Whether a connection may turn out to be HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preface {
    Accepted,
    Refused,
}

/// A connection and its present exchange.
#[derive(Debug)]
pub(super) struct Http1 {
    wire: Wire,
    info: Arc<ConnectionInfo>,
    settings: Arc<DownstreamSettings>,
    shutdown: Shutdown,
    preface: Preface,
    /// Heads read so far.
    requests: u32,
    request: Request,
    /// The last Host that was found sound.
    host: String,
    reply: Reply,
    /// For the fields that replies add to stored heads.
    memory: Fields,
    /// When the last reply was done, where that is known.
    idle_since: Option<tokio::time::Instant>,
    /// Who wants the connection to end, if anybody.
    ending: Ending,
    /// Why, once it is no longer [`Ending::Open`].
    end: End,
    traffic: Traffic,
}

/// The request side of the present exchange.
#[derive(Debug)]
struct Request {
    /// Whoever answers it may take it; what is needed here is below. Behind the reply, memory for the next.
    head: RequestHead,
    method: Method,
    version: Version,
    framing: BodyFraming,
    decoder: Decoder,
    trailers: Option<Fields>,
    expectation: Expectation,
    upgrade: Option<Box<str>>,
    /// The body cannot be read to its end, so nothing can follow it.
    is_broken: bool,
}

/// What happens to the connection behind the present reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    /// The client asked for it: it sends nothing more.
    ByClient,
    /// We end it: the client may still be sending.
    ByUs,
    /// Nothing can be sent any more.
    Broken,
}

/// What the wait for a request came to.
enum Next {
    Request,
    Http2,
    /// The client is gone, or was idle too long, or the server ends.
    End(End),
    Refused(Refusal),
}

/// Serves the connection to its end, and tells why that came.
pub(super) async fn serve<H: Handler>(
    stream: Stream,
    input: BytesMut,
    preface: Preface,
    context: Context<H>,
) -> End {
    let mut connection = Box::new(Http1::new(stream, input, preface, &context));
    loop {
        match connection.next_request().await {
            Next::Request => {}
            Next::Http2 => {
                let (stream, input) = connection.wire.into_parts();
                // Boxed: most connections never come here, and none should carry the room for it.
                return Box::pin(http2::serve(Prefixed::new(input, stream), context)).await;
            }
            Next::End(end) => return end,
            Next::Refused(refusal) => {
                let begun = Instant::now();
                let sent = connection.refuse(refusal).await;
                let refused = RefusedRequest {
                    refusal,
                    traffic: connection.traffic,
                    duration: begun.elapsed(),
                };
                context.handler.refused(&context.info, refused);
                if sent.is_ok() {
                    connection.close().await;
                }
                return End::Refused(refusal);
            }
        }
        let exchange = Exchange::http1(connection);
        let served = handle(&*context.handler, exchange, &context.info).await;
        let returned = match served.0 {
            exchange::Left::Exchange(exchange) => exchange.into_http1(),
            exchange::Left::Nothing(end) => return end,
        };
        connection = returned.expect("the exchange of an HTTP/1 connection is one of HTTP/1");
        let read = connection.traffic.request_body;
        let concluded = connection.conclude().await;
        let skipped = connection.traffic.request_body - read;
        if skipped > 0 {
            context.handler.skipped(skipped);
        }
        if concluded.is_err() || connection.ending != Ending::Open {
            return connection.close().await;
        }
        // A client that pipelines without pause, and reads replies that are gathered, hardly ever makes its connection wait.
        if connection.requests.is_multiple_of(REQUESTS_PER_TURN as u32) {
            tokio::task::yield_now().await;
        }
    }
}

impl Http1 {
    fn new<H>(stream: Stream, input: BytesMut, preface: Preface, context: &Context<H>) -> Http1 {
        Http1 {
            wire: Wire::new(stream, input),
            info: context.info.clone(),
            settings: context.settings.clone(),
            shutdown: Shutdown::new(context.shutdown.clone()),
            preface,
            requests: 0,
            request: Request {
                head: RequestHead::default(),
                method: Method::Get,
                version: Version::Http11,
                framing: BodyFraming::Empty,
                decoder: Decoder::new(BodyFraming::Empty, &context.settings.head),
                trailers: None,
                expectation: Expectation::Nothing,
                upgrade: None,
                is_broken: false,
            },
            host: String::new(),
            reply: Reply::NotStarted,
            memory: Fields::new(),
            idle_since: None,
            ending: Ending::Open,
            end: End::ByReply,
            traffic: Traffic::default(),
        }
    }

    /// Waits for the next complete head.
    async fn next_request(&mut self) -> Next {
        self.shrink();
        loop {
            if !self.wire.input.is_empty() {
                if self.preface == Preface::Accepted {
                    let shown = self.wire.input.len().min(PREFACE.len());
                    if self.wire.input[..shown] != PREFACE[..shown] {
                        self.preface = Preface::Refused;
                    } else if shown == PREFACE.len() {
                        return Next::Http2;
                    }
                }
                if self.preface == Preface::Refused {
                    let parsed = parse_request_into(
                        &mut self.request.head,
                        &mut self.host,
                        &self.wire.input,
                        &self.settings.head,
                        self.info.scheme,
                    );
                    match parsed {
                        Ok(Some(parsed)) => {
                            self.begin(parsed);
                            return Next::Request;
                        }
                        Ok(None) => {}
                        Err(refused) => return Next::Refused(refused.into()),
                    }
                }
            }
            // Replies kept back for this request, had it been complete. Else the timer is left alone: it measures
            // the head.
            if self.wire.output.queued() > 0
                && let Err(error) = self.wire.flush(self.settings.write_timeout).await
            {
                return Next::End(End::unsent(&error));
            }
            if self.wire.input_closed {
                return Next::End(End::ByClient);
            }
            if let Err(end) = self.read_more().await {
                return end;
            }
        }
    }

    /// Gives up memory that one large message has claimed: the wait for the next may be a long one.
    fn shrink(&mut self) {
        self.wire.shrink();
        if self.request.head.heap_bytes() > KEPT_BYTES_MAX {
            self.request.head = RequestHead::default();
        }
        if self.memory.heap_bytes() > KEPT_BYTES_MAX {
            self.memory = Fields::new();
        }
    }

    /// Reads once. The time for a head runs from its first byte on and is not renewed by the next.
    async fn read_more(&mut self) -> Result<(), Next> {
        let is_idle = self.wire.input.is_empty();
        if is_idle {
            self.wire.timer.restart_at(self.idle_since.take());
        }
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = self.wire.poll_read(cx) {
                let gone = |_| Next::End(End::ByClient);
                return Poll::Ready(read.map(|_| ()).map_err(gone));
            }
            if !is_idle {
                let limit = self.settings.head_read_timeout;
                let elapsed = self.wire.timer.poll_elapsed(cx, limit);
                return elapsed.map(|()| Err(Next::Refused(Refusal::HeadTimeout)));
            }
            let (limit, end) = match self.shutdown.poll_begun(cx) {
                Poll::Pending => (self.settings.idle_timeout, End::Idle),
                // Accepted a moment ago: its first request is on its way, and nobody has told the client not to send it.
                Poll::Ready(()) if self.requests == 0 => {
                    (self.settings.linger_timeout, End::ByReply)
                }
                Poll::Ready(()) => return Poll::Ready(Err(Next::End(End::ByReply))),
            };
            let elapsed = self.wire.timer.poll_elapsed(cx, limit);
            elapsed.map(|()| Err(Next::End(end)))
        })
        .await;
        if is_idle {
            self.wire.timer.restart();
        }
        read
    }

    /// Sets up the exchange for a head just read.
    fn begin(&mut self, parsed: ParsedRequest) {
        self.wire.input.advance(parsed.consumed);
        self.requests = self.requests.saturating_add(1);
        self.ending = match parsed.persistence {
            Persistence::KeepAlive => Ending::Open,
            Persistence::Close => {
                self.end = match parsed.head.version {
                    Version::Http10 if !has_close(&parsed.head.fields) => End::Http10,
                    _ => End::ByRequest,
                };
                Ending::ByClient
            }
        };
        self.traffic = Traffic {
            request_head: parsed.consumed as u64,
            ..Traffic::default()
        };
        self.reply = Reply::NotStarted;
        self.request = Request {
            decoder: Decoder::new(parsed.framing, &self.settings.head),
            method: parsed.head.method.clone(),
            version: parsed.head.version,
            head: parsed.head,
            framing: parsed.framing,
            trailers: None,
            expectation: parsed.expectation,
            upgrade: parsed.upgrade,
            is_broken: false,
        };
    }

    /// Brings the exchange that came back to an end and the stream to the next head.
    async fn conclude(&mut self) -> Result<(), ClientError> {
        match self.reply {
            _ if self.ending == Ending::Broken => return Ok(()),
            Reply::NotStarted => {
                self.ending = Ending::ByUs;
                self.end = End::ByReply;
                self.send_text(500, reason_phrase(500)).await?;
            }
            Reply::Body(Left::Nothing | Left::Length(0)) => self.finish(None).await?,
            // Nobody said that this was all.
            Reply::Body(_) => {
                self.end = End::ReplyFailed;
                return Err(ClientError::ReplyMismatch);
            }
            Reply::Complete => {}
        }
        if self.ending == Ending::Open && !self.request.decoder.is_done() {
            self.skip_body().await;
        }
        Ok(())
    }

    /// Answers what never became an exchange. The connection is to be closed then.
    async fn refuse(&mut self, refusal: Refusal) -> Result<(), ClientError> {
        let status = refusal.status();
        self.begin_refusal();
        let text = format!("{}: {refusal}", reason_phrase(status));
        self.send_text(status, &text).await
    }

    fn begin_refusal(&mut self) {
        self.ending = Ending::ByUs;
        self.reply = Reply::NotStarted;
        self.request.head = RequestHead::default();
        self.request.method = Method::Get;
        self.request.version = Version::Http11;
        self.request.decoder = Decoder::new(BodyFraming::Empty, &self.settings.head);
        self.request.expectation = Expectation::Nothing;
        // What came is a head up to its blank line, or, where it has none, all of it.
        let head_end = memmem::find(&self.wire.input, b"\r\n\r\n").map(|end| end + 4);
        self.traffic = Traffic {
            request_head: head_end.unwrap_or(self.wire.input.len()) as u64,
            ..Traffic::default()
        };
    }

    async fn send_text(&mut self, status: u16, text: &str) -> Result<(), ClientError> {
        let body = format!("{text}\n").into_bytes();
        let head = ResponseHead::new(status)
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store");
        self.send_head(&head, SendBody::Length(body.len() as u64))
            .await?;
        self.send_body(body.into()).await?;
        self.finish(None).await
    }

    /// Ends the connection so that a complete reply reaches the client, and a broken one is seen as broken.
    async fn close(mut self: Box<Self>) -> End {
        let end = self.end;
        if self.reply != Reply::Complete || self.ending == Ending::Broken {
            return end;
        }
        if let Err(error) = self.wire.flush(self.settings.write_timeout).await {
            return End::unsent(&error);
        }
        let unread_max = match self.ending {
            Ending::ByClient if self.request.decoder.is_done() => 0,
            _ => LINGER_BYTES_MAX,
        };
        let limit = self.settings.linger_timeout;
        self.wire.linger(unread_max, limit).await;
        end
    }

    /// Why the connection ends when its handler breaks the exchange off: for what happened before, if anything did.
    pub(super) fn aborted(&self) -> End {
        match self.ending {
            Ending::Broken => self.end,
            _ if self.request.is_broken => End::RequestBody,
            _ => End::ReplyFailed,
        }
    }
}

/// Whether Connection has the option `close`.
fn has_close(fields: &Fields) -> bool {
    let mut options = fields.list("connection");
    fields.contains("connection") && options.any(|option| option.eq_ignore_ascii_case(b"close"))
}

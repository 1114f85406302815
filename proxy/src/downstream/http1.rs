//! The HTTP/1 server side of a connection: its loop, and what it remembers.
//!
//! One box holds the connection for its whole life. It is handed to the handler as an exchange and comes back,
//! so that a request costs no allocation here and an upgrade can take the stream with it.

mod reply;
mod request;

use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, BytesMut};
use futures_util::future::poll_fn;
use pingora_core::protocols::Stream;

use self::reply::{Left, Reply};
use super::error::{ClientError, Refusal};
use super::exchange::{Exchange, SendBody, Traffic, empty_head};
use super::info::ConnectionInfo;
use super::prefixed::Prefixed;
use super::settings::DownstreamSettings;
use super::shutdown::Shutdown;
use super::wire::Wire;
use super::{Context, Handler, handle, http2};
use crate::http::{Fields, RequestHead, ResponseHead, reason_phrase};
use crate::http1::{BodyFraming, Decoder, Expectation, ParsedRequest, Persistence, parse_request};

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
    reply: Reply,
    /// Who wants the connection to end, if anybody.
    ending: Ending,
    traffic: Traffic,
}

/// The request side of the present exchange.
#[derive(Debug)]
struct Request {
    head: RequestHead,
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
    End,
    Refused(Refusal),
}

/// Serves the connection to its end.
pub(super) async fn serve<H: Handler>(
    stream: Stream,
    input: BytesMut,
    preface: Preface,
    context: Context<H>,
) {
    let mut connection = Box::new(Http1::new(stream, input, preface, &context));
    loop {
        match connection.next_request().await {
            Next::Request => {}
            Next::Http2 => {
                let (stream, input) = connection.wire.into_parts();
                // Boxed: most connections never come here, and none should carry the room for it.
                return Box::pin(http2::serve(Prefixed::new(input, stream), context)).await;
            }
            Next::End => return,
            Next::Refused(refusal) => {
                context.handler.refused(&context.info, refusal);
                return connection.refuse(refusal).await;
            }
        }
        let exchange = Exchange::http1(connection);
        let served = handle(&*context.handler, exchange, &context.info).await;
        let Some(returned) = served.0.and_then(Exchange::into_http1) else {
            return;
        };
        connection = returned;
        if connection.conclude().await.is_err() || connection.ending != Ending::Open {
            return connection.close().await;
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
                head: empty_head(),
                framing: BodyFraming::Empty,
                decoder: Decoder::new(BodyFraming::Empty, &context.settings.head),
                trailers: None,
                expectation: Expectation::Nothing,
                upgrade: None,
                is_broken: false,
            },
            reply: Reply::NotStarted,
            ending: Ending::Open,
            traffic: Traffic::default(),
        }
    }

    /// Waits for the next complete head.
    async fn next_request(&mut self) -> Next {
        self.wire.shrink();
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
                    let parsed =
                        parse_request(&self.wire.input, &self.settings.head, self.info.scheme);
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
                && self.wire.flush(self.settings.write_timeout).await.is_err()
            {
                return Next::End;
            }
            if self.wire.input_closed {
                return Next::End;
            }
            if let Err(end) = self.read_more().await {
                return end;
            }
        }
    }

    /// Reads once. The time for a head runs from its first byte on and is not renewed by the next.
    async fn read_more(&mut self) -> Result<(), Next> {
        let is_idle = self.wire.input.is_empty();
        if is_idle {
            self.wire.timer.restart();
        }
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = self.wire.poll_read(cx) {
                return Poll::Ready(read.map(|_| ()).map_err(|_| Next::End));
            }
            if !is_idle {
                let limit = self.settings.head_read_timeout;
                let elapsed = self.wire.timer.poll_elapsed(cx, limit);
                return elapsed.map(|()| Err(Next::Refused(Refusal::HeadTimeout)));
            }
            if self.shutdown.poll_begun(cx).is_ready() {
                return Poll::Ready(Err(Next::End));
            }
            let limit = self.settings.idle_timeout;
            self.wire
                .timer
                .poll_elapsed(cx, limit)
                .map(|()| Err(Next::End))
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
            Persistence::Close => Ending::ByClient,
        };
        self.traffic = Traffic {
            request_head: parsed.consumed as u64,
            ..Traffic::default()
        };
        self.reply = Reply::NotStarted;
        self.request = Request {
            decoder: Decoder::new(parsed.framing, &self.settings.head),
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
                self.send_text(500, reason_phrase(500)).await?;
            }
            Reply::Body(Left::Nothing | Left::Length(0)) => self.finish(None).await?,
            // Nobody said that this was all.
            Reply::Body(_) => return Err(ClientError::ReplyMismatch),
            Reply::Complete => {}
        }
        if self.ending == Ending::Open && !self.request.decoder.is_done() {
            self.skip_body().await;
        }
        Ok(())
    }

    /// Answers what never became an exchange, and ends the connection.
    async fn refuse(mut self: Box<Self>, refusal: Refusal) {
        let status = refusal.status();
        self.begin_refusal();
        let text = format!("{}: {refusal}", reason_phrase(status));
        if self.send_text(status, &text).await.is_ok() {
            self.close().await;
        }
    }

    fn begin_refusal(&mut self) {
        self.ending = Ending::ByUs;
        self.reply = Reply::NotStarted;
        self.request.head = empty_head();
        self.request.decoder = Decoder::new(BodyFraming::Empty, &self.settings.head);
        self.request.expectation = Expectation::Nothing;
        self.traffic = Traffic::default();
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
    async fn close(mut self: Box<Self>) {
        if self.reply != Reply::Complete || self.ending == Ending::Broken {
            return;
        }
        if self.wire.flush(self.settings.write_timeout).await.is_err() {
            return;
        }
        let unread_max = match self.ending {
            Ending::ByClient if self.request.decoder.is_done() => 0,
            _ => LINGER_BYTES_MAX,
        };
        let limit = self.settings.linger_timeout;
        self.wire.linger(unread_max, limit).await;
    }
}

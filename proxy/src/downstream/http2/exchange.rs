//! One HTTP/2 stream as an exchange.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::super::Context;
use super::super::date::{DATE_BYTES, http_date};
use super::super::error::{ClientError, Waiting};
use super::super::exchange::{BodyLength, Departure, SendBody, Traffic};
use super::super::info::ConnectionInfo;
use super::super::settings::DownstreamSettings;
use super::super::timer::Timer;
use super::Active;
use super::head::{self, StatedLength};
use crate::http::{Fields, Method, OutgoingHead, RequestHead, ResponseHead, reason_phrase};
use crate::http1::{Expectation, Refused, parse_length};

/// Most that is asked of the flow control at once.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;

/// A stream and its exchange.
pub(in super::super) struct Http2 {
    info: Arc<ConnectionInfo>,
    settings: Arc<DownstreamSettings>,
    number: u32,
    /// Whoever answers it may take it.
    head: RequestHead,
    method: Method,
    expectation: Expectation,
    body: RecvStream,
    body_length: BodyLength,
    body_state: BodyState,
    trailers: Option<Fields>,
    respond: SendResponse<Bytes>,
    /// Present once a head was sent that a body follows.
    send: Option<SendStream<Bytes>>,
    reply: Reply,
    /// Who ended the stream before its reply was complete.
    reset: ResetBy,
    active: Arc<Active>,
    /// Bytes the client has taken since the timer was last restarted.
    progress: usize,
    /// The last piece of a body of known length: it goes out with the end of the stream on it, or before trailers.
    held: Bytes,
    timer: Timer,
    traffic: Traffic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Data,
    Trailers,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    NotStarted,
    /// The head said that no body follows; the stream is at its end and pieces are dropped.
    WithoutBody,
    /// So many bytes are still to come.
    Length(u64),
    Unknown,
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResetBy {
    Nobody,
    Us,
    /// Also by an error that it made `h2` find.
    Client,
}

impl Http2 {
    pub(super) fn new<H>(
        head: RequestHead,
        expectation: Expectation,
        (body, respond, active): (RecvStream, SendResponse<Bytes>, Arc<Active>),
        number: u32,
        context: &Context<H>,
    ) -> Http2 {
        let stated = head.fields.get("content-length").and_then(parse_length);
        let body_length = match stated {
            Some(length) => BodyLength::Known(length),
            None if body.is_end_stream() => BodyLength::None,
            None => BodyLength::Unknown,
        };
        let fields = head.fields.iter();
        let fields = fields.map(|field| (field.name.len(), field.value.len()));
        let request_head = head_bytes(head.method.as_str().len(), head.target.len(), fields);
        Http2 {
            info: context.info.clone(),
            settings: context.settings.clone(),
            number,
            method: head.method.clone(),
            head,
            expectation,
            body,
            body_length,
            body_state: BodyState::Data,
            trailers: None,
            respond,
            send: None,
            reply: Reply::NotStarted,
            reset: ResetBy::Nobody,
            active,
            progress: 0,
            held: Bytes::new(),
            timer: Timer::default(),
            traffic: Traffic {
                request_head,
                ..Traffic::default()
            },
        }
    }

    pub(in super::super) fn head(&self) -> &RequestHead {
        &self.head
    }

    pub(in super::super) fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.head
    }

    pub(in super::super) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    pub(in super::super) fn number(&self) -> u32 {
        self.number
    }

    pub(in super::super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(in super::super) fn body_length(&self) -> BodyLength {
        self.body_length
    }

    pub(in super::super) fn expects_continue(&self) -> bool {
        self.expectation == Expectation::Continue
    }

    pub(in super::super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    pub(in super::super) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.timer.restart();
        poll_fn(|cx| self.poll_body(cx)).await
    }

    pub(in super::super) fn refuse_declared_length(&self) -> Result<(), ClientError> {
        match (self.body_length, self.settings.request_body_bytes_max) {
            (BodyLength::Known(length), Some(max)) if length > max => {
                Err(ClientError::BodyTooLarge(max))
            }
            _ => Ok(()),
        }
    }

    fn poll_body(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        let max = self.settings.request_body_bytes_max;
        self.refuse_declared_length()?;
        loop {
            let polled = match self.body_state {
                BodyState::End => return Poll::Ready(Ok(None)),
                BodyState::Data => self.body.poll_data(cx).map(|data| match data {
                    Some(data) => data.map(Some),
                    None => {
                        self.body_state = BodyState::Trailers;
                        Ok(None)
                    }
                }),
                BodyState::Trailers => match self.body.poll_trailers(cx) {
                    Poll::Ready(trailers) => {
                        self.body_state = BodyState::End;
                        if let Some(trailers) = trailers? {
                            self.trailers = Some(head::read_trailers(&trailers, &self.settings)?);
                        }
                        return Poll::Ready(Ok(None));
                    }
                    Poll::Pending => Poll::Pending,
                },
            };
            match polled {
                Poll::Ready(Ok(Some(piece))) if !piece.is_empty() => {
                    // The window opens again by what leaves here: whoever takes pieces slowly is sent them slowly.
                    self.body.flow_control().release_capacity(piece.len())?;
                    self.expectation = Expectation::Nothing;
                    self.traffic.request_body += piece.len() as u64;
                    if let Some(max) = max.filter(|max| self.traffic.request_body > *max) {
                        return Poll::Ready(Err(ClientError::BodyTooLarge(max)));
                    }
                    return Poll::Ready(Ok(Some(piece)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    self.invite_body()?;
                    let limit = self.settings.body_read_timeout;
                    ready!(self.timer.poll_elapsed(cx, limit));
                    return Poll::Ready(Err(ClientError::Timeout(Waiting::Body)));
                }
            }
        }
    }

    fn invite_body(&mut self) -> Result<(), ClientError> {
        if self.expectation == Expectation::Continue && self.reply == Reply::NotStarted {
            let mut response = http::Response::new(());
            *response.status_mut() = http::StatusCode::CONTINUE;
            self.respond.send_informational(response)?;
            self.traffic.response_head += head::size_of_start(100);
        }
        self.expectation = Expectation::Nothing;
        Ok(())
    }

    pub(in super::super) async fn send_informational(
        &mut self,
        head: &ResponseHead,
    ) -> Result<(), ClientError> {
        if !head.is_informational() || head.status == 101 || self.reply != Reply::NotStarted {
            return Err(ClientError::ReplyMismatch);
        }
        if head.status == 100 {
            self.expectation = Expectation::Nothing;
        }
        let length = StatedLength::Replaced(None);
        let (response, size) = head::write(head, &Fields::new(), length)?;
        self.respond.send_informational(response)?;
        self.traffic.response_head += size;
        Ok(())
    }

    pub(in super::super) async fn send_head(
        &mut self,
        head: &ResponseHead,
        body: SendBody,
    ) -> Result<(), ClientError> {
        self.start_reply(head, &Fields::new(), body)
    }

    pub(in super::super) async fn send_outgoing(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
    ) -> Result<(), ClientError> {
        self.start_reply(&head.to_sent(), head.added(), body)
    }

    fn start_reply(
        &mut self,
        head: &ResponseHead,
        extra: &Fields,
        body: SendBody,
    ) -> Result<(), ClientError> {
        if self.reply != Reply::NotStarted || head.is_informational() {
            return Err(ClientError::ReplyMismatch);
        }
        let (length, reply) = self.frame(head.status, body);
        let (mut response, mut size) = head::write(head, extra, length)?;
        if !response.headers().contains_key(http::header::DATE)
            && let Ok(date) = http::HeaderValue::from_bytes(&http_date())
        {
            response.headers_mut().insert(http::header::DATE, date);
            size += (b"date: \r\n".len() + DATE_BYTES) as u64;
        }
        let send = self
            .respond
            .send_response(response, reply == Reply::WithoutBody)?;
        self.traffic.response_head += size;
        self.expectation = Expectation::Nothing;
        self.reply = reply;
        self.send = Some(send);
        Ok(())
    }

    fn frame(&self, status: u16, body: SendBody) -> (StatedLength, Reply) {
        let is_described = self.method == Method::Head || status == 304;
        match body {
            _ if status == 204 => (StatedLength::Replaced(None), Reply::WithoutBody),
            SendBody::Length(length) if is_described => {
                (StatedLength::Replaced(Some(length)), Reply::WithoutBody)
            }
            _ if is_described => (StatedLength::Kept, Reply::WithoutBody),
            SendBody::Empty | SendBody::Length(0) => {
                (StatedLength::Replaced(Some(0)), Reply::WithoutBody)
            }
            SendBody::Length(length) => {
                (StatedLength::Replaced(Some(length)), Reply::Length(length))
            }
            SendBody::Unknown => (StatedLength::Replaced(None), Reply::Unknown),
        }
    }

    pub(in super::super) async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len() as u64;
        match self.reply {
            Reply::WithoutBody => return Ok(()),
            Reply::NotStarted | Reply::Complete => return Err(ClientError::ReplyMismatch),
            Reply::Unknown => {}
            Reply::Length(left) => {
                let left = left.checked_sub(length).ok_or(ClientError::ReplyMismatch)?;
                self.reply = Reply::Length(left);
            }
        }
        self.traffic.response_body += length;
        self.flush().await?;
        self.held = piece;
        match self.reply {
            Reply::Length(0) => Ok(()),
            _ => self.flush().await,
        }
    }

    pub(in super::super) async fn flush(&mut self) -> Result<(), ClientError> {
        self.send_held(EndStream::No).await
    }

    /// Sends what is held as far as the client's windows allow, and waits for them to open.
    async fn send_held(&mut self, end: EndStream) -> Result<(), ClientError> {
        self.timer.restart();
        self.progress = 0;
        while !self.held.is_empty() {
            let capacity = poll_fn(|cx| self.poll_capacity(cx)).await?;
            let send = self.send.as_mut().ok_or(ClientError::ReplyMismatch)?;
            let piece = self.held.split_to(capacity.min(self.held.len()));
            let is_end = end == EndStream::Yes && self.held.is_empty();
            self.progress += piece.len();
            send.send_data(piece, is_end)?;
            // A window that opens by a byte now and then is a client that holds the stream, not one that reads.
            if self.progress >= self.settings.http2.progress_bytes_min {
                self.timer.restart();
                self.progress = 0;
            }
        }
        Ok(())
    }

    fn poll_capacity(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<usize, ClientError>> {
        let send = self.send.as_mut().ok_or(ClientError::ReplyMismatch)?;
        send.reserve_capacity(self.held.len().min(RESERVED_BYTES_MAX));
        let capacity = send.capacity();
        if capacity > 0 {
            return Poll::Ready(Ok(capacity));
        }
        match send.poll_capacity(cx) {
            Poll::Ready(Some(capacity)) => Poll::Ready(Ok(capacity?)),
            Poll::Ready(None) => Poll::Ready(Err(ClientError::Gone(None))),
            Poll::Pending => {
                let limit = self.settings.write_timeout;
                ready!(self.timer.poll_elapsed(cx, limit));
                Poll::Ready(Err(ClientError::Timeout(Waiting::Write)))
            }
        }
    }

    pub(in super::super) async fn finish(
        &mut self,
        trailers: Option<&Fields>,
    ) -> Result<(), ClientError> {
        match self.reply {
            Reply::NotStarted | Reply::Length(1..) => return Err(ClientError::ReplyMismatch),
            Reply::Complete => return Ok(()),
            Reply::WithoutBody => {
                self.reply = Reply::Complete;
                return Ok(());
            }
            Reply::Length(0) | Reply::Unknown => {}
        }
        let trailers = trailers.map(head::write_trailers).transpose()?;
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        let ends_with_data = trailers.is_none() && !self.held.is_empty();
        self.send_held(match ends_with_data {
            true => EndStream::Yes,
            false => EndStream::No,
        })
        .await?;
        let send = self.send.as_mut().ok_or(ClientError::ReplyMismatch)?;
        match trailers {
            Some(trailers) => send.send_trailers(trailers)?,
            None if !ends_with_data => send.send_data(Bytes::new(), true)?,
            None => {}
        }
        self.reply = Reply::Complete;
        Ok(())
    }

    pub(in super::super) async fn closed(&mut self) -> Departure {
        // The reason does not matter: a reset and a broken connection both mean that nobody reads.
        let _ = poll_fn(|cx| match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        })
        .await;
        Departure::Gone
    }

    pub(in super::super) fn reset(&mut self, reason: Reason) {
        self.reset = match self.is_reset() {
            true => ResetBy::Client,
            false => ResetBy::Us,
        };
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Whether the stream has been reset.
    fn is_reset(&mut self) -> bool {
        let mut cx = TaskContext::from_waker(Waker::noop());
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(&mut cx),
            None => self.respond.poll_reset(&mut cx),
        };
        matches!(reset, Poll::Ready(Ok(_)))
    }

    /// Brings the exchange that came back to an end. A request body that nobody read is cancelled by `h2` without
    /// blame when the stream is dropped (RFC 9113 §8.1).
    pub(super) async fn conclude(mut self: Box<Self>) {
        match self.reply {
            Reply::Complete => {}
            Reply::NotStarted => {
                let head = ResponseHead::new(500).with("Content-Type", "text/plain; charset=utf-8");
                let body = Bytes::from(format!("{}\n", reason_phrase(500)));
                let length = SendBody::Length(body.len() as u64);
                // Nothing is owed to a client that fails here.
                if self.send_head(&head, length).await.is_ok() && self.send_body(body).await.is_ok()
                {
                    let _ = self.finish(None).await;
                }
            }
            Reply::WithoutBody | Reply::Length(0) => {
                let _ = self.finish(None).await;
            }
            Reply::Length(_) | Reply::Unknown => self.reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        if self.reply == Reply::Complete {
            self.active.count_reply();
        } else if self.reset == ResetBy::Client
            || (self.reset == ResetBy::Nobody && self.is_reset())
        {
            self.active.count_reset();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndStream {
    Yes,
    No,
}

/// Bytes of a request head as HTTP/1 would write it; of each field the length of its name and its value.
fn head_bytes(method: usize, target: usize, fields: impl Iterator<Item = (usize, usize)>) -> u64 {
    let fields: usize = fields.map(|(name, value)| name + value + 4).sum();
    let line = method + 1 + target + " HTTP/1.1\r\n".len();
    (line + fields + 2) as u64
}

/// Answers a request that never became an exchange. Gives the bytes of both.
pub(super) fn refuse(
    parts: &http::request::Parts,
    mut respond: SendResponse<Bytes>,
    refused: Refused,
) -> Traffic {
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str().len(), value.len()));
    let mut traffic = Traffic {
        request_head: head_bytes(parts.method.as_str().len(), target.len(), fields),
        ..Traffic::default()
    };
    let status = refused.status();
    let body = Bytes::from(format!("{}: {refused}\n", reason_phrase(status)));
    let head = ResponseHead::new(status)
        .with("Content-Type", "text/plain; charset=utf-8")
        .with("Cache-Control", "no-store");
    let body_bytes = body.len() as u64;
    let length = StatedLength::Replaced(Some(body_bytes));
    let sent = head::write(&head, &Fields::new(), length).and_then(|(response, size)| {
        let mut send = respond.send_response(response, false)?;
        send.send_data(body, true)?;
        Ok(size)
    });
    match sent {
        Ok(size) => {
            traffic.response_head = size;
            traffic.response_body = body_bytes;
        }
        Err(_) => respond.send_reset(Reason::PROTOCOL_ERROR),
    }
    traffic
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("head", &self.head)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

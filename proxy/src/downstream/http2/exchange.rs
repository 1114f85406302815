//! One HTTP/2 stream as an exchange.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use futures_util::future::poll_fn;

use super::super::Context;
use super::super::date::http_date;
use super::super::error::{ClientError, Waiting};
use super::super::exchange::{BodyLength, Departure, SendBody, Traffic};
use super::super::info::ConnectionInfo;
use super::super::settings::DownstreamSettings;
use super::super::timer::Timer;
use super::state::{Received, ReplyEnd, Sending, Shared, StreamKey};
use crate::http::{Fields, Method, OutgoingHead, RequestHead, ResponseHead, reason_phrase};
use crate::http1::Expectation;
use crate::http2::{ErrorCode, ParsedHead, StatedLength, write_response, write_trailers};

/// A stream and its exchange. Behind the reply, memory for another.
pub(in super::super) struct Http2 {
    info: Arc<ConnectionInfo>,
    settings: Arc<DownstreamSettings>,
    shared: Arc<Shared>,
    /// The stream; the handler is done with it once there is none.
    key: Option<StreamKey>,
    number: u32,
    /// Whoever answers it may take it.
    head: RequestHead,
    /// For the fields that replies add to stored heads.
    memory: Fields,
    method: Method,
    expectation: Expectation,
    body_length: BodyLength,
    is_read: bool,
    trailers: Option<Fields>,
    reply: Reply,
    /// What had left the queue when the timer was last restarted.
    progress: u64,
    /// The last piece of a body of known length: it goes out with the end of the stream on it, or before trailers.
    held: Bytes,
    timer: Timer,
    traffic: Traffic,
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

impl Http2 {
    pub(super) fn new<H>(context: &Context<H>, shared: Arc<Shared>) -> Http2 {
        Http2 {
            info: context.info.clone(),
            settings: context.settings.clone(),
            shared,
            key: None,
            number: 0,
            head: RequestHead::default(),
            memory: Fields::new(),
            method: Method::Get,
            expectation: Expectation::Nothing,
            body_length: BodyLength::None,
            is_read: false,
            trailers: None,
            reply: Reply::NotStarted,
            progress: 0,
            held: Bytes::new(),
            timer: Timer::default(),
            traffic: Traffic::default(),
        }
    }

    /// Sets it up for another stream. Takes the head, and leaves the memory of the last one in its place.
    pub(super) fn begin(
        &mut self,
        key: StreamKey,
        number: u32,
        head: &mut RequestHead,
        parsed: ParsedHead,
        is_received: bool,
    ) {
        std::mem::swap(&mut self.head, head);
        self.key = Some(key);
        self.number = number;
        self.method.clone_from(&self.head.method);
        self.expectation = parsed.expectation;
        self.body_length = match parsed.content_length {
            Some(length) => BodyLength::Known(length),
            // What follows CONNECT is for a tunnel, and we have none.
            None if is_received || self.method == Method::Connect => BodyLength::None,
            None => BodyLength::Unknown,
        };
        self.is_read = self.method == Method::Connect;
        self.trailers = None;
        self.reply = Reply::NotStarted;
        self.progress = 0;
        self.held = Bytes::new();
        self.timer.restart();
        self.traffic = Traffic {
            request_head: head_bytes(&self.head),
            ..Traffic::default()
        };
    }

    /// Memory that it keeps for another stream.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.heap_bytes() + self.memory.heap_bytes()
    }

    pub(in super::super) fn head(&self) -> &RequestHead {
        &self.head
    }

    pub(in super::super) fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.head
    }

    pub(in super::super) fn take_memory(&mut self) -> Fields {
        std::mem::take(&mut self.memory)
    }

    pub(in super::super) fn give_back(&mut self, head: RequestHead, memory: Fields) {
        self.head = head;
        self.memory = memory;
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

    /// The stream, while there is one.
    fn key(&self) -> Result<StreamKey, ClientError> {
        self.key.ok_or(ClientError::ReplyMismatch)
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
        if self.is_read {
            return Poll::Ready(Ok(None));
        }
        let key = self.key()?;
        let polled = self.shared.lock().poll_body(key, cx);
        match polled {
            Poll::Ready(Ok(Received::Data(piece))) => {
                self.expectation = Expectation::Nothing;
                self.traffic.request_body += piece.len() as u64;
                if let Some(max) = max.filter(|max| self.traffic.request_body > *max) {
                    return Poll::Ready(Err(ClientError::BodyTooLarge(max)));
                }
                Poll::Ready(Ok(Some(piece)))
            }
            Poll::Ready(Ok(Received::End(trailers))) => {
                self.is_read = true;
                self.trailers = trailers.transpose()?;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.invite_body()?;
                let limit = self.settings.body_read_timeout;
                ready!(self.timer.poll_elapsed(cx, limit));
                Poll::Ready(Err(ClientError::Timeout(Waiting::Body)))
            }
        }
    }

    fn invite_body(&mut self) -> Result<(), ClientError> {
        if self.expectation == Expectation::Continue && self.reply == Reply::NotStarted {
            self.write_head(100, [&Fields::new(); 2], StatedLength::Replaced(None), None)?;
        }
        self.expectation = Expectation::Nothing;
        Ok(())
    }

    /// Writes a head; the end of the stream is on it where there is a reply without a body.
    fn write_head(
        &mut self,
        status: u16,
        lists: [&Fields; 2],
        length: StatedLength,
        reply: Option<Reply>,
    ) -> Result<(), ClientError> {
        let key = self.key()?;
        let date = reply.map(|_| http_date());
        let date = date.as_ref().map(|date| &date[..]);
        let is_end = reply == Some(Reply::WithoutBody);
        let size = self.shared.lock().send_head(key, is_end, |out| {
            write_response(out, status, lists, length, date)
        })?;
        self.traffic.response_head += size;
        Ok(())
    }

    pub(in super::super) async fn send_informational(
        &mut self,
        head: &ResponseHead,
    ) -> Result<(), ClientError> {
        if !head.is_informational() || head.status == 101 || self.reply != Reply::NotStarted {
            return Err(ClientError::ReplyMismatch);
        }
        // Nothing else bounds how many a backend sends.
        self.timer.restart();
        let limit = self.settings.write_timeout;
        poll_fn(|cx| match self.shared.lock().poll_room(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self
                .timer
                .poll_elapsed(cx, limit)
                .map(|()| Err(ClientError::Timeout(Waiting::Write))),
        })
        .await?;
        if head.status == 100 {
            self.expectation = Expectation::Nothing;
        }
        let lists = [&head.fields, &Fields::new()];
        self.write_head(head.status, lists, StatedLength::Replaced(None), None)
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
        added: &Fields,
        body: SendBody,
    ) -> Result<(), ClientError> {
        let is_status = (100..=999).contains(&head.status);
        if self.reply != Reply::NotStarted || head.is_informational() || !is_status {
            return Err(ClientError::ReplyMismatch);
        }
        let (length, reply) = self.frame(head.status, body);
        self.write_head(head.status, [&head.fields, added], length, Some(reply))?;
        self.expectation = Expectation::Nothing;
        self.reply = reply;
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
        // What a call that was dropped half-way has left behind is in the queue; what is held is not.
        let most = self.settings.http2.send_buffer_bytes_max;
        let held = std::mem::replace(&mut self.held, piece);
        if !held.is_empty() {
            self.send(held, ReplyEnd::Open, most).await?;
        }
        match self.reply {
            Reply::Length(0) => Ok(()),
            _ => {
                let piece = std::mem::take(&mut self.held);
                self.send(piece, ReplyEnd::Open, most).await
            }
        }
    }

    pub(in super::super) async fn flush(&mut self) -> Result<(), ClientError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let most = self.settings.http2.send_buffer_bytes_max;
        self.send(held, ReplyEnd::Open, most).await
    }

    /// Queues a piece and waits until the client's windows have let all but so many bytes pass.
    async fn send(&mut self, piece: Bytes, end: ReplyEnd, most: usize) -> Result<(), ClientError> {
        let key = self.key()?;
        let sending = self.shared.lock().send(key, piece, end, most)?;
        let Sending::Waits(drained) = sending else {
            return Ok(());
        };
        self.timer.restart();
        self.progress = drained;
        poll_fn(|cx| {
            let sending = self.shared.lock().poll_sending(key, most, cx)?;
            let Sending::Waits(drained) = sending else {
                return Poll::Ready(Ok(()));
            };
            // A window that opens by a byte now and then is a client that holds the stream, not one that reads.
            let moved = drained - self.progress;
            if moved > 0 && moved >= self.settings.http2.progress_bytes_min as u64 {
                self.timer.restart();
                self.progress = drained;
            }
            let limit = self.settings.write_timeout;
            ready!(self.timer.poll_elapsed(cx, limit));
            Poll::Ready(Err(ClientError::Timeout(Waiting::Write)))
        })
        .await
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
        let mut block = Vec::new();
        if let Some(trailers) = trailers {
            write_trailers(&mut block, trailers);
        }
        let end = match block.is_empty() {
            true => ReplyEnd::Data,
            false => ReplyEnd::Trailers(block),
        };
        let held = std::mem::take(&mut self.held);
        self.send(held, end, 0).await?;
        self.reply = Reply::Complete;
        Ok(())
    }

    pub(in super::super) async fn closed(&mut self) -> Departure {
        // The reason does not matter: a reset and a broken connection both mean that nobody reads.
        poll_fn(|cx| match self.key {
            Some(key) => self.shared.lock().poll_departure(key, cx),
            None => Poll::Ready(Departure::Gone),
        })
        .await
    }

    /// Breaks the reply off.
    pub(in super::super) fn reset(&mut self) {
        if let Some(key) = self.key {
            self.shared.lock().reset(key, ErrorCode::INTERNAL_ERROR);
        }
    }

    /// Whether the stream is over before anybody has looked at it.
    pub(super) fn is_over(&self) -> bool {
        self.key
            .is_none_or(|key| self.shared.lock().error(key).is_some())
    }

    /// Brings the exchange that came back to an end.
    pub(super) async fn conclude(&mut self) {
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
            Reply::Length(_) | Reply::Unknown => self.reset(),
        }
        self.close();
    }

    /// Lets go of the stream: a reply that is not complete is broken off, a request body that nobody read is cancelled
    /// without blame (RFC 9113 §8.1).
    fn close(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.lock().close(key);
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.close();
    }
}

/// Bytes of a request head as HTTP/1 would write it.
pub(super) fn head_bytes(head: &RequestHead) -> u64 {
    let line = head.method.as_str().len() + 1 + head.target.len() + " HTTP/1.1\r\n".len();
    (line + head.fields.lines().len() + 2) as u64
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("head", &self.head)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

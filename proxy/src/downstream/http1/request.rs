//! The request side of an HTTP/1 exchange: body, trailers, and the client's departure.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::poll_fn;

use super::super::end::End;
use super::super::error::{ClientError, Waiting};
use super::super::exchange::{BodyLength, Departure, Traffic};
use super::super::info::ConnectionInfo;
use super::{Ending, Http1, Reply};
use crate::http::{Fields, Method, RequestHead};
use crate::http1::{BadBody, BodyFraming, Decoded, Expectation};

/// Bytes read ahead while waiting for something else than the client.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;

impl Http1 {
    pub(in super::super) fn head(&self) -> &RequestHead {
        &self.request.head
    }

    pub(in super::super) fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.request.head
    }

    pub(in super::super) fn take_memory(&mut self) -> Fields {
        std::mem::take(&mut self.memory)
    }

    pub(in super::super) fn give_back(&mut self, head: RequestHead, memory: Fields, now: Instant) {
        self.request.head = head;
        self.memory = memory;
        self.idle_since = Some(now.into());
    }

    pub(in super::super) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    pub(in super::super) fn number(&self) -> u32 {
        self.requests
    }

    pub(in super::super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(in super::super) fn body_length(&self) -> BodyLength {
        match self.request.framing {
            BodyFraming::Empty => BodyLength::None,
            BodyFraming::Length(length) => BodyLength::Known(length),
            BodyFraming::Chunked | BodyFraming::UntilClose => BodyLength::Unknown,
        }
    }

    pub(in super::super) fn expects_continue(&self) -> bool {
        self.request.expectation == Expectation::Continue
    }

    pub(in super::super) fn upgrade(&self) -> Option<&str> {
        match self.request.method {
            Method::Connect => Some("CONNECT"),
            _ => self.request.upgrade.as_deref(),
        }
    }

    pub(in super::super) fn take_trailers(&mut self) -> Option<Fields> {
        self.request.trailers.take()
    }

    pub(in super::super) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.request.decoder.is_done() {
            return Ok(None);
        }
        self.wire.timer.restart();
        let read = poll_fn(|cx| self.poll_body(cx)).await;
        read.inspect_err(|error| self.break_body(error))
    }

    /// The body will not be read to its end, so the connection ends with the reply.
    fn break_body(&mut self, error: &ClientError) {
        self.request.is_broken = true;
        self.end = End::RequestBody;
        self.ending = match error {
            ClientError::Gone(_) => Ending::Broken,
            _ => Ending::ByUs,
        };
    }

    pub(in super::super) fn refuse_declared_length(&mut self) -> Result<(), ClientError> {
        let declared = self.check_declared_length();
        declared.inspect_err(|error| self.break_body(error))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        self.check_declared_length()?;
        loop {
            match self.request.decoder.decode(&mut self.wire.input)? {
                Decoded::Data(piece) => {
                    self.request.expectation = Expectation::Nothing;
                    self.count_body(piece.len())?;
                    return Poll::Ready(Ok(Some(piece)));
                }
                Decoded::End(trailers) => {
                    self.request.expectation = Expectation::Nothing;
                    self.request.trailers = trailers;
                    return Poll::Ready(Ok(None));
                }
                Decoded::NeedMore if self.wire.input_closed => {
                    return Poll::Ready(Err(BadBody::Truncated.into()));
                }
                Decoded::NeedMore => {}
            }
            self.invite_body();
            // Whatever the client waits for goes out before we wait for the client; when it does not take it, its
            // body may still come.
            if let Poll::Ready(Err(error)) = self.wire.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            match self.wire.poll_read(cx) {
                Poll::Ready(Ok(_)) => self.wire.timer.restart(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    let limit = self.settings.body_read_timeout;
                    ready!(self.wire.timer.poll_elapsed(cx, limit));
                    return Poll::Ready(Err(ClientError::Timeout(Waiting::Body)));
                }
            }
        }
    }

    /// Sends 100 to a client that waits for it (RFC 9110 §10.1.1), unless its body is already under way or the reply
    /// has begun.
    fn invite_body(&mut self) {
        if self.request.expectation == Expectation::Nothing {
            return;
        }
        if self.wire.input.is_empty()
            && self.reply == Reply::NotStarted
            && !self.wire.output.has_piece()
        {
            const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.wire.output.head().extend_from_slice(CONTINUE);
            self.traffic.response_head += CONTINUE.len() as u64;
        }
        self.request.expectation = Expectation::Nothing;
    }

    fn check_declared_length(&self) -> Result<(), ClientError> {
        match (self.request.framing, self.settings.request_body_bytes_max) {
            (BodyFraming::Length(length), Some(max)) if length > max => {
                Err(ClientError::BodyTooLarge(max))
            }
            _ => Ok(()),
        }
    }

    fn count_body(&mut self, length: usize) -> Result<(), ClientError> {
        self.traffic.request_body += length as u64;
        match self.settings.request_body_bytes_max {
            Some(max) if self.traffic.request_body > max => Err(ClientError::BodyTooLarge(max)),
            _ => Ok(()),
        }
    }

    /// Whether the rest of the body is small enough to be skipped, as far as its head tells.
    pub(super) fn can_skip_body(&self) -> bool {
        let unread = match self.request.framing {
            _ if self.request.decoder.is_done() => 0,
            BodyFraming::Length(length) => length.saturating_sub(self.traffic.request_body),
            _ => 0,
        };
        !self.request.is_broken
            && self.request.expectation == Expectation::Nothing
            && unread <= self.settings.drain_bytes_max
    }

    /// Reads what the handler did not want of the body; where that takes too much, the connection ends instead.
    pub(super) async fn skip_body(&mut self) {
        let limit = self.settings.linger_timeout;
        self.idle_since = None;
        let skipped = tokio::time::timeout(limit, async {
            self.wire.flush(limit).await?;
            let end = self.traffic.request_body + self.settings.drain_bytes_max;
            while self.read_body().await?.is_some() {
                if self.traffic.request_body > end {
                    self.ending = Ending::ByUs;
                    break;
                }
            }
            Ok::<(), ClientError>(())
        })
        .await;
        if !matches!(skipped, Ok(Ok(()))) {
            self.ending = Ending::ByUs;
        }
        if self.ending != Ending::Open {
            self.end = End::RequestBody;
        }
    }

    pub(in super::super) async fn closed(&mut self) -> Departure {
        let departure: std::io::Result<Departure> = poll_fn(|cx| {
            loop {
                // A client that takes nothing is slow, not gone; an error ends the wait.
                let _ = self.wire.poll_flush(cx)?;
                if self.wire.input_closed {
                    return Poll::Ready(Ok(Departure::HalfClosed));
                }
                if self.wire.input.len() >= READ_AHEAD_BYTES_MAX {
                    return Poll::Pending;
                }
                ready!(self.wire.poll_read(cx))?;
            }
        })
        .await;
        departure.unwrap_or_else(|_| {
            self.ending = Ending::Broken;
            self.end = End::ByClient;
            Departure::Gone
        })
    }
}

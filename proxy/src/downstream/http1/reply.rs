//! The reply side of an HTTP/1 exchange.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use pingora_core::protocols::Stream;

use super::super::date::http_date;
use super::super::end::End;
use super::super::error::ClientError;
use super::super::exchange::SendBody;
use super::{Ending, Http1, has_close};
use crate::http::{Field, Fields, Method, OutgoingHead, ResponseHead, Sent, Version};
use crate::http1::{
    CHUNK_END, Expectation, SentFraming, write_chosen_fields, write_chunk_head, write_field,
    write_fields, write_last_chunk, write_status_line,
};

/// Replies to pipelined requests are gathered up to this size.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// How far the reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    NotStarted,
    /// The head is written; so much of the body is left.
    Body(Left),
    Complete,
}

/// What may still be sent of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: pieces are dropped.
    Nothing,
    /// Exactly so many bytes.
    Length(u64),
    Chunked,
    /// All until the connection ends.
    UntilClose,
}

impl Http1 {
    pub(in super::super) async fn send_informational(
        &mut self,
        head: &ResponseHead,
    ) -> Result<(), ClientError> {
        if !head.is_informational() || self.reply != Reply::NotStarted {
            return Err(ClientError::ReplyMismatch);
        }
        if self.request.version == Version::Http10 {
            return Ok(());
        }
        if head.status == 100 {
            self.request.expectation = Expectation::Nothing;
        }
        self.make_room().await?;
        let out = self.wire.output.head();
        let before = out.len();
        write_status_line(out, head);
        write_chosen_fields(out, fields_for_client(head), SentFraming::Nothing);
        out.extend_from_slice(b"\r\n");
        self.traffic.response_head += (out.len() - before) as u64;
        self.flush().await
    }

    pub(in super::super) async fn send_head(
        &mut self,
        head: &ResponseHead,
        body: SendBody,
    ) -> Result<(), ClientError> {
        let framing = self.start_reply(head.status, &head.fields, body)?;
        self.make_room().await?;
        let out = self.wire.output.head();
        let before = out.len();
        write_status_line(out, head);
        if head.status == 101 {
            write_fields(out, &head.fields, framing);
        } else {
            write_chosen_fields(out, fields_for_client(head), framing);
        }
        if !head.fields.contains("date") {
            write_field(out, "Date", &http_date());
        }
        self.end_head(head.status, before);
        Ok(())
    }

    pub(in super::super) async fn send_outgoing(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
    ) -> Result<(), ClientError> {
        self.make_room().await?;
        self.queue_outgoing(head, body)
    }

    pub(in super::super) async fn send_whole(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
        pieces: &[Bytes],
    ) -> Result<(), ClientError> {
        self.send_outgoing(head, body).await?;
        match (self.reply, pieces) {
            (Reply::Body(Left::Nothing), _) => {}
            // The common case, without a reference to the piece and without a look at what is queued.
            (Reply::Body(Left::Length(length)), [piece]) if self.wire.output.takes(piece) => {
                if piece.len() as u64 != length {
                    return Err(ClientError::ReplyMismatch);
                }
                self.wire.output.head().extend_from_slice(piece);
                self.reply = Reply::Body(Left::Length(0));
                self.traffic.response_body += length;
            }
            _ => self.send_pieces(pieces).await?,
        }
        self.finish(None).await
    }

    fn queue_outgoing(
        &mut self,
        head: &OutgoingHead<'_>,
        body: SendBody,
    ) -> Result<(), ClientError> {
        let stored = head.stored();
        let framing = self.start_reply(head.status(), &stored.fields, body)?;
        let out = self.wire.output.head();
        let before = out.len();
        match head.sent() {
            Sent::Whole => {
                write_status_line(out, stored);
                match names_this_hop(&stored.fields) {
                    false => write_fields(out, &stored.fields, framing),
                    true => write_chosen_fields(out, fields_for_client(stored), framing),
                }
            }
            Sent::NotModified { is_for_content } => {
                out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
                let is_sent = |name: &[u8]| !is_for_content(name) && !is_of_this_hop(name);
                stored.fields.write_lines(out, is_sent);
            }
        }
        out.extend_from_slice(head.added().lines());
        if !stored.fields.contains("date") {
            write_field(out, "Date", &http_date());
        }
        self.end_head(head.status(), before);
        Ok(())
    }

    /// Decides the framing and whether the connection outlives the reply.
    fn start_reply(
        &mut self,
        status: u16,
        fields: &Fields,
        body: SendBody,
    ) -> Result<SentFraming, ClientError> {
        let is_final = status == 101 || status >= 200;
        if self.reply != Reply::NotStarted || !is_final {
            return Err(ClientError::ReplyMismatch);
        }
        let (framing, left) = self.frame(status, body);
        let is_last = self
            .settings
            .requests_per_connection_max
            .is_some_and(|max| self.requests >= max.get());
        if self.ending == Ending::Open {
            let end = if !self.can_skip_body() {
                Some(End::RequestBody)
            } else if is_last || self.shutdown.has_begun() || has_close(fields) {
                Some(End::ByReply)
            } else {
                None
            };
            if let Some(end) = end {
                self.ending = Ending::ByUs;
                self.end = end;
            }
        }
        if left == Left::UntilClose {
            if self.ending == Ending::Open {
                self.ending = Ending::ByUs;
            }
            self.end = End::EndOfBody;
        }
        // The client asked for 100 and gets an answer instead: it may now send its body or not (RFC 9110 §10.1.1).
        self.request.expectation = Expectation::Nothing;
        self.reply = Reply::Body(left);
        Ok(framing)
    }

    /// RFC 9112 §6.
    fn frame(&self, status: u16, body: SendBody) -> (SentFraming, Left) {
        let method = &self.request.method;
        match (status, body) {
            (101 | 204, _) => (SentFraming::Nothing, Left::Nothing),
            (200..300, _) if *method == Method::Connect => (SentFraming::Nothing, Left::Nothing),
            (304, SendBody::Length(length)) => (SentFraming::Length(length), Left::Nothing),
            (304, _) => (SentFraming::Described, Left::Nothing),
            (_, SendBody::Length(length)) if *method == Method::Head => {
                (SentFraming::Length(length), Left::Nothing)
            }
            _ if *method == Method::Head => (SentFraming::Described, Left::Nothing),
            (_, SendBody::Empty) => (SentFraming::Length(0), Left::Nothing),
            (_, SendBody::Length(length)) => (SentFraming::Length(length), Left::Length(length)),
            (_, SendBody::Unknown) if self.request.version == Version::Http10 => {
                (SentFraming::Nothing, Left::UntilClose)
            }
            (_, SendBody::Unknown) => (SentFraming::Chunked, Left::Chunked),
        }
    }

    fn end_head(&mut self, status: u16, before: usize) {
        let is_tunnel = status == 101
            || ((200..300).contains(&status) && self.request.method == Method::Connect);
        let persists = self.ending == Ending::Open;
        let version = self.request.version;
        let out = self.wire.output.head();
        if is_tunnel {
            // What follows is no HTTP; the connection belongs to whoever takes it.
        } else if !persists {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.traffic.response_head += (out.len() - before) as u64;
        if is_tunnel {
            self.ending = Ending::ByUs;
        }
    }

    pub(in super::super) async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        let bytes = piece.len();
        self.send_together([piece], bytes).await
    }

    pub(in super::super) async fn send_pieces(
        &mut self,
        pieces: &[Bytes],
    ) -> Result<(), ClientError> {
        let bytes = pieces.iter().map(Bytes::len).sum();
        self.send_together(pieces.iter().cloned(), bytes).await
    }

    /// Sends pieces that have so many bytes in all, in as few writes as the socket lets us.
    async fn send_together(
        &mut self,
        pieces: impl IntoIterator<Item = Bytes>,
        bytes: usize,
    ) -> Result<(), ClientError> {
        let Reply::Body(left) = self.reply else {
            return Err(ClientError::ReplyMismatch);
        };
        if bytes == 0 || left == Left::Nothing {
            return Ok(());
        }
        let length = bytes as u64;
        let left = match left {
            Left::Length(left) => {
                Left::Length(left.checked_sub(length).ok_or(ClientError::ReplyMismatch)?)
            }
            other => other,
        };
        self.make_room().await?;
        let tail = match left {
            Left::Chunked => {
                write_chunk_head(self.wire.output.head(), bytes);
                CHUNK_END
            }
            _ => b"",
        };
        self.wire.output.queue(pieces, bytes, tail);
        self.reply = Reply::Body(left);
        self.traffic.response_body += length;
        if left == Left::Length(0) && !self.wire.output.has_piece() {
            // Small and complete: finish() sends head and body at once.
            return Ok(());
        }
        self.flush().await
    }

    pub(in super::super) async fn finish(
        &mut self,
        trailers: Option<&Fields>,
    ) -> Result<(), ClientError> {
        match self.reply {
            Reply::NotStarted | Reply::Body(Left::Length(1..)) => {
                return Err(ClientError::ReplyMismatch);
            }
            Reply::Complete => return Ok(()),
            Reply::Body(Left::Chunked) => {
                self.make_room().await?;
                write_last_chunk(self.wire.output.head(), trailers);
            }
            Reply::Body(Left::Nothing | Left::Length(0) | Left::UntilClose) => {}
        }
        self.reply = Reply::Complete;
        let is_followed = self.ending == Ending::Open
            && self.request.decoder.is_done()
            && !self.wire.input.is_empty()
            && self.wire.output.queued() < GATHERED_BYTES_MAX
            && memmem::find(&self.wire.input, b"\r\n\r\n").is_some();
        if is_followed {
            return Ok(());
        }
        self.flush().await
    }

    pub(in super::super) async fn flush(&mut self) -> Result<(), ClientError> {
        let flushed = self.wire.flush(self.settings.write_timeout).await;
        if let Err(error) = &flushed {
            self.ending = Ending::Broken;
            self.end = End::unsent(error);
        }
        flushed
    }

    /// Sends a piece left over from a call that was dropped half-way.
    async fn make_room(&mut self) -> Result<(), ClientError> {
        match self.wire.output.has_piece() {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    pub(in super::super) async fn into_upgraded(
        mut self: Box<Self>,
    ) -> Result<(Stream, BytesMut), ClientError> {
        self.flush().await?;
        Ok(self.wire.into_parts())
    }
}

/// Whether there are fields that the connection writes itself.
fn names_this_hop(fields: &Fields) -> bool {
    const NAMES: [&str; 3] = ["connection", "keep-alive", "proxy-connection"];
    NAMES.iter().any(|name| fields.contains(name))
}

/// All but the fields that the connection writes itself.
fn fields_for_client(head: &ResponseHead) -> impl Iterator<Item = Field<'_>> {
    let fields = head.fields.iter();
    fields.filter(|field| !is_of_this_hop(field.name.as_bytes()))
}

fn is_of_this_hop(name: &[u8]) -> bool {
    match name.len() {
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        _ => false,
    }
}

//! `deliver`: makes an object the answer to this request.
//!
//! What came through the cache answers conditions and ranges here (RFC 9110 §13, §14), also while the
//! object still fills. What was fetched for this client alone is relayed as it is.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use super::{Machine, State};
use crate::downstream::{ClientError, SendBody};
use crate::http::{Method, OutgoingHead, Reason, ResponseHead, Version};
use crate::object::{BodyReader, Object, Wanted};
use crate::policy::{Deliver, Delivery, Source};
use crate::rules::conditional::{self, Precondition};
use crate::rules::range::{self, Multipart, RangeRequest};

/// Bodies up to this size rarely have to wait for their client.
const SHORT_BYTES_MAX: u64 = 64 * 1024;

pub(super) enum Delivered {
    Done,
    /// The policy wants something else sent.
    Instead(State),
}

/// Which bytes of the object go out.
enum Part {
    Nothing,
    Whole,
    One(Range<u64>),
    Several(Multipart),
}

impl Machine<'_> {
    pub(super) async fn deliver(
        &mut self,
        object: Arc<Object>,
        reader: Option<BodyReader>,
        mut delivery: Delivery,
        own_head: Option<Box<ResponseHead>>,
    ) -> Result<Delivered, ClientError> {
        delivery.forwarded = self.record.forwarded;
        let now = self.now;
        let stored = own_head.as_deref().unwrap_or(&object.head);
        let mut head = OutgoingHead::new(stored, self.exchange.take_memory());
        match self
            .current
            .policy
            .deliver(&mut self.request, &object, &delivery, &mut head, now)
        {
            Deliver::Synth(synth) if !self.record.settled => {
                self.record.settled = true;
                return Ok(Delivered::Instead(State::Synth(synth)));
            }
            Deliver::Restart if !self.record.settled => {
                return Ok(Delivered::Instead(State::Restart));
            }
            Deliver::Deliver | Deliver::Synth(_) | Deliver::Restart => {}
        }
        self.record.answered(self.front, &delivery);
        let length = object
            .body
            .complete_bytes()
            .or_else(|| declared_length(&object.head));
        let part = match delivery.source {
            Source::Pass | Source::Synth => Part::Whole,
            _ => self.select(&mut head, &object, length),
        };
        self.record.status = head.status();
        let has_trailers = match &reader {
            None => object.body.has_trailers(),
            Some(reader) => reader.trailers().is_some(),
        };
        let body = match &part {
            Part::Nothing => SendBody::Empty,
            // HTTP/1 has a place for trailers in chunked bodies only.
            Part::Whole if has_trailers && self.request.head.version != Version::Http10 => {
                SendBody::Unknown
            }
            Part::Whole => length.map_or(SendBody::Unknown, SendBody::Length),
            Part::One(range) => SendBody::Length(range.end - range.start),
            Part::Several(multipart) => SendBody::Length(multipart.content_len()),
        };
        if length.is_none_or(|length| length > SHORT_BYTES_MAX) {
            self.prepare_to_wait();
        }
        // Where all of it is here, there is nothing to wait for but the client.
        let at_once: Option<Cow<'_, [Bytes]>> = match (&part, object.body.pieces()) {
            _ if self.request.head.method == Method::Head => Some(Cow::Borrowed(&[])),
            (Part::Nothing, _) => Some(Cow::Borrowed(&[])),
            (Part::Whole, Some(pieces)) if !has_trailers && !object.body.has_trailers() => {
                Some(Cow::Borrowed(pieces))
            }
            (Part::One(range), Some(pieces)) => Some(cut_all(pieces, range).collect()),
            (Part::Whole | Part::One(_) | Part::Several(_), _) => None,
        };
        if let Some(pieces) = at_once {
            self.exchange.send_whole(&head, body, &pieces).await?;
            self.memory = head.into_memory();
            return Ok(Delivered::Done);
        }
        self.exchange.send_outgoing(&head, body).await?;
        self.memory = head.into_memory();
        let range = match part {
            Part::Several(multipart) => {
                self.send_parts(&object, &multipart).await?;
                return Ok(Delivered::Done);
            }
            Part::One(range) => range,
            Part::Whole | Part::Nothing => 0..u64::MAX,
        };
        let reader = reader.or_else(|| object.body.reader());
        let reader = reader.expect("a body that is all here can be read");
        self.send(reader, range).await?;
        Ok(Delivered::Done)
    }

    /// Answers conditions and ranges of a GET or HEAD from a stored 200, or from a stored part of one (RFC 9110
    /// §13.2.2's order).
    fn select(&self, head: &mut OutgoingHead<'_>, object: &Object, length: Option<u64>) -> Part {
        let request = &self.request.head;
        if head.status() != 200 && object.part().is_none()
            || !matches!(request.method, Method::Get | Method::Head)
        {
            return Part::Whole;
        }
        match conditional::evaluate(request, head.stored()) {
            Precondition::NotModified => {
                head.not_modified(conditional::is_for_content);
                return Part::Nothing;
            }
            // The policy or the origin has settled If-Match and If-Unmodified-Since.
            Precondition::Proceed | Precondition::Undecided => {}
        }
        if let Some(stored) = object.part() {
            return match object.wanted_of_part(&request.fields) {
                Some(Wanted::Range(range)) => {
                    let fields = &mut head.to_mut().fields;
                    range::set_partial(fields, &range, stored.part.complete_len);
                    let first = stored.part.range.start;
                    Part::One(range.start - first..range.end - first)
                }
                Some(Wanted::AsItCame) | None => Part::Whole,
            };
        }
        let ranges = range::requested_range(
            request,
            head.stored(),
            length,
            self.current.settings.ranges_max,
        );
        match (ranges, length) {
            (RangeRequest::Single(range), Some(length)) => {
                let head = head.to_mut();
                set_status(head, 206);
                range::set_partial(&mut head.fields, &range, length);
                Part::One(range)
            }
            // Parts may be asked for in any order, so all the bytes have to be here.
            (RangeRequest::Multiple(ranges), Some(length)) if object.body.is_complete() => {
                let head = head.to_mut();
                let multipart = Multipart::new(head, ranges, length, rand::random());
                set_status(head, 206);
                multipart.set_fields(&mut head.fields);
                Part::Several(multipart)
            }
            (RangeRequest::Unsatisfiable, Some(length)) => {
                let head = head.to_mut();
                set_status(head, 416);
                range::set_unsatisfiable(&mut head.fields, length);
                Part::Nothing
            }
            // No range that counts, or the length to answer it by is not known yet (RFC 9110 §14.2).
            _ => Part::Whole,
        }
    }

    /// Sends the bytes of `range` as they arrive, while the rest of the request's body goes up.
    async fn send(&mut self, mut reader: BodyReader, range: Range<u64>) -> Result<(), ClientError> {
        let mut position = 0;
        while position < range.end {
            let piece = match reader.next().now_or_never() {
                Some(piece) => piece,
                None => {
                    // Nothing is here yet: what was sent so far must not wait in our buffer for it.
                    self.exchange.flush().await?;
                    loop {
                        tokio::select! {
                            piece = reader.next() => break piece,
                            moved = self.record.upload.step(&mut self.exchange) => moved?,
                        }
                    }
                }
            };
            let Some(piece) = piece.map_err(|_| ClientError::ReplyMismatch)? else {
                break;
            };
            let start = position;
            position += piece.len() as u64;
            if let Some(piece) = cut(&piece, start, &range) {
                self.exchange.send_body(piece).await?;
            }
        }
        let trailers = if range.end == u64::MAX {
            reader.trailers()
        } else {
            None
        };
        self.exchange.finish(trailers.as_ref()).await
    }

    async fn send_parts(
        &mut self,
        object: &Object,
        multipart: &Multipart,
    ) -> Result<(), ClientError> {
        let pieces = object
            .body
            .pieces()
            .expect("several ranges are served from complete bodies only");
        for (index, range) in multipart.parts().iter().enumerate() {
            self.exchange
                .send_body(multipart.part_head(index).into())
                .await?;
            let part: Vec<Bytes> = cut_all(pieces, range).collect();
            self.exchange.send_pieces(&part).await?;
        }
        self.exchange.send_body(multipart.closing().into()).await?;
        self.exchange.finish(None).await
    }
}

fn set_status(head: &mut ResponseHead, status: u16) {
    head.status = status;
    head.reason = Reason::default();
}

/// The part of `piece`, which begins at `start`, that lies in `range`.
fn cut(piece: &Bytes, start: u64, range: &Range<u64>) -> Option<Bytes> {
    let end = start + piece.len() as u64;
    let (from, to) = (range.start.max(start), range.end.min(end));
    (from < to).then(|| piece.slice((from - start) as usize..(to - start) as usize))
}

/// What lies in `range` of pieces that follow each other from the first byte on.
fn cut_all<'a>(pieces: &'a [Bytes], range: &'a Range<u64>) -> impl Iterator<Item = Bytes> + 'a {
    let mut position = 0;
    pieces.iter().filter_map(move |piece| {
        let start = position;
        position += piece.len() as u64;
        cut(piece, start, range)
    })
}

/// Content-Length of an answer whose body is still arriving.
fn declared_length(head: &ResponseHead) -> Option<u64> {
    head.fields.get_str("Content-Length")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_to_the_range() {
        let check = |start, range: Range<u64>, expected: Option<&'static str>| {
            let piece = Bytes::from_static(b"0123456789");
            assert_eq!(
                cut(&piece, start, &range).as_deref(),
                expected.map(str::as_bytes),
                "{start} {range:?}"
            );
        };
        check(0, 0..u64::MAX, Some("0123456789"));
        check(0, 2..4, Some("23"));
        check(10, 5..12, Some("01"));
        check(10, 15..40, Some("56789"));
        check(10, 0..10, None);
        check(10, 20..30, None);
    }
}

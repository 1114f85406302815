//! Objects that are a part of their content: what they have for a request, and how two become one.

use std::ops::Range;

use bytes::Bytes;

use super::{Body, Kind, Object};
use crate::http::Fields;
use crate::rules::part::{self, Asked, Part};

/// A part of the content, and what it was the answer to.
#[derive(Clone, Debug)]
pub struct StoredPart {
    pub part: Part,
    /// The request that brought it, where it came by one.
    pub asked: Option<Asked>,
}

/// What a stored part has for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It was the answer to the same request.
    AsItCame,
    /// These bytes of the whole content.
    Range(Range<u64>),
}

impl Object {
    /// The bytes of a part that are here, as positions in the whole content. `None` while it still fills, and
    /// for what is no part.
    pub fn received_part(&self) -> Option<Range<u64>> {
        let stored = self.part()?;
        Some(stored.part.received(self.body.complete_bytes()?))
    }

    /// The bytes of this part that a request for a range gets. `None`: not all of them are here.
    pub fn wanted_of_part(&self, request: &Fields) -> Option<Wanted> {
        let StoredPart { part, asked } = self.part()?;
        if asked.is_some() && *asked == Asked::by(request) {
            return Some(Wanted::AsItCame);
        }
        let received = self.received_part()?;
        part::wanted(request, &self.head, part, &received).map(Wanted::Range)
    }

    /// This part and an older one as one (RFC 9111 §3.4), where they overlap or touch, and are of one
    /// representation. It is the whole if nothing is missing. `None` also where that would be more than `bytes_max`.
    pub fn combined_with(&self, older: &Object, bytes_max: u64) -> Option<Object> {
        let (ours, theirs) = (self.part()?, older.part()?);
        let (here, there) = (self.received_part()?, older.received_part()?);
        let complete_len = ours.part.complete_len;
        if std::ptr::eq(self, older)
            || self.kind != Kind::Response
            || older.kind != Kind::Response
            || complete_len != theirs.part.complete_len
            || self.variant() != older.variant()
            || here.start > there.end
            || there.start > here.end
            || !part::may_combine(&older.head, &self.head)
        {
            return None;
        }
        let range = here.start.min(there.start)..here.end.max(there.end);
        if range.end - range.start > bytes_max {
            return None;
        }
        let (first, second, first_end) = match here.start <= there.start {
            true => (self, older, &here),
            false => (older, self, &there),
        };
        let overlap = first_end.end.saturating_sub(here.start.max(there.start));
        let pieces = joined(
            first.body.pieces()?,
            without_first(second.body.pieces()?, overlap),
        );
        let mut combined = Object::new(
            part::combined_head(&self.head, &range, complete_len),
            Body::of_pieces(pieces),
            Kind::Response,
            self.directives.clone(),
            self.times(),
            self.xid,
        );
        if range != (0..complete_len) {
            combined.set_part(Some(StoredPart {
                part: Part {
                    range,
                    complete_len,
                },
                asked: None,
            }));
        }
        combined.set_variant(self.variant().cloned());
        // What ends either ends both, be it that the newer one is no longer in every group.
        let mut tags = [self.tags(), older.tags()].concat();
        tags.sort_unstable();
        tags.dedup();
        combined.set_tags(tags);
        // Bans that the older one has not been tested against are to be tested still.
        combined.set_ban_mark(self.ban_mark().min(older.ban_mark()));
        Some(combined)
    }
}

/// The one that is cut is copied: a slice would hold all of it, and weigh as little as it shows.
fn without_first(pieces: &[Bytes], mut bytes: u64) -> impl Iterator<Item = Bytes> {
    pieces.iter().filter_map(move |piece| {
        let skipped = bytes.min(piece.len() as u64) as usize;
        bytes -= skipped as u64;
        match skipped {
            0 => Some(piece.clone()),
            _ if skipped == piece.len() => None,
            _ => Some(Bytes::copy_from_slice(&piece[skipped..])),
        }
    })
}

/// Both, with the pieces that meet as one if they are small: parts that come byte by byte would else be as many
/// pieces, and each that joins them would cost as much as all before it.
fn joined(first: &[Bytes], rest: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let mut pieces = first.to_vec();
    let mut rest = rest.peekable();
    if let (Some(last), Some(next)) = (pieces.last_mut(), rest.peek())
        && last.len() + next.len() <= SEAM_BYTES
    {
        *last = [&last[..], &next[..]].concat().into();
        rest.next();
    }
    pieces.extend(rest);
    pieces
}

/// Pieces that meet are made one up to this size.
const SEAM_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ResponseHead;
    use crate::object::Times;
    use crate::rules::cache_control::ResponseDirectives;
    use crate::time::Timestamp;

    const COMPLETE: u64 = 1 << 30;

    fn part(range: Range<u64>) -> Object {
        let place = format!("bytes {}-{}/{COMPLETE}", range.start, range.end - 1);
        let head = ResponseHead::new(206)
            .with("ETag", "\"a\"")
            .with("Content-Range", place);
        let bytes: Vec<u8> = range.clone().map(|place| place as u8).collect();
        let times = Times::unusable(Timestamp::from_secs(1));
        let directives = ResponseDirectives::default();
        let body = Body::whole(bytes.into());
        let mut object = Object::new(head, body, Kind::Response, directives, times, 1);
        object.set_part(Some(StoredPart {
            part: Part {
                range,
                complete_len: COMPLETE,
            },
            asked: None,
        }));
        object
    }

    #[test]
    fn parts_become_one_in_their_order() {
        let check = |newer: Range<u64>, older: Range<u64>, expected: Option<Range<u64>>| {
            let both = part(newer.clone()).combined_with(&part(older.clone()), 1000);
            let found = both.as_ref().map(|both| {
                let bytes = both.body.pieces().expect("complete").concat();
                let range = both.received_part().expect("a part");
                let right: Vec<u8> = range.clone().map(|place| place as u8).collect();
                assert_eq!(bytes, right, "{newer:?} {older:?}");
                range
            });
            assert_eq!(found, expected, "{newer:?} {older:?}");
        };
        check(0..2, 2..4, Some(0..4));
        check(2..4, 0..2, Some(0..4));
        check(0..4, 1..3, Some(0..4));
        check(1..3, 0..4, Some(0..4));
        check(0..2, 0..4, Some(0..4));
        check(0..4, 0..2, Some(0..4));
        check(1..5, 3..9, Some(1..9));
        check(0..2, 3..4, None);
        check(0..600, 600..1000, Some(0..1000));
        check(0..600, 600..1001, None);
    }

    #[test]
    fn parts_that_come_byte_by_byte_stay_few_pieces() {
        const LONG: u64 = 64 * 1024;
        let check = |step: fn(u64) -> Range<u64>| {
            let mut whole = part(LONG..2 * LONG);
            for count in 0..300 {
                whole = part(step(count))
                    .combined_with(&whole, u64::MAX)
                    .expect("they touch");
            }
            let pieces = whole.body.pieces().expect("complete");
            assert!(pieces.len() <= 3, "{}", pieces.len());
        };
        check(|count| 2 * LONG + count..2 * LONG + count + 1);
        check(|count| LONG - count - 1..LONG - count);
    }

    #[test]
    fn what_overlaps_is_not_held_unseen() {
        let (older, newer) = (part(0..100_000), part(50_000..150_000));
        let whole = newer.combined_with(&older, u64::MAX).expect("they overlap");
        drop((older, newer));
        let pieces = whole.body.pieces().expect("complete").to_vec();
        drop(whole);
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 150_000);
        for piece in pieces {
            let len = piece.len();
            let own = Vec::from(piece);
            assert!(own.capacity() < len + 64, "{len} of {}", own.capacity());
        }
    }
}

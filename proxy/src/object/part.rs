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
        let pieces = first.body.pieces()?.iter().cloned();
        let rest = without_first(second.body.pieces()?, overlap);
        let mut combined = Object::new(
            part::combined_head(&self.head, &range, complete_len),
            Body::of_pieces(pieces.chain(rest)),
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
        combined.set_tags(self.tags().to_vec());
        // Bans that the older one has not been tested against are to be tested still.
        combined.set_ban_mark(self.ban_mark().min(older.ban_mark()));
        Some(combined)
    }
}

fn without_first(pieces: &[Bytes], mut bytes: u64) -> impl Iterator<Item = Bytes> {
    pieces.iter().filter_map(move |piece| {
        let skipped = bytes.min(piece.len() as u64);
        bytes -= skipped;
        let rest = piece.slice(skipped as usize..);
        (!rest.is_empty()).then_some(rest)
    })
}

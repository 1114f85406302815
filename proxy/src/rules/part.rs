//! Partial answers: which are stored, what they serve, how they are put together (RFC 9111 §3.3, §3.4).

use std::ops::Range;

use super::conditional::{if_range_holds, validators};
use super::entity_tag::Strength;
use super::hop_by_hop;
use super::range::{RangeRequest, content_range, drop_digests, requested_of, single_range};
use super::revalidation::has_strong_validator;
use super::syntax::{decimal, only};
use crate::http::{Fields, Reason, ResponseHead};

/// Which bytes of a representation a 206 with one part brings (RFC 9110 §14.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Positions in the whole content; the end is not counted in.
    pub range: Range<u64>,
    pub complete_len: u64,
}

/// What is to be fetched so that a stored part becomes the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub range: Range<u64>,
    /// The value of If-Range: the strong validator that both parts have to share.
    pub if_range: Vec<u8>,
}

impl Part {
    /// The part that a 206 is. `None` for several parts, an unknown complete length, or lengths that
    /// contradict each other: such an answer is relayed and not stored.
    pub fn of(head: &ResponseHead) -> Option<Part> {
        if head.status != 206 {
            return None;
        }
        let text = only(&head.fields, "content-range")?;
        let rest = text
            .get(..6)
            .filter(|unit| unit.eq_ignore_ascii_case(b"bytes "))
            .map(|_| &text[6..])?;
        let dash = memchr::memchr(b'-', rest)?;
        let slash = memchr::memchr(b'/', rest)?;
        let first = decimal(&rest[..dash])?;
        let last = decimal(rest.get(dash + 1..slash)?)?;
        let complete_len = decimal(&rest[slash + 1..])?;
        if first > last || last >= complete_len {
            return None;
        }
        let range = first..last + 1;
        let declared = head.fields.get("content-length").and_then(decimal);
        (declared.unwrap_or(0) <= range.end - range.start).then_some(Part {
            range,
            complete_len,
        })
    }

    /// The bytes of it that came: a message may end before its Content-Range does (RFC 9111 §3.3).
    pub fn received(&self, bytes: u64) -> Range<u64> {
        self.range.start..self.range.end.min(self.range.start.saturating_add(bytes))
    }
}

/// Whether a request asks for one range that a backend may be asked for in its place.
pub fn asks_for_one(request: &Fields) -> bool {
    only(request, "range").is_some_and(single_range)
}

/// The bytes that a request wants of a stored part of which `received` is here, as positions in the whole
/// content; `None` when they are not all here, or If-Range does not hold.
pub fn wanted(
    request: &Fields,
    stored: &ResponseHead,
    part: &Part,
    received: &Range<u64>,
) -> Option<Range<u64>> {
    if request.contains("if-range") {
        let condition = only(request, "if-range")?;
        if !if_range_holds(condition, stored) {
            return None;
        }
    }
    match requested_of(only(request, "range")?, part.complete_len)? {
        RangeRequest::Single(range)
            if received.start <= range.start && range.end <= received.end =>
        {
            Some(range)
        }
        _ => None,
    }
}

/// RFC 9111 §3.4: whether two answers are parts, or the whole, of one representation: they share a strong
/// validator. Two codings are two representations, whatever a server calls them.
pub fn may_combine(stored: &ResponseHead, newer: &ResponseHead) -> bool {
    let coding = |head: &ResponseHead| head.fields.get_joined("content-encoding");
    if coding(stored) != coding(newer)
        || !has_strong_validator(stored)
        || !has_strong_validator(newer)
    {
        return false;
    }
    let (ours, theirs) = (validators(stored), validators(newer));
    match (ours.etag, theirs.etag) {
        (Some(ours), Some(theirs)) => ours.strong_eq(&theirs),
        (None, None) => ours.last_modified == theirs.last_modified,
        _ => false,
    }
}

/// What completes a stored part that begins or ends the content; `None` where two requests would be needed, or
/// nothing says that the rest would fit.
pub fn missing(stored: &ResponseHead, part: &Part, received: &Range<u64>) -> Option<Missing> {
    let range = if received.start == 0 {
        received.end..part.complete_len
    } else if received.end == part.complete_len {
        0..received.start
    } else {
        return None;
    };
    if range.is_empty() || received.is_empty() || !has_strong_validator(stored) {
        return None;
    }
    let name = match validators(stored).etag {
        Some(tag) if tag.strength == Strength::Strong => "etag",
        _ => "last-modified",
    };
    Some(Missing {
        range,
        if_range: only(&stored.fields, name)?.to_vec(),
    })
}

/// Asks for what is missing, and for the whole should it belong to something else by now.
pub fn ask_for(request: &mut Fields, missing: &Missing) {
    let Range { start, end } = missing.range;
    request.set("Range", format!("bytes={start}-{}", end - 1));
    request.set("If-Range", &missing.if_range[..]);
}

/// The head of parts put together: the fields of the newest (RFC 9111 §3.4), as those of a 200 where nothing
/// is missing any more.
pub fn combined_head(newest: &ResponseHead, range: &Range<u64>, complete_len: u64) -> ResponseHead {
    let mut head = newest.clone();
    hop_by_hop::strip(&mut head.fields);
    drop_digests(&mut head.fields);
    if *range == (0..complete_len) {
        head.status = 200;
        head.reason = Reason::default();
        head.fields.remove("content-range");
    } else {
        head.fields
            .set("Content-Range", content_range(range, complete_len));
    }
    head.fields
        .set("Content-Length", (range.end - range.start).to_string());
    head
}

/// A request for a part, as far as its answer hangs on it: what requests that wait for each other share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    range: Box<[u8]>,
    if_range: Option<Box<[u8]>>,
}

impl Asked {
    /// `None` for requests for the whole, and for those with several If-Range, of which none can count.
    pub fn by(request: &Fields) -> Option<Asked> {
        let if_range = match request.contains("if-range") {
            true => Some(only(request, "if-range")?.into()),
            false => None,
        };
        Some(Asked {
            range: only(request, "range")?.into(),
            if_range,
        })
    }

    /// Asks a backend the same.
    pub fn add_to(&self, request: &mut Fields) {
        request.set("Range", &self.range);
        if let Some(condition) = &self.if_range {
            request.set("If-Range", condition);
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.range.len() + self.if_range.as_ref().map_or(0, |text| text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, lines: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::new(status);
        head.fields = lines.iter().copied().collect();
        head
    }

    #[test]
    fn a_206_is_one_part_when_all_that_it_says_fits() {
        fn check(lines: &[(&str, &str)], expected: Option<(Range<u64>, u64)>) {
            let found = Part::of(&head(206, lines)).map(|part| (part.range, part.complete_len));
            assert_eq!(found, expected, "{lines:?}");
        }
        let place = |text: &'static str| ("content-range", text);
        check(&[place("bytes 0-4/10")], Some((0..5, 10)));
        check(&[place("Bytes 9-9/10")], Some((9..10, 10)));
        let largest = "bytes 0-18446744073709551614/18446744073709551615";
        check(&[place(largest)], Some((0..u64::MAX, u64::MAX)));
        let beyond = "bytes 0-18446744073709551615/18446744073709551616";
        check(&[place(beyond)], None);
        check(
            &[place("bytes 0-18446744073709551615/18446744073709551615")],
            None,
        );
        for text in [
            "bytes 0-10/10",
            "bytes 5-4/10",
            "bytes 0-4/*",
            "bytes */10",
            "bytes 0-4",
            "bytes +0-4/10",
            "bytes 0-4/10, 5-9/10",
            "bytes=0-4/10",
            "",
        ] {
            check(&[place(text)], None);
        }
        check(&[place("bytes 0-4/10"), place("bytes 0-4/10")], None);
        check(&[place("bytes 0-4/10"), ("content-length", "6")], None);
    }

    #[test]
    fn parts_are_of_one_representation_by_a_strong_validator_and_one_coding() {
        fn check(one: &[(&str, &str)], other: &[(&str, &str)], expected: bool) {
            let (one, other) = (head(206, one), head(206, other));
            assert_eq!(may_combine(&one, &other), expected, "{one:?} {other:?}");
            assert_eq!(may_combine(&other, &one), expected, "{one:?} {other:?}");
        }
        let tag = ("etag", "\"a\"");
        let weak = ("etag", "W/\"a\"");
        let coded = ("content-encoding", "gzip");
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let date = ("date", "Sun, 06 Nov 1994 08:49:39 GMT");
        check(&[tag], &[tag], true);
        check(&[tag], &[("etag", "\"b\"")], false);
        check(&[weak], &[weak], false);
        check(&[tag], &[weak], false);
        check(&[tag], &[tag, coded], false);
        check(&[tag, coded], &[tag, coded], true);
        check(&[modified, date], &[modified, date], true);
        check(&[modified, date, tag], &[modified, date], false);
        check(&[modified], &[modified], false);
        let unread = ("etag", "a");
        check(&[modified, date, unread], &[modified, date, unread], false);
        check(&[], &[], false);
    }

    #[test]
    fn several_if_range_ask_for_the_whole() {
        fn check(lines: &[(&str, &str)], expected: bool) {
            let fields: Fields = lines.iter().copied().collect();
            assert_eq!(Asked::by(&fields).is_some(), expected, "{lines:?}");
        }
        let range = ("range", "bytes=0-1");
        check(&[range], true);
        check(&[], false);
        check(&[range, range], false);
        check(&[range, ("if-range", "\"a\"")], true);
        let several = [range, ("if-range", "\"a\""), ("if-range", "\"b\"")];
        check(&several, false);
    }
}

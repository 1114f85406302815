//! Range requests answered from a stored answer (RFC 9110 §14, §15.3.7, §15.5.17).

mod multipart;

pub use multipart::Multipart;

use std::ops::Range;

use smallvec::SmallVec;

use super::conditional::if_range_holds;
use super::syntax::{decimal, only};
use crate::http::{Fields, Method, RequestHead, ResponseHead};

/// Which bytes of the stored content a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// All of them, by 200: there is no Range, or none that counts.
    Whole,
    /// One part, by 206; never empty and always inside the content.
    Single(Range<u64>),
    /// At least two parts that neither overlap nor touch, in the order asked for, by 206.
    Multiple(Vec<Range<u64>>),
    /// No part lies inside the content: 416.
    Unsatisfiable,
    /// The request has a range that counts, but how long the content is has yet to be seen: wait for its
    /// end, or answer with the whole.
    NeedsLength,
}

/// One member of a bytes range set (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeSpec {
    /// From the first position to the last, which is counted in.
    Between(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
}

/// Reads Range and If-Range against a stored 200.
///
/// `complete_len` is the length of the content in bytes; `None` while it still arrives and no
/// Content-Length has told. A set of more than `ranges_max` ranges is ignored, as RFC 9110 §14.2 permits;
/// ranges that overlap or touch are joined, so an answer is never longer than the content and the heads of
/// `ranges_max` parts.
pub fn requested_range(
    request: &RequestHead,
    stored: &ResponseHead,
    complete_len: Option<u64>,
    ranges_max: usize,
) -> RangeRequest {
    if request.method != Method::Get || stored.status != 200 {
        return RangeRequest::Whole;
    }
    let Some(specs) = only(&request.fields, "range").and_then(|text| range_set(text, ranges_max))
    else {
        return RangeRequest::Whole;
    };
    if request.fields.contains("if-range") {
        let condition = only(&request.fields, "if-range");
        if !condition.is_some_and(|condition| if_range_holds(condition, stored)) {
            return RangeRequest::Whole;
        }
    }
    match complete_len {
        Some(complete_len) => select(&specs, complete_len),
        None => RangeRequest::NeedsLength,
    }
}

/// Whether the value of a Range field is one range of bytes.
pub(super) fn single_range(text: &[u8]) -> bool {
    range_set(text, 1).is_some()
}

/// What the value of a Range field with one range asks for; `None` for any other.
pub(super) fn requested_of(text: &[u8], complete_len: u64) -> Option<RangeRequest> {
    range_set(text, 1).map(|specs| select(&specs, complete_len))
}

/// Turns the fields of a 200 into those of a 206 with one part (RFC 9110 §15.3.7.1).
pub fn set_partial(fields: &mut Fields, part: &Range<u64>, complete_len: u64) {
    drop_digests(fields);
    fields.set("Content-Range", content_range(part, complete_len));
    fields.set("Content-Length", (part.end - part.start).to_string());
}

/// Takes out what sums up the bytes of one message (RFC 9530 §2, RFC 2616 §14.15), where another is made of it.
/// Repr-Digest is of the whole, and stays.
pub(super) fn drop_digests(fields: &mut Fields) {
    fields.remove("content-digest");
    fields.remove("content-md5");
}

/// Turns the fields of a stored 200 into those of a 416 without content (RFC 9110 §15.5.17): what
/// described the content or allowed its reuse goes, and its length is told.
pub fn set_unsatisfiable(fields: &mut Fields, complete_len: u64) {
    const OF_THE_WHOLE: [&str; 12] = [
        "cache-control",
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-location",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "repr-digest",
        "trailer",
    ];
    fields.retain(|field| {
        !OF_THE_WHOLE
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
    });
    fields.set("Content-Range", format!("bytes */{complete_len}"));
    fields.set("Content-Length", "0");
}

/// RFC 9110 §14.4: positions, the last one counted in.
pub(super) fn content_range(part: &Range<u64>, complete_len: u64) -> String {
    format!("bytes {}-{}/{complete_len}", part.start, part.end - 1)
}

/// RFC 9110 §14.1.1; `None` when the unit is another one, when anything is malformed, or when there are
/// too many ranges.
fn range_set(text: &[u8], ranges_max: usize) -> Option<SmallVec<[RangeSpec; 4]>> {
    let equals = memchr::memchr(b'=', text)?;
    if !text[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = SmallVec::new();
    for member in text[equals + 1..].split(|byte| *byte == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        if specs.len() == ranges_max {
            return None;
        }
        specs.push(range_spec(member)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn range_spec(text: &[u8]) -> Option<RangeSpec> {
    let dash = memchr::memchr(b'-', text)?;
    let (first, last) = (&text[..dash], &text[dash + 1..]);
    if first.is_empty() {
        return Some(RangeSpec::Suffix(decimal(last)?));
    }
    let first = decimal(first)?;
    if last.is_empty() {
        return Some(RangeSpec::Between(first, None));
    }
    let last = decimal(last)?;
    (first <= last).then_some(RangeSpec::Between(first, Some(last)))
}

fn select(specs: &[RangeSpec], complete_len: u64) -> RangeRequest {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for spec in specs {
        let part = match *spec {
            RangeSpec::Between(first, last) => {
                let end = last.map_or(complete_len, |last| last.saturating_add(1));
                first..end.min(complete_len)
            }
            // A suffix of nothing is satisfiable by all of it, and no Content-Range can say so.
            RangeSpec::Suffix(1..) if complete_len == 0 => return RangeRequest::Whole,
            RangeSpec::Suffix(length) => complete_len.saturating_sub(length)..complete_len,
        };
        if !part.is_empty() {
            join(&mut parts, part);
        }
    }
    match parts.len() {
        0 => RangeRequest::Unsatisfiable,
        1 => RangeRequest::Single(parts.remove(0)),
        _ => RangeRequest::Multiple(parts),
    }
}

/// Adds a part, joined with those that it overlaps or touches, in the place of the first of them.
fn join(parts: &mut Vec<Range<u64>>, mut part: Range<u64>) {
    let mut place = None;
    let mut index = 0;
    while index < parts.len() {
        let other = &parts[index];
        if part.start <= other.end && other.start <= part.end {
            part = part.start.min(other.start)..part.end.max(other.end);
            parts.remove(index);
            place = place.or(Some(index));
            // The part has grown and may reach others now.
            index = 0;
        } else {
            index += 1;
        }
    }
    let place = place.unwrap_or(parts.len()).min(parts.len());
    parts.insert(place, part);
}

#[cfg(test)]
mod tests;

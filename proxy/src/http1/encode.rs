//! Heads, chunks and trailers to bytes.
//!
//! The writer of a head also writes its framing: Content-Length and Transfer-Encoding in the field list
//! never reach the wire as they are, so that a head cannot promise another body than the one sent.

use crate::http::{Field, Fields, Lines, Method, Reason, RequestHead, ResponseHead};

/// What ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The framing that a written head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentFraming {
    /// No framing field: requests without a body, 1xx, 204, and bodies that end with the connection.
    Nothing,
    /// The list's own Content-Length stays: answers to HEAD and 304, which describe a body they do not send.
    Described,
    /// Content-Length, in bytes.
    Length(u64),
    Chunked,
}

/// Appends a request head. Always as HTTP/1.1, since a version belongs to the hop (RFC 9110 §2.5).
///
/// The target is sent in origin-form; CONNECT sends the authority. A missing Host is added.
pub fn write_request_head(out: &mut Vec<u8>, head: &RequestHead, framing: SentFraming) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(match head.method {
        Method::Connect => head.authority.as_bytes(),
        _ => head.target.as_bytes(),
    });
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !head.fields.contains("host") {
        write_field(out, "Host", head.authority.as_bytes());
    }
    write_fields(out, &head.fields, framing);
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head. Always as HTTP/1.1, also to an HTTP/1.0 client (RFC 9110 §6.2).
pub fn write_response_head(out: &mut Vec<u8>, head: &ResponseHead, framing: SentFraming) {
    write_status_line(out, head);
    write_fields(out, &head.fields, framing);
    out.extend_from_slice(b"\r\n");
}

/// Appends the status line, for heads written piece by piece.
pub fn write_status_line(out: &mut Vec<u8>, head: &ResponseHead) {
    if head.status == 200 && head.reason == Reason::default() {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields with the framing, without the blank line that ends the head. Lines that say nothing else of the
/// framing, which is the rule, are one copy.
pub fn write_fields(out: &mut Vec<u8>, fields: &Fields, framing: SentFraming) {
    match missing_framing(fields, framing) {
        Some(missing) => {
            out.extend_from_slice(fields.lines());
            write_framing(out, missing);
        }
        None => write_chosen_fields(out, fields.iter(), framing),
    }
}

/// What the lines of a head lack of its framing; `None` where they say something else, or the same in another spelling.
fn missing_framing(fields: &Fields, framing: SentFraming) -> Option<SentFraming> {
    if fields.contains("transfer-encoding") {
        return None;
    }
    match (framing, fields.get_only("content-length")) {
        (SentFraming::Described, _) => Some(SentFraming::Nothing),
        (framing, Lines::None) => Some(framing),
        (SentFraming::Length(length), Lines::One(told)) => {
            let same = told == itoa::Buffer::new().format(length).as_bytes();
            same.then_some(SentFraming::Nothing)
        }
        (_, Lines::One(_) | Lines::Several) => None,
    }
}

/// [`write_fields`] for those fields of a list that the caller has picked.
pub(crate) fn write_chosen_fields<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = Field<'a>>,
    framing: SentFraming,
) {
    for field in fields {
        let frames = match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                framing != SentFraming::Described
            }
            17 => field.name.eq_ignore_ascii_case("transfer-encoding"),
            _ => false,
        };
        if !frames {
            write_field(out, field.name, field.value);
        }
    }
    write_framing(out, framing);
}

/// Appends the field that announces the framing, where there is one.
fn write_framing(out: &mut Vec<u8>, framing: SentFraming) {
    match framing {
        SentFraming::Nothing | SentFraming::Described => {}
        SentFraming::Length(length) => {
            write_field(
                out,
                "Content-Length",
                itoa::Buffer::new().format(length).as_bytes(),
            );
        }
        SentFraming::Chunked => write_field(out, "Transfer-Encoding", b"chunked"),
    }
}

/// Appends one field line.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before the data of a chunk; [`CHUNK_END`] goes behind the data.
///
/// # Panics
/// In debug builds when `length` is zero, which would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length > 0, "a chunk of zero bytes is the last one");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(DIGITS[length >> (place * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk, the trailers and the blank line.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for field in trailers.iter().flat_map(|trailers| trailers.iter()) {
        write_field(out, field.name, field.value);
    }
    out.extend_from_slice(b"\r\n");
}

//! Response heads and trailers to header blocks (RFC 7541 §6.2, RFC 9113 §8.2, §8.3.2).
//!
//! Each field is a literal that no table remembers, its name an index of the static table where it has one, its
//! value as it is. A table of our own would make small heads smaller and cost a hash and a comparison for every
//! field; and it would let whoever can guess at a secret see in the length that it was right (RFC 7541 §7.1).

use super::hpack::write_integer;
use super::request::is_of_http1;
use crate::http::{Fields, reason_phrase};

/// What becomes of the length that a list itself states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedLength {
    Kept,
    Replaced(Option<u64>),
}

/// A literal that is not to be indexed, here or behind us (RFC 7541 §6.2.3).
const NEVER_INDEXED: u8 = 0x10;
const WITHOUT_INDEXING: u8 = 0x00;

/// Writes a header block. Gives its size as HTTP/1 would write it.
///
/// `date` is for heads that have none.
pub fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    lists: [&Fields; 2],
    length: StatedLength,
    date: Option<&[u8]>,
) -> u64 {
    write_status(out, status);
    let mut size = size_of_start(status);
    let mut has_date = false;
    for (name, value) in lists.into_iter().flat_map(Fields::iter_bytes) {
        match class(name) {
            Class::OfHttp1 => continue,
            Class::Length if length != StatedLength::Kept => continue,
            Class::Length => write_indexed(out, CONTENT_LENGTH, value),
            Class::Date => {
                has_date = true;
                write_indexed(out, DATE, value);
            }
            Class::Static(index) => write_indexed(out, index, value),
            Class::Secret => write_named(out, NEVER_INDEXED, SET_COOKIE, value),
            Class::Other => write_literal(out, name, value),
        }
        size += (name.len() + value.len() + 4) as u64;
    }
    if let StatedLength::Replaced(Some(length)) = length {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        write_indexed(out, CONTENT_LENGTH, digits);
        size += (b"content-length: \r\n".len() + digits.len()) as u64;
    }
    if let Some(date) = date.filter(|_| !has_date) {
        write_indexed(out, DATE, date);
        size += (b"date: \r\n".len() + date.len()) as u64;
    }
    size
}

/// Writes a header block of trailers, without what only a head may say of its connection.
pub fn write_trailers(out: &mut Vec<u8>, trailers: &Fields) {
    for (name, value) in trailers.iter_bytes() {
        if !is_of_http1(name) {
            write_literal(out, name, value);
        }
    }
}

/// Bytes of a status line and the blank line that ends a head, as HTTP/1 would write them.
pub fn size_of_start(status: u16) -> u64 {
    (b"HTTP/1.1 200 \r\n\r\n".len() + reason_phrase(status).len()) as u64
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    const STATUS: usize = 8;
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        other => {
            let mut digits = itoa::Buffer::new();
            return write_indexed(out, STATUS, digits.format(other).as_bytes());
        }
    };
    write_integer(out, 0x80, 7, index);
}

fn write_indexed(out: &mut Vec<u8>, index: usize, value: &[u8]) {
    write_named(out, WITHOUT_INDEXING, index, value);
}

fn write_named(out: &mut Vec<u8>, first: u8, index: usize, value: &[u8]) {
    write_integer(out, first, 4, index);
    write_integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// RFC 9113 §8.2.1: names in lower case.
fn write_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(WITHOUT_INDEXING);
    write_integer(out, 0, 7, name.len());
    let start = out.len();
    out.extend_from_slice(name);
    out[start..].make_ascii_lowercase();
    write_integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// What is special about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Of the connection: not sent (RFC 9113 §8.2.2).
    OfHttp1,
    Length,
    Date,
    /// Whose value stays out of all tables.
    Secret,
    /// It has this index (RFC 7541, appendix A).
    Static(usize),
    Other,
}

const CONTENT_LENGTH: usize = 28;
const DATE: usize = 33;
const SET_COOKIE: usize = 55;

/// The length leaves at most three names to compare with.
fn class(name: &[u8]) -> Class {
    use Class::{OfHttp1, Static};
    let candidates: &[(&str, Class)] = match name.len() {
        3 => &[("age", Static(21)), ("via", Static(60))],
        4 => &[
            ("date", Class::Date),
            ("etag", Static(34)),
            ("vary", Static(59)),
            ("link", Static(45)),
        ],
        5 => &[("allow", Static(22))],
        6 => &[("server", Static(54))],
        7 => &[
            ("expires", Static(36)),
            ("refresh", Static(52)),
            ("upgrade", OfHttp1),
        ],
        8 => &[("location", Static(46))],
        10 => &[
            ("set-cookie", Class::Secret),
            ("connection", OfHttp1),
            ("keep-alive", OfHttp1),
        ],
        11 => &[("retry-after", Static(53))],
        12 => &[("content-type", Static(31))],
        13 => &[
            ("cache-control", Static(24)),
            ("last-modified", Static(44)),
            ("accept-ranges", Static(18)),
            ("content-range", Static(30)),
        ],
        14 => &[("content-length", Class::Length)],
        16 => &[
            ("content-encoding", Static(26)),
            ("content-language", Static(27)),
            ("content-location", Static(29)),
            ("www-authenticate", Static(61)),
            ("proxy-connection", OfHttp1),
        ],
        17 => &[("transfer-encoding", OfHttp1)],
        18 => &[("proxy-authenticate", Static(48))],
        19 => &[("content-disposition", Static(25))],
        25 => &[("strict-transport-security", Static(56))],
        27 => &[("access-control-allow-origin", Static(20))],
        _ => &[],
    };
    candidates
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))
        .map_or(Class::Other, |(_, class)| *class)
}

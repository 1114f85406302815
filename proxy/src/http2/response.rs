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
    const STATUS: u8 = 8;
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

fn write_indexed(out: &mut Vec<u8>, index: u8, value: &[u8]) {
    write_named(out, WITHOUT_INDEXING, index, value);
}

/// Lengths below this are one byte (RFC 7541 §5.1).
const SHORT_MAX: usize = 127;

#[inline]
fn write_named(out: &mut Vec<u8>, first: u8, index: u8, value: &[u8]) {
    // As `write_integer` has it, but in one step for nearly every field.
    match (index.checked_sub(15), value.len()) {
        (None, length @ ..SHORT_MAX) => out.extend_from_slice(&[first | index, length as u8]),
        (Some(rest), length @ ..SHORT_MAX) => {
            out.extend_from_slice(&[first | 15, rest, length as u8]);
        }
        (_, length) => {
            write_integer(out, first, 4, usize::from(index));
            write_integer(out, 0, 7, length);
        }
    }
    out.extend_from_slice(value);
}

/// RFC 9113 §8.2.1: names in lower case.
fn write_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    match name.len() {
        length @ ..SHORT_MAX => out.extend_from_slice(&[WITHOUT_INDEXING, length as u8]),
        length => {
            out.push(WITHOUT_INDEXING);
            write_integer(out, 0, 7, length);
        }
    }
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
    /// It has this index (RFC 7541, appendix A), which is above 14 and below 143.
    Static(u8),
    Other,
}

const CONTENT_LENGTH: u8 = 28;
const DATE: u8 = 33;
const SET_COOKIE: u8 = 55;

/// The first of these names that this one is.
macro_rules! first_of {
    ($name:ident: $($known:literal => $class:expr),+ $(,)?) => {
        match $name {
            $(name if is(name, $known) => $class,)+
            _ => Class::Other,
        }
    };
}

/// The length leaves at most five names to compare with.
fn class(name: &[u8]) -> Class {
    use Class::{OfHttp1, Static};
    match name.len() {
        3 => first_of!(name: b"age" => Static(21), b"via" => Static(60)),
        4 => first_of!(name:
            b"date" => Class::Date,
            b"etag" => Static(34),
            b"vary" => Static(59),
            b"link" => Static(45),
        ),
        5 => first_of!(name: b"allow" => Static(22)),
        6 => first_of!(name: b"server" => Static(54)),
        7 => first_of!(name:
            b"expires" => Static(36),
            b"refresh" => Static(52),
            b"upgrade" => OfHttp1,
        ),
        8 => first_of!(name: b"location" => Static(46)),
        10 => first_of!(name:
            b"set-cookie" => Class::Secret,
            b"connection" => OfHttp1,
            b"keep-alive" => OfHttp1,
        ),
        11 => first_of!(name: b"retry-after" => Static(53)),
        12 => first_of!(name: b"content-type" => Static(31)),
        13 => first_of!(name:
            b"cache-control" => Static(24),
            b"last-modified" => Static(44),
            b"accept-ranges" => Static(18),
            b"content-range" => Static(30),
        ),
        14 => first_of!(name: b"content-length" => Class::Length),
        16 => first_of!(name:
            b"content-encoding" => Static(26),
            b"content-language" => Static(27),
            b"content-location" => Static(29),
            b"www-authenticate" => Static(61),
            b"proxy-connection" => OfHttp1,
        ),
        17 => first_of!(name: b"transfer-encoding" => OfHttp1),
        18 => first_of!(name: b"proxy-authenticate" => Static(48)),
        19 => first_of!(name: b"content-disposition" => Static(25)),
        25 => first_of!(name: b"strict-transport-security" => Static(56)),
        27 => first_of!(name: b"access-control-allow-origin" => Static(20)),
        _ => Class::Other,
    }
}

/// Whether a token is this one, of small letters and hyphens, without regard to case. No other byte of a token becomes
/// one of them with the bit of small letters set; and without a way out in the middle this is a few instructions.
#[inline(always)]
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let pairs = name.iter().zip(known);
    pairs.fold(0, |differs, (byte, known)| differs | (byte | 0x20) ^ known) == 0
}

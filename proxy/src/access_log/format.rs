//! Lines from records. Every byte of a request is hostile: none can end a line or a string early.

use super::Record;
use super::calendar::Date;
use crate::acl::Peer;
use crate::http::Version;
use crate::time::Timestamp;

/// Bytes kept of any one text of a record. Limits on heads are the request's affair; this bounds a line
/// whatever they are set to.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Apache's `%h - - %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`, with a line end.
pub(super) fn combined(line: &mut Vec<u8>, record: &Record<'_>) {
    client(line, record.client);
    line.extend_from_slice(b" - - [");
    let date = Date::from(record.time);
    digits(line, date.day, 2);
    line.push(b'/');
    line.extend_from_slice(date.month_name().as_bytes());
    line.push(b'/');
    digits(line, date.year, 4);
    line.push(b':');
    clock(line, &date);
    line.extend_from_slice(b" +0000] \"");
    match record.method {
        // Refused before it was understood.
        "" => line.push(b'-'),
        method => {
            escaped(line, method.as_bytes());
            line.push(b' ');
            escaped(line, record.target.as_bytes());
            line.push(b' ');
            line.extend_from_slice(protocol(record.version).as_bytes());
        }
    }
    line.extend_from_slice(b"\" ");
    number(line, record.status.into());
    line.push(b' ');
    match record.body_bytes {
        0 => line.push(b'-'),
        bytes => number(line, bytes),
    }
    for text in [record.referer, record.user_agent] {
        line.extend_from_slice(b" \"");
        match text {
            [] => line.push(b'-'),
            text => escaped(line, text),
        }
        line.push(b'"');
    }
    line.push(b'\n');
}

/// One JSON object, with a line end. Keys come always and in this order; what is not there is null.
/// Bytes that are no UTF-8 become U+FFFD.
pub(super) fn json(line: &mut Vec<u8>, record: &Record<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    timestamp(line, record.time);
    line.extend_from_slice(b"\",\"client\":\"");
    client(line, record.client);
    line.push(b'"');
    text(line, "method", record.method.as_bytes());
    text(line, "url", record.target.as_bytes());
    text(line, "host", record.host.as_bytes());
    text(line, "protocol", protocol(record.version).as_bytes());
    key(line, "status");
    number(line, record.status.into());
    key(line, "bytes");
    number(line, record.body_bytes);
    key(line, "duration_seconds");
    let micros = u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX);
    number(line, micros / 1_000_000);
    line.push(b'.');
    digits(line, micros % 1_000_000, 6);
    text(line, "outcome", record.outcome.as_str().as_bytes());
    text(line, "cache_detail", record.cache_detail.as_bytes());
    text(line, "backend", record.backend.as_bytes());
    text(line, "referer", record.referer);
    text(line, "user_agent", record.user_agent);
    key(line, "xid");
    number(line, record.xid);
    line.extend_from_slice(b"}\n");
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

fn client(line: &mut Vec<u8>, client: Peer) {
    use std::io::Write as _;
    match client {
        Peer::Ip(address) => {
            write!(line, "{}", address.to_canonical()).expect("a Vec takes any bytes");
        }
        Peer::Unix => line.extend_from_slice(b"unix:"),
    }
}

/// RFC 3339 with milliseconds.
fn timestamp(line: &mut Vec<u8>, time: Timestamp) {
    let date = Date::from(time);
    digits(line, date.year, 4);
    line.push(b'-');
    digits(line, date.month, 2);
    line.push(b'-');
    digits(line, date.day, 2);
    line.push(b'T');
    clock(line, &date);
    line.push(b'.');
    digits(line, date.millisecond, 3);
    line.push(b'Z');
}

fn clock(line: &mut Vec<u8>, date: &Date) {
    digits(line, date.hour, 2);
    line.push(b':');
    digits(line, date.minute, 2);
    line.push(b':');
    digits(line, date.second, 2);
}

fn number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A number with zeros in front up to `width`.
fn digits(line: &mut Vec<u8>, number: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    line.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    line.extend_from_slice(text.as_bytes());
}

fn bounded(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_BYTES_MAX)]
}

/// As Apache escapes what a client has sent: quote and backslash by a backslash, control characters as in C,
/// all else that is not printable ASCII as `\xhh`.
fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    for byte in bounded(text) {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => line.push(*byte),
            0x08 => line.extend_from_slice(b"\\b"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            0x0b => line.extend_from_slice(b"\\v"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => {
                line.extend_from_slice(b"\\x");
                hex(line, *other);
            }
        }
    }
}

fn hex(line: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.push(DIGITS[usize::from(byte >> 4)]);
    line.push(DIGITS[usize::from(byte & 15)]);
}

fn key(line: &mut Vec<u8>, key: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(b"\":");
}

fn text(line: &mut Vec<u8>, name: &str, text: &[u8]) {
    key(line, name);
    if text.is_empty() {
        line.extend_from_slice(b"null");
        return;
    }
    line.push(b'"');
    for chunk in bounded(text).utf8_chunks() {
        for letter in chunk.valid().chars() {
            json_letter(line, letter);
        }
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    line.push(b'"');
}

/// RFC 8259 §7; DEL and the C1 controls are escaped too, since terminals obey them.
fn json_letter(line: &mut Vec<u8>, letter: char) {
    match letter {
        '"' | '\\' => line.extend_from_slice(&[b'\\', letter as u8]),
        '\n' => line.extend_from_slice(b"\\n"),
        '\r' => line.extend_from_slice(b"\\r"),
        '\t' => line.extend_from_slice(b"\\t"),
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
            line.extend_from_slice(b"\\u00");
            hex(line, letter as u8);
        }
        other => line.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

//! Lines and fields of a head or a trailer section.

use memchr::{memchr, memchr_iter, memchr2, memmem};

use super::{HeadLimits, Malformed};
use crate::http::{Fields, InvalidField};

/// A section that is here up to its blank line, and what lies behind it.
pub(super) struct Section<'a> {
    bytes: &'a [u8],
    limits: &'a HeadLimits,
}

impl<'a> Section<'a> {
    /// A head: a start line and fields. `Ok(None)`: more bytes are needed.
    pub(super) fn head(
        bytes: &'a [u8],
        limits: &'a HeadLimits,
    ) -> Result<Option<Section<'a>>, Malformed> {
        Section::find(bytes, 1, limits)
    }

    /// Trailers: fields or nothing before the blank line. `Ok(None)`: more bytes are needed.
    pub(super) fn trailers(
        bytes: &'a [u8],
        limits: &'a HeadLimits,
    ) -> Result<Option<Section<'a>>, Malformed> {
        match bytes.starts_with(b"\r\n") {
            true => Ok(Some(Section { bytes, limits })),
            false => Section::find(bytes, 0, limits),
        }
    }

    fn find(
        bytes: &'a [u8],
        start_lines: usize,
        limits: &'a HeadLimits,
    ) -> Result<Option<Section<'a>>, Malformed> {
        const END: &[u8] = b"\r\n\r\n";
        let bounded = &bytes[..bytes.len().min(limits.head_bytes_max)];
        // Most requests are a head and nothing behind it.
        match bounded.ends_with(END) || memmem::find(bounded, END).is_some() {
            true => Ok(Some(Section {
                bytes: bounded,
                limits,
            })),
            false => refuse_lines(bytes, start_lines, limits).map(|()| None),
        }
    }

    /// The first line with its CRLF and without it, and the rest.
    pub(super) fn split_start_line(self) -> Result<(&'a [u8], &'a [u8], Section<'a>), Malformed> {
        let line_feed = memchr(b'\n', self.bytes).ok_or(Malformed::LineEnd)?;
        let (whole, bytes) = self.bytes.split_at(line_feed + 1);
        let line = whole.strip_suffix(b"\r\n").ok_or(Malformed::LineEnd)?;
        Ok((whole, line, Section { bytes, ..self }))
    }

    /// Reads every line as a field, strictly (RFC 9112 §5), into a list whose memory is used again. Gives their
    /// length too, with the blank line.
    pub(super) fn fields(&self, mut fields: Fields) -> Result<(Fields, usize), Malformed> {
        let fields_max = self.limits.fields_max;
        match fields.read_lines(self.bytes, fields_max) {
            Ok(length) => Ok((fields, length + b"\r\n".len())),
            Err((_, InvalidField::TooMany)) => Err(Malformed::TooManyFields(fields_max)),
            Err(([b' ' | b'\t', ..], _)) => Err(Malformed::FoldedField),
            Err((line, _)) if !has_sound_end(line) => Err(Malformed::LineEnd),
            Err((_, InvalidField::Name | InvalidField::TooLarge)) => Err(Malformed::FieldName),
            Err((_, InvalidField::Value(_))) => Err(Malformed::FieldValue),
        }
    }
}

/// Whether a line has CR and LF at its end and nowhere else.
fn has_sound_end(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n")
        .is_some_and(|line| memchr2(b'\r', b'\n', line).is_none())
}

/// Refuses what no further byte can mend in lines whose end has not come. Looks at line ends only, so that calling it
/// again for each arriving byte stays cheap.
fn refuse_lines(bytes: &[u8], start_lines: usize, limits: &HeadLimits) -> Result<(), Malformed> {
    let mut line_start = 0;
    let lines_max = limits.fields_max.saturating_add(start_lines);
    for (index, line_feed) in memchr_iter(b'\n', bytes).enumerate() {
        if line_feed >= limits.head_bytes_max {
            return Err(Malformed::HeadTooLarge(limits.head_bytes_max));
        }
        if line_feed == line_start || bytes[line_feed - 1] != b'\r' {
            return Err(Malformed::LineEnd);
        }
        if index >= lines_max {
            return Err(Malformed::TooManyFields(limits.fields_max));
        }
        line_start = line_feed + 1;
    }
    if bytes.len() >= limits.head_bytes_max {
        return Err(Malformed::HeadTooLarge(limits.head_bytes_max));
    }
    Ok(())
}

/// What an `HTTP/digit.digit` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireVersion {
    Known(crate::http::Version),
    /// A major version that is not HTTP/1.
    OtherMajor,
}

/// Reads an HTTP version (RFC 9112 §2.3); `None` when it is none.
pub(super) fn parse_version(bytes: &[u8]) -> Option<WireVersion> {
    use crate::http::Version;
    match bytes {
        b"HTTP/1.1" => Some(WireVersion::Known(Version::Http11)),
        b"HTTP/1.0" => Some(WireVersion::Known(Version::Http10)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(match major {
                b'1' => WireVersion::Known(Version::Http11),
                _ => WireVersion::OtherMajor,
            })
        }
        _ => None,
    }
}

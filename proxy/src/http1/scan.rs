//! Lines and fields of a head or a trailer section.

use memchr::{memchr, memchr_iter};

use super::{HeadLimits, Malformed};
use crate::http::{Fields, InvalidField};

/// A complete section: its lines without the blank one that ends it.
pub(super) struct Section<'a> {
    /// All lines, each with its CRLF.
    bytes: &'a [u8],
    /// Number of lines.
    pub(super) lines: usize,
    /// Bytes up to and with the blank line.
    pub(super) consumed: usize,
}

impl<'a> Section<'a> {
    /// Finds the blank line. `start_lines` is how many lines precede the fields (none for trailers).
    ///
    /// Looks at line ends only, so that calling it again for each arriving byte stays cheap.
    pub(super) fn find(
        bytes: &'a [u8],
        start_lines: usize,
        limits: &HeadLimits,
    ) -> Result<Option<Section<'a>>, Malformed> {
        let mut line_start = 0;
        let mut lines = 0;
        for line_feed in memchr_iter(b'\n', bytes) {
            if line_feed >= limits.head_bytes_max {
                return Err(Malformed::HeadTooLarge(limits.head_bytes_max));
            }
            if line_feed == line_start || bytes[line_feed - 1] != b'\r' {
                return Err(Malformed::LineEnd);
            }
            if line_feed - 1 == line_start {
                return Ok(Some(Section {
                    bytes: &bytes[..line_start],
                    lines,
                    consumed: line_feed + 1,
                }));
            }
            lines += 1;
            if lines > limits.fields_max.saturating_add(start_lines) {
                return Err(Malformed::TooManyFields(limits.fields_max));
            }
            line_start = line_feed + 1;
        }
        if bytes.len() >= limits.head_bytes_max {
            return Err(Malformed::HeadTooLarge(limits.head_bytes_max));
        }
        Ok(None)
    }

    /// The first line without its CRLF, empty where there is none, and the rest.
    pub(super) fn split_start_line(self) -> (&'a [u8], Section<'a>) {
        match memchr(b'\n', self.bytes) {
            Some(line_feed) => {
                let (line, rest) = self.bytes.split_at(line_feed + 1);
                let rest = Section {
                    bytes: rest,
                    lines: self.lines - 1,
                    consumed: self.consumed,
                };
                (&line[..line_feed - 1], rest)
            }
            None => (&[], self),
        }
    }

    /// Reads every line as a field, strictly (RFC 9112 §5), into a list whose memory is used again.
    pub(super) fn fields(&self, mut fields: Fields) -> Result<Fields, Malformed> {
        fields
            .read_lines(self.bytes, self.lines)
            .map_err(|(line, invalid)| match invalid {
                _ if matches!(line.first(), Some(b' ' | b'\t')) => Malformed::FoldedField,
                InvalidField::Name | InvalidField::TooLarge => Malformed::FieldName,
                InvalidField::Value(_) if line.contains(&b'\r') => Malformed::LineEnd,
                InvalidField::Value(_) => Malformed::FieldValue,
            })?;
        Ok(fields)
    }
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

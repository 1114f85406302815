//! The fields that steer the connection and the framing, read in one pass over a head.

use super::{Malformed, Persistence};
use crate::http::{Fields, Version, is_token, trim};

/// What the control fields of a head say, not yet judged.
#[derive(Debug, Default)]
pub(super) struct ControlFields<'a> {
    /// The last Host line.
    pub(super) host: Option<&'a [u8]>,
    pub(super) host_lines: usize,
    content_length: Option<&'a [u8]>,
    content_length_lines: usize,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: Option<&'a [u8]>,
    pub(super) expect: ExpectField,
    /// A field is there that [`is_disguised_framing`].
    pub(super) has_disguised_framing: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectField {
    #[default]
    Absent,
    Continue,
    Unknown,
}

/// The members of Transfer-Encoding over all lines.
#[derive(Debug, Default)]
struct Codings {
    lines: usize,
    chunked: usize,
    others: usize,
    /// Of the others, those that cannot be a defined coding, nor be taken for one.
    undefined: usize,
    empty: usize,
    ends_chunked: bool,
}

/// The length a head declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

impl<'a> ControlFields<'a> {
    pub(super) fn of(fields: &'a Fields) -> ControlFields<'a> {
        let mut control = ControlFields::default();
        // The length decides for nearly every field without a comparison.
        let is_candidate = |name_len| matches!(name_len, 4 | 6 | 7 | 10 | 14 | 17);
        for (name, value) in fields.iter_by_name_len(is_candidate) {
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    control.host = Some(value);
                    control.host_lines += 1;
                }
                6 if name.eq_ignore_ascii_case(b"expect") => control.add_expect(value),
                7 if name.eq_ignore_ascii_case(b"upgrade") && !value.is_empty() => {
                    control.upgrade.get_or_insert(value);
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    control.add_connection(value);
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    control.content_length = Some(value);
                    control.content_length_lines += 1;
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    control.codings.add(value);
                }
                14 | 17 if is_disguised_framing(name) => {
                    control.has_disguised_framing = true;
                }
                _ => {}
            }
        }
        control
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(trim) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            }
        }
    }

    fn add_expect(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',').map(trim) {
            if member.eq_ignore_ascii_case(b"100-continue") {
                if self.expect == ExpectField::Absent {
                    self.expect = ExpectField::Continue;
                }
            } else if !member.is_empty() {
                self.expect = ExpectField::Unknown;
            }
        }
    }

    /// RFC 9112 §9.3.
    pub(super) fn persistence(&self, version: Version) -> Persistence {
        match version {
            _ if self.close => Persistence::Close,
            Version::Http10 if !self.keep_alive => Persistence::Close,
            _ => Persistence::KeepAlive,
        }
    }

    /// The protocols offered, where the connection is said to be upgraded (RFC 9110 §7.8: not by HTTP/1.0).
    pub(super) fn upgrade(&self, version: Version) -> Option<Box<str>> {
        let protocols = self
            .upgrade
            .filter(|_| self.connection_upgrade && version != Version::Http10)?;
        std::str::from_utf8(protocols).ok().map(Box::from)
    }

    /// Whether Transfer-Encoding names only codings that nobody has defined: the field is some program's own then.
    /// A response with it ends with the connection (RFC 9112 §6.3), and there is no coding to undo.
    pub(super) fn has_undefined_coding(&self, version: Version) -> bool {
        let Codings {
            lines,
            undefined,
            chunked,
            others,
            empty,
            ..
        } = self.codings;
        version != Version::Http10
            && self.content_length_lines == 0
            && lines > 0
            && undefined == chunked + others + empty
    }

    /// RFC 9112 §6.1 to §6.3, with every doubtful case an error.
    pub(super) fn declared(&self, version: Version) -> Result<Declared, Malformed> {
        if self.codings.lines > 0 {
            if version == Version::Http10 {
                return Err(Malformed::TransferEncodingInHttp10);
            }
            if self.content_length_lines > 0 {
                return Err(Malformed::BothLengths);
            }
            return self.codings.judge().map(|()| Declared::Chunked);
        }
        match (self.content_length, self.content_length_lines) {
            (None, _) => Ok(Declared::Nothing),
            (Some(digits), 1) => parse_length(digits)
                .map(Declared::Length)
                .ok_or(Malformed::ContentLength),
            (Some(_), _) => Err(Malformed::ContentLength),
        }
    }
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        self.lines += 1;
        for coding in value.split(|byte| *byte == b',').map(trim) {
            self.ends_chunked = coding.eq_ignore_ascii_case(b"chunked");
            if self.ends_chunked {
                self.chunked += 1;
            } else if coding.is_empty() {
                self.empty += 1;
            } else {
                self.others += 1;
                self.undefined += usize::from(is_undefined(coding));
            }
        }
    }

    fn judge(&self) -> Result<(), Malformed> {
        if self.empty > 0 || self.chunked != 1 || !self.ends_chunked {
            return Err(Malformed::TransferEncoding);
        }
        if self.others > 0 {
            return Err(Malformed::UnknownTransferCoding);
        }
        Ok(())
    }
}

/// Whether this is the name of no coding that is registered, or was once (RFC 9112 §7, RFC 2616 §3.6), and holds no
/// `chunked` that another program might find in it.
fn is_undefined(coding: &[u8]) -> bool {
    const DEFINED: [&[u8]; 6] = [
        b"gzip",
        b"x-gzip",
        b"deflate",
        b"compress",
        b"x-compress",
        b"identity",
    ];
    is_token(coding)
        && !DEFINED
            .iter()
            .any(|defined| coding.eq_ignore_ascii_case(defined))
        && !coding
            .to_ascii_lowercase()
            .windows(7)
            .any(|part| part == b"chunked")
}

/// Content-Length or Transfer-Encoding with an underscore for its hyphen. To us that is a name like any other; but
/// gateways that hand fields on as variables (CGI and its heirs) cannot tell the two apart, and frame by it.
pub(crate) fn is_disguised_framing(name: &[u8]) -> bool {
    let is = |known: &str| {
        name.len() == known.len()
            && name.iter().zip(known.bytes()).all(|(byte, known)| {
                byte.eq_ignore_ascii_case(&known) || (*byte == b'_' && known == b'-')
            })
    };
    name.contains(&b'_') && (is("content-length") || is("transfer-encoding"))
}

/// `1*DIGIT` that fits 64 bits; no sign, no space, no list.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

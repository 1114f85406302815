//! Request heads and trailers from header blocks (RFC 9113 §8).

use super::hpack::Decoder;
use super::{ErrorCode, Violation};
use crate::http::{Fields, InvalidField, Method, RequestHead, Scheme, Version};
use crate::http1::{
    BadBody, Expectation, HeadLimits, Malformed, Refused, Target, has_forbidden_trailer,
    is_authority, is_disguised_framing, parse_length,
};

/// What each field of a list counts beside its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// How large a head or a trailer section may be.
#[derive(Clone, Copy, Debug)]
pub struct ListLimits<'a> {
    /// Of these the number of fields and the length of the target.
    pub head: &'a HeadLimits,
    /// Decoded names and values, with 32 bytes for each field.
    pub list_bytes_max: usize,
}

/// Memory for heads, used again and again.
#[derive(Debug, Default)]
pub struct HeadMemory {
    crumbs: Vec<u8>,
}

impl HeadMemory {
    /// Gives up memory that a large head has claimed.
    pub fn shrink(&mut self) {
        const KEPT_BYTES_MAX: usize = 16 * 1024;
        if self.crumbs.capacity() > KEPT_BYTES_MAX {
            self.crumbs = Vec::new();
        }
    }
}

/// What a good head says about the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedHead {
    pub expectation: Expectation,
    pub content_length: Option<u64>,
}

/// Why a header block is no request, or no trailer section. But for the first, the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The table of the decoder is of no use any more.
    #[error("the header block cannot be decoded")]
    Compression,
    /// RFC 9113 §8.1.1: the stream ends with PROTOCOL_ERROR.
    #[error("the message breaks the rules of HTTP/2")]
    Malformed,
    /// An answer says why.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// As for a body of HTTP/1.
    #[error(transparent)]
    Trailers(#[from] BadBody),
}

impl BadHead {
    /// What ends by it, where it ends without an answer.
    pub fn violation(self, stream: u32) -> Option<Violation> {
        match self {
            BadHead::Compression => Some(Violation::Connection(ErrorCode::COMPRESSION_ERROR)),
            BadHead::Malformed => Some(Violation::Stream(stream, ErrorCode::PROTOCOL_ERROR)),
            BadHead::Refused(_) | BadHead::Trailers(_) => None,
        }
    }
}

/// Decodes a block that nobody wants, to keep the table.
///
/// # Errors
/// [`BadHead::Compression`].
pub fn skip_block(decoder: &mut Decoder, block: &[u8]) -> Result<(), BadHead> {
    let decoded = decoder.decode(block, |_, _| {});
    decoded.map_err(|_| BadHead::Compression)
}

/// Reads a request head into the memory of another.
///
/// The scheme is that of the connection whatever `:scheme` says: a front end that ends TLS passes on its client's.
///
/// # Errors
/// [`BadHead`]; what was read of the head until then is left in it, for counting.
pub fn read_request(
    decoder: &mut Decoder,
    block: &[u8],
    head: &mut RequestHead,
    memory: &mut HeadMemory,
    limits: ListLimits<'_>,
    scheme: Scheme,
) -> Result<ParsedHead, BadHead> {
    head.method = Method::Get;
    head.target.clear();
    head.authority.clear();
    head.scheme = scheme;
    head.version = Version::Http2;
    head.fields.clear();
    memory.crumbs.clear();
    let mut reading = Reading {
        head,
        crumbs: &mut memory.crumbs,
        list: List::new(limits),
        pseudo: 0,
        is_malformed: false,
        has_invalid_target: false,
        hosts: 0,
        host_differs: false,
        refused: None,
        content_length: None,
        expectation: Expectation::Nothing,
        has_unknown_expectation: false,
        has_crumbs: false,
    };
    decoder
        .decode(block, |name, value| reading.field(name, value))
        .map_err(|_| BadHead::Compression)?;
    reading.finish(limits.head)
}

/// Bounds of a list, and how far it has come.
struct List {
    fields_max: usize,
    fields: usize,
    bytes_max: usize,
    bytes: usize,
}

impl List {
    fn new(limits: ListLimits<'_>) -> List {
        List {
            fields_max: limits.head.fields_max,
            fields: 0,
            bytes_max: limits.list_bytes_max,
            bytes: 0,
        }
    }

    /// Counts a field; says whether there is room for it.
    fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.bytes += name.len() + value.len() + FIELD_OVERHEAD;
        self.bytes <= self.bytes_max
    }

    fn add_line(&mut self) -> bool {
        self.fields += 1;
        self.fields <= self.fields_max
    }

    fn judge(&self) -> Result<(), Malformed> {
        if self.bytes > self.bytes_max {
            return Err(Malformed::HeadTooLarge(self.bytes_max));
        }
        if self.fields > self.fields_max {
            return Err(Malformed::TooManyFields(self.fields_max));
        }
        Ok(())
    }
}

/// Pseudo-header fields as bits.
mod pseudo {
    pub(super) const METHOD: u8 = 1;
    pub(super) const SCHEME: u8 = 2;
    pub(super) const AUTHORITY: u8 = 4;
    pub(super) const PATH: u8 = 8;
    /// Another field has come: there may be none of these any more.
    pub(super) const OVER: u8 = 16;
}

struct Reading<'a> {
    head: &'a mut RequestHead,
    crumbs: &'a mut Vec<u8>,
    list: List,
    pseudo: u8,
    is_malformed: bool,
    has_invalid_target: bool,
    hosts: usize,
    host_differs: bool,
    /// The first reason among the fields.
    refused: Option<Malformed>,
    content_length: Option<u64>,
    expectation: Expectation,
    has_unknown_expectation: bool,
    has_crumbs: bool,
}

impl Reading<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if !self.list.add(name, value) {
            return;
        }
        match name {
            [b':', name @ ..] => self.pseudo_field(name, value),
            _ => self.regular_field(name, value),
        }
    }

    /// RFC 9113 §8.3: once each, and before all other fields.
    fn pseudo_field(&mut self, name: &[u8], value: &[u8]) {
        let bit = match name {
            b"method" => {
                match Method::parse(value) {
                    Some(method) => self.head.method = method,
                    None => self.is_malformed = true,
                }
                pseudo::METHOD
            }
            b"scheme" => {
                self.is_malformed |= !is_scheme(value);
                pseudo::SCHEME
            }
            b"authority" => {
                copy(&mut self.head.authority, value);
                self.host_differs |= self.head.authority.is_empty();
                pseudo::AUTHORITY
            }
            b"path" => {
                copy(&mut self.head.target, value);
                self.has_invalid_target = self.head.target.is_empty();
                self.is_malformed |= value.is_empty();
                pseudo::PATH
            }
            // Of responses, of extensions that we do not offer (RFC 8441), or of nobody.
            _ => pseudo::OVER,
        };
        self.is_malformed |= self.pseudo & (bit | pseudo::OVER) != 0 || bit == pseudo::OVER;
        self.pseudo |= bit;
    }

    fn regular_field(&mut self, name: &[u8], value: &[u8]) {
        if self.pseudo & pseudo::OVER == 0 {
            self.pseudo |= pseudo::OVER;
            self.append_host();
        }
        // The length decides for most names without a comparison.
        match name.len() {
            2 if name == b"te" => self.is_malformed |= !value.eq_ignore_ascii_case(b"trailers"),
            4 if name == b"host" => {
                self.list.add_line();
                return self.host(value);
            }
            6 if name == b"cookie" => {
                self.list.add_line();
                return self.crumb(value);
            }
            6 if name == b"expect" => match value.eq_ignore_ascii_case(b"100-continue") {
                true => self.expectation = Expectation::Continue,
                false => self.has_unknown_expectation = true,
            },
            14 if name == b"content-length" => match (self.content_length, parse_length(value)) {
                (None, Some(length)) => self.content_length = Some(length),
                _ => return self.refuse(Malformed::ContentLength),
            },
            7 | 10 | 16 | 17 if is_of_http1(name) => self.is_malformed = true,
            // Behind us it would frame a message of HTTP/1.
            14 | 17 if is_disguised_framing(name) => return self.refuse(Malformed::FieldName),
            _ => {}
        }
        if self.list.add_line() {
            self.append(name, value);
        }
    }

    /// RFC 9113 §8.2.1: names in lower case; a value neither starts nor ends with white space.
    fn append(&mut self, name: &[u8], value: &[u8]) {
        match append(&mut self.head.fields, name, value) {
            Ok(()) => {}
            Err(BadField::Name) => self.is_malformed = true,
            Err(BadField::Value) => self.refuse(Malformed::FieldValue),
        }
    }

    fn refuse(&mut self, malformed: Malformed) {
        self.refused.get_or_insert(malformed);
    }

    /// `:authority` stands first, as Host.
    fn append_host(&mut self) {
        if !self.head.authority.is_empty() {
            let authority = self.head.authority.as_bytes();
            self.host_differs |= !is_authority(authority);
            if !self.host_differs {
                self.head.fields.append("host", authority);
            }
        }
    }

    /// RFC 9113 §8.3.1: it has to agree with `:authority`, or stand for it.
    fn host(&mut self, value: &[u8]) {
        self.hosts += 1;
        if self.pseudo & pseudo::AUTHORITY != 0 {
            self.host_differs |= !value.eq_ignore_ascii_case(self.head.authority.as_bytes());
        } else if self.hosts == 1 {
            copy(&mut self.head.authority, value);
            self.host_differs |= self.head.authority.is_empty();
            self.append_host();
        }
    }

    /// RFC 9113 §8.2.3: crumbs become one line for whoever speaks HTTP/1.
    fn crumb(&mut self, value: &[u8]) {
        if is_padded(value) {
            return self.refuse(Malformed::FieldValue);
        }
        // Where one of the two is empty, there is nothing to keep apart.
        if !self.crumbs.is_empty() && !value.is_empty() {
            self.crumbs.extend_from_slice(b"; ");
        }
        self.has_crumbs = true;
        self.crumbs.extend_from_slice(value);
    }

    fn finish(mut self, limits: &HeadLimits) -> Result<ParsedHead, BadHead> {
        self.list.judge().map_err(Refused::from)?;
        if self.pseudo & pseudo::OVER == 0 {
            self.append_host();
        }
        let is_connect = self.head.method == Method::Connect;
        let (needed, refused) = match is_connect {
            // RFC 9113 §8.5.
            true => (
                pseudo::METHOD | pseudo::AUTHORITY,
                pseudo::SCHEME | pseudo::PATH,
            ),
            false => (pseudo::METHOD | pseudo::SCHEME | pseudo::PATH, 0),
        };
        if self.is_malformed || self.pseudo & needed != needed || self.pseudo & refused != 0 {
            return Err(BadHead::Malformed);
        }
        let target = &self.head.target;
        if target.len() > limits.target_bytes_max {
            return Err(Refused::TargetTooLong(limits.target_bytes_max).into());
        }
        if !is_connect {
            let is_path = target.starts_with('/') || target == "*";
            if self.has_invalid_target || !is_path {
                return Err(Refused::Target.into());
            }
            Target::parse(target.as_bytes(), &self.head.method, self.head.scheme)?;
        } else if !self.head.authority.is_empty() {
            let authority = self.head.authority.as_bytes();
            Target::parse(authority, &self.head.method, self.head.scheme)?;
        }
        if self.hosts > 1 {
            return Err(Refused::HostRepeated.into());
        }
        if self.host_differs {
            return Err(Refused::HostInvalid.into());
        }
        if self.head.authority.is_empty() {
            return Err(Refused::HostMissing.into());
        }
        if self.has_crumbs {
            let crumbs = std::mem::take(self.crumbs);
            self.append(b"cookie", &crumbs);
            *self.crumbs = crumbs;
        }
        if let Some(malformed) = self.refused {
            return Err(Refused::from(malformed).into());
        }
        if is_connect && self.content_length.is_some_and(|length| length > 0) {
            return Err(Refused::ConnectBody.into());
        }
        if self.has_unknown_expectation {
            return Err(Refused::Expectation.into());
        }
        Ok(ParsedHead {
            expectation: self.expectation,
            content_length: self.content_length,
        })
    }
}

/// Reads the trailers of a request, within the same bounds as HTTP/1's.
///
/// # Errors
/// [`BadHead`].
pub fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limits: ListLimits<'_>,
) -> Result<Fields, BadHead> {
    let mut trailers = Fields::new();
    let mut list = List::new(limits);
    let mut is_malformed = false;
    let mut bad_value = false;
    decoder
        .decode(block, |name, value| {
            // No pseudo-header field is for trailers (RFC 9113 §8.1), and none is a token.
            if list.add(name, value) && list.add_line() {
                match append(&mut trailers, name, value) {
                    Ok(()) => {}
                    Err(BadField::Name) => is_malformed = true,
                    Err(BadField::Value) => bad_value = true,
                }
            }
        })
        .map_err(|_| BadHead::Compression)?;
    if is_malformed {
        return Err(BadHead::Malformed);
    }
    list.judge().map_err(BadBody::Trailers)?;
    if bad_value {
        return Err(BadBody::Trailers(Malformed::FieldValue).into());
    }
    if has_forbidden_trailer(&trailers) {
        return Err(BadBody::ForbiddenTrailer.into());
    }
    Ok(trailers)
}

/// RFC 9113 §8.2.2.
pub(super) fn is_of_http1(name: &[u8]) -> bool {
    const OF_HTTP1: [&[u8]; 5] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    ];
    OF_HTTP1
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

enum BadField {
    Name,
    Value,
}

fn append(fields: &mut Fields, name: &[u8], value: &[u8]) -> Result<(), BadField> {
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err(BadField::Name);
    }
    if is_padded(value) {
        return Err(BadField::Value);
    }
    fields
        .try_append(name, value)
        .map_err(|invalid| match invalid {
            InvalidField::Name => BadField::Name,
            InvalidField::Value(_) | InvalidField::TooMany => BadField::Value,
        })
}

fn is_padded(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}

/// RFC 3986 §3.1.
fn is_scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic)
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Text in the place of another; none where it is no text.
fn copy(memory: &mut String, value: &[u8]) {
    memory.clear();
    if let Ok(text) = std::str::from_utf8(value) {
        memory.push_str(text);
    }
}

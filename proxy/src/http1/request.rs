//! Request heads from bytes.

use super::control::{ControlFields, Declared, ExpectField};
use super::scan::{Section, WireVersion, parse_version};
use super::target::{Target, is_authority};
use super::{BodyFraming, HeadLimits, Malformed, Persistence, Refused};
use crate::http::{Method, RequestHead, Scheme, Version};

/// RFC 9112 §2.2 asks to ignore at least one empty line before a request; more than a few is no client.
const LEADING_BYTES_MAX: usize = 8;

/// Longest method name; keeps the request line from hiding a long method in the target's limit.
const METHOD_BYTES_MAX: usize = 64;

/// A longer Host is not remembered; a DNS name has 253 bytes at the most.
const KNOWN_HOST_BYTES_MAX: usize = 260;

/// Whether the client waits for 100 before it sends the body (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    Nothing,
    Continue,
}

/// A complete request head and what it says about the bytes that follow.
#[derive(Clone, Debug)]
pub struct ParsedRequest {
    pub head: RequestHead,
    /// Never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// Bytes of the buffer that belong to the head.
    pub consumed: usize,
    pub persistence: Persistence,
    pub expectation: Expectation,
    /// The value of Upgrade where Connection names it and the version is 1.1.
    pub upgrade: Option<Box<str>>,
}

/// Reads a request head from the front of `bytes`. `Ok(None)`: more bytes are needed.
///
/// `scheme` is that of the connection.
///
/// # Errors
/// [`Refused`] as soon as the bytes cannot become an acceptable head; the connection is then beyond use.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    scheme: Scheme,
) -> Result<Option<ParsedRequest>, Refused> {
    parse_request_into(
        &mut RequestHead::default(),
        &mut String::new(),
        bytes,
        limits,
        scheme,
    )
}

/// [`parse_request`] into the memory of a head that is done with: of `spare`, which is left empty where there is a
/// request. `known_host` is the last Host of the connection that was found sound: clients send one again and again.
///
/// # Errors
/// As there.
pub fn parse_request_into(
    spare: &mut RequestHead,
    known_host: &mut String,
    bytes: &[u8],
    limits: &HeadLimits,
    scheme: Scheme,
) -> Result<Option<ParsedRequest>, Refused> {
    let Some(leading) = leading_empty_lines(bytes)? else {
        return Ok(None);
    };
    let bytes = &bytes[leading..];
    let section = match Section::head(bytes, limits) {
        Ok(Some(section)) => section,
        unfinished => {
            refuse_hopeless_start(bytes, limits)?;
            return Ok(unfinished.map(|_| None)?);
        }
    };
    let (start, request_line, section) = section.split_start_line()?;
    let (method, target, version) = split_request_line(request_line)?;
    if target.len() > limits.target_bytes_max {
        return Err(Refused::TargetTooLong(limits.target_bytes_max));
    }
    let target = Target::parse(target, &method, scheme)?;
    let (mut fields, fields_len) = section.fields(std::mem::take(&mut spare.fields))?;
    let control = ControlFields::of(&fields);
    if control.has_disguised_framing {
        return Err(Malformed::FieldName.into());
    }

    let authority = authority(&control, target.authority, version, known_host)?;
    let host_differs = control.host != authority.map(str::as_bytes);
    let framing = match control.declared(version)? {
        Declared::Nothing => BodyFraming::Empty,
        Declared::Length(length) => BodyFraming::Length(length),
        Declared::Chunked => BodyFraming::Chunked,
    };
    if method == Method::Connect && !matches!(framing, BodyFraming::Empty | BodyFraming::Length(0))
    {
        return Err(Refused::ConnectBody);
    }
    let expectation = match control.expect {
        // RFC 9110 §10.1.1: an HTTP/1.0 client cannot expect anything.
        _ if version == Version::Http10 => Expectation::Nothing,
        ExpectField::Unknown => return Err(Refused::Expectation),
        ExpectField::Absent => Expectation::Nothing,
        // Nobody can be told to go on with nothing.
        ExpectField::Continue if matches!(framing, BodyFraming::Empty | BodyFraming::Length(0)) => {
            Expectation::Nothing
        }
        ExpectField::Continue => Expectation::Continue,
    };
    let persistence = control.persistence(version);
    let upgrade = control.upgrade(version);
    let authority = copied(
        std::mem::take(&mut spare.authority),
        authority.unwrap_or_default(),
    );
    if host_differs {
        fields.set("Host", &authority);
    }
    if version == Version::Http10 {
        // It is ignored here, and a backend, which is asked in HTTP/1.1, would heed it.
        fields.remove("Expect");
    }
    Ok(Some(ParsedRequest {
        head: RequestHead {
            method,
            target: target.to_path(std::mem::take(&mut spare.target)),
            authority,
            scheme,
            version,
            fields,
        },
        framing,
        consumed: leading + start.len() + fields_len,
        persistence,
        expectation,
        upgrade,
    }))
}

fn copied(mut memory: String, text: &str) -> String {
    memory.clear();
    memory.push_str(text);
    memory
}

/// Bytes of empty lines to skip; `None` when a CR still waits for its LF.
fn leading_empty_lines(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let mut skipped = 0;
    loop {
        match &bytes[skipped..] {
            [b'\r', b'\n', ..] if skipped < LEADING_BYTES_MAX => skipped += 2,
            [b'\r'] if skipped < LEADING_BYTES_MAX => return Ok(None),
            [b'\r' | b'\n', ..] => return Err(Refused::RequestLine),
            _ => return Ok(Some(skipped)),
        }
    }
}

/// Refuses what no further byte can mend, so that a TLS handshake on a plain port or an endless target
/// is answered at once and not when the time for the head is over.
fn refuse_hopeless_start(bytes: &[u8], limits: &HeadLimits) -> Result<(), Refused> {
    let window = &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)];
    let method_end = window.iter().position(|byte| !is_method_byte(*byte));
    match method_end {
        Some(end) if end > 0 && window[end] == b' ' => {
            let target = &bytes[end + 1..];
            let shown = &target[..target.len().min(limits.target_bytes_max + 1)];
            if shown.len() > limits.target_bytes_max
                && !shown.iter().any(|byte| matches!(byte, b' ' | b'\n'))
            {
                return Err(Refused::TargetTooLong(limits.target_bytes_max));
            }
            Ok(())
        }
        Some(_) => Err(Refused::RequestLine),
        None if window.len() > METHOD_BYTES_MAX => Err(Refused::RequestLine),
        None => Ok(()),
    }
}

/// A rough test that costs little; [`Method::parse`] has the last word.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn split_request_line(line: &[u8]) -> Result<(Method, &[u8], Version), Refused> {
    const VERSION_BYTES: usize = b"HTTP/1.1".len();
    let mut start = line.iter().take(METHOD_BYTES_MAX + 1);
    let method_end = start
        .position(|byte| *byte == b' ')
        .ok_or(Refused::RequestLine)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    let method = Method::parse(method).ok_or(Refused::RequestLine)?;
    let (rest, version) = rest
        .split_last_chunk::<VERSION_BYTES>()
        .ok_or(Refused::RequestLine)?;
    // A second space is refused where the target is read.
    let target = rest.strip_suffix(b" ").ok_or(Refused::RequestLine)?;
    let version = match parse_version(version).ok_or(Refused::RequestLine)? {
        WireVersion::Known(version) => version,
        WireVersion::OtherMajor => return Err(Refused::Version),
    };
    if target.is_empty() {
        return Err(Refused::Target);
    }
    Ok((method, target, version))
}

/// RFC 9112 §3.2 and §3.2.2: Host must be there and sound even when the target overrules it.
fn authority<'a>(
    control: &ControlFields<'a>,
    named: Option<&'a str>,
    version: Version,
    known: &'a mut String,
) -> Result<Option<&'a str>, Refused> {
    let host = match (control.host, control.host_lines) {
        (None, _) if version == Version::Http10 => None,
        (None, _) => return Err(Refused::HostMissing),
        (Some(host), 1) if !host.is_empty() && host == known.as_bytes() => Some(&**known),
        (Some(host), 1) if is_authority(host) => {
            let host = std::str::from_utf8(host).map_err(|_| Refused::HostInvalid)?;
            if host.len() <= KNOWN_HOST_BYTES_MAX {
                known.clear();
                known.push_str(host);
            }
            Some(host)
        }
        (Some(_), 1) => return Err(Refused::HostInvalid),
        (Some(_), _) => return Err(Refused::HostRepeated),
    };
    Ok(named.or(host))
}

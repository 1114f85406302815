//! Response heads from bytes.

use super::control::{ControlFields, Declared};
use super::scan::{Section, WireVersion, parse_version};
use super::{BadResponse, BodyFraming, HeadLimits, Persistence};
use crate::http::{Fields, Method, ResponseHead, Version};

/// A complete response head and what it says about the bytes that follow.
#[derive(Clone, Debug)]
pub struct ParsedResponse {
    pub head: ResponseHead,
    /// [`BodyFraming::Empty`] for 1xx, 204, 304, answers to HEAD, and where a tunnel begins (101, and 2xx to
    /// CONNECT): bytes behind those belong to the tunnel.
    pub framing: BodyFraming,
    /// Bytes of the buffer that belong to the head.
    pub consumed: usize,
    /// Close also when the head says things that leave the place of the next response in doubt.
    pub persistence: Persistence,
}

/// Reads a response head from the front of `bytes`. `Ok(None)`: more bytes are needed.
///
/// An informational head (1xx but 101) is followed by another head. `method` is that of the request.
///
/// # Errors
/// [`BadResponse`] as soon as the bytes cannot become an acceptable head.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    method: &Method,
) -> Result<Option<ParsedResponse>, BadResponse> {
    const START: &[u8] = b"HTTP/";
    let shown = bytes.len().min(START.len());
    if bytes[..shown] != START[..shown] {
        return Err(BadResponse::StatusLine);
    }
    let Some(section) = Section::head(bytes, limits)? else {
        return Ok(None);
    };
    let (start, status_line, section) = section.split_start_line()?;
    let (version, status, reason) = split_status_line(status_line)?;
    let (fields, fields_len) = section.fields(Fields::new())?;
    let control = ControlFields::of(&fields);
    let mut persistence = control.persistence(version);
    let declared = match control.has_undefined_coding(version) {
        true => {
            // Whatever follows such a head, also where no body can: nobody can tell where it ends.
            persistence = Persistence::Close;
            Declared::Nothing
        }
        false => control.declared(version)?,
    };
    let framing = match (status, method) {
        (204, _) | (100..200, _) => {
            // RFC 9112 §6.3: these end with the head, whatever they declare; but who declares a body may send one.
            if !matches!(declared, Declared::Nothing | Declared::Length(0)) {
                persistence = Persistence::Close;
            }
            BodyFraming::Empty
        }
        (304, _) | (_, Method::Head) | (200..300, Method::Connect) => BodyFraming::Empty,
        _ => match declared {
            Declared::Length(length) => BodyFraming::Length(length),
            Declared::Chunked => BodyFraming::Chunked,
            Declared::Nothing => {
                persistence = Persistence::Close;
                BodyFraming::UntilClose
            }
        },
    };
    Ok(Some(ParsedResponse {
        head: ResponseHead {
            status,
            reason,
            version,
            fields,
        },
        framing,
        consumed: start.len() + fields_len,
        persistence,
    }))
}

/// RFC 9112 §4. The space before an empty reason is often left out, and nothing hangs on it.
fn split_status_line(line: &[u8]) -> Result<(Version, u16, Box<str>), BadResponse> {
    const VERSION_BYTES: usize = b"HTTP/1.1".len();
    let (version, rest) = line
        .split_at_checked(VERSION_BYTES)
        .ok_or(BadResponse::StatusLine)?;
    let version = match parse_version(version).ok_or(BadResponse::StatusLine)? {
        WireVersion::Known(version) => version,
        WireVersion::OtherMajor => return Err(BadResponse::Version),
    };
    let (status, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(BadResponse::StatusLine),
    };
    if !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
        return Err(BadResponse::StatusLine);
    }
    let status = status
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if !reason
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f))
    {
        return Err(BadResponse::StatusLine);
    }
    Ok((version, status, String::from_utf8_lossy(reason).into()))
}

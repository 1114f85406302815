//! Request targets and authorities (RFC 9112 §3.2, RFC 3986 §3.2).

use super::Refused;
use crate::http::{Method, Scheme, alphanumeric_or};

/// A request target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Path and query as received; `*`; for CONNECT empty.
    pub(crate) path: &'a str,
    /// The path is only a query: a slash stands before it.
    pub(crate) needs_slash: bool,
    /// The host and port the target itself names.
    pub(crate) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads a target in the form that goes with the method.
    pub(crate) fn parse(
        bytes: &'a [u8],
        method: &Method,
        scheme: Scheme,
    ) -> Result<Target<'a>, Refused> {
        // A fragment never goes over the wire; white space and controls are how lines get split.
        if !bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
        {
            return Err(Refused::Target);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::Target)?;
        if *method == Method::Connect {
            return connect_target(text);
        }
        if text.starts_with('/') {
            return Ok(Target {
                path: text,
                needs_slash: false,
                authority: None,
            });
        }
        if text == "*" {
            return match method {
                Method::Options => Ok(Target {
                    path: "*",
                    needs_slash: false,
                    authority: None,
                }),
                _ => Err(Refused::Target),
            };
        }
        absolute_target(text, method, scheme)
    }

    /// The path in the memory of another.
    pub(crate) fn to_path(self, mut memory: String) -> String {
        memory.clear();
        if self.needs_slash {
            memory.push('/');
        }
        memory.push_str(self.path);
        memory
    }
}

fn connect_target(text: &str) -> Result<Target<'_>, Refused> {
    // RFC 9110 §9.3.6: the port is not optional here.
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if !has_port || !is_authority(text.as_bytes()) {
        return Err(Refused::Target);
    }
    Ok(Target {
        path: "",
        needs_slash: false,
        authority: Some(text),
    })
}

fn absolute_target<'a>(
    text: &'a str,
    method: &Method,
    scheme: Scheme,
) -> Result<Target<'a>, Refused> {
    let (named, rest) = text.split_once("://").ok_or(Refused::Target)?;
    let named = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| named.eq_ignore_ascii_case(known.as_str()))
        .ok_or(Refused::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority.as_bytes()) {
        return Err(Refused::Target);
    }
    if named != scheme {
        return Err(Refused::Misdirected);
    }
    let path = match path {
        // RFC 9112 §3.2.4: OPTIONS without a path asks about the whole server.
        "" if *method == Method::Options => "*",
        other => other,
    };
    Ok(Target {
        path,
        needs_slash: !path.starts_with(['/', '*']),
        authority: Some(authority),
    })
}

/// `host [":" port]` without user information, as Host and `:authority` carry it. Stricter than the
/// grammar where that leaves room for two readings: no empty host, no empty port, no comma.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host_is_valid, rest) = match bytes.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else {
                return false;
            };
            (is_ip_literal(&literal[..end]), &literal[end + 1..])
        }
        None => {
            let end = bytes
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(bytes.len());
            (is_reg_name(&bytes[..end]), &bytes[end..])
        }
    };
    host_is_valid
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

fn is_port(digits: &[u8]) -> bool {
    (1..=5).contains(&digits.len())
        && super::control::parse_length(digits).is_some_and(|port| port <= u64::from(u16::MAX))
}

fn is_ip_literal(literal: &[u8]) -> bool {
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_reg_name(host: &[u8]) -> bool {
    if host.iter().all(|byte| REG_NAME[usize::from(*byte)]) {
        return !host.is_empty();
    }
    let mut bytes = host.iter();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => {
                bytes.next().is_some_and(u8::is_ascii_hexdigit)
                    && bytes.next().is_some_and(u8::is_ascii_hexdigit)
            }
            other => REG_NAME[usize::from(*other)],
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Bytes of a registered name (RFC 3986 §3.2.2) but for percent-encoding, and without the comma.
const REG_NAME: [bool; 256] = alphanumeric_or(b"-._~!$&'()*+;=");

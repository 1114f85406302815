//! Request and response heads.

use std::fmt;

use super::Fields;
use super::fields::is_token;

/// A request method (RFC 9110 §9). Names are case-sensitive; unknown ones are kept as they came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Drops an object from the cache; answered by the front door itself.
    Purge,
    /// Adds a ban; answered by the front door itself.
    Ban,
    Other(Box<str>),
}

impl Method {
    /// Reads a method name; `None` when it is no token.
    pub fn parse(name: &[u8]) -> Option<Method> {
        Some(match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            b"PURGE" => Method::Purge,
            b"BAN" => Method::Ban,
            other if is_token(other) => Method::Other(std::str::from_utf8(other).ok()?.into()),
            _ => return None,
        })
    }

    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Purge => "PURGE",
            Method::Ban => "BAN",
            Method::Other(name) => name,
        }
    }

    /// RFC 9110 §9.2.1. Unknown methods count as unsafe (RFC 9111 §4.4).
    pub fn is_safe(&self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Options | Method::Trace
        )
    }

    /// RFC 9110 §9.2.2: may be sent again when the first try's fate is unknown.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The protocol version of a message. HTTP/1.2 and above is read as 1.1, as RFC 9110 §6.2 asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As Via and access logs write it: `1.0`, `1.1`, `2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A request head, the same for every protocol version.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// Path and query as received, never normalised (`/a%2Fb?x`), or `*`. For CONNECT empty.
    pub target: String,
    /// Host and port as the request names them: the target's authority (absolute-form, `:authority`) or
    /// else Host (RFC 9112 §3.2.2). Empty where HTTP/1.0 gives none. `fields` holds Host equal to it.
    pub authority: String,
    pub scheme: Scheme,
    pub version: Version,
    pub fields: Fields,
}

impl RequestHead {
    /// Bytes on the heap, used or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.target.capacity() + self.authority.capacity() + self.fields.heap_bytes()
    }

    /// A copy with room for the fields that are added on the way to a backend.
    pub(crate) fn clone_with_room(&self) -> RequestHead {
        RequestHead {
            method: self.method.clone(),
            target: self.target.clone(),
            authority: self.authority.clone(),
            scheme: self.scheme,
            version: self.version,
            fields: self.fields.clone_with_room(),
        }
    }
}

impl Default for RequestHead {
    fn default() -> RequestHead {
        RequestHead {
            method: Method::Get,
            target: String::new(),
            authority: String::new(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields: Fields::new(),
        }
    }
}

/// The reason phrase of a head (RFC 9112 §4), which only people read. Nearly all have the registered one of their
/// status, so that takes no memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reason(
    /// `None`: the registered phrase. Behind two pointers, since a stored head has room for one.
    Option<Box<Box<str>>>,
);

impl Reason {
    pub fn of(status: u16, phrase: &str) -> Reason {
        Reason((phrase != reason_phrase(status)).then(|| Box::new(phrase.into())))
    }

    /// The phrase in a head of this status.
    pub fn as_str(&self, status: u16) -> &str {
        match &self.0 {
            None => reason_phrase(status),
            Some(phrase) => phrase,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |phrase| size_of::<Box<str>>() + phrase.len())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().map_or("registered", |phrase| phrase))
    }
}

/// A response head, the same for every protocol version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    pub reason: Reason,
    pub version: Version,
    pub fields: Fields,
}

impl ResponseHead {
    /// A head of our own with the usual reason phrase.
    pub fn new(status: u16) -> ResponseHead {
        ResponseHead {
            status,
            reason: Reason::default(),
            version: Version::Http11,
            fields: Fields::new(),
        }
    }

    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> ResponseHead {
        self.fields.append(name, value);
        self
    }

    /// The reason phrase as received; empty where it was.
    pub fn reason(&self) -> &str {
        self.reason.as_str(self.status)
    }

    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

/// The registered reason phrase of a status, empty for unknown ones.
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unusual_reasons_take_memory() {
        fn check(status: u16, phrase: &str, heap_bytes: usize) {
            let reason = Reason::of(status, phrase);
            assert_eq!(reason.as_str(status), phrase, "{status}");
            assert_eq!(reason.heap_bytes(), heap_bytes, "{status} {phrase}");
        }
        check(200, "OK", 0);
        check(404, "Not Found", 0);
        check(299, "", 0);
        check(200, "", 16);
        check(200, "Fine", 20);
        check(299, "Fine", 20);
        assert_eq!(size_of::<Reason>(), 8);
        assert_eq!(ResponseHead::new(404).reason(), "Not Found");
    }

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::parse(b"GET"), Some(Method::Get));
        assert_eq!(Method::parse(b"get"), Some(Method::Other("get".into())));
        assert_eq!(Method::parse(b"G T"), None);
        assert_eq!(Method::parse(b""), None);
        assert!(!Method::parse(b"get").expect("get is a token").is_safe());
    }
}

//! What the cache did with a request, told in Cache-Status (RFC 9211).

use std::borrow::Cow;

use super::syntax::is_token_byte;

/// Our member of Cache-Status. Absent parameters are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    pub handled: Handled,
    /// §2.3: the origin's status, where it differs from ours.
    pub forward_status: Option<u16>,
    /// §2.4: seconds of freshness left, negative when stale.
    pub ttl_seconds: Option<i64>,
    /// §2.5: whether the origin's answer is kept.
    pub stored: Stored,
    /// §2.6: whether the request joined another's fetch.
    pub collapsed: Collapsed,
    /// §2.7
    pub key: Option<Cow<'a, str>>,
    /// §2.8: for people, with the words of [`super::storability::NotStored`] and the like.
    pub detail: Option<Cow<'a, str>>,
}

/// §2.1 and §2.2: answered from the cache, or not and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    Hit,
    Forward(ForwardReason),
}

/// §2.2 `fwd`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardReason {
    /// The policy passes such requests.
    Bypass,
    /// The method's meaning needs the origin.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is, but no variant for this request.
    VaryMiss,
    /// Either of the two above.
    Miss,
    /// The client's directives ask for it.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored lacks a part that is asked for.
    Partial,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stored {
    Yes,
    #[default]
    No,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collapsed {
    Yes,
    #[default]
    No,
}

impl ForwardReason {
    pub fn as_str(self) -> &'static str {
        match self {
            ForwardReason::Bypass => "bypass",
            ForwardReason::Method => "method",
            ForwardReason::UriMiss => "uri-miss",
            ForwardReason::VaryMiss => "vary-miss",
            ForwardReason::Miss => "miss",
            ForwardReason::Request => "request",
            ForwardReason::Stale => "stale",
            ForwardReason::Partial => "partial",
        }
    }
}

impl<'a> CacheStatus<'a> {
    pub fn hit(ttl_seconds: i64) -> CacheStatus<'a> {
        CacheStatus {
            ttl_seconds: Some(ttl_seconds),
            ..CacheStatus::new(Handled::Hit)
        }
    }

    pub fn forward(reason: ForwardReason) -> CacheStatus<'a> {
        CacheStatus::new(Handled::Forward(reason))
    }

    pub fn new(handled: Handled) -> CacheStatus<'a> {
        CacheStatus {
            handled,
            forward_status: None,
            ttl_seconds: None,
            stored: Stored::No,
            collapsed: Collapsed::No,
            key: None,
            detail: None,
        }
    }

    /// Writes the member, which goes behind those of caches nearer to the origin (§2): a structured-field item with
    /// parameters. The item is as [`written_name`] gives it; bytes of `key` and `detail` that no structured string holds
    /// become `?`.
    pub fn write(&self, out: &mut Vec<u8>, written_name: &[u8]) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(written_name);
        match self.handled {
            Handled::Hit => out.extend_from_slice(b"; hit"),
            Handled::Forward(reason) => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(reason.as_str().as_bytes());
            }
        }
        if let Some(status) = self.forward_status {
            out.extend_from_slice(b"; fwd-status=");
            out.extend_from_slice(digits.format(status).as_bytes());
        }
        if let Some(ttl) = self.ttl_seconds {
            out.extend_from_slice(b"; ttl=");
            // RFC 8941 §3.3.1: an integer has at most 15 digits.
            let ttl = ttl.clamp(-999_999_999_999_999, 999_999_999_999_999);
            out.extend_from_slice(digits.format(ttl).as_bytes());
        }
        if self.stored == Stored::Yes {
            out.extend_from_slice(b"; stored");
        }
        if self.collapsed == Collapsed::Yes {
            out.extend_from_slice(b"; collapsed");
        }
        if let Some(key) = &self.key {
            out.extend_from_slice(b"; key=");
            write_string(out, key);
        }
        if let Some(detail) = &self.detail {
            out.extend_from_slice(b"; detail=");
            write_token_or_string(out, detail);
        }
    }
}

/// The name of a cache as a structured-field item (RFC 9211 §2), written once for all answers.
pub fn written_name(name: &str) -> Vec<u8> {
    let mut written = Vec::new();
    write_token_or_string(&mut written, name);
    written
}

/// RFC 8941 §3.3.4 where the text is a token, else §3.3.3.
fn write_token_or_string(out: &mut Vec<u8>, text: &str) {
    let starts = |first: u8| first.is_ascii_alphabetic() || first == b'*';
    let is_token = text.bytes().next().is_some_and(starts)
        && text
            .bytes()
            .all(|byte| is_token_byte(byte) || byte == b':' || byte == b'/');
    if is_token {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_string(out, text);
    }
}

/// RFC 8941 §4.1.6
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Fields;
    use crate::rules::storability::NotStored;

    fn check(status: &CacheStatus<'_>, expected: &str) {
        let mut text = Vec::new();
        status.write(&mut text, &written_name("lacquer"));
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn parameters_are_written_as_structured_fields() {
        check(&CacheStatus::hit(30), "lacquer; hit; ttl=30");
        check(&CacheStatus::hit(-412), "lacquer; hit; ttl=-412");
        check(
            &CacheStatus::hit(i64::MIN),
            "lacquer; hit; ttl=-999999999999999",
        );
        check(
            &CacheStatus::forward(ForwardReason::UriMiss),
            "lacquer; fwd=uri-miss",
        );
        check(
            &CacheStatus {
                forward_status: Some(304),
                ttl_seconds: Some(60),
                stored: Stored::Yes,
                collapsed: Collapsed::Yes,
                key: Some("http://a/\"\\\u{e9}\r\n".into()),
                detail: Some(NotStored::SetCookie.to_string().into()),
                ..CacheStatus::forward(ForwardReason::Stale)
            },
            "lacquer; fwd=stale; fwd-status=304; ttl=60; stored; collapsed; \
             key=\"http://a/\\\"\\\\????\"; detail=set-cookie",
        );
        check(
            &CacheStatus {
                detail: Some("no room".into()),
                ..CacheStatus::forward(ForwardReason::Bypass)
            },
            "lacquer; fwd=bypass; detail=\"no room\"",
        );
    }

    #[test]
    fn the_member_of_an_upstream_cache_stays_first() {
        let mut fields: Fields = [("cache-status", "upstream; hit")].into_iter().collect();
        fields.append_with("Cache-Status", |out| {
            CacheStatus::hit(1).write(out, &written_name("the front"))
        });
        assert_eq!(
            fields.get_joined("cache-status").as_deref(),
            Some(&b"upstream; hit, \"the front\"; hit; ttl=1"[..])
        );
    }
}

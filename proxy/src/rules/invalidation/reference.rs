//! Resolution of a URI reference against a request's target (RFC 3986 §5.2).

use std::borrow::Cow;

use super::InvalidatedUri;
use crate::http::Scheme;
use crate::rules::key::canonical_authority;

/// The http or https URI that a reference names; `None` when it is malformed or names something else.
/// The fragment is dropped; percent-encoding stays as written.
pub(super) fn resolve(
    scheme: Scheme,
    authority: &str,
    base_target: &str,
    reference: &[u8],
) -> Option<InvalidatedUri<'static>> {
    let reference = std::str::from_utf8(reference).ok()?;
    // Bytes that no URI holds, and the backslash that some readers take for a slash.
    if !reference
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
    {
        return None;
    }
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, reference) = match split_scheme(reference) {
        Some((name, rest)) => (http_scheme(name)?, rest.starts_with("//").then_some(rest)?),
        None => (scheme, reference),
    };
    let uri = |authority: &str, target: String| InvalidatedUri {
        scheme,
        authority: Cow::Owned(canonical_authority(scheme, authority).into_owned()),
        target: Cow::Owned(target),
    };
    if let Some(rest) = reference.strip_prefix("//") {
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(path_at);
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        return Some(uri(authority, without_dot_segments(target)));
    }
    if reference.starts_with('/') {
        return Some(uri(authority, without_dot_segments(reference)));
    }
    // What is relative needs a path to be relative to: not `*`.
    let base_path = base_target.split('?').next().unwrap_or_default();
    let (directory, _) = base_path.rsplit_once('/')?;
    Some(uri(
        authority,
        if reference.is_empty() {
            base_target.to_owned()
        } else if reference.starts_with('?') {
            format!("{base_path}{reference}")
        } else {
            without_dot_segments(&format!("{directory}/{reference}"))
        },
    ))
}

/// The name before a colon, where that is a scheme and no part of a path (RFC 3986 §3.1, §4.2).
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (name, rest) = reference.split_once(':')?;
    let sound = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    sound.then_some((name, rest))
}

fn http_scheme(name: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))
}

/// RFC 3986 §5.2.4 for the path of a target; the query stays. The result begins with a slash.
fn without_dot_segments(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(mark) => target.split_at(mark),
        None => (target, ""),
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut resolved = String::with_capacity(target.len() + 1);
    for segment in &segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if ends_in_directory || segments.is_empty() {
        resolved.push('/');
    }
    resolved.push_str(query);
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reference: &str, expected: Option<&str>) {
        let resolved = resolve(Scheme::Http, "a", "/b/c/d;p?q", reference.as_bytes())
            .map(|uri| format!("{}://{}{}", uri.scheme.as_str(), uri.authority, uri.target));
        assert_eq!(resolved.as_deref(), expected, "{reference}");
    }

    /// The examples of RFC 3986 §5.4 that concern http, without their fragments.
    #[test]
    fn references_resolve_as_the_rfc_shows() {
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g//h", "http://a/b/c/g//h"),
            ("/g:h", "http://a/g:h"),
            ("?y:z", "http://a/b/c/d;p?y:z"),
            ("https://G:443/x?y", "https://g/x?y"),
            ("HTTP://g?y", "http://g/?y"),
            ("/%2e%2E/g", "http://a/%2e%2E/g"),
        ] {
            check(reference, Some(expected));
        }
    }

    #[test]
    fn what_is_no_http_uri_is_refused() {
        for reference in [
            "g:h",
            "http:g",
            "http:/g",
            "http://",
            "http:///g",
            "http://u@g/",
            "//u:p@g/",
            "ftp://g/",
            "/a b",
            "/\\g",
            "\\\\g",
            "/\u{e9}",
            "/<g>",
            "/\"",
            "javascript:1",
        ] {
            check(reference, None);
        }
    }

    #[test]
    fn nothing_is_relative_to_an_asterisk() {
        let resolved =
            |text: &str| resolve(Scheme::Http, "a", "*", text.as_bytes()).map(|uri| uri.target);
        assert_eq!(resolved("g"), None);
        assert_eq!(resolved("/g").as_deref(), Some("/g"));
    }
}

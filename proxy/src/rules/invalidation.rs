//! Which stored answers a write makes invalid (RFC 9111 §4.4).

mod reference;

use std::borrow::Cow;

use smallvec::SmallVec;

use super::key::{PrimaryKey, canonical_authority, primary_key};
use super::status::is_non_error;
use super::syntax::only;
use crate::http::{RequestHead, ResponseHead, Scheme};

use reference::resolve;

/// A URI whose stored answers, every variant of them, are not to be reused: the parts of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidatedUri<'a> {
    pub scheme: Scheme,
    pub authority: Cow<'a, str>,
    pub target: Cow<'a, str>,
}

impl InvalidatedUri<'_> {
    pub fn key(&self) -> PrimaryKey {
        primary_key(self.scheme, &self.authority, &self.target)
    }
}

/// RFC 9111 §4.4: the target of an unsafe request that was answered without an error, and what Location and
/// Content-Location of that answer name on the same origin. At most three, each once; none for safe
/// methods and error answers.
///
/// Another origin's URI is left out, so that no one can empty another's cache.
pub fn invalidated<'a>(
    request: &'a RequestHead,
    response: &ResponseHead,
) -> SmallVec<[InvalidatedUri<'a>; 3]> {
    let mut uris = SmallVec::new();
    if request.method.is_safe() || !is_non_error(response.status) {
        return uris;
    }
    let scheme = request.scheme;
    let authority = canonical_authority(scheme, &request.authority);
    uris.push(InvalidatedUri {
        scheme,
        authority: authority.clone(),
        target: Cow::Borrowed(&request.target),
    });
    for name in ["location", "content-location"] {
        let reference = only(&response.fields, name);
        let Some(uri) =
            reference.and_then(|text| resolve(scheme, &authority, &request.target, text))
        else {
            continue;
        };
        if uri.scheme == scheme && uri.authority == authority && !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

/// Whether Content-Location of an answer names the very target of its request.
pub fn is_located_at_target(request: &RequestHead, response: &ResponseHead) -> bool {
    let scheme = request.scheme;
    let authority = canonical_authority(scheme, &request.authority);
    only(&response.fields, "content-location")
        .and_then(|text| resolve(scheme, &authority, &request.target, text))
        .is_some_and(|uri| {
            uri.scheme == scheme && uri.authority == authority && uri.target == request.target
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Version};

    fn request(method: Method) -> RequestHead {
        RequestHead {
            method,
            target: "/a/b?c".to_owned(),
            authority: "Example.org:80".to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields: Default::default(),
        }
    }

    fn check(method: Method, status: u16, lines: &[(&str, &str)], expected: &[&str]) {
        let request = request(method.clone());
        let mut response = ResponseHead::new(status);
        response.fields = lines.iter().copied().collect();
        let expected: SmallVec<[InvalidatedUri<'_>; 3]> = expected
            .iter()
            .map(|target| InvalidatedUri {
                scheme: Scheme::Http,
                authority: "example.org".into(),
                target: (*target).into(),
            })
            .collect();
        let found = invalidated(&request, &response);
        assert_eq!(found, expected, "{method} {status} {lines:?}");
    }

    #[test]
    fn unsafe_and_unknown_methods_invalidate_their_target() {
        let unknown = Method::Other("FOO".into());
        for method in [
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Patch,
            unknown,
        ] {
            for status in [200, 201, 204, 299, 302, 303, 399] {
                check(method.clone(), status, &[], &["/a/b?c"]);
            }
            for status in [100, 400, 404, 412, 500, 599] {
                check(method.clone(), status, &[("location", "/x")], &[]);
            }
        }
        for method in [Method::Get, Method::Head, Method::Options, Method::Trace] {
            check(method, 200, &[("location", "/x")], &[]);
        }
    }

    #[test]
    fn locations_of_the_same_origin_are_invalidated_too() {
        let with =
            |lines: &[(&str, &str)], expected: &[&str]| check(Method::Post, 201, lines, expected);
        with(
            &[("location", "/x"), ("content-location", "y?z#f")],
            &["/a/b?c", "/x", "/a/y?z"],
        );
        with(&[("location", "http://EXAMPLE.org/x")], &["/a/b?c", "/x"]);
        with(&[("location", "//example.org:80/x")], &["/a/b?c", "/x"]);
        with(
            &[("location", "/a/b?c"), ("content-location", "#f")],
            &["/a/b?c"],
        );
        with(
            &[("location", "/x"), ("content-location", "/x")],
            &["/a/b?c", "/x"],
        );
        for other in [
            "https://example.org/x",
            "http://example.org:81/x",
            "http://example.com/x",
            "//example.com/x",
            "http://example.org@example.com/x",
            "mailto:a@example.org",
        ] {
            with(
                &[("location", other), ("content-location", other)],
                &["/a/b?c"],
            );
        }
        with(&[("location", "/x"), ("location", "/y")], &["/a/b?c"]);
    }
}

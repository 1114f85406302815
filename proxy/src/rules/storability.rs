//! Whether an answer may be kept (RFC 9111 §3), and which of its fields.

use std::fmt;

use super::cache_control::{RequestDirectives, ResponseDirectives};
use super::conditional;
use super::date::format_http_date;
use super::freshness::is_explicit;
use super::hop_by_hop;
use super::invalidation::is_located_at_target;
use super::part::Part;
use super::request_fault;
use super::status;
use super::vary::Vary;
use crate::http::{Fields, Method, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// Fields without which what is stored would be misread or given to the wrong request. An answer that
/// withholds one of them is withheld whole.
const NEEDED_TO_REUSE: [&str; 3] = ["content-encoding", "content-range", "vary"];

/// What an operator decides about storing; the rest is the RFC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRules {
    pub set_cookie: SetCookieRule,
    pub client_directives: ClientDirectives,
}

impl Default for StoreRules {
    fn default() -> StoreRules {
        StoreRules {
            set_cookie: SetCookieRule::StoreWhenShared,
            client_directives: ClientDirectives::Honour,
        }
    }
}

/// Whether an answer with Set-Cookie is stored. RFC 9111 §7.3 leaves it to the origin to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCookieRule {
    /// As any other answer.
    Store,
    /// Only with `public` or s-maxage: an origin that names shared caches means its cookie for all.
    StoreWhenShared,
}

/// Whether the Cache-Control of a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDirectives {
    Honour,
    Ignore,
}

/// Why an answer is not stored. Displayed as the word that Cache-Status carries as detail (RFC 9211 §2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Only answers to GET are stored, and those to POST that are a GET's as well (RFC 9110 §9.3.3); HEAD has no
    /// content to store (§9.3.2).
    Method,
    /// The request had content, which is no part of the key (RFC 9110 §9.3.1).
    RequestContent,
    /// An interim status, a 304 that found nothing to renew, or one that is never stored (RFC 6585).
    Status,
    /// 206 that nobody asked for, with several parts, or whose place in the whole is not told (RFC 9111 §3.3).
    Partial,
    /// An answer to the request's condition or range and not to its target: 412, 416, and errors that may be.
    Condition,
    /// The request's no-store (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// The response's no-store (RFC 9111 §5.2.2.5).
    NoStore,
    /// must-understand with a status that is not understood (RFC 9111 §5.2.2.3).
    NotUnderstood,
    /// `private` (RFC 9111 §5.2.2.7), or no-cache, of the answer or of a field that its reuse needs.
    Private,
    /// The request had Authorization, and the response does not permit sharing (RFC 9111 §3.5).
    Authorization,
    /// `Vary: *`: no later request matches (RFC 9111 §4.1).
    VaryStar,
    /// [`SetCookieRule::StoreWhenShared`].
    SetCookie,
    /// Neither freshness nor a status that may be cached without (RFC 9111 §3).
    NoFreshness,
    /// Larger than the largest object that the cache keeps.
    TooLarge,
    /// Neither freshness nor a validator: it could never be used again.
    NoValidator,
    /// An error to a request whose head may have caused it ([`super::request_fault`]).
    RequestFault,
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotStored::Method => "method",
            NotStored::RequestContent => "request-content",
            NotStored::Status => "status",
            NotStored::Partial => "partial",
            NotStored::Condition => "condition",
            NotStored::RequestNoStore => "request-no-store",
            NotStored::NoStore => "no-store",
            NotStored::NotUnderstood => "not-understood",
            NotStored::Private => "private",
            NotStored::Authorization => "authorization",
            NotStored::VaryStar => "vary-star",
            NotStored::SetCookie => "set-cookie",
            NotStored::NoFreshness => "no-freshness",
            NotStored::TooLarge => "too-large",
            NotStored::NoValidator => "no-validator",
            NotStored::RequestFault => "request-fault",
        })
    }
}

impl std::error::Error for NotStored {}

/// RFC 9111 §3: whether this cache, which is shared, may keep the answer for later requests. A 206 is kept as
/// the part that it is.
///
/// `request` is the one that the origin answered, so its conditions and its Authorization are those
/// that the origin saw.
///
/// # Errors
/// The first rule that forbids it.
pub fn may_store(
    request: &RequestHead,
    response: &ResponseHead,
    directives: &ResponseDirectives,
    rules: &StoreRules,
) -> Result<(), NotStored> {
    let refuse_when = |refused: bool, reason: NotStored| match refused {
        true => Err(reason),
        false => Ok(()),
    };
    match request.method {
        Method::Get => refuse_when(has_content(&request.fields), NotStored::RequestContent)?,
        Method::Post if answers_get(request, response, directives) => {}
        _ => return Err(NotStored::Method),
    }
    refuse_when(response.status < 200, NotStored::Status)?;
    refuse_when(response.status == 304, NotStored::Status)?;
    let is_part = request.fields.contains("range") && Part::of(response).is_some();
    refuse_when(response.status == 206 && !is_part, NotStored::Partial)?;
    refuse_when(answers_a_condition(request, response), NotStored::Condition)?;
    refuse_when(
        response.status >= 400 && request_fault::is_likely(request),
        NotStored::RequestFault,
    )?;
    refuse_when(status::is_never_stored(response.status), NotStored::Status)?;
    refuse_when(
        rules.client_directives == ClientDirectives::Honour
            && RequestDirectives::of(&request.fields).no_store,
        NotStored::RequestNoStore,
    )?;
    if directives.must_understand() {
        // Understood, it overrides no-store.
        refuse_when(
            !status::is_understood(response.status),
            NotStored::NotUnderstood,
        )?;
    } else {
        refuse_when(directives.no_store(), NotStored::NoStore)?;
    }
    refuse_when(directives.private().is_all(), NotStored::Private)?;
    refuse_when(
        NEEDED_TO_REUSE
            .iter()
            .any(|name| is_withheld(directives, name)),
        NotStored::Private,
    )?;
    let shared = directives.public() || directives.s_maxage().is_some();
    refuse_when(
        request.fields.contains("authorization") && !directives.permits_sharing(),
        NotStored::Authorization,
    )?;
    refuse_when(
        Vary::of(&response.fields) == Vary::Star,
        NotStored::VaryStar,
    )?;
    refuse_when(
        rules.set_cookie == SetCookieRule::StoreWhenShared
            && response.fields.contains("set-cookie")
            && !is_withheld(directives, "set-cookie")
            && !shared,
        NotStored::SetCookie,
    )?;
    if is_explicit(response, directives) {
        return Ok(());
    }
    refuse_when(
        status::is_about_the_message(response.status)
            || !directives.public() && !status::is_heuristically_cacheable(response.status),
        NotStored::NoFreshness,
    )?;
    refuse_when(
        conditional::validators(response).is_empty(),
        NotStored::NoValidator,
    )
}

/// RFC 9111 §3.1: the fields of an answer that are kept. Left out are hop-by-hop fields, and those that
/// `private="…"` or `no-cache="…"` name: the former belong to one user, the latter may not be sent again
/// before the origin has been asked. Date is added where the origin sent none (RFC 9110 §6.6.1).
pub fn stored_fields(
    response: &ResponseHead,
    directives: &ResponseDirectives,
    response_time: Timestamp,
) -> Fields {
    // What was removed before is left out, and there is no spare capacity: nor is there in a copy of lines.
    let mut fields = match response.fields.lines() {
        Some(_) => response.fields.clone(),
        None => response.fields.compact(),
    };
    hop_by_hop::strip(&mut fields);
    if directives.private().names_any() || directives.no_cache().names_any() {
        fields.retain(|field| !is_withheld(directives, field.name));
    }
    if !fields.contains("date") {
        fields.append("Date", format_http_date(response_time));
        return fields.compact();
    }
    match fields.lines() {
        Some(_) => fields,
        None => fields.compact(),
    }
}

/// Whether the head says that content follows. A request without Content-Length on HTTP/2 may have
/// content all the same: who sees its stream has to know.
pub fn has_content(request: &Fields) -> bool {
    request.contains("transfer-encoding")
        || request
            .get_all("content-length")
            .any(|length| length.iter().any(|digit| *digit != b'0'))
}

/// Whether no-cache or private withholds one field from those who come later (RFC 9111 §5.2.2.4, §5.2.2.7).
fn is_withheld(directives: &ResponseDirectives, field: &str) -> bool {
    directives.private().names(field) || directives.no_cache().names(field)
}

/// RFC 9110 §9.3.3: whether an answer to POST is what a GET would get now: it says how long it is fresh, and
/// that it is the content of its own target.
fn answers_get(
    request: &RequestHead,
    response: &ResponseHead,
    directives: &ResponseDirectives,
) -> bool {
    response.status == 200
        && is_explicit(response, directives)
        && is_located_at_target(request, response)
}

/// 412 and 416, and other errors to a request that reaches the origin with a range or a condition: origins refuse
/// strange values of these by 400, 403 or 500 as well, and neither is in the key. Those that RFC 9110 defines by the
/// target alone are kept.
fn answers_a_condition(request: &RequestHead, response: &ResponseHead) -> bool {
    let has_any = |names: &[&str]| names.iter().any(|name| request.fields.contains(name));
    match response.status {
        404 | 410 | 414 => false,
        412 if has_any(&conditional::CONDITIONS) => true,
        400.. => has_any(&["range", "if-match", "if-unmodified-since"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Scheme, Version};

    const STRICT: StoreRules = StoreRules {
        set_cookie: SetCookieRule::StoreWhenShared,
        client_directives: ClientDirectives::Honour,
    };
    const LAX: StoreRules = StoreRules {
        set_cookie: SetCookieRule::Store,
        client_directives: ClientDirectives::Ignore,
    };

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn head(status: u16, lines: Lines<'_>) -> ResponseHead {
        let mut head = ResponseHead::new(status);
        head.fields = lines.iter().copied().collect();
        head
    }

    fn request(method: Method, lines: Lines<'_>) -> RequestHead {
        RequestHead {
            method,
            target: "/".to_owned(),
            authority: "example.org".to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields: lines.iter().copied().collect(),
        }
    }

    fn check(
        request: &RequestHead,
        status: u16,
        lines: Lines<'_>,
        rules: StoreRules,
        expected: Result<(), NotStored>,
    ) {
        let response = head(status, lines);
        let directives = ResponseDirectives::of(&response, &["CDN-Cache-Control".to_owned()]);
        let found = may_store(request, &response, &directives, &rules);
        assert_eq!(found, expected, "{request:?} {response:?}");
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");

    #[test]
    fn any_final_status_is_stored_when_fresh_by_its_own_word() {
        let get = request(Method::Get, &[]);
        for status in [
            200, 201, 204, 299, 302, 307, 399, 400, 404, 412, 416, 418, 499, 500, 503, 599, 999,
        ] {
            check(&get, status, &[FRESH], STRICT, Ok(()));
            let expires = ("expires", "Sun, 06 Nov 1994 08:49:37 GMT");
            check(&get, status, &[expires], STRICT, Ok(()));
            check(
                &get,
                status,
                &[("cdn-cache-control", "max-age=1")],
                STRICT,
                Ok(()),
            );
        }
        for status in [100, 103, 199, 304, 428, 429, 431, 511] {
            check(&get, status, &[FRESH], STRICT, Err(NotStored::Status));
        }
        check(&get, 206, &[FRESH], STRICT, Err(NotStored::Partial));
    }

    #[test]
    fn without_freshness_status_and_validator_decide() {
        let get = request(Method::Get, &[]);
        let etag = ("etag", "\"a\"");
        let last_modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let public = ("cache-control", "public");
        check(&get, 200, &[], STRICT, Err(NotStored::NoValidator));
        check(&get, 200, &[etag], STRICT, Ok(()));
        check(
            &get,
            200,
            &[("etag", "a")],
            STRICT,
            Err(NotStored::NoValidator),
        );
        check(&get, 404, &[last_modified], STRICT, Ok(()));
        check(
            &get,
            302,
            &[etag, last_modified],
            STRICT,
            Err(NotStored::NoFreshness),
        );
        check(&get, 302, &[etag, public], STRICT, Ok(()));
        check(&get, 302, &[public], STRICT, Err(NotStored::NoValidator));
        for status in [400, 413] {
            let lines = [etag, last_modified, public];
            check(&get, status, &lines, STRICT, Err(NotStored::NoFreshness));
        }
        let expires = ("expires", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cdn = ("cdn-cache-control", "no-cache");
        check(
            &get,
            302,
            &[etag, expires, cdn],
            STRICT,
            Err(NotStored::NoFreshness),
        );
    }

    #[test]
    fn only_get_without_content_is_stored() {
        for method in [
            Method::Head,
            Method::Post,
            Method::Options,
            Method::Other("get".into()),
        ] {
            check(
                &request(method, &[]),
                200,
                &[FRESH],
                STRICT,
                Err(NotStored::Method),
            );
        }
        for content in [
            ("content-length", "1"),
            ("content-length", "x"),
            ("transfer-encoding", "chunked"),
        ] {
            let fat = request(Method::Get, &[content]);
            check(&fat, 200, &[FRESH], LAX, Err(NotStored::RequestContent));
        }
        let lean = request(Method::Get, &[("content-length", "0")]);
        check(&lean, 200, &[FRESH], STRICT, Ok(()));
    }

    #[test]
    fn errors_that_a_head_may_have_caused_are_not_stored() {
        let long = "x".repeat(4096);
        let get = request(Method::Get, &[("x", &long)]);
        for status in [400, 404, 413, 500, 503, 999] {
            check(&get, status, &[FRESH], LAX, Err(NotStored::RequestFault));
        }
        check(&get, 200, &[FRESH], STRICT, Ok(()));
        check(&get, 302, &[FRESH], STRICT, Ok(()));
    }

    #[test]
    fn answers_to_a_condition_are_not_stored_for_the_target() {
        let conditional = request(Method::Get, &[("if-match", "\"a\"")]);
        check(&conditional, 412, &[FRESH], LAX, Err(NotStored::Condition));
        let ranged = request(Method::Get, &[("range", "bytes=9-")]);
        for status in [400, 403, 412, 416, 500, 599] {
            check(&ranged, status, &[FRESH], LAX, Err(NotStored::Condition));
            let found = Err(NotStored::Condition);
            check(&conditional, status, &[FRESH], LAX, found);
        }
        for status in [200, 302, 404, 410, 414] {
            check(&ranged, status, &[FRESH], LAX, Ok(()));
            check(&conditional, status, &[FRESH], LAX, Ok(()));
        }
        // This one does not reach the origin.
        let revalidating = request(Method::Get, &[("if-none-match", "\"a\"")]);
        check(&revalidating, 500, &[FRESH], LAX, Ok(()));
        check(&revalidating, 412, &[FRESH], LAX, Err(NotStored::Condition));
    }

    #[test]
    fn no_store_and_private_are_obeyed() {
        let get = request(Method::Get, &[]);
        let refused = |value: &str, status: u16, reason: NotStored| {
            check(&get, status, &[("cache-control", value)], LAX, Err(reason));
        };
        refused("max-age=60, no-store", 200, NotStored::NoStore);
        refused("max-age=60, no-store, public", 200, NotStored::NoStore);
        refused(
            "max-age=60, no-store, must-understand",
            299,
            NotStored::NotUnderstood,
        );
        refused("max-age=60, must-understand", 599, NotStored::NotUnderstood);
        refused("max-age=60, private", 200, NotStored::Private);
        refused("s-maxage=60, public, private", 200, NotStored::Private);
        refused("private=\"", 200, NotStored::Private);
        refused("max-age=60, private=\"x, Vary\"", 200, NotStored::Private);
        refused(
            "max-age=60, no-cache=content-encoding",
            200,
            NotStored::Private,
        );
        refused("max-age=60, private=Content-Range", 200, NotStored::Private);
        for value in [
            "max-age=60, no-store, must-understand",
            "max-age=60, private=x",
            "max-age=60, no-cache",
            "max-age=60, x=\"no-store\"",
        ] {
            check(&get, 200, &[("cache-control", value)], STRICT, Ok(()));
        }
        let cdn = [
            ("cache-control", "no-store, private"),
            ("cdn-cache-control", "max-age=1"),
        ];
        check(&get, 200, &cdn, STRICT, Ok(()));
        let cdn = [FRESH, ("cdn-cache-control", "max-age=1, no-store")];
        check(&get, 200, &cdn, STRICT, Err(NotStored::NoStore));
    }

    #[test]
    fn clients_no_store_counts_unless_a_setting_ignores_it() {
        let get = request(Method::Get, &[("cache-control", "no-store")]);
        check(&get, 200, &[FRESH], STRICT, Err(NotStored::RequestNoStore));
        check(&get, 200, &[FRESH], LAX, Ok(()));
    }

    #[test]
    fn answers_to_authorized_requests_are_stored_only_when_meant_for_all() {
        let get = request(Method::Get, &[("authorization", "Basic YTpi")]);
        check(&get, 200, &[FRESH], LAX, Err(NotStored::Authorization));
        for value in [
            "proxy-revalidate, max-age=60",
            "public=\", max-age=60",
            "no-cache, max-age=1",
            "s-maxage= 60",
            "s-maxage",
            "max-age=60, must-revalidate=",
            "max-age=60, x=\"y, must-revalidate",
        ] {
            check(
                &get,
                200,
                &[("cache-control", value)],
                LAX,
                Err(NotStored::Authorization),
            );
        }
        for value in [
            "public, max-age=60",
            "must-revalidate, max-age=60",
            "s-maxage=60",
        ] {
            check(&get, 200, &[("cache-control", value)], LAX, Ok(()));
        }
    }

    #[test]
    fn set_cookie_needs_an_origin_that_names_shared_caches() {
        let get = request(Method::Get, &[]);
        let cookie = ("set-cookie", "a=b");
        check(
            &get,
            200,
            &[FRESH, cookie],
            STRICT,
            Err(NotStored::SetCookie),
        );
        check(&get, 200, &[FRESH, cookie], LAX, Ok(()));
        for value in [
            "max-age=1, public",
            "s-maxage=1",
            "max-age=1, private=set-cookie",
            "max-age=1, no-cache=Set-Cookie",
        ] {
            check(
                &get,
                200,
                &[("cache-control", value), cookie],
                STRICT,
                Ok(()),
            );
        }
    }

    #[test]
    fn vary_star_is_not_stored() {
        let get = request(Method::Get, &[]);
        check(
            &get,
            200,
            &[FRESH, ("vary", "a"), ("vary", "b, *")],
            LAX,
            Err(NotStored::VaryStar),
        );
        check(&get, 200, &[FRESH, ("vary", "a")], LAX, Ok(()));
    }

    #[test]
    fn fields_of_one_hop_and_of_one_user_are_not_kept() {
        let response = head(
            200,
            &[
                (
                    "Cache-Control",
                    "private=\"X-User\", no-cache=\"set-cookie\", max-age=1",
                ),
                ("Set-Cookie", "a=b"),
                ("x-user", "ada"),
                ("Connection", "x-hop"),
                ("X-Hop", "1"),
                ("Content-Type", "text/plain"),
            ],
        );
        let directives = ResponseDirectives::of(&response, &[]);
        let fields = stored_fields(&response, &directives, Timestamp::EPOCH);
        let expected: Fields = [
            (
                "Cache-Control",
                "private=\"X-User\", no-cache=\"set-cookie\", max-age=1",
            ),
            ("Content-Type", "text/plain"),
            ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ]
        .into_iter()
        .collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_date_of_the_origin_is_left_alone() {
        let response = head(200, &[("date", "some day")]);
        let fields = stored_fields(&response, &ResponseDirectives::default(), Timestamp::EPOCH);
        assert_eq!(fields, response.fields);
    }
}

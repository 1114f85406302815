//! The rules together, on random messages: what the RFC forbids outright never happens, and no bytes make
//! a rule panic.

use std::time::Duration;

use rand::prelude::*;

use super::cache_control::{RequestDirectives, ResponseDirectives};
use super::freshness::{Heuristics, Reuse, StoredTimes, may_serve_on_error, reuse};
use super::storability::{ClientDirectives, SetCookieRule, StoreRules, may_store, stored_fields};
use super::vary::Vary;
use super::{conditional, date, entity_tag, hop_by_hop, invalidation, range, revalidation};
use crate::http::{Fields, Method, RequestHead, ResponseHead, Scheme, Version};
use crate::time::Timestamp;

const RULES: StoreRules = StoreRules {
    set_cookie: SetCookieRule::Store,
    client_directives: ClientDirectives::Honour,
};
const HEURISTICS: Heuristics = Heuristics {
    fraction: 0.1,
    max: Duration::from_secs(86_400),
};

fn get(fields: Fields) -> RequestHead {
    RequestHead {
        method: Method::Get,
        target: "/a?b".to_owned(),
        authority: "example.org".to_owned(),
        scheme: Scheme::Http,
        version: Version::Http11,
        fields,
    }
}

/// One of `values`, or nothing.
fn maybe<'a>(random: &mut StdRng, values: &[&'a str]) -> Option<&'a str> {
    random
        .random_bool(0.3)
        .then(|| *values.choose(random).expect("the tables are not empty"))
}

#[test]
fn what_the_rfc_forbids_never_happens() {
    let mut random = StdRng::seed_from_u64(9111);
    let mut stored = 0;
    let mut fresh = 0;
    for _ in 0..50_000 {
        let no_store = maybe(&mut random, &["no-store", "No-Store"]);
        let private = maybe(&mut random, &["private", "PRIVATE", "private=\"\""]);
        let no_cache = maybe(&mut random, &["no-cache", "no-cache=\"a b\""]);
        let revalidate = maybe(&mut random, &["must-revalidate", "proxy-revalidate"]);
        let swr = maybe(
            &mut random,
            &["stale-while-revalidate=9", "stale-while-revalidate=x"],
        );
        let public = maybe(&mut random, &["public"]);
        let lifetime = random
            .random_bool(0.7)
            .then(|| random.random_range(0..200_u64));
        let shared_lifetime = random
            .random_bool(0.2)
            .then(|| random.random_range(0..200_u64));
        let mut directives: Vec<String> = [no_store, private, no_cache, revalidate, swr, public]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect();
        directives.extend(lifetime.map(|seconds| format!("max-age={seconds}")));
        directives.extend(shared_lifetime.map(|seconds| format!("s-maxage={seconds}")));
        directives.shuffle(&mut random);

        let mut response =
            ResponseHead::new(*[200, 302, 404, 503].choose(&mut random).expect("four"));
        // On one line or on several, which must not matter.
        if random.random() {
            response
                .fields
                .append("Cache-Control", directives.join(", "));
        } else {
            for directive in &directives {
                response.fields.append("Cache-Control", directive);
            }
        }
        let age = random.random_range(0..100_u64);
        response.fields.append("Age", age.to_string());
        let star = maybe(&mut random, &["*", "a, *"]);
        if let Some(star) = star {
            response.fields.append("Vary", star);
        }
        let mut request_fields = Fields::new();
        let authorized = random.random_bool(0.3);
        if authorized {
            request_fields.append("Authorization", "Basic YTpi");
        }
        let request = get(request_fields);

        let found = ResponseDirectives::of(&response, &[]);
        if may_store(&request, &response, &found, &RULES).is_ok() {
            stored += 1;
            assert!(
                no_store.is_none() && private.is_none() && star.is_none(),
                "{response:?}"
            );
            assert!(
                !authorized
                    || public.is_some()
                    || revalidate == Some("must-revalidate")
                    || shared_lifetime.is_some(),
                "{response:?}"
            );
            // No validators here, so only an explicit lifetime makes an answer worth keeping.
            assert!(
                lifetime.is_some() || shared_lifetime.is_some(),
                "{response:?}"
            );
        }

        let received = Timestamp::from_secs(1_000_000_000);
        let elapsed = random.random_range(0..200_u64);
        let now = received + Duration::from_secs(elapsed);
        let times = StoredTimes::of(&response, &found, received, received, &HEURISTICS);
        let left = shared_lifetime.or(lifetime).unwrap_or(0) as i64 - (age + elapsed) as i64;
        let asked = RequestDirectives::default();
        let grace = Duration::from_secs(3);
        match reuse(&times, &found, Some(&asked), now, grace) {
            Reuse::Fresh => {
                fresh += 1;
                assert!(left > 0 && no_cache.is_none(), "{left} {response:?}");
            }
            Reuse::StaleWhileRevalidate => {
                let window = match swr {
                    Some("stale-while-revalidate=9") => 9,
                    Some(_) => 0,
                    None => 3,
                };
                assert!(left <= 0 && -left < window, "{left} {response:?}");
                assert!(revalidate.is_none() && shared_lifetime.is_none() && no_cache.is_none());
            }
            Reuse::StaleByRequest => panic!("no one asked for stale answers: {response:?}"),
            Reuse::MustRevalidate(_) => assert!(left <= 0 || no_cache.is_some(), "{response:?}"),
        }
        if may_serve_on_error(&times, &found, Some(&asked), now, grace) {
            assert!(no_cache.is_none(), "{response:?}");
            assert!(left > 0 || (revalidate.is_none() && shared_lifetime.is_none() && -left < 3));
        }
    }
    assert!(stored > 1_000 && fresh > 1_000, "{stored} {fresh}");
}

#[test]
fn no_bytes_make_a_rule_panic() {
    const NAMES: [&str; 24] = [
        "Accept",
        "Age",
        "Authorization",
        "Cache-Control",
        "CDN-Cache-Control",
        "Connection",
        "Content-Length",
        "Content-Location",
        "Cookie",
        "Date",
        "ETag",
        "Expires",
        "Foo",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Last-Modified",
        "Location",
        "Pragma",
        "Range",
        "Set-Cookie",
        "Vary",
    ];
    const PIECES: [&[u8]; 40] = [
        b"max-age=",
        b"s-maxage=",
        b"no-cache",
        b"private=",
        b"99999999999999999999",
        b"2147483648",
        b"0",
        b"1",
        b"-",
        b"=",
        b",",
        b";",
        b"\"",
        b"\\",
        b" ",
        b"\t",
        b"*",
        b"W/",
        b"\"a\"",
        b"bytes=",
        b"0-0",
        b"-5",
        b"a",
        b"foo",
        b"?1",
        b"(",
        b")",
        b":",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, ",
        b"Nov",
        b"GMT",
        b"/",
        b"..",
        b"//",
        b"http://example.org",
        b"#",
        b"?",
        b"\xff",
        b"q=0.5",
    ];
    let targeted = ["CDN-Cache-Control".to_owned()];
    let mut random = StdRng::seed_from_u64(9110);
    let mut fields = || -> Fields {
        (0..random.random_range(0..8))
            .map(|_| {
                let name = NAMES.choose(&mut random).expect("the table is not empty");
                let value: Vec<u8> = (0..random.random_range(0..8))
                    .flat_map(|_| *PIECES.choose(&mut random).expect("the table is not empty"))
                    .copied()
                    .collect();
                (*name, value.trim_ascii().to_vec())
            })
            .collect()
    };
    for round in 0..30_000_u64 {
        let mut request = get(fields());
        let mut response = ResponseHead::new(if round % 3 == 0 { 304 } else { 200 });
        response.fields = fields();
        let mut stored = ResponseHead::new(200);
        stored.fields = fields();
        let now = Timestamp::from_secs(round * 100_000);
        let directives = ResponseDirectives::of(&response, &targeted);
        let asked = RequestDirectives::of(&request.fields);
        let times = StoredTimes::of(&response, &directives, now, now, &HEURISTICS);
        let _ = reuse(&times, &directives, Some(&asked), now, Duration::ZERO);
        let _ = may_store(&request, &response, &directives, &RULES);
        let kept = stored_fields(&response, &directives, now);
        assert!(!kept.contains("connection"));
        assert!(kept.contains("date"));
        if let Vary::Fields(spec) = Vary::of(&response.fields) {
            assert_eq!(
                spec.key_of(&request.fields),
                spec.key_of(&request.fields.compact())
            );
        }
        let _ = conditional::evaluate(&request, &stored);
        let _ = range::requested_range(&request, &stored, Some(round), 8);
        let _ = revalidation::selects(&stored, &response);
        let renewed = revalidation::freshen(&stored, &response);
        assert_eq!(
            renewed.fields.get("content-length"),
            stored.fields.get("content-length")
        );
        let _ = revalidation::head_effect(&stored, &response);
        hop_by_hop::strip_trailers(&mut response.fields.clone());
        request.method = Method::Post;
        assert!(invalidation::invalidated(&request, &response).len() <= 3);
        for field in stored.fields.iter() {
            let _ = date::parse_http_date(field.value);
            let _ = entity_tag::entity_tags(field.value).count();
        }
        revalidation::add_validators(&mut request.fields, &stored);
        assert!(!request.fields.contains("if-match") && !request.fields.contains("range"));
    }
}

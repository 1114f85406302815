//! What of a message goes on to the next hop.

use crate::support::{Backend, Door, Seen, answer};
use crate::{FRESH, Lines};

/// What the backend sees of a request's fields: `None` where the field does not arrive.
fn check(seen: &Seen, name: &str, expected: Option<&str>) {
    assert_eq!(seen.field(name).as_deref(), expected, "{name}");
}

#[tokio::test]
async fn fields_of_one_hop_stay_behind() {
    let response = [
        FRESH,
        ("Connection", "X-Hop"),
        ("X-Hop", "response"),
        ("Keep-Alive", "timeout=30"),
        ("Proxy-Authenticate", "Basic"),
        ("X-End", "response"),
    ];
    let backend = Backend::always(answer(200, &response, "body")).await;
    let door = Door::start(&backend).await;
    let request = [
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "request"),
        ("Keep-Alive", "timeout=30"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic YTpi"),
        ("Proxy", "http://evil.example"),
        ("X-End", "request"),
    ];
    for method in ["GET", "OPTIONS"] {
        let reply = door.request(method, "/", &request).await;
        let seen = backend.last();
        assert_eq!(seen.method, method);
        for name in [
            "Connection",
            "X-Hop",
            "Keep-Alive",
            "TE",
            "Proxy-Authorization",
            "Proxy",
        ] {
            check(&seen, name, None);
        }
        check(&seen, "X-End", Some("request"));
        for name in ["X-Hop", "Keep-Alive", "Proxy-Authenticate"] {
            assert_eq!(reply.field(name), "", "{method} {name}");
        }
        assert_eq!(reply.field("X-End"), "response");
    }
    let stored = door.get("/").await;
    assert_eq!(stored.cache(), "HIT");
    assert_eq!(
        (stored.field("X-Hop"), stored.field("X-End")),
        ("".into(), "response".into())
    );
}

#[tokio::test]
async fn shared_fetches_carry_nothing_that_rewrites_the_request() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = Door::start(&backend).await;
    let names = [
        "Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Host",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    let lines: Vec<(&str, &str)> = names.iter().map(|name| (*name, "evil")).collect();
    door.request("GET", "/", &lines).await;
    for name in names {
        check(&backend.last(), name, None);
    }
    // A pass is for nobody else, so it may carry them.
    door.request("OPTIONS", "/", &lines).await;
    for name in names {
        check(&backend.last(), name, Some("evil"));
    }
}

#[tokio::test]
async fn the_backend_learns_for_whom_it_is_asked() {
    let backend = Backend::always(answer(200, &[], "body")).await;
    let door = Door::start(&backend).await;
    let claims = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("Via", "1.0 before"),
    ];
    let reply = door.request("GET", "/", &claims).await;
    let seen = backend.last();
    check(&seen, "X-Forwarded-For", Some("192.0.2.1, 127.0.0.1"));
    check(&seen, "X-Forwarded-Proto", Some("http"));
    check(&seen, "Via", Some("1.0 before, 1.1 lacquer"));
    check(&seen, "Host", Some("example.org"));
    assert_eq!(reply.field("Via"), "1.1 lacquer");
}

#[tokio::test]
async fn answers_say_how_they_came_about() {
    let backend = Backend::always(answer(200, &[FRESH, ("Cache-Status", "inner; hit")], "x")).await;
    let door = Door::start(&backend).await;
    let miss = door.get("/").await;
    assert_eq!(
        miss.field("Cache-Status"),
        "inner; hit, lacquer; fwd=uri-miss; stored"
    );
    assert_eq!(
        (miss.cache(), miss.field("Age")),
        ("MISS".into(), "".into())
    );
    let hit = door.get("/").await;
    let status = hit.field("Cache-Status");
    assert!(
        status.starts_with("inner; hit, lacquer; hit; ttl="),
        "{status}"
    );
    assert_eq!(hit.cache(), "HIT");
    let (own, stored) = (hit.field("X-Varnish"), miss.field("X-Varnish"));
    let words: Vec<&str> = own.split(' ').collect();
    assert_eq!(words.len(), 2, "{own}");
    assert_ne!(words[0], stored);
    let pass = door.request("OPTIONS", "/", &[]).await;
    assert!(pass.field("Cache-Status").contains("lacquer; fwd=method"));
}

#[tokio::test]
async fn answers_say_why_the_store_did_not_do() {
    let backend = Backend::start(|seen| match &*seen.target {
        "/vary" => answer(200, &[FRESH, ("Vary", "X")], "x"),
        "/stale" => answer(200, &[FRESH, ("Age", "100"), ("ETag", "\"a\"")], "x"),
        "/no-cache" => answer(200, &[("Cache-Control", "max-age=60, no-cache")], "x"),
        "/no-store" => answer(200, &[("Cache-Control", "no-store")], "x"),
        _ => answer(200, &[FRESH], "x"),
    })
    .await;
    let door = Door::start(&backend).await;
    let check = async |target: &str, lines: Lines<'_>, reason: &str| {
        let first = door.get(target).await.field("Cache-Status");
        assert!(first.contains("fwd=uri-miss"), "{target}: {first}");
        let status = door.request("GET", target, lines).await;
        let status = status.field("Cache-Status");
        assert!(
            status.contains(&format!("; fwd={reason}")),
            "{target}: {status}"
        );
    };
    check("/vary", &[("X", "1")], "vary-miss").await;
    check("/stale", &[], "stale").await;
    check("/no-cache", &[], "stale").await;
    check("/no-store", &[], "uri-miss").await;
    check("/fresh", &[("Cache-Control", "no-cache")], "request").await;
    check("/pass", &[("Cache-Control", "no-store")], "bypass").await;
}

#[tokio::test]
async fn marks_can_be_off() {
    let backend = Backend::always(answer(200, &[FRESH], "x")).await;
    let door = Door::with(&backend, |config| {
        config.response.via = None;
        config.response.cache_status = None;
        config.response.x_cache = false;
        config.response.x_varnish = false;
    })
    .await;
    for _ in 0..2 {
        let reply = door.get("/").await;
        for name in ["Via", "Cache-Status", "X-Cache", "X-Varnish"] {
            assert_eq!(reply.field(name), "", "{name}");
        }
    }
    check(&backend.last(), "Via", None);
}

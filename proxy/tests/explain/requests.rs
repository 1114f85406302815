//! What requests themselves bring about, and questions that are none.

use crate::support::{Backend, Client, answer};
use crate::{FRESH, Lines, ask, check, door, explain};

/// Explains a request while a fresh answer is stored.
async fn check_fresh(method: &str, lines: Lines<'_>, parts: &[&str]) {
    let backend = Backend::always(answer(200, &[FRESH, ("ETag", "\"1\"")], "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    check(&door, method, lines, parts).await;
}

#[tokio::test]
async fn requests_that_are_passed_say_why() {
    check_fresh(
        "OPTIONS",
        &[],
        &["would be passed to the backend, and its answer not stored, because only GET and HEAD are answered from the cache (RFC 9110 §9.2.3)."],
    )
    .await;
    check_fresh(
        "GET",
        &[("Cache-Control", "no-store")],
        &["because it has no-store (RFC 9111 §5.2.1.5)."],
    )
    .await;
    check_fresh(
        "GET",
        &[("If-Match", "\"2\"")],
        &[
            "because only the origin can say whether its If-Match or If-Unmodified-Since holds (RFC 9111 §4.3.2).",
            "request        If-Match: \"2\": the origin decides",
        ],
    )
    .await;
    let backend = Backend::always(answer(200, &[FRESH], "")).await;
    let door = door(&backend).await;
    check(
        &door,
        "HEAD",
        &[],
        &["because nothing usable is stored for it, and an answer to HEAD brings no content to store (RFC 9110 §9.3.2)."],
    )
    .await;
}

#[tokio::test]
async fn request_with_content_is_passed() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let text = explain(&door, "GET", &[("Content-Length", "3")]).await;
    let content = "because it has content, which is in no key (RFC 9110 §9.3.1).";
    assert!(text.contains(content), "{text}");
}

#[tokio::test]
async fn only_if_cached_is_a_hit_or_504() {
    let cached = [("Cache-Control", "only-if-cached")];
    check_fresh(
        "GET",
        &cached,
        &["would be answered from the cache, because"],
    )
    .await;
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let refused = "would be answered by the front door itself with 504, because it has only-if-cached, and nothing usable is stored for it (RFC 9111 §5.2.1.7).";
    check(&door, "GET", &cached, &[refused]).await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn conditions_and_ranges_are_held_against_what_is_stored() {
    let note =
        "request        If-None-Match: \"1\": held against what is stored: 304 (RFC 9111 §4.3.2)\n";
    check_fresh("GET", &[("If-None-Match", "\"1\"")], &[note]).await;
    let note = "If-None-Match: \"2\": held against what is stored: the whole is sent";
    check_fresh("GET", &[("If-None-Match", "\"2\"")], &[note]).await;
    let note = "Range: bytes=0-0: the part is cut out here";
    check_fresh("GET", &[("Range", "bytes=0-0")], &[note]).await;
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let note = "If-None-Match: \"1\": held against what will be fetched";
    check(&door, "GET", &[("If-None-Match", "\"1\"")], &[note]).await;
}

#[tokio::test]
async fn credentials_and_withheld_fields_are_noted() {
    let lines = [
        ("Authorization", "Basic YTpi"),
        ("Cookie", "a=b"),
        ("X-Forwarded-Host", "evil"),
        ("x_original_url", "/"),
    ];
    let withheld = ": not sent in a fetch whose answer others may get";
    check_fresh(
        "GET",
        &lines,
        &[
            "what is stored for it is fresh",
            "Authorization: an answer to it is stored only with public, must-revalidate or s-maxage (RFC 9111 §3.5)",
            "Cookie: no matter by itself",
            &format!("X-Forwarded-Host{withheld}"),
            &format!("x_original_url{withheld}"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_no_plain_request_is_named() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    for (method, lines, part) in [
        ("GET", &upgrade[..], "because it asks for another protocol"),
        (
            "PURGE",
            &[],
            "would change the cache, because it is an order to the cache",
        ),
        (
            "BAN",
            &[],
            "with 400, because purging is off, not allowed from here, or the order is incomplete",
        ),
        (
            "TRACE",
            &[("Max-Forwards", "0")],
            "with 405, because its Max-Forwards is 0 (RFC 9110 §7.6.2)",
        ),
    ] {
        let text = explain(&door, method, lines).await;
        assert!(text.contains(part), "{method}: {text}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn request_that_a_listener_refuses_is_explained_as_that() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    for (head, part) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "with 400, because it could be read in more than one way, or is beyond a limit: several Host fields (RFC 9112 §3).",
        ),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "with 400"),
        (&*long, "with 431"),
    ] {
        let (status, text) = ask(&door, head, "text/plain").await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn https_is_another_key() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    let head = "GET https://example.org/news HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let (_, text) = ask(&door, head, "text/plain").await;
    assert!(text.starts_with("GET https://example.org/news\n"), "{text}");
    assert!(text.contains("nothing is stored for its URL"), "{text}");
}

#[tokio::test]
async fn questions_that_are_none_are_refused() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let incomplete = "GET / HTTP/1.1\r\nHost: a\r\n";
    let content = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for (head, part) in [
        ("", "an empty line is missing"),
        (incomplete, "an empty line is missing"),
        (content, "a question has no content"),
    ] {
        let (status, text) = ask(&door, head, "text/plain").await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let (status, text) = ask(&door, &"x".repeat(200_000), "text/plain").await;
    assert_eq!(
        (status, text.as_str()),
        (413, "a question has at most 131072 bytes\n")
    );
    for (request, expected) in [
        ("GET /explain HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (
            "POST /explain HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            415,
        ),
        (
            "POST /explain HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
            415,
        ),
    ] {
        let mut client = Client::connect(door.ops.expect("the operator's port")).await;
        client.send(request).await;
        assert_eq!(client.reply("GET").await.status(), expected, "{request}");
    }
    // The public's port knows no such page: it is the backend's.
    door.request("POST", "/explain", &[("Content-Type", "message/http")])
        .await;
    assert_eq!(backend.last().target, "/explain");
}

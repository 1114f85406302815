//! What is stored, why it is or is not used, and where its lifetime comes from.

use std::time::Duration;

use crate::support::{Backend, Gate, answer, date};
use crate::{FRESH, Lines, NEWS, ask, check, door, door_with, explain};

/// Explains the second of two requests for an answer with these fields.
async fn check_stored(response: Lines<'_>, request: Lines<'_>, parts: &[&str]) {
    let backend = Backend::always(answer(200, response, "body")).await;
    let door = door(&backend).await;
    door.request("GET", "/news", &[]).await;
    let text = explain(&door, "GET", request).await;
    assert!(text.starts_with(&format!("GET {NEWS}\n")), "{text}");
    check(&door, "GET", request, parts).await;
}

#[tokio::test]
async fn fresh_answer_is_a_hit_with_the_source_of_its_lifetime() {
    let hit =
        "would be answered from the cache, because what is stored for it is fresh (RFC 9111 §4.2).";
    check_stored(
        &[FRESH, ("ETag", "\"1\"")],
        &[],
        &[
            hit,
            "under its URL  1 answer\n",
            "status 200, 4 bytes, 0 s old, delivered 0 times, fetched by ",
            "lifetime       1 min, from max-age in Cache-Control (RFC 9111 §5.2.2.1)\n",
            "fresh          for 1 min more\n",
            "stale use      0 s while it is fetched anew, 1 h while the backend fails\n",
            "validators     ETag: \"1\"\n",
        ],
    )
    .await;
    check_stored(
        &[("Cache-Control", "max-age=5, s-maxage=90"), ("Age", "20")],
        &[],
        &[
            hit,
            "20 s old",
            "lifetime       1 min 30 s, from s-maxage in Cache-Control (RFC 9111 §5.2.2.10)\n",
            "fresh          for 1 min 10 s more\n",
            "validators     none: it cannot be confirmed, only fetched whole\n",
        ],
    )
    .await;
    let cdn = ("CDN-Cache-Control", "max-age=90");
    let from_cdn =
        "lifetime       1 min 30 s, from max-age in CDN-Cache-Control (RFC 9111 §5.2.2.1)\n";
    check_stored(&[FRESH, cdn], &[], &[hit, from_cdn]).await;
    let expires = date(3600);
    let lines = [("Expires", &*expires)];
    let from_expires = "from Expires less Date (RFC 9111 §5.3)\n";
    check_stored(&lines, &[], &[hit, from_expires]).await;
    let long_ago = date(-10_000);
    let lines = [("Last-Modified", &*long_ago)];
    let guess = "lifetime       16 min 40 s, from a guess: 10 % of the time between Last-Modified and Date, at most ";
    check_stored(&lines, &[], &[hit, guess, "(RFC 9111 §4.2.2)\n"]).await;
}

#[tokio::test]
async fn stale_answer_is_fetched_or_used_as_its_windows_say() {
    let old = ("Age", "100");
    let confirmed = "would be fetched, if what is stored has changed, because what is stored for it is stale, and beyond its grace";
    let etag = ("ETag", "\"1\"");
    let since = "fresh          no: stale for 40 s\n";
    check_stored(&[FRESH, old, etag], &[], &[confirmed, since]).await;
    let forbidden = "and forbids stale use (RFC 9111 §4.2.4).";
    let must = ("Cache-Control", "max-age=60, must-revalidate");
    check_stored(&[must, old, etag], &[], &[forbidden]).await;
    let windows = "max-age=60, stale-while-revalidate=90, stale-if-error=120";
    let used = [
        "would be answered from the cache, and fetched anew in the background, because what is stored for it is stale, and may be used",
        "(RFC 5861 §3).",
        "stale use      1 min 30 s while it is fetched anew, 2 min while the backend fails\n",
    ];
    check_stored(&[("Cache-Control", windows), old, etag], &[], &used).await;
    let welcome = "and the request's max-stale welcomes that (RFC 9111 §5.2.1.2).";
    let request = [("Cache-Control", "max-stale=50")];
    let note = "request        Cache-Control: max-stale: answers up to 50 s stale are welcome (RFC 9111 §5.2.1.2)\n";
    check_stored(&[FRESH, old, etag], &request, &[welcome, note]).await;
}

#[tokio::test]
async fn answer_with_no_cache_is_confirmed_each_time() {
    let lines = [("Cache-Control", "max-age=60, no-cache"), ("ETag", "\"1\"")];
    let each_time = "has no-cache: the origin is asked each time (RFC 9111 §5.2.2.4).";
    check_stored(&lines, &[], &[each_time, "would be fetched, if"]).await;
}

#[tokio::test]
async fn request_that_asks_for_newer_is_told_what_it_asked() {
    let newer = "would be fetched, because the request asks for something newer than what is stored for it (RFC 9111 §5.2.1).";
    for (line, note) in [
        (
            ("Cache-Control", "no-cache"),
            "Cache-Control: no-cache: the origin is asked before anything stored is used (RFC 9111 §5.2.1.4)",
        ),
        (
            ("Pragma", "no-cache"),
            "Pragma: no-cache: as Cache-Control: no-cache (RFC 9111 §5.4)",
        ),
        (
            ("Cache-Control", "max-age=3"),
            "max-age: nothing older than 3 s will do (RFC 9111 §5.2.1.1)",
        ),
        (
            ("Cache-Control", "min-fresh=50"),
            "min-fresh: 50 s of freshness have to be left (RFC 9111 §5.2.1.3)",
        ),
    ] {
        check_stored(&[FRESH, ("Age", "20")], &[line], &[newer, note]).await;
    }
}

#[tokio::test]
async fn reloads_that_a_setting_ignores_are_said_to_be() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door_with(&backend, |config| {
        config.cache.honor_client_cache_control = false;
    })
    .await;
    door.get("/news").await;
    let ignored = "Cache-Control: no-cache: ignored, as cache.honor_client_cache_control says";
    let parts = ["what is stored for it is fresh", ignored];
    check(&door, "GET", &[("Cache-Control", "no-cache")], &parts).await;
}

#[tokio::test]
async fn variant_of_another_request_is_named_by_its_fields() {
    let lines = [FRESH, ("Vary", "Accept-Language, X-Theme")];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    door.request("GET", "/news", &[("Accept-Language", "de")])
        .await;
    let other = [
        "would be fetched, because what is stored for its URL answers other requests: a field that it varies on differs (RFC 9111 §4.1).",
        "under its URL  1 answer, varying on accept-language, x-theme\n",
    ];
    check(&door, "GET", &[("Accept-Language", "fr")], &other).await;
    let own = [
        "what is stored for it is fresh",
        "under its URL  2 answers, varying on accept-language, x-theme\n",
        "varies on      accept-language: fr\n",
        "varies on      x-theme, which the request lacks\n",
    ];
    check(&door, "GET", &[("Accept-Language", "fr")], &own).await;
}

#[tokio::test]
async fn ban_that_matches_is_shown() {
    let lines = [FRESH, ("Surrogate-Key", "a b")];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    let banned = "would be fetched, because a ban or a purge by key has ended what was stored for it (purge).";
    door.get("/news").await;
    door.front.ban("req.url == /other").expect("an expression");
    check(&door, "GET", &[], &["none of 1 in force matches"]).await;
    door.front.ban("req.url ~ ^/ne").expect("an expression");
    let text = explain(&door, "GET", &[]).await;
    assert!(
        text.contains("bans           matches: req.url ~ "),
        "{text}"
    );
    check(&door, "GET", &[], &[banned]).await;
    door.front.purge_tag("b").expect("a key");
    check(&door, "GET", &[], &[banned, "matches: surrogate-key b\n"]).await;
}

#[tokio::test]
async fn soft_purge_shows_as_a_lifetime_cut_short() {
    let lines = [FRESH, ("Surrogate-Key", "a"), ("Age", "10")];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    door.front
        .expire_tags(&["a".into()], proxy::time::Timestamp::now());
    let cut = "(RFC 9111 §5.2.2.1), ended before its time by a soft purge\n";
    check(&door, "GET", &[], &["and beyond its grace", cut]).await;
}

#[tokio::test]
async fn fetch_under_way_is_shown() {
    let gate = Gate::new();
    let backend = Backend::always(answer(200, &[FRESH], "body").behind(&gate)).await;
    let door = door(&backend).await;
    let mut first = door.begin("GET", "/news", &[]).await;
    backend.wait_for(1).await;
    let text = explain(&door, "GET", &[]).await;
    let waits = "under way      a fetch of it; this request would wait for it\n";
    assert!(text.contains(waits), "{text}");
    assert!(text.contains("nothing is stored for its URL"), "{text}");
    gate.open();
    first.reply("GET").await;
    assert!(!explain(&door, "GET", &[]).await.contains("under way"));
}

/// The heart of it: whoever asks changes nothing.
#[tokio::test]
async fn asking_counts_stores_drops_and_fetches_nothing() {
    let lines = [
        ("Cache-Control", "max-age=60, stale-while-revalidate=90"),
        ("Age", "70"),
    ];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    door.front.ban("obj.status == 404").expect("an expression");
    let observed = || {
        let mut objects = Vec::new();
        door.front.store.for_each(|_, object| {
            objects.push((object.hits(), object.ban_mark(), object.xid));
        });
        let counters = format!("{:?}", door.front.bans.counters());
        (
            objects,
            counters,
            backend.count(),
            door.front.store.objects(),
        )
    };
    let requests = || door.counted(proxy::metrics::Counter::ClientRequests);
    // The lurker tests what is stored against the ban in its own time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, asked) = (observed(), requests());
    for lines in [
        &[][..],
        &[("Cache-Control", "no-cache")],
        &[("Range", "bytes=0-0")],
    ] {
        explain(&door, "GET", lines).await;
        explain(&door, "DELETE", lines).await;
        explain(&door, "PURGE", lines).await;
    }
    assert_eq!((observed(), requests()), (before, asked));
}

#[tokio::test]
async fn programs_get_the_same_as_json() {
    let lines = [FRESH, ("Age", "18"), ("Vary", "Accept"), ("ETag", "\"1\"")];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    let head = "GET http://example.org/news HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let (status, text) = ask(&door, head, "application/json").await;
    assert_eq!(status, 200, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let at = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/key"), NEWS);
    assert_eq!(at("/verdict/outcome"), "hit");
    assert_eq!(at("/verdict/rule"), "RFC 9111 §4.2");
    assert_eq!(at("/stored/answers"), 1);
    assert_eq!(at("/stored/varies_on/0"), "accept");
    assert_eq!(at("/answer/status"), 200);
    assert_eq!(at("/answer/lifetime/from"), "max-age");
    assert_eq!(at("/answer/lifetime/seconds"), 60);
    assert_eq!(at("/answer/etag"), "\"1\"");
    assert!(
        at("/answer/ttl_seconds")
            .as_i64()
            .is_some_and(|ttl| (40..=42).contains(&ttl))
    );
    assert!(at("/mark").is_null() && at("/usual_reasons").is_null());
}

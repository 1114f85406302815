//! Errors that one client causes and others would get: "cache-poisoned denial of service".
//!
//! What is decided. RFC 9111 §3 allows errors with explicit freshness to be stored and RFC 9110 §15.1 some without,
//! and operators want both: a 404 for a minute spares the backend. So they are stored, with these exceptions, all of
//! them within what a cache may do:
//!
//! - 400, 413 and 431 speak of the message and not of its target: the first two are stored with explicit freshness only, never
//!   by a guess, be they `public` and have validators.
//! - Refused with any of the three, a request leaves what is stored as it was.
//! - An error to a request whose head may have caused it (long, beyond ASCII, with a description of content that is
//!   not there) is for that client alone, also with explicit freshness: `request-fault` in Cache-Status. What was
//!   stored before stays.
//! - What the front door itself refuses is never stored.
//!
//! What remains: an origin that refuses an ordinary short field, and gives the refusal a lifetime without Vary.

use crate::support::{Backend, Client, Door, Seen, answer};
use crate::{EVIL, FRESH, assert_clean, stored};

/// A service that refuses some requests, and gives each refusal a lifetime.
async fn refusing(status: u16, refuses: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Backend {
    Backend::start(move |seen| match refuses(seen) {
        true => answer(status, &[FRESH], EVIL),
        false => answer(200, &[FRESH], "the page"),
    })
    .await
}

/// The attacker gets the refusal; the victim the page, and the page is what is stored.
async fn check(
    status: u16,
    refuses: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    attack: &[(&str, &str)],
) {
    let backend = refusing(status, refuses).await;
    let door = Door::start(&backend).await;
    let refused = door.request("GET", "/", attack).await;
    let context = refused.field("Cache-Status");
    assert_eq!((refused.status(), refused.text()), (status, EVIL));
    assert_eq!(context, "lacquer; fwd=uri-miss; detail=request-fault");
    let victim = door.get("/").await;
    assert_eq!((victim.status(), victim.text()), (200, "the page"));
    assert_clean(&door, &victim, &context);
    assert_eq!(stored(&door).len(), 1);
    // And what is stored stays when the attacker comes again, with a reload this time.
    let reload = [attack, &[("Cache-Control", "no-cache")]].concat();
    assert_eq!(door.request("GET", "/", &reload).await.status(), status);
    let victim = door.get("/").await;
    assert_eq!((victim.cache(), victim.text()), ("HIT".into(), "the page"));
    assert_clean(&door, &victim, &context);
}

#[tokio::test]
async fn oversized_field_does_not_store_an_error() {
    let long = "x".repeat(9000);
    for status in [400, 413, 431, 404, 500, 503] {
        let refuses = |seen: &Seen| seen.echo().len() > 8192;
        check(status, refuses, &[("X-Oversized", &long)]).await;
    }
    let medium = "x".repeat(3500);
    check(
        431,
        |seen| seen.echo().len() > 3500,
        &[("Cookie", &*medium)],
    )
    .await;
}

#[tokio::test]
async fn many_fields_do_not_store_an_error() {
    let names: Vec<String> = (0..90).map(|index| format!("X-{index}")).collect();
    let lines: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    check(400, |seen| seen.echo().lines().count() > 64, &lines).await;
}

#[tokio::test]
async fn bytes_beyond_ascii_do_not_store_an_error() {
    let refuses = |seen: &Seen| !seen.echo().is_ascii();
    check(400, refuses, &[("X-Meta", "\u{e9}")]).await;
    check(500, refuses, &[("Accept", "a/\u{20ac}")]).await;
}

#[tokio::test]
async fn description_of_absent_content_does_not_store_an_error() {
    for (line, status) in [
        (("Content-Type", "x"), 415),
        (("Content-Encoding", "x"), 415),
        (("Content-Language", "x"), 400),
    ] {
        check(status, move |seen| seen.field(line.0).is_some(), &[line]).await;
    }
}

/// Whatever the refused message was, nothing new is known of its target: neither is what is stored displaced by a
/// mark, nor do others stop to share fetches.
#[tokio::test]
async fn refusal_of_a_message_leaves_what_is_stored() {
    for status in [400, 413, 431] {
        for refusal in [&[][..], &[("Cache-Control", "no-store")]] {
            let backend = Backend::start(move |seen| match seen.field("X-Bad") {
                Some(_) => answer(status, refusal, EVIL),
                None => answer(200, &[FRESH], "the page"),
            })
            .await;
            let door = Door::start(&backend).await;
            door.get("/").await;
            let attack = [("X-Bad", "1"), ("Cache-Control", "no-cache")];
            assert_eq!(door.request("GET", "/", &attack).await.status(), status);
            let victim = door.get("/").await;
            assert_eq!((victim.cache(), victim.text()), ("HIT".into(), "the page"));
            assert_eq!(door.front.store.objects(), 1, "no mark");
        }
    }
}

/// Control characters and the like never reach a backend, so no answer to them can be stored.
#[tokio::test]
async fn meta_characters_are_refused_here() {
    let backend = refusing(400, |seen| seen.echo().contains('\u{7}')).await;
    let door = Door::start(&backend).await;
    for line in [
        "X-Meta: a\u{7}b",
        "X-Meta: a\u{0}b",
        "X-Meta: a\u{1b}b",
        "X-Meta: a\u{7f}b",
        "X-Meta: a\rb",
        "X-Meta: a\nb",
        "X Meta: a",
        "X-Meta\u{b}: a",
        "X\u{e9}: a",
    ] {
        let mut attacker: Client = door.connect().await;
        attacker
            .send(format!(
                "GET / HTTP/1.1\r\nHost: example.org\r\n{line}\r\n\r\n"
            ))
            .await;
        assert_eq!(attacker.reply("GET").await.status(), 400, "{line:?}");
    }
    assert_eq!((backend.count(), stored(&door).len()), (0, 0));
    assert_eq!(door.get("/").await.text(), "the page");
}

#[tokio::test]
async fn what_the_front_door_refuses_is_not_stored() {
    let backend = refusing(400, |_| false).await;
    let door = Door::start(&backend).await;
    let long = "x".repeat(40 * 1024);
    let refused = door.request("GET", "/", &[("X-Oversized", &long)]).await;
    assert_eq!(refused.status(), 431);
    assert_eq!((backend.count(), stored(&door).len()), (0, 0));
    let victim = door.get("/").await;
    assert_eq!((victim.status(), victim.text()), (200, "the page"));
}

/// RFC 9111 §3: any final status may be stored that says how long it is fresh.
#[tokio::test]
async fn error_to_an_ordinary_request_is_stored_where_it_is_fresh_by_its_own_word() {
    for status in [400, 404, 413, 500] {
        let backend = Backend::always(answer(status, &[FRESH], "error")).await;
        let door = Door::start(&backend).await;
        let lines = [("User-Agent", "Mozilla/5.0"), ("Cookie", "a=b; c=d")];
        door.request("GET", "/", &lines).await;
        let again = door.get("/").await;
        assert_eq!((again.status(), again.cache()), (status, "HIT".into()));
    }
}

#[tokio::test]
async fn error_about_a_message_is_not_stored_by_a_guess() {
    for (status, expected) in [(400, 2), (413, 2), (431, 2), (404, 1), (414, 1)] {
        let lines = [
            ("Cache-Control", "public"),
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        let backend = Backend::always(answer(status, &lines, "error")).await;
        let door = Door::start(&backend).await;
        for _ in 0..2 {
            assert_eq!(door.get("/").await.status(), status);
        }
        assert_eq!(backend.count(), expected, "{status}");
    }
}

//! Asking the backend whether a stored answer still holds.

use std::time::Duration;

use crate::support::{Answer, Backend, Door, Seen, answer, date, until};
use crate::{FRESH, OLD};
use proxy::metrics::Counter;

const TAG: (&str, &str) = ("ETag", "\"a\"");
const LATER: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A backend whose first answer is old, and whose later ones are the test's; a front door without grace.
async fn old_then(later: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Backend, Door) {
    let backend = Backend::start(move |seen| match seen.index {
        0 => answer(200, &[TAG, FRESH, OLD, ("X-Part", "old")], "stored body"),
        _ => later(seen),
    })
    .await;
    let door = Door::with(&backend, |config| config.cache.grace = Duration::ZERO).await;
    assert_eq!(door.get("/").await.text(), "stored body");
    (backend, door)
}

#[tokio::test]
async fn the_backend_is_asked_with_our_validators_and_not_the_clients() {
    let last_modified = date(-1000);
    let stored = [TAG, ("Last-Modified", &last_modified), FRESH, OLD];
    let first = answer(200, &stored, "stored body");
    let backend = Backend::start(move |seen| match seen.index {
        0 => first.clone(),
        _ => answer(304, &[TAG, FRESH], ""),
    })
    .await;
    let door = Door::with(&backend, |config| config.cache.grace = Duration::ZERO).await;
    door.get("/").await;
    let conditions = [
        ("If-None-Match", "\"other\""),
        ("If-Modified-Since", LATER),
        ("If-Range", "\"a\""),
        ("Range", "bytes=0-5"),
    ];
    let reply = door.request("GET", "/", &conditions).await;
    assert_eq!((reply.status(), reply.text()), (206, "stored"));
    let asked = backend.last();
    assert_eq!(asked.field("If-None-Match").as_deref(), Some("\"a\""));
    assert_eq!(asked.field("If-Modified-Since"), Some(last_modified));
    assert_eq!(asked.field("If-Range"), None);
    assert_eq!(asked.field("Range"), None);
}

#[tokio::test]
async fn a_304_renews_the_head_and_keeps_the_body() {
    let (backend, door) =
        old_then(|_| answer(304, &[TAG, FRESH, ("X-Part", "new"), ("X-More", "1")], "")).await;
    let renewed = door.get("/").await;
    assert_eq!((renewed.status(), renewed.text()), (200, "stored body"));
    assert_eq!(renewed.field("Content-Length"), "11");
    assert!(renewed.field("Cache-Status").contains("fwd-status=304"));
    let stored = door.get("/").await;
    assert_eq!(stored.cache(), "HIT");
    assert_eq!(stored.text(), "stored body");
    assert_eq!(stored.field("X-Part"), "new");
    assert_eq!(stored.field("X-More"), "1");
    assert!(stored.age() < 10, "the old age is gone");
    assert_eq!(backend.count(), 2);
    assert_eq!(door.counted(Counter::Fetches304), 1);
    assert_eq!(door.front.store.objects(), 1);
}

#[tokio::test]
async fn a_client_that_has_the_confirmed_answer_gets_304() {
    let (backend, door) = old_then(|_| answer(304, &[TAG, FRESH], "")).await;
    let reply = door
        .request("GET", "/", &[("If-None-Match", "\"a\"")])
        .await;
    assert_eq!((reply.status(), reply.text()), (304, ""));
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_changed_answer_replaces_the_stored_one() {
    let (backend, door) = old_then(|_| answer(200, &[("ETag", "\"b\""), FRESH], "changed")).await;
    let reply = door
        .request("GET", "/", &[("If-None-Match", "\"a\"")])
        .await;
    assert_eq!((reply.status(), reply.text()), (200, "changed"));
    assert_eq!(door.get("/").await.text(), "changed");
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_304_of_something_else_is_asked_again_without_conditions() {
    let (backend, door) = old_then(|seen| match seen.field("If-None-Match") {
        Some(_) => answer(304, &[("ETag", "\"b\""), FRESH], ""),
        None => answer(200, &[("ETag", "\"b\""), FRESH], "other body"),
    })
    .await;
    let reply = door.get("/").await;
    assert_eq!((reply.status(), reply.text()), (200, "other body"));
    assert_eq!(backend.count(), 3);
    assert_eq!(door.get("/").await.cache(), "HIT");
}

#[tokio::test]
async fn a_304_in_the_background_renews_the_answer() {
    let backend = Backend::start(|seen| match seen.index {
        0 => {
            let directives = "max-age=60, stale-while-revalidate=600";
            answer(
                200,
                &[TAG, ("Cache-Control", directives), OLD],
                "stored body",
            )
        }
        _ => answer(304, &[TAG, FRESH], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let stale = door.get("/").await;
    assert_eq!(
        (stale.cache().as_str(), stale.text()),
        ("HIT", "stored body")
    );
    assert!(stale.age() >= 100);
    until("the refresh", || door.counted(Counter::Fetches304) == 1).await;
    assert_eq!(
        backend.last().field("If-None-Match").as_deref(),
        Some("\"a\"")
    );
    let mut client = door.connect().await;
    for _ in 0..1000 {
        let renewed = client.get("/").await;
        assert_eq!(renewed.text(), "stored body");
        if renewed.age() < 10 {
            assert_eq!(backend.count(), 2);
            return;
        }
    }
    panic!("the refresh does not arrive in the store");
}

#[tokio::test]
async fn a_304_that_forbids_storing_ends_the_stored_answer() {
    let (backend, door) = old_then(|seen| match seen.field("If-None-Match") {
        Some(_) => answer(304, &[TAG, ("Cache-Control", "no-store")], ""),
        None => answer(200, &[TAG, FRESH], "new body"),
    })
    .await;
    assert_eq!(door.get("/").await.text(), "stored body");
    assert_eq!(door.get("/").await.text(), "new body");
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn a_304_to_one_user_leaves_the_stored_answer_to_the_others() {
    let (backend, door) = old_then(|_| answer(304, &[TAG, FRESH], "")).await;
    let user = [("Authorization", "Basic YTpi")];
    assert_eq!(door.request("GET", "/", &user).await.text(), "stored body");
    assert_eq!(door.get("/").await.text(), "stored body");
    let asked = backend.last();
    assert_eq!(asked.field("If-None-Match").as_deref(), Some("\"a\""));
    assert_eq!(door.get("/").await.cache(), "HIT");
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn an_answer_with_no_cache_is_stored_and_asked_for_each_time() {
    let backend = Backend::start(|seen| match seen.field("If-None-Match") {
        None => answer(200, &[TAG, ("Cache-Control", "no-cache")], "stored body"),
        Some(_) => answer(304, &[TAG, ("Cache-Control", "no-cache")], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    for count in 1..4 {
        assert_eq!(door.get("/").await.text(), "stored body");
        assert_eq!(backend.count(), count);
    }
    assert_eq!(door.counted(Counter::Fetches304), 2);
}

#[tokio::test]
async fn a_head_request_refreshes_as_get() {
    let backend = Backend::start(|seen| match seen.index {
        0 => {
            let directives = "max-age=60, stale-while-revalidate=600";
            answer(200, &[("Cache-Control", directives), OLD], "old body")
        }
        _ => answer(200, &[FRESH], "new body"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let head = door.request("HEAD", "/", &[]).await;
    assert_eq!((head.status(), head.text()), (200, ""));
    backend.wait_for(2).await;
    assert_eq!(backend.last().method, "GET");
    let mut client = door.connect().await;
    for _ in 0..1000 {
        if client.get("/").await.text() == "new body" {
            assert_eq!(backend.count(), 2);
            return;
        }
    }
    panic!("what a HEAD had fetched was not stored");
}

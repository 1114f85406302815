//! Answers that were not stored, and what is remembered of them.

use std::time::Duration;

use crate::support::{Backend, answer};
use crate::{FRESH, Lines, check, door, door_with, explain};

#[tokio::test]
async fn url_that_nobody_has_asked_for_gets_the_usual_reasons() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let parts = [
        "GET http://example.org/news\n",
        "would be fetched, because nothing is stored for its URL (RFC 9111 §4).",
        "under its URL  nothing\n",
        "Nothing is known of earlier answers. Usual reasons:\n",
        "- its answers say no-store or private",
    ];
    let text = explain(&door, "GET", &[]).await;
    assert_eq!(backend.count(), 0, "{text}");
    check(&door, "GET", &[], &parts).await;
}

/// Explains after one answer with these fields to a request with those.
async fn check_mark(response: Lines<'_>, word: &str, why: &str) {
    let backend = Backend::always(answer(200, response, "body")).await;
    let door = door(&backend).await;
    let reply = door.get("/news").await;
    assert!(
        reply
            .field("Cache-Status")
            .ends_with(&format!("; detail={word}"))
    );
    let parts = [
        "would be fetched, because the last answer could not be stored, so requests for it do not wait for each other",
        "under its URL  0 answers, 1 mark",
        "more: the last answer, a 200, was not stored, because ",
        why,
        &format!("; detail={word}\n"),
    ];
    check(&door, "GET", &[], &parts).await;
}

#[tokio::test]
async fn mark_says_why_the_answer_was_not_stored() {
    let control = |value: &'static str| ("Cache-Control", value);
    check_mark(
        &[control("no-store")],
        "no-store",
        "the answer had no-store (RFC 9111 §5.2.2.5)",
    )
    .await;
    check_mark(
        &[control("private")],
        "private",
        "was private to one user (RFC 9111 §5.2.2.7)",
    )
    .await;
    check_mark(
        &[FRESH, ("Vary", "*")],
        "vary-star",
        "no later request matches it (RFC 9111 §4.1)",
    )
    .await;
    check_mark(
        &[FRESH, ("Set-Cookie", "a=b")],
        "set-cookie",
        "the answer had Set-Cookie and neither public nor s-maxage (cache.store_set_cookie)",
    )
    .await;
    check_mark(
        &[],
        "no-validator",
        "gives neither a lifetime nor a validator",
    )
    .await;
}

#[tokio::test]
async fn answer_that_grew_too_large_says_so() {
    let response = |chunks: usize| {
        let mut answer =
            crate::support::Answer::default().head(200, &[FRESH, ("Transfer-Encoding", "chunked")]);
        for _ in 0..chunks {
            answer = answer.chunk(&"x".repeat(1000));
        }
        answer.then("0\r\n\r\n")
    };
    let backend = Backend::always(response(100)).await;
    let door = door_with(&backend, |config| {
        config.cache.object_bytes_max = "10KiB".parse().expect("a size");
    })
    .await;
    assert_eq!(door.get("/news").await.body.len(), 100_000);
    let large = "was not stored, because the answer is larger than one may be";
    crate::support::until("the mark", || {
        let mut marks = 0;
        door.front.store.for_each(|_, object| {
            marks += usize::from(object.because.is_some());
        });
        marks == 1
    })
    .await;
    check(&door, "GET", &[], &[large, "(cache.object_bytes_max)"]).await;
}

#[tokio::test]
async fn part_of_what_is_not_stored_is_passed() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "private")], "body")).await;
    let door = door(&backend).await;
    door.get("/news").await;
    let passed = "would be passed to the backend, and its answer not stored, because the last answer could not be stored, and a part of it need not be fetched whole";
    check(&door, "GET", &[("Range", "bytes=0-0")], &[passed]).await;
}

/// What is due to one request leaves no mark, and is remembered all the same.
#[tokio::test]
async fn reason_of_one_request_is_remembered() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    door.request("GET", "/news", &[("Authorization", "Basic YTpi")])
        .await;
    let parts = [
        "because nothing is stored for its URL",
        "not stored     a 200 0 s ago, because the request had Authorization and the answer has neither public, \
         must-revalidate nor s-maxage (RFC 9111 §3.5); detail=authorization\n",
    ];
    let text = explain(&door, "GET", &[]).await;
    assert!(!text.contains("Usual reasons"), "{text}");
    check(&door, "GET", &[], &parts).await;
}

#[tokio::test]
async fn reason_outlives_its_mark() {
    let backend = Backend::always(answer(404, &[("Cache-Control", "no-store")], "body")).await;
    let door = door_with(&backend, |config| {
        config.cache.hit_for_miss = Duration::from_millis(20);
    })
    .await;
    door.get("/news").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let parts = [
        "because nothing is stored for its URL",
        "not stored     a 404 0 s ago",
    ];
    check(&door, "GET", &[], &parts).await;
}

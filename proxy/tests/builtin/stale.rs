//! Stale answers: while they are refreshed, and when the backend fails (RFC 5861).

use std::time::Duration;

use proxy::metrics::Counter;

use crate::OLD;
use crate::support::{Answer, Backend, Door, Gate, answer, until};

#[tokio::test]
async fn a_stale_answer_is_delivered_while_one_refresh_runs() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match seen.index {
        0 => {
            let directives = "max-age=60, stale-while-revalidate=600";
            answer(200, &[("Cache-Control", directives), OLD], "old")
        }
        _ => answer(200, &[("Cache-Control", "max-age=60")], "new").behind(&held),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    for _ in 0..5 {
        let stale = door.get("/").await;
        assert_eq!((stale.cache().as_str(), stale.text()), ("HIT", "old"));
        assert!(stale.field("Cache-Status").contains("ttl=-"));
    }
    backend.wait_for(2).await;
    assert_eq!(backend.count(), 2);
    assert_eq!(door.counted(Counter::CacheHitsGrace), 5);
    gate.open();
    let mut client = door.connect().await;
    for _ in 0..1000 {
        if client.get("/").await.text() == "new" {
            assert_eq!(backend.count(), 2);
            assert_eq!(door.counted(Counter::BackgroundFetches), 1);
            return;
        }
    }
    panic!("the refresh does not arrive in the store");
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_stale_answer_and_is_tried_again() {
    let backend = Backend::start(move |seen| match seen.index {
        0 => {
            let directives = "max-age=60, stale-while-revalidate=600";
            answer(200, &[("Cache-Control", directives), OLD], "old")
        }
        // The first of these could be the death of a kept connection, and is tried again.
        1 | 2 => Answer::close(),
        _ => answer(500, &[], "broken"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    assert_eq!(door.get("/").await.text(), "old");
    until("the failure", || door.counted(Counter::FetchesFailed) == 1).await;
    assert_eq!(door.get("/").await.text(), "old");
    backend.wait_for(4).await;
    until("the refused answer", || {
        door.counted(Counter::UncacheableResponses) == 1
    })
    .await;
    let stale = door.get("/").await;
    assert_eq!((stale.cache().as_str(), stale.text()), ("HIT", "old"));
    assert_eq!(door.counted(Counter::BackgroundFetches), 3);
}

#[tokio::test]
async fn grace_is_the_operators_where_the_answer_says_nothing() {
    // 40 seconds past its lifetime.
    let check = async |grace: u64, directives: &str, delivered: bool| {
        let fields = [("Cache-Control", directives), OLD];
        let backend = Backend::always(answer(200, &fields, "x")).await;
        let door = Door::with(&backend, |config| {
            config.cache.grace = Duration::from_secs(grace);
        })
        .await;
        door.get("/").await;
        let cache = if delivered { "HIT" } else { "MISS" };
        assert_eq!(door.get("/").await.cache(), cache, "{grace} {directives}");
    };
    check(0, "max-age=60", false).await;
    check(20, "max-age=60", false).await;
    check(100, "max-age=60", true).await;
    check(0, "max-age=60, stale-while-revalidate=100", true).await;
    check(100, "max-age=60, stale-while-revalidate=0", false).await;
    check(100, "max-age=60, must-revalidate", false).await;
    check(100, "max-age=60, proxy-revalidate", false).await;
    check(100, "s-maxage=60", false).await;
}

/// What a client gets when the backend goes wrong after a stale answer was stored.
async fn check_failure(directives: &str, failure: Answer, status: u16) {
    let first = answer(200, &[("Cache-Control", directives), OLD], "old");
    let shown = format!("{directives} {failure:?}");
    let backend = Backend::start(move |seen| match seen.index {
        0 => first.clone(),
        _ => failure.clone(),
    })
    .await;
    let door = Door::with(&backend, |config| {
        config.cache.stale_if_error = Duration::ZERO
    })
    .await;
    door.get("/").await;
    let reply = door.get("/").await;
    assert_eq!(reply.status(), status, "{shown}");
    if status == 200 {
        assert_eq!(reply.text(), "old", "{shown}");
        assert!(reply.age() >= 100, "{shown}");
        assert!(reply.field("Cache-Status").contains("hit"), "{shown}");
        // It is still there for the next failure.
        assert_eq!(door.get("/").await.text(), "old", "{shown}");
    }
    assert!(backend.count() >= 2, "{shown}");
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failing_backend() {
    let welcome = "max-age=60, stale-if-error=600";
    for status in [500, 502, 503, 504] {
        check_failure(welcome, answer(status, &[], "broken"), 200).await;
        check_failure("max-age=60", answer(status, &[], "broken"), status).await;
    }
    check_failure(welcome, Answer::close(), 200).await;
    check_failure(welcome, Answer::default().then("nonsense\r\n\r\n"), 200).await;
    check_failure("max-age=60", Answer::close(), 502).await;
    // These are answers, not failures.
    for status in [404, 501] {
        check_failure(welcome, answer(status, &[], "no"), status).await;
    }
    // Too stale by now.
    check_failure("max-age=60, stale-if-error=10", Answer::close(), 502).await;
    let forbidden = "max-age=60, stale-if-error=600, must-revalidate";
    check_failure(forbidden, Answer::close(), 504).await;
    check_failure(forbidden, answer(503, &[], "broken"), 503).await;
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_backend_that_is_gone() {
    let check = async |directives: &str, status: u16| {
        let fields = [("Cache-Control", directives), OLD, ("Connection", "close")];
        let mut backend = Backend::always(answer(200, &fields, "old").and_close()).await;
        let door = Door::with(&backend, |config| {
            config.cache.stale_if_error = Duration::ZERO
        })
        .await;
        door.get("/").await;
        backend.stop().await;
        let reply = door.get("/").await;
        assert_eq!(reply.status(), status, "{directives}");
        match status {
            200 => assert_eq!(reply.text(), "old"),
            504 => {}
            _ => assert!(!reply.field("Retry-After").is_empty()),
        }
    };
    check("max-age=60, stale-if-error=600", 200).await;
    check("max-age=60", 503).await;
    check("max-age=60, stale-if-error=600, must-revalidate", 504).await;
}

#[tokio::test]
async fn for_an_hour_a_stale_answer_stands_in_without_having_said_so() {
    let check = async |directives: &str, age: &str, status: u16| {
        let fields = [("Cache-Control", directives), ("Age", age)];
        let first = answer(200, &fields, "old");
        let backend = Backend::start(move |seen| match seen.index {
            0 => first.clone(),
            _ => Answer::close(),
        })
        .await;
        let door = Door::start(&backend).await;
        door.get("/").await;
        let reply = door.get("/").await;
        assert_eq!(reply.status(), status, "{directives} {age}");
    };
    check("max-age=60", "3600", 200).await;
    check("max-age=60", "3700", 502).await;
    check("max-age=60, stale-if-error=0", "100", 502).await;
    for directives in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        check(&format!("max-age=60, {directives}"), "100", 504).await;
    }
    check("s-maxage=60", "100", 504).await;
}

#[tokio::test]
async fn all_who_wait_get_the_stale_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match seen.index {
        0 => {
            let directives = "max-age=60, stale-if-error=600";
            answer(200, &[("Cache-Control", directives), OLD], "old")
        }
        _ => answer(503, &[], "broken").behind(&held),
    })
    .await;
    let door = Door::with(&backend, |config| config.cache.grace = Duration::ZERO).await;
    door.get("/").await;
    let mut clients = vec![door.begin("GET", "/", &[]).await];
    backend.wait_for(2).await;
    clients.push(door.begin("GET", "/", &[]).await);
    until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.text(), "old");
    }
    assert_eq!(backend.count(), 2);
}

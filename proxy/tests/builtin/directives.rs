//! What clients ask of caches on the way (RFC 9111 §5.2.1).

use std::time::Duration;

use proxy::metrics::Counter;

use crate::support::{Backend, Door, Gate, answer, until};

/// What a request with these directives comes to when an answer of this age is stored, fresh for 60 seconds.
async fn check(age: &str, directives: &str, expected: &str) {
    let age = age.to_owned();
    let backend = Backend::start(move |_| {
        let fields = [
            ("Cache-Control", "max-age=60"),
            ("Age", &age),
            // Without a validator a stale answer would not be kept at all.
            ("ETag", "\"a\""),
        ];
        answer(200, &fields, "x")
    })
    .await;
    let door = Door::with(&backend, |config| config.cache.grace = Duration::ZERO).await;
    door.get("/").await;
    let reply = door
        .request("GET", "/", &[("Cache-Control", directives)])
        .await;
    let found = match (reply.status(), backend.count()) {
        (200, 1) => "stored",
        (200, 2) => "fetched",
        (504, 1) => "504",
        other => panic!("{directives}: {other:?}"),
    };
    assert_eq!(found, expected, "{directives}");
}

#[tokio::test]
async fn fresh_answers_have_to_be_fresh_enough() {
    check("30", "", "stored").await;
    check("30", "no-cache", "fetched").await;
    check("30", "max-age=0", "fetched").await;
    check("30", "max-age=20", "fetched").await;
    check("30", "max-age=50", "stored").await;
    check("30", "min-fresh=10", "stored").await;
    check("30", "min-fresh=40", "fetched").await;
    check("30", "no-store", "fetched").await;
    check("30", "only-if-cached", "stored").await;
    check("30", "only-if-cached, max-age=0", "504").await;
}

#[tokio::test]
async fn stale_answers_may_be_welcome() {
    check("100", "", "fetched").await;
    check("100", "max-stale", "stored").await;
    check("100", "max-stale=200", "stored").await;
    check("100", "max-stale=10", "fetched").await;
    check("100", "max-age=200", "fetched").await;
    check("100", "max-age=200, max-stale=100", "stored").await;
    check("100", "only-if-cached", "504").await;
    check("100", "only-if-cached, max-stale", "stored").await;
}

#[tokio::test]
async fn only_if_cached_never_fetches() {
    let only = [("Cache-Control", "only-if-cached")];
    let backend = Backend::always(answer(200, &[("Cache-Control", "no-store")], "x")).await;
    let door = Door::start(&backend).await;
    assert_eq!(door.request("GET", "/", &only).await.status(), 504);
    assert_eq!(door.request("HEAD", "/", &only).await.status(), 504);
    assert_eq!(backend.count(), 0);
    // Nor where a mark says that there is nothing, or what is stored does not match.
    door.get("/").await;
    assert_eq!(door.request("GET", "/", &only).await.status(), 504);
    assert_eq!(backend.count(), 1);
    let stored = Backend::always(answer(200, &[("Cache-Control", "max-age=60")], "x")).await;
    let door = Door::start(&stored).await;
    door.get("/").await;
    let other = [only[0], ("If-Match", "\"other\"")];
    assert_eq!(door.request("GET", "/", &other).await.status(), 504);
    assert_eq!(stored.count(), 1);
}

#[tokio::test]
async fn who_waits_for_a_fetch_gets_what_it_may_reuse() {
    // Whether a request with these directives takes the answer of the fetch that it has waited for.
    let check = async |directives: &str, shares: bool| {
        let gate = Gate::new();
        let fields = [("Cache-Control", "max-age=60"), ("Age", "30")];
        let backend = Backend::always(answer(200, &fields, "x").behind(&gate)).await;
        let door = Door::start(&backend).await;
        let mut leader = door.begin("GET", "/", &[]).await;
        backend.wait_for(1).await;
        let asked = [("Cache-Control", directives)];
        let mut follower = door.begin("GET", "/", &asked).await;
        until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
        gate.open();
        assert_eq!(leader.reply("GET").await.text(), "x");
        assert_eq!(follower.reply("GET").await.text(), "x");
        let expected = if shares { 1 } else { 2 };
        assert_eq!(backend.count(), expected, "{directives}");
    };
    check("", true).await;
    check("max-age=50", true).await;
    check("max-age=20", false).await;
    check("min-fresh=20", true).await;
    check("min-fresh=40", false).await;
    // The fetch began before this client asked, and may know less than it wants to know.
    check("no-cache", false).await;
}

#[tokio::test]
async fn no_store_leaves_nothing_behind() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "max-age=60")], "x")).await;
    let door = Door::start(&backend).await;
    let silent = [("Cache-Control", "no-store")];
    door.request("GET", "/", &silent).await;
    assert_eq!(door.front.store.objects(), 0);
    assert_eq!(door.get("/").await.cache(), "MISS");
    assert_eq!(door.get("/").await.cache(), "HIT");
}

#[tokio::test]
async fn pragma_counts_where_cache_control_is_absent() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "max-age=60")], "x")).await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    door.request("GET", "/", &[("Pragma", "no-cache")]).await;
    assert_eq!(backend.count(), 2);
    let both = [("Pragma", "no-cache"), ("Cache-Control", "max-age=100")];
    door.request("GET", "/", &both).await;
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn an_operator_may_have_them_ignored() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "max-age=60")], "x")).await;
    let door = Door::with(&backend, |config| {
        config.cache.honor_client_cache_control = false;
    })
    .await;
    for directives in ["", "no-cache", "max-age=0", "no-store", "min-fresh=100"] {
        door.request("GET", "/", &[("Cache-Control", directives)])
            .await;
    }
    assert_eq!(backend.count(), 1);
}

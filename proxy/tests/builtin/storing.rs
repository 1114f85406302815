//! Which answers are stored, and for whom.

use proxy::metrics::Counter;

use crate::support::{Backend, Door, Gate, answer};
use crate::{FRESH, Lines, borrowed, owned};

/// How many of two equal requests reach the backend.
async fn check(request: Lines<'_>, response: Lines<'_>, expected: usize) {
    let fields = owned(response);
    let backend = Backend::start(move |_| answer(200, &borrowed(&fields), "body")).await;
    let door = Door::start(&backend).await;
    for _ in 0..2 {
        assert_eq!(door.request("GET", "/", request).await.text(), "body");
    }
    assert_eq!(backend.count(), expected, "{request:?} {response:?}");
}

#[tokio::test]
async fn what_may_not_be_shared_is_not_stored() {
    let user = ("Authorization", "Basic YTpi");
    let cookie = ("Set-Cookie", "a=b");
    let directives = |text: &'static str| ("Cache-Control", text);
    check(&[], &[FRESH], 1).await;
    check(&[], &[directives("max-age=60, no-store")], 2).await;
    check(&[], &[directives("max-age=60, private")], 2).await;
    check(&[user], &[FRESH], 2).await;
    check(&[user], &[directives("max-age=60, public")], 1).await;
    check(&[user], &[directives("s-maxage=60")], 1).await;
    check(&[user], &[directives("max-age=60, must-revalidate")], 1).await;
    check(&[], &[FRESH, cookie], 2).await;
    check(&[], &[directives("max-age=60, public"), cookie], 1).await;
    check(&[], &[FRESH, ("Vary", "*")], 2).await;
    check(&[("Cache-Control", "no-store")], &[FRESH], 2).await;
}

#[tokio::test]
async fn cookies_are_stored_where_the_operator_says_so() {
    let backend = Backend::always(answer(200, &[FRESH, ("Set-Cookie", "a=b")], "x")).await;
    let door = Door::with(&backend, |config| config.cache.store_set_cookie = true).await;
    door.get("/").await;
    let stored = door.get("/").await;
    assert_eq!(stored.cache(), "HIT");
    assert_eq!(stored.field("Set-Cookie"), "a=b");
}

#[tokio::test]
async fn an_answer_for_a_user_is_not_given_to_another() {
    let backend = Backend::start(|seen| {
        let user = seen.field("Authorization").unwrap_or_default();
        answer(200, &[FRESH], user)
    })
    .await;
    let door = Door::start(&backend).await;
    for user in ["Basic YTpi", "Basic YzpkCg=="] {
        let reply = door.request("GET", "/", &[("Authorization", user)]).await;
        assert_eq!(reply.text(), user);
    }
    assert_eq!(door.get("/").await.text(), "");
}

#[tokio::test]
async fn each_variant_is_stored_beside_the_others() {
    let backend = Backend::start(|seen| {
        let of = |name| seen.field(name).unwrap_or_default();
        let body = format!("{}/{}", of("Accept-Language"), of("X-Theme"));
        answer(200, &[FRESH, ("Vary", "Accept-Language, X-Theme")], body)
    })
    .await;
    let door = Door::start(&backend).await;
    let variants: [Lines<'_>; 4] = [
        &[],
        &[("Accept-Language", "de")],
        &[("Accept-Language", "fr")],
        &[("Accept-Language", "fr"), ("X-Theme", "dark")],
    ];
    for (round, cache) in [(0, "MISS"), (1, "HIT")] {
        for (place, lines) in variants.iter().enumerate() {
            let reply = door.request("GET", "/", lines).await;
            let of = |name: &str| {
                let line = lines.iter().find(|(own, _)| *own == name);
                line.map_or("", |(_, value)| value).to_owned()
            };
            let expected = format!("{}/{}", of("Accept-Language"), of("X-Theme"));
            assert_eq!(reply.text(), expected);
            assert_eq!(reply.cache(), cache, "{round} {place}");
        }
    }
    // Fields that are not named do not matter, nor does their order.
    let lines = [
        ("X-Other", "1"),
        ("X-Theme", "dark"),
        ("accept-language", "fr"),
    ];
    assert_eq!(door.request("GET", "/", &lines).await.cache(), "HIT");
    assert_eq!(backend.count(), 4);
    assert_eq!(door.front.store.objects(), 4);
    // All of them go together.
    let purged = door.request("PURGE", "/", &[]).await;
    assert!(purged.text().contains("Purged 4"), "{}", purged.text());
}

#[tokio::test]
async fn fields_for_one_user_go_to_the_one_who_asked() {
    for directives in [
        "max-age=60, private=\"X-User\"",
        "max-age=60, no-cache=\"X-User\"",
    ] {
        let fields = [
            ("Cache-Control", directives),
            ("X-User", "me"),
            ("X-All", "1"),
        ];
        let backend = Backend::always(answer(200, &fields, "body")).await;
        let door = Door::start(&backend).await;
        let asker = door.get("/").await;
        assert_eq!(
            (asker.field("X-User"), asker.field("X-All")),
            ("me".into(), "1".into())
        );
        let other = door.get("/").await;
        assert_eq!(
            (other.field("X-User"), other.field("X-All")),
            ("".into(), "1".into())
        );
        assert_eq!((other.cache().as_str(), other.text()), ("HIT", "body"));
    }
}

#[tokio::test]
async fn fields_for_one_user_do_not_go_to_those_who_wait() {
    let gate = Gate::new();
    let fields = [
        ("Cache-Control", "max-age=60, private=\"X-User\""),
        ("X-User", "me"),
    ];
    let backend = Backend::always(answer(200, &fields, "body").behind(&gate)).await;
    let door = Door::start(&backend).await;
    let mut asker = door.begin("GET", "/", &[]).await;
    backend.wait_for(1).await;
    let mut follower = door.begin("GET", "/", &[]).await;
    crate::support::until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    gate.open();
    assert_eq!(asker.reply("GET").await.field("X-User"), "me");
    assert_eq!(follower.reply("GET").await.field("X-User"), "");
}

#[tokio::test]
async fn where_nothing_could_be_stored_requests_fetch_side_by_side() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| {
        let answer = answer(200, &[("Cache-Control", "private")], "mine");
        match seen.index {
            0 => answer,
            _ => answer.behind(&held),
        }
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(door.begin("GET", "/", &[]).await);
    }
    // All three are at the backend at once, though it answers none of them.
    backend.wait_for(4).await;
    assert_eq!(door.counted(Counter::BusySleeps), 0);
    assert_eq!(door.counted(Counter::CacheHitsForMiss), 3);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.text(), "mine");
    }
}

#[tokio::test]
async fn a_mark_gives_way_to_an_answer_that_can_be_stored() {
    let backend = Backend::start(|seen| match seen.index {
        0 => answer(200, &[("Cache-Control", "no-store")], "secret"),
        _ => answer(200, &[FRESH], "public"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    assert_eq!(door.get("/").await.text(), "public");
    assert_eq!(door.get("/").await.cache(), "HIT");
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn head_of_what_is_not_stored_stays_a_head() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "no-store")], "")).await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    door.request("HEAD", "/", &[]).await;
    assert_eq!(backend.last().method, "HEAD");
}

#[tokio::test]
async fn a_get_with_a_body_is_passed() {
    let backend =
        Backend::start(|seen| answer(200, &[FRESH], format!("answer {}", seen.index))).await;
    let door = Door::start(&backend).await;
    let mut client = door.connect().await;
    assert_eq!(client.write("GET", "/", "query").await.text(), "answer 0");
    assert_eq!(backend.last().body, b"query");
    assert_eq!(client.get("/").await.text(), "answer 1");
    assert_eq!(client.write("GET", "/", "query").await.text(), "answer 2");
    assert_eq!(client.get("/").await.text(), "answer 1");
    // Nothing is no body.
    let empty = client.request("GET", "/", &[("Content-Length", "0")]).await;
    assert_eq!(empty.text(), "answer 1");
}

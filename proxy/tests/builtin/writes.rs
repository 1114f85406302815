//! Writes go through and invalidate (RFC 9111 §4.4), before their answers are seen.

use proxy::metrics::Counter;

use crate::FRESH;
use crate::support::{Answer, Backend, Door, Gate, Seen, answer, until};

/// A backend that stores nothing: GET answers count up, and writes get what the test says.
async fn counting(write: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Backend {
    Backend::start(move |seen| match &*seen.method {
        "GET" => answer(200, &[FRESH], format!("{} {}", seen.target, seen.index)),
        _ => write(seen),
    })
    .await
}

/// Whether a write with this answer ends what is stored for its target.
async fn check(method: &str, write: Answer, ends: bool) {
    let shown = format!("{method} {write:?}");
    let backend = counting(move |_| write.clone()).await;
    let door = Door::start(&backend).await;
    door.get("/a").await;
    let mut client = door.connect().await;
    client.send_head(method, "/a", &[]).await;
    client.try_head(method).await.expect("an answer");
    let cache = if ends { "MISS" } else { "HIT" };
    assert_eq!(door.get("/a").await.cache(), cache, "{shown}");
}

#[tokio::test]
async fn successful_writes_end_what_is_stored() {
    for method in ["PUT", "POST", "DELETE", "PATCH", "FOO"] {
        check(method, answer(200, &[], "done"), true).await;
    }
    for status in [201, 204, 302, 303] {
        check("POST", answer(status, &[], ""), true).await;
    }
}

#[tokio::test]
async fn failed_writes_and_safe_requests_end_nothing() {
    for status in [400, 404, 409, 412, 500, 503] {
        check("PUT", answer(status, &[], "no"), false).await;
    }
    check("OPTIONS", answer(200, &[], ""), false).await;
    check("TRACE", answer(200, &[], ""), false).await;
}

#[tokio::test]
async fn groups_that_a_write_names_end_with_it() {
    let backend = Backend::start(|seen| match &*seen.method {
        "GET" => answer(200, &[FRESH, ("Surrogate-Key", &seen.target[1..])], "value"),
        _ => answer(
            200,
            &[("Cache-Group-Invalidation", "\"a\", other, \"b\"")],
            "done",
        ),
    })
    .await;
    let door = Door::start(&backend).await;
    let targets = ["/a", "/b", "/c"];
    for target in targets {
        door.get(target).await;
    }
    assert_eq!(door.request("PUT", "/batch", &[]).await.status(), 200);
    let mut caches = Vec::new();
    for target in targets {
        caches.push(door.get(target).await.cache());
    }
    assert_eq!(caches, ["MISS", "MISS", "HIT"]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_may_have_been_done() {
    check("PUT", Answer::close(), true).await;
    check(
        "POST",
        Answer::default().then("HTTP/1.1 2").and_close(),
        true,
    )
    .await;
    check("DELETE", Answer::default().then("nonsense\r\n\r\n"), true).await;
}

#[tokio::test]
async fn a_write_that_reached_nobody_ends_nothing() {
    let first = answer(200, &[FRESH, ("Connection", "close")], "x").and_close();
    let mut backend = Backend::always(first).await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    backend.stop().await;
    assert_eq!(
        door.connect().await.write("PUT", "/", "v").await.status(),
        503
    );
    assert_eq!(door.get("/").await.cache(), "HIT");
}

#[tokio::test]
async fn locations_of_a_write_are_ended_too() {
    let backend = counting(|_| {
        let fields = [
            ("Location", "/new?x=1"),
            ("Content-Location", "http://example.org/canonical"),
        ];
        answer(201, &fields, "")
    })
    .await;
    let door = Door::start(&backend).await;
    let targets = ["/list", "/new?x=1", "/canonical", "/other"];
    for target in targets {
        door.get(target).await;
    }
    door.connect().await.write("POST", "/list", "v").await;
    let mut found = Vec::new();
    for target in targets {
        found.push(door.get(target).await.cache());
    }
    assert_eq!(found, ["MISS", "MISS", "MISS", "HIT"]);
    assert_eq!(door.counted(Counter::InvalidationsUnsafeMethod), 1);
    assert_eq!(door.counted(Counter::InvalidationsLocation), 2);
}

#[tokio::test]
async fn locations_elsewhere_are_left_alone() {
    let backend = counting(|_| {
        let fields = [("Location", "http://other.example/a")];
        answer(201, &fields, "")
    })
    .await;
    let door = Door::start(&backend).await;
    let other = [("Host", "other.example")];
    door.request("GET", "/a", &other).await;
    door.connect().await.write("POST", "/list", "v").await;
    assert_eq!(door.request("GET", "/a", &other).await.cache(), "HIT");
}

#[tokio::test]
async fn who_has_seen_a_writes_answer_sees_the_new_value() {
    // The head of the answer goes out while its body is held: seeing the head is enough.
    let (head, rest) = (Gate::new(), Gate::new());
    let (head_held, rest_held) = (head.clone(), rest.clone());
    let backend = counting(move |_| {
        Answer::default()
            .read_body()
            .hold(&head_held)
            .head(200, &[("Content-Length", "4")])
            .hold(&rest_held)
            .then("done")
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/a").await;
    let mut writer = door.begin("PUT", "/a", &[("Content-Length", "3")]).await;
    writer.send("new").await;
    until("the write", || backend.last().whole && backend.count() == 2).await;
    assert_eq!(backend.last().body, b"new");
    // Not answered yet: the value before is still the value.
    assert_eq!(door.get("/a").await.cache(), "HIT");
    head.open();
    let parsed = writer.head("PUT").await;
    assert_eq!(door.get("/a").await.text(), "/a 2");
    rest.open();
    assert_eq!(writer.body_of(parsed).await.text(), "done");
    assert_eq!(door.get("/a").await.text(), "/a 2");
}

#[tokio::test]
async fn a_fill_that_began_before_a_write_is_for_those_who_wait() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match (&*seen.method, seen.index) {
        ("GET", 0) => answer(200, &[FRESH], "old").behind(&held),
        ("GET", _) => answer(200, &[FRESH], "new"),
        _ => answer(204, &[], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut leader = door.begin("GET", "/", &[]).await;
    backend.wait_for(1).await;
    let mut follower = door.begin("GET", "/", &[]).await;
    until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    assert_eq!(
        door.connect().await.write("PUT", "/", "v").await.status(),
        204
    );
    // Who comes after the write does not join the fetch from before it.
    let after = door.get("/").await;
    assert_eq!(after.text(), "new");
    gate.open();
    let late = leader.reply("GET").await;
    assert_eq!(late.text(), "old");
    assert!(!late.field("Cache-Status").contains("stored"));
    assert_eq!(follower.reply("GET").await.text(), "old");
    assert_eq!(door.get("/").await.text(), "new");
    assert_eq!(door.counted(Counter::Fences), 1);
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn a_write_fences_fills_of_what_was_never_stored() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match (&*seen.method, seen.index) {
        ("GET", 0) => answer(200, &[FRESH], "old").behind(&held),
        ("GET", _) => answer(200, &[FRESH], "new"),
        _ => answer(204, &[], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut reader = door.begin("GET", "/", &[]).await;
    backend.wait_for(1).await;
    door.connect().await.write("PUT", "/", "v").await;
    gate.open();
    assert_eq!(reader.reply("GET").await.text(), "old");
    assert_eq!(door.get("/").await.text(), "new");
}

#[tokio::test]
async fn a_writer_that_leaves_has_written_all_the_same() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = counting(move |_| answer(204, &[], "").behind(&held)).await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let mut writer = door.begin("PUT", "/", &[("Content-Length", "1")]).await;
    writer.send("v").await;
    until("the write", || backend.count() == 2 && backend.last().whole).await;
    drop(writer);
    gate.open();
    until("the invalidation", || {
        door.counted(Counter::InvalidationsUnsafeMethod) == 1
    })
    .await;
    assert_eq!(door.get("/").await.cache(), "MISS");
}

#[tokio::test]
async fn a_write_whose_client_breaks_off_may_have_been_done() {
    let backend = counting(|_| answer(204, &[], "")).await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let mut writer = door.begin("PUT", "/", &[("Content-Length", "10")]).await;
    writer.send("part").await;
    backend.wait_for(2).await;
    drop(writer);
    until("the invalidation", || {
        door.counted(Counter::InvalidationsUnsafeMethod) == 1
    })
    .await;
    assert!(
        !backend.last().whole,
        "a part is never passed on as the whole"
    );
    assert_eq!(door.get("/").await.cache(), "MISS");
}

#[tokio::test]
async fn one_host_towards_the_backend_is_one_set_of_objects() {
    let backend = counting(|_| answer(204, &[], "")).await;
    let door = Door::with(&backend, |config| {
        config.backend.host_header = Some("app.example".parse().expect("a field's text"));
    })
    .await;
    let of = |host: &'static str| [("Host", host)];
    assert_eq!(
        door.request("GET", "/", &of("one.example")).await.text(),
        "/ 0"
    );
    assert_eq!(
        door.request("GET", "/", &of("two.example")).await.text(),
        "/ 0"
    );
    assert_eq!(backend.last().field("Host").as_deref(), Some("app.example"));
    let write = [("Host", "three.example"), ("Content-Length", "0")];
    door.request("PUT", "/", &write).await;
    assert_eq!(
        door.request("GET", "/", &of("one.example")).await.text(),
        "/ 2"
    );
    let purge = door.request("PURGE", "/", &of("four.example")).await;
    assert!(purge.text().contains("Purged 1"));
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn hosts_are_apart_where_the_backend_sees_them() {
    let backend = counting(|_| answer(204, &[], "")).await;
    let door = Door::start(&backend).await;
    let of = |host: &'static str| [("Host", host)];
    assert_eq!(
        door.request("GET", "/", &of("one.example")).await.text(),
        "/ 0"
    );
    assert_eq!(
        door.request("GET", "/", &of("two.example")).await.text(),
        "/ 1"
    );
    // Case and the default port are no difference.
    assert_eq!(
        door.request("GET", "/", &of("ONE.example:80")).await.text(),
        "/ 0"
    );
    let write = [("Host", "One.Example:80"), ("Content-Length", "0")];
    door.request("PUT", "/", &write).await;
    assert_eq!(
        door.request("GET", "/", &of("one.example")).await.text(),
        "/ 3"
    );
    assert_eq!(
        door.request("GET", "/", &of("two.example")).await.text(),
        "/ 1"
    );
}

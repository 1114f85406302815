//! Bodies on their way: trailers, early hints, 100-continue, limits, breaks, and who reads how fast.

use std::time::Duration;

use config::ByteSize;
use proxy::metrics::Counter;

use crate::support::{Answer, Backend, Door, Gate, answer, until};
use crate::{FRESH, OLD};

const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

#[tokio::test]
async fn trailers_come_with_a_miss_and_a_hit() {
    let backend = Backend::always(
        Answer::default()
            .head(200, &[FRESH, CHUNKED])
            .chunk("body")
            .then("0\r\nX-Sum: abc\r\nETag: \"late\"\r\nSet-Cookie: a=b\r\n\r\n"),
    )
    .await;
    let door = Door::start(&backend).await;
    for cache in ["MISS", "HIT"] {
        let reply = door.get("/").await;
        assert_eq!((reply.cache().as_str(), reply.text()), (cache, "body"));
        let trailers = reply.trailers.unwrap_or_default();
        assert_eq!(trailers.get_str("X-Sum"), Some("abc"), "{cache}");
        assert_eq!(trailers.len(), 1, "{cache}: {trailers:?}");
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_backend() {
    let backend = Backend::always(answer(200, &[], "")).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("POST", "/", &[CHUNKED]).await;
    client
        .send("4\r\nbody\r\n0\r\nX-Sum: abc\r\nAuthorization: late\r\n\r\n")
        .await;
    assert_eq!(client.reply("POST").await.status(), 200);
    let seen = backend.last();
    assert_eq!(seen.body, b"body");
    assert_eq!(seen.trailers, [("X-Sum".to_owned(), "abc".to_owned())]);
}

#[tokio::test]
async fn early_hints_are_relayed_to_the_one_who_asked() {
    let (hints, gate) = (Gate::new(), Gate::new());
    let backend = Backend::always(
        Answer::default()
            .hold(&hints)
            .head(103, &[("Link", "</a>; rel=preload")])
            .hold(&gate)
            .head(200, &[FRESH, ("Content-Length", "4")])
            .then("body"),
    )
    .await;
    let door = Door::start(&backend).await;
    let mut asker = door.begin("GET", "/", &[]).await;
    backend.wait_for(1).await;
    let mut follower = door.begin("GET", "/", &[]).await;
    until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    hints.open();
    let early = asker.informational().await;
    assert_eq!(early.status, 103);
    assert_eq!(early.fields.get_str("Link"), Some("</a>; rel=preload"));
    gate.open();
    assert_eq!(asker.reply("GET").await.text(), "body");
    let follower = follower.reply("GET").await;
    assert_eq!((follower.text(), follower.informational.len()), ("body", 0));
    assert_eq!(door.get("/").await.informational.len(), 0);
}

#[tokio::test]
async fn early_hints_right_before_the_answer_are_not_lost() {
    let backend = Backend::always(Answer::default().then(
        "HTTP/1.1 103 Hints\r\nX-N: 1\r\n\r\nHTTP/1.1 103 Hints\r\nX-N: 2\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    ))
    .await;
    let door = Door::start(&backend).await;
    for _ in 0..20 {
        let reply = door.get("/").await;
        let numbers = reply.informational.iter();
        let numbers: Vec<_> = numbers.map(|head| head.fields.get_str("X-N")).collect();
        assert_eq!(numbers, [Some("1"), Some("2")]);
        assert_eq!(reply.text(), "body");
    }
}

const EXPECTING: [(&str, &str); 2] = [("Content-Length", "4"), ("Expect", "100-continue")];

#[tokio::test]
async fn the_backend_says_when_to_continue() {
    let gate = Gate::new();
    let backend = Backend::always(
        Answer::default()
            .hold(&gate)
            .head(100, &[])
            .read_body()
            .head(200, &[("Content-Length", "4")])
            .then("done"),
    )
    .await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("PUT", "/", &EXPECTING).await;
    backend.wait_for(1).await;
    let expect = backend.last().field("Expect");
    assert_eq!(expect.as_deref(), Some("100-continue"));
    assert!(
        client.receives_nothing().await,
        "the backend has not said so"
    );
    gate.open();
    assert_eq!(client.informational().await.status, 100);
    client.send("body").await;
    let reply = client.reply("PUT").await;
    assert_eq!((reply.status(), reply.text()), (200, "done"));
    assert_eq!(reply.informational.len(), 0, "told once");
    assert_eq!(backend.last().body, b"body");
    // The connection is good for more.
    client.send_head("PUT", "/", &EXPECTING).await;
    client.send("body").await;
    assert_eq!(client.reply("PUT").await.status(), 200);
}

#[tokio::test]
async fn a_backend_may_refuse_a_body_before_it_is_sent() {
    let backend = Backend::always(answer(413, &[], "too much").leave_body().and_close()).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("PUT", "/", &EXPECTING).await;
    let reply = client.reply("PUT").await;
    assert_eq!((reply.status(), reply.text()), (413, "too much"));
    assert_eq!(reply.informational.len(), 0, "nobody asked for the body");
    assert_eq!(reply.field("Connection"), "close");
}

#[tokio::test]
async fn a_client_need_not_wait_for_ever_to_continue() {
    // The backend knows nothing of 100-continue and waits for the body.
    let backend = Backend::always(answer(200, &[], "done")).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("PUT", "/", &EXPECTING).await;
    assert_eq!(client.informational().await.status, 100);
    client.send("body").await;
    assert_eq!(client.reply("PUT").await.text(), "done");
    // A client that does not wait at all is served as well.
    client.send_head("PUT", "/", &EXPECTING).await;
    client.send("body").await;
    assert_eq!(client.reply("PUT").await.text(), "done");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let backend = Backend::always(answer(200, &[], "done")).await;
    let door = Door::with(&backend, |config| {
        config.limits.request_body_bytes_max = ByteSize::new(10);
    })
    .await;
    let mut client = door.begin("PUT", "/", &[("Content-Length", "11")]).await;
    let reply = client.reply("PUT").await;
    assert_eq!(reply.status(), 413, "by its length");
    assert_eq!(reply.field("Connection"), "close");
    let mut client = door.begin("PUT", "/", &[CHUNKED]).await;
    client.send("6\r\nabcdef\r\n").await;
    client.send("6\r\nabcdef\r\n0\r\n\r\n").await;
    assert_eq!(client.reply("PUT").await.status(), 413, "by its bytes");
    assert!(backend.seen().iter().all(|seen| !seen.whole));
    let fits = door.connect().await.write("PUT", "/", "0123456789").await;
    assert_eq!(fits.status(), 200);
}

#[tokio::test]
async fn a_malformed_body_is_refused() {
    let backend = Backend::always(answer(200, &[], "done")).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("POST", "/", &[CHUNKED]).await;
    client.send("4\r\nbody\r\nnonsense\r\n").await;
    assert_eq!(client.reply("POST").await.status(), 400);
    until("the request", || backend.count() <= 1).await;
    assert!(backend.seen().iter().all(|seen| !seen.whole));
}

#[tokio::test]
async fn a_truncated_answer_is_seen_as_broken_and_does_not_stay() {
    let known = Answer::default().head(200, &[FRESH, ("Content-Length", "10")]);
    let chunked = Answer::default().head(200, &[FRESH, CHUNKED]);
    for (name, broken) in [
        ("length", known.then("begin")),
        ("chunked", chunked.chunk("begin")),
    ] {
        let gate = Gate::new();
        let broken = broken.hold(&gate).and_close();
        let backend = Backend::start(move |seen| match seen.index {
            0 => broken.clone(),
            _ => answer(200, &[FRESH], "whole body"),
        })
        .await;
        let door = Door::start(&backend).await;
        let mut first = door.begin("GET", "/", &[]).await;
        let first_head = first.head("GET").await;
        // Reads the same object while it fills.
        let mut second = door.begin("GET", "/", &[]).await;
        let second_head = second.head("GET").await;
        gate.open();
        for reply in [
            first.body_of(first_head).await,
            second.body_of(second_head).await,
        ] {
            assert_eq!((reply.text(), reply.whole), ("begin", false), "{name}");
        }
        let again = door.get("/").await;
        assert_eq!((again.text(), again.cache()), ("whole body", "MISS".into()));
        assert_eq!(door.get("/").await.cache(), "HIT", "{name}");
        assert_eq!(backend.count(), 2, "{name}");
        assert_eq!(door.counted(Counter::NotStoredIncomplete), 1, "{name}");
    }
}

/// A front door that keeps little.
async fn small(backend: &Backend) -> Door {
    Door::with(backend, |config| {
        config.cache.object_bytes_max = ByteSize::kibibytes(64);
        config.cache.transit_bytes = ByteSize::kibibytes(64);
    })
    .await
}

fn large_body() -> String {
    let pattern = "0123456789abcdef".repeat(64);
    (0..512)
        .map(|n| format!("{n:08}{}", &pattern[8..]))
        .collect()
}

#[tokio::test]
async fn an_answer_that_outgrows_the_limit_reaches_everybody_whole() {
    let gate = Gate::new();
    let body = large_body();
    let mut large = Answer::default()
        .head(200, &[FRESH, CHUNKED])
        .chunk("begin")
        .hold(&gate);
    for piece in body.as_bytes().chunks(16 * 1024) {
        large = large.chunk(std::str::from_utf8(piece).expect("ASCII"));
    }
    let backend = Backend::always(large.then("0\r\n\r\n")).await;
    let door = small(&backend).await;
    let mut first = door.begin("GET", "/", &[]).await;
    let first_head = first.head("GET").await;
    let mut second = door.begin("GET", "/", &[]).await;
    let second_head = second.head("GET").await;
    assert_eq!(second_head.head.fields.get_str("X-Cache"), Some("HIT"));
    gate.open();
    let expected = format!("begin{body}");
    let (first, second) = tokio::join!(first.body_of(first_head), second.body_of(second_head));
    for reply in [first, second] {
        assert!(reply.whole);
        assert!(reply.text() == expected, "{} bytes", reply.body.len());
    }
    assert_eq!(backend.count(), 1);
    until("the mark", || door.counted(Counter::NotStoredTooLarge) == 1).await;
    assert_eq!(door.front.settings().transit.held_bytes(), 0);
    // What is left is a mark.
    assert!(door.get("/").await.text() == expected);
    assert_eq!(door.counted(Counter::CacheHitsForMiss), 1);
    assert_eq!(backend.count(), 2);
    door.front.store.run_pending_tasks();
    assert!(door.front.store.weight_bytes() < 16 * 1024);
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_large_is_not_begun_to_be_kept() {
    let body = large_body();
    let backend = Backend::always(answer(200, &[FRESH], &body)).await;
    let door = small(&backend).await;
    for count in 1..3 {
        let reply = door.get("/").await;
        assert!(reply.text() == body);
        assert_eq!(reply.cache(), "MISS");
        assert_eq!(backend.count(), count);
    }
    assert_eq!(door.counted(Counter::NotStoredTooLarge), 2);
    assert_eq!(door.counted(Counter::CacheHitsForMiss), 1);
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_disturb_the_others() {
    // Once with a body that is kept, once with one that outgrows the limit.
    for outgrows in [false, true] {
        let gate = Gate::new();
        let body = if outgrows {
            large_body()
        } else {
            "end".to_owned()
        };
        let fields = [FRESH, CHUNKED];
        let answer = Answer::default()
            .head(200, &fields)
            .chunk("begin")
            .hold(&gate);
        let backend = Backend::always(answer.chunk(&body).then("0\r\n\r\n")).await;
        let door = small(&backend).await;
        let mut leaver = door.begin("GET", "/", &[]).await;
        leaver.head("GET").await;
        let mut stayer = door.begin("GET", "/", &[]).await;
        let head = stayer.head("GET").await;
        drop(leaver);
        gate.open();
        let reply = stayer.body_of(head).await;
        assert!(reply.whole && reply.text() == format!("begin{body}"));
        assert_eq!(backend.count(), 1);
        if !outgrows {
            assert_eq!(door.get("/").await.cache(), "HIT");
        }
    }
}

#[tokio::test]
async fn a_fill_goes_on_when_everybody_has_left() {
    let gate = Gate::new();
    let answer = Answer::default()
        .head(200, &[FRESH, CHUNKED])
        .chunk("begin")
        .hold(&gate);
    let backend = Backend::always(answer.chunk(" end").then("0\r\n\r\n")).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("GET", "/", &[]).await;
    client.head("GET").await;
    drop(client);
    gate.open();
    let reply = door.get("/").await;
    assert_eq!((reply.text(), reply.cache()), ("begin end", "HIT".into()));
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_private_fetch_ends_with_its_client() {
    let gate = Gate::new();
    let backend = Backend::always(answer(200, &[], "late").behind(&gate)).await;
    let door = Door::start(&backend).await;
    let pool = door.front.backends();
    let in_use = || {
        pool.servers()
            .map(|server| server.connections)
            .sum::<usize>()
    };
    let client = door.begin("OPTIONS", "/", &[]).await;
    backend.wait_for(1).await;
    assert_eq!(in_use(), 1);
    // Reset: whoever only stops sending may still wait for the answer.
    client.reset();
    until("the backend's connection to be closed", || in_use() == 0).await;
}

#[tokio::test]
async fn a_slow_client_holds_a_window_and_no_more() {
    const WINDOW: u64 = 64 * 1024;
    let body = large_body().repeat(32);
    let backend = Backend::always(answer(200, &[("Cache-Control", "no-store")], &body)).await;
    let door = small(&backend).await;
    let transit = door.front.settings().transit.clone();
    let mut client = door.begin("GET", "/", &[]).await;
    let head = client.head("GET").await;
    until("the window to fill", || transit.held_bytes() > WINDOW).await;
    for _ in 0..20 {
        // One piece over the window, as large as one read.
        let held = transit.held_bytes();
        assert!(held <= WINDOW + 512 * 1024, "{held}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = client.body_of(head).await;
    assert!(reply.whole && reply.text() == body);
    until("the window to empty", || transit.held_bytes() == 0).await;
}

#[tokio::test]
async fn the_first_bytes_arrive_before_the_last_are_made() {
    let gate = Gate::new();
    let answer = Answer::default()
        .head(200, &[FRESH, OLD, CHUNKED])
        .chunk("first")
        .hold(&gate);
    let backend = Backend::always(answer.chunk("last").then("0\r\n\r\n")).await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("GET", "/", &[]).await;
    let head = client.head("GET").await;
    client.receive("5\r\nfirst\r\n").await;
    gate.open();
    assert_eq!(client.body_of(head).await.text(), "last");
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_stored_with_its_length() {
    let backend = Backend::always(
        Answer::default()
            .head(200, &[FRESH])
            .then("body")
            .and_close(),
    );
    let backend = backend.await;
    let door = Door::start(&backend).await;
    assert_eq!(door.get("/").await.text(), "body");
    let stored = door.get("/").await;
    assert_eq!((stored.cache().as_str(), stored.text()), ("HIT", "body"));
    assert_eq!(stored.field("Content-Length"), "4");
}

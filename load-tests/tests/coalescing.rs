//! What clients share: one fetch for many, stored answers and their variants, and the ways to forget them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use load_tests::backend::Backend;
use load_tests::client::{Connection, Request, get};
use load_tests::front::Front;
use load_tests::pattern::Pattern;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

/// Something that a test lets happen, once and for all.
#[derive(Clone)]
struct Gate(watch::Sender<bool>);

impl Gate {
    fn new() -> Gate {
        Gate(watch::Sender::new(false))
    }

    fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        self.0
            .subscribe()
            .wait_for(|open| *open)
            .await
            .expect("the gate itself holds the sender");
    }
}

/// A backend with one large body, of which it sends the first part and the rest once the gate opens.
async fn halting(
    first_bytes: usize,
    all_bytes: usize,
    fields: &'static [(&'static str, &'static str)],
    gate: &Gate,
) -> Backend {
    let gate = gate.clone();
    Backend::start(move |mut exchange| {
        let gate = gate.clone();
        async move {
            let mut content = Pattern::new();
            let mut all = vec![("Transfer-Encoding", "chunked")];
            let length = all_bytes.to_string();
            if fields.contains(&("X-Framing", "length")) {
                all = vec![("Content-Length", length.as_str())];
            }
            all.extend(fields);
            let chunked = all[0].0 == "Transfer-Encoding";
            exchange.write_head(200, &all).await?;
            for (index, size) in [first_bytes, all_bytes - first_bytes]
                .into_iter()
                .enumerate()
            {
                if index == 1 {
                    gate.pass().await;
                }
                for piece in content.bytes(size).chunks(16 << 10) {
                    if chunked {
                        exchange.write_chunk(piece).await?
                    } else {
                        exchange.write(piece).await?
                    }
                }
            }
            if chunked {
                exchange.write_chunk(b"").await?;
            }
            Ok(exchange)
        }
    })
    .await
}

/// Reads a body of the pattern, and says on the way that its first bytes are there.
async fn read_pattern(
    connection: &mut Connection,
    first_bytes: u64,
    mut began: impl FnMut(),
) -> Result<u64> {
    let head = connection.receive_head("GET").await?;
    ensure!(head.status == 200, "{head:?}");
    let mut content = Pattern::new();
    let mut told = false;
    while let Some(piece) = connection.receive_piece().await? {
        content.check(&piece)?;
        if !told && content.position() >= first_bytes {
            told = true;
            began();
        }
    }
    Ok(content.position())
}

#[tokio::test]
async fn a_hundred_clients_share_one_fetch_and_read_it_as_it_arrives() {
    const CLIENTS: usize = 100;
    const FIRST: usize = 10_000;
    const ALL: usize = 1_000_000;
    let gate = Gate::new();
    let backend = halting(FIRST, ALL, &[FRESH], &gate).await;
    let front = Front::start(backend.address).await;
    let began = watch::Sender::new(0);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, began) = (front.address, began.clone());
        clients.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection.send(&Request::get("/cold")).await?;
            read_pattern(&mut connection, FIRST as u64, || {
                began.send_modify(|count| *count += 1)
            })
            .await
        });
    }
    // The backend has not been allowed to make the last bytes, and everybody has the first ones.
    let all_began = async {
        began
            .subscribe()
            .wait_for(|count| *count == CLIENTS)
            .await
            .map(drop)
    };
    let waited = timeout(Duration::from_secs(20), all_began).await;
    assert!(
        waited.is_ok(),
        "only {} of {CLIENTS} clients have the first bytes",
        *began.borrow()
    );
    gate.open();
    while let Some(read) = clients.join_next().await {
        assert_eq!(read.unwrap().unwrap(), ALL as u64);
    }
    assert_eq!(backend.count("/cold"), 1);
    let later = front.get("/cold").await;
    assert!(later.is_hit(), "{later:?}");
    assert_eq!((later.body.len(), backend.count("/cold")), (ALL, 1));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_hurt_the_others() {
    const FIRST: usize = 10_000;
    const ALL: usize = 500_000;
    let gate = Gate::new();
    let backend = halting(FIRST, ALL, &[FRESH], &gate).await;
    let front = Front::start(backend.address).await;
    // The one that caused the fetch leaves in the middle of its body.
    let mut leader = Connection::open(front.address).await.unwrap();
    leader.send(&Request::get("/cold")).await.unwrap();
    leader.receive_head("GET").await.unwrap();
    leader.receive_piece().await.unwrap();
    let mut others = JoinSet::new();
    let began = watch::Sender::new(0);
    for number in 0..10 {
        let (address, began) = (front.address, began.clone());
        others.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection.send(&Request::get("/cold")).await?;
            if number % 2 == 0 {
                connection.receive_head("GET").await?;
                began.send_modify(|count| *count += 1);
                return Ok(ALL as u64);
            }
            read_pattern(&mut connection, FIRST as u64, || {
                began.send_modify(|count| *count += 1)
            })
            .await
        });
    }
    timeout(Duration::from_secs(10), async {
        began
            .subscribe()
            .wait_for(|count| *count == 10)
            .await
            .map(drop)
    })
    .await
    .expect("everybody reads")
    .unwrap();
    drop(leader);
    // Time for the front door to see it.
    sleep(Duration::from_millis(200)).await;
    gate.open();
    while let Some(read) = others.join_next().await {
        assert_eq!(read.unwrap().unwrap(), ALL as u64);
    }
    let later = front.get("/cold").await;
    assert!(later.is_hit() && later.body.len() == ALL, "{later:?}");
    assert_eq!(backend.count("/cold"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_as_a_fetch_ends_gets_the_whole_body() {
    const TARGETS: usize = 2_000;
    const CLIENTS: usize = 6;
    // No length tells a client that something is missing.
    let backend = Backend::start(|mut exchange| async move {
        exchange
            .write_head(200, &[FRESH, ("Transfer-Encoding", "chunked")])
            .await?;
        let target = exchange.seen.head.target.clone();
        exchange.write_chunk(target.as_bytes()).await?;
        exchange.write_chunk(b"").await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let address = front.address;
        clients.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for number in 0..TARGETS {
                let target = format!("/{number}");
                let answer = connection.ask(&Request::get(&target)).await?;
                ensure!(answer.text() == target, "{target}: {answer:?}");
            }
            Ok(())
        });
    }
    for client in clients.join_all().await {
        client.unwrap();
    }
    let asked = backend.seen().len();
    assert_eq!(asked, TARGETS, "each was fetched once");
}

#[tokio::test]
async fn answers_that_cannot_be_shared_are_fetched_side_by_side() {
    const DELAY: Duration = Duration::from_millis(400);
    const CLIENTS: u64 = 20;
    let number = Arc::new(AtomicU64::new(0));
    let backend = Backend::start(move |mut exchange| {
        let number = Arc::clone(&number);
        async move {
            let number = number.fetch_add(1, Ordering::Relaxed);
            sleep(DELAY).await;
            exchange
                .reply(200, &[("Cache-Control", "private")], number.to_string())
                .await?;
            Ok(exchange)
        }
    })
    .await;
    let front = Front::start(backend.address).await;
    for round in 1..=2 {
        let started = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let address = front.address;
            clients.spawn(async move { get(address, "/mine").await });
        }
        let mut bodies = Vec::new();
        while let Some(answer) = clients.join_next().await {
            let answer = answer.unwrap().unwrap();
            assert_eq!((answer.status(), answer.is_hit()), (200, false));
            bodies.push(answer.text());
        }
        // Nobody got what was meant for another.
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len() as u64, CLIENTS);
        // The first round may wait once, for the answer that says so; a queue would take twenty delays.
        let allowed = DELAY * if round == 1 { 6 } else { 4 };
        assert!(
            started.elapsed() < allowed,
            "round {round} took {:?}",
            started.elapsed()
        );
    }
    assert_eq!(backend.count("/mine") as u64, 2 * CLIENTS);
}

/// Answers with the number of the request to the same target, from 1, after `delay` from the second on.
async fn counting(delay: Duration, fields: &'static [(&'static str, &'static str)]) -> Backend {
    let counts = Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
    Backend::start(move |mut exchange| {
        let counts = Arc::clone(&counts);
        async move {
            let number = {
                let mut counts = counts.lock().unwrap();
                let count = counts
                    .entry(exchange.seen.head.target.clone())
                    .or_insert(0_u64);
                *count += 1;
                *count
            };
            if number > 1 {
                sleep(delay).await;
            }
            exchange.reply(200, fields, number.to_string()).await?;
            Ok(exchange)
        }
    })
    .await
}

/// Twenty clients ask at once; returns their bodies and the time that it took them.
async fn crowd(front: &Front, target: &'static str) -> (Vec<String>, Duration) {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let address = front.address;
        clients.spawn(async move { get(address, target).await.unwrap().text() });
    }
    (clients.join_all().await, started.elapsed())
}

async fn becomes(front: &Front, target: &str, body: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = front.get(target).await;
        if answer.text() == body {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{target} does not become {body}: {answer:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_request_refreshes_it() {
    const DELAY: Duration = Duration::from_millis(1500);
    let backend = counting(
        DELAY,
        &[("Cache-Control", "max-age=1, stale-while-revalidate=30")],
    )
    .await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "0s");
    })
    .await;
    assert_eq!(front.get("/page").await.text(), "1");
    sleep(Duration::from_millis(1300)).await;
    let (bodies, took) = crowd(&front, "/page").await;
    assert_eq!(bodies, ["1"; 20]);
    assert!(took < DELAY, "somebody waited for the refresh: {took:?}");
    becomes(&front, "/page", "2").await;
    assert_eq!(backend.count("/page"), 2);
}

#[tokio::test]
async fn grace_covers_answers_that_say_nothing_of_staleness() {
    const DELAY: Duration = Duration::from_millis(1500);
    let backend = counting(DELAY, &[("Cache-Control", "max-age=1")]).await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "10s");
    })
    .await;
    assert_eq!(front.get("/page").await.text(), "1");
    sleep(Duration::from_millis(1300)).await;
    let (bodies, took) = crowd(&front, "/page").await;
    assert_eq!(bodies, ["1"; 20]);
    assert!(took < DELAY, "somebody waited for the refresh: {took:?}");
    becomes(&front, "/page", "2").await;
    assert_eq!(backend.count("/page"), 2);
}

#[tokio::test]
async fn beyond_grace_one_request_fetches_and_everybody_waits_for_it() {
    let backend = counting(
        Duration::from_millis(300),
        &[("Cache-Control", "max-age=1")],
    )
    .await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "0s");
    })
    .await;
    assert_eq!(front.get("/page").await.text(), "1");
    sleep(Duration::from_millis(1300)).await;
    let (bodies, _) = crowd(&front, "/page").await;
    assert_eq!(bodies, ["2"; 20]);
    assert_eq!(backend.count("/page"), 2);
}

#[tokio::test]
async fn must_revalidate_is_never_served_stale() {
    let backend = counting(
        Duration::from_millis(100),
        &[("Cache-Control", "max-age=1, must-revalidate")],
    )
    .await;
    let front = Front::start(backend.address).await;
    assert_eq!(front.get("/page").await.text(), "1");
    assert_eq!(front.get("/page").await.text(), "1");
    sleep(Duration::from_millis(1300)).await;
    assert_eq!(front.get("/page").await.text(), "2");
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failing_backend() {
    let backend = Backend::start(|mut exchange| async move {
        if exchange.seen.field("X-Fail").is_some() {
            exchange.reply(503, &[], "sick").await?;
        } else {
            exchange
                .reply(
                    200,
                    &[("Cache-Control", "max-age=1, stale-if-error=60")],
                    "well",
                )
                .await?;
        }
        Ok(exchange)
    })
    .await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "0s");
    })
    .await;
    assert_eq!(front.get("/page").await.text(), "well");
    sleep(Duration::from_millis(1300)).await;
    let during = front.ask(&Request::get("/page").field("X-Fail", "1")).await;
    assert_eq!((during.status(), during.text().as_str()), (200, "well"));
    let unknown = front
        .ask(&Request::get("/other").field("X-Fail", "1"))
        .await;
    assert_eq!((unknown.status(), unknown.text().as_str()), (503, "sick"));
    drop(backend);
    let gone = front.get("/page").await;
    assert_eq!((gone.status(), gone.text().as_str()), (200, "well"));
    assert!(matches!(front.get("/third").await.status(), 502 | 503));
}

#[tokio::test]
async fn a_stale_answer_is_confirmed_by_304() {
    let backend = Backend::start(|mut exchange| async move {
        let (tag, date) = ("\"v1\"", "Tue, 04 Jun 2013 03:01:31 GMT");
        let validator = match exchange.seen.head.target.as_str() {
            "/tag" => ("ETag", tag),
            _ => ("Last-Modified", date),
        };
        let asked = exchange.seen.field("If-None-Match") == Some(tag) && validator.0 == "ETag"
            || exchange.seen.field("If-Modified-Since") == Some(date)
                && validator.0 == "Last-Modified";
        if asked {
            exchange
                .reply(
                    304,
                    &[validator, ("Cache-Control", "max-age=60"), ("X-Round", "2")],
                    "",
                )
                .await?;
        } else {
            exchange
                .reply(
                    200,
                    &[
                        validator,
                        ("Cache-Control", "max-age=1"),
                        ("X-Round", "1"),
                        ("X-Kept", "k"),
                    ],
                    "body",
                )
                .await?;
        }
        Ok(exchange)
    })
    .await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "0s");
    })
    .await;
    for target in ["/tag", "/date"] {
        let first = front.get(target).await;
        assert_eq!(
            (
                first.status(),
                first.text().as_str(),
                first.field("X-Round")
            ),
            (200, "body", Some("1"))
        );
    }
    sleep(Duration::from_millis(1300)).await;
    for target in ["/tag", "/date"] {
        let second = front.get(target).await;
        assert_eq!(
            (second.status(), second.text().as_str()),
            (200, "body"),
            "{second:?}"
        );
        assert_eq!(
            (second.field("X-Round"), second.field("X-Kept")),
            (Some("2"), Some("k")),
            "{second:?}"
        );
        let third = front.get(target).await;
        assert!(third.is_hit() && third.text() == "body", "{third:?}");
        assert_eq!(backend.count(target), 2);
    }
}

#[tokio::test]
async fn a_304_to_the_clients_own_condition_is_not_stored_as_the_answer() {
    let backend = Backend::start(|mut exchange| async move {
        // A backend that answers the condition if it is let through: the front door must ask for itself.
        if exchange.seen.field("If-None-Match").is_some() {
            exchange
                .reply(304, &[("ETag", "\"v1\""), FRESH], "")
                .await?;
        } else {
            exchange
                .reply(200, &[("ETag", "\"v1\""), FRESH], "body")
                .await?;
        }
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let conditional = front
        .ask(&Request::get("/page").field("If-None-Match", "\"v1\""))
        .await;
    assert_eq!(
        (conditional.status(), conditional.field("ETag")),
        (304, Some("\"v1\""))
    );
    let plain = front.get("/page").await;
    assert_eq!((plain.status(), plain.text().as_str()), (200, "body"));
    let other = front
        .ask(&Request::get("/page").field("If-None-Match", "\"v0\""))
        .await;
    assert_eq!((other.status(), other.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn variants_are_kept_side_by_side() {
    let backend = Backend::start(|mut exchange| async move {
        let language = exchange
            .seen
            .field("Accept-Language")
            .unwrap_or("none")
            .to_owned();
        let vary = match exchange.seen.head.target.as_str() {
            "/any" => "*",
            _ => "Accept-Language",
        };
        exchange
            .reply(200, &[FRESH, ("Vary", vary)], language)
            .await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let ask =
        |target: &str, language: &str| Request::get(target).field("Accept-Language", language);
    for round in 0..3 {
        for language in ["en", "de", "fr"] {
            let answer = front.ask(&ask("/page", language)).await;
            assert_eq!(
                (answer.text().as_str(), answer.is_hit()),
                (language, round > 0),
                "{answer:?}"
            );
        }
        let without = front.get("/page").await;
        assert_eq!(
            (without.text().as_str(), without.is_hit()),
            ("none", round > 0)
        );
        let any = front.ask(&ask("/any", "en")).await;
        assert_eq!((any.text().as_str(), any.is_hit()), ("en", false));
    }
    assert_eq!((backend.count("/page"), backend.count("/any")), (4, 3));
    // Many variants of one URL, all of them found again.
    for round in 0..2 {
        let mut connection = Connection::open(front.address).await.unwrap();
        for number in 0..300 {
            let language = format!("x-{number}");
            let answer = connection.ask(&ask("/many", &language)).await.unwrap();
            assert_eq!((answer.text(), answer.is_hit()), (language, round == 1));
        }
    }
}

#[tokio::test]
async fn parts_come_from_stored_answers_and_from_those_that_still_arrive() {
    const FIRST: usize = 5_000;
    const ALL: usize = 300_000;
    let gate = Gate::new();
    let backend = halting(
        FIRST,
        ALL,
        &[
            FRESH,
            ("ETag", "\"v\""),
            ("Accept-Ranges", "bytes"),
            ("X-Framing", "length"),
        ],
        &gate,
    )
    .await;
    let front = Front::start(backend.address).await;
    let mut whole = Connection::open(front.address).await.unwrap();
    whole.send(&Request::get("/big")).await.unwrap();
    whole.receive_head("GET").await.unwrap();
    let content = Pattern::new().bytes(ALL);
    let early = front
        .ask(&Request::get("/big").field("Range", "bytes=100-199"))
        .await;
    assert_eq!(
        (early.status(), early.body.as_slice()),
        (206, &content[100..200])
    );
    assert_eq!(early.field("Content-Range"), Some("bytes 100-199/300000"));
    let address = front.address;
    let late = tokio::spawn(async move {
        load_tests::client::ask(
            address,
            &Request::get("/big").field("Range", "bytes=299000-"),
        )
        .await
    });
    sleep(Duration::from_millis(100)).await;
    assert!(!late.is_finished(), "those bytes do not exist yet");
    gate.open();
    let late = late.await.unwrap().unwrap();
    assert_eq!(
        (late.status(), late.body.as_slice()),
        (206, &content[299_000..])
    );
    let mut read = 0;
    while let Some(piece) = whole.receive_piece().await.unwrap() {
        read += piece.len();
    }
    assert_eq!(read, ALL);
    let stored = front
        .ask(&Request::get("/big").field("Range", "bytes=-10"))
        .await;
    assert_eq!(
        (stored.status(), stored.body.as_slice(), stored.is_hit()),
        (206, &content[ALL - 10..], true)
    );
    let beyond = front
        .ask(&Request::get("/big").field("Range", "bytes=300000-"))
        .await;
    assert_eq!(
        (beyond.status(), beyond.field("Content-Range")),
        (416, Some("bytes */300000"))
    );
    assert_eq!(backend.count("/big"), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_whole() {
    for framing in [("Content-Length", "1000"), ("Transfer-Encoding", "chunked")] {
        let backend = Backend::start(move |mut exchange| async move {
            exchange.write_head(200, &[FRESH, framing]).await?;
            let part = if framing.0 == "Content-Length" {
                "x".repeat(500)
            } else {
                format!("1f4\r\n{}\r\n", "x".repeat(500))
            };
            exchange.write(part.as_bytes()).await?;
            exchange.close();
            Ok(exchange)
        })
        .await;
        let front = Front::start(backend.address).await;
        for round in 1..=2 {
            let broken = get(front.address, "/page").await;
            assert!(broken.is_err(), "a part was delivered as whole: {broken:?}");
            assert_eq!(backend.count("/page"), round, "a part was stored");
        }
    }
}

async fn stored(front: &Front, target: &str) -> bool {
    front.get(target).await.is_hit()
}

/// Fetches each target, so that it is stored.
async fn store(front: &Front, targets: &[&str]) {
    for target in targets {
        front.get(target).await;
        assert!(stored(front, target).await, "{target} is not stored");
    }
}

#[tokio::test]
async fn purged_answers_are_gone_with_all_variants() {
    let backend = counting(Duration::ZERO, &[FRESH, ("Vary", "Accept-Language")]).await;
    let front = Front::start(backend.address).await;
    store(&front, &["/a", "/b", "/a?q"]).await;
    let german = Request::get("/a").field("Accept-Language", "de");
    front.ask(&german).await;
    assert!(front.ask(&german).await.is_hit());
    let other_host = Request::get("/a").field("Host", "other.test");
    front.ask(&other_host).await;
    assert!(front.ask(&other_host).await.is_hit());
    assert_eq!(front.ask(&Request::new("PURGE", "/a")).await.status(), 200);
    assert!(!front.ask(&german).await.is_hit());
    assert!(!stored(&front, "/a").await);
    for (target, what) in [("/b", "another path"), ("/a?q", "another query")] {
        assert!(stored(&front, target).await, "{what} was purged as well");
    }
    assert!(
        front.ask(&other_host).await.is_hit(),
        "another host was purged as well"
    );
    assert_eq!(
        front.ask(&Request::new("PURGE", "/never")).await.status(),
        200
    );
    assert_eq!(
        backend
            .seen()
            .iter()
            .filter(|seen| seen.head.method != "GET")
            .count(),
        0
    );
}

#[tokio::test]
async fn softly_purged_answers_are_served_while_they_are_fetched_anew() {
    const DELAY: Duration = Duration::from_millis(1000);
    let backend = counting(DELAY, &[FRESH]).await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.grace", "10s");
    })
    .await;
    store(&front, &["/a"]).await;
    let purge = Request::new("PURGE", "/a").field("Lacquer-Purge", "soft");
    assert_eq!(front.ask(&purge).await.status(), 200);
    let (bodies, took) = crowd(&front, "/a").await;
    assert_eq!(bodies, ["1"; 20]);
    assert!(took < DELAY, "somebody waited: {took:?}");
    becomes(&front, "/a", "2").await;
    assert_eq!(backend.count("/a"), 2);
}

#[tokio::test]
async fn answers_are_purged_by_their_surrogate_keys() {
    let backend = Backend::start(|mut exchange| async move {
        let keys = exchange
            .seen
            .head
            .target
            .trim_start_matches('/')
            .replace('+', " ");
        exchange
            .reply(200, &[FRESH, ("Surrogate-Key", &keys)], keys.clone())
            .await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    store(
        &front,
        &["/red", "/red+green", "/green", "/blue", "/redder"],
    )
    .await;
    let purge = Request::new("PURGE", "/").field("Surrogate-Key", "red blue");
    assert_eq!(front.ask(&purge).await.status(), 200);
    for (target, kept) in [
        ("/red", false),
        ("/red+green", false),
        ("/green", true),
        ("/blue", false),
        ("/redder", true),
    ] {
        assert_eq!(stored(&front, target).await, kept, "{target}");
    }
}

#[tokio::test]
async fn answers_are_banned_by_expressions() {
    let backend = Backend::start(|mut exchange| async move {
        let colour = exchange
            .seen
            .head
            .target
            .rsplit('-')
            .next()
            .unwrap_or_default()
            .to_owned();
        exchange
            .reply(200, &[FRESH, ("X-Colour", &colour)], colour.clone())
            .await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("purge.lurker_interval", "10s");
    })
    .await;
    let ban = async |expression: &str| {
        front
            .ask(&Request::new("BAN", "/").field("Lacquer-Ban", expression))
            .await
            .status()
    };
    let all = ["/news-red", "/news-blue", "/shop-red", "/shop-blue"];
    let cases = [
        ("req.url == /news-red", [false, true, true, true]),
        ("req.url ~ ^/news", [false, false, true, true]),
        ("req.url !~ ^/news", [true, true, false, false]),
        ("obj.http.x-colour == blue", [true, false, true, false]),
        ("obj.http.X-Colour ~ ^r", [false, true, false, true]),
        (
            "req.url ~ ^/news && obj.http.x-colour == red",
            [false, true, true, true],
        ),
        ("obj.status == 404", [true, true, true, true]),
        ("req.http.host == other.test", [true, true, true, true]),
    ];
    for (expression, kept) in cases {
        store(&front, &all).await;
        assert_eq!(ban(expression).await, 200, "{expression}");
        for (target, kept) in all.iter().zip(kept) {
            assert_eq!(
                stored(&front, target).await,
                kept,
                "{target} after {expression}"
            );
        }
    }
    store(&front, &all).await;
    for nonsense in [
        "",
        "req.url",
        "req.url ~ (",
        "req.url == a || req.url == b",
        "req.uri == /",
        "obj.http.x =",
    ] {
        assert_eq!(ban(nonsense).await, 400, "{nonsense}");
    }
    // A ban is for what was stored before it.
    for target in all {
        assert!(stored(&front, target).await);
    }
}

#[tokio::test]
async fn the_lurker_drops_banned_answers_that_nobody_asks_for() {
    let backend = counting(Duration::ZERO, &[FRESH, ("X-Tag", "old")]).await;
    let front = Front::start(backend.address).await;
    let targets: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    for target in &targets {
        front.get(target).await;
    }
    let before = front.scrape().await.unwrap();
    assert_eq!(
        front
            .ask(&Request::new("BAN", "/").field("Lacquer-Ban", "obj.http.x-tag == old"))
            .await
            .status(),
        200
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = front.scrape().await.unwrap();
        let killed = now.sum("varnish_main_bans_lurker_obj_killed")
            - before.sum("varnish_main_bans_lurker_obj_killed");
        if killed == 50.0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the lurker has dropped {killed} of 50"
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert!(!stored(&front, "/7").await);
}

#[tokio::test]
async fn purges_and_bans_are_for_those_who_are_allowed() {
    let backend = counting(Duration::ZERO, &[FRESH, ("Surrogate-Key", "k")]).await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set("purge.allow", r#"["127.0.0.9/32"]"#);
    })
    .await;
    let orders = [
        Request::new("PURGE", "/a"),
        Request::new("PURGE", "/a").field("Lacquer-Purge", "soft"),
        Request::new("PURGE", "/").field("Surrogate-Key", "k"),
        Request::new("BAN", "/").field("Lacquer-Ban", "req.url ~ ."),
    ];
    store(&front, &["/a"]).await;
    for order in &orders {
        assert_eq!(front.ask(order).await.status(), 403, "{order:?}");
        // What a client claims about its address counts for nothing.
        let claiming = order
            .clone()
            .field("X-Forwarded-For", "127.0.0.9")
            .field("Forwarded", "for=127.0.0.9");
        assert_eq!(front.ask(&claiming).await.status(), 403, "{order:?}");
    }
    assert!(stored(&front, "/a").await);
    for order in &orders {
        store(&front, &["/a"]).await;
        let mut allowed = Connection::open_from("127.0.0.9:0".parse().unwrap(), front.address)
            .await
            .unwrap();
        assert_eq!(allowed.ask(order).await.unwrap().status(), 200, "{order:?}");
        if order.fields.has("Lacquer-Purge") {
            becomes(&front, "/a", &(backend.count("/a") + 1).to_string()).await;
        } else {
            assert!(!stored(&front, "/a").await, "{order:?}");
        }
    }
    let closed = Front::start_with(backend.address, |settings| {
        settings.set("purge.enabled", "false");
    })
    .await;
    store(&closed, &["/b"]).await;
    for order in &orders {
        assert!(
            matches!(closed.ask(order).await.status(), 403 | 405),
            "{order:?}"
        );
    }
    assert!(stored(&closed, "/b").await);
    assert_eq!(
        backend
            .seen()
            .iter()
            .filter(|seen| seen.head.method != "GET")
            .count(),
        0
    );
}

#[tokio::test]
async fn a_write_forgets_what_it_names_and_fences_fills_that_began_before() {
    let gate = Gate::new();
    let held = gate.clone();
    let version = Arc::new(AtomicU64::new(1));
    let backend = Backend::start(move |mut exchange| {
        let (gate, version) = (held.clone(), Arc::clone(&version));
        async move {
            if exchange.seen.head.method == "GET" {
                let version = version.load(Ordering::SeqCst);
                let slow = exchange.seen.field("X-Slow").is_some();
                if slow {
                    gate.pass().await;
                }
                exchange.reply(200, &[FRESH], version.to_string()).await?;
            } else {
                let failing = exchange.seen.field("X-Fail").is_some();
                version.fetch_add(1, Ordering::SeqCst);
                let status = if failing { 500 } else { 200 };
                exchange
                    .reply(
                        status,
                        &[("Location", "/named"), ("Content-Location", "/twin")],
                        "",
                    )
                    .await?;
            }
            Ok(exchange)
        }
    })
    .await;
    let front = Front::start(backend.address).await;
    let names = ["/item", "/named", "/twin", "/apart"];
    for method in ["PUT", "POST", "DELETE", "PATCH", "BREW"] {
        store(&front, &names).await;
        assert_eq!(
            front.ask(&Request::new(method, "/item")).await.status(),
            200
        );
        for (name, kept) in names.iter().zip([false, false, false, true]) {
            assert_eq!(stored(&front, name).await, kept, "{name} after {method}");
        }
    }
    store(&front, &names).await;
    front
        .ask(&Request::new("PUT", "/item").field("X-Fail", "1"))
        .await;
    assert!(stored(&front, "/named").await, "a failed write named it");
    // A fill that began before the write, and ends after it.
    let address = front.address;
    let slow = tokio::spawn(async move {
        load_tests::client::ask(address, &Request::get("/raced").field("X-Slow", "1")).await
    });
    backend.wait_for_count("/raced", 1).await;
    assert_eq!(front.ask(&Request::put("/raced", "")).await.status(), 200);
    let after = timeout(Duration::from_secs(5), front.get("/raced")).await;
    let after = after.expect("a read after the write waits for the older fill");
    gate.open();
    let slow = slow.await.unwrap().context("the slow read").unwrap();
    let (old, new): (u64, u64) = (slow.text().parse().unwrap(), after.text().parse().unwrap());
    assert!(
        old < new,
        "the read after the write got {new}, the one before it {old}"
    );
    for _ in 0..5 {
        assert_eq!(
            front.get("/raced").await.text(),
            new.to_string(),
            "the older fill was stored"
        );
    }
}

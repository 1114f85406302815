//! HTTP/1 as clients and backends may speak it, well and badly, on the front door's real socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::{Duration, Instant};

use load_tests::backend::Backend;
use load_tests::client::{Connection, Request, ask, get};
use load_tests::front::Front;
use tokio::time::sleep;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
const SOON: Duration = Duration::from_secs(3);

/// Says what it was asked: `METHOD TARGET BODY`. Only what begins with `/cached` may be stored.
async fn mirror() -> Backend {
    Backend::start(|mut exchange| async move {
        let head = exchange.seen.head.clone();
        let mut said = format!("{} {} ", head.method, head.target).into_bytes();
        said.extend(&exchange.seen.body);
        let control = if head.target.starts_with("/cached") {
            FRESH
        } else {
            ("Cache-Control", "no-store")
        };
        exchange.reply(200, &[control], said).await?;
        Ok(exchange)
    })
    .await
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let backend = mirror().await;
    let front = Front::start(backend.address).await;
    let mut connection = Connection::open(front.address).await.unwrap();
    for round in 0..20 {
        let hit = connection.ask(&Request::get("/cached")).await.unwrap();
        assert_eq!(
            (hit.text().as_str(), hit.is_hit()),
            ("GET /cached ", round > 0)
        );
        let pass = connection.ask(&Request::get("/passed")).await.unwrap();
        assert_eq!(
            (pass.text().as_str(), pass.is_hit()),
            ("GET /passed ", false)
        );
        let post = connection
            .ask(&Request::new("POST", "/posted").body(format!("round {round}")))
            .await
            .unwrap();
        assert_eq!(post.text(), format!("POST /posted round {round}"));
        let head = connection
            .ask(&Request::new("HEAD", "/cached"))
            .await
            .unwrap();
        assert_eq!(
            (head.field("Content-Length"), head.body.len()),
            (Some("12"), 0)
        );
        let refused = connection
            .ask(&Request::get("/cached").field("Range", "bytes=100-"))
            .await
            .unwrap();
        assert_eq!(refused.status(), 416);
    }
    // The backend's connections are used again as well, but for those not yet given back when the next
    // request comes.
    assert!(
        backend.connections() <= 10,
        "{} connections for 41 requests",
        backend.connections()
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = mirror().await;
    let front = Front::start(backend.address).await;
    get(front.address, "/cached").await.unwrap();
    let mut requests = Vec::new();
    for number in 0..10 {
        requests.push(Request::get(&format!("/passed/{number}")));
        requests.push(Request::get("/cached"));
        requests
            .push(Request::new("POST", "/posted").body(format!("GET /inside HTTP/1.1 {number}")));
        requests.push(Request::new("HEAD", "/cached"));
    }
    let all: Vec<u8> = requests.iter().flat_map(Request::to_bytes).collect();
    let mut connection = Connection::open(front.address).await.unwrap();
    connection.send_raw(&all).await.unwrap();
    for request in &requests {
        let answer = connection.receive(&request.method).await.unwrap();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let expected = match request.method.as_str() {
            "HEAD" => String::new(),
            method => format!("{method} {} {body}", request.target),
        };
        assert_eq!((answer.status(), answer.text()), (200, expected));
    }
    assert_eq!(backend.count("/inside"), 0);
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let backend = mirror().await;
    let front = Front::start(backend.address).await;
    let mut connection = Connection::open(front.address).await.unwrap();
    for target in ["/cached/cold", "/passed"] {
        let answer = connection.ask(&Request::new("HEAD", target)).await.unwrap();
        assert_eq!((answer.status(), answer.body.len()), (200, 0), "{answer:?}");
    }
    // A HEAD never stands in for the body that it leaves out.
    let whole = connection.ask(&Request::get("/cached/cold")).await.unwrap();
    assert_eq!(whole.text(), "GET /cached/cold ");
}

#[tokio::test]
async fn a_client_is_told_to_continue_only_when_its_body_is_wanted() {
    let backend = mirror().await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set("limits.request_body_bytes_max", "1000");
    })
    .await;
    let mut connection = Connection::open(front.address).await.unwrap();
    for round in 0..3 {
        let head =
            "PUT /up HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        connection.send_raw(head.as_bytes()).await.unwrap();
        let interim = connection.receive_head("PUT").await.unwrap();
        assert_eq!(interim.status, 100, "round {round}");
        connection.send_raw(b"hello").await.unwrap();
        let answer = connection.receive("PUT").await.unwrap();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "PUT /up hello")
        );
        assert!(
            answer.informational.is_empty(),
            "a second 100: {:?}",
            answer.informational
        );
    }
    // Who does not wait for it is served as well.
    let eager = connection
        .ask(&Request::put("/up", "eager").field("Expect", "100-continue"))
        .await
        .unwrap();
    assert_eq!(eager.text(), "PUT /up eager");
    let mut large = Connection::open(front.address).await.unwrap();
    large.send_raw(b"PUT /up HTTP/1.1\r\nHost: h.test\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
    let refused = large.receive("PUT").await.unwrap();
    assert_eq!(
        (refused.status(), refused.informational.len()),
        (413, 0),
        "{refused:?}"
    );
    let unknown = ask(
        front.address,
        &Request::put("/up", "x").field("Expect", "200-maybe"),
    )
    .await
    .unwrap();
    assert_eq!(unknown.status(), 417, "RFC 9110 §10.1.1");
}

#[tokio::test]
async fn informational_answers_are_relayed() {
    let backend = Backend::start(|mut exchange| async move {
        exchange
            .write_head(103, &[("Link", "</style.css>; rel=preload")])
            .await?;
        sleep(Duration::from_millis(300)).await;
        let control = if exchange.seen.head.target == "/cached" {
            FRESH
        } else {
            ("Cache-Control", "no-store")
        };
        exchange.reply(200, &[control], "final").await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    for target in ["/cached", "/passed"] {
        let mut connection = Connection::open(front.address).await.unwrap();
        connection.send(&Request::get(target)).await.unwrap();
        let started = Instant::now();
        let early = connection.receive_head("GET").await.unwrap();
        assert_eq!(
            (early.status, early.fields.get("Link")),
            (103, Some("</style.css>; rel=preload")),
            "{target}"
        );
        assert!(
            started.elapsed() < Duration::from_millis(250),
            "the hint came late"
        );
        let answer = connection.receive("GET").await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "final"));
    }
    let stored = front.get("/cached").await;
    assert!(
        stored.is_hit() && stored.informational.is_empty(),
        "{stored:?}"
    );
    // HTTP/1.0 knows no such answers (RFC 9110 §15.2).
    let mut old = Connection::open(front.address).await.unwrap();
    old.send_raw(b"GET /passed HTTP/1.0\r\nHost: h.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(old.receive_head("GET").await.unwrap().status, 200);
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let backend = Backend::start(|mut exchange| async move {
        exchange
            .write_head(
                200,
                &[
                    ("Transfer-Encoding", "chunked"),
                    ("Trailer", "X-Sum"),
                    ("Cache-Control", "no-store"),
                ],
            )
            .await?;
        let said = exchange.seen.body.clone();
        for piece in said.chunks(7) {
            exchange.write_chunk(piece).await?;
        }
        let sum = exchange
            .seen
            .trailers
            .get("X-Up")
            .unwrap_or("none")
            .to_owned();
        exchange
            .write(format!("0\r\nX-Sum: {sum}\r\n\r\n").as_bytes())
            .await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let mut connection = Connection::open(front.address).await.unwrap();
    for number in 0..3 {
        let head = "POST /up HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Up\r\n\r\n";
        let body = format!(
            "5\r\nhello\r\n1a;ext=1\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX-Up: {number}\r\n\r\n"
        );
        connection
            .send_raw(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        let answer = connection.receive("POST").await.unwrap();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "helloabcdefghijklmnopqrstuvwxyz")
        );
        assert_eq!(
            answer.trailers.get("X-Sum"),
            Some(number.to_string().as_str()),
            "{answer:?}"
        );
        assert_eq!(answer.field("Content-Length"), None);
    }
    // One chunk at a time, split wherever a network may split it.
    let mut slow = Connection::open(front.address).await.unwrap();
    for byte in b"POST /up HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nB\r\n01234567890\r\n0\r\n\r\n" {
        slow.send_raw(&[*byte]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(slow.receive("POST").await.unwrap().text(), "abc01234567890");
}

#[tokio::test]
async fn an_upgrade_becomes_a_pipe() {
    let backend = Backend::start_at_heads(|mut exchange| async move {
        if exchange.seen.head.target == "/refused" {
            exchange.reply(200, &[], "no").await?;
            return Ok(exchange);
        }
        let upgrade = exchange.seen.field("Upgrade").unwrap_or("none").to_owned();
        exchange
            .write_head(101, &[("Connection", "Upgrade"), ("Upgrade", &upgrade)])
            .await?;
        exchange.write(b"hello first").await?;
        let stream = exchange.wire();
        loop {
            let mut heard = stream.read_raw().await?;
            if heard.is_empty() {
                break;
            }
            heard.reverse();
            stream.write(&heard).await?;
        }
        exchange.write(b"bye").await?;
        exchange.close();
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let ask = |target: &str| {
        Request::get(target)
            .field("Connection", "Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let mut connection = Connection::open(front.address).await.unwrap();
    connection.send(&ask("/chat")).await.unwrap();
    let head = connection.receive_head("GET").await.unwrap();
    assert_eq!(
        (head.status, head.fields.get("Upgrade")),
        (101, Some("websocket"))
    );
    assert!(head.fields.has_token("Connection", "upgrade"), "{head:?}");
    let pipe = connection.wire();
    assert_eq!(pipe.read_exactly(11).await.unwrap(), b"hello first");
    for message in [
        &b"abc"[..],
        &[0, 255, 13, 10, 13, 10],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        pipe.write(message).await.unwrap();
        let mut expected = message.to_vec();
        expected.reverse();
        assert_eq!(pipe.read_exactly(message.len()).await.unwrap(), expected);
    }
    // Each direction ends by itself.
    pipe.shut().await.unwrap();
    assert_eq!(
        tokio::time::timeout(SOON, pipe.read_to_end())
            .await
            .unwrap()
            .unwrap(),
        b"bye"
    );
    let mut refused = Connection::open(front.address).await.unwrap();
    let answer = refused.ask(&ask("/refused")).await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "no"));
    assert_eq!(
        backend.seen_at("/chat")[0].field("Sec-WebSocket-Key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
}

#[tokio::test]
async fn events_are_not_buffered() {
    let backend = Backend::start(|mut exchange| async move {
        let fields = [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache"),
            ("Transfer-Encoding", "chunked"),
        ];
        exchange.write_head(200, &fields).await?;
        for number in 0..5 {
            exchange
                .write_chunk(format!("data: {number}\n\n").as_bytes())
                .await?;
            sleep(Duration::from_millis(300)).await;
        }
        exchange.write_chunk(b"").await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let mut connection = Connection::open(front.address).await.unwrap();
    connection
        .send(&Request::get("/events").field("Accept", "text/event-stream"))
        .await
        .unwrap();
    let started = Instant::now();
    let head = connection.receive_head("GET").await.unwrap();
    assert_eq!(head.fields.get("Content-Type"), Some("text/event-stream"));
    for number in 0..5_u32 {
        let event = connection.receive_piece().await.unwrap().unwrap();
        assert_eq!(
            String::from_utf8(event).unwrap(),
            format!("data: {number}\n\n")
        );
        // Before the next one exists.
        let late = started
            .elapsed()
            .saturating_sub(Duration::from_millis(300) * number);
        assert!(
            late < Duration::from_millis(280),
            "event {number} came {late:?} late"
        );
    }
    assert_eq!(connection.receive_piece().await.unwrap(), None);
}

#[tokio::test]
async fn http_1_0_is_served() {
    let backend = Backend::start(|mut exchange| async move {
        if exchange.seen.head.target == "/chunked" {
            exchange
                .write_head(200, &[FRESH, ("Transfer-Encoding", "chunked")])
                .await?;
            for piece in ["in ", "many ", "pieces"] {
                exchange.write_chunk(piece.as_bytes()).await?;
            }
            exchange.write_chunk(b"").await?;
        } else {
            exchange.reply(200, &[FRESH], "sized").await?;
        }
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    for (target, body) in [
        ("/chunked", "in many pieces"),
        ("/sized", "sized"),
        ("/chunked", "in many pieces"),
    ] {
        let mut connection = Connection::open(front.address).await.unwrap();
        connection
            .send_raw(format!("GET {target} HTTP/1.0\r\nHost: lacquer.test\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let answer = connection.receive("GET").await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, body));
        assert_eq!(
            answer.field("Transfer-Encoding"),
            None,
            "HTTP/1.0 knows no chunks"
        );
        assert!(
            connection.closes_within(SOON).await,
            "HTTP/1.0 closes unless asked not to"
        );
    }
    let mut kept = Connection::open(front.address).await.unwrap();
    for _ in 0..2 {
        kept.send_raw(
            b"GET /sized HTTP/1.0\r\nHost: lacquer.test\r\nConnection: keep-alive\r\n\r\n",
        )
        .await
        .unwrap();
        let answer = kept.receive("GET").await.unwrap();
        assert_eq!(answer.text(), "sized");
        if !answer.head.fields.has_token("Connection", "keep-alive") {
            // It may refuse, by closing.
            assert!(kept.closes_within(SOON).await);
            break;
        }
    }
    let mut nameless = Connection::open(front.address).await.unwrap();
    nameless
        .send_raw(b"GET /sized HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(nameless.receive("GET").await.unwrap().text(), "sized");
}

#[tokio::test]
async fn connections_end_when_either_side_says_so() {
    let backend = mirror().await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set("limits.requests_per_connection_max", "3");
    })
    .await;
    let mut asked = Connection::open(front.address).await.unwrap();
    let answer = asked
        .ask(&Request::get("/cached").field("Connection", "close"))
        .await
        .unwrap();
    assert!(
        answer.head.fields.has_token("Connection", "close"),
        "{answer:?}"
    );
    assert!(asked.closes_within(SOON).await);
    let mut counted = Connection::open(front.address).await.unwrap();
    for number in 1..=3 {
        let answer = counted.ask(&Request::get("/cached")).await.unwrap();
        assert_eq!(
            answer.head.fields.has_token("Connection", "close"),
            number == 3,
            "{number}: {answer:?}"
        );
    }
    assert!(counted.closes_within(SOON).await);
}

#[tokio::test]
async fn fields_of_one_hop_stay_there() {
    let backend = Backend::start(|mut exchange| async move {
        let fields = [
            FRESH,
            ("Connection", "X-Private, keep-alive"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Public", "2"),
        ];
        exchange.reply(200, &fields, "body").await?;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let request = Request::get("/page")
        .field("Connection", "X-Hop, keep-alive, Host")
        .field("X-Hop", "1")
        .field("Keep-Alive", "timeout=5")
        .field("TE", "gzip")
        .field("Proxy-Authorization", "Basic eA==")
        .field("Proxy-Connection", "keep-alive")
        .field("X-End", "2");
    for hit in [false, true] {
        let answer = front.ask(&request).await;
        assert_eq!(answer.is_hit(), hit);
        assert_eq!(answer.field("X-Public"), Some("2"));
        for gone in ["X-Private", "Keep-Alive", "Proxy-Authenticate"] {
            assert_eq!(answer.field(gone), None, "{answer:?}");
        }
        assert!(
            answer.head.fields.joined("Via").contains("lacquer"),
            "{answer:?}"
        );
        assert!(
            answer
                .head
                .fields
                .joined("Cache-Status")
                .contains("lacquer"),
            "{answer:?}"
        );
        assert!(answer.head.fields.has("X-Varnish"));
        assert_eq!(answer.head.fields.has("Age"), hit, "{answer:?}");
    }
    let seen = &backend.seen_at("/page")[0];
    for gone in [
        "X-Hop",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
    ] {
        assert_eq!(seen.field(gone), None, "{seen:?}");
    }
    assert_eq!(
        (seen.field("X-End"), seen.field("Host")),
        (Some("2"), Some("lacquer.test"))
    );
    assert!(
        seen.head.fields.joined("Via").contains("lacquer"),
        "{seen:?}"
    );
    let bare = Front::start_with(backend.address, |settings| {
        settings
            .set_text("response.via", "")
            .set_text("response.cache_status", "");
        settings
            .set("response.x_cache", "false")
            .set("response.x_varnish", "false");
    })
    .await;
    let answer = bare.get("/bare").await;
    for gone in ["Via", "Cache-Status", "X-Cache", "X-Varnish"] {
        assert_eq!(answer.field(gone), None, "{answer:?}");
    }
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let backend = mirror().await;
    let front = Front::start(backend.address).await;
    let mut connection = Connection::open(front.address).await.unwrap();
    let request = Request::get("http://named.test/cached?q=1").field("Host", "named.test");
    assert_eq!(
        connection.ask(&request).await.unwrap().text(),
        "GET /cached?q=1 "
    );
    assert_eq!(backend.seen()[0].field("Host"), Some("named.test"));
    let same = connection
        .ask(&Request::get("/cached?q=1").field("Host", "NAMED.test"))
        .await
        .unwrap();
    assert!(same.is_hit(), "{same:?}");
    // It stands above Host, for the cache and for the backend (RFC 9112 §3.2.2).
    let other = Request::get("http://other.test/cached?q=1").field("Host", "named.test");
    let other = connection.ask(&other).await.unwrap();
    assert!(!other.is_hit(), "{other:?}");
    assert_eq!(backend.seen()[1].field("Host"), Some("other.test"));
    let again = connection
        .ask(&Request::get("/cached?q=1").field("Host", "other.test"))
        .await
        .unwrap();
    assert!(again.is_hit(), "{again:?}");
}

const HELLO: &str = "Host: h.test\r\n";

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_right_status() {
    let backend = mirror().await;
    let front = Front::start_with(backend.address, |settings| {
        settings
            .set("limits.header_bytes_max", "4096")
            .set("limits.header_count_max", "20");
        settings
            .set("limits.target_bytes_max", "1000")
            .set("limits.request_body_bytes_max", "10000");
    })
    .await;
    let fields = |count: usize| {
        (0..count)
            .map(|number| format!("X-{number}: v\r\n"))
            .collect::<String>()
    };
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\n{HELLO}{fields}\r\n");
    let get = |fields: &str| head("GET /limited", fields);
    let put = |fields: &str| head("PUT /limited", fields);
    let cases = [
        ("many fields", get(&fields(19)), 200),
        ("too many fields", get(&fields(20)), 431),
        (
            "large fields",
            get(&format!("X: {}\r\n", "v".repeat(3900))),
            200,
        ),
        (
            "too large fields",
            get(&format!("X: {}\r\n", "v".repeat(4096))),
            431,
        ),
        (
            "a head without an end",
            format!("GET /limited HTTP/1.1\r\n{HELLO}X: {}", "v".repeat(100_000)),
            431,
        ),
        (
            "a long target",
            head(&format!("GET /{}", "t".repeat(999)), ""),
            200,
        ),
        (
            "too long a target",
            head(&format!("GET /{}", "t".repeat(1000)), ""),
            414,
        ),
        (
            "a target without an end",
            format!("GET /{}", "t".repeat(100_000)),
            414,
        ),
        (
            "a large body",
            put("Content-Length: 10000\r\n") + &"b".repeat(10_000),
            200,
        ),
        ("too large a body", put("Content-Length: 10001\r\n"), 413),
        (
            "an immense body",
            put("Content-Length: 9223372036854775807\r\n"),
            413,
        ),
        (
            "large chunks",
            put("Transfer-Encoding: chunked\r\n")
                + &format!("2710\r\n{}\r\n0\r\n\r\n", "b".repeat(10_000)),
            200,
        ),
        (
            "too large chunks",
            put("Transfer-Encoding: chunked\r\n")
                + &format!("2711\r\n{}\r\n0\r\n\r\n", "b".repeat(10_001)),
            413,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request, expected) in cases {
        let mut connection = Connection::open(front.address).await.unwrap();
        // The front door may close before it has taken everything.
        let _ = connection.send_raw(request.as_bytes()).await;
        match connection.receive("GET").await {
            Ok(answer) if answer.status() != expected => wrong.push(format!("{what}: {answer:?}")),
            Ok(_) if expected != 200 && !connection.closes_within(SOON).await => {
                wrong.push(format!("{what}: stays open"))
            }
            Ok(_) => {}
            Err(problem) => wrong.push(format!("{what}: {problem:#}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let whole = backend
        .seen()
        .iter()
        .filter(|seen| seen.body_bytes > 10_000)
        .count();
    assert_eq!(whole, 0, "the backend got a body above the limit");
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let backend = mirror().await;
    let front = Front::start_with(backend.address, |settings| {
        settings
            .set_text("timeouts.header_read", "500ms")
            .set_text("timeouts.body_read", "500ms")
            .set_text("timeouts.idle", "1s");
    })
    .await;
    // Neither one byte at a time keeps a head alive.
    let mut head = Connection::open(front.address).await.unwrap();
    let started = Instant::now();
    for byte in b"GET /slow HTTP/1.1\r\nHost: h.test\r\nX-Field: and so on and so on\r\n"
        .iter()
        .cycle()
        .take(60)
    {
        if head.send_raw(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(40)).await;
        if started.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    match head.receive("GET").await {
        Ok(answer) => assert_eq!(answer.status(), 408, "{answer:?}"),
        // The answer may be lost to bytes that were sent after it.
        Err(problem) => assert!(format!("{problem:#}").contains("reset"), "{problem:#}"),
    }
    let mut silent = Connection::open(front.address).await.unwrap();
    silent
        .send_raw(b"GET /slow HTTP/1.1\r\nHost: h.te")
        .await
        .unwrap();
    assert_eq!(silent.receive("GET").await.unwrap().status(), 408);
    assert!(silent.closes_within(SOON).await);
    let mut body = Connection::open(front.address).await.unwrap();
    body.send_raw(b"PUT /slow HTTP/1.1\r\nHost: h.test\r\nContent-Length: 10\r\n\r\n12345")
        .await
        .unwrap();
    assert_eq!(body.receive("PUT").await.unwrap().status(), 408);
    assert!(body.closes_within(SOON).await);
    // Between requests nobody is owed an answer.
    let mut idle = Connection::open(front.address).await.unwrap();
    assert_eq!(
        idle.ask(&Request::get("/cached")).await.unwrap().status(),
        200
    );
    let started = Instant::now();
    assert!(
        idle.closes_within(SOON).await,
        "an idle connection stays, or is answered"
    );
    assert!(
        started.elapsed() > Duration::from_millis(700),
        "closed after {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn idle_and_slow_clients_do_not_keep_others_out() {
    let backend = mirror().await;
    let front = Front::start(backend.address).await;
    let mut held = Vec::new();
    for number in 0..500 {
        let mut connection = Connection::open(front.address).await.unwrap();
        if number % 2 == 0 {
            connection
                .send_raw(b"GET /slow HTTP/1.1\r\nHost: h.te")
                .await
                .unwrap();
        }
        held.push(connection);
    }
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(front.get("/cached").await.status(), 200);
    }
    assert!(
        started.elapsed() < SOON,
        "20 requests took {:?}",
        started.elapsed()
    );
}

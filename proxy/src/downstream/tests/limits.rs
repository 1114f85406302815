use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::DownstreamSettings;
use super::support::{PATIENCE, start, talk};
use crate::http::Method;
use crate::http1::HeadLimits;

/// Short for whoever waits, long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn bad_requests_are_answered_and_the_connection_ends() {
    let settings = DownstreamSettings {
        head: HeadLimits {
            head_bytes_max: 2048,
            fields_max: 20,
            target_bytes_max: 200,
        },
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(20));
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(100_000));
    for (input, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\u{2}\0", 400),
        (&many, 431),
        (&large, 431),
        (&target, 414),
    ] {
        let reply = talk(&server, input).await;
        let shown = &input[..input.len().min(80)];
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown:?}: {reply}"
        );
        assert!(reply.contains("Connection: close\r\n"), "{reply}");
        assert!(reply.contains("Content-Type: text/plain"), "{reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{shown:?}: {reply}");
        assert_eq!(server.handler.refused.lock().pop(), Some(status));
    }
}

#[tokio::test]
async fn good_requests_before_a_bad_one_are_answered() {
    let server = start(DownstreamSettings::default()).await;
    let reply = talk(
        &server,
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost a\r\n\r\n",
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains("helloHTTP/1.1 400 "), "{reply}");
}

#[tokio::test]
async fn broken_bodies_are_answered_with_400() {
    let server = start(DownstreamSettings::default()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "x\r\n",
        "1\nx",
        "1\r\nxy\r\n",
        "0\r\nHost: b\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
    ] {
        let reply = talk(&server, [head, body].concat()).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{body:?}: {reply}");
        assert!(reply.contains("Connection: close\r\n"), "{reply}");
    }
}

#[tokio::test]
async fn large_bodies_are_refused_by_what_they_declare_or_by_what_they_are() {
    let settings = DownstreamSettings {
        request_body_bytes_max: Some(1000),
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let declared = "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n";
    let reply = talk(&server, declared).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    let head = "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let reply = talk(&server, [head, &chunk.repeat(3), "0\r\n\r\n"].concat()).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("Connection: close\r\n"), "{reply}");

    let mut client = server.connect().await;
    client
        .send([head, &chunk.repeat(2), "0\r\n\r\n"].concat())
        .await;
    assert_eq!(client.reply(Method::Post).await.text(), "1000");
}

#[tokio::test]
async fn a_connection_serves_no_more_requests_than_allowed() {
    let settings = DownstreamSettings {
        requests_per_connection_max: NonZeroU32::new(2),
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/hello").await.field("connection"), None);
    assert_eq!(
        client.get("/hello").await.field("connection"),
        Some("close")
    );
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_timed_out_as_a_whole() {
    let settings = DownstreamSettings {
        head_read_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let client = server.connect().await;
    let began = Instant::now();
    let (mut read, mut write) = client.stream.into_split();
    let trickle = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain([b'y'; 1000].iter()) {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut reply = String::new();
    // A reset after the reply is the trickle's own doing.
    let _ = read.read_to_string(&mut reply).await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.handler.refused.lock().pop(), Some(408));
    trickle.abort();
}

#[tokio::test]
async fn idle_connections_end_without_a_word() {
    let settings = DownstreamSettings {
        idle_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    assert_eq!(talk(&server, "").await, "");
    let mut client = server.connect().await;
    // Requests in between put the end off.
    for _ in 0..4 {
        tokio::time::sleep(SHORT / 2).await;
        assert_eq!(client.get("/hello").await.text(), "hello");
    }
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    assert!(began.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn a_body_that_stops_is_timed_out() {
    let settings = DownstreamSettings {
        body_read_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let head = "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
    let reply = talk(&server, [head, "12345"].concat()).await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert_eq!(
        server.event().await,
        "error: timed out while waiting for the request body"
    );

    // One that goes on slowly is not.
    let mut client = server.connect().await;
    client.send(head).await;
    for _ in 0..10 {
        tokio::time::sleep(SHORT / 6).await;
        client.send("x").await;
    }
    assert_eq!(client.reply(Method::Post).await.text(), "10");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_timed_out() {
    let settings = DownstreamSettings {
        write_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = server.connect().await;
    client
        .send("GET /large?64 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(
        server.event().await,
        "error: timed out while waiting for the client to take the reply"
    );
    assert_eq!(server.event().await, "connection ended");

    // One that reads slowly but reads is served to the end.
    let mut client = server.connect().await;
    client
        .send("GET /large?8 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let mut buffer = vec![0; 1024 * 1024];
    let mut total = 0;
    while total < 8 * 1024 * 1024 {
        tokio::time::sleep(SHORT / 8).await;
        let count = client.stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "ended after {total}");
        total += count;
    }
}

#[tokio::test]
async fn no_bytes_make_a_connection_hang_or_the_server_fail() {
    let settings = DownstreamSettings {
        linger_timeout: SHORT,
        body_read_timeout: SHORT,
        head_read_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let seed = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n123456789\
        GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..300 {
        let mut input = seed.to_vec();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..input.len());
            match random.random_range(0..3) {
                0 => input[at] = random.random(),
                1 => drop(input.remove(at)),
                _ => input.insert(at, b"\r\n 0:;"[random.random_range(0..6)]),
            }
        }
        let mut client = server.connect().await;
        client.send(&input).await;
        client.stream.shutdown().await.unwrap();
        let mut replies = Vec::new();
        let reading = client.stream.read_to_end(&mut replies);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("round {round} hangs: {}", input.escape_ascii()))
            .unwrap();
        assert!(replies.is_empty() || replies.starts_with(b"HTTP/1.1 "));
    }
    while let Ok(event) = server.events.try_recv() {
        assert_ne!(event, "panicked");
    }
    assert_eq!(server.connect().await.get("/hello").await.text(), "hello");
}

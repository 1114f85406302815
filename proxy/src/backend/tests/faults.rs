//! What goes wrong, and what is tried again.

use super::*;

/// Answers the first request of each connection, and ends the connection with the second one unread or
/// unanswered: what a kept connection looks like whose server lost interest at the wrong moment.
async fn one_request_per_connection() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = serve(move |_, mut peer| {
        let counted = Arc::clone(&counted);
        async move {
            peer.until("!").await;
            counted.fetch_add(1, Ordering::Relaxed);
            peer.received.clear();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            if peer.until("!").await.is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    (address, asked)
}

fn marked(method: Method) -> RequestHead {
    let mut head = request(method, "/");
    head.fields.append("X-Mark", "!");
    head
}

#[tokio::test]
async fn dead_kept_connection_is_replaced_where_the_request_may_be_repeated() {
    async fn check(method: Method, body: fn() -> RequestBody, expected: Result<(), &str>) {
        let (address, asked) = one_request_per_connection().await;
        let pool = pool(&[address]);
        for round in 0..2 {
            let answered = match send(&pool, &marked(method.clone()), body()).await {
                Ok(mut response) => read(&mut response).await.map(|_| ()),
                Err(error) => Err(error),
            };
            let answered = answered.map_err(|error| error.kind());
            match round {
                0 => assert_eq!(answered, Ok(())),
                _ => assert_eq!(answered, expected, "{method}"),
            }
        }
        let counters = counters(&pool, 0);
        let again = usize::from(expected.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2 + again, "{method}");
        assert_eq!((counters.reused, counters.retried), (1, again as u64));
        assert_eq!(counters.connected, 1 + again as u64);
    }
    check(Method::Get, || RequestBody::Empty, Ok(())).await;
    check(Method::Delete, || RequestBody::Empty, Ok(())).await;
    check(Method::Post, || RequestBody::Empty, Err("closed")).await;
    check(
        Method::Patch,
        || body_of(Some(1), &["x"], None),
        Err("closed"),
    )
    .await;
}

#[tokio::test]
async fn repeated_request_has_its_whole_body() {
    async fn check(
        body: fn() -> RequestBody,
        end: &'static str,
        size: usize,
        expected: Result<(), &str>,
    ) {
        let (bodies, mut seen) = mpsc::unbounded_channel();
        let address = serve(move |number, mut peer| {
            let bodies = bodies.clone();
            async move {
                peer.head().await;
                if number == 0 {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                    peer.head().await;
                    peer.until(end).await;
                    return;
                }
                bodies
                    .send(peer.until(end).await)
                    .expect("a test that waits");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
        })
        .await;
        let pool = pool(&[address]);
        fetch(&pool, "/").await.expect("an answer");
        let answered = send(&pool, &request(Method::Put, "/"), body()).await;
        let answered = answered.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(answered, expected);
        if expected.is_ok() {
            let body = heard(&mut seen).await.expect("a whole body");
            assert_eq!(body.len(), size, "{body}");
        } else {
            assert_eq!(counters(&pool, 0).connected, 1);
        }
    }
    check(|| body_of(Some(4), &["ab", "c!"], None), "!", 4, Ok(())).await;
    let whole = || RequestBody::Whole(Bytes::from_static(b"abc!"));
    check(whole, "!", 4, Ok(())).await;
    check(
        || body_of(None, &["ab"], Some([("X", "!")].into_iter().collect())),
        "!\r\n\r\n",
        "2\r\nab\r\n0\r\nX: !\r\n\r\n".len(),
        Ok(()),
    )
    .await;
    // More than is kept for another attempt: it cannot be sent from its start.
    check(
        || {
            let large = "x".repeat(40 * 1024);
            body_of(Some(80 * 1024 + 1), &[&large, &large, "!"], None)
        },
        "!",
        0,
        Err("closed"),
    )
    .await;
}

#[tokio::test]
async fn refused_connection_sends_any_request_to_another_server() {
    let good = serve(|_, mut peer| async move {
        while peer.until("x!").await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let pool = pool(&[refusing().await, good]);
    for _ in 0..4 {
        let body = body_of(Some(2), &["x!"], None);
        let mut response = send(&pool, &request(Method::Post, "/"), body)
            .await
            .expect("an answer");
        assert_eq!(response.server(), good.to_string());
        assert_eq!(read(&mut response).await.expect("a body"), "ok");
    }
    let counters = counters(&pool, 0);
    assert_eq!((counters.fail, counters.fail_econnrefused), (2, 2));
    assert_eq!(counters.req, 0);
}

#[tokio::test]
async fn every_server_refusing_is_a_connect_error() {
    let pool = pool(&[refusing().await, refusing().await]);
    let error = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect_err("nobody is there");
    assert_eq!((error.kind(), error.status()), ("connect", 503));
    assert!(
        matches!(
            error,
            BackendError::Connect {
                failure: ConnectFailure::Refused,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!((counters(&pool, 0).fail, counters(&pool, 1).fail), (1, 1));
    assert_eq!(
        pool.servers()
            .map(|server| server.connections)
            .sum::<usize>(),
        0
    );
}

/// Counts heads and bytes of `end`, and closes without an answer.
async fn closing(end: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = serve(move |_, mut peer| {
        let counted = Arc::clone(&counted);
        async move {
            peer.until(end).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn unanswered_request_goes_elsewhere_only_if_it_may() {
    async fn check(
        method: Method,
        body: fn() -> RequestBody,
        end: &'static str,
        retries_max: u32,
        expected: Result<(), &str>,
    ) {
        let (first, asked_first) = closing(end).await;
        let (second, asked_second) = closing(end).await;
        let third = serve(move |_, mut peer| async move {
            peer.until(end).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
            peer.closed().await;
        })
        .await;
        // Turns are taken among the servers left: first, second, third.
        let servers = vec![server(first), server(third), server(second)];
        let pool = build(servers, |settings| settings.retries_max = retries_max);
        let answered = send(&pool, &request(method.clone(), "/"), body()).await;
        let answered = answered.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(answered, expected, "{method}");
        let asked = asked_first.load(Ordering::Relaxed) + asked_second.load(Ordering::Relaxed);
        let sent: u64 = (0..3).map(|place| counters(&pool, place).req).sum();
        match expected {
            Ok(()) => assert_eq!((asked, sent), (2, 3), "{method}"),
            Err(_) if retries_max == 1 => assert_eq!((asked, sent), (2, 2), "{method}"),
            Err(_) => assert_eq!((asked, sent), (1, 1), "{method}"),
        }
    }
    const HEAD: &str = "\r\n\r\n";
    check(Method::Get, || RequestBody::Empty, HEAD, 2, Ok(())).await;
    check(Method::Get, || RequestBody::Empty, HEAD, 1, Err("closed")).await;
    check(Method::Get, || RequestBody::Empty, HEAD, 0, Err("closed")).await;
    check(
        Method::Put,
        || body_of(Some(2), &["x!"], None),
        "!",
        2,
        Ok(()),
    )
    .await;
    check(Method::Post, || RequestBody::Empty, HEAD, 2, Err("closed")).await;
    check(
        Method::Post,
        || body_of(Some(2), &["x!"], None),
        "!",
        2,
        Err("closed"),
    )
    .await;
    let large = || body_of(Some(70_001), &[&"x".repeat(70_000), "!"], None);
    check(Method::Put, large, "!", 2, Err("closed")).await;
}

#[tokio::test]
async fn begun_answer_is_never_asked_for_again() {
    async fn check(answer: &'static str, expected: &str) {
        let bad = serve(move |_, mut peer| async move {
            peer.head().await;
            peer.send(answer).await;
        })
        .await;
        let (good, asked) = serve_hello("ok").await;
        let pool = pool(&[bad, good]);
        let error = fetch(&pool, "/").await.expect_err(answer);
        assert_eq!((error.kind(), error.status()), (expected, 502));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
    check("HTTP/1.1 200 OK\r\nX", "closed").await;
    check("nonsense\r\n", "malformed").await;
    check("HTTP/1.1 103 Early Hints\r\n\r\n", "closed").await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "truncated").await;
}

#[tokio::test]
async fn each_wait_has_its_own_timeout() {
    async fn check(answer: &'static str, expected: &str) {
        let address = serve(move |_, mut peer| async move {
            peer.head().await;
            peer.send(answer).await;
            peer.closed().await;
        })
        .await;
        let pool = pool(&[address]);
        let head = get("/");
        let mut request = BackendRequest::new(&head);
        request.timeouts = Some(Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_millis(200),
            between_bytes: Duration::from_millis(100),
        });
        let started = std::time::Instant::now();
        let answered = match pool.send(request, RequestBody::Empty).await {
            Ok(mut response) => read(&mut response).await,
            Err(error) => Err(error),
        };
        let error = answered.expect_err(answer);
        assert_eq!((error.kind(), error.status()), (expected, 504), "{answer}");
        let least = match expected {
            "first_byte_timeout" => 200,
            _ => 100,
        };
        assert!(started.elapsed() >= Duration::from_millis(least));
        assert!(started.elapsed() < PATIENCE / 2);
        assert_eq!(pool.servers().next().expect("a server").connections, 0);
    }
    check("", "first_byte_timeout").await;
    check("HTTP/1.1 200", "first_byte_timeout").await;
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        "between_bytes_timeout",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "between_bytes_timeout",
    )
    .await;
}

#[tokio::test]
async fn slow_but_steady_body_is_no_timeout() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
            .await;
        for byte in b"steady" {
            tokio::time::sleep(Duration::from_millis(100)).await;
            peer.send([*byte]).await;
        }
        peer.closed().await;
    })
    .await;
    let pool = build(vec![server(address)], |settings| {
        settings.timeouts.between_bytes = Duration::from_millis(300);
        settings.timeouts.first_byte = Duration::from_millis(300);
    });
    assert_eq!(fetch(&pool, "/").await.expect("a body"), "steady");
}

#[tokio::test]
async fn head_that_drips_is_a_timeout_all_the_same() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\nContent-Length: 0\r\n\r\n" {
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.send([*byte]).await;
        }
        peer.closed().await;
    })
    .await;
    let pool = build(vec![server(address)], |settings| {
        settings.timeouts.first_byte = Duration::from_millis(300);
    });
    let error = fetch(&pool, "/").await.expect_err("too slow");
    assert_eq!(error.kind(), "first_byte_timeout");
}

#[tokio::test]
async fn silent_server_is_passed_over_for_a_get() {
    let silent = serve(|_, mut peer| async move { peer.closed().await }).await;
    let (good, _) = serve_hello("ok").await;
    let pool = build(vec![server(silent), server(good)], |settings| {
        settings.timeouts.first_byte = Duration::from_millis(100);
    });
    assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
    assert_eq!(counters(&pool, 1).retried, 1);
}

#[tokio::test]
async fn connect_timeout_is_kept() {
    // A full backlog: the kernel answers no further SYN.
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("a listening socket");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("TCP");
    let mut fillers = Vec::new();
    let full = (0..16).any(|_| {
        let filler = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        filler.map(|filler| fillers.push(filler)).is_err()
    });
    assert!(full, "the backlog never fills");
    let pool = build(vec![server(address)], |settings| {
        settings.timeouts.connect = Duration::from_millis(200);
    });
    let error = fetch(&pool, "/").await.expect_err("nobody accepts");
    assert_eq!((error.kind(), error.status()), ("connect", 503));
    assert_eq!(
        (counters(&pool, 0).fail, counters(&pool, 0).fail_etimedout),
        (1, 1)
    );
}

#[tokio::test]
async fn idle_connection_that_the_server_closed_is_not_used() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    let pool = pool(&[address]);
    for _ in 0..3 {
        let mut response = send(&pool, &request(Method::Post, "/"), RequestBody::Empty)
            .await
            .expect("an answer");
        assert_eq!(read(&mut response).await.expect("a body"), "ok");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (counters(&pool, 0).connected, counters(&pool, 0).reused),
        (3, 0)
    );
}

#[tokio::test]
async fn connection_is_given_up_before_its_server_does() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = serve(move |_, mut peer| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            while peer.head().await.is_some() {
                peer.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let pool = pool(&[address]);
    for (pause, expected) in [(0, 1), (100, 1), (1300, 2)] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        fetch(&pool, "/").await.expect("an answer");
        assert_eq!(connections.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn client_is_told_to_continue_once_over_all_attempts() {
    let first = serve(|_, mut peer| async move {
        peer.head().await;
        peer.take(4).await;
    })
    .await;
    let second = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.take(4).await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[first, second]);
    let mut head = request(Method::Put, "/");
    head.fields.append("Expect", "100-continue");
    let mut seen = Vec::new();
    let mut report = |head: crate::http::ResponseHead| seen.push(head.status);
    let mut request = BackendRequest::new(&head);
    request.informational = Some(&mut report);
    let body = body_of(Some(4), &["body"], None);
    let response = pool.send(request, body).await.expect("an answer");
    assert_eq!(response.server(), second.to_string());
    assert_eq!(seen, [100]);
}

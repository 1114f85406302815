//! Heads and bodies of all shapes, connections kept and given up.

use super::*;

#[tokio::test]
async fn head_goes_out_as_written_and_connection_is_used_again() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |number, mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send((number, head)).expect("a test that waits");
                peer.send("HTTP/1.1 200 Fine\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let pool = pool(&[address]);

    let mut head = get("/a%2Fb?c=d");
    head.fields.append("Content-Length", "7");
    head.fields.append("Transfer-Encoding", "chunked");
    let mut first = send(&pool, &head, RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!((first.head.status, first.head.reason()), (200, "Fine"));
    assert_eq!(first.head.fields.get("x-a"), Some(&b"b"[..]));
    assert_eq!(first.body.length(), BodyLength::Known(2));
    assert_eq!(first.server(), address.to_string());
    assert!(!first.is_reused());
    assert_eq!(read(&mut first).await.expect("a body"), "ok");

    // No Host, as an HTTP/1.0 client may send it: the server's own name.
    let mut head = request(Method::Post, "/");
    head.fields.clear();
    head.authority.clear();
    let mut second = send(&pool, &head, RequestBody::Empty)
        .await
        .expect("an answer");
    assert!(second.is_reused());
    assert_eq!(read(&mut second).await.expect("a body"), "ok");

    let first = "GET /a%2Fb?c=d HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned();
    assert_eq!(heard(&mut seen).await, (0, first.clone()));
    let second = format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(heard(&mut seen).await, (0, second.clone()));

    let counters = counters(&pool, 0);
    assert_eq!(
        (counters.req, counters.connected, counters.reused),
        (2, 1, 1)
    );
    assert_eq!((counters.recycled, counters.fail), (2, 0));
    assert_eq!(counters.bereq_hdrbytes, (first.len() + second.len()) as u64);
    assert_eq!(counters.beresp_hdrbytes, 2 * 48);
    assert_eq!(counters.beresp_bodybytes, 4);
    assert_eq!(
        pool.servers()
            .map(|server| server.connections)
            .sum::<usize>(),
        0
    );
}

/// What the server does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Waits,
    Ends,
}

type Case = (
    Method,
    &'static str,
    Server,
    Result<&'static str, &'static str>,
    Then,
);

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Closed,
}

/// One request, one scripted answer.
async fn check(
    method: Method,
    answer: &'static str,
    server: Server,
    expected: Result<&str, &str>,
    then: Then,
) {
    let address = serve(move |_, mut peer| async move {
        peer.head().await.expect("a request");
        peer.send(answer).await;
        if server == Server::Waits {
            peer.closed().await;
        }
    })
    .await;
    let pool = pool(&[address]);
    let answered = match send(&pool, &request(method, "/"), RequestBody::Empty).await {
        Ok(mut response) => read(&mut response).await,
        Err(error) => Err(error),
    };
    let answered = answered.map_err(|error| error.kind());
    assert_eq!(
        answered.as_deref().map_err(|kind| *kind),
        expected,
        "{answer:?}"
    );
    let kept = counters(&pool, 0).recycled == 1;
    assert_eq!(kept, then == Then::Kept, "{answer:?}");
}

#[tokio::test]
async fn responses_end_where_they_say() {
    use Server::{Ends, Waits};
    use Then::{Closed, Kept};
    let cases: [Case; 30] = [
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Ok("abc"),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Waits,
            Ok(""),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            Waits,
            Ok("abcde"),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\n\r\nuntil close",
            Ends,
            Ok("until close"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.0 200 OK\r\n\r\nold",
            Ends,
            Ok("old"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
            Waits,
            Ok("old"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
            Waits,
            Ok("old"),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Ok("abc"),
            Closed,
        ),
        (
            Method::Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            Waits,
            Ok(""),
            Kept,
        ),
        (
            Method::Head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Waits,
            Ok(""),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 204 No Content\r\n\r\n",
            Waits,
            Ok(""),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            Waits,
            Ok(""),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad",
            Waits,
            Ok("bad"),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Ok("abc"),
            Kept,
        ),
        // What was announced may yet come, in place of the next response.
        (
            Method::Get,
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Ok("abc"),
            Closed,
        ),
        // Bytes that nobody asked for: the place of the next response is in doubt.
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
            Waits,
            Ok("abc"),
            Closed,
        ),
        (
            Method::Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Ok(""),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
            Ends,
            Err("truncated"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc",
            Ends,
            Err("truncated"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            Ends,
            Err("truncated"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Waits,
            Err("malformed"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
            Waits,
            Err("malformed"),
            Closed,
        ),
        (
            Method::Get,
            "SSH-2.0-OpenSSH_9.2\r\n",
            Waits,
            Err("malformed"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Waits,
            Err("malformed"),
            Closed,
        ),
        (Method::Post, "HTTP/1.1 200", Ends, Err("closed"), Closed),
        (Method::Post, "", Ends, Err("closed"), Closed),
        // Servers that announce when they will close.
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=5\r\nContent-Length: 1\r\n\r\nx",
            Waits,
            Ok("x"),
            Kept,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nKeep-Alive: Timeout=1\r\nContent-Length: 1\r\n\r\nx",
            Waits,
            Ok("x"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 1\r\n\r\nx",
            Waits,
            Ok("x"),
            Closed,
        ),
        (
            Method::Get,
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=soon\r\nContent-Length: 1\r\n\r\nx",
            Waits,
            Ok("x"),
            Kept,
        ),
    ];
    for (method, answer, server, expected, then) in cases {
        check(method, answer, server, expected, then).await;
    }
}

#[tokio::test]
async fn trailers_come_after_the_body() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nSum: 1\r\nX: y\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let mut response = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(response.body.length(), BodyLength::Chunked);
    assert_eq!(response.body.trailers(), None);
    assert_eq!(read(&mut response).await.expect("a body"), "a");
    let trailers = response.body.trailers().expect("trailers");
    assert_eq!(trailers.get("sum"), Some(&b"1"[..]));
    assert_eq!(trailers.len(), 2);
    assert!(response.body.next().await.expect("still the end").is_none());
    assert_eq!(counters(&pool, 0).recycled, 1);
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    async fn check(answer: String, expected: Result<(), &str>) {
        let answer = Arc::new(answer);
        let address = serve(move |_, mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.head().await;
                peer.send(answer.as_bytes()).await;
                peer.closed().await;
            }
        })
        .await;
        let pool = build(vec![server(address)], |settings| {
            settings.head_bytes_max = 1024;
            settings.fields_max = 8;
        });
        let answered = send(&pool, &get("/"), RequestBody::Empty).await;
        assert_eq!(answered.map(|_| ()).map_err(|error| error.kind()), expected);
    }
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    check(head(&"X: y\r\n".repeat(7)), Ok(())).await;
    check(head(&"X: y\r\n".repeat(8)), Err("malformed")).await;
    check(head(&format!("X: {}\r\n", "y".repeat(900))), Ok(())).await;
    check(
        head(&format!("X: {}\r\n", "y".repeat(1100))),
        Err("malformed"),
    )
    .await;
    // Neither does a head without an end grow.
    check(
        format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(4000)),
        Err("malformed"),
    )
    .await;
}

#[tokio::test]
async fn informational_responses_are_reported_in_order() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n")
            .await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let head = get("/");
    let mut seen = Vec::new();
    let mut report = |head: crate::http::ResponseHead| {
        seen.push((head.status, head.fields.get_str("link").map(str::to_owned)));
    };
    let mut request = BackendRequest::new(&head);
    request.informational = Some(&mut report);
    let mut response = pool
        .send(request, RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(read(&mut response).await.expect("a body"), "x");
    assert_eq!(
        seen,
        [
            (103, Some("</a>".to_owned())),
            (102, None),
            (103, Some("</b>".to_owned()))
        ]
    );
    assert_eq!(counters(&pool, 0).recycled, 1);
}

#[tokio::test]
async fn endless_informational_responses_are_refused() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000))
            .await;
        peer.closed().await;
    })
    .await;
    let answered = fetch(&pool(&[address]), "/").await;
    assert_eq!(answered.map_err(|error| error.kind()), Err("malformed"));
}

#[tokio::test]
async fn head_in_single_bytes_is_understood() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
            peer.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        peer.closed().await;
    })
    .await;
    assert_eq!(
        fetch(&pool(&[address]), "/").await.expect("an answer"),
        "ok"
    );
}

#[tokio::test]
async fn upgrade_hands_the_connection_over() {
    async fn check(
        head: RequestHead,
        upgrade: Option<&str>,
        expected: String,
        answer: &'static str,
    ) {
        let address = serve(move |_, mut peer| {
            let expected = expected.clone();
            async move {
                assert_eq!(peer.head().await, Some(expected));
                peer.send(answer).await;
                while let Some(ping) = peer.until("\n").await {
                    peer.send(ping.to_uppercase()).await;
                }
            }
        })
        .await;
        let pool = pool(&[address]);
        let mut request = BackendRequest::new(&head);
        request.upgrade = upgrade;
        let mut response = pool
            .send(request, RequestBody::Empty)
            .await
            .expect("an answer");
        assert!(response.is_upgrade());
        assert!(response.body.next().await.expect("no body").is_none());
        let mut upgraded = response.into_upgraded().expect("an upgrade");
        assert_eq!(pool.servers().next().expect("a server").connections, 1);
        let mut from_server = upgraded.buffered.to_vec();
        upgraded
            .stream
            .write_all(b"ping\n")
            .await
            .expect("a connection");
        upgraded.stream.flush().await.expect("a connection");
        while !from_server.ends_with(b"PING\n") {
            let read = upgraded.stream.read_buf(&mut from_server).await;
            assert!(read.expect("a connection") > 0);
        }
        assert_eq!(from_server, b"first\nPING\n");
        upgraded.count(5, 11);
        drop(upgraded);
        assert_eq!(pool.servers().next().expect("a server").connections, 0);
        let counters = counters(&pool, 0);
        assert_eq!(
            (counters.pipe_out, counters.pipe_in, counters.recycled),
            (5, 11, 0)
        );
        assert!(counters.pipe_hdrbytes > 0);
    }
    check(
        get("/chat"),
        Some("websocket"),
        "GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: example.org\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst\n",
    )
    .await;
    let mut connect = request(Method::Connect, "");
    connect.authority = "example.org:443".to_owned();
    connect.fields.set("Host", "example.org:443");
    check(
        connect,
        None,
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n".to_owned(),
        "HTTP/1.1 200 Tunnel\r\n\r\nfirst\n",
    )
    .await;
}

#[tokio::test]
async fn refused_upgrade_is_an_ordinary_response() {
    let (address, _) = serve_hello("no").await;
    let pool = pool(&[address]);
    let head = get("/chat");
    let mut request = BackendRequest::new(&head);
    request.upgrade = Some("websocket");
    let mut response = pool
        .send(request, RequestBody::Empty)
        .await
        .expect("an answer");
    assert!(!response.is_upgrade());
    assert_eq!(read(&mut response).await.expect("a body"), "no");
    assert!(response.into_upgraded().is_none());
}

#[tokio::test]
async fn dropped_body_closes_its_connection() {
    let (gone, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
                .await;
            peer.closed().await;
            gone.send(()).expect("a test that waits");
        }
    })
    .await;
    let pool = pool(&[address]);
    let mut response = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(
        response.body.next().await.expect("a piece").as_deref(),
        Some(&b"abc"[..])
    );
    drop(response);
    heard(&mut seen).await;
    assert_eq!(counters(&pool, 0).recycled, 0);
}

#[tokio::test]
async fn large_body_arrives_whole() {
    const SIZE: usize = 8 * 1024 * 1024;
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
            .await;
        let block: Vec<u8> = (0..=250).cycle().take(251 * 1024).collect();
        let mut left = SIZE;
        while left > 0 {
            let count = left.min(block.len());
            peer.send(&block[..count]).await;
            left -= count;
        }
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let mut response = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    let mut received = 0;
    while let Some(piece) = response.body.next().await.expect("a piece") {
        for byte in piece {
            assert_eq!(usize::from(byte), received % 251);
            received += 1;
        }
    }
    assert_eq!(received, SIZE);
    assert_eq!(counters(&pool, 0).beresp_bodybytes, SIZE as u64);
}

#[tokio::test]
async fn pool_that_keeps_nothing_says_so() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |number, mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send((number, head)).expect("a test that waits");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let pool = build(vec![server(address)], |settings| {
        settings.idle_connections_max = 0
    });
    for number in 0..2 {
        fetch(&pool, "/").await.expect("an answer");
        let (connection, head) = heard(&mut seen).await;
        assert_eq!(connection, number);
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    }
    assert_eq!(counters(&pool, 0).recycled, 0);
}

#[tokio::test]
async fn a_body_that_a_method_gives_no_meaning_to_is_the_last_on_its_connection() {
    for (method, pieces, then) in [
        (Method::Get, &["GET / HTTP/1.1\r\n\r\n"][..], Then::Closed),
        (Method::Delete, &["x"], Then::Closed),
        (Method::Post, &["x"], Then::Kept),
        (Method::Other("REPORT".into()), &["x"], Then::Kept),
    ] {
        let (heads, mut seen) = mpsc::unbounded_channel();
        let address = serve(move |_, mut peer| {
            let heads = heads.clone();
            async move {
                heads.send(peer.head().await).expect("a test that waits");
                // It takes the content for the next request, and stays.
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.closed().await;
            }
        })
        .await;
        let pool = pool(&[address]);
        let head = request(method, "/");
        let mut response = send(
            &pool,
            &head,
            body_of(Some(pieces[0].len() as u64), pieces, None),
        )
        .await
        .expect("an answer");
        assert_eq!(read(&mut response).await.expect("a body"), "");
        let sent = heard(&mut seen).await.expect("a head");
        let says_close = sent.contains("Connection: close\r\n");
        assert_eq!(says_close, then == Then::Closed, "{sent}");
        let kept = counters(&pool, 0).recycled == 1;
        assert_eq!(kept, then == Then::Kept, "{sent}");
    }
}

//! Request bodies: framing, back-pressure, early answers, 100-continue.

use super::*;

fn chunks(pieces: &[&str]) -> RequestBody {
    body_of(None, pieces, None)
}

/// A server that hands each request to the test as raw bytes, once `end` was seen.
async fn recorder(end: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (requests, seen) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let requests = requests.clone();
        async move {
            while let Some(request) = peer.until(end).await {
                requests.send(request).expect("a test that waits");
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    (address, seen)
}

#[tokio::test]
async fn body_is_framed_as_announced() {
    async fn check(body: RequestBody, end: &'static str, expected: &str) {
        let (address, mut seen) = recorder(end).await;
        let pool = pool(&[address]);
        send(&pool, &request(Method::Post, "/"), body)
            .await
            .expect("an answer");
        let head = "POST / HTTP/1.1\r\nHost: example.org\r\n";
        assert_eq!(heard(&mut seen).await, format!("{head}{expected}"));
        let counters = counters(&pool, 0);
        assert_eq!((counters.bereq_bodybytes, counters.recycled), (7, 1));
    }
    check(
        body_of(Some(7), &["seven ", "", "b"], None),
        "b",
        "Content-Length: 7\r\n\r\nseven b",
    )
    .await;
    check(
        RequestBody::Whole(Bytes::from_static(b"seven b")),
        "b",
        "Content-Length: 7\r\n\r\nseven b",
    )
    .await;
    // No End is needed where the length is known, and what would come after it is not taken.
    let (sender, receiver) = mpsc::channel(1);
    let piece = BodyPiece::Data(Bytes::from_static(b"seven b"));
    sender.try_send(piece).expect("room");
    let length = Some(7);
    check(
        RequestBody::Stream { length, receiver },
        "b",
        "Content-Length: 7\r\n\r\nseven b",
    )
    .await;
    check(
        chunks(&["seven ", "", "b"]),
        "0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n6\r\nseven \r\n1\r\nb\r\n0\r\n\r\n",
    )
    .await;
    let trailers = [("Sum", "7")].into_iter().collect();
    check(
        body_of(None, &["seven b"], Some(trailers)),
        "Sum: 7\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7\r\nseven b\r\n0\r\nSum: 7\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn head_and_first_piece_leave_together() {
    let (reads, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let reads = reads.clone();
        async move {
            let mut first = vec![0; 64 * 1024];
            let count = peer.socket.read(&mut first).await.expect("a request");
            reads.send(count).expect("a test that waits");
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let pool = pool(&[address]);
    for size in [10, 1000, 1500, 20_000] {
        let piece = "x".repeat(size);
        let body = body_of(Some(size as u64), &[&piece], None);
        send(&pool, &request(Method::Post, "/"), body)
            .await
            .expect("an answer");
        let head =
            format!("POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: {size}\r\n\r\n");
        assert_eq!(heard(&mut seen).await, head.len() + size);
    }
}

#[tokio::test]
async fn body_that_broke_off_is_never_passed_on_as_complete() {
    async fn check(length: Option<u64>, pieces: Vec<BodyPiece>) {
        let (outcome, mut seen) = mpsc::unbounded_channel();
        let address = serve(move |_, mut peer| {
            let outcome = outcome.clone();
            async move {
                let head = peer.head().await;
                peer.closed().await;
                outcome
                    .send((head, peer.received))
                    .expect("a test that waits");
            }
        })
        .await;
        let pool = pool(&[address]);
        let (sender, receiver) = mpsc::channel(8);
        let sending = async {
            for piece in pieces {
                // Apart from the head, so that the server has something to wait for.
                tokio::time::sleep(Duration::from_millis(10)).await;
                let _ = sender.send(piece).await;
            }
            drop(sender);
        };
        let head = request(Method::Put, "/");
        let body = RequestBody::Stream { length, receiver };
        let (answered, ()) = tokio::join!(send(&pool, &head, body), sending);
        let error = answered.expect_err("no answer");
        assert_eq!((error.kind(), error.status()), ("request_body", 400));
        let (_, received) = heard(&mut seen).await;
        match length {
            Some(length) => assert!((received.len() as u64) < length, "{received:?}"),
            None => assert!(!received.ends_with(b"0\r\n\r\n"), "{received:?}"),
        }
        assert_eq!(counters(&pool, 0).req, 1, "it was sent once");
    }
    let data = || BodyPiece::Data(Bytes::from_static(b"abc"));
    check(Some(5), vec![data()]).await;
    check(Some(5), vec![data(), BodyPiece::End(None)]).await;
    check(Some(5), vec![data(), data()]).await;
    check(None, vec![data()]).await;
    check(None, vec![]).await;
}

#[tokio::test]
async fn early_refusal_stops_the_body() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.take(4).await;
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let (sender, receiver) = mpsc::channel(1);
    let body = RequestBody::Stream {
        length: Some(1 << 40),
        receiver,
    };
    let feeding = tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 16 * 1024]);
        while sender.send(BodyPiece::Data(piece.clone())).await.is_ok() {}
    });
    let mut response = send(&pool, &request(Method::Post, "/"), body)
        .await
        .expect("an answer");
    assert_eq!(response.head.status, 413);
    tokio::time::timeout(PATIENCE, feeding)
        .await
        .expect("a closed channel")
        .expect("no panic");
    assert_eq!(read(&mut response).await.expect("a body"), "big");
    assert_eq!(counters(&pool, 0).recycled, 0);
}

#[tokio::test]
async fn answer_is_read_although_the_body_cannot_be_sent() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
            .await;
        // Closing with unread bytes resets the connection under the sender.
    })
    .await;
    let pool = pool(&[address]);
    for _ in 0..20 {
        let (sender, receiver) = mpsc::channel(1);
        let body = RequestBody::Stream {
            length: Some(1 << 40),
            receiver,
        };
        let feeding = tokio::spawn(async move {
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            while sender.send(BodyPiece::Data(piece.clone())).await.is_ok() {}
        });
        let mut response = send(&pool, &request(Method::Post, "/"), body)
            .await
            .expect("an answer");
        assert_eq!(response.head.status, 413);
        assert_eq!(read(&mut response).await.expect("a body"), "big");
        feeding.await.expect("no panic");
    }
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        let mut first = true;
        loop {
            let line = peer.until("\r\n").await.expect("a chunk");
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a size");
            if std::mem::take(&mut first) {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
            }
            let data = peer.take(size + 2).await.expect("a chunk");
            peer.send(format!("{size:x}\r\n")).await;
            peer.send(data).await;
            if size == 0 {
                break;
            }
        }
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let (sender, receiver) = mpsc::channel(1);
    let say =
        |text: &'static str| sender.send(BodyPiece::Data(Bytes::from_static(text.as_bytes())));
    say("one").await.expect("room");
    let body = RequestBody::Stream {
        length: None,
        receiver,
    };
    let mut response = send(&pool, &request(Method::Post, "/"), body)
        .await
        .expect("an answer");
    assert_eq!(
        response.body.next().await.expect("a piece").as_deref(),
        Some(&b"one"[..])
    );
    for text in ["two", "three"] {
        say(text).await.expect("still wanted");
        let echoed = response.body.next().await.expect("a piece");
        assert_eq!(echoed.as_deref(), Some(text.as_bytes()));
    }
    sender
        .send(BodyPiece::End(None))
        .await
        .expect("still wanted");
    assert_eq!(response.body.next().await.expect("the end"), None);
    assert_eq!(counters(&pool, 0).recycled, 1);
}

#[tokio::test]
async fn slow_backend_holds_the_client_back() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let pool = build(vec![server(address)], |settings| {
        settings.timeouts.between_bytes = Duration::from_millis(300);
    });
    let (sender, receiver) = mpsc::channel(1);
    let body = RequestBody::Stream {
        length: None,
        receiver,
    };
    let feeding = tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut taken = 0;
        while sender.send(BodyPiece::Data(piece.clone())).await.is_ok() {
            taken += piece.len();
        }
        taken
    });
    let error = send(&pool, &request(Method::Post, "/"), body)
        .await
        .expect_err("no answer");
    assert_eq!((error.kind(), error.status()), ("send_timeout", 504));
    let taken = feeding.await.expect("no panic");
    // What fits the two socket buffers of the kernel, and a batch.
    assert!(taken < 32 * 1024 * 1024, "{taken}");
}

#[tokio::test]
async fn slow_client_is_waited_for() {
    let (address, mut seen) = recorder("0\r\n\r\n").await;
    let pool = build(vec![server(address)], |settings| {
        settings.timeouts.first_byte = Duration::from_millis(100);
        settings.timeouts.between_bytes = Duration::from_millis(100);
    });
    let (sender, receiver) = mpsc::channel(1);
    let body = RequestBody::Stream {
        length: None,
        receiver,
    };
    let sending = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let piece = BodyPiece::Data(Bytes::from_static(b"z"));
            sender.send(piece).await.expect("still wanted");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        sender
            .send(BodyPiece::End(None))
            .await
            .expect("still wanted");
    };
    let head = request(Method::Post, "/");
    let (answered, ()) = tokio::join!(send(&pool, &head, body), sending);
    assert_eq!(answered.expect("an answer").head.status, 200);
    assert!(
        heard(&mut seen)
            .await
            .ends_with("1\r\nz\r\n1\r\nz\r\n0\r\n\r\n")
    );
}

fn expecting() -> RequestHead {
    let mut head = request(Method::Put, "/");
    head.fields.append("Expect", "100-Continue");
    head
}

#[tokio::test]
async fn expected_continue_is_waited_for_and_relayed() {
    let address = serve(|_, mut peer| async move {
        let head = peer.head().await.expect("a head");
        assert!(head.contains("\r\nExpect: 100-Continue\r\n"), "{head}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let early = tokio::time::timeout(Duration::from_millis(1), peer.read()).await;
        assert!(
            early.is_err() && peer.received.is_empty(),
            "the body did not wait"
        );
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.take(4).await.as_deref(), Some(&b"body"[..]));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let head = expecting();
    let mut seen = Vec::new();
    let mut report = |head: crate::http::ResponseHead| seen.push(head.status);
    let mut request = BackendRequest::new(&head);
    request.informational = Some(&mut report);
    let body = body_of(Some(4), &["body"], None);
    let response = pool.send(request, body).await.expect("an answer");
    assert_eq!(response.head.status, 200);
    assert_eq!(seen, [100]);
    assert_eq!(counters(&pool, 0).recycled, 1);
}

#[tokio::test]
async fn refused_expectation_sends_no_body() {
    let (rest, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let rest = rest.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
                .await;
            peer.closed().await;
            rest.send(peer.received).expect("a test that waits");
        }
    })
    .await;
    let pool = pool(&[address]);
    let body = body_of(Some(4), &["body"], None);
    let mut response = send(&pool, &expecting(), body).await.expect("an answer");
    assert_eq!(response.head.status, 417);
    assert_eq!(read(&mut response).await.expect("a body"), "no");
    assert_eq!(heard(&mut seen).await, Vec::<u8>::new());
    assert_eq!(counters(&pool, 0).recycled, 0);
}

#[tokio::test]
async fn silent_backend_gets_the_body_after_a_second() {
    let address = serve(|_, mut peer| async move {
        peer.head().await;
        assert_eq!(peer.take(4).await.as_deref(), Some(&b"body"[..]));
        // Late, and of no use to the client any more.
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let pool = pool(&[address]);
    let head = expecting();
    let mut seen = Vec::new();
    let mut report = |head: crate::http::ResponseHead| seen.push(head.status);
    let mut request = BackendRequest::new(&head);
    request.informational = Some(&mut report);
    let started = std::time::Instant::now();
    let body = body_of(Some(4), &["body"], None);
    let response = pool.send(request, body).await.expect("an answer");
    assert_eq!(response.head.status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(seen, [100]);
}

#[tokio::test]
async fn nothing_is_expected_without_a_body() {
    let (address, mut seen) = recorder("\r\n\r\n").await;
    let pool = pool(&[address]);
    let response = send(&pool, &expecting(), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(response.head.status, 200);
    let head = heard(&mut seen).await;
    assert_eq!(
        head,
        "PUT / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 0\r\n\r\n"
    );
}

//! Connections between two requests.

use super::*;

/// A server that answers at once, says which connection each request came over, and which have ended.
async fn telling() -> (SocketAddr, mpsc::UnboundedReceiver<Told>) {
    let (telling, told) = mpsc::unbounded_channel();
    let address = serve(move |number, mut peer| {
        let telling = telling.clone();
        async move {
            while peer.head().await.is_some() {
                let _ = telling.send(Told::Request(number));
                // One whose end is known only once it is read.
                peer.send(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                )
                .await;
            }
            let _ = telling.send(Told::Ended(number));
        }
    })
    .await;
    (address, told)
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Request(usize),
    Ended(usize),
}

/// So many answers of which nobody has read the body: as many connections in use.
async fn unread(pool: &BackendPool, count: usize) -> Vec<BackendResponse> {
    let mut responses = Vec::new();
    for _ in 0..count {
        let response = send(pool, &get("/"), RequestBody::Empty).await;
        responses.push(response.expect("an answer"));
    }
    responses
}

#[tokio::test]
async fn longest_idle_connection_goes_when_there_are_too_many() {
    let (address, mut told) = telling().await;
    let pool = build(vec![server(address)], |settings| {
        settings.idle_connections_max = 2;
    });
    let mut responses = unread(&pool, 3).await;
    for number in 0..3 {
        assert_eq!(heard(&mut told).await, Told::Request(number));
    }
    for number in [1, 0, 2] {
        read(&mut responses[number]).await.expect("a body");
    }
    assert_eq!(heard(&mut told).await, Told::Ended(1));
    // The latest is used first: what is left over ages and goes.
    let mut responses = unread(&pool, 3).await;
    for number in [2, 0, 3] {
        assert_eq!(heard(&mut told).await, Told::Request(number));
    }
    for response in &mut responses {
        read(response).await.expect("a body");
    }
    assert_eq!(counters(&pool, 0).connected, 4);
}

#[tokio::test]
async fn idle_connection_is_closed_when_its_time_is_over() {
    let (address, mut told) = telling().await;
    let pool = build(vec![server(address)], |settings| {
        settings.idle_timeout = Duration::from_millis(100);
    });
    for number in 0..2 {
        fetch(&pool, "/").await.expect("an answer");
        assert_eq!(heard(&mut told).await, Told::Request(number));
        // Without another request.
        assert_eq!(heard(&mut told).await, Told::Ended(number));
    }
}

#[tokio::test]
async fn idle_connections_end_with_their_pool() {
    let (address, mut told) = telling().await;
    let pool = pool(&[address]);
    fetch(&pool, "/").await.expect("an answer");
    assert_eq!(heard(&mut told).await, Told::Request(0));
    drop(pool);
    assert_eq!(heard(&mut told).await, Told::Ended(0));
}

#[tokio::test]
async fn idle_connection_that_its_server_closed_is_closed_here_too() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let ended = ended.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            peer.socket.shutdown().await.expect("an open socket");
            peer.closed().await;
            let _ = ended.send(());
        }
    })
    .await;
    let pool = pool(&[address]);
    fetch(&pool, "/").await.expect("an answer");
    heard(&mut ends).await;
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_end_an_idle_connection() {
    let address = serve(move |_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
                .await;
        }
    })
    .await;
    let pool = pool(&[address]);
    for _ in 0..2 {
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(counters(&pool, 0).connected, 2);
}

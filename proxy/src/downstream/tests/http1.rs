use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::super::*;
use super::support::{Server, start, talk};
use crate::http::{Method, ResponseHead};
use crate::time::Timestamp;

async fn server() -> Server {
    start(DownstreamSettings::default()).await
}

fn request(path: &str, version: &str, lines: &str) -> String {
    format!("GET {path} HTTP/{version}\r\nHost: a\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = server().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let reply = client.get("/hello").await;
        assert_eq!(reply.head.status, 200);
        assert_eq!(reply.text(), "hello");
        assert_eq!(reply.field("content-length"), Some("5"));
        assert_eq!(reply.field("connection"), None);
        assert!(httpdate::parse_http_date(reply.field("date").unwrap()).is_ok());
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = server().await;
    let mut client = server.connect().await;
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let all = [
        request("/hello", "1.1", "").as_str(),
        post,
        &request("/stream", "1.1", ""),
        &request("/nowhere", "1.1", ""),
        &request("/hello", "1.1", "Connection: close\r\n"),
    ]
    .concat();
    client.send(all).await;
    assert_eq!(client.reply(Method::Get).await.text(), "hello");
    assert_eq!(client.reply(Method::Post).await.text(), "body");
    assert_eq!(client.reply(Method::Get).await.text(), "onetwothree");
    assert_eq!(client.reply(Method::Get).await.head.status, 404);
    let last = client.reply(Method::Get).await;
    assert_eq!(last.text(), "hello");
    assert_eq!(last.field("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let server = server().await;
    let mut client = server.connect().await;
    client.stream.set_nodelay(true).unwrap();
    let input = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n";
    for byte in input.as_bytes() {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let reply = client.reply(Method::Post).await;
    assert_eq!(reply.text(), "abc");
    assert_eq!(reply.trailers.unwrap().get_str("x-t"), Some("u"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let server = server().await;
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nDigest: d\r\n\r\n")
        .await;
    let reply = client.reply(Method::Post).await;
    assert_eq!(reply.text(), "x");
    assert_eq!(reply.trailers.unwrap().get_str("digest"), Some("d"));
    let reply = client.get("/stream").await;
    assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
    assert_eq!(reply.trailers.unwrap().get_str("x-sum"), Some("abc"));
}

#[tokio::test]
async fn http_1_0_gets_no_chunks_and_keeps_alive_only_when_asked() {
    let server = server().await;
    let reply = talk(&server, request("/stream", "1.0", "")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(
        reply.ends_with("\r\nConnection: close\r\n\r\nonetwothree"),
        "{reply}"
    );
    assert!(!reply.contains("chunked"), "{reply}");

    let reply = talk(&server, "GET /hello HTTP/1.0\r\n\r\n").await;
    assert!(reply.ends_with("Connection: close\r\n\r\nhello"), "{reply}");

    let mut client = server.connect().await;
    for _ in 0..2 {
        client
            .send(request("/hello", "1.0", "Connection: keep-alive\r\n"))
            .await;
        let reply = client.reply(Method::Get).await;
        assert_eq!(reply.field("connection"), Some("keep-alive"));
        assert_eq!(reply.text(), "hello");
    }
    client
        .send(request("/stream", "1.0", "Connection: keep-alive\r\n"))
        .await;
    let reply = client.rest().await;
    assert!(reply.contains("Connection: close\r\n"), "{reply}");
}

#[tokio::test]
async fn the_handler_may_end_the_connection() {
    let server = server().await;
    let reply = talk(&server, request("/close", "1.1", "")).await;
    assert_eq!(reply.matches("Connection: close\r\n").count(), 1, "{reply}");
    assert!(!reply.contains("Keep-Alive"), "{reply}");
}

#[tokio::test]
async fn replies_without_a_body_keep_the_connection_in_step() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let reply = client.reply(Method::Head).await;
    assert_eq!(reply.field("content-length"), Some("5"));
    client
        .send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let reply = client.reply(Method::Head).await;
    assert_eq!(reply.field("content-length"), None);
    assert_eq!(reply.field("transfer-encoding"), None);
    client
        .send("HEAD /status?200 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let reply = client.reply(Method::Head).await;
    assert_eq!(reply.field("content-length"), Some("77"));
    let reply = client.get("/status?304").await;
    assert_eq!(reply.field("content-length"), Some("77"));
    assert_eq!(reply.body, b"");
    let reply = client.get("/status?204").await;
    assert_eq!(reply.field("content-length"), None);
    let reply = client.get("/status?200").await;
    assert_eq!(reply.field("content-length"), Some("0"));
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted() {
    let server = server().await;
    let mut client = server.connect().await;
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.head(Method::Post).await.head.status, 100);
    client.send("body").await;
    assert_eq!(client.reply(Method::Post).await.text(), "body");

    // A body already under way needs no invitation.
    client.send([head, "body"].concat()).await;
    let reply = client.reply(Method::Post).await;
    assert_eq!((reply.head.status, reply.text()), (200, "body"));

    // An answer without one leaves open whether the body comes: the connection ends.
    client.send(head.replace("/echo", "/expects")).await;
    let reply = client.reply(Method::Post).await;
    assert_eq!(reply.field("x-expects"), Some("yes"));
    assert_eq!(reply.field("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn informational_heads_are_sent_at_once_but_not_to_http_1_0() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send(request("/hints", "1.1", "")).await;
    let hints = client.head(Method::Get).await;
    assert_eq!(hints.head.status, 103);
    assert_eq!(hints.head.fields.get_str("link"), Some("</a>"));
    assert_eq!(client.reply(Method::Get).await.head.status, 200);
    let reply = talk(&server, request("/hints", "1.0", "")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
}

#[tokio::test]
async fn stored_heads_go_out_as_they_are() {
    let server = server().await;
    let mut client = server.connect().await;
    let reply = client.get("/stored").await;
    assert_eq!(reply.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(reply.head.fields.get_all("date").count(), 1);
    assert_eq!(reply.field("age"), Some("7"));
    assert_eq!(reply.field("x-stored"), Some("yes"));
    assert_eq!(reply.text(), "store");
}

#[tokio::test]
async fn the_framing_of_a_stored_head_is_the_connections_own() {
    let server = server().await;
    let mut client = server.connect().await;
    let reply = client.get("/stored-and-framed").await;
    let lengths: Vec<_> = reply.head.fields.get_all("content-length").collect();
    assert_eq!(lengths, [b"5"]);
    assert_eq!(reply.field("transfer-encoding"), None);
    assert_eq!(reply.field("connection"), Some("close"));
    assert_eq!(reply.text(), "store");
}

#[tokio::test]
async fn an_unread_body_is_skipped_or_ends_the_connection() {
    let settings = DownstreamSettings {
        drain_bytes_max: 1000,
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let mut client = server.connect().await;
    let small = "x".repeat(900);
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{small}"
        ))
        .await;
    let reply = client.reply(Method::Post).await;
    assert_eq!((reply.text(), reply.field("connection")), ("early", None));
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n{small}\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply(Method::Post).await.text(), "early");
    assert_eq!(client.get("/hello").await.text(), "hello");

    // Known to be too much: said in the reply, which still arrives whole while the client goes on sending.
    let large = "x".repeat(500_000);
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n{large}"
        ))
        .await;
    let reply = client.reply(Method::Post).await;
    assert_eq!(
        (reply.text(), reply.field("connection")),
        ("early", Some("close"))
    );
    assert_eq!(client.rest().await, "");

    // Found to be too much.
    let mut client = server.connect().await;
    client
        .send(format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7a120\r\n{large}\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply(Method::Post).await.text(), "early");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_broken_reply_is_seen_as_broken() {
    let mut server = server().await;
    let reply = talk(&server, request("/short", "1.1", "")).await;
    assert!(reply.ends_with("\r\n\r\nshort"), "{reply}");
    assert!(reply.contains("Content-Length: 10"), "{reply}");
    assert_eq!(server.event().await, "connection ended");

    for path in ["/unfinished", "/abort"] {
        let reply = talk(&server, request(path, "1.1", "")).await;
        assert!(reply.ends_with("4\r\nhalf\r\n"), "{reply}");
        assert_eq!(server.event().await, "connection ended");
    }

    let reply = talk(&server, request("/long", "1.1", "")).await;
    assert!(!reply.contains("long"), "{reply}");
    assert!(
        server
            .event()
            .await
            .starts_with("error: the reply does not fit")
    );
    assert_eq!(server.event().await, "connection ended");

    assert_eq!(talk(&server, request("/panic", "1.1", "")).await, "");
    assert_eq!(server.event().await, "panicked");
    assert_eq!(server.event().await, "connection ended");
    let reply = talk(&server, request("/unanswered", "1.1", "")).await;
    assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
    assert!(reply.contains("Connection: close\r\n"), "{reply}");
}

#[tokio::test]
async fn an_upgrade_takes_the_connection_and_what_was_read_ahead() {
    let server = server().await;
    let mut client = server.connect().await;
    client
        .send(
            request(
                "/upgrade",
                "1.1",
                "Connection: upgrade\r\nUpgrade: shout\r\n",
            ) + "early ",
        )
        .await;
    let reply = client.head(Method::Get).await;
    assert_eq!(reply.head.status, 101);
    assert_eq!(reply.head.fields.get_str("upgrade"), Some("shout"));
    assert_eq!(reply.head.fields.get_str("connection"), Some("upgrade"));
    client.send("bird").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "EARLY BIRD");
}

#[tokio::test]
async fn connect_takes_the_connection_too() {
    let server = server().await;
    let mut client = server.connect().await;
    client
        .send("CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\nhello")
        .await;
    let reply = client.head(Method::Connect).await;
    assert_eq!(reply.head.status, 200);
    let host = reply.head.fields.get_str("x-host");
    assert_eq!(host, Some("b.example:443"));
    for framing in ["content-length", "transfer-encoding", "connection"] {
        assert!(!reply.head.fields.contains(framing), "{framing}");
    }
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "HELLO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_are_served_side_by_side() {
    let server = server().await;
    let clients = (0..50).map(|number| {
        let connecting = server.connect();
        async move {
            let mut client = connecting.await;
            for round in 0..40 {
                let body = format!("{number} {round}");
                let length = body.len();
                let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length";
                client.send(format!("{head}: {length}\r\n\r\n{body}")).await;
                assert_eq!(client.reply(Method::Post).await.text(), body);
            }
        }
    });
    futures_util::future::join_all(clients).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_while_waiting() {
    let mut server = server().await;
    let mut client = server.connect().await;
    client.send(request("/wait", "1.1", "")).await;
    assert_eq!(server.event().await, "waiting");
    drop(client);
    assert_eq!(server.event().await, "HalfClosed");

    // One that only said that it sends no more still gets its reply.
    let mut client = server.connect().await;
    client.send(request("/wait", "1.0", "")).await;
    client.stream.shutdown().await.unwrap();
    assert!(client.rest().await.ends_with("still"));
}

#[tokio::test]
async fn waiting_for_the_departure_loses_no_pipelined_bytes() {
    let mut server = server().await;
    let mut client = server.connect().await;
    let next = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    client
        .send(request("/wait-a-little", "1.1", "") + next)
        .await;
    assert_eq!(server.event().await, "still there");
    assert_eq!(client.reply(Method::Get).await.head.status, 200);
    assert_eq!(client.reply(Method::Post).await.text(), "body");
}

#[tokio::test]
async fn a_read_given_up_half_way_loses_nothing() {
    let server = server().await;
    let mut client = server.connect().await;
    client
        .send("POST /cancelled-reads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut expected = String::new();
    for number in 0..20 {
        let piece = format!("piece {number:02};");
        expected.push_str(&piece);
        client.send("9;x").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.send(format!("\r\n{piece}\r")).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.send("\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.reply(Method::Post).await.text(), expected);
}

#[tokio::test]
async fn traffic_is_counted_head_and_body_apart() {
    let mut server = server().await;
    let mut client = server.connect().await;
    let head = "POST /traffic HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send([head, "3\r\nabc\r\n0\r\n\r\n"].concat()).await;
    client.reply(Method::Post).await;
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let sent = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{date}\r\n");
    assert_eq!(
        server.event().await,
        format!(
            "Traffic {{ request_head: {}, request_body: 3, response_head: {}, response_body: 5 }}",
            head.len(),
            sent.len()
        )
    );
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_announces_the_end_on_busy_ones() {
    let mut server = server().await;
    let mut idle = server.connect().await;
    idle.get("/hello").await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    busy.send(request("/wait", "1.1", "")).await;
    assert_eq!(server.event().await, "waiting");
    server.shutdown.send(true).unwrap();
    assert_eq!(idle.rest().await, "");
    assert_eq!(fresh.rest().await, "");
    busy.stream.shutdown().await.unwrap();
    let reply = busy.rest().await;
    assert!(reply.contains("Connection: close\r\n"), "{reply}");
    assert!(reply.ends_with("still"), "{reply}");
}

#[tokio::test]
async fn connection_information_comes_from_the_socket() {
    // The digest of a socket is set by pingora's listeners; a bare one knows nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream, l4};
    use std::os::fd::AsRawFd;
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let mut stream = l4::stream::Stream::from(socket);
    stream.set_socket_digest(digest);
    let stream: Stream = Box::new(stream);
    let now = crate::time::Timestamp::now();
    let info = super::super::ConnectionInfo::of(&stream, 9, now);
    assert_eq!(info.client.as_inet(), Some(peer));
    assert_eq!(info.client.as_inet(), Some(client.local_addr().unwrap()));
    assert_eq!(info.local.as_inet(), Some(addr));
    assert_eq!(info.scheme, crate::http::Scheme::Http);
    assert_eq!(info.client.to_string(), peer.to_string());
}

/// Counts its requests.
struct Counting(AtomicUsize);

impl Handler for Counting {
    async fn handle(&self, mut exchange: Exchange) -> Served {
        self.0.fetch_add(1, Ordering::Relaxed);
        let sent = exchange
            .send_head(&ResponseHead::new(204), SendBody::Empty)
            .await;
        match sent.and(exchange.finish(None).await) {
            Ok(()) => exchange.done(),
            Err(_) => exchange.abort(),
        }
    }

    fn refused(&self, _info: &ConnectionInfo, _refused: RefusedRequest) {}
}

#[tokio::test]
async fn a_client_that_pipelines_without_pause_leaves_others_their_turn() {
    const REQUESTS: usize = 10_000;
    let (mut client, server) = tokio::io::duplex(4 << 20);
    client
        .write_all(request("/", "1.1", "").repeat(REQUESTS).as_bytes())
        .await
        .unwrap();
    let handler = Arc::new(Counting(AtomicUsize::new(0)));
    let stream: Stream = Box::new(server);
    let info = ConnectionInfo::of(&stream, 1, Timestamp::now());
    let (_shutdown, watcher) = watch::channel(false);
    let serving = tokio::spawn(serve_connection(
        stream,
        info,
        Arc::new(DownstreamSettings::default()),
        Arc::clone(&handler),
        watcher,
    ));
    let (mut before, mut most) = (0, 0);
    while before < REQUESTS {
        tokio::task::yield_now().await;
        let served = handler.0.load(Ordering::Relaxed);
        most = most.max(served - before);
        before = served;
    }
    assert!(most <= 256, "{most} requests in one turn");
    serving.abort();
}

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{DownstreamSettings, Http2Settings};
use super::support::{PATIENCE, Server, start};

const SHORT: Duration = Duration::from_millis(300);

/// A client with prior knowledge.
pub(super) struct Client {
    sender: SendRequest<Bytes>,
    pub(super) connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

pub(super) async fn connect(server: &Server) -> Client {
    let socket = TcpStream::connect(server.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .handshake(socket)
        .await
        .unwrap();
    Client {
        sender,
        connection: tokio::spawn(connection),
    }
}

impl Client {
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        is_end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.send_with(method, path, &[], is_end)
    }

    fn send_with(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        is_end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://h2.example{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        self.sender
            .send_request(request.body(()).unwrap(), is_end)
            .unwrap()
    }

    async fn get(&mut self, path: &str) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
        collect(self.send("GET", path, true).0).await
    }
}

async fn collect(response: ResponseFuture) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
    let collecting = async {
        let (parts, mut body) = response.await.unwrap().into_parts();
        let bytes = read_all(&mut body).await.unwrap();
        let trailers = body.trailers().await.unwrap();
        (Response::from_parts(parts, ()), bytes, trailers)
    };
    tokio::time::timeout(PATIENCE, collecting)
        .await
        .expect("a reply in time")
}

async fn read_all(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(super) async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        while send.capacity() == 0 {
            poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        }
        let piece = bytes.split_to(send.capacity().min(bytes.len()));
        send.send_data(piece, false).unwrap();
    }
}

#[tokio::test]
async fn prior_knowledge_on_plain_text_is_recognised() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (head, body, trailers) = client.get("/hello").await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], "5");
    assert!(head.headers().contains_key("date"));
    assert_eq!(body, b"hello");
    assert!(trailers.is_none());

    // The preface may come in pieces.
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    tokio::time::timeout(PATIENCE, socket.read_exact(&mut frame))
        .await
        .expect("settings in time")
        .unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS");
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (response, mut send) = client.send("POST", "/echo", false);
    send_all(&mut send, Bytes::from_static(b"some ")).await;
    send_all(&mut send, Bytes::from_static(b"body")).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("digest", "d".parse().unwrap());
    send.send_trailers(trailers).unwrap();
    let (head, body, trailers) = collect(response).await;
    assert_eq!(body, b"some body");
    assert_eq!(trailers.unwrap()["digest"], "d");
    assert_eq!(head.headers()["x-host"], "h2.example");
    assert_eq!(head.headers()["x-method"], "POST");

    let (_, body, trailers) = client.get("/stream").await;
    assert_eq!(body, b"onetwothree");
    assert_eq!(trailers.unwrap()["x-sum"], "abc");
}

#[tokio::test]
async fn cookie_crumbs_become_one_line() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
    let (head, ..) = collect(client.send_with("GET", "/echo", &crumbs, true).0).await;
    assert_eq!(head.headers()["x-cookie"], "a=1; b=2");
}

#[tokio::test]
async fn doubtful_heads_are_refused_and_the_others_go_on() {
    let settings = DownstreamSettings {
        head: crate::http1::HeadLimits {
            target_bytes_max: 100,
            fields_max: 10,
            ..Default::default()
        },
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let mut client = connect(&server).await;
    let long = format!("/{}", "x".repeat(100));
    let many: Vec<(String, &str)> = (0..11).map(|number| (format!("x-{number}"), "y")).collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (&name[..], *value))
        .collect();
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let cases: &[Case<'_>] = &[
        ("GET", "/hello", &[("host", "other.example")], 400),
        (
            "GET",
            "/hello",
            &[("host", "h2.example"), ("host", "h2.example")],
            400,
        ),
        ("GET", "/hello", &[("host", "H2.EXAMPLE")], 200),
        ("GET", "/hello", &[("expect", "tea")], 417),
        (
            "GET",
            "/hello",
            &[("content-length", "0"), ("content-length", "0")],
            400,
        ),
        ("GET", "/hello", &[("content_length", "0")], 400),
        ("GET", "/hello", &[("transfer_encoding", "chunked")], 400),
        ("GET", &long, &[], 414),
        ("GET", "/hello", &many, 431),
        ("GET", "/hello", &[("te", "trailers")], 200),
    ];
    for (method, path, fields, status) in cases {
        let (head, ..) = collect(client.send_with(method, path, fields, true).0).await;
        assert_eq!(head.status().as_u16(), *status, "{path} {fields:?}");
    }
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "1"),
        ("te", "gzip"),
        ("content-length", "x"),
    ] {
        // Some of these the client's own library already holds back.
        let request = Request::builder()
            .uri("http://h2.example/hello")
            .header(name, value)
            .body(())
            .unwrap();
        match client.sender.send_request(request, true) {
            Err(_) => {}
            Ok((response, _)) => match response.await {
                Err(error) => assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{name}"),
                Ok(response) => assert_eq!(response.status(), 400, "{name}"),
            },
        }
    }
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn a_body_that_differs_from_its_length_resets_the_stream() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    for (length, body) in [("3", "long"), ("9", "short")] {
        let fields = [("content-length", length)];
        let (response, mut send) = client.send_with("POST", "/echo", &fields, false);
        let _ = send.send_data(Bytes::from_static(body.as_bytes()), true);
        let error = response.await.expect_err("a reset");
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    }
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn replies_without_a_body_end_with_their_head() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    for (method, path, length) in [
        ("HEAD", "/hello", Some("5")),
        ("HEAD", "/stream", None),
        ("HEAD", "/status?200", Some("77")),
        ("GET", "/status?304", Some("77")),
        ("GET", "/status?204", None),
        ("GET", "/status?200", Some("0")),
    ] {
        let (head, body, _) = collect(client.send(method, path, true).0).await;
        let found = head.headers().get("content-length");
        assert_eq!(
            found.map(|value| value.to_str().unwrap()),
            length,
            "{method} {path}"
        );
        assert_eq!(body, b"", "{method} {path}");
    }
    let (head, body, _) = client.get("/stored").await;
    assert_eq!(head.headers()["age"], "7");
    assert_eq!(head.headers()["date"], "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(body, b"store");
}

#[tokio::test]
async fn informational_heads_come_before_the_reply() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (mut response, _) = client.send("GET", "/hints", true);
    let hints = poll_fn(|cx| response.poll_informational(cx)).await;
    let hints = hints.expect("hints").unwrap();
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.headers()["link"], "</a>");
    assert_eq!(collect(response).await.0.status(), 200);

    let fields = [("expect", "100-continue"), ("content-length", "4")];
    let (mut response, mut send) = client.send_with("POST", "/echo", &fields, false);
    let invited = poll_fn(|cx| response.poll_informational(cx)).await;
    assert_eq!(invited.expect("an invitation").unwrap().status(), 100);
    send.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(collect(response).await.1, b"body");
}

#[tokio::test]
async fn broken_replies_reset_the_stream_and_only_that() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    for path in ["/short", "/unfinished", "/abort"] {
        // A reset overtakes what is queued: it may hit the head or the body.
        let error = match client.send("GET", path, true).0.await {
            Ok(response) => read_all(&mut response.into_body()).await.expect_err(path),
            Err(error) => error,
        };
        assert!(error.is_reset(), "{path}: {error}");
    }
    assert!(client.send("GET", "/panic", true).0.await.is_err());
    assert_eq!(client.get("/unanswered").await.0.status(), 500);
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn a_stalled_stream_holds_up_no_other_and_is_timed_out() {
    let settings = DownstreamSettings {
        write_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = connect(&server).await;
    let stalled = client.send("GET", "/large?4", true).0.await.unwrap();
    for _ in 0..5 {
        assert_eq!(client.get("/hello").await.1, b"hello");
    }
    assert_eq!(
        server.event().await,
        "error: timed out while waiting for the client to take the reply"
    );
    assert!(read_all(&mut stalled.into_body()).await.is_err());
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn bodies_are_limited_and_timed() {
    let settings = DownstreamSettings {
        request_body_bytes_max: Some(1000),
        body_read_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let server = start(settings).await;
    let mut client = connect(&server).await;
    let declared = [("content-length", "1001")];
    let (response, _send) = client.send_with("POST", "/sink", &declared, false);
    assert_eq!(collect(response).await.0.status(), 413);

    let (response, mut send) = client.send("POST", "/sink", false);
    send_all(&mut send, Bytes::from(vec![b'x'; 1001])).await;
    assert_eq!(collect(response).await.0.status(), 413);

    let (response, _send) = client.send("POST", "/sink", false);
    assert_eq!(collect(response).await.0.status(), 408);

    let (response, mut send) = client.send("POST", "/sink", false);
    send_all(&mut send, Bytes::from(vec![b'x'; 1000])).await;
    send.send_data(Bytes::new(), true).unwrap();
    assert_eq!(collect(response).await.1, b"1000");
}

#[tokio::test]
async fn an_early_reply_cancels_the_rest_of_the_body_without_blame() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (response, mut send) = client.send("POST", "/early", false);
    assert_eq!(collect(response).await.1, b"early");
    let reason = poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn a_client_that_resets_or_leaves_is_noticed_while_waiting() {
    let mut server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (response, mut send) = client.send("GET", "/wait", false);
    assert_eq!(server.event().await, "waiting");
    send.send_reset(Reason::CANCEL);
    assert_eq!(server.event().await, "Gone");
    drop(response);
    assert!(server.event().await.starts_with("error: "));

    let (_response, _send) = client.send("GET", "/wait", true);
    assert_eq!(server.event().await, "waiting");
    client.connection.abort();
    // As with HTTP/1: it might still read.
    assert_eq!(server.event().await, "HalfClosed");
    while server.event().await != "connection ended" {}
}

#[tokio::test]
async fn idle_connections_and_spent_ones_end() {
    let settings = DownstreamSettings {
        idle_timeout: SHORT,
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = connect(&server).await;
    client.get("/hello").await;
    assert_eq!(server.event().await, "connection ended");

    let settings = DownstreamSettings {
        requests_per_connection_max: NonZeroU32::new(2),
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = connect(&server).await;
    client.get("/hello").await;
    client.get("/hello").await;
    assert_eq!(server.event().await, "connection ended");
    client.connection.await.unwrap().expect("a graceful end");
}

#[tokio::test]
async fn shutdown_lets_open_streams_finish() {
    let mut server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let (response, mut send) = client.send("POST", "/echo", false);
    send_all(&mut send, Bytes::from_static(b"before ")).await;
    client.get("/hello").await;
    server.shutdown.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    send.send_data(Bytes::from_static(b"after"), true).unwrap();
    assert_eq!(collect(response).await.1, b"before after");
    client.connection.await.unwrap().expect("a graceful end");
    assert_eq!(server.event().await, "connection ended");
}

#[tokio::test]
async fn a_client_that_goes_on_sending_bad_heads_is_disconnected() {
    let settings = DownstreamSettings {
        http2: Http2Settings {
            refused_requests_max: 5,
            ..Http2Settings::default()
        },
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = connect(&server).await;
    let wrong = [("host", "other.example")];
    let refused: Vec<_> = (0..40)
        .map(|_| client.send_with("GET", "/hello", &wrong, true).0)
        .collect();
    for response in refused {
        let _ = response.await;
    }
    assert_eq!(server.event().await, "connection ended");
    let error = client
        .connection
        .await
        .unwrap()
        .expect_err("an end with a reason");
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_client_that_goes_on_resetting_is_disconnected() {
    let settings = DownstreamSettings {
        http2: Http2Settings {
            resets_max: 3,
            ..Http2Settings::default()
        },
        ..DownstreamSettings::default()
    };
    let mut server = start(settings).await;
    let mut client = connect(&server).await;
    let reset = async |client: &mut Client, server: &mut Server| {
        let (_response, mut send) = client.send("GET", "/wait", true);
        assert_eq!(server.event().await, "waiting");
        send.send_reset(Reason::CANCEL);
        assert_eq!(server.event().await, "Gone");
        assert!(server.event().await.starts_with("error: "));
    };
    // Each reply makes up for a reset.
    for _ in 0..8 {
        reset(&mut client, &mut server).await;
        assert_eq!(client.get("/hello").await.1, b"hello");
    }
    // One more than allowed, and one for each second that this takes.
    while !client.connection.is_finished() {
        let request = Request::builder().uri("http://h2.example/wait");
        let request = request.body(()).unwrap();
        let Ok((_response, mut send)) = client.sender.send_request(request, true) else {
            break;
        };
        loop {
            match &*server.event().await {
                "waiting" => send.send_reset(Reason::CANCEL),
                "Gone" => {}
                _ => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = client
        .connection
        .await
        .unwrap()
        .expect_err("an end with a reason");
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(server.event().await, "connection ended");
    assert_eq!(
        *server.handler.last_end.lock(),
        Some(super::End::Http2Violated)
    );
}

#[tokio::test]
async fn connect_has_no_tunnel_here() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = connect(&server).await;
    let request = Request::builder()
        .method("CONNECT")
        .uri("h2.example:443")
        .body(())
        .unwrap();
    let (response, _send) = client.sender.send_request(request, false).unwrap();
    assert_eq!(collect(response).await.0.status(), 404);
}

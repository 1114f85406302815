//! The same machines behind HTTP/2: what differs is how replies end.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::FRESH;
use crate::support::{Answer, Backend, Door, Gate, PATIENCE, answer};

const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

pub(crate) async fn connect(door: &Door) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(door.address)
        .await
        .expect("an open port");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    send.ready().await.expect("an open connection")
}

/// A whole reply: its head, its body and its trailers.
pub(crate) type Reply = (Response<()>, Vec<u8>, Option<http::HeaderMap>);

pub(crate) async fn exchange(
    send: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &'static str,
) -> Reply {
    let exchange = async {
        let (response, mut upload) = send
            .send_request(request, body.is_empty())
            .expect("an open connection");
        if !body.is_empty() {
            upload.send_data(body.into(), true).expect("an open stream");
        }
        let (head, mut body) = response.await.expect("a head").into_parts();
        let mut received = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("a whole body");
            received.extend_from_slice(&piece);
            let window = body.flow_control();
            window.release_capacity(piece.len()).expect("what came");
        }
        let trailers = body.trailers().await.expect("an open stream");
        (Response::from_parts(head, ()), received, trailers)
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("a reply in time")
}

fn request(method: &str, target: &str) -> http::request::Builder {
    let uri = format!("http://example.org{target}");
    Request::builder().method(method).uri(uri)
}

fn cache(head: &Response<()>) -> &[u8] {
    head.headers()
        .get("x-cache")
        .map_or(b"", |value| value.as_bytes())
}

#[tokio::test]
async fn one_object_serves_both_protocols() {
    let backend = Backend::always(answer(
        200,
        &[FRESH, ("Connection", "X-Hop"), ("X-Hop", "1")],
        "body",
    ))
    .await;
    let door = Door::start(&backend).await;
    let mut send = connect(&door).await;
    for expected in [b"MISS".as_slice(), b"HIT"] {
        let get = request("GET", "/").body(()).expect("a sound request");
        let (head, body, _) = exchange(&mut send, get, "").await;
        assert_eq!(cache(&head), expected);
        assert!(!head.headers().contains_key("x-hop"));
        assert_eq!(body, b"body");
    }
    assert_eq!(door.get("/").await.cache(), "HIT");
    let part = request("GET", "/").header("range", "bytes=1-2").body(());
    let part = part.expect("a sound request");
    let (head, body, _) = exchange(&mut send, part, "").await;
    assert_eq!((head.status().as_u16(), &*body), (206, &b"od"[..]));
    let put = request("PUT", "/").body(()).expect("a sound request");
    exchange(&mut send, put, "value").await;
    assert_eq!(backend.last().body, b"value");
    assert_eq!(door.get("/").await.cache(), "MISS");
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn trailers_come_with_a_miss_and_a_hit() {
    let chunked = Answer::default().head(200, &[FRESH, CHUNKED]);
    let backend = Backend::always(chunked.chunk("body").then("0\r\nX-Sum: abc\r\n\r\n")).await;
    let door = Door::start(&backend).await;
    let mut send = connect(&door).await;
    for _ in 0..2 {
        let get = request("GET", "/").body(()).expect("a sound request");
        let (_, body, trailers) = exchange(&mut send, get, "").await;
        assert_eq!(body, b"body");
        let trailers = trailers.expect("trailers");
        assert_eq!(
            trailers.get("x-sum").map(|sum| sum.as_bytes()),
            Some(&b"abc"[..])
        );
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_truncated_answer_resets_its_stream_and_no_other() {
    let gate = Gate::new();
    let broken = Answer::default()
        .head(200, &[FRESH, CHUNKED])
        .chunk("begin")
        .hold(&gate);
    let broken = broken.and_close();
    let backend = Backend::start(move |seen| match &*seen.target {
        "/broken" => broken.clone(),
        _ => answer(200, &[FRESH], "sound"),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut send = connect(&door).await;
    let get = request("GET", "/broken").body(()).expect("a sound request");
    let (response, _) = send.send_request(get, true).expect("an open connection");
    let breaking = async {
        let mut body = response.await.expect("a head").into_body();
        let begin = body.data().await.expect("a piece").expect("an open stream");
        assert_eq!(&*begin, b"begin");
        gate.open();
        body.data().await.expect("no end")
    };
    let broken = tokio::time::timeout(PATIENCE, breaking)
        .await
        .expect("an end in time");
    let reason = broken.expect_err("a reset stream").reason();
    assert_eq!(reason, Some(h2::Reason::INTERNAL_ERROR));
    let get = request("GET", "/sound").body(()).expect("a sound request");
    assert_eq!(exchange(&mut send, get, "").await.1, b"sound");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let backend = Backend::always(answer(200, &[], "done")).await;
    let door = Door::with(&backend, |config| {
        config.limits.request_body_bytes_max = config::ByteSize::new(10);
    })
    .await;
    let mut send = connect(&door).await;
    for length in [Some("12"), None] {
        let mut put = request("PUT", "/");
        if let Some(length) = length {
            put = put.header("content-length", length);
        }
        let put = put.body(()).expect("a sound request");
        let (head, ..) = exchange(&mut send, put, "0123456789ab").await;
        assert_eq!(head.status().as_u16(), 413, "{length:?}");
    }
    assert!(backend.seen().iter().all(|seen| !seen.whole));
    let put = request("PUT", "/").body(()).expect("a sound request");
    assert_eq!(exchange(&mut send, put, "0123456789").await.0.status(), 200);
}

#[tokio::test]
async fn a_refused_expectation_ends_its_stream_only() {
    let backend = Backend::start(|seen| match seen.field("Expect") {
        Some(_) => answer(417, &[], "no").leave_body().and_close(),
        None => answer(200, &[], "done"),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut send = connect(&door).await;
    let put = request("PUT", "/").header("expect", "100-continue");
    let put = put
        .header("content-length", "4")
        .body(())
        .expect("a sound request");
    let (response, _upload) = send.send_request(put, false).expect("an open connection");
    let response = tokio::time::timeout(PATIENCE, response)
        .await
        .expect("in time");
    assert_eq!(response.expect("a head").status(), 417);
    let put = request("PUT", "/").body(()).expect("a sound request");
    assert_eq!(exchange(&mut send, put, "body").await.0.status(), 200);
}

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::DownstreamSettings;
use super::support::{resident_bytes, start};
use crate::http::Method;

const MEBIBYTE: usize = 1024 * 1024;
const SIZE: usize = 100 * MEBIBYTE;

/// What streaming may take beyond the start: buffers on both sides, and what the allocator keeps.
const GROWTH_MAX: u64 = 32 * MEBIBYTE as u64;

#[track_caller]
fn check_growth(before: u64) {
    let now = resident_bytes();
    assert!(now < before + GROWTH_MAX, "grew from {before} to {now}");
}

#[tokio::test]
async fn a_large_download_takes_little_memory() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = server.connect().await;
    let before = resident_bytes();
    client
        .send("GET /large?100 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.head(Method::Get).await;
    let mut total = client.input.len();
    let mut buffer = vec![0; 256 * 1024];
    while total < SIZE {
        let count = client.stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "ended after {total}");
        total += count;
        check_growth(before);
    }
    assert_eq!(total, SIZE);
}

#[tokio::test]
async fn a_large_upload_takes_little_memory() {
    let server = start(DownstreamSettings::default()).await;
    for framing in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
        let mut client = server.connect().await;
        let before = resident_bytes();
        client
            .send(format!(
                "POST /sink HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ))
            .await;
        let is_chunked = framing.ends_with("chunked");
        let piece = vec![b'x'; MEBIBYTE];
        for _ in 0..100 {
            if is_chunked {
                client.send("100000\r\n").await;
            }
            client.stream.write_all(&piece).await.unwrap();
            if is_chunked {
                client.send("\r\n").await;
            }
            check_growth(before);
        }
        if is_chunked {
            client.send("0\r\n\r\n").await;
        }
        assert_eq!(client.reply(Method::Post).await.text(), SIZE.to_string());
    }
}

#[tokio::test]
async fn large_http2_bodies_take_little_memory() {
    let server = start(DownstreamSettings::default()).await;
    let mut client = super::http2::connect(&server).await;
    let before = resident_bytes();

    let (response, _) = client.send("GET", "/large?100", true);
    let mut body = response.await.unwrap().into_body();
    let mut total = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        total += piece.len();
        body.flow_control().release_capacity(piece.len()).unwrap();
        check_growth(before);
    }
    assert_eq!(total, SIZE);

    let (response, mut send) = client.send("POST", "/sink", false);
    let piece = Bytes::from(vec![b'x'; MEBIBYTE]);
    for _ in 0..100 {
        super::http2::send_all(&mut send, piece.clone()).await;
        check_growth(before);
    }
    send.send_data(Bytes::new(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), SIZE.to_string());
}

#[tokio::test]
async fn a_large_head_is_not_kept_while_its_connection_idles() {
    const CONNECTIONS: usize = 1000;
    let server = start(DownstreamSettings::default()).await;
    let large = "x".repeat(24 * 1024);
    let request = format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n");
    let mut clients = Vec::new();
    // What the first take, all need.
    for _ in 0..CONNECTIONS / 10 {
        let mut client = server.connect().await;
        client.send(&request).await;
        client.reply(Method::Get).await;
        clients.push(client);
    }
    let before = resident_bytes();
    for _ in 0..CONNECTIONS {
        let mut client = server.connect().await;
        client.send(&request).await;
        client.reply(Method::Get).await;
        clients.push(client);
    }
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    assert!(
        each < large.len() as u64,
        "{each} bytes for each connection"
    );
}

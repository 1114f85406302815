//! Why connections ended, where the handler has a part in it. `proxy/tests/metrics.rs` has all the other reasons.

use super::super::*;
use super::support::{start, talk};

#[tokio::test]
async fn end_of_a_connection_is_that_of_its_last_exchange() {
    let mut server = start(DownstreamSettings::default()).await;
    for (request, expected) in [
        ("GET /panic HTTP/1.1", End::Panicked),
        ("GET /abort HTTP/1.1", End::ReplyFailed),
        ("GET /short HTTP/1.1", End::ReplyFailed),
        ("GET /unfinished HTTP/1.1", End::ReplyFailed),
        ("GET /unanswered HTTP/1.1", End::ByReply),
        ("GET /close HTTP/1.1", End::ByReply),
        ("GET /hello HTTP/1.0", End::Http10),
        // What ends the body ends the connection, whatever else would have.
        ("GET /stream HTTP/1.0", End::EndOfBody),
    ] {
        talk(&server, format!("{request}\r\nHost: a\r\n\r\n")).await;
        while server.event().await != "connection ended" {}
        assert_eq!(*server.handler.last_end.lock(), Some(expected), "{request}");
    }
    let mut client = server.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    client.head(crate::http::Method::Get).await;
    drop(client);
    while server.event().await != "connection ended" {}
    assert_eq!(*server.handler.last_end.lock(), Some(End::Upgraded));
}

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

fn url(text: &str) -> TargetUrl {
    text.parse().unwrap()
}

fn purge(text: &str) -> Order {
    Order::PurgeUrl {
        url: url(text),
        mode: PurgeMode::Hard,
    }
}

fn ban(expression: &str) -> Order {
    Order::Ban {
        expression: expression.to_owned(),
    }
}

/// Reads a head and answers it.
fn answer(mut stream: impl Read + Write, reply: &[u8]) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    stream.write_all(reply).unwrap();
    String::from_utf8(request).unwrap()
}

/// Sends an order to a real listener that answers `reply`; returns what it got and what came of it. The connection
/// stays open until the client has its result.
fn exchange(order: &Order, reply: &'static [u8]) -> (String, Result<Answer, OrderError>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string().parse().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let request = answer(&stream, reply);
        (request, stream)
    });
    let result = send(order, &to);
    let (request, _stream) = server.join().unwrap();
    let request = request.replace(&to.to_string(), "FRONT-DOOR");
    (request, result)
}

const PURGED: &[u8] = b"HTTP/1.1 200 Purged\r\nContent-Length: 10\r\n\r\n2 objects\n";

/// Compares the request line and the fields that matter.
fn check(order: &Order, expected: &[&str]) {
    let (request, result) = exchange(order, PURGED);
    let lines: Vec<&str> = request
        .trim_end()
        .lines()
        .filter(|line| !line.starts_with("User-Agent: lacquer/"))
        .filter(|line| !["Accept: text/plain", "Connection: close"].contains(line))
        .collect();
    assert_eq!(lines, expected);
    let answer = result.unwrap();
    assert_eq!(answer.to_string(), "200 Purged: 2 objects");
}

#[test]
fn orders_are_requests_to_the_front_door() {
    check(
        &purge("http://example.org:81/a?b"),
        &["PURGE /a?b HTTP/1.1", "Host: example.org:81"],
    );
    check(&purge("http://h?q"), &["PURGE /?q HTTP/1.1", "Host: h"]);
    check(
        &purge("https://example.org/a"),
        &["PURGE /a HTTP/1.1", "Host: example.org"],
    );
    check(
        &purge("/kv/a/b"),
        &["PURGE /kv/a/b HTTP/1.1", "Host: FRONT-DOOR"],
    );
    check(
        &Order::PurgeUrl {
            url: url("http://h/"),
            mode: PurgeMode::Soft,
        },
        &["PURGE / HTTP/1.1", "Host: h", "Lacquer-Purge: soft"],
    );
    check(
        &Order::PurgeKeys {
            keys: vec!["a".to_owned(), "b".to_owned()],
            mode: PurgeMode::Hard,
        },
        &["PURGE / HTTP/1.1", "Host: FRONT-DOOR", "Surrogate-Key: a b"],
    );
    check(
        &ban("req.url ~ ^/a"),
        &[
            "BAN / HTTP/1.1",
            "Host: FRONT-DOOR",
            "Lacquer-Ban: req.url ~ ^/a",
        ],
    );
}

#[test]
fn a_unix_socket_takes_orders_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || answer(listener.accept().unwrap().0, PURGED));
    let result = send(&purge("/a"), &BackendAddress::Unix(path));
    assert_eq!(result.unwrap().status, 200);
    assert!(server.join().unwrap().contains("\r\nHost: localhost\r\n"));
}

/// Compares what the user reads when the front door does not do as told.
fn check_failure(reply: &'static [u8], expected: &str) {
    let (_, result) = exchange(&ban("x"), reply);
    let message = result.unwrap_err().to_string();
    let begin = message
        .find("127.0.0.1:")
        .expect("messages name the address");
    let end = begin
        + message[begin..]
            .find(' ')
            .expect("words follow the address");
    assert_eq!(
        message.replace(&message[begin..end], "FRONT-DOOR"),
        expected
    );
}

#[test]
fn refusals_say_what_to_do() {
    check_failure(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "the front door at FRONT-DOOR refused: 403 Forbidden (purge.allow lists the networks that may purge)",
    );
    check_failure(
        b"HTTP/1.1 405 Method Not Allowed\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "the front door at FRONT-DOOR refused: 405 Method Not Allowed \
         (purge.enabled is false there, or it is no lacquer)",
    );
    check_failure(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\nContent-Length: 30\r\n\r\n\n  no such \x1b[31mfield\x07 in a ban\n\n",
        "the front door at FRONT-DOOR refused: 400 Bad Request: no such [31mfield in a ban",
    );
}

#[test]
fn what_is_no_http_is_told_apart() {
    check_failure(
        b"\x15\x03\x03\x00\x02\x02\x32",
        "what answers at FRONT-DOOR does not speak HTTP/1.1 in plain text",
    );
}

#[test]
fn a_peer_that_closes_or_floods_is_no_front_door() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to: BackendAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let _ = answer(&stream, b"HTTP/1.1 200");
        stream.shutdown(Shutdown::Both).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let _ = answer(&stream, b"HTTP/1.1 200 OK\r\n");
        let field = format!("X: {}\r\n", "x".repeat(4096));
        // The client gives up after its bound; then the write fails.
        while stream.write_all(field.as_bytes()).is_ok() {}
    });
    for _ in 0..2 {
        let result = send(&ban("x"), &to);
        assert!(
            matches!(result, Err(OrderError::NotHttp { .. })),
            "{result:?}"
        );
    }
    server.join().unwrap();
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to: BackendAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let error = send(&ban("x"), &to).unwrap_err();
    assert!(matches!(error, OrderError::Connect { .. }));
    assert!(error.to_string().contains(&to.to_string()));
}

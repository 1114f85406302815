use bytes::BytesMut;

use super::*;
use crate::http::{Method, RequestHead, ResponseHead, Scheme, Version};

fn request(method: Method, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method,
        target: "/p?q".to_owned(),
        authority: "a:1".to_owned(),
        scheme: Scheme::Http,
        version: Version::Http2,
        fields: fields.iter().copied().collect(),
    }
}

#[test]
fn request_heads_are_written_with_the_framing_of_the_writer() {
    #[track_caller]
    fn check(head: &RequestHead, framing: SentFraming, expected: &str) {
        let mut out = Vec::new();
        write_request_head(&mut out, head, framing);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
    let head = request(
        Method::Post,
        &[("Host", "a:1"), ("Content-Length", "9"), ("X", "y")],
    );
    check(
        &head,
        SentFraming::Nothing,
        "POST /p?q HTTP/1.1\r\nHost: a:1\r\nX: y\r\n\r\n",
    );
    check(
        &head,
        SentFraming::Length(12),
        "POST /p?q HTTP/1.1\r\nHost: a:1\r\nX: y\r\nContent-Length: 12\r\n\r\n",
    );
    check(
        &head,
        SentFraming::Chunked,
        "POST /p?q HTTP/1.1\r\nHost: a:1\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    // Lines that announce what is sent stay as they are; another spelling of it does not, nor does it said twice.
    let line = "POST /p?q HTTP/1.1\r\nHost: a:1\r\ncontent-length: 9\r\nX: y\r\n\r\n";
    let rewritten = "POST /p?q HTTP/1.1\r\nHost: a:1\r\nX: y\r\nContent-Length: 9\r\n\r\n";
    for (told, expected) in [
        (&[("content-length", "9")][..], line),
        (&[("content-length", "09")], rewritten),
        (
            &[("content-length", "9"), ("Content-Length", "9")],
            rewritten,
        ),
        (
            &[("content-length", "9"), ("transfer-encoding", "x")],
            rewritten,
        ),
        (&[("transfer-encoding", "chunked")], rewritten),
        (&[], rewritten),
    ] {
        let fields = [&[("Host", "a:1")], told, &[("X", "y")]].concat();
        check(
            &request(Method::Post, &fields),
            SentFraming::Length(9),
            expected,
        );
    }
    check(
        &request(Method::Connect, &[]),
        SentFraming::Nothing,
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    );
}

#[test]
fn response_heads_are_written_with_the_framing_of_the_writer() {
    #[track_caller]
    fn check(head: &ResponseHead, framing: SentFraming, expected: &str) {
        let mut out = Vec::new();
        write_response_head(&mut out, head, framing);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
    let head = ResponseHead::new(200)
        .with("Content-Length", "9")
        .with("transfer-encoding", "chunked")
        .with("X", "y");
    check(
        &head,
        SentFraming::Nothing,
        "HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
    );
    check(
        &head,
        SentFraming::Described,
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: y\r\n\r\n",
    );
    check(
        &head,
        SentFraming::Length(0),
        "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n\r\n",
    );
    check(
        &ResponseHead::new(799),
        SentFraming::Nothing,
        "HTTP/1.1 799 \r\n\r\n",
    );
}

#[test]
fn written_chunks_decode_to_what_was_sent() {
    let mut out = Vec::new();
    for length in [1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65_536] {
        out.clear();
        write_chunk_head(&mut out, length);
        assert_eq!(out, format!("{length:x}\r\n").as_bytes());
        out.resize(out.len() + length, b'x');
        out.extend_from_slice(CHUNK_END);
        let trailers = [("A", "b")].into_iter().collect();
        write_last_chunk(&mut out, Some(&trailers));
        let mut decoder = Decoder::new(BodyFraming::Chunked, &limits());
        let mut buffer = BytesMut::from(&out[..]);
        match decoder.decode(&mut buffer) {
            Ok(Decoded::Data(data)) => assert_eq!(data.len(), length),
            other => panic!("{other:?}"),
        }
        match decoder.decode(&mut buffer) {
            Ok(Decoded::End(Some(found))) => assert_eq!(found, trailers),
            other => panic!("{other:?}"),
        }
    }
    out.clear();
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\n\r\n");
}

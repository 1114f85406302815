use super::*;
use crate::http::{Method, Version};

fn parse(input: &[u8], method: &Method) -> Result<Option<ParsedResponse>, BadResponse> {
    parse_response(input, &limits(), method)
}

fn parse_split(input: &[u8], method: &Method) -> Result<ParsedResponse, BadResponse> {
    let whole = parse(input, method).transpose().expect("a complete head");
    for end in 0..input.len() {
        match parse(&input[..end], method) {
            Ok(None) => {}
            Err(early) => assert_eq!(Some(early), whole.as_ref().err().copied(), "at {end}"),
            Ok(Some(_)) => panic!("complete after {end} bytes of {}", input.escape_ascii()),
        }
    }
    whole
}

#[track_caller]
fn check(input: &str, expected: BadResponse) {
    match parse_split(input.as_bytes(), &Method::Get) {
        Err(bad) => assert_eq!(bad, expected, "{input:?}"),
        Ok(parsed) => panic!("{input:?} was read as {parsed:?}"),
    }
}

#[test]
fn framing_follows_status_method_and_fields() {
    use BodyFraming::{Chunked, Empty, Length, UntilClose};
    use Persistence::{Close, KeepAlive};
    let connect = Method::Connect;
    for (method, status, lines, framing, persistence) in [
        (
            Method::Get,
            "200 OK",
            "Content-Length: 5",
            Length(5),
            KeepAlive,
        ),
        (
            Method::Get,
            "200",
            "Content-Length: 5",
            Length(5),
            KeepAlive,
        ),
        (
            Method::Get,
            "200 ",
            "Transfer-Encoding: chunked",
            Chunked,
            KeepAlive,
        ),
        (Method::Get, "404 Not Found", "X: y", UntilClose, Close),
        (
            Method::Get,
            "200 OK",
            "Connection: close\r\nContent-Length: 1",
            Length(1),
            Close,
        ),
        (
            Method::Head,
            "200 OK",
            "Content-Length: 5",
            Empty,
            KeepAlive,
        ),
        (
            Method::Head,
            "200 OK",
            "Transfer-Encoding: chunked",
            Empty,
            KeepAlive,
        ),
        (Method::Head, "200 OK", "X: y", Empty, KeepAlive),
        (
            Method::Get,
            "304 Not Modified",
            "Content-Length: 5",
            Empty,
            KeepAlive,
        ),
        (Method::Get, "204 No Content", "X: y", Empty, KeepAlive),
        (
            Method::Get,
            "204 No Content",
            "Content-Length: 0",
            Empty,
            KeepAlive,
        ),
        (
            Method::Get,
            "204 No Content",
            "Content-Length: 5",
            Empty,
            Close,
        ),
        (
            Method::Get,
            "204 No Content",
            "Transfer-Encoding: chunked",
            Empty,
            Close,
        ),
        (Method::Get, "100 Continue", "X: y", Empty, KeepAlive),
        (
            Method::Get,
            "103 Early Hints",
            "Link: <a>",
            Empty,
            KeepAlive,
        ),
        (
            Method::Get,
            "101 Switching Protocols",
            "Upgrade: x",
            Empty,
            KeepAlive,
        ),
        (
            connect.clone(),
            "200 OK",
            "Content-Length: 5",
            Empty,
            KeepAlive,
        ),
        (connect, "403 No", "Content-Length: 5", Length(5), KeepAlive),
        (
            Method::Get,
            "999 ?",
            "Content-Length: 5",
            Length(5),
            KeepAlive,
        ),
    ] {
        let input = format!("HTTP/1.1 {status}\r\n{lines}\r\n\r\n");
        let parsed = parse_split(input.as_bytes(), &method).expect(&input);
        assert_eq!(parsed.framing, framing, "{input:?}");
        assert_eq!(parsed.persistence, persistence, "{input:?}");
        assert_eq!(parsed.consumed, input.len());
        assert_eq!(parsed.head.status.to_string(), status[..3]);
        assert_eq!(parsed.head.reason(), status[3..].trim_start());
    }
}

#[test]
fn http_1_0_answers_close_unless_they_say_otherwise() {
    let parsed = parse_split(
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        &Method::Get,
    )
    .expect("sound");
    assert_eq!(parsed.head.version, Version::Http10);
    assert_eq!(parsed.persistence, Persistence::Close);
    let input = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n";
    let parsed = parse_split(input, &Method::Get).expect("sound");
    assert_eq!(parsed.persistence, Persistence::KeepAlive);
}

#[test]
fn bad_answers_are_refused() {
    for line in [
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 a\rb",
        "HTTP/1.1 200 a\0b",
        "HTTP/x.1 200 OK",
        "",
    ] {
        check(&format!("{line}\r\nX: y\r\n\r\n"), BadResponse::StatusLine);
    }
    check("HTTP/2.0 200 OK\r\n\r\n", BadResponse::Version);
    for (lines, expected) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            Malformed::BothLengths,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5",
            Malformed::ContentLength,
        ),
        ("Content-Length: 5, 5", Malformed::ContentLength),
        ("Content-Length: five", Malformed::ContentLength),
        (
            "Transfer-Encoding: gzip, chunked",
            Malformed::UnknownTransferCoding,
        ),
        ("Transfer-Encoding: gzip", Malformed::TransferEncoding),
        ("Transfer-Encoding: identity", Malformed::TransferEncoding),
        ("Transfer-Encoding: x-Chunked", Malformed::TransferEncoding),
        ("Transfer-Encoding: x, x-gzip", Malformed::TransferEncoding),
        ("Transfer-Encoding: x,", Malformed::TransferEncoding),
        ("Transfer-Encoding: x y", Malformed::TransferEncoding),
        (
            "Transfer-Encoding: x\r\nContent-Length: 5",
            Malformed::BothLengths,
        ),
        ("X : y", Malformed::FieldName),
        ("X: y\r\n z", Malformed::FoldedField),
        ("X: \0", Malformed::FieldValue),
        ("X: a\rb", Malformed::LineEnd),
        ("X: a\nY: b", Malformed::LineEnd),
    ] {
        check(
            &format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"),
            BadResponse::Malformed(expected),
        );
    }
    check(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        BadResponse::Malformed(Malformed::TransferEncodingInHttp10),
    );
    let large = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(512));
    assert_eq!(
        parse(large.as_bytes(), &Method::Get).expect_err("large"),
        BadResponse::Malformed(Malformed::HeadTooLarge(512))
    );
}

#[test]
fn a_body_under_a_coding_that_nobody_defined_ends_with_the_connection() {
    let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x, Our-Own\r\n\r\n";
    let parsed = parse(bytes, &Method::Get).expect("sound").expect("whole");
    assert_eq!(parsed.framing, BodyFraming::UntilClose);
    assert_eq!(parsed.persistence, Persistence::Close);
    for (status, method) in [(204, Method::Get), (304, Method::Get), (200, Method::Head)] {
        let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: x\r\n\r\n");
        let parsed = parse(head.as_bytes(), &method).expect("sound");
        let parsed = parsed.expect("whole");
        assert_eq!(parsed.framing, BodyFraming::Empty, "{status}");
        assert_eq!(parsed.persistence, Persistence::Close, "{status}");
    }
}

#[test]
fn mutated_responses_never_panic() {
    let seeds: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304\r\nETag: \"a\"\r\n\r\n",
    ];
    let mut accepted = 0;
    for input in mutations(&seeds, 5_000) {
        if let Ok(Some(parsed)) = parse(&input, &Method::Get) {
            accepted += 1;
            assert!(parsed.consumed <= input.len());
            assert!((100..1000).contains(&parsed.head.status));
        }
    }
    assert!(accepted > 500, "{accepted}");
}

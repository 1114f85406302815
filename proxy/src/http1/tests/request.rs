use super::*;
use crate::http::{Method, RequestHead, Scheme, Version};

fn parse(bytes: &[u8]) -> Result<Option<ParsedRequest>, Refused> {
    parse_request(bytes, &limits(), Scheme::Http)
}

/// Feeds every prefix: each is incomplete or already refused as the whole is, and the whole gives the same
/// when other bytes follow.
fn parse_split(input: &[u8]) -> Result<ParsedRequest, Refused> {
    let whole = parse(input).transpose().expect("a complete head");
    for end in 0..input.len() {
        match parse(&input[..end]) {
            Ok(None) => {}
            Err(early) => assert_eq!(Some(early), whole.as_ref().err().copied(), "at {end}"),
            Ok(Some(_)) => panic!("complete after {end} bytes of {}", input.escape_ascii()),
        }
    }
    if let Ok(whole) = &whole {
        assert_eq!(whole.consumed, input.len());
        let longer = [input, b"GET / HTTP/1.1\r\n"].concat();
        let longer = parse(&longer).expect("sound").expect("complete");
        assert_eq!(longer.consumed, input.len());
    }
    whole
}

#[track_caller]
fn check(input: &str, expected: Refused, status: u16) {
    match parse_split(input.as_bytes()) {
        Err(refused) => {
            assert_eq!(refused, expected, "{input:?}");
            assert_eq!(refused.status(), status, "{input:?}");
        }
        Ok(parsed) => panic!("{input:?} was read as {parsed:?}"),
    }
}

#[track_caller]
fn sound(input: &str) -> ParsedRequest {
    parse_split(input.as_bytes()).unwrap_or_else(|refused| panic!("{input:?}: {refused}"))
}

#[test]
fn a_plain_request_is_read() {
    let parsed =
        sound("GET /a%2Fb?x=1 HTTP/1.1\r\nHost: Example.org:81\r\nX:\t caf\u{e9} \t\r\n\r\n");
    assert_eq!(parsed.head.method, Method::Get);
    assert_eq!(parsed.head.target, "/a%2Fb?x=1");
    assert_eq!(parsed.head.authority, "Example.org:81");
    assert_eq!(parsed.head.version, Version::Http11);
    assert_eq!(parsed.head.fields.get("x"), Some("caf\u{e9}".as_bytes()));
    assert_eq!(parsed.framing, BodyFraming::Empty);
    assert_eq!(parsed.persistence, Persistence::KeepAlive);
    assert_eq!(parsed.expectation, Expectation::Nothing);
    assert_eq!(parsed.upgrade, None);
}

#[test]
fn request_lines_are_strict() {
    for line in [
        "GET",
        "GET /",
        "GET / ",
        "GET  HTTP/1.1",
        "GET /HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.10",
        "GET / HTTP/a.b",
        "G\u{e9}T / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
    ] {
        let input = format!("{line}\r\nHost: a\r\n\r\n");
        let refused = parse(input.as_bytes()).expect_err(line);
        assert_eq!(refused.status(), 400, "{line}");
    }
    check(
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused::RequestLine,
        400,
    );
    check("\u{16}\u{3}\u{1}\r\n\r\n", Refused::RequestLine, 400);
    check("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused::Version, 505);
    check("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refused::Version, 505);
    check("PRI * HTTP/2.0\r\n\r\n", Refused::Version, 505);
    let later = sound("GET / HTTP/1.7\r\nHost: a\r\n\r\n");
    assert_eq!(later.head.version, Version::Http11);
}

#[test]
fn a_few_empty_lines_before_a_request_are_skipped_and_no_more() {
    sound("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    sound("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for input in ["\n", "\r\r", "\r\n\n", "\r\n \r\n", "\r\n\r\n\r\n\r\n\r\n"] {
        assert_eq!(
            parse(input.as_bytes()).expect_err(input).status(),
            400,
            "{input:?}"
        );
    }
}

#[test]
fn line_ends_are_cr_lf_and_nothing_else() {
    for input in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\r\r\n\r\n",
    ] {
        check(input, Refused::Malformed(Malformed::LineEnd), 400);
    }
    for input in [
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(
            parse(input.as_bytes()).expect_err(input).status(),
            400,
            "{input:?}"
        );
    }
}

#[test]
fn fields_are_strict() {
    for (line, expected) in [
        ("X : a", Malformed::FieldName),
        ("X\t: a", Malformed::FieldName),
        (": a", Malformed::FieldName),
        ("X", Malformed::FieldName),
        ("X y: a", Malformed::FieldName),
        ("X(: a", Malformed::FieldName),
        ("\u{e9}: a", Malformed::FieldName),
        ("X\0: a", Malformed::FieldName),
        ("X: a\0", Malformed::FieldValue),
        ("X: a\u{b}", Malformed::FieldValue),
        ("X: a\u{7f}", Malformed::FieldValue),
        ("X: a\r\n folded", Malformed::FoldedField),
        ("X: a\r\n\tfolded", Malformed::FoldedField),
        ("X: a\r\n ", Malformed::FoldedField),
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        check(&input, Refused::Malformed(expected), 400);
    }
    check(
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        Refused::Malformed(Malformed::FoldedField),
        400,
    );
}

#[test]
fn doubtful_lengths_are_refused() {
    for (lines, expected, status) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            Malformed::BothLengths,
            400,
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 5",
            Malformed::BothLengths,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5",
            Malformed::ContentLength,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6",
            Malformed::ContentLength,
            400,
        ),
        ("Content-Length: 5, 5", Malformed::ContentLength, 400),
        ("Content-Length: 5,", Malformed::ContentLength, 400),
        ("Content-Length: +5", Malformed::ContentLength, 400),
        ("Content-Length: -5", Malformed::ContentLength, 400),
        ("Content-Length: 0x5", Malformed::ContentLength, 400),
        ("Content-Length: 5 5", Malformed::ContentLength, 400),
        ("Content-Length: 5.0", Malformed::ContentLength, 400),
        ("Content-Length:", Malformed::ContentLength, 400),
        (
            "Content-Length: 18446744073709551616",
            Malformed::ContentLength,
            400,
        ),
        ("Content-Length: \u{661}", Malformed::ContentLength, 400),
        ("Transfer-Encoding:", Malformed::TransferEncoding, 400),
        (
            "Transfer-Encoding: identity",
            Malformed::TransferEncoding,
            400,
        ),
        ("Transfer-Encoding: gzip", Malformed::TransferEncoding, 400),
        (
            "Transfer-Encoding: xchunked",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: \"chunked\"",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked;q=1",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked, gzip",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked, chunked",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked,",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: , chunked",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            Malformed::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: gzip, chunked",
            Malformed::UnknownTransferCoding,
            501,
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            Malformed::UnknownTransferCoding,
            501,
        ),
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        check(&input, Refused::Malformed(expected), status);
    }
    check(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refused::Malformed(Malformed::TransferEncodingInHttp10),
        400,
    );
}

#[test]
fn lengths_in_disguise_are_refused() {
    for line in [
        "Content_Length: 5",
        "TRANSFER_encoding: chunked",
        "transfer_Encoding:",
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        check(&input, Refused::Malformed(Malformed::FieldName), 400);
    }
    for line in [
        "Content_Lengths: 5",
        "Content.Length: 5",
        "X_Forwarded_For: 5",
    ] {
        sound(&format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
    }
}

#[test]
fn sound_lengths_are_read() {
    for (line, framing) in [
        ("X: y", BodyFraming::Empty),
        ("Content-Length: 0", BodyFraming::Length(0)),
        ("content-length:\t 007 ", BodyFraming::Length(7)),
        (
            "Content-Length: 18446744073709551615",
            BodyFraming::Length(u64::MAX),
        ),
        ("Transfer-Encoding: chunked", BodyFraming::Chunked),
        ("transfer-encoding: CHUNKED", BodyFraming::Chunked),
    ] {
        let parsed = sound(&format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        assert_eq!(parsed.framing, framing, "{line}");
    }
}

#[test]
fn targets_come_in_the_form_that_goes_with_the_method() {
    #[track_caller]
    fn check(line: &str, expected: Option<(&str, &str)>) {
        let input = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let found = parse_split(input.as_bytes()).ok();
        let found = found
            .as_ref()
            .map(|parsed| (parsed.head.target.as_str(), parsed.head.authority.as_str()));
        assert_eq!(found, expected, "{line}");
        if let Some(parsed) = parse(input.as_bytes()).ok().flatten() {
            assert_eq!(
                parsed.head.fields.get_str("host"),
                Some(parsed.head.authority.as_str())
            );
        }
    }
    check("GET /", Some(("/", "h")));
    check("GET //a//b?c?d", Some(("//a//b?c?d", "h")));
    check("GET /http://x/", Some(("/http://x/", "h")));
    check("GET http://o.org/p?q", Some(("/p?q", "o.org")));
    check("GET HTTP://o.org", Some(("/", "o.org")));
    check("GET http://o.org?q", Some(("/?q", "o.org")));
    check("GET http://[::1]:80/", Some(("/", "[::1]:80")));
    check("OPTIONS http://o.org", Some(("*", "o.org")));
    check("OPTIONS http://o.org?q", Some(("/?q", "o.org")));
    check("OPTIONS *", Some(("*", "h")));
    check("OPTIONS /", Some(("/", "h")));
    check("CONNECT o.org:443", Some(("", "o.org:443")));
    for line in [
        "GET *",
        "GET o.org:443",
        "GET o.org",
        "GET ftp://o.org/",
        "GET http:/o.org/",
        "GET http:///p",
        "GET http://u@o.org/",
        "GET http://o.org:/",
        "GET http://o.org:99999/",
        "GET http://o.org:8x/",
        "GET /a#b",
        "GET /a b",
        "GET /a\tb",
        "GET /\u{e9}",
        "GET /\u{7f}",
        "GET /\0",
        "GET  /",
        "GET ?q",
        "CONNECT /",
        "CONNECT *",
        "CONNECT o.org",
        "CONNECT o.org:",
        "CONNECT http://o.org:80",
        "CONNECT u@o.org:80",
        "CONNECT [::1]",
        "OPTIONS **",
    ] {
        check(line, None);
    }
}

#[test]
fn a_target_of_another_scheme_is_misdirected() {
    check(
        "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused::Misdirected,
        421,
    );
    let input = b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let parsed = parse_request(input, &limits(), Scheme::Https)
        .expect("sound")
        .expect("complete");
    assert_eq!(parsed.head.scheme, Scheme::Https);
}

#[test]
fn hosts_are_sound_and_single() {
    for (host, expected) in [
        ("", Refused::HostMissing),
        ("Host:\r\n", Refused::HostInvalid),
        ("Host: a\r\nHost: a\r\n", Refused::HostRepeated),
        ("Host: a\r\nhost: b\r\n", Refused::HostRepeated),
        ("Host: u@a\r\n", Refused::HostInvalid),
        ("Host: u:p@a\r\n", Refused::HostInvalid),
        ("Host: a:\r\n", Refused::HostInvalid),
        ("Host: a:b\r\n", Refused::HostInvalid),
        ("Host: a:65536\r\n", Refused::HostInvalid),
        ("Host: a:+80\r\n", Refused::HostInvalid),
        ("Host: a:80:80\r\n", Refused::HostInvalid),
        ("Host: a b\r\n", Refused::HostInvalid),
        ("Host: a, b\r\n", Refused::HostInvalid),
        ("Host: a,b\r\n", Refused::HostInvalid),
        ("Host: a/b\r\n", Refused::HostInvalid),
        ("Host: a?b\r\n", Refused::HostInvalid),
        ("Host: a#b\r\n", Refused::HostInvalid),
        ("Host: a\\b\r\n", Refused::HostInvalid),
        ("Host: a%2\r\n", Refused::HostInvalid),
        ("Host: \u{e9}\r\n", Refused::HostInvalid),
        ("Host: ::1\r\n", Refused::HostInvalid),
        ("Host: [::1\r\n", Refused::HostInvalid),
        ("Host: [::1]x\r\n", Refused::HostInvalid),
        ("Host: [a]\r\n", Refused::HostInvalid),
        ("Host: http://a\r\n", Refused::HostInvalid),
    ] {
        check(&format!("GET / HTTP/1.1\r\n{host}\r\n"), expected, 400);
        if host.is_empty() {
            sound("GET / HTTP/1.0\r\n\r\n");
        } else {
            check(
                &format!("GET http://t/ HTTP/1.1\r\n{host}\r\n"),
                expected,
                400,
            );
            check(&format!("GET / HTTP/1.0\r\n{host}\r\n"), expected, 400);
        }
    }
    for host in [
        "a",
        "A.example",
        "a_b-c.d:8080",
        "127.0.0.1:1",
        "[::1]",
        "[2001:db8::1]:443",
        "a%20b",
    ] {
        let parsed = sound(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(parsed.head.authority, host);
    }
}

#[test]
fn the_authority_of_the_target_replaces_host() {
    let parsed = sound("GET http://real.org/ HTTP/1.1\r\nHost: other.org\r\nX: y\r\n\r\n");
    assert_eq!(parsed.head.authority, "real.org");
    assert_eq!(
        parsed.head.fields.get_all("host").collect::<Vec<_>>(),
        [b"real.org"]
    );
    let parsed = sound("GET http://real.org/ HTTP/1.0\r\n\r\n");
    assert_eq!(parsed.head.fields.get("host"), Some(&b"real.org"[..]));
    let parsed = sound("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(parsed.head.authority, "");
    assert!(!parsed.head.fields.contains("host"));
}

#[test]
fn persistence_follows_version_and_connection() {
    for (version, lines, expected) in [
        ("1.1", "", Persistence::KeepAlive),
        ("1.1", "Connection: close\r\n", Persistence::Close),
        ("1.1", "Connection: foo, CLOSE\r\n", Persistence::Close),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            Persistence::Close,
        ),
        ("1.1", "Connection: closed\r\n", Persistence::KeepAlive),
        ("1.0", "", Persistence::Close),
        ("1.0", "Connection: Keep-Alive\r\n", Persistence::KeepAlive),
        (
            "1.0",
            "Connection: keep-alive, close\r\n",
            Persistence::Close,
        ),
    ] {
        let parsed = sound(&format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!(parsed.persistence, expected, "{version} {lines}");
    }
}

#[test]
fn expectations_and_upgrades_are_recognised() {
    let continues =
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(sound(continues).expectation, Expectation::Continue);
    for nothing in ["Content-Length: 0\r\n", ""] {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{nothing}Expect: 100-continue\r\n\r\n");
        assert_eq!(sound(&input).expectation, Expectation::Nothing, "{input:?}");
    }
    for expected in ["100-continue", "tea"] {
        let old = continues.replace("/1.1", "/1.0");
        let old = sound(&old.replace("100-Continue", expected));
        assert_eq!(old.expectation, Expectation::Nothing);
        assert!(!old.head.fields.contains("expect"), "{expected}");
    }
    check(
        &continues.replace("100-Continue", "tea"),
        Refused::Expectation,
        417,
    );
    check(
        &continues.replace("100-Continue", "100-continue, tea"),
        Refused::Expectation,
        417,
    );

    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(sound(upgrade).upgrade.as_deref(), Some("websocket"));
    assert_eq!(sound(&upgrade.replace("/1.1", "/1.0")).upgrade, None);
    assert_eq!(sound(&upgrade.replace(", Upgrade", "")).upgrade, None);
    check(
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        Refused::ConnectBody,
        400,
    );
}

#[test]
fn limits_are_kept_before_the_head_is_complete() {
    let long_target = format!("GET /{}", "a".repeat(64));
    assert_eq!(
        parse(long_target.as_bytes()).expect_err("long"),
        Refused::TargetTooLong(64)
    );
    assert_eq!(Refused::TargetTooLong(64).status(), 414);
    sound(&format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(63)
    ));

    let many = "X: y\r\n".repeat(8);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}");
    let refused = parse(many.as_bytes()).expect_err("many");
    assert_eq!(refused, Refused::Malformed(Malformed::TooManyFields(8)));
    assert_eq!(refused.status(), 431);
    sound(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(7)
    ));

    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(512));
    let refused = parse(large.as_bytes()).expect_err("large");
    assert_eq!(refused, Refused::Malformed(Malformed::HeadTooLarge(512)));
    assert_eq!(refused.status(), 431);
    let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let fill = |value: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(value)
        )
    };
    sound(&fill(512 - frame));
    check(
        &fill(513 - frame),
        Refused::Malformed(Malformed::HeadTooLarge(512)),
        431,
    );

    let endless_method = "A".repeat(65);
    assert_eq!(
        parse(endless_method.as_bytes()).expect_err("endless"),
        Refused::RequestLine
    );
}

#[test]
fn mutated_requests_never_panic_and_never_carry_a_line_end() {
    let seeds: [&[u8]; 4] = [
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST http://a:1/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\nUpgrade: x\r\n\r\n",
        b"PUT * HTTP/1.0\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
    ];
    let mut accepted = 0;
    for input in mutations(&seeds, 5_000) {
        let Ok(Some(parsed)) = parse(&input) else {
            continue;
        };
        accepted += 1;
        assert!(parsed.consumed <= input.len());
        let mut written = Vec::new();
        write_request_head(&mut written, &parsed.head, SentFraming::Nothing);
        let lines = written.split(|byte| *byte == b'\n').count() - 1;
        let host_added = usize::from(!parsed.head.fields.contains("host"));
        let framing = parsed
            .head
            .fields
            .iter()
            .filter(|field| {
                field.name.eq_ignore_ascii_case("content-length")
                    || field.name.eq_ignore_ascii_case("transfer-encoding")
            })
            .count();
        assert_eq!(lines, parsed.head.fields.len() + 2 + host_added - framing);
    }
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn a_host_that_is_remembered_is_taken_again_and_no_other() {
    let mut known = String::new();
    let mut host_of = |host: &str| {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut spare = RequestHead::default();
        let parsed = parse_request_into(
            &mut spare,
            &mut known,
            input.as_bytes(),
            &limits(),
            Scheme::Http,
        );
        parsed.map(|parsed| parsed.expect("a complete head").head.authority)
    };
    let long = "a".repeat(300);
    for _ in 0..2 {
        assert_eq!(host_of(""), Err(Refused::HostInvalid));
        assert_eq!(host_of("example.org"), Ok("example.org".to_owned()));
        assert_eq!(host_of("example.org"), Ok("example.org".to_owned()));
        assert_eq!(host_of("example.org/"), Err(Refused::HostInvalid));
        assert_eq!(host_of("example.org:99999"), Err(Refused::HostInvalid));
        assert_eq!(host_of(&long), Ok(long.clone()));
        assert_eq!(host_of("EXAMPLE.org"), Ok("EXAMPLE.org".to_owned()));
    }
}

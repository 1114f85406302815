//! Heads and trailers, from blocks and to blocks.

use super::super::hpack::{huffman_encode, write_integer};
use super::super::*;
use crate::http::{Fields, Method, RequestHead, Scheme};
use crate::http1::{BadBody, Expectation, HeadLimits, Malformed, Refused};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 10_000,
    fields_max: 10,
    target_bytes_max: 100,
};
const LIST: ListLimits<'_> = ListLimits {
    head: &LIMITS,
    list_bytes_max: 2000,
};

type List<'a> = &'a [(&'a str, &'a [u8])];

fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (number, (name, value)) in fields.iter().enumerate() {
        block.push(0);
        write_integer(&mut block, 0, 7, name.len());
        block.extend_from_slice(name.as_bytes());
        if number % 2 == 0 {
            write_integer(&mut block, 0, 7, value.len());
            block.extend_from_slice(value);
        } else {
            let mut coded = Vec::new();
            huffman_encode(value, &mut coded);
            write_integer(&mut block, 0x80, 7, coded.len());
            block.extend(coded);
        }
    }
    block
}

fn read(fields: &[(&str, &[u8])]) -> Result<(RequestHead, ParsedHead), BadHead> {
    // In the memory of another, of which nothing may be left.
    let mut head = RequestHead {
        method: Method::Delete,
        target: "/before".to_owned(),
        authority: "before".to_owned(),
        fields: [("x-before", "1")].into_iter().collect(),
        ..RequestHead::default()
    };
    let mut memory = HeadMemory::default();
    let mut decoder = Decoder::new();
    let block = block(fields);
    let parsed = read_request(
        &mut decoder,
        &block,
        &mut head,
        &mut memory,
        LIST,
        Scheme::Https,
    )?;
    Ok((head, parsed))
}

/// A good head with more behind it.
fn with<'a>(fields: List<'a>) -> Vec<(&'a str, &'a [u8])> {
    let start: List<'a> = &[
        (":method", b"GET"),
        (":scheme", b"http"),
        (":authority", b"a.example"),
        (":path", b"/p?q"),
    ];
    [start, fields].concat()
}

#[track_caller]
fn check(fields: &[(&str, &[u8])], expected: Result<List<'_>, BadHead>) {
    let read = read(fields);
    let found = read.as_ref().map(|(head, _)| {
        let fields = head.fields.iter();
        fields
            .map(|field| (field.name, field.value))
            .collect::<Vec<_>>()
    });
    let expected = expected.map(<[_]>::to_vec);
    assert_eq!(found.map_err(|bad| *bad), expected, "{fields:?}");
}

#[track_caller]
fn check_with(fields: List<'_>, expected: Result<List<'_>, BadHead>) {
    let host: List<'_> = &[("host", b"a.example")];
    let expected = expected.map(|fields| [host, fields].concat());
    match expected {
        Ok(expected) => check(&with(fields), Ok(&expected)),
        Err(bad) => check(&with(fields), Err(bad)),
    }
}

#[test]
fn pseudo_header_fields_are_the_request_line() {
    let (head, parsed) = read(&with(&[])).unwrap();
    assert_eq!(head.method, Method::Get);
    assert_eq!(
        (&head.target[..], &head.authority[..]),
        ("/p?q", "a.example")
    );
    assert_eq!(head.scheme, Scheme::Https);
    assert_eq!(parsed.content_length, None);
    assert_eq!(head.fields.get("host"), Some(&b"a.example"[..]));
    let (head, _) = read(&[
        (":path", b"*"),
        (":scheme", b"x+y-z.1"),
        (":method", b"OPTIONS"),
        ("host", b"b:8080"),
    ])
    .unwrap();
    assert_eq!((&head.target[..], &head.authority[..]), ("*", "b:8080"));
    let (head, _) = read(&[(":method", b"CONNECT"), (":authority", b"a:443")]).unwrap();
    assert_eq!((&head.target[..], &head.authority[..]), ("", "a:443"));
}

#[test]
fn messages_that_break_the_rules_are_malformed() {
    let bad = Err(BadHead::Malformed);
    for missing in 0..4 {
        let mut fields = with(&[]);
        let (name, _) = fields.remove(missing);
        let expected = match name {
            ":authority" => Err(Refused::HostMissing.into()),
            _ => bad,
        };
        check(&fields, expected);
    }
    for twice in with(&[]) {
        check_with(&[twice], bad);
        let mut fields = with(&[]);
        fields.insert(0, twice);
        check(&fields, bad);
    }
    for field in [
        (":status", &b"200"[..]),
        (":protocol", b"websocket"),
        (":", b""),
        (":Method", b"GET"),
        ("X-Upper", b"1"),
        ("", b"1"),
        ("x y", b"1"),
        ("x\0", b"1"),
        ("connection", b"close"),
        ("keep-alive", b"1"),
        ("proxy-connection", b"close"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"h2c"),
        ("te", b"gzip"),
        ("te", b"trailers, gzip"),
    ] {
        check_with(&[field], bad);
    }
    // Before all others.
    let mut late = with(&[("x", b"1")]);
    late.swap(3, 4);
    check(&late, bad);
    for (place, value) in [
        (0, &b""[..]),
        (0, b"G T"),
        (1, b""),
        (1, b"1x"),
        (1, b"a b"),
        (3, b""),
    ] {
        let mut fields = with(&[]);
        fields[place].1 = value;
        check(&fields, bad);
    }
    check(&[(":method", b"CONNECT"), ("host", b"a:443")], bad);
    for extra in [(":path", &b"/"[..]), (":scheme", b"http")] {
        check(
            &[(":method", b"CONNECT"), (":authority", b"a:443"), extra],
            bad,
        );
    }
}

#[test]
fn doubtful_heads_are_refused() {
    let refused = |refused: Refused| Err(BadHead::from(refused));
    let malformed = |malformed: Malformed| Err(BadHead::from(Refused::from(malformed)));
    let long = [b"/".as_slice(), &[b'x'; 100]].concat();
    for (target, expected) in [
        (&b"p"[..], Refused::Target),
        (b"http://a.example/", Refused::Target),
        (b"/a b", Refused::Target),
        (b"/#f", Refused::Target),
        (b"/\xc3\xa9", Refused::Target),
        (b"/\xff", Refused::Target),
        (b"*", Refused::Target),
        (&long, Refused::TargetTooLong(100)),
    ] {
        let mut fields = with(&[]);
        fields[3].1 = target;
        check(&fields, refused(expected));
    }
    for authority in [&b"a"[..], b"a:", b"a:x", b"u@a:443", b"[::1]", b"a:99999"] {
        let connect = [(":method", &b"CONNECT"[..]), (":authority", authority)];
        check(&connect, refused(Refused::Target));
    }
    let connect = [
        (":method", &b"CONNECT"[..]),
        (":authority", b"a:443"),
        ("content-length", b"1"),
    ];
    check(&connect, refused(Refused::ConnectBody));
    for authority in [&b""[..], b"a b", b"u@a", b"a,b", b"a:", b"\xff"] {
        let mut fields = with(&[]);
        fields[2].1 = authority;
        check(&fields, refused(Refused::HostInvalid));
        fields[2].0 = "host";
        fields.swap(2, 3);
        check(&fields, refused(Refused::HostInvalid));
    }
    check_with(&[("host", b"b.example")], refused(Refused::HostInvalid));
    check_with(
        &[("host", b"a.example"), ("host", b"a.example")],
        refused(Refused::HostRepeated),
    );
    for length in [&b""[..], b"x", b"-1", b"1, 1", b"99999999999999999999"] {
        check_with(
            &[("content-length", length)],
            malformed(Malformed::ContentLength),
        );
    }
    check_with(
        &[("content-length", b"1"), ("content-length", b"1")],
        malformed(Malformed::ContentLength),
    );
    for name in ["content_length", "transfer_encoding", "transfer_encodin_"] {
        let expected = match name {
            "transfer_encodin_" => Ok(&[(name, &b"1"[..])][..]),
            _ => malformed(Malformed::FieldName),
        };
        check_with(&[(name, b"1")], expected);
    }
    for value in [&b" a"[..], b"a\t", b" ", b"a\r\nb: c", b"a\0", b"\x7f"] {
        check_with(&[("x", value)], malformed(Malformed::FieldValue));
        check_with(&[("cookie", value)], malformed(Malformed::FieldValue));
    }
    check_with(&[("expect", b"tea")], refused(Refused::Expectation));
    let eleven: Vec<(&str, &[u8])> = vec![("x", b""); 11];
    check_with(&eleven[..9], Ok(&eleven[..9]));
    check_with(&eleven, malformed(Malformed::TooManyFields(10)));
    let crumbs: Vec<(&str, &[u8])> = vec![("cookie", b"a=b"); 11];
    check_with(&crumbs, malformed(Malformed::TooManyFields(10)));
    check_with(
        &[("x", &[b'v'; 1999])],
        malformed(Malformed::HeadTooLarge(2000)),
    );
}

#[test]
fn other_fields_are_kept_as_they_are() {
    check_with(
        &[
            ("x-a", b"1"),
            ("x-b", b"caf\xe9\t!"),
            ("x-a", b"2"),
            ("x-c", b""),
        ],
        Ok(&[
            ("x-a", b"1"),
            ("x-b", b"caf\xe9\t!"),
            ("x-a", b"2"),
            ("x-c", b""),
        ]),
    );
    check_with(&[("te", b"trailers")], Ok(&[("te", b"trailers")]));
    check_with(&[("host", b"A.EXAMPLE"), ("x", b"1")], Ok(&[("x", b"1")]));
    check_with(
        &[("cookie", b"a=1"), ("x", b"y"), ("cookie", b"b=2")],
        Ok(&[("x", b"y"), ("cookie", b"a=1; b=2")]),
    );
    let crumbs = ["", "a=1", "", "b=2", ""].map(|crumb| ("cookie", crumb.as_bytes()));
    check_with(&crumbs, Ok(&[("cookie", b"a=1; b=2")]));
    check_with(&[("cookie", b"")], Ok(&[("cookie", b"")]));
    let (head, parsed) = read(&with(&[
        ("content-length", b"42"),
        ("expect", b"100-Continue"),
    ]))
    .unwrap();
    assert_eq!(parsed.content_length, Some(42));
    assert_eq!(parsed.expectation, Expectation::Continue);
    assert_eq!(head.fields.len(), 3);
}

#[test]
fn a_field_that_is_meant_many_times_is_kept_within_bounds() {
    // One large entry, and a byte for each time it is meant.
    let mut bomb = block(&with(&[]));
    bomb.extend([0x40, 1, b'x', 0x7f, 0xad, 0x1a]);
    bomb.extend([b'v'; 3500]);
    bomb.extend([0xbe; 12_000]);
    let mut head = RequestHead::default();
    let mut memory = HeadMemory::default();
    let read = read_request(
        &mut Decoder::new(),
        &bomb,
        &mut head,
        &mut memory,
        LIST,
        Scheme::Http,
    );
    let too_large = Refused::from(Malformed::HeadTooLarge(2000));
    assert_eq!(read, Err(BadHead::Refused(too_large)));
    assert!(
        head.fields.heap_bytes() < 4000,
        "{}",
        head.fields.heap_bytes()
    );
}

#[test]
fn trailers_keep_to_their_rules() {
    #[track_caller]
    fn check(fields: &[(&str, &[u8])], expected: Result<List<'_>, BadHead>) {
        let read = read_trailers(&mut Decoder::new(), &block(fields), LIST);
        let found = read.as_ref().map(|trailers| {
            let fields = trailers.iter();
            fields
                .map(|field| (field.name, field.value))
                .collect::<Vec<_>>()
        });
        assert_eq!(found.map_err(|bad| *bad), expected.map(<[_]>::to_vec));
    }
    check(&[("digest", b"d")], Ok(&[("digest", b"d")]));
    check(&[], Ok(&[]));
    for name in [":path", ":x", "Digest", ""] {
        check(&[(name, b"d")], Err(BadHead::Malformed));
    }
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
    ] {
        check(&[(name, b"d")], Err(BadBody::ForbiddenTrailer.into()));
    }
    let many: Vec<(&str, &[u8])> = vec![("x", b""); 11];
    let bad = |malformed| Err(BadHead::from(BadBody::Trailers(malformed)));
    check(&many, bad(Malformed::TooManyFields(10)));
    check(&[("x", &[b'v'; 1999])], bad(Malformed::HeadTooLarge(2000)));
    check(&[("x", b"a\nb")], bad(Malformed::FieldValue));
}

/// What is written, as a decoder reads it, and the size that was given for it.
fn written(write: impl FnOnce(&mut Vec<u8>) -> u64) -> (Vec<(String, String)>, u64) {
    let mut out = Vec::new();
    let size = write(&mut out);
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Decoder::new()
        .decode(&out, |name, value| fields.push((text(name), text(value))))
        .unwrap();
    (fields, size)
}

#[test]
fn responses_are_written_in_lower_case_without_what_is_of_http1() {
    let stored: Fields = [
        ("Content-Type", "text/plain"),
        ("Content-Length", "7"),
        ("Connection", "X"),
        ("Keep-Alive", "1"),
        ("X-Own", "Yes"),
        ("Set-Cookie", "a=b"),
        ("Upgrade", "x"),
        ("transfer-encoding", "chunked"),
    ]
    .into_iter()
    .collect();
    let added: Fields = [("Age", "7"), ("Via", "1.1 x"), ("Proxy-Connection", "y")]
        .into_iter()
        .collect();
    let check = |length, date, middle: &[(&str, &str)], end: &[(&str, &str)]| {
        let (fields, size) =
            written(|out| write_response(out, 200, [&stored, &added], length, date));
        let mut expected = vec![(":status", "200"), ("content-type", "text/plain")];
        expected.extend(middle);
        expected.extend([
            ("x-own", "Yes"),
            ("set-cookie", "a=b"),
            ("age", "7"),
            ("via", "1.1 x"),
        ]);
        expected.extend(end);
        let found: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
            .collect();
        assert_eq!(found, expected);
        let lines: usize = expected[1..]
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        assert_eq!(size, ("HTTP/1.1 200 OK\r\n\r\n".len() + lines) as u64);
    };
    check(StatedLength::Kept, None, &[("content-length", "7")], &[]);
    check(StatedLength::Replaced(None), None, &[], &[]);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    check(
        StatedLength::Replaced(Some(1234)),
        Some(date.as_bytes()),
        &[],
        &[("content-length", "1234"), ("date", date)],
    );
    let dated: Fields = [("Date", "then")].into_iter().collect();
    let none = Fields::new();
    let (fields, _) =
        written(|out| write_response(out, 200, [&dated, &none], StatedLength::Kept, Some(b"now")));
    assert_eq!(fields[1..], [("date".to_owned(), "then".to_owned())]);
}

#[test]
fn every_status_and_every_known_name_is_written_as_it_is() {
    let none = Fields::new();
    for status in 100..=999 {
        let (fields, _) =
            written(|out| write_response(out, status, [&none, &none], StatedLength::Kept, None));
        assert_eq!(fields, [(":status".to_owned(), status.to_string())]);
    }
    for name in [
        "Age",
        "Via",
        "Date",
        "ETag",
        "Vary",
        "Link",
        "Allow",
        "Server",
        "Expires",
        "Refresh",
        "Location",
        "Set-Cookie",
        "Retry-After",
        "Content-Type",
        "Cache-Control",
        "Last-Modified",
        "Accept-Ranges",
        "Content-Range",
        "Content-Length",
        "Content-Encoding",
        "Content-Language",
        "Content-Location",
        "WWW-Authenticate",
        "Proxy-Authenticate",
        "Content-Disposition",
        "Strict-Transport-Security",
        "Access-Control-Allow-Origin",
        "X-Cache",
        "ETaG",
        "Varz",
    ] {
        let list: Fields = [(name, "v")].into_iter().collect();
        let (fields, _) =
            written(|out| write_response(out, 200, [&list, &none], StatedLength::Kept, None));
        assert_eq!(fields[1..], [(name.to_ascii_lowercase(), "v".to_owned())]);
        let (fields, _) = written(|out| {
            write_trailers(out, &list);
            0
        });
        assert_eq!(fields, [(name.to_ascii_lowercase(), "v".to_owned())]);
    }
}

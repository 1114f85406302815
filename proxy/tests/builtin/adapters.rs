//! One request machine behind two protocols: the same row of requests over HTTP/1.1 and over HTTP/2 gets the same
//! replies, byte for byte, and asks the backend the same.

use std::collections::BTreeMap;

use crate::http2::{connect, exchange};
use crate::support::{Answer, Backend, Door, Seen, answer, date};
use crate::{FRESH, Lines};

/// What a client got, without what belongs to the protocol that it came by.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
    trailers: BTreeMap<String, String>,
}

/// What the backend was asked, without what tells of the client's connection.
type Asked = (String, BTreeMap<String, String>, Vec<u8>);

const TAG: &str = "\"a\"";
const CHANGED: &str = "Sat, 01 Nov 2025 00:00:00 GMT";

/// Method, target, fields, body.
type Row = (&'static str, &'static str, Lines<'static>, &'static str);

const ROWS: [Row; 33] = [
    ("GET", "/page", &[], ""),
    ("GET", "/page", &[], ""),
    ("HEAD", "/page", &[], ""),
    ("GET", "/page", &[("If-None-Match", TAG)], ""),
    ("HEAD", "/page", &[("If-None-Match", TAG)], ""),
    ("GET", "/page", &[("If-None-Match", "\"b\"")], ""),
    ("GET", "/page", &[("If-Modified-Since", CHANGED)], ""),
    ("GET", "/page", &[("If-Match", TAG)], ""),
    ("GET", "/page", &[("If-Match", "\"b\"")], ""),
    ("GET", "/page", &[("Range", "bytes=1-2")], ""),
    ("GET", "/page", &[("Range", "bytes=0-0,2-3")], ""),
    ("GET", "/page", &[("Range", "bytes=90-")], ""),
    (
        "GET",
        "/page",
        &[("Range", "bytes=1-2"), ("If-Range", TAG)],
        "",
    ),
    ("GET", "/page", &[("Cache-Control", "no-cache")], ""),
    ("GET", "/page", &[("Cookie", "a=b"), ("Accept", "*/*")], ""),
    ("GET", "/none", &[("Cache-Control", "only-if-cached")], ""),
    ("GET", "/missing", &[], ""),
    ("GET", "/missing", &[], ""),
    ("GET", "/empty", &[], ""),
    ("GET", "/moved", &[], ""),
    ("GET", "/varies", &[("Accept-Language", "de")], ""),
    ("GET", "/varies", &[("Accept-Language", "en")], ""),
    ("GET", "/varies", &[("Accept-Language", "de")], ""),
    ("GET", "/trailers", &[], ""),
    ("GET", "/trailers", &[], ""),
    ("GET", "/large", &[], ""),
    ("GET", "/large", &[], ""),
    ("POST", "/page", &[("Content-Type", "text/plain")], "posted"),
    ("GET", "/page", &[], ""),
    ("PUT", "/page", &[("If-Match", TAG)], "put"),
    ("OPTIONS", "/page", &[], ""),
    ("PURGE", "/page", &[], ""),
    ("DELETE", "/page", &[], ""),
];

fn backend_answer(seen: &Seen, date: &str) -> Answer {
    let dated = ("Date", date);
    let fields = [FRESH, dated, ("ETag", TAG), ("Last-Modified", CHANGED)];
    match (&*seen.method, &*seen.target) {
        ("POST" | "PUT" | "DELETE" | "OPTIONS", _) => answer(200, &[dated], "done"),
        (_, "/missing") => answer(404, &[FRESH, dated], "missing"),
        (_, "/empty") => answer(204, &[FRESH, dated], ""),
        (_, "/moved") => answer(301, &[FRESH, dated, ("Location", "/page")], ""),
        (_, "/varies") => {
            let language = seen.field("Accept-Language").unwrap_or_default();
            answer(200, &[FRESH, dated, ("Vary", "Accept-Language")], language)
        }
        (_, "/trailers") => {
            let chunked = [FRESH, dated, ("Transfer-Encoding", "chunked")];
            let begun = Answer::default().head(200, &chunked).chunk("body");
            begun.then("0\r\nX-Sum: abc\r\n\r\n")
        }
        (_, "/large") => answer(200, &fields, "0123456789".repeat(30_000)),
        _ if seen.field("If-None-Match").is_some() => answer(304, &fields, ""),
        _ => answer(200, &fields, "0123456789"),
    }
}

/// Fields by name in lower case, without those of one connection, and with the numbers of transactions, the second
/// that passes meanwhile and the boundary of ranges made alike.
fn comparable<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<String, String> {
    let mut comparable = BTreeMap::<String, String>::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(value);
        let value = match &*name {
            "connection" | "transfer-encoding" => continue,
            "x-varnish" => value.split(' ').map(|_| "N").collect::<Vec<_>>().join(" "),
            // Its seconds run; what else it says has to be the same.
            "cache-status" | "age" => value.replace(|byte: char| byte.is_ascii_digit(), ""),
            "content-type" => value
                .split("boundary=")
                .next()
                .unwrap_or_default()
                .to_owned(),
            _ => value.into_owned(),
        };
        let line = comparable.entry(name).or_default();
        *line = format!("{line}|{value}");
    }
    comparable
}

impl Got {
    /// What the front door makes itself says when, and by which number, which may have more digits than the other's.
    fn without_own_marks(mut self) -> Got {
        if let Some((text, _)) = self.body.split_once("XID: ") {
            self.body = text.to_owned();
            self.fields.remove("content-length");
            self.fields.remove("date");
        }
        self
    }
}

/// The body, where the boundary of ranges is the line that begins with two hyphens.
fn without_boundary(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lines = text.split("\r\n");
    let lines = lines.map(|line| match line.strip_prefix("--") {
        Some(boundary) => format!("--{}", &boundary[boundary.trim_end_matches("--").len()..]),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

fn asked(backend: &Backend) -> Vec<Asked> {
    let seen = backend.seen();
    let asked = seen.iter().map(|seen| {
        let echo = seen.echo();
        let fields = echo
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let fields = fields
            // The version that the client spoke, and the server's number.
            .filter(|(name, _)| !matches!(*name, "Via" | "X-Varnish"))
            .map(|(name, value)| (name, value.as_bytes()));
        let start = echo.lines().next().unwrap_or_default().to_owned();
        (start, comparable(fields), seen.body.clone())
    });
    asked.collect()
}

#[tokio::test]
async fn both_protocols_get_the_same_replies_and_ask_the_same() {
    // The same for both, or the second that passes between them would be a difference.
    let now = date(0);
    let (first, second) = (now.clone(), now);
    let one = Backend::start(move |seen| backend_answer(seen, &first)).await;
    let two = Backend::start(move |seen| backend_answer(seen, &second)).await;
    let (http1, http2) = (Door::start(&one).await, Door::start(&two).await);
    let mut client = http1.connect().await;
    let mut send = connect(&http2).await;
    for (at, (method, target, fields, body)) in ROWS.into_iter().enumerate() {
        let length = body.len().to_string();
        let mut lines = fields.to_vec();
        if !body.is_empty() {
            lines.push(("Content-Length", &length));
        }
        client.send_head(method, target, &lines).await;
        client.send(body).await;
        let reply = client.reply(method).await;
        assert!(reply.whole, "{at}: {method} {target}");
        let trailers = reply.trailers.unwrap_or_default();
        let by_http1 = Got {
            status: reply.head.status,
            fields: comparable(
                reply
                    .head
                    .fields
                    .iter()
                    .map(|field| (field.name, field.value)),
            ),
            body: without_boundary(&reply.body),
            trailers: comparable(trailers.iter().map(|field| (field.name, field.value))),
        };

        let uri = format!("http://example.org{target}");
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in &lines {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a sound request");
        let (head, body, trailers) = exchange(&mut send, request, body).await;
        let trailers = trailers.unwrap_or_default();
        let pairs = |headers: &http::HeaderMap| {
            let pairs = headers.iter();
            comparable(pairs.map(|(name, value)| (name.as_str(), value.as_bytes())))
        };
        let by_http2 = Got {
            status: head.status().as_u16(),
            fields: pairs(head.headers()),
            body: without_boundary(&body),
            trailers: pairs(&trailers),
        };
        let (by_http1, by_http2) = (by_http1.without_own_marks(), by_http2.without_own_marks());
        assert_eq!(by_http1, by_http2, "{at}: {method} {target} {fields:?}");
    }
    assert_eq!(asked(&one), asked(&two));
    // The rows have to reach both ways through the cache.
    assert!((10..ROWS.len()).contains(&one.count()), "{}", one.count());
}

//! The same law where the client speaks HTTP/2, whose messages have no text that could be read in two ways, until the front
//! door writes them as HTTP/1 ("downgrading").

use std::time::Duration;

use anyhow::{Result, ensure};
use load_tests::frames::{DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, block, frame};
use load_tests::front::Front;
use tokio::time::sleep;

use crate::behind::Behind;
use crate::innocent;
use crate::lenient::READERS;
use crate::reading::Reader;
use crate::strict::Strict;

const SOON: Duration = Duration::from_secs(3);
const KETTLE: &str = "Kettle 2021, HTTP/2: The Sequel is Always Worse";
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";

type Field = (&'static [u8], &'static [u8]);

/// What the back-end may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Its head was sound, and what is wrong comes behind: it may have been passed on, without what is wrong.
    AtMost(&'static str),
    Exactly(&'static str),
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    source: &'static str,
    fields: Vec<Field>,
    data: Option<&'static [u8]>,
    asked: Asked,
}

const METHOD: Field = (b":method", b"POST");
const SCHEME: Field = (b":scheme", b"http");
const AUTHORITY: Field = (b":authority", b"h.test");
const PATH: Field = (b":path", b"/first");
const MARKER: Field = (b"x-marker", b"first");
const USUAL: [Field; 5] = [METHOD, SCHEME, AUTHORITY, PATH, MARKER];

/// A request with these fields besides the usual ones.
fn with(
    name: &'static str,
    source: &'static str,
    fields: &[Field],
    data: Option<&'static [u8]>,
    asked: Asked,
) -> Row {
    Row {
        name,
        source,
        fields: [&USUAL, fields].concat(),
        data,
        asked,
    }
}

/// A request with another pseudo-header field in place of the usual one.
fn but(name: &'static str, source: &'static str, field: Field, asked: Asked) -> Row {
    let usual = USUAL.into_iter();
    let fields = usual.map(|usual| if usual.0 == field.0 { field } else { usual });
    Row {
        name,
        source,
        fields: fields.collect(),
        data: None,
        asked,
    }
}

fn table() -> Vec<Row> {
    use Asked::{AtMost, Exactly, Nothing};
    let bad = |name, fields: &[Field]| with(name, KETTLE, fields, Some(SMUGGLED), Nothing);
    vec![
        with(
            "a body",
            "RFC 9113 §8.1",
            &[],
            Some(b"hello"),
            Exactly("POST /first first hello"),
        ),
        with(
            "a body and its length",
            "RFC 9113 §8.1.1",
            &[(b"content-length", b"5")],
            Some(b"hello"),
            Exactly("POST /first first hello"),
        ),
        with(
            "H2.CL: a length of zero and a body",
            "Kettle 2021; CVE-2021-21295 (Netty), CVE-2021-36740 (Varnish)",
            &[(b"content-length", b"0")],
            Some(SMUGGLED),
            AtMost("POST /first first"),
        ),
        with(
            "H2.CL: a length shorter than the body",
            "CVE-2021-21295 (Netty)",
            &[(b"content-length", b"5")],
            Some(SMUGGLED),
            Nothing,
        ),
        with(
            "a length longer than the body",
            "CVE-2021-21295 (Netty)",
            &[(b"content-length", b"50")],
            Some(b"hello"),
            Nothing,
        ),
        with(
            "a length and no body",
            "RFC 9113 §8.1.1",
            &[(b"content-length", b"5")],
            None,
            Nothing,
        ),
        bad(
            "two lengths",
            &[(b"content-length", b"5"), (b"content-length", b"0")],
        ),
        bad("a list of lengths", &[(b"content-length", b"5, 0")]),
        bad("a length with a plus", &[(b"content-length", b"+5")]),
        bad("H2.TE: chunked", &[(b"transfer-encoding", b"chunked")]),
        bad(
            "H2.TE: chunked in capitals",
            &[(b"transfer-encoding", b"CHUNKED")],
        ),
        bad(
            "a coding with an underscore",
            &[(b"transfer_encoding", b"chunked")],
        ),
        bad("a length with an underscore", &[(b"content_length", b"0")]),
        bad("a name in capitals", &[(b"Transfer-Encoding", b"chunked")]),
        bad(
            "a name with a colon",
            &[(b"transfer-encoding: chunked\r\nx", b"1")],
        ),
        bad(
            "a name with a space",
            &[(b"transfer-encoding ", b"chunked")],
        ),
        bad("an empty name", &[(b"", b"chunked")]),
        bad(
            "CR LF in a value",
            &[(b"x", b"1\r\ntransfer-encoding: chunked")],
        ),
        bad(
            "a bare LF in a value",
            &[(b"x", b"1\ntransfer-encoding: chunked")],
        ),
        bad(
            "a bare CR in a value",
            &[(b"x", b"1\rtransfer-encoding: chunked")],
        ),
        bad("a NUL in a value", &[(b"x", b"1\0")]),
        bad(
            "a request in a value",
            &[(b"x", b"1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h.test")],
        ),
        bad("a space before a value", &[(b"x", b" 1")]),
        bad("Connection", &[(b"connection", b"close")]),
        bad("Upgrade", &[(b"upgrade", b"h2c")]),
        bad("TE other than trailers", &[(b"te", b"chunked")]),
        bad("Host beside :authority", &[(b"host", b"other.test")]),
        bad("two Hosts", &[(b"host", b"h.test"), (b"host", b"h.test")]),
        bad(
            "a pseudo-header field behind others",
            &[(b":path", b"/smuggled")],
        ),
        bad("a pseudo-header field nobody knows", &[(b":x", b"1")]),
        bad("an unknown expectation", &[(b"expect", b"y 100-continue")]),
        but(
            "a space in the path",
            KETTLE,
            (b":path", b"/first HTTP/1.1"),
            Nothing,
        ),
        but(
            "CR LF in the path",
            KETTLE,
            (b":path", b"/first HTTP/1.1\r\nX: y"),
            Nothing,
        ),
        but(
            "a bare LF in the path",
            KETTLE,
            (b":path", b"/first\nX: y"),
            Nothing,
        ),
        but(
            "a path without a slash",
            KETTLE,
            (b":path", b"first"),
            Nothing,
        ),
        but(
            "an absolute path",
            KETTLE,
            (b":path", b"http://other.test/"),
            Nothing,
        ),
        but("an empty path", "RFC 9113 §8.3.1", (b":path", b""), Nothing),
        but(
            "a path with a fragment",
            "CVE-2021-27577 (Traffic Server)",
            (b":path", b"/first#x"),
            AtMost("POST /first first"),
        ),
        but(
            "a space in the method",
            "CVE-2021-33193 (httpd)",
            (b":method", b"GET /smuggled HTTP/1.1"),
            Nothing,
        ),
        but(
            "CR LF in the method",
            "CVE-2021-33193 (httpd)",
            (b":method", b"GET\r\nX"),
            Nothing,
        ),
        but(
            "a space in the authority",
            KETTLE,
            (b":authority", b"h.test x"),
            Nothing,
        ),
        but(
            "CR LF in the authority",
            KETTLE,
            (b":authority", b"h.test\r\nX: y"),
            Nothing,
        ),
        but(
            "a user in the authority",
            "RFC 9113 §8.3.1",
            (b":authority", b"x@h.test"),
            Nothing,
        ),
        but(
            "a path in the authority",
            KETTLE,
            (b":authority", b"h.test/x"),
            Nothing,
        ),
        but(
            "a request in the scheme",
            KETTLE,
            (b":scheme", b"http://h.test/smuggled?"),
            Nothing,
        ),
    ]
}

async fn check_all(reader: impl Reader) {
    let behind = Behind::start(reader).await;
    let front = Front::start(behind.address).await;
    let mut wrong = Vec::new();
    for (number, row) in table().iter().enumerate() {
        if let Err(problem) = check(row, number, &front, &behind).await {
            wrong.push(format!("{} ({}): {problem:#}", row.name, row.source));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn check(row: &Row, number: usize, front: &Front, behind: &Behind) -> Result<()> {
    let before = behind.record().seen.len();
    let mut client = FrameClient::open(front.address, &[]).await?;
    let end = if row.data.is_none() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, END_HEADERS | end, 1, block(&row.fields));
    if let Some(data) = row.data {
        bytes.extend(frame(DATA, END_STREAM, 1, data));
    }
    client.send(&bytes).await?;
    let answered = client
        .hears(SOON, |heard| {
            heard.is_closed || heard.finished == [1] || heard.resets.contains_key(&1)
        })
        .await;
    ensure!(answered, "no answer and no reset: {:?}", client.heard());
    // What was passed on in part is given up.
    sleep(Duration::from_millis(5)).await;
    for round in 0..2 {
        innocent(front, &format!("innocent-{number}-{round}")).await?;
    }
    let mut record = behind.record();
    let doubts = std::mem::take(&mut record.doubts);
    ensure!(doubts.is_empty(), "the back-end doubts: {doubts:?}");
    let whole: Vec<&str> = record.seen[before..]
        .iter()
        .filter(|seen| seen.is_whole && !seen.line.starts_with("GET /innocent "))
        .map(|seen| seen.line.as_str())
        .collect();
    let is_right = match row.asked {
        Asked::Nothing => whole.is_empty(),
        Asked::AtMost(line) => whole.is_empty() || whole == [line],
        Asked::Exactly(line) => whole == [line],
    };
    ensure!(
        is_right,
        "the back-end is asked {whole:?}, not {:?}",
        row.asked
    );
    Ok(())
}

#[tokio::test]
async fn one_stream_stays_one_request_before_a_strict_back_end() {
    check_all(Strict).await;
}

#[tokio::test]
async fn one_stream_stays_one_request_before_lenient_back_ends() {
    for reader in READERS {
        check_all(reader).await;
    }
}

//! The other direction: back-ends whose answers could be read in two ways, or that answer more than they were asked
//! ("response queue poisoning"). Whoever asks gets the one reading there is, or an error; nobody gets an answer to another.
//!
//! What cannot be told from an answer is left out: bytes that arrive after the next request was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use load_tests::client::{Connection, Request};
use load_tests::front::Front;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::reading::{Head, Reader};
use crate::strict::Strict;

const SOON: Duration = Duration::from_secs(3);
/// Between two writes of a script: long enough for the first to be an answer by itself.
const PAUSE: Duration = Duration::from_millis(25);

/// An answer that must reach nobody.
const POISON: &str = "HTTP/1.1 200 OK\r\nX-Answers: poison\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    Close,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// A whole answer with this body.
    Whole(u16, &'static str),
    /// An error of the front door's.
    BadGateway,
    /// An answer that breaks off.
    Broken,
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    source: &'static str,
    method: &'static str,
    writes: Vec<Vec<u8>>,
    then: Then,
    gets: Gets,
}

fn row(name: &'static str, source: &'static str, answer: impl AsRef<[u8]>, gets: Gets) -> Row {
    Row {
        name,
        source,
        method: "GET",
        writes: vec![answer.as_ref().to_vec()],
        then: Then::Stay,
        gets,
    }
}

impl Row {
    fn to(mut self, method: &'static str) -> Row {
        self.method = method;
        self
    }

    fn closes(mut self) -> Row {
        self.then = Then::Close;
        self
    }

    fn later(mut self, bytes: impl AsRef<[u8]>) -> Row {
        self.writes.push(bytes.as_ref().to_vec());
        self
    }
}

const START: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";

fn with(fields: &str, body: &str) -> String {
    format!("{START}{fields}\r\n{body}")
}

fn table() -> Vec<Row> {
    [framing(), heads(), without_body(), too_many()].concat()
}

fn framing() -> Vec<Row> {
    let bad = |name, source, fields: &str| {
        row(
            name,
            source,
            with(fields, &format!("hello{POISON}")),
            Gets::BadGateway,
        )
    };
    let chunked = |name, source, body: &str| {
        let answer = with("Transfer-Encoding: chunked\r\n", body);
        row(name, source, answer, Gets::Broken)
    };
    let good = |body: &str| with("Transfer-Encoding: chunked\r\n", body);
    vec![
        bad(
            "both lengths",
            "RFC 9112 §6.3; Watchfire 2005",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ),
        bad(
            "both lengths, the coding first",
            "RFC 9112 §6.3",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ),
        bad(
            "two lengths that differ",
            "RFC 9112 §6.3",
            "Content-Length: 5\r\nContent-Length: 4\r\n",
        ),
        bad(
            "two lengths that agree",
            "RFC 9112 §6.3",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
        ),
        bad(
            "a list of lengths",
            "RFC 9112 §6.3",
            "Content-Length: 5, 5\r\n",
        ),
        bad(
            "a length in words",
            "RFC 9110 §8.6",
            "Content-Length: abc\r\n",
        ),
        bad(
            "a length with a plus",
            "CVE-2020-15049 (Squid)",
            "Content-Length: +5\r\n",
        ),
        bad(
            "a negative length",
            "CVE-2020-15049 (Squid)",
            "Content-Length: -5\r\n",
        ),
        bad(
            "a hexadecimal length",
            "RFC 9110 §8.6",
            "Content-Length: 0x5\r\n",
        ),
        bad(
            "an empty length",
            "CVE-2023-40225 (HAProxy)",
            "Content-Length:\r\n",
        ),
        bad(
            "a length beyond 64 bits",
            "CVE-2021-40346 (HAProxy)",
            "Content-Length: 18446744073709551621\r\n",
        ),
        row(
            "a coding that nobody has defined: all until the end",
            "RFC 9112 §6.3",
            with("Transfer-Encoding: cow\r\n", "hello"),
            Gets::Whole(200, "hello"),
        )
        .closes(),
        bad(
            "a coding with another one in its name",
            "RFC 9112 §6.1",
            "Transfer-Encoding: xchunked\r\n",
        ),
        bad(
            "the identity coding",
            "RFC 9112 §6.1",
            "Transfer-Encoding: identity\r\n",
        ),
        bad(
            "gzip, then chunked",
            "RFC 9112 §7",
            "Transfer-Encoding: gzip, chunked\r\n",
        ),
        bad(
            "chunked twice",
            "RFC 9112 §7.1",
            "Transfer-Encoding: chunked, chunked\r\n",
        ),
        bad("an empty coding", "RFC 9112 §6.1", "Transfer-Encoding:\r\n"),
        row(
            "chunks in HTTP/1.0",
            "RFC 9112 §6.1",
            format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{POISON}"),
            Gets::BadGateway,
        ),
        row(
            "chunks",
            "RFC 9112 §7.1",
            good("5;a=\"b\"\r\nhello\r\n0\r\n\r\n"),
            Gets::Whole(200, "hello"),
        ),
        chunked(
            "a chunk size of 0x5",
            "CVE-2022-24761 (Waitress)",
            "0x5\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "a chunk size with a plus",
            "CVE-2022-24801 (Twisted)",
            "+5\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "a chunk size beyond 64 bits",
            "CVE-2021-32714 (hyper)",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "an empty chunk size",
            "RFC 9112 §7.1",
            "\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "a bare LF behind a chunk size",
            "CVE-2025-22871 (Go)",
            "5\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "a bare LF in an extension",
            "CVE-2025-55315 (Kestrel)",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "two other bytes behind a chunk",
            "CVE-2025-43859 (h11)",
            "5\r\nhelloXX0\r\n\r\n",
        ),
        chunked(
            "a length in the trailers",
            "RFC 9110 §6.5.1",
            "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
        ),
        chunked(
            "a folded trailer",
            "CVE-2023-45648 (Tomcat)",
            "5\r\nhello\r\n0\r\nA: 1\r\n 2\r\n\r\n",
        ),
        chunked("chunks that break off", "RFC 9112 §8", "5\r\nhel").closes(),
        chunked(
            "chunks without the last one",
            "RFC 9112 §8",
            "5\r\nhello\r\n",
        )
        .closes(),
        chunked(
            "chunks without the blank line",
            "RFC 9112 §8",
            "5\r\nhello\r\n0\r\n",
        )
        .closes(),
        row(
            "a body shorter than its length",
            "RFC 9112 §8",
            with("Content-Length: 6\r\n", "hello"),
            Gets::Broken,
        )
        .closes(),
        row(
            "a body without a length",
            "RFC 9112 §6.3",
            with("", "hello"),
            Gets::Whole(200, "hello"),
        )
        .closes(),
        row(
            "a length of zero",
            "RFC 9112 §6.3",
            with("Content-Length: 0\r\n", ""),
            Gets::Whole(200, ""),
        ),
    ]
}

fn heads() -> Vec<Row> {
    let bad = |name, source, start: &str| {
        let answer = format!("{start}\r\nContent-Length: 0\r\n\r\n{POISON}");
        row(name, source, answer, Gets::BadGateway)
    };
    let field = |name, source, line: &str| {
        row(
            name,
            source,
            with(&format!("{line}\r\nContent-Length: 0\r\n"), POISON),
            Gets::BadGateway,
        )
    };
    vec![
        row(
            "another protocol",
            "RFC 9112 §4",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            Gets::BadGateway,
        )
        .closes(),
        row("nothing", "RFC 9112 §8", "", Gets::BadGateway).closes(),
        row(
            "half a head",
            "RFC 9112 §8",
            "HTTP/1.1 200 OK\r\nContent-Le",
            Gets::BadGateway,
        )
        .closes(),
        row(
            "a body and no head: HTTP/0.9",
            "CVE-2017-7656 (Jetty)",
            "<html></html>",
            Gets::BadGateway,
        )
        .closes(),
        bad(
            "an empty line before the answer",
            "RFC 9112 §4",
            "\r\nHTTP/1.1 200 OK",
        ),
        bad(
            "a space before the answer",
            "RFC 9112 §4",
            " HTTP/1.1 200 OK",
        ),
        bad("a status of two digits", "RFC 9112 §4", "HTTP/1.1 20 OK"),
        bad("a status of four digits", "RFC 9112 §4", "HTTP/1.1 2000 OK"),
        bad("a status below 100", "RFC 9110 §15", "HTTP/1.1 099 OK"),
        bad("a status in letters", "RFC 9112 §4", "HTTP/1.1 two OK"),
        bad(
            "two spaces before the status",
            "RFC 9112 §4",
            "HTTP/1.1  200 OK",
        ),
        bad("a tab before the status", "RFC 9112 §4", "HTTP/1.1\t200 OK"),
        bad(
            "a version in small letters",
            "RFC 9112 §2.3",
            "http/1.1 200 OK",
        ),
        bad("a version of HTTP/2", "RFC 9113 §3", "HTTP/2.0 200 OK"),
        bad(
            "a bare CR in the reason",
            "RFC 9112 §4",
            "HTTP/1.1 200 O\rK",
        ),
        bad(
            "a bare LF in the reason",
            "RFC 9112 §2.2",
            "HTTP/1.1 200 O\nK: 1",
        ),
        bad("a NUL in the reason", "RFC 9112 §4", "HTTP/1.1 200 O\0K"),
        field("a folded field", "RFC 9112 §5.2", "A: 1\r\n 2"),
        field("a bare CR in a value", "RFC 9112 §2.2", "A: 1\rB: 2"),
        field("a bare LF in a value", "RFC 9112 §2.2", "A: 1\nB: 2"),
        field("a NUL in a value", "RFC 9110 §5.5", "A: 1\0"),
        field("a space before a colon", "RFC 9112 §5.1", "A : 1"),
        field(
            "a space before the colon of a coding",
            "CVE-2019-16276 (Go)",
            "Transfer-Encoding : chunked",
        ),
        field(
            "a field without a colon",
            "CVE-2019-20444 (Netty)",
            "Transfer-Encoding chunked",
        ),
        field("a field without a name", "CVE-2023-25725 (HAProxy)", ": 1"),
        row(
            "bare LFs only",
            "RFC 9112 §2.2",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            Gets::BadGateway,
        ),
    ]
}

fn without_body() -> Vec<Row> {
    let empty = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\nCache-Control: max-age=60\r\n{fields}\r\n")
    };
    let length = format!("Content-Length: {}\r\n", POISON.len());
    vec![
        row(
            "an answer to HEAD with a body",
            "RFC 9110 §9.3.2",
            with(&length, POISON),
            Gets::Whole(200, ""),
        )
        .to("HEAD"),
        row(
            "an answer to HEAD with a body that comes later",
            "RFC 9110 §9.3.2",
            with(&length, ""),
            Gets::Whole(200, ""),
        )
        .later(POISON)
        .to("HEAD"),
        row(
            "an answer to HEAD with chunks",
            "RFC 9110 §9.3.2",
            with("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            Gets::Whole(200, ""),
        )
        .to("HEAD"),
        row(
            "204 with a length and a body",
            "RFC 9110 §8.6",
            empty("204 N", &length) + POISON,
            Gets::Whole(204, ""),
        ),
        row(
            "204 with a body nobody announced",
            "RFC 9110 §15.3.5",
            empty("204 N", "") + POISON,
            Gets::Whole(204, ""),
        ),
        row(
            "204 with a length, and its body later",
            "RFC 9110 §8.6",
            empty("204 N", &length),
            Gets::Whole(204, ""),
        )
        .later(POISON),
        row(
            "204 with chunks",
            "RFC 9112 §6.1",
            empty("204 N", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            Gets::Whole(204, ""),
        ),
        row(
            "103 with a length and a body",
            "RFC 9110 §15.2",
            format!(
                "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\nhello{}",
                with("Content-Length: 2\r\n", "ok")
            ),
            Gets::BadGateway,
        ),
        row(
            "100 that nobody asked for",
            "RFC 9110 §15.2.1",
            format!(
                "HTTP/1.1 100 Go\r\n\r\n{}",
                with("Content-Length: 2\r\n", "ok")
            ),
            Gets::Whole(200, "ok"),
        ),
        row(
            "a hundred times 100",
            "RFC 9110 §15.2",
            "HTTP/1.1 100 Go\r\n\r\n".repeat(100) + &with("Content-Length: 2\r\n", "ok"),
            Gets::BadGateway,
        ),
        row(
            "101 that nobody asked for",
            "RFC 9110 §15.2.2; Miller 2020, h2c Smuggling",
            format!("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n{POISON}"),
            Gets::BadGateway,
        ),
    ]
}

fn too_many() -> Vec<Row> {
    let whole = with("Content-Length: 2\r\n", "ok");
    vec![
        row(
            "a second answer at once",
            "Kettle 2021, HTTP/2: response queue poisoning",
            format!("{whole}{POISON}"),
            Gets::Whole(200, "ok"),
        ),
        row(
            "a second answer later",
            "Kettle 2021, HTTP/2: response queue poisoning",
            &whole,
            Gets::Whole(200, "ok"),
        )
        .later(POISON),
        row(
            "half an answer later",
            "Kettle 2021, HTTP/2: response queue poisoning",
            &whole,
            Gets::Whole(200, "ok"),
        )
        .later(&POISON[..20]),
        row(
            "a second answer behind chunks",
            "Kettle 2021, HTTP/2: response queue poisoning",
            with("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n") + POISON,
            Gets::Whole(200, "ok"),
        ),
        row(
            "an empty line behind an answer",
            "RFC 9112 §9.2",
            format!("{whole}\r\n"),
            Gets::Whole(200, "ok"),
        ),
        row(
            "an empty line behind an answer, later",
            "RFC 9112 §9.2",
            &whole,
            Gets::Whole(200, "ok"),
        )
        .later("\r\n"),
        row(
            "a second answer behind Connection: close",
            "RFC 9112 §9.6",
            with("Connection: close\r\nContent-Length: 2\r\n", "ok") + POISON,
            Gets::Whole(200, "ok"),
        ),
    ]
}

#[tokio::test]
async fn answers_reach_those_who_asked_and_nobody_else() {
    let rows = Arc::new(table());
    let address = start(Arc::clone(&rows)).await;
    let front = Front::start(address).await;
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if let Err(problem) = check(row, number, &front).await {
            wrong.push(format!("{} ({}): {problem:#}", row.name, row.source));
        }
    }
    let count = wrong.len();
    assert!(
        count == 0,
        "{count} of {} rows:\n{}",
        rows.len(),
        wrong.join("\n")
    );
}

/// Answers `/scripted/N` by the script the first time, everything else as it should be.
async fn start(rows: Arc<Vec<Row>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the kernel has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let played: Arc<Vec<AtomicBool>> =
        Arc::new(rows.iter().map(|_| AtomicBool::new(false)).collect());
    tokio::spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (rows, played) = (Arc::clone(&rows), Arc::clone(&played));
            serving.spawn(async move { drop(serve(stream, &rows, &played).await) });
        }
    });
    address
}

async fn serve(mut stream: TcpStream, rows: &[Row], played: &[AtomicBool]) -> Result<()> {
    let mut input = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut input).await? {
        let number = head.target.strip_prefix("/scripted/");
        let number = number.and_then(|number| number.parse::<usize>().ok());
        if let Some(number) = number {
            let row = &rows[number];
            // What has no answer is asked again, and that is the same script.
            let is_retried = row.gets == Gets::BadGateway && head.marker() == "first";
            if !played[number].swap(true, Ordering::SeqCst) || is_retried {
                for (index, bytes) in row.writes.iter().enumerate() {
                    if index > 0 {
                        sleep(PAUSE).await;
                    }
                    stream.write_all(bytes).await?;
                }
                match row.then {
                    Then::Stay => continue,
                    Then::Close => return Ok(()),
                }
            }
        }
        let (marker, body) = (head.marker(), head.line(b""));
        let answer = format!(
            "HTTP/1.1 200 OK\r\nX-Answers: {marker}\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn read_head(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Option<Head>> {
    loop {
        if let Some(head) = Strict.head(input).map_err(anyhow::Error::msg)? {
            input.drain(..head.bytes);
            return Ok(Some(head));
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

async fn check(row: &Row, number: usize, front: &Front) -> Result<()> {
    let target = format!("/scripted/{number}");
    let asked = Request::new(row.method, &target)
        .field("Host", "h.test")
        .field("X-Marker", "first");
    let mut connection = Connection::open(front.address).await?.patient(SOON);
    let answer = connection.ask(&asked).await;
    if row.writes.len() > 1 {
        sleep(PAUSE * 2).await;
    }
    for round in 0..3 {
        innocent(front, "/innocent", &format!("innocent-{number}-{round}")).await?;
    }
    let shown = format!("{answer:?}");
    let poisoned = shown.contains("X-Answers: poison") || shown.contains("\npoison");
    ensure!(!poisoned, "the client gets {shown}");
    match (row.gets, answer) {
        (Gets::Whole(status, body), Ok(answer)) => ensure!(
            answer.status() == status && answer.text() == body,
            "the client gets {answer:?}"
        ),
        (Gets::BadGateway, Ok(answer)) => {
            ensure!(
                matches!(answer.status(), 502 | 503),
                "the client gets {answer:?}"
            );
        }
        (Gets::Broken, Err(_)) => {}
        // Nothing of it had been passed on yet.
        (Gets::Broken, Ok(answer)) if answer.status() == 502 => {}
        (_, answer) => anyhow::bail!("the client gets {answer:?}"),
    }
    // What was broken is not stored.
    if matches!(row.gets, Gets::BadGateway | Gets::Broken) {
        innocent(front, &target, "again").await?;
    }
    Ok(())
}

async fn innocent(front: &Front, target: &str, marker: &str) -> Result<()> {
    let request = Request::get(target)
        .field("Host", "h.test")
        .field("X-Marker", marker);
    let answer = load_tests::client::ask(front.address, &request).await;
    let answer = answer.context("an innocent client")?;
    ensure!(
        answer.status() == 200 && answer.head.fields.joined("X-Answers") == marker,
        "an innocent client gets {answer:?}"
    );
    Ok(())
}

//! Never two requests where one was sent: what clients can write so that two programs read it differently, sent as it is
//! through the real `lacquer`, with a strict back-end behind it, and then with lenient ones.
//!
//! The law, for each row and each back-end: the back-end counts exactly the requests that an RFC 9112 reading of the
//! client's bytes gives, by method, target, marker and body; the client gets exactly one answer for each, its own; and
//! an innocent client, who comes over another connection right behind, gets its own answer.
//!
//! What no front door can mend is left out: a back-end that does not know chunks at all, and one that takes the body of
//! POST for the next request, read any proxy's most ordinary requests wrongly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "smuggling/reading.rs"]
mod reading;

#[path = "smuggling/lenient.rs"]
mod lenient;
#[path = "smuggling/strict.rs"]
mod strict;

#[path = "smuggling/behind.rs"]
mod behind;
#[path = "smuggling/row.rs"]
mod row;

#[path = "smuggling/chunks.rs"]
mod chunks;
#[path = "smuggling/exchanges.rs"]
mod exchanges;
#[path = "smuggling/heads.rs"]
mod heads;
#[path = "smuggling/lengths.rs"]
mod lengths;

#[path = "smuggling/downgrade.rs"]
mod downgrade;
#[path = "smuggling/responses.rs"]
mod responses;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use load_tests::client::{Connection, Request};
use load_tests::front::Front;
use tokio::time::sleep;

use crate::behind::{Behind, Seen};
use crate::lenient::{Lenient, READERS};
use crate::reading::{Reader, Whole, read_all};
use crate::row::{Ends, Row, Step};
use crate::strict::Strict;

const SOON: Duration = Duration::from_secs(3);

fn table() -> Vec<Row> {
    [
        lengths::rows(),
        chunks::rows(),
        heads::rows(),
        exchanges::rows(),
    ]
    .concat()
}

/// Runs the whole table before one back-end.
async fn check_all(reader: impl Reader) {
    let compares = match reader.sees_strange_bodies() {
        true => Compares::All,
        false => Compares::AllButStrangeBodies,
    };
    let name = format!("{reader:?}");
    let behind = Behind::start(reader).await;
    let front = Front::start_with(behind.address, |settings| {
        settings
            .set_text("timeouts.body_read", "500ms")
            .set("limits.request_body_bytes_max", "4000000000");
    })
    .await;
    let rows = table();
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if let Err(problem) = check(row, number, compares, &front, &behind).await {
            wrong.push(format!("{} ({}): {problem:#}", row.name, row.source));
        }
    }
    let count = wrong.len();
    let list = wrong.join("\n");
    assert!(
        count == 0,
        "{count} of {} rows before {name}:\n{list}",
        rows.len()
    );
}

/// What of a request tells whether it is the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compares {
    All,
    /// The back-end knows nothing of the content of GET and its like.
    AllButStrangeBodies,
}

impl Compares {
    fn part(self, line: &str) -> &str {
        let is_strange = !line.starts_with("POST ");
        match line.match_indices(' ').nth(2) {
            Some((end, _)) if is_strange && self == Compares::AllButStrangeBodies => &line[..end],
            _ => line,
        }
    }
}

async fn check(
    row: &Row,
    number: usize,
    compares: Compares,
    front: &Front,
    behind: &Behind,
) -> Result<()> {
    if let Some(target) = row.stored {
        let prime = Request::get(target)
            .field("Host", "h.test")
            .field("X-Marker", "stored");
        load_tests::client::ask(front.address, &prime).await?;
    }
    let before = behind.record().seen.len();
    let mut connection = Connection::open(front.address).await?.patient(SOON);
    play(row, &mut connection).await;
    let mut answers = Vec::new();
    let received = receive(row, &mut connection, &mut answers).await;
    // First of all the innocent: what happened to the other client must not happen here.
    for round in 0..2 {
        innocent(front, &format!("innocent-{number}-{round}")).await?;
    }
    let after = after(row, &mut connection, behind).await;
    received.with_context(|| format!("after {answers:?}"))?;
    after?;
    judge(row, compares, behind, before)
}

async fn play(row: &Row, connection: &mut Connection) {
    for step in &row.steps {
        match step {
            // Whoever is refused may find the connection closed; the answers tell.
            Step::Send(bytes) => drop(connection.send_raw(bytes).await),
            Step::Wait(wait) => sleep(*wait).await,
            Step::Shut => drop(connection.wire().shut().await),
        }
    }
}

async fn receive(row: &Row, connection: &mut Connection, answers: &mut Vec<String>) -> Result<()> {
    for expected in &row.answers {
        let (method, expected) = match expected.strip_prefix("HEAD ") {
            Some(rest) => ("HEAD", rest),
            None => ("GET", *expected),
        };
        let answer = if expected.starts_with("101") {
            let head = connection.receive_head(method).await?;
            format!("{} {}", head.status, head.fields.joined("X-Answers"))
        } else {
            let answer = connection.receive(method).await?;
            format!(
                "{} {}",
                answer.status(),
                answer.head.fields.joined("X-Answers")
            )
        };
        let answer = answer.trim_end().to_owned();
        answers.push(answer.clone());
        ensure!(
            answer == expected,
            "the answer {answer:?}, not {expected:?}"
        );
    }
    Ok(())
}

/// What the connection is worth once the expected answers are there.
async fn after(row: &Row, connection: &mut Connection, behind: &Behind) -> Result<()> {
    match &row.ends {
        Ends::Closed => {
            let closes = connection.closes_within(SOON).await;
            ensure!(closes, "the connection stays open, or says more");
        }
        Ends::Open => {
            let last = Request::get("/last")
                .field("Host", "h.test")
                .field("X-Marker", "last");
            let answer = connection.ask(&last).await.context("the next request")?;
            let found = answer.head.fields.joined("X-Answers");
            ensure!(found == "last", "the next request gets {answer:?}");
        }
        Ends::Tunnel(bytes) => {
            let deadline = Instant::now() + SOON;
            while behind.record().tunnels.last() != Some(bytes) {
                let found = behind.record().tunnels.last().cloned();
                ensure!(Instant::now() < deadline, "the tunnel holds {found:?}");
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    Ok(())
}

async fn innocent(front: &Front, marker: &str) -> Result<()> {
    let request = Request::get("/innocent")
        .field("Host", "h.test")
        .field("X-Marker", marker);
    let answer = load_tests::client::ask(front.address, &request).await;
    let answer = answer.context("an innocent client")?;
    let expected = format!("GET /innocent {marker}");
    ensure!(
        answer.status() == 200
            && answer.head.fields.joined("X-Answers") == marker
            && answer.text() == expected,
        "an innocent client gets {answer:?}"
    );
    Ok(())
}

/// Compares what the back-end has counted with the row, and with the oracle.
fn judge(row: &Row, compares: Compares, behind: &Behind, before: usize) -> Result<()> {
    let (seen, doubts) = {
        let mut record = behind.record();
        let seen: Vec<Seen> = record.seen[before..].to_vec();
        (seen, std::mem::take(&mut record.doubts))
    };
    ensure!(doubts.is_empty(), "the back-end doubts: {doubts:?}");
    let own = |seen: &&Seen| {
        let mut words = seen.line.split(' ').skip(1);
        !matches!(words.next(), Some("/innocent" | "/last"))
    };
    let whole: Vec<&str> = seen
        .iter()
        .filter(own)
        .filter(|seen| seen.is_whole)
        .map(|seen| seen.line.as_str())
        .collect();
    let expected: Vec<&str> = row.asked.iter().map(|line| compares.part(line)).collect();
    ensure!(
        whole == expected,
        "the back-end is asked {whole:?}, not {expected:?}"
    );
    let innocent = seen
        .iter()
        .filter(|seen| seen.is_whole && seen.line.starts_with("GET /innocent innocent-"));
    ensure!(
        innocent.count() == 2,
        "the innocent are asked for otherwise: {seen:?}"
    );
    // A body may break off after its head was passed on; it is then the one that the client broke off.
    let Whole {
        requests, partial, ..
    } = read_all(&Strict, &row.sent());
    for broken in seen.iter().filter(own).filter(|seen| !seen.is_whole) {
        let heads = requests.iter().chain(&partial);
        let known = heads.into_iter().any(|line| line.starts_with(&broken.line));
        ensure!(
            known,
            "the back-end is asked, in part, for {:?}",
            broken.line
        );
    }
    Ok(())
}

#[tokio::test]
async fn one_request_stays_one_before_a_strict_back_end() {
    check_all(Strict).await;
}

async fn check_lenient(index: usize) {
    let reader: Lenient = READERS[index];
    check_all(reader).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_prefers_lengths() {
    check_lenient(0).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_prefers_codings() {
    check_lenient(1).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_takes_the_last_length() {
    check_lenient(2).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_ends_lines_at_cr() {
    check_lenient(3).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_takes_underscores_for_hyphens() {
    check_lenient(4).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_counts_to_32_bits() {
    check_lenient(5).await;
}

#[tokio::test]
async fn one_request_stays_one_before_a_back_end_that_expects_no_body_of_get() {
    check_lenient(6).await;
}

/// What the rows say is held against the oracle: the front door may refuse what the RFC lets it refuse, and answer from
/// its store, but never ask for anything else, or in another order.
#[test]
fn rows_ask_for_nothing_that_the_rfc_does_not_read() {
    let mut wrong = Vec::new();
    for row in table() {
        let whole = read_all(&Strict, &row.sent());
        let mut read = whole.requests.iter();
        let is_read = row.asked.iter().all(|asked| read.any(|line| line == asked));
        let tunnels = matches!(row.ends, Ends::Tunnel(_));
        if !is_read && !tunnels {
            wrong.push(format!(
                "{}: {:?}, but the RFC reads {whole:?}",
                row.name, row.asked
            ));
        }
        // Who keeps the connection has read all of it.
        if row.ends == Ends::Open && (whole.doubt.is_some() || whole.partial.is_some()) {
            wrong.push(format!("{}: stays open after {whole:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table bites: sent past the front door, most of it is read otherwise by one lenient reader at least, and every
/// reader smuggles something.
#[test]
fn lenient_readers_misread_the_table() {
    let rows = table();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    let mut misread = vec![0; READERS.len()];
    let mut smuggled = vec![0; READERS.len()];
    let mut rows_misread = 0;
    for row in &rows {
        let sent = row.sent();
        let strict = read_all(&Strict, &sent).requests;
        let mut any = false;
        for (index, reader) in READERS.iter().enumerate() {
            let lenient = read_all(reader, &sent).requests;
            let is_smuggled = |line: &String| line.contains(" /smuggled smuggled");
            if lenient != strict {
                any = true;
                misread[index] += 1;
            }
            if lenient.iter().any(is_smuggled) && !strict.iter().any(is_smuggled) {
                smuggled[index] += 1;
            }
        }
        rows_misread += usize::from(any);
    }
    assert!(
        rows_misread * 2 > rows.len() && smuggled.iter().all(|count| *count > 10),
        "{rows_misread} of {} rows misread, by reader {misread:?}, with a request smuggled {smuggled:?}",
        rows.len()
    );
}

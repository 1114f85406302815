//! Writers and readers on few keys, thousands of times: no read that starts after a write's answer sees an older value.
//!
//! Each key has one writer, which numbers its writes, and many readers. Everybody notes when an operation began and
//! ended; the judging comes afterwards. A read may see the last write that was answered before the read began, or any
//! write that overlaps the read, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use load_tests::client::{Connection, Request, Response};
use load_tests::front::Front;
use load_tests::origin::Origin;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

const KEYS: usize = 4;
const READERS_PER_KEY: usize = 4;
const WRITES_PER_KEY: usize = 500;
/// Readers go on until the writers are done; this bounds them when a writer is slow.
const READS_MAX: usize = 60_000;
/// For the load; whoever has not finished by then stops.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Gone,
    Value { number: u64, tag: String },
}

#[derive(Clone, Debug)]
struct Write {
    began: Instant,
    ended: Instant,
    made: State,
}

#[derive(Debug)]
struct Read {
    began: Instant,
    ended: Instant,
    how: How,
    saw: Saw,
}

/// Kinds of reads, which take different ways through the front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    Head,
    /// With If-None-Match of the last tag that was seen.
    Revalidating,
    /// With If-Match of it.
    Matching,
    Part,
}

#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Gone,
    /// A number, a tag, or both.
    Value {
        number: Option<u64>,
        tag: Option<String>,
    },
    /// If-Match failed: the key holds something else than this tag.
    NotTag(String),
}

fn body(key: usize, number: u64) -> String {
    // Long enough to be worth a range, and the number is in the first bytes.
    format!("{number:>10}|{key}|{}", "x".repeat(200))
}

fn number_in(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(&body[..10]).expect("we wrote text");
    text.trim().parse().expect("we wrote a number")
}

/// Writes, one after the other: plain, conditional, in vain, and deletes.
async fn write(address: SocketAddr, key: usize, deadline: Instant) -> Vec<Write> {
    let mut random = StdRng::seed_from_u64(key as u64);
    let mut connection = Connection::open(address).await.unwrap();
    let path = format!("/kv/race/{key}");
    let mut writes: Vec<Write> = Vec::new();
    let mut state = State::Gone;
    for number in 1..=WRITES_PER_KEY as u64 {
        if Instant::now() > deadline {
            break;
        }
        let put = Request::put(&path, body(key, number));
        let tag = match &state {
            State::Value { tag, .. } => Some(tag.clone()),
            State::Gone => None,
        };
        let (request, expected) = match (random.random_range(0..10), tag) {
            (0, Some(_)) => (Request::new("DELETE", &path), 200),
            (0, None) => (put.field("If-None-Match", "*"), 200),
            (1, _) => (put.field("If-Match", "\"0\""), 412),
            (2, Some(_)) => (put.field("If-None-Match", "*"), 412),
            (3 | 4, Some(tag)) => (put.field("If-Match", tag), 200),
            (5, Some(_)) => (
                Request::new("DELETE", &path).field("If-Match", "\"0\""),
                412,
            ),
            _ => (put, 200),
        };
        let began = Instant::now();
        let answer = connection.ask(&request).await.unwrap();
        let ended = Instant::now();
        assert_eq!(answer.status(), expected, "{request:?} {answer:?}");
        if expected == 200 {
            state = match request.method.as_str() {
                "DELETE" => State::Gone,
                _ => State::Value {
                    number,
                    tag: answer.field("ETag").expect("a write has a tag").to_owned(),
                },
            };
            writes.push(Write {
                began,
                ended,
                made: state.clone(),
            });
        }
        // Sometimes time for the readers to store what they read.
        if random.random_range(0..4) == 0 {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..6))).await;
        }
    }
    writes
}

async fn read(
    address: SocketAddr,
    key: usize,
    seed: u64,
    done: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Vec<Read> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut connection = Connection::open(address).await.unwrap();
    let path = format!("/kv/race/{key}");
    let mut reads = Vec::new();
    let mut last_tag: Option<String> = None;
    while !done.load(Ordering::Relaxed) && count.fetch_add(1, Ordering::Relaxed) < READS_MAX as u64
    {
        let get = Request::get(&path);
        let (how, request) = match (random.random_range(0..10), &last_tag) {
            (0, _) => (How::Head, Request::new("HEAD", &path)),
            (1 | 2, Some(tag)) => (How::Revalidating, get.field("If-None-Match", tag)),
            (3, Some(tag)) => (How::Matching, get.field("If-Match", tag)),
            (4, _) => (How::Part, get.field("Range", "bytes=0-20")),
            _ => (How::Plain, get),
        };
        let began = Instant::now();
        let answer = connection.ask(&request).await.unwrap();
        let ended = Instant::now();
        let saw = interpret(&answer, how, last_tag.as_deref());
        if let Saw::Value { tag: Some(tag), .. } = &saw {
            last_tag = Some(tag.clone());
        }
        reads.push(Read {
            began,
            ended,
            how,
            saw,
        });
    }
    reads
}

fn interpret(answer: &Response, how: How, asked: Option<&str>) -> Saw {
    let tag = answer.field("ETag").map(str::to_owned);
    match (answer.status(), how) {
        (200, How::Head) => Saw::Value { number: None, tag },
        (200 | 206, _) => Saw::Value {
            number: Some(number_in(&answer.body)),
            tag,
        },
        (304, How::Revalidating) => {
            let asked = asked.map(str::to_owned);
            assert!(
                tag.is_none() || tag == asked,
                "a 304 with another tag: {answer:?}"
            );
            Saw::Value {
                number: None,
                tag: asked,
            }
        }
        (404, _) => Saw::Gone,
        (412, How::Matching) => Saw::NotTag(asked.expect("such reads name a tag").to_owned()),
        _ => panic!("{how:?}: {answer:?}"),
    }
}

/// Whether a read is explained by the state that a write made.
fn explains(state: &State, saw: &Saw) -> bool {
    match (state, saw) {
        (State::Gone, Saw::Gone | Saw::NotTag(_)) => true,
        (
            State::Value { number, tag },
            Saw::Value {
                number: saw_number,
                tag: saw_tag,
            },
        ) => {
            saw_number.is_none_or(|saw| saw == *number)
                && saw_tag.as_ref().is_none_or(|saw| saw == tag)
        }
        (State::Value { tag, .. }, Saw::NotTag(other)) => tag != other,
        _ => false,
    }
}

/// The reads that nothing explains, as text.
fn judge(key: usize, writes: &[Write], reads: &[Read]) -> Vec<String> {
    let mut wrong = Vec::new();
    for read in reads {
        // Writes of a key come one after the other, so both ends are in order.
        let answered = writes.partition_point(|write| write.ended <= read.began);
        let begun = writes.partition_point(|write| write.began <= read.ended);
        let before = match answered {
            0 => &State::Gone,
            count => &writes[count - 1].made,
        };
        let during = writes[answered..begun].iter().map(|write| &write.made);
        if !std::iter::once(before)
            .chain(during)
            .any(|state| explains(state, &read.saw))
        {
            let since = answered
                .checked_sub(1)
                .map(|index| read.began - writes[index].ended);
            wrong.push(format!(
                "key {key}: {:?} read saw {:?}, {since:?} after {before:?} was answered",
                read.how, read.saw
            ));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_that_starts_after_a_writes_answer_sees_an_older_value() {
    let origin = Origin::start().await;
    let front = Front::start(origin.address).await;
    let deadline = Instant::now() + TIME_MAX;
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for reader in 0..KEYS * READERS_PER_KEY {
        let (done, count) = (Arc::clone(&done), Arc::clone(&count));
        let (address, key) = (front.address, reader % KEYS);
        readers.spawn(async move {
            (
                key,
                read(address, key, reader as u64 + 100, done, count).await,
            )
        });
    }
    let mut writers = JoinSet::new();
    for key in 0..KEYS {
        let address = front.address;
        writers.spawn(async move { (key, write(address, key, deadline).await) });
    }
    let mut writes = vec![Vec::new(); KEYS];
    while let Some(written) = writers.join_next().await {
        let (key, of_key) = written.unwrap();
        writes[key] = of_key;
    }
    done.store(true, Ordering::Relaxed);
    let (mut wrong, mut reads, mut hits) = (Vec::new(), 0, [0; 5]);
    while let Some(read) = readers.join_next().await {
        let (key, of_key) = read.unwrap();
        reads += of_key.len();
        for read in &of_key {
            hits[read.how as usize] += 1;
        }
        wrong.extend(judge(key, &writes[key], &of_key));
    }
    let written: usize = writes.iter().map(Vec::len).sum();
    let scrape = front.scrape().await.unwrap();
    let from_store = scrape.sum("varnish_main_cache_hit");
    eprintln!("{written} writes, {reads} reads {hits:?}, {from_store} of them from the store");
    assert!(
        wrong.is_empty(),
        "{} of {reads} reads are wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    // Otherwise the test has shown nothing.
    assert!(
        written >= 500 && reads >= 2000 && hits.iter().all(|count| *count >= 20),
        "too little load"
    );
    assert!(from_store >= 100.0, "the store was not in the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_edits_through_the_front_door_lose_nothing() {
    const EDITORS: usize = 6;
    const EDITS: u64 = 40;
    let origin = Origin::start().await;
    let front = Front::start(origin.address).await;
    front.ask(&Request::put("/kv/race/counter", "0")).await;
    let mut editors = JoinSet::new();
    for _ in 0..EDITORS {
        let address = front.address;
        editors.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let (mut edits, mut refused) = (0, 0_u64);
            let deadline = Instant::now() + TIME_MAX;
            while edits < EDITS {
                assert!(
                    Instant::now() < deadline,
                    "{edits} edits, {refused} refused"
                );
                let now = connection
                    .ask(&Request::get("/kv/race/counter"))
                    .await
                    .unwrap();
                let number: u64 = now.text().parse().unwrap();
                let tag = now.field("ETag").unwrap();
                let edit = Request::put("/kv/race/counter", (number + 1).to_string())
                    .field("If-Match", tag);
                match connection.ask(&edit).await.unwrap().status() {
                    200 => edits += 1,
                    412 => refused += 1,
                    other => panic!("{other}"),
                }
            }
            refused
        });
    }
    let refused: u64 = editors.join_all().await.into_iter().sum();
    assert_eq!(
        front.get("/kv/race/counter").await.text(),
        (EDITORS as u64 * EDITS).to_string()
    );
    assert!(refused > 0, "nobody was in anybody's way");
}

#[test]
fn the_judge_knows_right_from_wrong() {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let value = |number: u64| State::Value {
        number,
        tag: format!("\"{number}\""),
    };
    let write = |began, ended, made| Write {
        began: at(began),
        ended: at(ended),
        made,
    };
    let writes = [
        write(10, 20, value(1)),
        write(30, 40, value(2)),
        write(50, 60, State::Gone),
    ];
    let check = |began, ended, saw, right: bool| {
        let read = Read {
            began: at(began),
            ended: at(ended),
            how: How::Plain,
            saw,
        };
        assert_eq!(
            judge(0, &writes, std::slice::from_ref(&read)).is_empty(),
            right,
            "{read:?}"
        );
    };
    let saw = |number: u64| Saw::Value {
        number: Some(number),
        tag: None,
    };
    check(0, 5, Saw::Gone, true);
    check(0, 5, saw(1), false);
    check(0, 15, saw(1), true);
    check(15, 18, Saw::Gone, true);
    check(21, 25, saw(1), true);
    check(21, 25, Saw::Gone, false);
    check(25, 35, saw(1), true);
    check(25, 35, saw(2), true);
    check(41, 45, saw(1), false);
    check(41, 55, Saw::Gone, true);
    check(41, 45, Saw::NotTag("\"1\"".to_owned()), true);
    check(41, 45, Saw::NotTag("\"2\"".to_owned()), false);
    check(61, 65, saw(2), false);
}

//! Readers and writers at once: whatever happens in which order, nobody sees what was overwritten before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::{Answer, Backend, Client, Door, Reply, Seen, answer};

const TARGETS: [&str; 3] = ["/a", "/b", "/c"];
const CLIENTS: u64 = 8;
const STEPS: usize = 250;

/// Numbers that look random, the same in each run: only the timing differs.
struct Dice(u64);

impl Dice {
    /// From 0 to `sides`, that one left out.
    fn roll(&mut self, sides: u64) -> u64 {
        // A step of Knuth's MMIX generator; its upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Values that only grow, by target.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<HashMap<String, u64>>>);

impl Values {
    fn get(&self, target: &str) -> u64 {
        self.0.lock().get(target).copied().unwrap_or_default()
    }

    fn raise(&self, target: &str, to: u64) {
        let mut values = self.0.lock();
        let value = values.entry(target.to_owned()).or_default();
        *value = to.max(*value);
    }

    fn increment(&self, target: &str) -> u64 {
        let mut values = self.0.lock();
        let value = values.entry(target.to_owned()).or_default();
        *value += 1;
        *value
    }
}

/// Reads and writes at once, answers later, and now and then not at all.
fn answer_from(values: &Values, seen: &Seen) -> Answer {
    let mut dice = Dice(seen.index as u64);
    let later = Duration::from_micros(dice.roll(3000));
    if seen.method != "GET" {
        let written = values.increment(&seen.target).to_string();
        return match dice.roll(10) {
            0 => Answer::close().after(later),
            _ => answer(200, &[], written).after(later),
        };
    }
    let value = values.get(&seen.target);
    let tag = format!("\"{value}\"");
    let directives = match dice.roll(4) {
        0 => "max-age=0",
        1 => "max-age=60, stale-while-revalidate=60",
        2 => "no-store",
        _ => "max-age=60",
    };
    let age = if dice.roll(3) == 0 { "100" } else { "0" };
    let fields = [("ETag", &*tag), ("Cache-Control", directives), ("Age", age)];
    let fresh = seen.field("If-None-Match").as_ref() == Some(&tag);
    let answer = match fresh {
        true => answer(304, &fields, ""),
        false => answer(200, &fields, format!("{} {value}", seen.target)),
    };
    answer.after(later)
}

/// The value that a reply shows, whose head and body have to agree on it.
fn value_of(target: &str, reply: &Reply) -> u64 {
    let tag = reply.field("ETag");
    let value = tag.trim_matches('"').parse().expect("a value's tag");
    match reply.status() {
        304 => {}
        200 => assert_eq!(reply.text(), format!("{target} {value}")),
        other => panic!("{target}: {other} {}", reply.text()),
    }
    value
}

async fn play(mut client: Client, seed: u64, acknowledged: Values) {
    let mut dice = Dice(seed);
    for _ in 0..STEPS {
        let target = TARGETS[dice.roll(TARGETS.len() as u64) as usize];
        match dice.roll(20) {
            0..2 => {
                let reply = client.write("PUT", target, "more").await;
                match reply.status() {
                    200 => acknowledged.raise(target, reply.text().parse().expect("a number")),
                    502 => {}
                    other => panic!("{other}: {}", reply.text()),
                }
            }
            2 => {
                let soft = [("Lacquer-Purge", "soft")];
                client.request("PURGE", target, &soft).await;
            }
            3 => {
                let ban = [("Lacquer-Ban", "obj.status == 200")];
                client.request("BAN", target, &ban).await;
            }
            roll => {
                let before = acknowledged.get(target);
                let tag = format!("\"{before}\"");
                let fields: &[(&str, &str)] = match roll {
                    4 => &[("If-None-Match", &tag)],
                    5 => &[("Cache-Control", "no-cache")],
                    6 => &[("Cache-Control", "max-stale")],
                    _ => &[],
                };
                let reply = client.request("GET", target, fields).await;
                let value = value_of(target, &reply);
                assert!(
                    value >= before,
                    "{target}: {value} after {before} was acknowledged"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_was_overwritten_before() {
    let values = Values::default();
    let backend = Backend::start(move |seen| answer_from(&values, seen)).await;
    let door = Door::start(&backend).await;
    let acknowledged = Values::default();
    let mut players = tokio::task::JoinSet::new();
    for seed in 0..CLIENTS {
        let client = door.connect().await;
        players.spawn(play(client, seed, acknowledged.clone()));
    }
    while let Some(played) = players.join_next().await {
        played.expect("no reader has seen an older value");
    }
    let reads = CLIENTS as usize * STEPS;
    assert!(
        backend.count() < reads,
        "the cache has answered some of them"
    );
}

//! `kill -9` in the middle of a write load: every acknowledged write is there afterwards.
//!
//! The origin runs on a private cluster that forces each commit to disk. Writers number the writes of their keys; a
//! write without an answer may or may not have happened, one with a good answer must have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use load_tests::client::{self, Connection, Request};
use load_tests::front::Front;
use load_tests::origin::Origin;
use load_tests::postgres::{Cluster, private_options, server_pid};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

const WRITERS: u64 = 8;
const KEYS_PER_WRITER: u64 = 5;
const WRITES_MAX: u64 = 20_000;

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    /// Number of the last write that was answered well.
    acknowledged: u64,
    /// Number of the last write that was sent.
    sent: u64,
}

/// A running write load.
struct Load {
    stop: watch::Sender<bool>,
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    writers: JoinSet<Vec<(String, Key)>>,
}

impl Load {
    fn start(address: SocketAddr) -> Load {
        let (stop, acknowledged, failed) =
            (watch::Sender::new(false), Arc::default(), Arc::default());
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (stop, acknowledged, failed) = (
                stop.subscribe(),
                Arc::clone(&acknowledged),
                Arc::clone(&failed),
            );
            writers.spawn(write(address, writer, stop, acknowledged, failed));
        }
        Load {
            stop,
            acknowledged,
            failed,
            writers,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    async fn goes_on(&self, more: u64, wait: Duration) {
        let (target, deadline) = (self.acknowledged() + more, Instant::now() + wait);
        while self.acknowledged() < target {
            assert!(
                Instant::now() < deadline,
                "{} of {target} writes acknowledged after {wait:?}, {} failed",
                self.acknowledged(),
                self.failed.load(Ordering::Relaxed)
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(mut self) -> (Vec<(String, Key)>, u64) {
        self.stop.send_replace(true);
        let mut keys = Vec::new();
        while let Some(written) = self.writers.join_next().await {
            keys.extend(written.unwrap());
        }
        (keys, self.failed.load(Ordering::Relaxed))
    }
}

async fn write(
    address: SocketAddr,
    writer: u64,
    stop: watch::Receiver<bool>,
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) -> Vec<(String, Key)> {
    let mut keys: Vec<(String, Key)> = (0..KEYS_PER_WRITER)
        .map(|key| (format!("/kv/kill/{writer}-{key}"), Key::default()))
        .collect();
    let mut connection = None;
    for number in 1..=WRITES_MAX {
        if *stop.borrow() {
            break;
        }
        let (path, key) = &mut keys[(number % KEYS_PER_WRITER) as usize];
        key.sent = number;
        let answered = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(address).await?,
            };
            let answer = open.ask(&Request::put(path, number.to_string())).await?;
            connection = Some(open);
            anyhow::Ok(answer.status())
        };
        match answered.await {
            Ok(200) => {
                key.acknowledged = number;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(502..=504) | Err(_) => {
                failed.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(30)).await;
            }
            Ok(other) => panic!("{other} to a write"),
        }
    }
    keys
}

/// Reads every key and compares it with what was acknowledged.
async fn verify(address: SocketAddr, keys: &[(String, Key)]) {
    let mut lost = Vec::new();
    for (path, key) in keys {
        let answer = client::get(address, path).await.unwrap();
        let stored = match answer.status() {
            200 => answer.text().parse().unwrap(),
            404 => 0,
            _ => panic!("{path}: {answer:?}"),
        };
        if stored < key.acknowledged || stored > key.sent {
            lost.push(format!("{path} holds {stored}, {key:?}"));
        }
    }
    let written = keys.iter().filter(|(_, key)| key.acknowledged > 0).count() as u64;
    assert_eq!(
        written,
        WRITERS * KEYS_PER_WRITER,
        "some keys were never written"
    );
    assert!(
        lost.is_empty(),
        "acknowledged writes are lost:\n{}",
        lost.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_postgresql_loses_nothing() {
    let origin = Origin::start_with_cluster().await;
    let load = Load::start(origin.address);
    load.goes_on(200, Duration::from_secs(20)).await;
    for _ in 0..2 {
        let pid = server_pid(origin.folder()).unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        // The origin starts it again by itself.
        load.goes_on(200, Duration::from_secs(30)).await;
        assert_ne!(server_pid(origin.folder()).unwrap(), pid);
    }
    // It may also have held every request until then, so that none failed.
    let (keys, _) = load.end().await;
    verify(origin.address, &keys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_postgresql_repeats_no_increment() {
    const CLIENTS: usize = 6;
    let origin = Origin::start_with_cluster().await;
    let start =
        Request::put("/kv/kill/sum", r#"{"n": 0}"#).field("Content-Type", "application/json");
    assert_eq!(
        client::ask(origin.address, &start).await.unwrap().status(),
        200
    );
    let (stop, acknowledged) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, stop, acknowledged) =
            (origin.address, stop.subscribe(), Arc::clone(&acknowledged));
        clients.spawn(async move {
            let add = Request::new("PATCH", "/kv/kill/sum")
                .field("Content-Type", "application/vnd.lacquer.increment+json")
                .body(r#"{"n": 1}"#);
            let (mut sent, mut unknown) = (0_u64, 0_u64);
            while !*stop.borrow() && sent < WRITES_MAX {
                sent += 1;
                match client::ask(address, &add)
                    .await
                    .map(|answer| answer.status())
                {
                    Ok(200) => {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    // Too many at once: it says that it did not do it.
                    Ok(409) => {}
                    Ok(502..=504) | Err(_) => unknown += 1,
                    Ok(other) => panic!("{other} to an increment"),
                }
            }
            unknown
        });
    }
    let goes_on = async |more: u64| {
        let (target, deadline) = (
            acknowledged.load(Ordering::Relaxed) + more,
            Instant::now() + Duration::from_secs(30),
        );
        while acknowledged.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "the increments do not go on");
            sleep(Duration::from_millis(5)).await;
        }
    };
    goes_on(100).await;
    for _ in 0..3 {
        let pid = server_pid(origin.folder()).unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        goes_on(100).await;
    }
    stop.send_replace(true);
    let unknown: u64 = clients.join_all().await.into_iter().sum();
    let stored = client::get(origin.address, "/kv/kill/sum")
        .await
        .unwrap()
        .text();
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let (sum, acknowledged) = (
        stored["n"].as_u64().unwrap(),
        acknowledged.load(Ordering::Relaxed),
    );
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&sum),
        "{acknowledged} increments acknowledged, {unknown} unknown, and the sum is {sum}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_origin_loses_nothing() {
    let mut origin = Origin::start_with_cluster().await;
    let load = Load::start(origin.address);
    for _ in 0..2 {
        load.goes_on(200, Duration::from_secs(20)).await;
        origin.process.kill();
        sleep(Duration::from_millis(100)).await;
        // PostgreSQL of the dead origin must not be in the way.
        origin.restart().await;
    }
    load.goes_on(200, Duration::from_secs(20)).await;
    let (keys, failed) = load.end().await;
    assert!(failed > 0, "nobody noticed");
    verify(origin.address, &keys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_front_door_loses_nothing() {
    let origin = Origin::start_with_cluster().await;
    let mut front = Front::start(origin.address).await;
    let load = Load::start(front.address);
    for _ in 0..2 {
        load.goes_on(200, Duration::from_secs(20)).await;
        front.process.kill();
        sleep(Duration::from_millis(100)).await;
        front.restart().await;
    }
    load.goes_on(200, Duration::from_secs(20)).await;
    let (keys, failed) = load.end().await;
    assert!(failed > 0, "nobody noticed");
    verify(front.address, &keys).await;
    verify(origin.address, &keys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_requests_get_503_until_it_is_back() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(folder.path()))
        .await
        .unwrap();
    let origin = Origin::start_on(&cluster.dsn(), |settings| {
        settings.set_text("origin.timeout", "2s");
    })
    .await;
    let front = Front::start(origin.address).await;
    let write = |number: u64| Request::put("/kv/gone/key", number.to_string());
    assert_eq!(front.ask(&write(1)).await.status(), 200);
    assert_eq!(front.get("/kv/gone/key").await.text(), "1");
    cluster.stop().await;
    let asked = [
        write(2),
        Request::get("/kv/gone/key"),
        Request::get("/kv/gone/other"),
        Request::get("/kv"),
        Request::new("DELETE", "/kv/gone/key"),
    ];
    for request in &asked {
        let started = Instant::now();
        let answer = client::ask(origin.address, request).await.unwrap();
        assert_eq!(answer.status(), 503, "{request:?} {answer:?}");
        let pause = answer.field("Retry-After").map(str::parse::<u64>);
        assert!(matches!(pause, Some(Ok(1..))), "{answer:?}");
        assert!(
            started.elapsed() < TIMEOUT + Duration::from_secs(2),
            "{request:?} took {:?}",
            started.elapsed()
        );
        for secret in ["SELECT", "INSERT", "sock", "postgres", "panicked"] {
            assert!(!answer.text().contains(secret), "{secret} in {answer:?}");
        }
    }
    assert!(!origin.is_ready().await);
    assert_eq!(
        client::get(origin.address, "/status")
            .await
            .unwrap()
            .text()
            .trim(),
        "ok"
    );
    // The front door still has what it stored before; the failed write must not have been taken for one.
    let stored = front.get("/kv/gone/key").await;
    assert_eq!(
        (stored.status(), stored.text().as_str()),
        (200, "1"),
        "{stored:?}"
    );
    assert_eq!(front.ask(&write(3)).await.status(), 503);
    let again = Cluster::start(private_options(folder.path()))
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !origin.is_ready().await {
        assert!(
            Instant::now() < deadline,
            "the origin does not find PostgreSQL again"
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        client::get(origin.address, "/kv/gone/key")
            .await
            .unwrap()
            .text(),
        "1"
    );
    assert_eq!(front.ask(&write(4)).await.status(), 200);
    assert_eq!(front.get("/kv/gone/key").await.text(), "4");
    drop(origin);
    again.stop().await;
}

//! PostgreSQL dies under load, and comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use origin::cluster::Cluster;
use origin::cluster::testing::private_options;

use super::support::{Kept, Request, Server, settings_for};

/// The process that all other processes of the server come from.
fn postmaster(folder: &Path) -> Option<Pid> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let file = folder.join("postmaster.pid");
        if let Ok(text) = std::fs::read_to_string(file) {
            return Some(Pid::from_raw(text.lines().next()?.trim().parse().ok()?));
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir() && path.components().count() < 12),
        );
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_the_death_of_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(folder.path()))
        .await
        .unwrap();
    let mut settings = settings_for(&cluster.dsn());
    settings.timeout = Duration::from_secs(3);
    let server = Server::start(settings).await;

    let started = Instant::now();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let address = server.address;
            tokio::spawn(async move {
                let mut client = Kept::connect(address).await.unwrap();
                let (mut acknowledged, mut refused) = (Vec::new(), 0);
                let mut n = 0;
                while started.elapsed() < Duration::from_secs(8) {
                    let path = format!("/kv/b/{writer}-{n}");
                    let asked = Instant::now();
                    let reply = client
                        .send(&Request::new("PUT", &path).body(path.clone()))
                        .await
                        .unwrap();
                    match reply.status {
                        200 => acknowledged.push(path),
                        503 => {
                            refused += 1;
                            assert_eq!(reply.field("Retry-After"), Some("1"));
                            assert!(
                                asked.elapsed() < Duration::from_secs(4),
                                "503 comes within the timeout"
                            );
                            assert!(!reply.text().contains("postgres"), "{}", reply.text());
                        }
                        status => panic!("{status}: {}", reply.text()),
                    }
                    n += 1;
                }
                (acknowledged, refused)
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        if let Some(pid) = postmaster(folder.path()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for writer in writers {
        let (paths, count) = writer.await.unwrap();
        acknowledged.extend(paths);
        refused += count;
    }
    assert!(
        acknowledged.len() > 100,
        "{} were acknowledged, {refused} refused",
        acknowledged.len()
    );
    let mut client = Kept::connect(server.address).await.unwrap();
    let ready = client.send(&Request::new("GET", "/ready")).await.unwrap();
    assert_eq!(ready.status, 200, "it has recovered by itself");
    for path in &acknowledged {
        let reply = client.send(&Request::new("GET", path)).await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, path.as_str()));
    }
    // Writes go on.
    server.put("/kv/b/after", "v").await.expect(200);
    drop(server);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_every_answer_is_503_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(folder.path()))
        .await
        .unwrap();
    let mut settings = settings_for(&cluster.dsn());
    settings.timeout = Duration::from_secs(1);
    let server = Server::start(settings).await;
    server.put("/kv/b/k", "v").await.expect(200);
    server.get("/ready").await.expect(200);
    cluster.stop().await;
    let started = Instant::now();
    let json = |method: &str, path: &str| {
        Request::new(method, path)
            .field("Content-Type", "application/json")
            .body("[{\"key\":\"k\",\"data\":\"d\"}]")
    };
    let merge = Request::new("PATCH", "/kv/b/k")
        .field("Content-Type", "application/merge-patch+json")
        .body("{}");
    for request in [
        Request::new("GET", "/kv/b/k"),
        Request::new("PUT", "/kv/b/k").body("v"),
        Request::new("PUT", "/kv/b/k")
            .field("If-Match", "*")
            .body("v"),
        Request::new("DELETE", "/kv/b/k"),
        merge,
        json("PUT", "/multi/b"),
        Request::new("GET", "/kv/b"),
        Request::new("GET", "/kv"),
        Request::new("GET", "/ready"),
    ] {
        let asked = Instant::now();
        let reply = server.send(request.clone()).await;
        assert_eq!(reply.status, 503, "{request:?} {}", reply.text());
        assert_eq!(reply.field("Retry-After"), Some("1"));
        assert!(
            asked.elapsed() < Duration::from_millis(2_500),
            "{request:?}: {:?}",
            asked.elapsed()
        );
    }
    server.get("/status").await.expect(200);
    server.get("/help").await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_wrong_address_is_seen_at_the_start() {
    for (dsn, expected) in [
        ("nonsense", "data source name"),
        ("host=h port=x", "invalid value for option `port`"),
        (
            "host=h sslrootcert=x",
            "the option sslrootcert is not supported",
        ),
        ("host=h secret=x", "an option that nobody knows"),
        ("host=/nonexistent user=x dbname=y", "cannot connect"),
        ("host=127.0.0.1 port=1 user=x dbname=y", "cannot connect"),
    ] {
        let error = origin::Origin::open(settings_for(dsn))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{dsn}: {error}");
    }
}

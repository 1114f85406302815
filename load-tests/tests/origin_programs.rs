//! `lacquer-origin` as an operator meets it: its commands, its flags and variables, its private cluster, and what it
//! tells caches.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::{Duration, Instant};

use load_tests::backend::Backend;
use load_tests::client::{self, Request};
use load_tests::front::Front;
use load_tests::origin::Origin;
use load_tests::place::free_address;
use load_tests::postgres::{TestDatabase, server_pid};
use load_tests::process::{Process, run};
use nix::sys::signal::Signal;
use tokio::time::sleep;

async fn put(origin: &Origin, target: &str, body: &str) {
    let answer = client::ask(origin.address, &Request::put(target, body))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
}

async fn status(origin: &Origin, target: &str) -> u16 {
    client::get(origin.address, target).await.unwrap().status()
}

#[tokio::test]
async fn buckets_are_made_listed_emptied_and_dropped() {
    let origin = Origin::start_with(|settings| {
        settings.set("origin.auto_create_buckets", "false");
    })
    .await;
    let config = origin.config.display().to_string();
    let bucket = async |args: &[&str]| {
        run(
            "lacquer-origin",
            &[&["--config", &config, "bucket"], args].concat(),
            origin.folder(),
            &[],
        )
        .await
    };
    assert_eq!(status(&origin, "/kv/cities").await, 404);
    let made = bucket(&["create", "cities"]).await;
    assert!(made.status.success(), "{made:?}");
    let again = bucket(&["create", "cities"]).await;
    assert!(
        !again.status.success() && again.stderr.contains("cities"),
        "{again:?}"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while client::ask(origin.address, &Request::put("/kv/cities/zurich", "1"))
        .await
        .unwrap()
        .status()
        != 200
    {
        assert!(
            Instant::now() < deadline,
            "the running origin does not see the bucket"
        );
        sleep(Duration::from_millis(50)).await;
    }
    put(&origin, "/kv/cities/basel", "22").await;
    let listed = bucket(&["list"]).await;
    let line = listed
        .stdout
        .lines()
        .find(|line| line.contains("cities"))
        .expect("it is listed");
    assert!(
        line.contains('2') && line.contains('3'),
        "not 2 keys and 3 bytes: {line}"
    );
    let emptied = bucket(&["purge", "cities"]).await;
    assert!(emptied.status.success(), "{emptied:?}");
    assert_eq!(status(&origin, "/kv/cities/zurich").await, 404);
    put(&origin, "/kv/cities/bern", "1").await;
    let dropped = bucket(&["drop", "cities"]).await;
    assert!(dropped.status.success(), "{dropped:?}");
    assert_eq!(status(&origin, "/kv/cities/bern").await, 404);
    for wrong in [
        &["drop", "never"][..],
        &["purge", "never"],
        &["create", ""],
        &["make", "x"],
    ] {
        let told = bucket(wrong).await;
        assert!(
            !told.status.success() && !told.stderr.is_empty() && !told.stderr.contains("panicked"),
            "{wrong:?}: {told:?}"
        );
    }
}

#[tokio::test]
async fn values_of_a_bucket_survive_its_making() {
    let origin = Origin::start().await;
    for number in 0..50 {
        put(&origin, &format!("/kv/grown/{number}"), &number.to_string()).await;
    }
    put(&origin, "/kv/other/1", "o").await;
    let config = origin.config.display().to_string();
    let made = run(
        "lacquer-origin",
        &["--config", &config, "bucket", "create", "grown"],
        origin.folder(),
        &[],
    )
    .await;
    assert!(made.status.success(), "{made:?}");
    for number in 0..50 {
        let answer = client::get(origin.address, &format!("/kv/grown/{number}"))
            .await
            .unwrap();
        assert_eq!(answer.text(), number.to_string());
    }
    let dropped = run(
        "lacquer-origin",
        &["--config", &config, "bucket", "drop", "grown"],
        origin.folder(),
        &[],
    )
    .await;
    assert!(dropped.status.success(), "{dropped:?}");
    assert_eq!(status(&origin, "/kv/grown/1").await, 404);
    assert_eq!(status(&origin, "/kv/other/1").await, 200);
}

#[tokio::test]
async fn flags_and_variables_say_where_it_serves_and_from_what() {
    let database = TestDatabase::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let (ip, port) = (format!("{}:1", address.ip()), address.port().to_string());
    std::fs::write(
        folder.path().join("quiet.toml"),
        "[origin]\nmetrics_address = \"\"\n",
    )
    .unwrap();
    let common = ["--config", "quiet.toml", "--listen", &ip, "-p", &port];
    let wrong = ("DATABASE_URL", "host=/nowhere user=nobody dbname=none");
    let right = ("DATABASE_URL", database.dsn.as_str());
    type Run<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let runs: [Run<'_>; 2] = [(&["--dsn", &database.dsn], &[wrong]), (&[], &[right])];
    for (index, (more, variables)) in runs.into_iter().enumerate() {
        let args = [&common, more].concat();
        let mut process = Process::start_with(
            "lacquer-origin",
            &args,
            folder.path(),
            &format!("origin{index}"),
            variables,
        );
        process
            .wait_until("ready", Duration::from_secs(30), || async move {
                client::get(address, "/ready")
                    .await
                    .is_ok_and(|answer| answer.status() == 200)
            })
            .await;
        let answer = client::ask(address, &Request::put("/kv/b/k", index.to_string()))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(
            !folder.path().join("data").exists(),
            "it made a cluster that nobody needs"
        );
        process.signal(Signal::SIGTERM);
        let ended = process.ends_within(Duration::from_secs(15)).await;
        assert_eq!(
            ended.and_then(|status| status.code()),
            Some(0),
            "{}",
            process.log()
        );
    }
}

#[tokio::test]
async fn its_cluster_ends_with_it_and_is_there_at_the_next_start() {
    let mut origin = Origin::start_with_cluster().await;
    put(&origin, "/kv/b/k", "kept").await;
    let postgres = server_pid(origin.folder()).unwrap();
    // A second origin on the same folder says so, and disturbs nobody.
    let other = origin.folder().join("second.toml");
    let text = std::fs::read_to_string(&origin.config).unwrap();
    std::fs::write(
        &other,
        text.replace(&origin.address.to_string(), &free_address().to_string()),
    )
    .unwrap();
    let told = run(
        "lacquer-origin",
        &["--config".as_ref(), other.as_os_str()],
        origin.folder(),
        &[],
    )
    .await;
    let said = told.stderr.clone() + &told.stdout;
    assert!(
        !told.status.success() && said.contains(&origin.process.pid().to_string()),
        "{told:?}"
    );
    assert_eq!(status(&origin, "/kv/b/k").await, 200);
    // Commands about buckets work beside it.
    let config = origin.config.display().to_string();
    let listed = run(
        "lacquer-origin",
        &["--config", &config, "bucket", "list"],
        origin.folder(),
        &[],
    )
    .await;
    assert!(
        listed.status.success() && listed.stdout.contains('b'),
        "{listed:?}"
    );
    origin.process.signal(Signal::SIGTERM);
    let ended = origin.process.ends_within(Duration::from_secs(20)).await;
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "{}",
        origin.process.log()
    );
    assert!(
        !std::path::Path::new(&format!("/proc/{postgres}")).exists(),
        "PostgreSQL outlives its origin"
    );
    origin.restart().await;
    assert_eq!(
        client::get(origin.address, "/kv/b/k").await.unwrap().text(),
        "kept"
    );
    // Nobody from outside reaches PostgreSQL over TCP.
    let tcp = std::fs::read_to_string(format!(
        "/proc/{}/net/tcp",
        server_pid(origin.folder()).unwrap()
    ))
    .unwrap_or_default();
    assert!(!tcp.contains(":1538 "), "it listens on 5432");
}

#[tokio::test]
async fn caches_are_told_about_changes() {
    let cache = Backend::start(|mut exchange| async move {
        exchange.reply(200, &[], "").await?;
        Ok(exchange)
    })
    .await;
    // One of them does not answer, which costs only its own purges.
    let silent = Backend::start_at_heads(|exchange| async move {
        sleep(Duration::from_secs(30)).await;
        Ok(exchange)
    })
    .await;
    let origin = Origin::start_with(|settings| {
        settings.set(
            "origin.purge_hosts",
            &format!("[\"{}\", \"{}\"]", silent.address, cache.address),
        );
    })
    .await;
    let started = Instant::now();
    put(&origin, "/kv/b/a", "1").await;
    put(&origin, "/kv/b/a", "2").await;
    put(&origin, "/kv/b/%E8%AE%93%2F", "1").await;
    put(&origin, "/kv/b/%E8%AE%93%2F", "2").await;
    let refused = client::ask(
        origin.address,
        &Request::put("/kv/b/a", "3").field("If-Match", "\"0\""),
    )
    .await
    .unwrap();
    assert_eq!(refused.status(), 412);
    let deleted = client::ask(origin.address, &Request::new("DELETE", "/kv/b/a"))
        .await
        .unwrap();
    assert_eq!(deleted.status(), 200);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "answers wait for caches: {:?}",
        started.elapsed()
    );
    // An update and a delete of one key; an update of the other, its name encoded again.
    for target in ["/kv/b/a", "/kv/b/%E8%AE%93%2F"] {
        cache
            .wait_for_count(target, if target == "/kv/b/a" { 2 } else { 1 })
            .await;
    }
    sleep(Duration::from_millis(200)).await;
    assert!(
        cache.seen().iter().all(|seen| seen.head.method == "PURGE"),
        "{:?}",
        cache.seen()
    );
    assert!(cache.count("/kv/b/a") <= 3, "a refused write was told");
}

#[tokio::test]
async fn a_write_past_the_front_door_is_told_to_it() {
    // Where clients write to the origin directly, the front door learns of it by PURGE.
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let origin = Origin::start_with(|settings| {
        settings.set("origin.purge_hosts", &format!("[\"{address}\"]"));
    })
    .await;
    let (metrics, backend) = (free_address(), origin.address);
    let config = format!(
        "[metrics]\naddress = \"{metrics}\"\n[backend]\nservers = [\"{backend}\"]\n[[listen]]\naddress = \"{address}\"\n"
    );
    std::fs::write(folder.path().join("lacquer.toml"), config).unwrap();
    let mut front = Process::start(
        "lacquer",
        &["--config", "lacquer.toml"],
        folder.path(),
        "front",
    );
    front
        .wait_until("ready", Duration::from_secs(20), || async move {
            client::get(metrics, "/readyz").await.is_ok()
        })
        .await;
    // As a client that names the front door by its address does.
    let read = Request::get("/kv/b/k").field("Host", address.to_string());
    put(&origin, "/kv/b/k", "1").await;
    for hit in [false, true] {
        let answer = client::ask(address, &read).await.unwrap();
        assert_eq!((answer.text().as_str(), answer.is_hit()), ("1", hit));
    }
    put(&origin, "/kv/b/k", "2").await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while client::ask(address, &read).await.unwrap().text() != "2" {
        assert!(
            Instant::now() < deadline,
            "the front door keeps the old value"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sigterm_lets_the_origins_requests_finish() {
    let mut origin = Origin::start().await;
    let front = Front::start(origin.address).await;
    front.ask(&Request::put("/kv/b/k", "v")).await;
    let mut upload = client::Connection::open(origin.address).await.unwrap();
    upload
        .send_raw(b"PUT /kv/b/late HTTP/1.1\r\nHost: h.test\r\nContent-Length: 10\r\n\r\n12345")
        .await
        .unwrap();
    sleep(Duration::from_millis(200)).await;
    origin.process.signal(Signal::SIGTERM);
    sleep(Duration::from_millis(300)).await;
    upload.send_raw(b"67890").await.unwrap();
    assert_eq!(upload.receive("PUT").await.unwrap().status(), 200);
    let ended = origin.process.ends_within(Duration::from_secs(15)).await;
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "{}",
        origin.process.log()
    );
    origin.restart().await;
    assert_eq!(
        client::get(origin.address, "/kv/b/late")
            .await
            .unwrap()
            .text(),
        "1234567890"
    );
    // The front door finds the origin again by itself.
    assert_eq!(front.get("/kv/b/late").await.text(), "1234567890");
}

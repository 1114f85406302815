//! The program itself, as it is typed.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use origin::cluster::testing::program;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::support::{Request, database, send};

fn command() -> Command {
    let mut command = Command::new(program());
    for name in [
        "DATABASE_URL",
        "LACQUER_CONFIG",
        "VARNISH_PURGE_HOST",
        "VARNISH_PURGE_PORT",
        "LACQUER_LOG",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A settings file, in a folder of its own, under which many programs run at once.
fn without_metrics() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lacquer.toml");
    std::fs::write(&file, "[origin]\nmetrics_address = \"\"\n").unwrap();
    let config = file.to_str().unwrap().to_owned();
    (folder, config)
}

/// Runs to the end: the exit status, what went to standard output, what went to standard error.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = command()
        .args(arguments)
        .envs(variables.iter().copied())
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn buckets_are_made_listed_and_dropped_by_command() {
    let database = database().await;
    let dsn = database.dsn.as_str();
    for (arguments, status, expected) in [
        (
            &[
                "bucket",
                "create",
                "b",
                "--default-ttl",
                "30m",
                "--timestamps",
                "server",
            ][..],
            0,
            "created b\n",
        ),
        (
            &["bucket", "create", "b"],
            1,
            "there is a bucket of this name already",
        ),
        (&["bucket", "list"], 0, "b\t0 keys\t0 bytes\n"),
        (&["bucket", "purge", "b"], 0, "purged b\n"),
        (&["bucket", "drop", "b"], 0, "dropped b\n"),
        (
            &["bucket", "drop", "b"],
            1,
            "there is no bucket of this name",
        ),
        (&["bucket", "list"], 0, ""),
        (
            &["bucket", "create", "c", "--default-ttl", "soon"],
            2,
            "the units are s, m, h and d",
        ),
        (&["bucket", "create", ""], 1, "cannot be a bucket"),
        (&["bucket", "crate", "c"], 2, "create"),
        (&["--prot", "1"], 2, "--port"),
    ] {
        let (code, out, err) = run(arguments, &[("DATABASE_URL", dsn)]).await;
        assert_eq!(code, Some(status), "{arguments:?}: {out}{err}");
        assert!(
            if status == 0 {
                out == expected
            } else {
                err.contains(expected)
            },
            "{arguments:?}: {out}{err}"
        );
    }
    let (code, out, _) = run(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("lacquer-origin -p 8081 --dsn"), "{out}");
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_end() {
    let database = database().await;
    let (_folder, config) = without_metrics();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = command()
            .args(["--config", &config, "--dsn", &database.dsn])
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            if let Some((_, address)) = line.split_once("address=") {
                break address.trim().parse().unwrap();
            }
        };
        for _ in 0..100 {
            if super::support::try_send(address, Request::new("GET", "/ready").to_bytes())
                .await
                .is_some()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        send(address, Request::new("PUT", "/kv/b/k").body("v"))
            .await
            .expect(200);
        kill(Pid::from_raw(child.id().unwrap() as i32), signal).unwrap();
        let status = tokio::time::timeout(Duration::from_secs(20), child.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

/// Without a data source name a private cluster serves, and a command about buckets finds it while it runs.
#[tokio::test]
async fn a_private_cluster_serves_where_no_other_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lacquer.toml");
    let text = format!(
        "[origin]\nmetrics_address = \"\"\ndata_dir = \"{}\"\n",
        folder.path().join("data").display()
    );
    std::fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let mut child = command()
        .args(["--config", config, "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = tokio::time::timeout(Duration::from_secs(90), lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Some((_, address)) = line.split_once("address=") {
            break address.trim().parse().unwrap();
        }
    };
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    send(address, Request::new("PUT", "/kv/b/k").body("v"))
        .await
        .expect(200);
    let (code, out, err) = run(&["bucket", "create", "b", "--config", config], &[]).await;
    assert_eq!((code, out.as_str()), (Some(0), "created b\n"), "{err}");
    assert_eq!(
        send(address, Request::new("GET", "/kv/b/k"))
            .await
            .expect(200)
            .text(),
        "v"
    );
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    reading.abort();
    // The command starts PostgreSQL for itself, and the data are there.
    let (code, out, err) = run(&["bucket", "list", "--config", config], &[]).await;
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "b\t1 keys\t1 bytes\n"),
        "{err}"
    );
}

/// Another program migrates, or hangs while it does. That is no reason not to end.
#[tokio::test]
async fn it_ends_also_while_it_waits_for_a_migration() {
    let database = database().await;
    let (_folder, config) = without_metrics();
    let client = super::support::connect(&database.dsn).await;
    client
        .batch_execute("SELECT pg_advisory_lock(x'006c616371756572'::bigint)")
        .await
        .unwrap();
    let mut child = command()
        .args(["--config", &config, "--dsn", &database.dsn])
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(line.contains("address="), "{line}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said_without_the_password() {
    let database = database().await;
    let (_folder, config) = without_metrics();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(
        &[
            "--config",
            &config,
            "--dsn",
            &database.dsn,
            "--listen",
            &listen,
        ],
        &[],
    )
    .await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains(&format!(
            "cannot listen on {listen}: Address already in use"
        )),
        "{err}"
    );
    for dsn in [
        "postgresql://user:hunter2@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 user=u dbname=d password=hunter2",
        "postgresql://user:hunter2/db",
        "postgresql://user:hunter2@@127.0.0.1:1/db",
        "postgresql://user:hunter2=x@127.0.0.1:x/db",
        "mysql://user:hunter2=x@127.0.0.1/db",
        "user=u password hunter2=x",
        "user=u password=a hunter2=x",
        "hunter2",
    ] {
        for variables in [&[][..], &[("LACQUER_LOG", "trace")]] {
            let (code, out, err) = run(
                &["--config", &config, "--dsn", dsn, "--listen", "127.0.0.1:0"],
                variables,
            )
            .await;
            assert_eq!(code, Some(1), "{dsn}");
            assert!(
                !out.contains("hunter2") && !err.contains("hunter2"),
                "{dsn}: {err}"
            );
            assert!(
                err.contains("data source name") || err.contains("cannot connect"),
                "{dsn}: {err}"
            );
        }
    }
}

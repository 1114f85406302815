//! The server around the API: its pages, its errors, its metrics, its end, and the caches it tells.

use std::time::{Duration, Instant};

use origin::Drained;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Request, serve, serve_with, try_send};

#[tokio::test]
async fn pages_and_everything_else() {
    let (server, _database) = serve().await;
    for (method, path, status, allow) in [
        ("GET", "/status", 200, None),
        ("HEAD", "/status", 200, None),
        ("GET", "/help", 200, None),
        ("GET", "/ready", 200, None),
        ("GET", "/", 404, None),
        ("GET", "/nope", 404, None),
        ("PUT", "/nope/b/k", 404, None),
        ("GET", "/kv/", 404, None),
        ("GET", "/multi", 404, None),
        ("GET", "/multi/b", 405, Some("POST, PUT, DELETE")),
        (
            "PURGE",
            "/kv/b/k",
            405,
            Some("GET, HEAD, PUT, POST, DELETE, PATCH"),
        ),
        (
            "OPTIONS",
            "/kv/b/k",
            405,
            Some("GET, HEAD, PUT, POST, DELETE, PATCH"),
        ),
        ("POST", "/kv/b", 405, Some("GET, HEAD")),
        ("DELETE", "/kv/b", 405, Some("GET, HEAD")),
        ("PUT", "/kv", 405, Some("GET, HEAD")),
        ("POST", "/status", 405, Some("GET, HEAD")),
    ] {
        let reply = server.send(Request::new(method, path)).await.expect(status);
        assert_eq!(reply.field("Allow"), allow, "{method} {path}");
        if status != 200 {
            assert!(
                reply.text().contains("/kv/{bucket}/{key}"),
                "{method} {path}: {}",
                reply.text()
            );
        }
    }
    assert_eq!(server.get("/status").await.text(), "ok");
    assert_eq!(
        server.get("/help").await.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}

#[tokio::test]
async fn errors_are_problem_details_or_text() {
    let (server, _database) = serve().await;
    for (accept, content_type) in [
        (None, "application/problem+json"),
        (Some("*/*"), "application/problem+json"),
        (Some("application/json"), "application/problem+json"),
        (Some("text/plain"), "text/plain; charset=utf-8"),
        (Some("text/html,*/*;q=0.8"), "text/plain; charset=utf-8"),
    ] {
        let mut request = Request::new("GET", "/kv/b/none");
        if let Some(accept) = accept {
            request = request.field("Accept", accept);
        }
        let reply = server.send(request).await.expect(404);
        assert_eq!(
            reply.field("Content-Type"),
            Some(content_type),
            "{accept:?}"
        );
        assert_eq!(reply.field("Cache-Control"), Some("no-store"));
        if content_type.contains("json") {
            let problem = reply.json();
            assert_eq!(
                (problem["status"].as_u64(), problem["title"].as_str()),
                (Some(404), Some("Not Found"))
            );
            assert!(problem["type"].is_string() && problem["detail"].is_string());
        } else {
            assert_eq!(reply.text(), "There is no such key.");
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_database_says_nothing_of_it() {
    let (server, database) = serve().await;
    let client = super::support::connect(&database.dsn).await;
    client
        .batch_execute("ALTER TABLE entries ADD CONSTRAINT forbidden CHECK (data <> 'forbidden')")
        .await
        .unwrap();
    let reply = server.put("/kv/b/k", "forbidden").await.expect(500);
    for secret in ["entries", "forbidden", "SQL", "constraint", "src/"] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    server.put("/kv/b/k", "allowed").await.expect(200);
}

/// One write that PostgreSQL refuses shares its statement with others, and they do not suffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_write_does_not_fail_its_neighbours() {
    let (server, database) = serve_with(|settings| settings.postgres.write_connections = 1).await;
    let client = super::support::connect(&database.dsn).await;
    client
        .batch_execute("ALTER TABLE entries ADD CONSTRAINT forbidden CHECK (data <> 'forbidden')")
        .await
        .unwrap();
    let sending: Vec<_> = (0..120)
        .map(|n| {
            let address = server.address;
            let body = if n % 10 == 3 { "forbidden" } else { "allowed" };
            let mut request = Request::new("PUT", &format!("/kv/b/{}", n % 40)).body(body);
            if n % 4 == 0 {
                request = request.field("If-None-Match", "\"0\"");
            }
            tokio::spawn(async move { (body, super::support::send(address, request).await.status) })
        })
        .collect();
    for sent in sending {
        let (body, status) = sent.await.unwrap();
        assert_eq!(status, if body == "forbidden" { 500 } else { 200 });
    }
}

#[tokio::test]
async fn metrics_have_the_names_that_are_written_down() {
    let (server, _database) = serve().await;
    server.put("/kv/b/k", "v").await.expect(200);
    server.get("/kv/b/k").await.expect(200);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = server.origin.clone();
    let serving = tokio::spawn(async move { origin.serve_metrics(listener).await });
    let reply = super::support::send(address, Request::new("GET", "/metrics"))
        .await
        .expect(200);
    assert_eq!(
        reply.field("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    super::support::send(address, Request::new("GET", "/kv/b/k"))
        .await
        .expect(404);
    serving.abort();
    let mut names: Vec<String> = reply
        .text()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
        .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned()))
        .collect();
    names.sort();
    let expected: Vec<&str> = include_str!("metrics.txt").lines().collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_running_request_is_answered_before_the_end() {
    let (mut server, _database) = serve().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab")
        .await
        .unwrap();
    // An idle connection must not hold up the end.
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /status HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.begin_to_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "nobody is accepted any more"
    );
    stream.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop((stream, idle));
    assert_eq!(server.stop().await, Drained::Completely);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut() {
    let (server, _database) =
        serve_with(|settings| settings.drain_timeout = Duration::from_millis(300)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    assert_eq!(server.stop().await, Drained::Cut);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn heads_are_bounded() {
    let (server, _database) = serve().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(100_000));
    let reply = try_send(server.address, long.into_bytes()).await;
    assert!(reply.is_none_or(|reply| [414, 431].contains(&reply.status)));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
        "a: b\r\n".repeat(1_000)
    );
    assert_eq!(
        try_send(server.address, many.into_bytes())
            .await
            .unwrap()
            .status,
        431
    );
    server.get("/status").await.expect(200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let (server, _database) =
        serve_with(|settings| settings.client_timeout = Duration::from_millis(400)).await;
    server
        .put("/kv/b/k", vec![b'x'; 32 << 20])
        .await
        .expect(200);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /kv/b/k HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken).await;
    assert!(
        taken.len() < 32 << 20,
        "{} bytes were sent to a client that read none",
        taken.len()
    );
}

/// A cache that notes what it is told.
async fn cache(answer: &'static str) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, tellings) = tokio::sync::mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n")
                    && stream
                        .read_buf(&mut head)
                        .await
                        .is_ok_and(|count| count > 0)
                {}
                let _ = told.send(String::from_utf8(head).unwrap()).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, tellings)
}

#[tokio::test]
async fn caches_are_told_of_updates_and_deletes() {
    let (address, mut tellings) = cache("HTTP/1.1 200 Purged\r\nContent-Length: 0\r\n\r\n").await;
    let host = address.clone();
    let (server, _database) = serve_with(|settings| settings.purge_hosts = vec![host]).await;
    let mut told = async |count: usize| {
        let mut paths = Vec::new();
        for _ in 0..count {
            let head = tokio::time::timeout(Duration::from_secs(5), tellings.recv())
                .await
                .unwrap()
                .unwrap();
            assert!(head.contains(&format!("\r\nHost: {address}\r\n")), "{head}");
            paths.push(
                head.strip_prefix("PURGE ")
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap()
                    .to_owned(),
            );
        }
        paths.sort();
        let more = tokio::time::timeout(Duration::from_millis(150), tellings.recv()).await;
        assert!(more.is_err(), "{more:?}");
        paths
    };
    server.put("/kv/b/k", "new").await.expect(200);
    assert_eq!(told(0).await, Vec::<String>::new());
    server.put("/kv/b/k", "changed").await.expect(200);
    assert_eq!(told(1).await, ["/kv/b/k"]);
    server
        .send(
            Request::new("PUT", "/kv/b/k")
                .field("If-Match", "\"0\"")
                .body("x"),
        )
        .await
        .expect(412);
    assert_eq!(told(0).await, Vec::<String>::new());
    server.delete("/kv/b/%6b").await.expect(200);
    assert_eq!(told(2).await, ["/kv/b/%6b", "/kv/b/k"]);
    server.put("/kv/b/a/b", "new").await.expect(200);
    server.put("/kv/b/a/b", "changed").await.expect(200);
    assert_eq!(told(2).await, ["/kv/b/a%2Fb", "/kv/b/a/b"]);
    server
        .json(
            "PUT",
            "/multi/b",
            "[{\"key\":\"a/b\",\"data\":\"1\"},{\"key\":\"n\",\"data\":\"1\"}]",
        )
        .await
        .expect(200);
    assert_eq!(told(2).await, ["/kv/b/a%2Fb", "/kv/b/a/b"]);
    server
        .json("DELETE", "/multi/b", "[\"n\",\"none\"]")
        .await
        .expect(200);
    assert_eq!(told(1).await, ["/kv/b/n"]);
}

#[tokio::test]
async fn a_cache_that_does_not_answer_holds_nothing_up() {
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hosts = vec![
        silent.local_addr().unwrap().to_string(),
        "127.0.0.1:1".to_owned(),
    ];
    let (server, _database) = serve_with(|settings| {
        settings.purge_hosts = hosts;
        settings.purge_timeout = Duration::from_millis(300);
    })
    .await;
    let started = Instant::now();
    for _ in 0..10 {
        server.put("/kv/b/k", "v").await.expect(200);
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let (listener_address, origin) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = server.origin.clone();
        (
            address,
            tokio::spawn(async move { origin.serve_metrics(listener).await }),
        )
    };
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reply = super::support::send(listener_address, Request::new("GET", "/metrics")).await;
        if reply
            .text()
            .contains("lacquer_origin_purge_total{result=\"failed\"} 18")
        {
            origin.abort();
            return;
        }
    }
    panic!("the failures are not counted");
}

/// Another program holds the row: a write waits for it, and longer than the client does.
#[tokio::test]
async fn caches_are_told_also_when_the_client_has_left() {
    let (address, mut tellings) = cache("HTTP/1.1 200 Purged\r\n\r\n").await;
    let (server, database) = serve_with(|settings| settings.purge_hosts = vec![address]).await;
    for (request, path) in [
        (Request::new("PUT", "/kv/b/1").body("changed"), "/kv/b/1"),
        (Request::new("DELETE", "/kv/b/2"), "/kv/b/2"),
        (
            Request::new("PUT", "/multi/b")
                .field("Content-Type", "application/json")
                .body("[{\"key\":\"3\",\"data\":\"changed\"}]"),
            "/kv/b/3",
        ),
    ] {
        server.put(path, "v").await.expect(200);
        let client = super::support::connect(&database.dsn).await;
        client
            .batch_execute("BEGIN; SELECT 1 FROM entries FOR UPDATE")
            .await
            .unwrap();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&request.to_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(5), tellings.recv()).await;
        assert!(
            told.unwrap()
                .unwrap()
                .starts_with(&format!("PURGE {path} "))
        );
    }
}

/// PostgreSQL ends what takes too long, so the answer is a sure one.
#[tokio::test]
async fn a_write_that_waits_too_long_changes_nothing() {
    let (server, database) = serve_with(|settings| settings.timeout = Duration::from_secs(1)).await;
    server.put("/kv/b/k", "old").await.expect(200);
    let client = super::support::connect(&database.dsn).await;
    client
        .batch_execute("BEGIN; SELECT 1 FROM entries FOR UPDATE")
        .await
        .unwrap();
    let batch = Request::new("PUT", "/multi/b").field("Content-Type", "application/json");
    for request in [
        Request::new("PUT", "/kv/b/k").body("new"),
        Request::new("PUT", "/kv/b/k")
            .field("If-Match", "*")
            .body("new"),
        Request::new("DELETE", "/kv/b/k"),
        batch.body("[{\"key\":\"k\",\"data\":\"new\"}]"),
    ] {
        let asked = Instant::now();
        let reply = server.send(request).await.expect(503);
        assert_eq!(reply.field("Retry-After"), Some("1"));
        assert!(asked.elapsed() < Duration::from_millis(2_500));
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.get("/kv/b/k").await.expect(200).text(), "old");
    server.put("/kv/b/k", "new").await.expect(200);
}

/// Requests whose clients have left keep no connection to PostgreSQL busy.
#[tokio::test]
async fn what_nobody_waits_for_holds_nobody_up() {
    let (server, database) = serve_with(|settings| settings.timeout = Duration::from_secs(6)).await;
    server.put("/kv/b/k", "v").await.expect(200);
    let client = super::support::connect(&database.dsn).await;
    client
        .batch_execute(
            "CREATE POLICY slow ON entries USING ((SELECT true FROM pg_sleep(30)));
             ALTER TABLE entries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        .await
        .unwrap();
    let mut abandoned = Vec::new();
    for path in ["/kv/b", "/kv", "/kv/b", "/kv", "/kv/b", "/kv"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(&Request::new("GET", path).to_bytes())
            .await
            .unwrap();
        abandoned.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(abandoned);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let asked = Instant::now();
    server.get("/ready").await.expect(200);
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    let sleeping = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let row = client.query_one(sleeping, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "PostgreSQL was told to stop");
    client
        .batch_execute("ALTER TABLE entries DISABLE ROW LEVEL SECURITY")
        .await
        .unwrap();
    server.get("/kv/b").await.expect(200);
}

/// What was acknowledged before the end is told to the caches before the end.
#[tokio::test]
async fn purges_that_wait_are_sent_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (server, _database) = serve_with(|settings| settings.purge_hosts = vec![host]).await;
    for round in 0..2 {
        for key in 0..20 {
            let path = format!("/kv/b/{key}");
            server.put(&path, format!("{round}")).await.expect(200);
        }
    }
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..20 {
        let accepted = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
        let (mut stream, _) = accepted.expect("the purge is sent").unwrap();
        let mut head = [0; 6];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"PURGE ");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    }
    assert_eq!(stopping.await.unwrap(), Drained::Completely);
}

/// Tables that are gone and rights that are missing are faults, and told apart from PostgreSQL
/// that is away. Nothing of them reaches a client.
#[tokio::test]
async fn a_broken_database_says_nothing_of_itself() {
    for breaking in [
        "DROP TABLE entries CASCADE",
        "DROP FUNCTION key_tail_digest CASCADE",
        "DROP SCHEMA lacquer CASCADE",
        "ALTER TABLE entries RENAME COLUMN data TO bytes",
        "CREATE ROLE nobody_{database}; ALTER TABLE entries OWNER TO nobody_{database}",
    ] {
        let (server, database) =
            serve_with(|settings| settings.timeout = Duration::from_secs(2)).await;
        server.put("/kv/b/k", "{}").await.expect(200);
        let admin = database
            .admin_dsn
            .replace("dbname=postgres", &format!("dbname={}", database.name));
        let client = super::support::connect(&admin).await;
        client
            .batch_execute(&breaking.replace("{database}", &database.name))
            .await
            .unwrap();
        let merge =
            Request::new("PATCH", "/kv/b/k").field("Content-Type", "application/merge-patch+json");
        let json = |method, body: &str| {
            Request::new(method, "/multi/b")
                .field("Content-Type", "application/json")
                .body(body)
        };
        for request in [
            Request::new("GET", "/kv/b/k"),
            Request::new("PUT", "/kv/b/k").body("v"),
            Request::new("PUT", "/kv/b/k")
                .field("If-Match", "*")
                .body("v"),
            Request::new("DELETE", "/kv/b/k"),
            merge.body("{}"),
            json("POST", "[{\"key\":\"k\"}]"),
            json("PUT", "[{\"key\":\"k\",\"data\":\"d\"}]"),
            json("DELETE", "[\"k\"]"),
            Request::new("GET", "/kv/b"),
            Request::new("GET", "/kv"),
        ] {
            let reply = server.send(request.clone()).await;
            let is_whole = breaking.contains("DROP") && !breaking.contains("FUNCTION");
            assert!(
                reply.status == 500 || (!is_whole && [200, 404].contains(&reply.status)),
                "{breaking}: {request:?}: {} {}",
                reply.status,
                reply.text()
            );
            for secret in [
                "entries",
                "lacquer.",
                "SQL",
                "relation",
                "column",
                "permission",
                "src/",
                "postgres",
            ] {
                assert!(
                    !reply.text().contains(secret),
                    "{breaking}: {}",
                    reply.text()
                );
            }
        }
        server.get("/status").await.expect(200);
        drop(server);
        let _ = client
            .batch_execute(&format!(
                "DROP OWNED BY nobody_{0}; DROP ROLE nobody_{0}",
                database.name
            ))
            .await;
    }
}

/// As after a switch of the primary behind one address: a connection that may only read is replaced.
#[tokio::test]
async fn a_connection_that_may_only_read_is_replaced() {
    let (server, database) = serve_with(|settings| settings.timeout = Duration::from_secs(2)).await;
    server.put("/kv/b/k", "v").await.expect(200);
    let client = super::support::connect(&database.admin_dsn).await;
    let name = &database.name;
    let disconnect =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ))
        .await
        .unwrap();
    client.batch_execute(&disconnect).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let batch = "[{\"key\":\"k\",\"data\":\"d\"}]";
    let match_all = || {
        Request::new("PUT", "/kv/b/k")
            .field("If-Match", "*")
            .body("v")
    };
    for _ in 0..2 {
        server.put("/kv/b/k", "v").await.expect(503);
        server.send(match_all()).await.expect(503);
        server.json("PUT", "/multi/b", batch).await.expect(503);
        server.get("/kv/b/k").await.expect(200);
    }
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} RESET default_transaction_read_only"
        ))
        .await
        .unwrap();
    // The first may still meet an old connection.
    for _ in 0..2 {
        server.put("/kv/b/k", "v").await;
        server.json("PUT", "/multi/b", batch).await;
    }
    server.put("/kv/b/k", "v").await.expect(200);
    server.send(match_all()).await.expect(200);
    server.json("PUT", "/multi/b", batch).await.expect(200);
}

/// What a cache in front might read differently is refused, and nothing behind it is read.
#[tokio::test]
async fn messages_that_may_be_read_differently_are_refused() {
    let (server, _database) = serve().await;
    let body = "3\r\nabc\r\n0\r\n\r\nGET /status HTTP/1.1\r\nHost: t\r\n\r\n";
    for (version, fields, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: b\r\n", 400),
        ("1.1", "Host: a\r\nHost: a\r\n", 400),
        (
            "1.1",
            "Host: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
            400,
        ),
        (
            "1.1",
            "Host: t\r\nTransfer-Encoding: gzip, chunked\r\n",
            501,
        ),
        (
            "1.1",
            "Host: t\r\nTransfer-Encoding: chunked, chunked\r\n",
            501,
        ),
        (
            "1.1",
            "Host: t\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        ("1.1", "Host: t\r\nTransfer-Encoding: gzip\r\n", 400),
        ("1.0", "Transfer-Encoding: chunked\r\n", 400),
    ] {
        let message = format!("PUT /kv/b/k HTTP/{version}\r\n{fields}\r\n{body}");
        let reply = try_send(server.address, message.into_bytes())
            .await
            .unwrap();
        assert_eq!(reply.status, status, "{version} {fields:?}");
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains("HTTP/1.1"), "{fields:?}: {text}");
        assert_eq!(reply.field("Connection"), Some("close"), "{fields:?}");
    }
    server.get("/kv/b/k").await.expect(404);
    // The coding counts and the connection ends (RFC 9112 §6.3).
    for fields in [
        "Host: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Host: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        let message = format!("PUT /kv/b/k HTTP/1.1\r\n{fields}\r\n{body}");
        let reply = try_send(server.address, message.into_bytes())
            .await
            .unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(server.get("/kv/b/k").await.expect(200).text(), "abc");
    }
    for message in [
        "GET /status HTTP/1.0\r\n\r\n",
        "PUT /kv/b/k HTTP/1.1\r\nHost:\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    ] {
        let reply = try_send(server.address, message.as_bytes().to_vec()).await;
        assert_eq!(reply.map_or(0, |reply| reply.status), 200, "{message}");
    }
}

//! Many writers at one key, through one origin and through two.

use std::collections::HashMap;

use origin::kv::Timestamp;

use super::support::{Kept, Request, Sequence, Server, database, serve, settings_for};

const WRITERS: usize = 16;
const ROUNDS: usize = 12;

/// Sends one request from each writer at once, to the servers in turn; the replies' statuses.
async fn storm(servers: &[&Server], request: impl Fn(usize) -> Request) -> Vec<u16> {
    let sending: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (address, request) = (servers[writer % servers.len()].address, request(writer));
            tokio::spawn(async move { super::support::send(address, request).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for sent in sending {
        statuses.push(sent.await.unwrap());
    }
    statuses
}

#[track_caller]
fn one_wins(statuses: &[u16]) {
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 412).count(),
        WRITERS - 1,
        "{statuses:?}"
    );
}

async fn two_servers() -> (Server, Server, origin::cluster::testing::TestDatabase) {
    let database = database().await;
    let first = Server::start(settings_for(&database.dsn)).await;
    let second = Server::start(settings_for(&database.dsn)).await;
    (first, second, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_with_one_revision_exactly_one_wins() {
    let (first, second, _database) = two_servers().await;
    for servers in [&[&first][..], &[&first, &second][..]] {
        let mut etag = first.put("/kv/b/k", "start").await.expect(200).etag();
        for round in 0..ROUNDS {
            let request = |writer| {
                Request::new("PUT", "/kv/b/k")
                    .field("If-Match", &etag)
                    .body(format!("{round} {writer}"))
            };
            one_wins(&storm(servers, request).await);
            let next = first.get("/kv/b/k").await.expect(200).etag();
            assert_ne!(next, etag);
            etag = next;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_creators_exactly_one_wins() {
    let (first, second, _database) = two_servers().await;
    for round in 0..ROUNDS {
        let servers: &[&Server] = if round % 2 == 0 {
            &[&first]
        } else {
            &[&first, &second]
        };
        let path = format!("/kv/b/{round}");
        one_wins(
            &storm(servers, |_| {
                Request::new("PUT", &path)
                    .field("If-None-Match", "*")
                    .body("v")
            })
            .await,
        );
        let deleted = storm(servers, |_| Request::new("DELETE", &path)).await;
        assert_eq!(
            deleted.iter().filter(|status| **status == 200).count(),
            1,
            "{deleted:?}"
        );
        assert_eq!(
            deleted.iter().filter(|status| **status == 404).count(),
            WRITERS - 1,
            "{deleted:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_never_go_back() {
    let (first, second, _database) = two_servers().await;
    let date = |writer: usize| format!("Sun, 06 Nov 1994 08:49:{:02} GMT", 10 + writer);
    for _ in 0..ROUNDS {
        first.delete("/kv/b/k").await;
        let request = |writer| {
            Request::new("PUT", "/kv/b/k")
                .field("If-Unmodified-Since", &date(writer))
                .body(date(writer))
        };
        let statuses = storm(&[&first, &second], request).await;
        assert_eq!(
            statuses[WRITERS - 1],
            200,
            "the latest date is always accepted"
        );
        let reply = first.get("/kv/b/k").await.expect(200);
        let latest = date(WRITERS - 1);
        assert_eq!(
            (reply.field("Last-Modified"), reply.text()),
            (Some(latest.as_str()), latest.as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_lost() {
    let (first, second, _database) = two_servers().await;
    first.json("PUT", "/kv/b/k", "{\"n\":0}").await.expect(200);
    let rounds = 8;
    for _ in 0..rounds {
        let request = |_| {
            Request::new("PATCH", "/kv/b/k")
                .field("Content-Type", "application/vnd.lacquer.increment+json")
                .body("{\"n\":1}")
        };
        let statuses = storm(&[&first, &second], request).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert_eq!(first.get("/kv/b/k").await.json()["n"], rounds * WRITERS);
}

/// Writers of one key through one origin share transactions, and each still sees the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_a_hot_key_only_grow() {
    let (first, second, _database) = two_servers().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let address = [first.address, second.address][writer % 2];
            tokio::spawn(async move {
                let mut client = Kept::connect(address).await.unwrap();
                let mut revisions = Vec::new();
                for n in 0..20 {
                    let path = "/kv/b/hot";
                    let body = format!("{writer}-{n}");
                    let written = client
                        .send(&Request::new("PUT", path).body(body))
                        .await
                        .unwrap();
                    assert_eq!(written.status, 200);
                    let read = client.send(&Request::new("GET", path)).await.unwrap();
                    assert!(
                        read.revision() >= written.revision(),
                        "a read after the write is not older"
                    );
                    revisions.push(written.revision());
                }
                assert!(revisions.is_sorted(), "{revisions:?}");
                revisions
            })
        })
        .collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "no revision is drawn twice");
    assert_eq!(
        first.get("/kv/b/hot").await.revision(),
        *all.last().unwrap()
    );
}

/// A batch of two keys is seen whole or not at all, and two batches in opposite order do not lock each other out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_whole() {
    let (first, second, _database) = two_servers().await;
    let batch = |writer: usize| {
        let (one, two) = if writer.is_multiple_of(2) {
            ("a", "b")
        } else {
            ("b", "a")
        };
        let items = serde_json::json!([{"key": one, "data": writer.to_string()}, {"key": two, "data": writer.to_string()}]);
        Request::new("PUT", "/multi/b")
            .field("Content-Type", "application/json")
            .body(items.to_string())
    };
    for _ in 0..4 {
        let statuses = storm(&[&first, &second], batch).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        let read = first
            .json("POST", "/multi/b", "[{\"key\":\"a\"},{\"key\":\"b\"}]")
            .await
            .expect(200)
            .json();
        assert_eq!(read["a"], read["b"]);
    }
}

/// Random operations against a plain map.
#[tokio::test]
async fn the_store_behaves_like_a_map() {
    let (server, _database) = serve().await;
    let mut client = Kept::connect(server.address).await.unwrap();
    let mut random = Sequence(42);
    let mut model: HashMap<String, (String, String)> = HashMap::new();
    for step in 0..600 {
        let key = format!("k{}", random.below(6));
        let path = format!("/kv/b/{key}");
        let body = format!("{step}");
        let stale = random.below(3) == 0;
        let etag = match model.get(&key) {
            Some((_, etag)) if !stale => etag.clone(),
            _ => "\"1\"".to_owned(),
        };
        let holds = model.get(&key).is_some_and(|(_, current)| *current == etag);
        let (request, expected, writes) = match random.below(8) {
            0 | 1 => (Request::new("PUT", &path).body(body.clone()), 200, true),
            2 => {
                let status = if holds { 200 } else { 412 };
                (
                    Request::new("PUT", &path)
                        .field("If-Match", &etag)
                        .body(body.clone()),
                    status,
                    true,
                )
            }
            3 => {
                let status = if model.contains_key(&key) { 412 } else { 200 };
                (
                    Request::new("PUT", &path)
                        .field("If-None-Match", "*")
                        .body(body.clone()),
                    status,
                    true,
                )
            }
            4 => (
                Request::new("DELETE", &path),
                if model.contains_key(&key) { 200 } else { 404 },
                true,
            ),
            5 => {
                let status = if holds {
                    200
                } else if model.contains_key(&key) {
                    412
                } else {
                    404
                };
                (
                    Request::new("DELETE", &path).field("If-Match", &etag),
                    status,
                    true,
                )
            }
            6 => {
                let status = if holds {
                    304
                } else if model.contains_key(&key) {
                    200
                } else {
                    404
                };
                (
                    Request::new("GET", &path).field("If-None-Match", &etag),
                    status,
                    false,
                )
            }
            _ => (
                Request::new("GET", &path),
                if model.contains_key(&key) { 200 } else { 404 },
                false,
            ),
        };
        let is_delete = request.to_bytes().starts_with(b"DELETE");
        let reply = client.send(&request).await.unwrap();
        assert_eq!(reply.status, expected, "step {step}: {request:?}");
        if writes && expected == 200 {
            if is_delete {
                model.remove(&key);
            } else {
                model.insert(key, (body, reply.etag()));
            }
        } else if !writes && expected == 200 {
            let (value, etag) = &model[&key];
            assert_eq!(
                (reply.text(), reply.etag()),
                (value.as_str(), etag.clone()),
                "step {step}"
            );
        }
    }
}

/// A batch that began before another write and comes after it does not turn the date back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_dates_do_not_go_back() {
    let (server, database) = super::support::serve_with(|settings| {
        let bucket = origin::settings::BucketSettings {
            timestamps: Some(origin::kv::Timestamps::Server),
            ..Default::default()
        };
        settings.buckets.insert("b".to_owned(), bucket);
    })
    .await;
    for batch in [
        r#"[{"key":"first","data":"1"},{"key":"k","data":"1"}]"#,
        r#"[{"key":"first","data":"1"},{"key":"k","data":"1","modified_at":"Mon, 01 Jan 2035 00:00:00 GMT"},
            {"key":"first","data":"2","modified_at":"Mon, 01 Jan 2035 00:00:00 GMT"}]"#,
    ] {
        server.put("/kv/b/first", "v").await.expect(200);
        let client = super::support::connect(&database.dsn).await;
        client
            .batch_execute("BEGIN; SELECT 1 FROM entries WHERE key_head = 'first' FOR UPDATE")
            .await
            .unwrap();
        let address = server.address;
        let writing = tokio::spawn(super::support::send(
            address,
            Request::new("PUT", "/multi/b")
                .field("Content-Type", "application/json")
                .body(batch),
        ));
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let written = server.put("/kv/b/k", "2").await.expect(200);
        client.batch_execute("ROLLBACK").await.unwrap();
        writing.await.unwrap().expect(200);
        let read = server.get("/kv/b/k").await.expect(200);
        assert_eq!(read.text(), "1");
        assert!(read.revision() > written.revision());
        let date = |reply: &super::support::Reply| {
            Timestamp::parse_imf_fixdate(reply.field("Last-Modified").unwrap()).unwrap()
        };
        assert!(date(&read) >= date(&written), "{read:?} {written:?}");
    }
}

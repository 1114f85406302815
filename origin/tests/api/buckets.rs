//! Created buckets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use origin::kv::BucketName;
use origin::settings::BucketSettings;
use origin::store::{BucketAdmin, Connector, StoreError};

use super::support::{Kept, Request, connect, serve, serve_with, settings_for};

async fn admin(dsn: &str) -> BucketAdmin {
    let settings = settings_for(dsn);
    BucketAdmin::open(&Connector::new(&settings.postgres, settings.timeout).unwrap())
        .await
        .unwrap()
}

fn name(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

/// The tables that hold a bucket's rows.
async fn tables(dsn: &str, bucket: &str) -> Vec<String> {
    let sql = "SELECT DISTINCT tableoid::regclass::text AS name FROM entries WHERE bucket = $1 ORDER BY 1";
    let rows = connect(dsn).await.query(sql, &[&bucket]).await.unwrap();
    rows.iter().map(|row| row.get("name")).collect()
}

#[tokio::test]
async fn creating_a_bucket_takes_its_values_along() {
    let (server, database) = serve().await;
    let admin = admin(&database.dsn).await;
    // A name that would end a literal, and one that would end an identifier.
    for bucket in ["b", "it's \"odd\"; DROP TABLE entries --", "讓\\"] {
        let path = |key: u32| format!("/kv/{}/{key}", origin::kv::encode_segment(bucket));
        for key in 0..30 {
            server.put(&path(key), format!("{key}")).await.expect(200);
        }
        let etag = server.get(&path(7)).await.etag();
        assert!(
            tables(&database.dsn, bucket)
                .await
                .iter()
                .all(|table| table.starts_with("entries_default_"))
        );
        admin
            .create(&name(bucket), &BucketSettings::default())
            .await
            .unwrap();
        let moved = tables(&database.dsn, bucket).await;
        assert!(
            moved.len() == 1 && moved[0].starts_with("entries_bucket_"),
            "{moved:?}"
        );
        for key in 0..30 {
            assert_eq!(
                server.get(&path(key)).await.expect(200).text(),
                key.to_string()
            );
        }
        assert_eq!(server.get(&path(7)).await.etag(), etag);
        server
            .send(
                Request::new("PUT", &path(7))
                    .field("If-Match", &etag)
                    .body("new"),
            )
            .await
            .expect(200);
        server.put(&path(99), "added").await.expect(200);
        assert_eq!(tables(&database.dsn, bucket).await, moved);
        let again = admin
            .create(&name(bucket), &BucketSettings::default())
            .await;
        assert!(matches!(again, Err(StoreError::BucketExists)), "{again:?}");
    }
    assert_eq!(admin.list().await.unwrap().len(), 3);
}

#[tokio::test]
async fn dropped_and_purged_buckets_are_empty() {
    let (server, database) = serve().await;
    let admin = admin(&database.dsn).await;
    admin
        .create(&name("created"), &BucketSettings::default())
        .await
        .unwrap();
    for bucket in ["created", "shared"] {
        server
            .put(&format!("/kv/{bucket}/k"), "v")
            .await
            .expect(200);
        admin.purge(&name(bucket)).await.unwrap();
        server.get(&format!("/kv/{bucket}/k")).await.expect(404);
        server
            .put(&format!("/kv/{bucket}/k"), "v")
            .await
            .expect(200);
        server.put("/kv/other/k", "v").await.expect(200);
        admin.drop(&name(bucket)).await.unwrap();
        server.get(&format!("/kv/{bucket}/k")).await.expect(404);
        server.get("/kv/other/k").await.expect(200);
        let again = admin.drop(&name(bucket)).await;
        assert!(matches!(again, Err(StoreError::NoSuchBucket)), "{again:?}");
    }
    assert_eq!(admin.list().await.unwrap(), []);
    // It appears again by use.
    server.put("/kv/created/k", "v").await.expect(200);
    server.get("/kv/created/k").await.expect(200);
}

#[tokio::test]
async fn a_bucket_that_was_not_created_can_be_refused() {
    let (server, database) = serve_with(|settings| {
        settings.auto_create_buckets = false;
        settings
            .buckets
            .insert("configured".to_owned(), BucketSettings::default());
    })
    .await;
    let admin = admin(&database.dsn).await;
    for method in ["PUT", "POST"] {
        server
            .send(Request::new(method, "/kv/new/k").body("v"))
            .await
            .expect(404);
    }
    server
        .json("PUT", "/multi/new", "[{\"key\":\"k\",\"data\":\"d\"}]")
        .await
        .expect(404);
    server.get("/kv/new/k").await.expect(404);
    server.get("/kv/new").await.expect(404);
    server.put("/kv/configured/k", "v").await.expect(200);
    tokio::time::sleep(Duration::from_millis(150)).await;
    admin
        .create(&name("new"), &BucketSettings::default())
        .await
        .unwrap();
    server.put("/kv/new/k", "v").await.expect(200);
    assert_eq!(server.get("/kv").await.json()[0]["bucket"], "configured");
    admin.purge(&name("new")).await.unwrap();
    assert_eq!(server.get("/kv/new").await.expect(200).text(), "[]");
}

#[tokio::test]
async fn a_running_server_learns_what_a_bucket_was_created_with() {
    let (server, database) = serve().await;
    let settings = BucketSettings {
        default_ttl_seconds: Some(77),
        timestamps: Some(origin::kv::Timestamps::Server),
        cache_control: Some("max-age=5".to_owned()),
        ..BucketSettings::default()
    };
    admin(&database.dsn)
        .await
        .create(&name("b"), &settings)
        .await
        .unwrap();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let dated = Request::new("PUT", "/kv/b/k")
            .field("If-Unmodified-Since", "Mon, 01 Jan 2035 00:00:00 GMT");
        server.send(dated.body("v")).await;
        let reply = server.get("/kv/b/k").await.expect(200);
        if reply.field("Cache-Control") == Some("max-age=5") {
            // The write before this read may have been the last under the old settings.
            server.delete("/kv/b/k").await.expect(200);
            server.put("/kv/b/k", "v").await.expect(200);
            let reply = server.get("/kv/b/k").await.expect(200);
            let lifetime = reply.field("CDN-Cache-Control").unwrap();
            assert!(
                ["max-age=76, must-revalidate", "max-age=77, must-revalidate"].contains(&lifetime),
                "{lifetime}"
            );
            return;
        }
    }
    panic!("the settings are not learnt");
}

#[tokio::test]
async fn a_configured_bucket_gets_its_partition_at_the_start() {
    let configure = |settings: &mut origin::Settings| {
        let bucket = BucketSettings {
            partition: true,
            ..BucketSettings::default()
        };
        settings.buckets.insert("own".to_owned(), bucket);
    };
    let (server, database) = serve_with(configure).await;
    server.put("/kv/own/k", "v").await.expect(200);
    assert!(tables(&database.dsn, "own").await[0].starts_with("entries_bucket_"));
    // The second start finds it.
    let mut settings = settings_for(&database.dsn);
    configure(&mut settings);
    let second = super::support::Server::start(settings).await;
    assert_eq!(second.get("/kv/own/k").await.expect(200).text(), "v");
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_while_its_bucket_moves() {
    let (server, database) = serve().await;
    let admin = admin(&database.dsn).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (address, done) = (server.address, done.clone());
            tokio::spawn(async move {
                let mut client = Kept::connect(address).await.unwrap();
                let mut written = 0;
                while !done.load(Ordering::Relaxed) {
                    let path = format!("/kv/b/{writer}-{written}");
                    let reply = client
                        .send(&Request::new("PUT", &path).body("v"))
                        .await
                        .unwrap();
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let read = client.send(&Request::new("GET", &path)).await.unwrap();
                    assert_eq!(read.status, 200, "{path} after its write was answered");
                    written += 1;
                }
                written
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    admin
        .create(&name("b"), &BucketSettings::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let keys = server.get("/kv").await.json()[0]["keys"].as_i64().unwrap();
    assert_eq!(keys, i64::from(written));
    assert_eq!(tables(&database.dsn, "b").await.len(), 1);
}

/// Emptying a bucket waits for who writes to it, more than once.
#[tokio::test]
async fn a_shared_bucket_is_emptied_in_spite_of_its_writers() {
    let (server, database) = serve().await;
    let admin = admin(&database.dsn).await;
    for action in ["purge", "drop"] {
        server.put("/kv/b/k", "v").await.expect(200);
        let client = connect(&database.dsn).await;
        client
            .batch_execute("BEGIN; SELECT 1 FROM entries FOR UPDATE")
            .await
            .unwrap();
        let releasing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            client.batch_execute("ROLLBACK").await.unwrap();
        });
        match action {
            "purge" => admin.purge(&name("b")).await.unwrap(),
            _ => admin.drop(&name("b")).await.unwrap(),
        }
        releasing.await.unwrap();
        server.get("/kv/b/k").await.expect(404);
    }
}

/// Both find the bucket there, and one drops it.
#[tokio::test]
async fn a_bucket_that_another_drops_meanwhile_is_no_longer_there() {
    let (server, database) = serve().await;
    let (first, second) = (admin(&database.dsn).await, admin(&database.dsn).await);
    first
        .create(&name("b"), &BucketSettings::default())
        .await
        .unwrap();
    server.put("/kv/b/k", "v").await.expect(200);
    let client = connect(&database.dsn).await;
    client
        .batch_execute("BEGIN; SELECT 1 FROM entries")
        .await
        .unwrap();
    let releasing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.batch_execute("ROLLBACK").await.unwrap();
    });
    let b = name("b");
    let (one, other) = tokio::join!(first.drop(&b), second.drop(&b));
    releasing.await.unwrap();
    let outcomes = [one, other];
    assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Err(StoreError::NoSuchBucket))),
        "{outcomes:?}"
    );
}

//! Values that expire.

use std::time::Duration;

use super::support::{Request, connect, serve_with};

fn brief(method: &str, seconds: &str) -> Request {
    Request::new(method, "/kv/b/k")
        .field("Lacquer-TTL", seconds)
        .body("brief")
}

/// Sleeps past one second of life.
async fn outlive() {
    tokio::time::sleep(Duration::from_millis(1_150)).await;
}

#[tokio::test]
async fn an_expired_value_is_gone_for_readers_and_writers() {
    // Nothing is swept: what is tested is that it seems gone while it is still on disk.
    let (server, database) =
        serve_with(|settings| settings.expiry_interval = Duration::from_secs(3_600)).await;
    let client = connect(&database.dsn).await;
    let rows = async || {
        client
            .query_one("SELECT count(*) FROM entries", &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };

    for method in ["PUT", "POST"] {
        server.send(brief(method, "1")).await.expect(200);
        assert_eq!(server.get("/kv/b/k").await.expect(200).text(), "brief");
    }
    let etag = server.get("/kv/b/k").await.etag();
    outlive().await;
    server.get("/kv/b/k").await.expect(404);
    server
        .send(Request::new("GET", "/kv/b/k").field("If-Match", "*"))
        .await
        .expect(412);
    server
        .send(Request::new("HEAD", "/kv/b/k"))
        .await
        .expect(404);
    server.delete("/kv/b/k").await.expect(404);
    server.get("/kv/b").await.expect(404);
    let merge = Request::new("PATCH", "/kv/b/k")
        .field("Content-Type", "application/merge-patch+json")
        .body("{}");
    server.send(merge).await.expect(404);
    for condition in ["*", etag.as_str()] {
        server
            .send(
                Request::new("PUT", "/kv/b/k")
                    .field("If-Match", condition)
                    .body("x"),
            )
            .await
            .expect(412);
    }
    let batch = server
        .json("POST", "/multi/b", "[{\"key\":\"k\"}]")
        .await
        .expect(200);
    assert_eq!(batch.text(), "{}");
    let deleted = server
        .json("DELETE", "/multi/b", "[\"k\"]")
        .await
        .expect(200);
    assert_eq!(deleted.text(), "{\"k\":\"missing\"}");
    assert_eq!(rows().await, 1);

    // A date before that of the expired value is no obstacle, and a creation is one.
    let old = Request::new("PUT", "/kv/b/k")
        .field("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")
        .body("old");
    let revision = server.send(old).await.expect(200).revision();
    assert!(format!("\"{revision}\"") != etag);
    assert_eq!(
        server.get("/kv/b/k").await.field("Last-Modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );

    server.send(brief("PUT", "1")).await.expect(200);
    outlive().await;
    server
        .send(
            Request::new("PUT", "/kv/b/k")
                .field("If-None-Match", "*")
                .body("new"),
        )
        .await
        .expect(200);
    let reply = server.get("/kv/b/k").await.expect(200);
    assert_eq!(reply.text(), "new");
    assert!(reply.revision() > revision);
    assert_ne!(
        reply.field("Last-Modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );

    server.send(brief("PUT", "1")).await.expect(200);
    outlive().await;
    let batch = server
        .json("PUT", "/multi/b", "[{\"key\":\"k\",\"data\":\"d\"}]")
        .await
        .expect(200);
    assert_eq!(batch.text(), "{\"k\":\"inserted\"}");
    // The write brought no lifetime, so the value has none.
    outlive().await;
    server.get("/kv/b/k").await.expect(200);
}

#[tokio::test]
async fn expired_values_leave_the_disk() {
    let (server, database) =
        serve_with(|settings| settings.expiry_interval = Duration::from_millis(200)).await;
    let client = connect(&database.dsn).await;
    server.put("/kv/b/stays", "x").await.expect(200);
    for n in 0..20 {
        let path = format!("/kv/b/{n}");
        server
            .send(
                Request::new("PUT", &path)
                    .field("Lacquer-TTL", "1")
                    .body("x"),
            )
            .await
            .expect(200);
    }
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let rows: i64 = client
            .query_one("SELECT count(*) FROM entries", &[])
            .await
            .unwrap()
            .get(0);
        if rows == 1 {
            server.get("/kv/b/stays").await.expect(200);
            return;
        }
    }
    panic!("expired values stay on disk");
}

#[tokio::test]
async fn caches_are_told_no_more_than_what_is_left() {
    let (server, _database) = serve_with(|_| {}).await;
    for (seconds, expected) in [
        ("100000", "max-age=14400, stale-while-revalidate=300"),
        ("14500", "max-age=14400, stale-while-revalidate="),
        ("60", "max-age="),
    ] {
        server.send(brief("PUT", seconds)).await.expect(200);
        let reply = server.get("/kv/b/k").await.expect(200);
        let field = reply.field("CDN-Cache-Control").unwrap();
        assert!(field.starts_with(expected), "{field}");
        let total: u64 = field
            .split(", ")
            .filter_map(|directive| directive.split_once('=')?.1.parse::<u64>().ok())
            .sum();
        assert!(
            total <= seconds.parse().unwrap()
                && total + 2 >= seconds.parse::<u64>().unwrap().min(14_700),
            "{field}"
        );
        assert_eq!(reply.field("Cache-Control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn a_lifetime_that_is_none_is_refused() {
    let (server, _database) = serve_with(|_| {}).await;
    for seconds in ["0", "-1", "1.5", "ten", "", "99999999999"] {
        server.send(brief("PUT", seconds)).await.expect(400);
    }
    server.get("/kv/b/k").await.expect(404);
}

#[tokio::test]
async fn a_bucket_may_have_a_lifetime_and_fields_of_its_own() {
    let (server, _database) = serve_with(|settings| {
        let bucket = origin::settings::BucketSettings {
            default_ttl_seconds: Some(1),
            cache_control: Some("public, max-age=9".to_owned()),
            cdn_cache_control: Some("max-age=99".to_owned()),
            ..Default::default()
        };
        settings.buckets.insert("b".to_owned(), bucket);
    })
    .await;
    server.put("/kv/b/k", "v").await.expect(200);
    server
        .send(
            Request::new("PUT", "/kv/b/long")
                .field("Lacquer-TTL", "1000")
                .body("{}"),
        )
        .await
        .expect(200);
    let long = server.get("/kv/b/long").await.expect(200);
    assert_eq!(long.field("Cache-Control"), Some("public, max-age=9"));
    assert_eq!(long.field("CDN-Cache-Control"), Some("max-age=99"));
    // A patch keeps the lifetime that the value has.
    let merge = Request::new("PATCH", "/kv/b/long")
        .field("Content-Type", "application/merge-patch+json")
        .body("{}");
    server.send(merge).await.expect(200);
    outlive().await;
    server.get("/kv/b/k").await.expect(404);
    server.get("/kv/b/long").await.expect(200);
}

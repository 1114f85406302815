//! Batches.

use serde_json::{Value, json};

use super::support::{Request, serve, serve_with};

const DATE: &str = "Fri, 18 Mar 1988 12:00:00 GMT";

#[tokio::test]
async fn a_batch_is_written_in_order_and_says_what_became_of_each() {
    let (server, _database) = serve().await;
    let later = "Fri, 18 Mar 1988 12:00:01 GMT";
    for (batch, expected) in [
        (json!([]), json!({})),
        (
            json!([{"key": "one", "data": "1"}, {"key": "two", "data": "讓我們", "modified_at": DATE}]),
            json!({"one": "inserted", "two": "inserted"}),
        ),
        (
            json!([{"key": "two", "data": "2b"}, {"key": "three", "data": ""}]),
            json!({"two": "updated", "three": "inserted"}),
        ),
        (
            json!([{"key": "two", "data": "2c", "modified_at": later}, {"key": "two", "data": "no", "modified_at": DATE}]),
            json!({"two": "rejected"}),
        ),
        (
            json!([{"key": "two", "data": "2d", "modified_at": later}]),
            json!({"two": "updated"}),
        ),
        (
            json!([{"key": "x", "data": "1"}, {"key": "x", "data": "2"}, {"key": "x", "data": "3"}]),
            json!({"x": "updated"}),
        ),
        (
            json!([{"key": "bytes", "data": {"base64": "/wA="}}]),
            json!({"bytes": "inserted"}),
        ),
        (
            json!([{"key": "old", "data": "d", "created_at": DATE}]),
            json!({"old": "inserted"}),
        ),
    ] {
        let reply = server
            .json("PUT", "/multi/b", &batch.to_string())
            .await
            .expect(200);
        assert_eq!(reply.json(), expected, "{batch}");
    }
    let two = server.get("/kv/b/two").await.expect(200);
    assert_eq!(
        (two.text(), two.field("Last-Modified")),
        ("2d", Some(later))
    );
    assert_eq!(two.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(server.get("/kv/b/x").await.text(), "3");
    assert_eq!(server.get("/kv/b/bytes").await.body, [0xff, 0]);
}

#[tokio::test]
async fn a_batch_is_read_as_an_object() {
    let (server, _database) = serve().await;
    let batch = json!([
        {"key": "a", "data": "1", "modified_at": DATE},
        {"key": "讓", "data": "我們"},
        {"key": "bytes", "data": {"base64": "/wA="}},
    ]);
    server
        .json("PUT", "/multi/b", &batch.to_string())
        .await
        .expect(200);
    for (batch, expected) in [
        (json!([]), json!({})),
        (
            json!([{"key": "a"}, {"key": "讓"}, {"key": "none"}]),
            json!({"a": "1", "讓": "我們"}),
        ),
        (
            json!([{"key": "a", "modified_at": DATE}]),
            json!({"a": "1"}),
        ),
        (
            json!([{"key": "a", "modified_at": "Fri, 18 Mar 1988 12:00:01 GMT"}]),
            json!({}),
        ),
        (
            json!([{"key": "a", "modified_at": "Fri, 18 Mar 1988 11:59:59 GMT"}]),
            json!({}),
        ),
        (
            json!([{"key": "a", "modified_at": null}]),
            json!({"a": "1"}),
        ),
        (json!([{"key": "a"}, {"key": "a"}]), json!({"a": "1"})),
        (
            json!([{"key": "bytes"}]),
            json!({"bytes": {"base64": "/wA="}}),
        ),
    ] {
        let reply = server
            .json("POST", "/multi/b", &batch.to_string())
            .await
            .expect(200);
        assert_eq!(reply.json(), expected, "{batch}");
        assert_eq!(reply.field("Content-Type"), Some("application/json"));
    }
    assert_eq!(
        server
            .json("POST", "/multi/none", "[{\"key\":\"a\"}]")
            .await
            .expect(200)
            .json(),
        json!({})
    );
}

#[tokio::test]
async fn a_batch_is_deleted() {
    let (server, _database) = serve().await;
    let batch: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|key| json!({"key": key, "data": "d", "modified_at": DATE}))
        .collect();
    server
        .json("PUT", "/multi/b", &json!(batch).to_string())
        .await
        .expect(200);
    let batch = json!([
        {"key": "a"}, "b", {"key": "none"},
        {"key": "c", "modified_at": "Fri, 18 Mar 1988 11:59:59 GMT"},
    ]);
    let reply = server
        .json("DELETE", "/multi/b", &batch.to_string())
        .await
        .expect(200);
    assert_eq!(
        reply.json(),
        json!({"a": "deleted", "b": "deleted", "none": "missing", "c": "rejected"})
    );
    assert_eq!(server.get("/kv/b").await.json(), json!(["c"]));
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let (server, _database) = serve_with(|settings| settings.value_bytes_max = 2_000_000).await;
    let many: Vec<Value> = (0..10_001)
        .map(|n| json!({"key": format!("k{n}"), "data": ""}))
        .collect();
    let keys: Vec<Value> = (0..10_001)
        .map(|n| json!({"key": format!("k{n}")}))
        .collect();
    let (many, keys, wide) = (
        json!(many).to_string(),
        json!(keys).to_string(),
        "x".repeat(2_000_001),
    );
    for (body, statuses) in [
        ("", [400, 400, 400]),
        ("{", [400, 400, 400]),
        ("{}", [400, 400, 400]),
        ("[1]", [400, 400, 400]),
        ("[{}]", [400, 400, 400]),
        ("[{\"key\":\"\",\"data\":\"\"}]", [400, 400, 400]),
        ("[{\"key\":1,\"data\":\"\"}]", [400, 400, 400]),
        ("[{\"key\":\"a\\u0000\",\"data\":\"\"}]", [400, 400, 400]),
        ("[{\"key\":\"a\",\"data\":1}]", [400, 400, 400]),
        (
            "[{\"key\":\"a\",\"data\":{\"base64\":\"?\"}}]",
            [400, 400, 400],
        ),
        (
            "[{\"key\":\"a\",\"data\":\"\",\"modifed_at\":\"\"}]",
            [400, 400, 400],
        ),
        (many.as_str(), [400, 413, 400]),
        (keys.as_str(), [400, 400, 400]),
        (wide.as_str(), [413, 413, 413]),
    ] {
        for (method, status) in ["POST", "PUT", "DELETE"].into_iter().zip(statuses) {
            let reply = server.json(method, "/multi/b", body).await;
            assert_eq!(
                reply.status,
                status,
                "{method} {}: {}",
                &body[..body.len().min(80)],
                reply.text()
            );
        }
    }
    for date in ["bogus", ""] {
        let item = json!([{"key": "a", "data": "", "modified_at": date}]).to_string();
        server.json("PUT", "/multi/b", &item).await.expect(400);
    }
    for method in ["POST", "PUT", "DELETE"] {
        server
            .send(Request::new(method, "/multi/b").body("[]"))
            .await
            .expect(415);
        server
            .send(
                Request::new(method, "/multi/b")
                    .field("Content-Type", "text/plain")
                    .body("[]"),
            )
            .await
            .expect(415);
        let with_charset = Request::new(method, "/multi/b")
            .field("Content-Type", "application/json; charset=utf-8");
        server.send(with_charset.body("[]")).await.expect(200);
    }
    server.get("/kv/b").await.expect(404);
}

#[tokio::test]
async fn a_batch_that_is_too_large_to_read_is_refused() {
    let (server, _database) = serve_with(|settings| settings.value_bytes_max = 100_000).await;
    for key in ["a", "b", "c"] {
        server
            .put(&format!("/kv/b/{key}"), vec![b'x'; 40_000])
            .await
            .expect(200);
    }
    server
        .json("POST", "/multi/b", "[{\"key\":\"a\"},{\"key\":\"b\"}]")
        .await
        .expect(200);
    server
        .json(
            "POST",
            "/multi/b",
            "[{\"key\":\"a\"},{\"key\":\"b\"},{\"key\":\"c\"}]",
        )
        .await
        .expect(400);
}

#[tokio::test]
async fn the_largest_batch_is_carried_out_in_time() {
    let (server, _database) = serve_with(|settings| {
        settings.timeout = std::time::Duration::from_secs(5);
        let bucket = origin::settings::BucketSettings {
            timestamps: Some(origin::kv::Timestamps::Server),
            ..Default::default()
        };
        settings.buckets.insert("server".to_owned(), bucket);
    })
    .await;
    let far = "Mon, 01 Jan 2035 00:00:00 GMT";
    let items: Vec<Value> = (0..10_000)
        .map(|n| json!({"key": format!("k{n}"), "data": "", "modified_at": far}))
        .collect();
    let keys: Vec<String> = (0..10_000).map(|n| format!("k{n}")).collect();
    for bucket in ["client", "server"] {
        let path = format!("/multi/{bucket}");
        for (method, body, expected) in [
            ("PUT", json!(items), "inserted"),
            ("DELETE", json!(keys), "deleted"),
        ] {
            let reply = server
                .json(method, &path, &body.to_string())
                .await
                .expect(200)
                .json();
            let results = reply.as_object().unwrap();
            assert_eq!(results.len(), 10_000);
            assert!(results.values().all(|result| result == expected));
        }
    }
}

/// What follows the last item that is allowed is not kept: it may be a thousand times as much.
#[tokio::test]
async fn items_beyond_the_limit_are_not_read() {
    let (server, _database) = serve().await;
    let items = "{\"key\":\"k\",\"data\":\"\"},".repeat(10_000);
    server
        .json("PUT", "/multi/b", &format!("[{items}1]"))
        .await
        .expect(413);
    server.get("/kv/b/k").await.expect(404);
}

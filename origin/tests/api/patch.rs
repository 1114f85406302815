//! PATCH of JSON values.

use super::support::{Request, serve, serve_with};

const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";
const INCREMENT: &str = "application/vnd.lacquer.increment+json";

#[tokio::test]
async fn each_format_has_its_answers() {
    let (server, _database) = serve_with(|settings| settings.value_bytes_max = 1_000).await;
    let long = format!("{{\"s\":\"{}\"}}", "x".repeat(990));
    for (stored, format, patch, status, expected) in [
        (
            Some("{\"a\":1}"),
            MERGE,
            "{\"b\":2}",
            200,
            "{\"a\":1,\"b\":2}",
        ),
        (Some("{\"a\":1}"), MERGE, "{\"a\":null}", 200, "{}"),
        (Some("[1]"), MERGE, "{\"a\":1}", 200, "{\"a\":1}"),
        (
            Some("{\"a\":\"讓\"}"),
            MERGE,
            "{\"b\":\"我\"}",
            200,
            "{\"a\":\"讓\",\"b\":\"我\"}",
        ),
        (
            Some("{\"a\":1}"),
            OPERATIONS,
            "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":2}]",
            200,
            "{\"a\":2}",
        ),
        (
            Some("{\"a\":1}"),
            OPERATIONS,
            "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]",
            409,
            "{\"a\":1}",
        ),
        (
            Some("{\"a\":1}"),
            OPERATIONS,
            "[{\"op\":\"remove\",\"path\":\"/b\"}]",
            409,
            "{\"a\":1}",
        ),
        (
            Some("{\"a\":1}"),
            INCREMENT,
            "{\"a\":2,\"b\":-1}",
            200,
            "{\"a\":3,\"b\":-1}",
        ),
        (
            Some("{\"a\":1,\"b\":2}"),
            INCREMENT,
            "{\"a\":null}",
            200,
            "{\"b\":2}",
        ),
        (
            Some("{\"a\":\"x\"}"),
            INCREMENT,
            "{\"a\":1}",
            409,
            "{\"a\":\"x\"}",
        ),
        (
            Some("{\"a\":18446744073709551615}"),
            INCREMENT,
            "{\"a\":1}",
            422,
            "{\"a\":18446744073709551615}",
        ),
        (Some("no json"), MERGE, "{}", 409, "no json"),
        (Some("{\"a\":1}"), MERGE, "{", 422, "{\"a\":1}"),
        (Some("{\"a\":1}"), OPERATIONS, "{}", 422, "{\"a\":1}"),
        (
            Some("{\"a\":1}"),
            INCREMENT,
            "{\"a\":\"1\"}",
            422,
            "{\"a\":1}",
        ),
        (Some("{\"a\":1}"), INCREMENT, "[]", 422, "{\"a\":1}"),
        (Some("{\"a\":1}"), MERGE, long.as_str(), 413, "{\"a\":1}"),
        (
            Some("{\"a\":1}"),
            "application/json",
            "{}",
            415,
            "{\"a\":1}",
        ),
        (Some("{\"a\":1}"), "", "{}", 415, "{\"a\":1}"),
        (None, MERGE, "{}", 404, ""),
        (None, INCREMENT, "{\"a\":1}", 404, ""),
        (None, "application/json", "{}", 415, ""),
    ] {
        server.delete("/kv/b/k").await;
        if let Some(stored) = stored {
            server.json("PUT", "/kv/b/k", stored).await.expect(200);
        }
        let mut request = Request::new("PATCH", "/kv/b/k").body(patch);
        if !format.is_empty() {
            request = request.field("Content-Type", format);
        }
        let reply = server.send(request).await;
        assert_eq!(reply.status, status, "{stored:?} {patch}: {}", reply.text());
        if status == 415 {
            assert!(reply.field("Accept-Patch").unwrap().contains(MERGE));
        }
        let after = server.get("/kv/b/k").await;
        if stored.is_some() {
            assert_eq!(after.text(), expected, "{patch}");
            assert_eq!(after.field("Content-Type"), Some("application/json"));
        }
        if status == 200 {
            assert_eq!((reply.text(), reply.etag()), (expected, after.etag()));
        }
    }
}

#[tokio::test]
async fn a_media_type_may_have_parameters_and_capitals() {
    let (server, _database) = serve().await;
    server.json("PUT", "/kv/b/k", "{}").await.expect(200);
    let request = Request::new("PATCH", "/kv/b/k").field(
        "Content-Type",
        "Application/Merge-Patch+JSON; charset=utf-8",
    );
    server.send(request.body("{\"a\":1}")).await.expect(200);
}

#[tokio::test]
async fn an_encoded_value_is_not_patched() {
    let (server, _database) = serve().await;
    server
        .send(
            Request::new("PUT", "/kv/b/k")
                .field("Content-Encoding", "gzip")
                .body("{}"),
        )
        .await
        .expect(200);
    server
        .send(
            Request::new("PATCH", "/kv/b/k")
                .field("Content-Type", MERGE)
                .body("{}"),
        )
        .await
        .expect(409);
}

#[tokio::test]
async fn large_values_are_patched_too() {
    let (server, _database) = serve().await;
    let text = "y".repeat(700_000);
    server
        .json(
            "PUT",
            "/kv/b/k",
            &format!("{{\"text\":\"{text}\",\"n\":1}}"),
        )
        .await
        .expect(200);
    server
        .send(
            Request::new("PATCH", "/kv/b/k")
                .field("Content-Type", INCREMENT)
                .body("{\"n\":1}"),
        )
        .await
        .expect(200);
    let patched = server.get("/kv/b/k").await.json();
    assert_eq!(
        (patched["n"].as_i64(), patched["text"].as_str()),
        (Some(2), Some(text.as_str()))
    );
}

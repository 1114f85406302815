//! Lists of keys and buckets.

use serde_json::json;

use super::support::{Request, Sequence, serve};

#[tokio::test]
async fn keys_are_listed_in_order_a_page_at_a_time() {
    let (server, _database) = serve().await;
    for key in ["b", "a", "a/1", "a/2", "Z", "讓", "é"] {
        server
            .put(&format!("/kv/b/{}", origin::kv::encode_segment(key)), "v")
            .await
            .expect(200);
    }
    server.put("/kv/other/a", "v").await.expect(200);
    for (query, expected, next) in [
        ("", json!(["Z", "a", "a/1", "a/2", "b", "é", "讓"]), None),
        (
            "?limit=2",
            json!(["Z", "a"]),
            Some("</kv/b?after=a&limit=2>; rel=\"next\""),
        ),
        (
            "?after=a&limit=2",
            json!(["a/1", "a/2"]),
            Some("</kv/b?after=a%2F2&limit=2>; rel=\"next\""),
        ),
        ("?after=b", json!(["é", "讓"]), None),
        ("?after=%E8%AE%93", json!([]), None),
        (
            "?after=0",
            json!(["Z", "a", "a/1", "a/2", "b", "é", "讓"]),
            None,
        ),
        ("?prefix=a", json!(["a", "a/1", "a/2"]), None),
        ("?prefix=a/", json!(["a/1", "a/2"]), None),
        (
            "?prefix=a&limit=1",
            json!(["a"]),
            Some("</kv/b?after=a&prefix=a&limit=1>; rel=\"next\""),
        ),
        ("?prefix=a&after=a/1", json!(["a/2"]), None),
        ("?prefix=a&after=b", json!([]), None),
        ("?prefix=%E8%AE%93", json!(["讓"]), None),
        ("?prefix=zz", json!([]), None),
        (
            "?unknown=1&limit=1",
            json!(["Z"]),
            Some("</kv/b?after=Z&limit=1>; rel=\"next\""),
        ),
    ] {
        let reply = server.get(&format!("/kv/b{query}")).await.expect(200);
        assert_eq!(
            (reply.json(), reply.field("Link")),
            (expected, next),
            "{query}"
        );
    }
    for query in ["?limit=0", "?limit=x", "?limit=1&limit=1", "?prefix=%FF"] {
        server.get(&format!("/kv/b{query}")).await.expect(400);
    }
    server.get("/kv/none").await.expect(404);
    server.get("/kv/%00").await.expect(400);
}

#[tokio::test]
async fn a_list_comes_in_the_form_that_is_asked_for() {
    let (server, _database) = serve().await;
    for key in ["a", "b"] {
        server.put(&format!("/kv/b/{key}"), "v").await.expect(200);
    }
    for (accept, content_type, body) in [
        ("*/*", "application/json", "[\"a\",\"b\"]"),
        ("application/json", "application/json", "[\"a\",\"b\"]"),
        ("text/plain", "text/plain; charset=utf-8", "a\nb\n"),
        ("text/*", "text/plain; charset=utf-8", "a\nb\n"),
        (
            "application/x-ndjson",
            "application/x-ndjson",
            "\"a\"\n\"b\"\n",
        ),
        (
            "text/plain;q=0.5, application/x-ndjson",
            "application/x-ndjson",
            "\"a\"\n\"b\"\n",
        ),
    ] {
        let reply = server
            .send(Request::new("GET", "/kv/b").field("Accept", accept))
            .await
            .expect(200);
        assert_eq!(
            (reply.field("Content-Type"), reply.text()),
            (Some(content_type), body),
            "{accept}"
        );
        assert_eq!(reply.field("Vary"), Some("Accept"));
        let head = server
            .send(Request::new("HEAD", "/kv/b").field("Accept", accept))
            .await
            .expect(200);
        assert_eq!(
            (head.field("Content-Length"), head.text()),
            (Some(body.len().to_string().as_str()), "")
        );
    }
    server
        .send(Request::new("GET", "/kv/b").field("Accept", "image/png"))
        .await
        .expect(406);
}

/// Keys longer than what the index keeps of them, alike in their beginnings.
#[tokio::test]
async fn long_keys_are_listed_in_the_order_of_their_bytes() {
    let (server, _database) = serve().await;
    let mut random = Sequence(7);
    let mut keys: Vec<String> = (0..60)
        .map(|_| {
            let stem = ["a", "讓", "🦀"][random.below(3) as usize];
            let middle = ["", "b", "🦀"][random.below(3) as usize];
            let end = char::from_u32(0x4e00 + random.below(5_000) as u32).unwrap();
            format!(
                "{}{middle}{end}",
                stem.repeat(382 + random.below(4) as usize)
            )
        })
        .collect();
    for key in &keys {
        server
            .put(&format!("/kv/b/{}", origin::kv::encode_segment(key)), "v")
            .await
            .expect(200);
    }
    keys.sort();
    keys.dedup();
    let mut listed = Vec::new();
    let mut path = "/kv/b?limit=7".to_owned();
    loop {
        let reply = server.get(&path).await.expect(200);
        listed.extend(serde_json::from_slice::<Vec<String>>(&reply.body).unwrap());
        match reply.field("Link") {
            Some(link) => path = link[1..link.find('>').unwrap()].to_owned(),
            None => break,
        }
    }
    assert_eq!(listed, keys);
    let prefix = "🦀".repeat(383);
    let expected: Vec<&String> = keys.iter().filter(|key| key.starts_with(&prefix)).collect();
    let reply = server
        .get(&format!(
            "/kv/b?prefix={}",
            origin::kv::encode_segment(&prefix)
        ))
        .await
        .expect(200);
    assert_eq!(reply.json(), json!(expected));
    assert!(!expected.is_empty());
}

#[tokio::test]
async fn buckets_are_listed_with_what_they_hold() {
    let (server, _database) = serve().await;
    assert_eq!(server.get("/kv").await.expect(200).json(), json!([]));
    server.put("/kv/b/1", "12345").await.expect(200);
    server.put("/kv/b/2", "123").await.expect(200);
    server.put("/kv/a/1", "").await.expect(200);
    server
        .send(
            Request::new("PUT", "/kv/brief/1")
                .field("Lacquer-TTL", "1")
                .body("gone"),
        )
        .await
        .expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let expected =
        json!([{"bucket": "a", "keys": 1, "bytes": 0}, {"bucket": "b", "keys": 2, "bytes": 8}]);
    assert_eq!(server.get("/kv").await.expect(200).json(), expected);
}

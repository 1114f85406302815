//! GET, HEAD, PUT, POST, DELETE of one value.

use origin::kv::{BucketName, EntryData, Key};

use super::support::{Request, serve, serve_with, try_send};

#[tokio::test]
async fn a_value_is_written_read_and_deleted() {
    let (server, _database) = serve().await;
    server.get("/kv/b/k").await.expect(404);
    for method in ["PUT", "POST"] {
        let written = server
            .send(
                Request::new(method, "/kv/b/k")
                    .field("Content-Type", "application/json")
                    .body("{\"n\":1}"),
            )
            .await
            .expect(200);
        assert_eq!(written.text(), "");
        let read = server.get("/kv/b/k").await.expect(200);
        assert_eq!(read.text(), "{\"n\":1}");
        for name in ["ETag", "Last-Modified"] {
            assert_eq!(read.field(name), written.field(name), "{method}");
        }
        for (name, value) in [
            ("Content-Type", "application/json"),
            ("Content-Length", "7"),
            ("Accept-Ranges", "bytes"),
            ("Vary", "If-Match"),
            ("Cache-Control", "no-cache"),
            (
                "CDN-Cache-Control",
                "max-age=14400, stale-while-revalidate=300",
            ),
            ("Surrogate-Key", "b"),
        ] {
            assert_eq!(read.field(name), Some(value));
        }
        assert_eq!(read.field("Content-Encoding"), None);
        let head = server
            .send(Request::new("HEAD", "/kv/b/k"))
            .await
            .expect(200);
        assert_eq!(head.body, b"");
        for name in [
            "ETag",
            "Last-Modified",
            "Content-Type",
            "Content-Length",
            "Accept-Ranges",
            "Vary",
            "CDN-Cache-Control",
        ] {
            assert_eq!(head.field(name), read.field(name), "{name}");
        }
    }
    let deleted = server.delete("/kv/b/k").await.expect(200);
    assert_eq!(deleted.text(), "");
    server.delete("/kv/b/k").await.expect(404);
    let missing = server.get("/kv/b/k").await.expect(404);
    assert_eq!(missing.field("Cache-Control"), Some("no-store"));
    let missing = server
        .send(Request::new("HEAD", "/kv/b/k"))
        .await
        .expect(404);
    assert_eq!(missing.body, b"");
}

#[tokio::test]
async fn revisions_only_grow() {
    let (server, _database) = serve().await;
    let mut last = 0;
    for round in 0..5 {
        for body in ["a", "a", "b"] {
            let revision = server.put("/kv/b/k", body).await.expect(200).revision();
            assert!(revision > last, "round {round}: {revision} after {last}");
            last = revision;
        }
        server.delete("/kv/b/k").await.expect(200);
    }
}

#[tokio::test]
async fn types_and_encodings_are_kept() {
    let (server, _database) = serve().await;
    for (content_type, expected) in [
        (None, "text/plain; charset=utf-8"),
        (
            Some("application/x-www-form-urlencoded"),
            "text/plain; charset=utf-8",
        ),
        (Some("application/text"), "application/text"),
        (Some("image/png"), "image/png"),
        (Some("text/html; charset=big5"), "text/html; charset=big5"),
    ] {
        let mut request = Request::new("PUT", "/kv/b/k").body("value");
        if let Some(content_type) = content_type {
            request = request.field("Content-Type", content_type);
        }
        server.send(request).await.expect(200);
        assert_eq!(
            server.get("/kv/b/k").await.field("Content-Type"),
            Some(expected)
        );
    }
    let gzipped = Request::new("PUT", "/kv/b/z")
        .field("Content-Encoding", "gzip")
        .body([0x1f, 0x8b, 0, 0xff]);
    server.send(gzipped).await.expect(200);
    let read = server.get("/kv/b/z").await.expect(200);
    assert_eq!(read.field("Content-Encoding"), Some("gzip"));
    assert_eq!(read.body, [0x1f, 0x8b, 0, 0xff]);
    let partial = Request::new("PUT", "/kv/b/k")
        .field("Content-Range", "bytes 0-1/5")
        .body("ab");
    server.send(partial).await.expect(400);
}

#[tokio::test]
async fn text_of_many_bytes_and_any_bytes_come_back_as_they_went() {
    let (server, _database) = serve().await;
    for text in ["讓我們吃的點心", "你想去哪兒吃", "naïve 🦀", ""] {
        for method in ["PUT", "POST"] {
            server
                .send(Request::new(method, "/kv/b/text").body(text))
                .await
                .expect(200);
            assert_eq!(server.get("/kv/b/text").await.expect(200).text(), text);
        }
    }
    let bytes: Vec<u8> = (0..=255).collect();
    server.put("/kv/b/bytes", bytes.clone()).await.expect(200);
    assert_eq!(server.get("/kv/b/bytes").await.body, bytes);
}

#[tokio::test]
async fn names_are_decoded_and_bounded() {
    let (server, _database) = serve().await;
    server.put("/kv/b/a%2Fb", "slash").await.expect(200);
    assert_eq!(server.get("/kv/b/a/b").await.text(), "slash");
    server
        .put("/kv/%E8%AE%93/%E6%88%91", "encoded")
        .await
        .expect(200);
    assert_eq!(
        server.get("/kv/%e8%ae%93/%e6%88%91").await.text(),
        "encoded"
    );
    assert_eq!(
        server
            .get("/kv/%E8%AE%93/%E6%88%91")
            .await
            .field("Surrogate-Key"),
        Some("%E8%AE%93")
    );
    server.put("/kv/b/test.one_-,", "odd").await.expect(200);
    server
        .put("/kv/b/k?query=1", "the query is not the key")
        .await
        .expect(200);
    assert_eq!(
        server.get("/kv/b/k").await.text(),
        "the query is not the key"
    );

    let (key, bucket) = ("k".repeat(1_024), "b".repeat(256));
    server
        .put(&format!("/kv/{bucket}/{key}"), "longest")
        .await
        .expect(200);
    assert_eq!(
        server.get(&format!("/kv/{bucket}/{key}")).await.text(),
        "longest"
    );
    for path in [
        format!("/kv/{bucket}/{key}k"),
        format!("/kv/{bucket}b/{key}"),
        "/kv/b/".to_owned(),
        "/kv//k".to_owned(),
        "/kv/b/%".to_owned(),
        "/kv/b/%G0".to_owned(),
        "/kv/b/%00".to_owned(),
        "/kv/b/a%0Ab".to_owned(),
        "/kv/b/%FF".to_owned(),
        "/kv/%7F/k".to_owned(),
    ] {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            server
                .send(Request::new(method, &path).body(""))
                .await
                .expect(400);
        }
    }
}

/// Names of four-byte characters, alike in their first thousand characters.
#[tokio::test]
async fn the_longest_names_are_told_apart() {
    let (server, _database) = serve().await;
    let encode = |text: &str| origin::kv::encode_segment(text);
    let bucket: String = (0..256)
        .map(|n| char::from_u32(0x1_0000 + n * 37).unwrap())
        .collect();
    let stem: String = (0..1_023)
        .map(|n| char::from_u32(0x1_0000 + n * 61).unwrap())
        .collect();
    let path = |last: &str| {
        format!(
            "/kv/{}/{}",
            encode(&bucket),
            encode(&format!("{stem}{last}"))
        )
    };
    for last in ["a", "b", ""] {
        server
            .put(&path(last), format!("ends in {last}"))
            .await
            .expect(200);
    }
    for last in ["a", "b", ""] {
        assert_eq!(
            server.get(&path(last)).await.expect(200).text(),
            format!("ends in {last}")
        );
    }
    let first = server.get(&path("a")).await.etag();
    let change = Request::new("PUT", &path("a"))
        .field("If-Match", &first)
        .body("changed");
    server.send(change).await.expect(200);
    server.delete(&path("b")).await.expect(200);
    assert_eq!(server.get(&path("a")).await.text(), "changed");
    server.get(&path("b")).await.expect(404);
    server.get(&path("")).await.expect(200);
}

#[tokio::test]
async fn parts_of_a_value_are_served() {
    let (server, _database) = serve().await;
    // Above 64 KiB a value is read apart from others.
    let large: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    server.put("/kv/b/small", "0123456789").await.expect(200);
    server.put("/kv/b/large", large.clone()).await.expect(200);
    assert_eq!(server.get("/kv/b/large").await.expect(200).body, large);
    let part = server
        .send(Request::new("GET", "/kv/b/large").field("Range", "bytes=300000-300009"))
        .await
        .expect(206);
    assert_eq!(part.body, large[300_000..300_010]);
    assert_eq!(
        part.field("Content-Range"),
        Some("bytes 300000-300009/600000")
    );
    let parts = server
        .send(Request::new("GET", "/kv/b/large").field("Range", "bytes=0-9,-10"))
        .await
        .expect(206);
    assert!(
        parts
            .body
            .windows(10)
            .any(|window| window == &large[599_990..])
    );

    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=8-100", 206, "89", Some("bytes 8-9/10")),
        ("bytes=5-3", 200, "0123456789", None),
        ("lines=0-1", 200, "0123456789", None),
        ("bytes=0-5,3-8", 200, "0123456789", None),
    ] {
        let reply = server
            .send(Request::new("GET", "/kv/b/small").field("Range", range))
            .await
            .expect(status);
        assert_eq!(
            (reply.text(), reply.field("Content-Range")),
            (body, content_range),
            "{range}"
        );
        assert_eq!(
            reply.field("Content-Length"),
            Some(body.len().to_string().as_str())
        );
        let head = server
            .send(Request::new("HEAD", "/kv/b/small").field("Range", range))
            .await
            .expect(200);
        assert_eq!(head.field("Content-Length"), Some("10"));
    }
    let outside = server
        .send(Request::new("GET", "/kv/b/small").field("Range", "bytes=10-"))
        .await
        .expect(416);
    assert_eq!(outside.field("Content-Range"), Some("bytes */10"));

    let reply = server
        .send(Request::new("GET", "/kv/b/small").field("Range", "bytes=0-0,9-9"))
        .await
        .expect(206);
    let boundary = reply
        .field("Content-Type")
        .unwrap()
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let part = |first: u8, text: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Range: bytes {first}-{first}/10\r\n\r\n{text}"
        )
    };
    assert_eq!(
        reply.text(),
        format!("{}{}\r\n--{boundary}--\r\n", part(0, "0"), part(9, "9"))
    );
}

#[tokio::test]
async fn a_range_of_another_revision_gets_the_whole() {
    let (server, _database) = serve().await;
    let written = server.put("/kv/b/k", "0123456789").await.expect(200);
    let etag = written.etag();
    for (if_range, status) in [
        (etag.as_str(), 206),
        ("\"0\"", 200),
        (&format!("W/{etag}"), 200),
        (written.field("Last-Modified").unwrap(), 200),
        ("*", 200),
    ] {
        let request = Request::new("GET", "/kv/b/k")
            .field("Range", "bytes=0-1")
            .field("If-Range", if_range);
        server.send(request).await.expect(status);
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_before_it_is_read() {
    let (server, _database) = serve_with(|settings| settings.value_bytes_max = 100_000).await;
    server.put("/kv/b/k", vec![b'x'; 100_000]).await.expect(200);
    server.put("/kv/b/k", vec![b'x'; 100_001]).await.expect(413);
    // No byte of the body is sent: the length alone is refused.
    let announced =
        b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    assert_eq!(
        try_send(server.address, announced).await.unwrap().status,
        413
    );
    let expecting =
        b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n".to_vec();
    assert_eq!(
        try_send(server.address, expecting).await.unwrap().status,
        413
    );
    // No length at all: it ends where the limit is passed.
    let mut chunked =
        b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..2_000 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(try_send(server.address, chunked).await.unwrap().status, 413);
    assert_eq!(server.get("/kv/b/k").await.body.len(), 100_000);
    let patch = Request::new("PATCH", "/kv/b/k")
        .field("Content-Type", "application/merge-patch+json")
        .body(vec![b' '; 100_001]);
    server.send(patch).await.expect(413);
}

#[tokio::test]
async fn chunked_bodies_are_stored_whole() {
    let (server, _database) = serve().await;
    let body = b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    assert_eq!(
        try_send(server.address, body.to_vec())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(server.get("/kv/b/k").await.text(), "abcdefg");
    // A body that ends early is not stored.
    let cut = b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    let reply = {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        stream.write_all(&cut).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 400"),
        "{reply}"
    );
    assert_eq!(server.get("/kv/b/k").await.text(), "abcdefg");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_long() {
    let (server, _database) =
        serve_with(|settings| settings.body_read_timeout = std::time::Duration::from_millis(300))
            .await;
    let stalled = b"PUT /kv/b/k HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    assert_eq!(try_send(server.address, stalled).await.unwrap().status, 408);
    server.get("/kv/b/k").await.expect(404);
}

/// Ten thousand clients that take nothing may each hold such a value, so it is small. Larger ones
/// are only read when there is room for them.
#[tokio::test]
async fn a_value_that_is_read_with_others_is_small() {
    let (server, database) = serve().await;
    for (bytes, is_here) in [(65_536, true), (65_537, false)] {
        server.put("/kv/b/k", vec![b'x'; bytes]).await.expect(200);
        let settings = super::support::settings_for(&database.dsn);
        let store = origin::store::Store::open(&settings, &Default::default())
            .await
            .unwrap();
        let (bucket, key) = (BucketName::new("b").unwrap(), Key::new("k").unwrap());
        let entry = store.read(&bucket, &key).await.unwrap().unwrap();
        assert_eq!(matches!(entry.data, EntryData::Here(_)), is_here, "{bytes}");
        let read = server.get("/kv/b/k").await.expect(200);
        assert_eq!(read.body.len(), bytes);
    }
}

//! Conditional requests, row by row.

use super::support::{Reply, Request, Server, serve, serve_with};

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Nothing,
    /// A value of [`DATE`].
    Value,
}

/// Sends the request to a fresh key. `{etag}` in a field stands for the stored entity-tag.
async fn meet(
    server: &Server,
    stored: Stored,
    method: &str,
    fields: &[(&str, &str)],
) -> (Reply, Option<Reply>) {
    server.delete("/kv/b/k").await;
    let mut etag = "\"0\"".to_owned();
    if stored == Stored::Value {
        let request = Request::new("PUT", "/kv/b/k")
            .field("If-Unmodified-Since", DATE)
            .body("{\"old\":1}");
        etag = server.send(request).await.expect(200).etag();
    }
    let mut request = Request::new(method, "/kv/b/k");
    for (name, value) in fields {
        request = request.field(name, &value.replace("{etag}", &etag));
    }
    if method == "PATCH" {
        request = request
            .field("Content-Type", "application/merge-patch+json")
            .body("{\"new\":2}");
    } else if method != "GET" && method != "DELETE" {
        request = request.body("new");
    }
    let reply = server.send(request).await;
    let after = server.get("/kv/b/k").await;
    (reply, (after.status == 200).then_some(after))
}

#[tokio::test]
async fn every_method_honours_every_condition() {
    use Stored::{Nothing, Value};
    let (server, _database) = serve().await;
    type Row<'a> = (Stored, &'a [(&'a str, &'a str)], [u16; 4]);
    // Status of GET, PUT (and POST), DELETE, PATCH.
    let rows: &[Row<'_>] = &[
        (Nothing, &[], [404, 200, 404, 404]),
        (Value, &[], [200, 200, 200, 200]),
        (Nothing, &[("If-Match", "*")], [412, 412, 412, 412]),
        (Nothing, &[("If-Match", "\"1\"")], [404, 412, 404, 404]),
        (Value, &[("If-Match", "*")], [200, 200, 200, 200]),
        (Value, &[("If-Match", "{etag}")], [200, 200, 200, 200]),
        (
            Value,
            &[("If-Match", "\"x\", {etag}")],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-Match", "\"x\""), ("If-Match", "{etag}")],
            [200, 200, 200, 200],
        ),
        (Value, &[("If-Match", "\"0\"")], [412, 412, 412, 412]),
        (Value, &[("If-Match", "W/{etag}")], [412, 412, 412, 412]),
        (
            Value,
            &[("If-Match", "\"0\", W/{etag}")],
            [412, 412, 412, 412],
        ),
        (Value, &[("If-Match", "")], [412, 412, 412, 412]),
        (Value, &[("If-Match", DATE)], [200, 412, 412, 412]),
        (
            Value,
            &[("If-Match", "\"Sun, 06 Nov 1994 08:49:37 GMT\"")],
            [200, 412, 412, 412],
        ),
        (Value, &[("If-Match", AFTER)], [412, 412, 412, 412]),
        (Value, &[("If-Match", BEFORE)], [412, 412, 412, 412]),
        (Value, &[("X-If-Match", DATE)], [200, 200, 200, 200]),
        (Value, &[("X-If-Match", AFTER)], [412, 200, 200, 200]),
        (Value, &[("X-If-Match", "{etag}")], [200, 200, 200, 200]),
        (
            Value,
            &[("X-If-Match", AFTER), ("If-Match", "{etag}")],
            [200, 200, 200, 200],
        ),
        (Nothing, &[("X-If-Match", "*")], [412, 200, 404, 404]),
        (Nothing, &[("If-None-Match", "*")], [404, 200, 404, 404]),
        (Value, &[("If-None-Match", "*")], [304, 412, 412, 412]),
        (Value, &[("If-None-Match", "{etag}")], [304, 412, 412, 412]),
        (
            Value,
            &[("If-None-Match", "W/{etag}")],
            [304, 412, 412, 412],
        ),
        (
            Value,
            &[("If-None-Match", "\"0\", {etag}")],
            [304, 412, 412, 412],
        ),
        (Value, &[("If-None-Match", "\"0\"")], [200, 200, 200, 200]),
        (Value, &[("If-Modified-Since", DATE)], [304, 200, 200, 200]),
        (Value, &[("If-Modified-Since", AFTER)], [304, 200, 200, 200]),
        (
            Value,
            &[("If-Modified-Since", BEFORE)],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-Modified-Since", "bogus")],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-None-Match", "\"0\""), ("If-Modified-Since", DATE)],
            [200, 200, 200, 200],
        ),
        (
            Nothing,
            &[("If-Unmodified-Since", BEFORE)],
            [404, 200, 404, 404],
        ),
        (
            Value,
            &[("If-Unmodified-Since", BEFORE)],
            [412, 412, 412, 412],
        ),
        (
            Value,
            &[("If-Unmodified-Since", DATE)],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-Unmodified-Since", AFTER)],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-Unmodified-Since", "bogus")],
            [200, 400, 200, 200],
        ),
        (
            Value,
            &[("If-Match", "{etag}"), ("If-Unmodified-Since", BEFORE)],
            [200, 200, 200, 200],
        ),
        (
            Value,
            &[("If-Match", "\"0\""), ("If-Unmodified-Since", AFTER)],
            [412, 412, 412, 412],
        ),
        (
            Value,
            &[("If-Match", "{etag}"), ("If-None-Match", "{etag}")],
            [304, 412, 412, 412],
        ),
        (
            Value,
            &[("If-Match", "\"0\""), ("If-None-Match", "{etag}")],
            [412, 412, 412, 412],
        ),
        (
            Value,
            &[("If-Unmodified-Since", BEFORE), ("If-None-Match", "{etag}")],
            [412, 412, 412, 412],
        ),
    ];
    for (stored, fields, [get, put, delete, patch]) in rows {
        for (method, status) in [
            ("GET", get),
            ("PUT", put),
            ("POST", put),
            ("DELETE", delete),
            ("PATCH", patch),
        ] {
            let (reply, after) = meet(&server, *stored, method, fields).await;
            assert_eq!(
                reply.status,
                *status,
                "{method} {stored:?} {fields:?}: {}",
                reply.text()
            );
            let untouched = match stored {
                Stored::Nothing => after.is_none(),
                Stored::Value => after
                    .as_ref()
                    .is_some_and(|after| after.text() == "{\"old\":1}"),
            };
            let changes = *status == 200 && method != "GET";
            assert_eq!(untouched, !changes, "{method} {stored:?} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_not_modified_answer_carries_what_caches_need() {
    let (server, _database) = serve().await;
    let etag = server.put("/kv/b/k", "v").await.etag();
    let reply = server
        .send(Request::new("GET", "/kv/b/k").field("If-None-Match", &etag))
        .await
        .expect(304);
    assert_eq!(reply.body, b"");
    assert_eq!(reply.field("ETag"), Some(etag.as_str()));
    for name in [
        "Last-Modified",
        "Vary",
        "Cache-Control",
        "CDN-Cache-Control",
        "Surrogate-Key",
    ] {
        assert!(reply.field(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_date_of_a_write_becomes_the_date_of_the_value() {
    let (server, _database) = serve().await;
    let put = async |date: Option<&str>| {
        let mut request = Request::new("PUT", "/kv/b/k").body("v");
        if let Some(date) = date {
            request = request.field("If-Unmodified-Since", date);
        }
        server.send(request).await
    };
    let dated = async || {
        server
            .get("/kv/b/k")
            .await
            .field("Last-Modified")
            .unwrap()
            .to_owned()
    };
    put(Some(DATE)).await.expect(200);
    assert_eq!(dated().await, DATE);
    // Without a date the value changes and the date stays.
    assert_eq!(
        put(None).await.expect(200).field("Last-Modified"),
        Some(DATE)
    );
    assert_eq!(dated().await, DATE);
    put(Some(DATE)).await.expect(200);
    put(Some(BEFORE)).await.expect(412);
    put(Some(AFTER)).await.expect(200);
    assert_eq!(dated().await, AFTER);
    put(Some(DATE)).await.expect(412);
    put(Some("Sunday, 06-Nov-94 08:49:39 GMT"))
        .await
        .expect(200);
    assert_eq!(dated().await, "Sun, 06 Nov 1994 08:49:39 GMT");
    put(Some("Mon, 01 Jan 2035 00:00:00 GMT")).await.expect(200);
    assert_eq!(dated().await, "Mon, 01 Jan 2035 00:00:00 GMT");
    // If-Match decides alone, and does not turn the date back.
    let etag = server.get("/kv/b/k").await.etag();
    let request = Request::new("PUT", "/kv/b/k")
        .field("If-Match", &etag)
        .field("If-Unmodified-Since", DATE)
        .body("w");
    server.send(request).await.expect(200);
    assert_eq!(dated().await, "Mon, 01 Jan 2035 00:00:00 GMT");
}

#[tokio::test]
async fn a_date_that_does_not_parse_is_refused_in_these_words() {
    let (server, _database) = serve().await;
    let message = "Error in If-Unmodified-Since format. Use RFC 1123 date format.";
    for date in [
        "bogus",
        "",
        "Tue, 04 Jun 2013 03:01:31 000",
        "2013-06-04T03:01:31Z",
        "Tue, 31 Jun 2013 03:01:31 GMT",
    ] {
        for method in ["PUT", "POST"] {
            let request = Request::new(method, "/kv/b/k")
                .field("If-Unmodified-Since", date)
                .body("v");
            let reply = server.send(request.clone()).await.expect(400);
            assert_eq!(
                reply.field("Content-Type"),
                Some("application/problem+json")
            );
            assert_eq!(reply.json()["detail"], message);
            let reply = server
                .send(request.field("Accept", "text/plain"))
                .await
                .expect(400);
            assert_eq!(reply.text(), message);
        }
    }
    server.get("/kv/b/k").await.expect(404);
}

#[tokio::test]
async fn a_kept_date_is_never_taken_for_not_modified() {
    let (server, _database) = serve().await;
    let dated = Request::new("PUT", "/kv/b/k").field("If-Unmodified-Since", DATE);
    let since = Request::new("GET", "/kv/b/k").field("If-Modified-Since", DATE);
    server.send(dated.clone().body("one")).await.expect(200);
    server.send(since.clone()).await.expect(304);
    server.put("/kv/b/k", "two").await.expect(200);
    assert_eq!(server.send(since.clone()).await.expect(200).text(), "two");
    server.send(dated.body("three")).await.expect(200);
    assert_eq!(server.send(since).await.expect(200).text(), "three");
}

#[tokio::test]
async fn a_bucket_may_be_dated_by_the_server() {
    let (server, _database) = serve_with(|settings| {
        let bucket = origin::settings::BucketSettings {
            timestamps: Some(origin::kv::Timestamps::Server),
            ..Default::default()
        };
        settings.buckets.insert("b".to_owned(), bucket);
    })
    .await;
    let far = "Mon, 01 Jan 2035 00:00:00 GMT";
    for (fields, status) in [
        (&[][..], 200),
        (&[("If-Unmodified-Since", far)], 200),
        (&[("If-Unmodified-Since", DATE)], 412),
        (&[("If-Unmodified-Since", "bogus")], 400),
        (&[("If-Match", "*")], 200),
    ] {
        let reply = server
            .send(Request::new("PUT", "/kv/b/k").fields(fields).body("v"))
            .await
            .expect(status);
        if status == 200 {
            let date = reply.field("Last-Modified").unwrap();
            assert!(date != far && date != DATE, "{fields:?}: {date}");
        }
    }
}

#[tokio::test]
async fn a_refused_write_says_what_is_stored() {
    let (server, _database) = serve().await;
    let etag = server.put("/kv/b/k", "v").await.etag();
    for method in ["GET", "PUT", "DELETE"] {
        let reply = server
            .send(
                Request::new(method, "/kv/b/k")
                    .field("If-Match", "\"0\"")
                    .body(""),
            )
            .await
            .expect(412);
        assert_eq!(reply.field("ETag"), Some(etag.as_str()), "{method}");
        assert_eq!(reply.json()["status"], 412);
    }
}

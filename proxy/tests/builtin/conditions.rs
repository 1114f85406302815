//! Conditions, ranges and HEAD, answered from the stored object.

use crate::support::{Answer, Backend, Door, Gate, Reply, answer};
use crate::{FRESH, Lines};

const TAG: (&str, &str) = ("ETag", "\"a\"");
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

async fn stored() -> (Backend, Door) {
    let fields = [
        TAG,
        FRESH,
        ("Last-Modified", CHANGED),
        ("Content-Type", "text/x"),
    ];
    let backend = Backend::always(answer(200, &fields, "0123456789")).await;
    let door = Door::start(&backend).await;
    assert_eq!(door.get("/").await.text(), "0123456789");
    (backend, door)
}

#[tokio::test]
async fn conditions_are_answered_from_the_object() {
    let (backend, door) = stored().await;
    let check = async |lines: Lines<'_>, status: u16| {
        let reply = door.request("GET", "/", lines).await;
        assert_eq!(reply.status(), status, "{lines:?}");
        let body = if status == 200 { "0123456789" } else { "" };
        assert_eq!(reply.text(), body, "{lines:?}");
        assert_eq!(reply.field("ETag"), "\"a\"", "{lines:?}");
        if status == 304 {
            assert_eq!(reply.field("Content-Type"), "", "{lines:?}");
        }
    };
    check(&[("If-None-Match", "\"a\"")], 304).await;
    check(&[("If-None-Match", "W/\"a\", \"b\"")], 304).await;
    check(&[("If-None-Match", "*")], 304).await;
    check(&[("If-None-Match", "\"b\"")], 200).await;
    check(&[("If-Modified-Since", AFTER)], 304).await;
    check(&[("If-Modified-Since", BEFORE)], 200).await;
    check(&[("If-Modified-Since", "yesterday")], 200).await;
    // If-None-Match counts alone where both are sent.
    check(
        &[("If-None-Match", "\"b\""), ("If-Modified-Since", AFTER)],
        200,
    )
    .await;
    check(&[("If-Match", "\"a\"")], 200).await;
    check(&[("If-Match", "*")], 200).await;
    check(&[("If-Unmodified-Since", AFTER)], 200).await;
    check(&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], 304).await;
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_match_that_fails_is_for_the_origin_to_decide() {
    let (backend, door) = stored().await;
    for (count, lines) in [
        (2, [("If-Match", "\"b\"")]),
        (3, [("If-Unmodified-Since", BEFORE)]),
    ] {
        let reply = door.request("GET", "/", &lines).await;
        assert_eq!(reply.status(), 200, "as the origin says");
        assert_eq!(backend.count(), count);
        let [(name, value)] = lines;
        assert_eq!(backend.last().field(name).as_deref(), Some(value));
    }
    assert_eq!(door.get("/").await.cache(), "HIT");
}

#[tokio::test]
async fn a_match_with_nothing_stored_is_for_the_origin_to_decide() {
    let backend = Backend::start(|seen| match seen.field("If-Match") {
        Some(_) => answer(412, &[], "not that one"),
        None => answer(200, &[("Cache-Control", "no-store"), TAG], "body"),
    })
    .await;
    let door = Door::start(&backend).await;
    // Before there is anything, and when a mark says that nothing is stored.
    for _ in 0..2 {
        let reply = door.request("GET", "/", &[("If-Match", "\"b\"")]).await;
        assert_eq!((reply.status(), reply.text()), (412, "not that one"));
        door.get("/").await;
    }
}

#[tokio::test]
async fn a_first_request_with_conditions_fills_the_cache_for_all() {
    let fields = [TAG, FRESH, ("Last-Modified", CHANGED)];
    let backend = Backend::always(answer(200, &fields, "0123456789")).await;
    let door = Door::start(&backend).await;
    let lines = [("If-None-Match", "\"a\"")];
    assert_eq!(door.request("GET", "/", &lines).await.status(), 304);
    assert_eq!(backend.last().field("If-None-Match"), None);
    assert_eq!(door.get("/").await.text(), "0123456789");
    assert_eq!(backend.count(), 1);
}

fn one_part(reply: &Reply) -> (u16, String, String) {
    let text = reply.text().to_owned();
    (reply.status(), reply.field("Content-Range"), text)
}

#[tokio::test]
async fn ranges_are_cut_from_the_object() {
    let (backend, door) = stored().await;
    let check = async |lines: Lines<'_>, status: u16, range: &str, body: &str| {
        let reply = door.request("GET", "/", lines).await;
        let expected = (status, range.to_owned(), body.to_owned());
        assert_eq!(one_part(&reply), expected, "{lines:?}");
        assert_eq!(reply.field("Content-Length"), body.len().to_string());
    };
    let whole = "0123456789";
    check(&[("Range", "bytes=0-0")], 206, "bytes 0-0/10", "0").await;
    check(&[("Range", "bytes=2-4")], 206, "bytes 2-4/10", "234").await;
    check(&[("Range", "bytes=7-")], 206, "bytes 7-9/10", "789").await;
    check(&[("Range", "bytes=-3")], 206, "bytes 7-9/10", "789").await;
    check(&[("Range", "bytes=-30")], 206, "bytes 0-9/10", whole).await;
    check(&[("Range", "bytes=8-30")], 206, "bytes 8-9/10", "89").await;
    check(&[("Range", "bytes=1-2, 2-3")], 206, "bytes 1-3/10", "123").await;
    check(&[("Range", "bytes=10-")], 416, "bytes */10", "").await;
    check(&[("Range", "bytes=5-2")], 200, "", whole).await;
    check(&[("Range", "lines=1-2")], 200, "", whole).await;
    let range = ("Range", "bytes=2-4");
    check(&[range, ("If-Range", "\"a\"")], 206, "bytes 2-4/10", "234").await;
    check(&[range, ("If-Range", "\"b\"")], 200, "", whole).await;
    check(&[range, ("If-Range", "W/\"a\"")], 200, "", whole).await;
    check(&[range, ("If-Range", CHANGED)], 206, "bytes 2-4/10", "234").await;
    check(&[range, ("If-Range", AFTER)], 200, "", whole).await;
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn several_ranges_are_parts_of_one_body() {
    let (_backend, door) = stored().await;
    let reply = door
        .request("GET", "/", &[("Range", "bytes=8-9, 0-1")])
        .await;
    assert_eq!(reply.status(), 206);
    let kind = reply.field("Content-Type");
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a multipart type");
    let boundary = boundary.trim_matches('"');
    let parts: Vec<&str> = reply.text().split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "{}", reply.text());
    assert!(parts[1].contains("Content-Range: bytes 8-9/10\r\n"));
    assert!(parts[1].contains("Content-Type: text/x\r\n"));
    assert!(parts[1].ends_with("\r\n\r\n89\r\n"));
    assert!(parts[2].ends_with("\r\n\r\n01\r\n"));
    assert_eq!(parts[3].trim_end(), "--");
}

#[tokio::test]
async fn a_range_is_answered_while_the_object_fills() {
    let gate = Gate::new();
    let backend = Backend::always(
        Answer::default()
            .head(200, &[TAG, FRESH, ("Content-Length", "10")])
            .then("01234")
            .hold(&gate)
            .then("56789"),
    )
    .await;
    let door = Door::start(&backend).await;
    let mut first = door.begin("GET", "/", &[]).await;
    let head = first.head("GET").await;
    let here = door.request("GET", "/", &[("Range", "bytes=1-3")]).await;
    assert_eq!(one_part(&here), (206, "bytes 1-3/10".into(), "123".into()));
    let nowhere = door.request("GET", "/", &[("Range", "bytes=10-")]).await;
    assert_eq!(nowhere.status(), 416);
    let mut later = door.begin("GET", "/", &[("Range", "bytes=4-6")]).await;
    let later_head = later.head("GET").await;
    let mut several = door.begin("GET", "/", &[("Range", "bytes=0-1, 8-9")]).await;
    let several_head = several.head("GET").await;
    assert_eq!(several_head.head.status, 200, "parts need all the bytes");
    gate.open();
    let later = later.body_of(later_head).await;
    assert_eq!(one_part(&later), (206, "bytes 4-6/10".into(), "456".into()));
    assert_eq!(several.body_of(several_head).await.text(), "0123456789");
    assert_eq!(first.body_of(head).await.text(), "0123456789");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn head_is_answered_from_what_get_has_stored() {
    let (backend, door) = stored().await;
    let mut client = door.connect().await;
    let head = client.request("HEAD", "/", &[]).await;
    assert_eq!((head.status(), head.text()), (200, ""));
    assert_eq!(head.field("Content-Length"), "10");
    assert_eq!(head.cache(), "HIT");
    let head = client
        .request("HEAD", "/", &[("If-None-Match", "\"a\"")])
        .await;
    assert_eq!(head.status(), 304);
    // Range has a meaning for GET only.
    let head = client.request("HEAD", "/", &[("Range", "bytes=0-1")]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(client.get("/").await.text(), "0123456789");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn head_with_nothing_stored_goes_to_the_backend_as_head() {
    let backend = Backend::start(|seen| match &*seen.method {
        "HEAD" => Answer::default().head(200, &[FRESH, ("Content-Length", "10")]),
        _ => answer(200, &[FRESH], "0123456789"),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut client = door.connect().await;
    for _ in 0..2 {
        let head = client.request("HEAD", "/", &[]).await;
        assert_eq!(head.field("Content-Length"), "10");
        assert_eq!(backend.last().method, "HEAD");
    }
    assert_eq!(client.get("/").await.text(), "0123456789");
    assert_eq!(backend.count(), 3);
}

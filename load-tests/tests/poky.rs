//! The origin's behaviour as one table of requests and answers, run against the origin itself and through the front
//! door. Whatever Lacquer puts between must not change an answer, except for the fields that say how it came.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use load_tests::client::Response;
use load_tests::conversation::{Case, Kept, Step, Through, case, run};
use load_tests::front::Front;
use load_tests::origin::Origin;

/// Small, so that going beyond it is cheap.
const VALUE_BYTES_MAX: usize = 64 << 10;

const EARLY: &str = "Sat, 01 Jun 2013 03:01:31 GMT";
const MIDDLE: &str = "Tue, 04 Jun 2013 03:01:31 GMT";
const LATE: &str = "Fri, 07 Jun 2013 03:01:31 GMT";

const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";
const INCREMENT: &str = "application/vnd.lacquer.increment+json";
const JSON: &str = "application/json";

#[tokio::test]
async fn the_origin_answers_as_the_table_says() {
    let origin = small_values().await;
    run(origin.address, Through::Nothing, &table()).await;
}

#[tokio::test]
async fn the_front_door_answers_as_the_table_says() {
    let origin = small_values().await;
    let front = Front::start(origin.address).await;
    run(front.address, Through::FrontDoor, &table()).await;
}

#[tokio::test]
async fn buckets_that_were_not_created_can_be_refused() {
    let origin = Origin::start_with(|settings| {
        settings.set("origin.auto_create_buckets", "false");
        settings.set("origin.buckets.known.timestamps", "\"server\"");
    })
    .await;
    let front = Front::start(origin.address).await;
    let cases = [
        case(
            "unknown",
            [
                put("/kv/unknown/k").body("v").is(404),
                get("/kv/unknown/k").is(404),
            ],
        ),
        case(
            "dated by the server",
            [
                put("/kv/known/k")
                    .field("If-Unmodified-Since", MIDDLE)
                    .body("v")
                    .is(200)
                    .check(is_of_today),
                get("/kv/known/k").is(200).says("v").check(is_of_today),
            ],
        ),
    ];
    run(front.address, Through::FrontDoor, &cases).await;
}

async fn small_values() -> Origin {
    Origin::start_with(|settings| {
        settings.set("origin.value_bytes_max", &VALUE_BYTES_MAX.to_string());
    })
    .await
}

#[track_caller]
fn get(target: &str) -> Step {
    Step::new("GET", target)
}

#[track_caller]
fn head(target: &str) -> Step {
    Step::new("HEAD", target)
}

#[track_caller]
fn put(target: &str) -> Step {
    Step::new("PUT", target)
}

#[track_caller]
fn post(target: &str) -> Step {
    Step::new("POST", target)
}

#[track_caller]
fn delete(target: &str) -> Step {
    Step::new("DELETE", target)
}

#[track_caller]
fn patch(target: &str) -> Step {
    Step::new("PATCH", target)
}

fn table() -> Vec<Case> {
    let parts = [
        values(),
        names(),
        limits(),
        ranges(),
        conditional_reads(),
        conditional_writes(),
        dated_writes(),
        deletes(),
        merge_patches(),
        operation_patches(),
        increments(),
        lists(),
        batches(),
        lifetimes(),
        pages(),
        sequences(),
    ];
    parts.into_iter().flatten().collect()
}

fn values() -> Vec<Case> {
    let every_byte: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let emoji = "讓我們 – naïve café – 🦀🦀";
    vec![
        case(
            "a value comes back with its fields",
            [
                put("/kv/$b/key")
                    .typed("text/x-test; a=b", "hello")
                    .is(200)
                    .keep("ETag", "tag")
                    .keep("Last-Modified", "date")
                    .check(etag_is_a_quoted_revision)
                    .check(is_of_today),
                get("/kv/$b/key")
                    .is(200)
                    .says("hello")
                    .has("Content-Type", "text/x-test; a=b")
                    .has("ETag", "$tag")
                    .has("Last-Modified", "$date")
                    .has("Accept-Ranges", "bytes")
                    .has("Content-Length", "5")
                    .lists("Vary", "If-Match")
                    .has("Surrogate-Key", "$b")
                    .has("Cache-Control", "no-cache")
                    .has(
                        "CDN-Cache-Control",
                        "max-age=14400, stale-while-revalidate=300",
                    ),
                head("/kv/$b/key")
                    .is(200)
                    .says("")
                    .has("Content-Type", "text/x-test; a=b")
                    .has("ETag", "$tag")
                    .has("Last-Modified", "$date")
                    .has("Accept-Ranges", "bytes")
                    .has("Content-Length", "5")
                    .lists("Vary", "If-Match")
                    .has("Surrogate-Key", "$b"),
            ],
        ),
        case(
            "a missing key",
            [
                get("/kv/$b/none")
                    .is(404)
                    .has("Cache-Control", "no-store")
                    .begins("Content-Type", "application/problem+json"),
                get("/kv/$b/none")
                    .field("Accept", "text/plain")
                    .is(404)
                    .begins("Content-Type", "text/plain"),
                head("/kv/$b/none").is(404).says(""),
                put("/kv/$b/other").body("v").is(200),
                get("/kv/$b/none").is(404),
            ],
        ),
        case(
            "POST stores as PUT does",
            [
                post("/kv/$b/key")
                    .typed("text/x-a", "one")
                    .is(200)
                    .keep("ETag", "first"),
                post("/kv/$b/key")
                    .typed("text/x-b", "two")
                    .is(200)
                    .keep("ETag", "second")
                    .check(|answer, kept| grew(answer, kept, "first")),
                get("/kv/$b/key")
                    .is(200)
                    .says("two")
                    .has("Content-Type", "text/x-b")
                    .has("ETag", "$second"),
            ],
        ),
        case(
            "a form is taken for text",
            [
                put("/kv/$b/key")
                    .typed("application/x-www-form-urlencoded", "a=1&b=%20")
                    .is(200),
                get("/kv/$b/key")
                    .is(200)
                    .says("a=1&b=%20")
                    .has("Content-Type", "text/plain; charset=utf-8"),
            ],
        ),
        case(
            "no type is taken for text",
            [
                put("/kv/$b/key").body("plain").is(200),
                get("/kv/$b/key")
                    .is(200)
                    .says("plain")
                    .has("Content-Type", "text/plain; charset=utf-8"),
            ],
        ),
        case(
            "the coding is kept",
            [
                put("/kv/$b/key")
                    .typed("text/plain", &b"\x1f\x8b\x08\x00 not really"[..])
                    .field("Content-Encoding", "gzip")
                    .is(200),
                get("/kv/$b/key")
                    .field("Accept-Encoding", "gzip")
                    .is(200)
                    .has("Content-Encoding", "gzip")
                    .says(&b"\x1f\x8b\x08\x00 not really"[..]),
                put("/kv/$b/key").typed("text/plain", "plain now").is(200),
                get("/kv/$b/key")
                    .is(200)
                    .lacks("Content-Encoding")
                    .says("plain now"),
            ],
        ),
        case(
            "every byte is kept",
            [
                put("/kv/$b/key")
                    .typed("application/octet-stream", every_byte.clone())
                    .is(200),
                get("/kv/$b/key").is(200).says(every_byte.clone()),
                get("/kv/$b/key").is(200).says(every_byte).hit(),
            ],
        ),
        case(
            "text of many bytes a character is kept",
            [
                put("/kv/$b/key")
                    .typed("text/plain; charset=utf-8", emoji)
                    .is(200),
                get("/kv/$b/key")
                    .is(200)
                    .says(emoji)
                    .has("Content-Length", &emoji.len().to_string()),
            ],
        ),
        case(
            "an empty value is a value",
            [
                put("/kv/$b/key").body("").is(200).keep("ETag", "tag"),
                get("/kv/$b/key")
                    .is(200)
                    .says("")
                    .has("Content-Length", "0")
                    .has("ETag", "$tag"),
                head("/kv/$b/key").is(200).has("Content-Length", "0"),
            ],
        ),
        case(
            "a value may come in chunks",
            [
                put("/kv/$b/key")
                    .typed("text/plain", "piece by piece ".repeat(300))
                    .chunked()
                    .is(200),
                get("/kv/$b/key")
                    .is(200)
                    .says("piece by piece ".repeat(300)),
            ],
        ),
        case(
            "revisions grow, also beyond a delete",
            [
                put("/kv/$b/key").body("1").is(200).keep("ETag", "first"),
                put("/kv/$b/key")
                    .body("1")
                    .is(200)
                    .keep("ETag", "second")
                    .check(|answer, kept| grew(answer, kept, "first")),
                delete("/kv/$b/key").is(200),
                put("/kv/$b/key")
                    .body("1")
                    .is(200)
                    .check(|answer, kept| grew(answer, kept, "second")),
            ],
        ),
        case(
            "buckets are apart",
            [
                put("/kv/$b/key").body("here").is(200),
                put("/kv/$b-other/key").body("there").is(200),
                get("/kv/$b/key").is(200).says("here"),
                get("/kv/$b-other/key")
                    .is(200)
                    .says("there")
                    .has("Surrogate-Key", "$b-other"),
            ],
        ),
    ]
}

fn names() -> Vec<Case> {
    let encoded = "%E8%AE%93%E6%88%91%E5%80%91";
    vec![
        case(
            "names of many bytes a character",
            [
                put(&format!("/kv/$b-{encoded}/{encoded}"))
                    .body("v")
                    .is(200),
                get(&format!("/kv/$b-{encoded}/{encoded}"))
                    .is(200)
                    .says("v"),
                get(&format!(
                    "/kv/$b-{}/{}",
                    encoded.to_lowercase(),
                    encoded.to_lowercase()
                ))
                .is(200)
                .says("v"),
                get(&format!("/kv/$b-{encoded}"))
                    .field("Accept", "text/plain")
                    .is(200)
                    .mentions("讓我們"),
            ],
        ),
        case(
            "reserved characters in a key",
            [
                put("/kv/$b/a%2Fb%3Fc%23d%25e%20f+g").body("v").is(200),
                get("/kv/$b/a%2Fb%3Fc%23d%25e%20f+g").is(200).says("v"),
                get("/kv/$b/a").is(404),
                get("/kv/$b")
                    .field("Accept", "text/plain")
                    .is(200)
                    .mentions("a/b?c#d%e f+g"),
            ],
        ),
        case(
            "the longest names",
            [
                put(&format!("/kv/{}/{}", "b".repeat(256), "k".repeat(1024)))
                    .body("long")
                    .is(200),
                get(&format!("/kv/{}/{}", "b".repeat(256), "k".repeat(1024)))
                    .is(200)
                    .says("long"),
            ],
        ),
        case(
            "the longest names of many bytes a character",
            [
                // 3 bytes each, 9 in the target.
                put(&format!(
                    "/kv/{}/{}",
                    "%E8%AE%93".repeat(256),
                    "%E8%AE%93".repeat(1024)
                ))
                .body("long")
                .is(200),
                get(&format!(
                    "/kv/{}/{}",
                    "%E8%AE%93".repeat(256),
                    "%E8%AE%93".repeat(1024)
                ))
                .is(200)
                .says("long"),
            ],
        ),
        case(
            "too long a bucket",
            [
                put(&format!("/kv/{}/k", "b".repeat(257))).body("v").is(400),
                get(&format!("/kv/{}/k", "b".repeat(257))).is(400),
            ],
        ),
        case(
            "too long a key",
            [
                put(&format!("/kv/$b/{}", "k".repeat(1025)))
                    .body("v")
                    .is(400),
                get(&format!("/kv/$b/{}", "k".repeat(1025))).is(400),
                delete(&format!("/kv/$b/{}", "k".repeat(1025))).is(400),
            ],
        ),
        case(
            "control characters",
            [
                put("/kv/$b/a%00b").body("v").is(400),
                put("/kv/$b/a%0Ab").body("v").is(400),
                put("/kv/$b/a%7Fb").body("v").is(400),
                put("/kv/$b%01/a").body("v").is(400),
                get("/kv/$b/a%C2%85b").is(400),
            ],
        ),
        case(
            "no UTF-8",
            [
                put("/kv/$b/a%FFb").body("v").is(400),
                get("/kv/$b/%ED%A0%80").is(400),
            ],
        ),
    ]
}

fn limits() -> Vec<Case> {
    vec![
        case(
            "the largest value",
            [
                put("/kv/$b/key").body(vec![b'x'; VALUE_BYTES_MAX]).is(200),
                get("/kv/$b/key").is(200).says(vec![b'x'; VALUE_BYTES_MAX]),
            ],
        ),
        case(
            "too large a value",
            [
                put("/kv/$b/key")
                    .body(vec![b'x'; VALUE_BYTES_MAX + 1])
                    .is(413),
                get("/kv/$b/key").is(404),
            ],
        ),
        case(
            "too large a value in chunks",
            [
                put("/kv/$b/key")
                    .body(vec![b'x'; VALUE_BYTES_MAX + 1])
                    .chunked()
                    .is(413),
                get("/kv/$b/key").is(404),
            ],
        ),
        case(
            "a refused value leaves the old one",
            [
                put("/kv/$b/key").body("small").is(200),
                get("/kv/$b/key").is(200),
                put("/kv/$b/key")
                    .body(vec![b'x'; VALUE_BYTES_MAX + 1])
                    .is(413),
                get("/kv/$b/key").is(200).says("small"),
            ],
        ),
    ]
}

fn ranges() -> Vec<Case> {
    let ranged = |range: &str| get("/kv/$b/key").field("Range", range);
    let both = |name, warm: bool| {
        let mut steps = vec![
            put("/kv/$b/key")
                .typed("text/x-digits", "0123456789")
                .is(200)
                .keep("ETag", "tag"),
        ];
        if warm {
            steps.push(get("/kv/$b/key").is(200));
        }
        let part = |step: Step, range: &str, body: &str| {
            step.is(206)
                .has("Content-Range", range)
                .says(body)
                .has("ETag", "$tag")
                .has("Content-Type", "text/x-digits")
        };
        steps.extend([
            part(ranged("bytes=0-3"), "bytes 0-3/10", "0123"),
            part(ranged("bytes=3-3"), "bytes 3-3/10", "3"),
            part(ranged("bytes=7-"), "bytes 7-9/10", "789"),
            part(ranged("bytes=-2"), "bytes 8-9/10", "89"),
            part(ranged("bytes=5-100"), "bytes 5-9/10", "56789"),
            part(ranged("bytes=-100"), "bytes 0-9/10", "0123456789"),
            ranged("bytes=10-")
                .is(416)
                .has("Content-Range", "bytes */10"),
            ranged("bytes=-0")
                .is(416)
                .has("Content-Range", "bytes */10"),
            ranged("bytes=3-2").is(200).says("0123456789"),
            ranged("lines=1-2").is(200).says("0123456789"),
            part(
                ranged("bytes=0-3").field("If-Range", "$tag"),
                "bytes 0-3/10",
                "0123",
            ),
            ranged("bytes=0-3")
                .field("If-Range", "\"0\"")
                .is(200)
                .says("0123456789"),
            ranged("bytes=0-3")
                .field("If-Range", "W/$tag")
                .is(200)
                .says("0123456789"),
            ranged("bytes=0-3")
                .field("If-None-Match", "$tag")
                .is(304)
                .says(""),
            get("/kv/$b/key").is(200).says("0123456789"),
        ]);
        case(name, steps)
    };
    vec![
        both("parts of a value", false),
        both("parts of a value that was read before", true),
    ]
}

fn conditional_reads() -> Vec<Case> {
    let matching = |value: &str| get("/kv/$b/key").field("If-Match", value);
    let unless = |value: &str| get("/kv/$b/key").field("If-None-Match", value);
    let dated = || {
        put("/kv/$b/key")
            .field("If-Unmodified-Since", MIDDLE)
            .body("v")
            .is(200)
            .keep("ETag", "tag")
    };
    vec![
        case(
            "If-None-Match",
            [
                put("/kv/$b/key").body("v").is(200).keep("ETag", "tag"),
                unless("$tag").is(304).says("").has("ETag", "$tag"),
                unless("W/$tag").is(304).has("ETag", "$tag"),
                unless("\"0\", $tag").is(304),
                unless("*").is(304),
                unless("\"0\"").is(200).says("v").has("ETag", "$tag"),
                unless("\"0\", W/\"1\"").is(200).says("v"),
                head("/kv/$b/key")
                    .field("If-None-Match", "$tag")
                    .is(304)
                    .says(""),
                get("/kv/$b/none").field("If-None-Match", "$tag").is(404),
                unless("$tag").field("If-Modified-Since", EARLY).is(304),
                unless("\"0\"")
                    .field("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT")
                    .is(200),
            ],
        ),
        case(
            "If-Modified-Since",
            [
                dated(),
                get("/kv/$b/key").is(200).has("Last-Modified", MIDDLE),
                get("/kv/$b/key")
                    .field("If-Modified-Since", MIDDLE)
                    .is(304)
                    .says("")
                    .has("ETag", "$tag"),
                get("/kv/$b/key").field("If-Modified-Since", LATE).is(304),
                get("/kv/$b/key")
                    .field("If-Modified-Since", EARLY)
                    .is(200)
                    .says("v"),
                get("/kv/$b/key")
                    .field("If-Modified-Since", "yesterday")
                    .is(200)
                    .says("v"),
            ],
        ),
        case(
            "If-Match",
            [
                put("/kv/$b/key").body("v").is(200).keep("ETag", "tag"),
                matching("$tag").is(200).says("v").has("ETag", "$tag"),
                matching("\"0\", $tag").is(200).says("v"),
                matching("*").is(200).says("v"),
                matching("\"0\"").is(412),
                matching("W/$tag").is(412),
                matching("\"0\", W/$tag").is(412),
                head("/kv/$b/key")
                    .field("If-Match", "$tag")
                    .is(200)
                    .says(""),
                head("/kv/$b/key")
                    .field("If-Match", "\"0\"")
                    .is(412)
                    .says(""),
                get("/kv/$b/none").field("If-Match", "*").is(412),
                matching("$tag").field("If-None-Match", "$tag").is(304),
            ],
        ),
        case(
            "If-Match on a value that was read before",
            [
                put("/kv/$b/key").body("v").is(200).keep("ETag", "tag"),
                get("/kv/$b/key").is(200),
                matching("$tag").is(200).says("v"),
                matching("\"0\"").is(412),
                matching("\"0\"").is(412),
                matching("W/$tag").is(412),
                matching("*").is(200).says("v"),
                get("/kv/$b/key").is(200).says("v"),
            ],
        ),
        case(
            "If-Match takes a date",
            [
                dated(),
                matching(MIDDLE).is(200).says("v"),
                matching(&format!("\"{MIDDLE}\"")).is(200).says("v"),
                matching(LATE).is(412),
                matching(&format!("\"{EARLY}\"")).is(412),
                matching(&format!("\"0\", \"{MIDDLE}\"")).is(200),
            ],
        ),
        case(
            "If-Match takes a date of a value that was read before",
            [
                dated(),
                get("/kv/$b/key").is(200),
                matching(MIDDLE).is(200).says("v"),
                matching(&format!("\"{MIDDLE}\"")).is(200).says("v"),
                matching(LATE).is(412),
            ],
        ),
        case(
            "X-If-Match stands in for an absent If-Match",
            [
                dated(),
                get("/kv/$b/key")
                    .field("X-If-Match", "$tag")
                    .is(200)
                    .says("v"),
                get("/kv/$b/key")
                    .field("X-If-Match", &format!("\"{MIDDLE}\""))
                    .is(200)
                    .says("v"),
                get("/kv/$b/key").field("X-If-Match", LATE).is(412),
                get("/kv/$b/key").field("X-If-Match", "\"0\"").is(412),
                get("/kv/$b/key")
                    .field("X-If-Match", "\"0\"")
                    .field("If-Match", "$tag")
                    .is(200),
                get("/kv/$b/key")
                    .field("X-If-Match", "$tag")
                    .field("If-Match", "\"0\"")
                    .is(412),
                get("/kv/$b/none").field("X-If-Match", "*").is(412),
            ],
        ),
        case(
            "X-If-Match of a value that was read before",
            [
                dated(),
                get("/kv/$b/key").is(200),
                get("/kv/$b/key").is(200).hit(),
                get("/kv/$b/key").field("X-If-Match", LATE).is(412),
                get("/kv/$b/key").field("X-If-Match", "\"0\"").is(412),
                get("/kv/$b/key").field("X-If-Match", "$tag").is(200),
            ],
        ),
        case(
            "If-Unmodified-Since of a read",
            [
                dated(),
                get("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .is(200)
                    .says("v"),
                get("/kv/$b/key")
                    .field("If-Unmodified-Since", LATE)
                    .is(200)
                    .says("v"),
                get("/kv/$b/key")
                    .field("If-Unmodified-Since", EARLY)
                    .is(412),
                get("/kv/$b/key")
                    .field("If-Unmodified-Since", EARLY)
                    .field("If-Match", "$tag")
                    .is(200),
            ],
        ),
    ]
}

fn conditional_writes() -> Vec<Case> {
    let write =
        |name: &str, value: &str, body: &str| put("/kv/$b/key").field(name, value).body(body);
    vec![
        case(
            "If-Match of a write",
            [
                put("/kv/$b/key").body("one").is(200).keep("ETag", "one"),
                write("If-Match", "$one", "two").is(200).keep("ETag", "two"),
                get("/kv/$b/key").is(200).says("two").has("ETag", "$two"),
                write("If-Match", "$one", "three").is(412),
                write("If-Match", "W/$two", "three").is(412),
                write("If-Match", "\"0\", W/$two, $one", "three").is(412),
                get("/kv/$b/key").is(200).says("two"),
                write("If-Match", "\"0\", $two", "four")
                    .is(200)
                    .keep("ETag", "four"),
                get("/kv/$b/key").is(200).says("four").has("ETag", "$four"),
                write("If-Match", "*", "five").is(200),
                get("/kv/$b/key").is(200).says("five"),
                post("/kv/$b/key")
                    .field("If-Match", "$one")
                    .body("six")
                    .is(412),
                get("/kv/$b/key").is(200).says("five"),
            ],
        ),
        case(
            "If-Match of a write to a missing key",
            [
                write("If-Match", "*", "v").is(412),
                write("If-Match", "\"1\"", "v").is(412),
                get("/kv/$b/key").is(404),
            ],
        ),
        case(
            "several lines of If-Match are one list",
            [
                put("/kv/$b/key").body("one").is(200).keep("ETag", "one"),
                put("/kv/$b/key")
                    .field("If-Match", "\"0\"")
                    .field("If-Match", "$one")
                    .body("two")
                    .is(200),
                get("/kv/$b/key").is(200).says("two"),
            ],
        ),
        case(
            "If-None-Match of a write",
            [
                write("If-None-Match", "*", "one")
                    .is(200)
                    .keep("ETag", "one"),
                write("If-None-Match", "*", "two").is(412),
                write("If-None-Match", "$one", "two").is(412),
                write("If-None-Match", "W/$one", "two").is(412),
                write("If-None-Match", "\"0\", $one", "two").is(412),
                get("/kv/$b/key").is(200).says("one"),
                write("If-None-Match", "\"0\"", "two").is(200),
                get("/kv/$b/key").is(200).says("two"),
                delete("/kv/$b/key").is(200),
                write("If-None-Match", "*", "three").is(200),
                get("/kv/$b/key").is(200).says("three"),
            ],
        ),
        case(
            "both conditions must hold",
            [
                put("/kv/$b/key").body("one").is(200).keep("ETag", "one"),
                put("/kv/$b/key")
                    .field("If-Match", "$one")
                    .field("If-None-Match", "$one")
                    .body("two")
                    .is(412),
                put("/kv/$b/key")
                    .field("If-Match", "$one")
                    .field("If-None-Match", "\"0\"")
                    .body("two")
                    .is(200),
                get("/kv/$b/key").is(200).says("two"),
            ],
        ),
    ]
}

fn dated_writes() -> Vec<Case> {
    let dated = |date: &str, body: &str| {
        put("/kv/$b/key")
            .field("If-Unmodified-Since", date)
            .body(body)
    };
    let text = "Error in If-Unmodified-Since format. Use RFC 1123 date format.";
    vec![
        case(
            "the date of a write becomes that of the value",
            [
                dated(MIDDLE, "one").is(200).has("Last-Modified", MIDDLE),
                get("/kv/$b/key")
                    .is(200)
                    .says("one")
                    .has("Last-Modified", MIDDLE),
                dated(EARLY, "two").is(412),
                get("/kv/$b/key")
                    .is(200)
                    .says("one")
                    .has("Last-Modified", MIDDLE),
                dated(MIDDLE, "three").is(200).has("Last-Modified", MIDDLE),
                get("/kv/$b/key")
                    .is(200)
                    .says("three")
                    .has("Last-Modified", MIDDLE),
                dated(LATE, "four").is(200).has("Last-Modified", LATE),
                get("/kv/$b/key")
                    .is(200)
                    .says("four")
                    .has("Last-Modified", LATE),
                dated(MIDDLE, "five").is(412),
                post("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .body("five")
                    .is(412),
                get("/kv/$b/key")
                    .is(200)
                    .says("four")
                    .has("Last-Modified", LATE),
            ],
        ),
        case(
            "a write without a date keeps the date",
            [
                dated(MIDDLE, "one").is(200),
                put("/kv/$b/key")
                    .body("two")
                    .is(200)
                    .has("Last-Modified", MIDDLE),
                get("/kv/$b/key")
                    .is(200)
                    .says("two")
                    .has("Last-Modified", MIDDLE),
                dated(EARLY, "three").is(412),
            ],
        ),
        case(
            "a new key without a date is of today",
            [
                put("/kv/$b/key").body("one").is(200).check(is_of_today),
                get("/kv/$b/key").is(200).check(is_of_today),
                dated(LATE, "two").is(412),
                get("/kv/$b/key").is(200).says("one"),
            ],
        ),
        case(
            "a date that is none",
            [
                dated("Tue, 04 Jun 2013 03:01:31 000", "v")
                    .is(400)
                    .mentions(text),
                dated("2013-06-04T03:01:31Z", "v")
                    .field("Accept", "text/plain")
                    .is(400)
                    .mentions(text),
                dated("Tue, 31 Jun 2013 03:01:31 GMT", "v")
                    .is(400)
                    .mentions(text),
                dated("1370314891", "v").is(400).mentions(text),
                post("/kv/$b/key")
                    .field("If-Unmodified-Since", "now")
                    .body("v")
                    .is(400)
                    .mentions(text),
                get("/kv/$b/key").is(404),
            ],
        ),
        case(
            "a value that differs only by its revision is another",
            [
                dated(MIDDLE, "one").is(200).keep("ETag", "one"),
                get("/kv/$b/key").is(200),
                dated(MIDDLE, "two").is(200),
                get("/kv/$b/key")
                    .field("If-None-Match", "$one")
                    .is(200)
                    .says("two"),
            ],
        ),
    ]
}

fn deletes() -> Vec<Case> {
    vec![
        case(
            "a deleted key is gone",
            [
                put("/kv/$b/key").body("v").is(200),
                get("/kv/$b/key").is(200),
                delete("/kv/$b/key").is(200),
                get("/kv/$b/key").is(404),
                head("/kv/$b/key").is(404),
                delete("/kv/$b/key").is(404),
                delete("/kv/$b/never").is(404),
            ],
        ),
        case(
            "conditional deletes",
            [
                put("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .body("one")
                    .is(200)
                    .keep("ETag", "one"),
                put("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .body("two")
                    .is(200)
                    .keep("ETag", "two"),
                get("/kv/$b/key").is(200),
                delete("/kv/$b/key").field("If-Match", "$one").is(412),
                delete("/kv/$b/key").field("If-Match", "W/$two").is(412),
                delete("/kv/$b/key").field("If-None-Match", "*").is(412),
                delete("/kv/$b/key")
                    .field("If-Unmodified-Since", EARLY)
                    .is(412),
                get("/kv/$b/key").is(200).says("two"),
                delete("/kv/$b/key").field("If-Match", "$two").is(200),
                get("/kv/$b/key").is(404),
            ],
        ),
        case(
            "a delete at the value's own date",
            [
                put("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .body("v")
                    .is(200),
                delete("/kv/$b/key")
                    .field("If-Unmodified-Since", MIDDLE)
                    .is(200),
                get("/kv/$b/key").is(404),
            ],
        ),
    ]
}

fn merge_patches() -> Vec<Case> {
    let merge = |body: &str| patch("/kv/$b/key").typed(MERGE, body);
    vec![
        case(
            "merge patches",
            [
                put("/kv/$b/key")
                    .typed(JSON, r#"{"a": 1, "b": {"c": "讓", "d": [1, 2]}}"#)
                    .is(200)
                    .keep("ETag", "one"),
                get("/kv/$b/key").is(200),
                merge(r#"{"a": null, "b": {"d": [3]}, "e": true}"#)
                    .is(200)
                    .keep("ETag", "two")
                    .check(|answer, kept| grew(answer, kept, "one")),
                get("/kv/$b/key")
                    .is(200)
                    .says_json(r#"{"b": {"c": "讓", "d": [3]}, "e": true}"#)
                    .has("ETag", "$two")
                    .begins("Content-Type", JSON),
                merge("[1]").is(200),
                get("/kv/$b/key").is(200).says_json("[1]"),
            ],
        ),
        case(
            "what a patch cannot do",
            [
                merge(r#"{"a": 1}"#).is(404),
                put("/kv/$b/key")
                    .body("no JSON")
                    .is(200)
                    .keep("ETag", "tag"),
                merge(r#"{"a": 1}"#).is_one_of(&[409, 422]),
                put("/kv/$b/key")
                    .typed(JSON, "{}")
                    .is(200)
                    .keep("ETag", "tag"),
                merge(r#"{"a": "#).is_one_of(&[400, 422]),
                patch("/kv/$b/key").typed(JSON, "{}").is(415),
                patch("/kv/$b/key").typed("text/plain", "{}").is(415),
                patch("/kv/$b/key").body("{}").is(415),
                get("/kv/$b/key")
                    .is(200)
                    .says_json("{}")
                    .has("ETag", "$tag"),
            ],
        ),
        case(
            "conditional patches",
            [
                put("/kv/$b/key")
                    .typed(JSON, r#"{"a": 1}"#)
                    .is(200)
                    .keep("ETag", "one"),
                merge(r#"{"a": 2}"#)
                    .field("If-Match", "$one")
                    .is(200)
                    .keep("ETag", "two"),
                merge(r#"{"a": 3}"#).field("If-Match", "$one").is(412),
                merge(r#"{"a": 3}"#).field("If-Match", "W/$two").is(412),
                merge(r#"{"a": 3}"#).field("If-None-Match", "$two").is(412),
                get("/kv/$b/key").is(200).says_json(r#"{"a": 2}"#),
            ],
        ),
    ]
}

fn operation_patches() -> Vec<Case> {
    let operations = |body: &str| patch("/kv/$b/key").typed(OPERATIONS, body);
    vec![case("operations", [
        operations("[]").is(404),
        put("/kv/$b/key").typed(JSON, r#"{"a": [1, 2], "b": "x"}"#).is(200),
        get("/kv/$b/key").is(200),
        operations(
            r#"[{"op": "test", "path": "/b", "value": "x"}, {"op": "add", "path": "/a/-", "value": 3},
                {"op": "move", "from": "/b", "path": "/c"}, {"op": "copy", "from": "/a/0", "path": "/d"},
                {"op": "replace", "path": "/a/1", "value": "讓"}, {"op": "remove", "path": "/a/0"}]"#,
        )
        .is(200),
        get("/kv/$b/key").is(200).says_json(r#"{"a": ["讓", 3], "c": "x", "d": 1}"#),
        operations(r#"[{"op": "remove", "path": "/c"}, {"op": "test", "path": "/d", "value": 2}]"#).is(409),
        operations(r#"[{"op": "remove", "path": "/none"}]"#).is_one_of(&[409, 422]),
        operations(r#"[{"op": "invent", "path": "/c"}]"#).is_one_of(&[400, 422]),
        get("/kv/$b/key").is(200).says_json(r#"{"a": ["讓", 3], "c": "x", "d": 1}"#),
    ])]
}

fn increments() -> Vec<Case> {
    let add = |body: &str| patch("/kv/$b/key").typed(INCREMENT, body);
    vec![case(
        "increments",
        [
            add(r#"{"n": 1}"#).is(404),
            put("/kv/$b/key")
                .typed(JSON, r#"{"n": 1, "x": 0.5, "text": "t"}"#)
                .is(200),
            get("/kv/$b/key").is(200),
            add(r#"{"n": 41, "x": 0.25, "new": -3}"#).is(200),
            get("/kv/$b/key")
                .is(200)
                .says_json(r#"{"n": 42, "x": 0.75, "text": "t", "new": -3}"#),
            add(r#"{"new": null, "n": -2}"#).is(200),
            get("/kv/$b/key")
                .is(200)
                .says_json(r#"{"n": 40, "x": 0.75, "text": "t"}"#),
            add(r#"{"text": 1}"#).is_one_of(&[409, 422]),
            add(r#"{"n": "1"}"#).is_one_of(&[400, 422]),
            add("[1]").is_one_of(&[400, 422]),
            get("/kv/$b/key")
                .is(200)
                .says_json(r#"{"n": 40, "x": 0.75, "text": "t"}"#),
        ],
    )]
}

fn lists() -> Vec<Case> {
    let keys = |target: &str| get(target).field("Accept", "text/plain").is(200);
    let filled =
        || ["a1", "a2", "b1", "b2", "c"].map(|key| put(&format!("/kv/$b/{key}")).body(key).is(200));
    vec![
        case("keys of a bucket as text", {
            let mut steps: Vec<Step> = filled().into();
            steps.extend([
                keys("/kv/$b")
                    .says("a1\na2\nb1\nb2\nc\n")
                    .begins("Content-Type", "text/plain"),
                keys("/kv/$b?prefix=b").says("b1\nb2\n"),
                keys("/kv/$b?after=a2").says("b1\nb2\nc\n"),
                keys("/kv/$b?prefix=a&after=a1").says("a2\n"),
                keys("/kv/$b?prefix=none").says(""),
                keys("/kv/$b?limit=2")
                    .says("a1\na2\n")
                    .check(next_is("after=a2")),
                keys("/kv/$b?limit=2&after=a2")
                    .says("b1\nb2\n")
                    .check(next_is("after=b2")),
                keys("/kv/$b?limit=2&after=b2").says("c\n").lacks("Link"),
                keys("/kv/$b?prefix=a&limit=1")
                    .says("a1\n")
                    .check(next_is("prefix=a")),
                delete("/kv/$b/b1").is(200),
                keys("/kv/$b").says("a1\na2\nb2\nc\n"),
                put("/kv/$b/d").body("v").is(200),
                keys("/kv/$b").says("a1\na2\nb2\nc\nd\n"),
            ]);
            steps
        }),
        case("keys of a bucket as JSON", {
            let mut steps: Vec<Step> = filled().into();
            steps.extend([
                get("/kv/$b?limit=2")
                    .is(200)
                    .begins("Content-Type", JSON)
                    .check(is_json)
                    .mentions("\"a2\""),
                get("/kv/$b")
                    .field("Accept", JSON)
                    .is(200)
                    .begins("Content-Type", JSON)
                    .check(is_json)
                    .mentions("\"c\""),
                get("/kv/$b")
                    .field("Accept", "application/x-ndjson")
                    .is(200)
                    .begins("Content-Type", "application/x-ndjson")
                    .check(is_lines_of_json(5)),
                get("/kv/$b").field("Accept", "image/png").is(406),
                get("/kv/$b")
                    .field("Accept", "image/png, */*;q=0.1")
                    .is(200),
            ]);
            steps
        }),
        case(
            "a bucket that nothing was written to",
            [get("/kv/$b-none").is(404)],
        ),
        case(
            "the buckets",
            [
                put("/kv/$b/a").body("1234").is(200),
                put("/kv/$b/b").body("12345").is(200),
                get("/kv")
                    .is(200)
                    .begins("Content-Type", JSON)
                    .check(|answer, kept| {
                        let all: serde_json::Value =
                            serde_json::from_slice(&answer.body).context("JSON")?;
                        let text = all.to_string();
                        let name = format!("\"{}\"", kept["b"]);
                        let from = text
                            .find(&name)
                            .with_context(|| format!("{name} is not in {text}"))?;
                        // Whatever the members are called, those of this bucket say 2 keys and 9 bytes.
                        let ours: String = text[from..]
                            .chars()
                            .take_while(|character| *character != '}')
                            .collect();
                        ensure!(
                            ours.contains(":2") && ours.contains(":9"),
                            "{ours} is not 2 keys and 9 bytes"
                        );
                        Ok(())
                    }),
            ],
        ),
    ]
}

fn batches() -> Vec<Case> {
    let write = |body: &str| put("/multi/$b").typed(JSON, body);
    let read = |body: &str| post("/multi/$b").typed(JSON, body);
    vec![
        case("batch writes and reads", [
            write(r#"[{"key": "a", "data": "1"}, {"key": "讓", "data": "我們 🦀"}]"#).is(200)
                .says_json(r#"{"a": "inserted", "讓": "inserted"}"#),
            get("/kv/$b/a").is(200).says("1"),
            get("/kv/$b/%E8%AE%93").is(200).says("我們 🦀"),
            write(r#"[{"key": "a", "data": "2"}, {"key": "b", "data": ""}]"#).is(200)
                .says_json(r#"{"a": "updated", "b": "inserted"}"#),
            read(r#"[{"key": "a"}, {"key": "b"}, {"key": "讓"}, {"key": "none"}]"#).is(200).begins("Content-Type", JSON)
                .says_json(r#"{"a": "2", "b": "", "讓": "我們 🦀"}"#),
            read("[]").is(200).says_json("{}"),
            write("[]").is(200).says_json("{}"),
        ]),
        case("dated batches", [
            write(&format!(r#"[{{"key": "a", "data": "1", "modified_at": "{MIDDLE}"}}]"#)).is(200)
                .says_json(r#"{"a": "inserted"}"#),
            get("/kv/$b/a").is(200).has("Last-Modified", MIDDLE),
            write(&format!(
                r#"[{{"key": "a", "data": "2", "modified_at": "{EARLY}"}}, {{"key": "b", "data": "2", "modified_at": "{EARLY}"}}]"#
            ))
            .is(200).says_json(r#"{"a": "rejected", "b": "inserted"}"#),
            read(&format!(r#"[{{"key": "a", "modified_at": "{MIDDLE}"}}, {{"key": "b", "modified_at": "{MIDDLE}"}}]"#)).is(200)
                .says_json(r#"{"a": "1"}"#),
            read(r#"[{"key": "a"}, {"key": "b"}]"#).is(200).says_json(r#"{"a": "1", "b": "2"}"#),
        ]),
        case("batch deletes", [
            put("/kv/$b/a").body("1").is(200),
            put("/kv/$b/b").body("2").is(200),
            delete("/multi/$b").typed(JSON, r#"[{"key": "a"}, {"key": "none"}]"#).is(200),
            get("/kv/$b/a").is(404),
            get("/kv/$b/b").is(200).says("2"),
        ]),
        case("broken batches", [
            read("[{").is(400),
            read(r#"{"key": "a"}"#).is(400),
            read(r#"[{"kay": "a"}]"#).is(400),
            read(r#"[{"key": 1}]"#).is(400),
            write(r#"[{"key": "a"}]"#).is(400),
            write(r#"[{"key": "a", "data": "1"}, {"key": "b\n", "data": "2"}]"#).is(400),
            write(r#"[{"key": "a", "data": "1", "modified_at": "yesterday"}]"#).is(400),
            get("/kv/$b/a").is(404),
            post("/multi/$b").typed("text/plain", "[]").is(415),
            put("/multi/$b").typed("text/plain", "[]").is(415),
            put("/multi/$b").typed(JSON, vec![b' '; 64 * VALUE_BYTES_MAX]).is(413),
        ]),
    ]
}

fn lifetimes() -> Vec<Case> {
    let soon = Duration::from_millis(2300);
    vec![
        case(
            "an expired key is gone",
            [
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "2")
                    .body("v")
                    .is(200),
                get("/kv/$b/key").is(200).says("v").check(lives_at_most(2)),
                get("/kv/$b/key").after(soon).is(404),
                get("/kv/$b")
                    .field("Accept", "text/plain")
                    .is_one_of(&[200, 404])
                    .check(|answer, _| {
                        ensure!(!answer.text().contains("key\n"), "the list has it");
                        Ok(())
                    }),
                delete("/kv/$b/key").is(404),
            ],
        ),
        case(
            "an expired key can be created",
            [
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "1")
                    .body("old")
                    .is(200)
                    .keep("ETag", "old"),
                get("/kv/$b/key").is_one_of(&[200, 404]),
                put("/kv/$b/key")
                    .after(soon)
                    .field("If-Match", "$old")
                    .body("new")
                    .is(412),
                put("/kv/$b/key")
                    .field("If-None-Match", "*")
                    .body("new")
                    .is(200)
                    .check(|answer, kept| grew(answer, kept, "old")),
                get("/kv/$b/key").is(200).says("new"),
            ],
        ),
        case(
            "a long life",
            [
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "100")
                    .body("v")
                    .is(200),
                get("/kv/$b/key").is(200).check(lives_at_most(100)),
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "1000000")
                    .body("v")
                    .is(200),
                get("/kv/$b/key").is(200).has(
                    "CDN-Cache-Control",
                    "max-age=14400, stale-while-revalidate=300",
                ),
            ],
        ),
        case(
            "no time to live",
            [
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "soon")
                    .body("v")
                    .is(400),
                put("/kv/$b/key")
                    .field("Lacquer-TTL", "-1")
                    .body("v")
                    .is(400),
                get("/kv/$b/key").is(404),
            ],
        ),
    ]
}

fn pages() -> Vec<Case> {
    vec![
        case(
            "status, help and readiness",
            [
                get("/status").is(200).check(|answer, _| {
                    ensure!(answer.text().trim() == "ok");
                    Ok(())
                }),
                get("/ready").is(200),
                get("/help").is(200).mentions("/kv/").mentions("/multi/"),
                head("/status").is(200).says(""),
            ],
        ),
        case(
            "everything else is answered with help",
            [
                get("/").is_one_of(&[200, 404]),
                get("/nothing").is(404).mentions("/kv/"),
                get("/kv/$b/").is_one_of(&[400, 404]),
            ],
        ),
        case(
            "methods that a path does not have",
            [
                delete("/status").is(405).lists("Allow", "GET"),
                put("/kv").body("v").is(405).lists("Allow", "GET"),
                delete("/kv").is(405).lists("Allow", "GET"),
                post("/kv/$b").body("v").is(405).lists("Allow", "GET"),
                Step::new("BREW", "/kv/$b/key")
                    .is(405)
                    .lists("Allow", "PUT")
                    .lists("Allow", "PATCH")
                    .lists("Allow", "DELETE"),
                patch("/multi/$b")
                    .typed(JSON, "[]")
                    .is(405)
                    .lists("Allow", "POST"),
            ],
        ),
    ]
}

/// Edits, misses, hits and deletes, as caches see them.
fn sequences() -> Vec<Case> {
    let plain = || get("/kv/$b/key");
    let matching = |tag: &str| get("/kv/$b/key").field("If-Match", tag);
    vec![
        case(
            "edit, miss, hit, edit, miss, hit, delete",
            [
                plain().is(404).miss(),
                plain().is(404).miss(),
                put("/kv/$b/key")
                    .body("one")
                    .is(200)
                    .keep("ETag", "one")
                    .miss(),
                plain().is(200).says("one").has("ETag", "$one").miss(),
                plain().is(200).says("one").has("ETag", "$one").hit(),
                head("/kv/$b/key")
                    .is(200)
                    .says("")
                    .has("ETag", "$one")
                    .hit(),
                put("/kv/$b/key")
                    .body("two")
                    .is(200)
                    .keep("ETag", "two")
                    .miss(),
                plain().is(200).says("two").has("ETag", "$two").miss(),
                plain().is(200).says("two").has("ETag", "$two").hit(),
                post("/kv/$b/key")
                    .body("three")
                    .is(200)
                    .keep("ETag", "three")
                    .miss(),
                plain().is(200).says("three").has("ETag", "$three").miss(),
                plain().is(200).says("three").hit(),
                delete("/kv/$b/key").is(200).miss(),
                plain().is(404).miss(),
                put("/kv/$b/key").body("four").is(200).keep("ETag", "four"),
                plain().is(200).says("four").has("ETag", "$four").miss(),
                plain().is(200).says("four").hit(),
            ],
        ),
        case(
            "a batch ends what was read before",
            [
                put("/kv/$b/key").body("one").is(200),
                plain().is(200).says("one").miss(),
                plain().is(200).says("one").hit(),
                put("/multi/$b")
                    .typed(JSON, r#"[{"key":"key","data":"two"}]"#)
                    .is(200),
                plain().is(200).says("two").miss(),
                plain().is(200).says("two").hit(),
                delete("/multi/$b").typed(JSON, r#"["key"]"#).is(200),
                plain().is(404).miss(),
            ],
        ),
        case(
            "the same with If-Match",
            [
                matching("*").is(412).miss(),
                put("/kv/$b/key").body("one").is(200).keep("ETag", "one"),
                matching("$one").is(200).says("one").miss(),
                matching("$one").is(200).says("one").hit(),
                put("/kv/$b/key")
                    .body("two")
                    .field("If-Match", "$one")
                    .is(200)
                    .keep("ETag", "two"),
                matching("$one").is(412).miss(),
                matching("$two").is(200).says("two").miss(),
                matching("$two").is(200).says("two").hit(),
                matching("$one").is(412).miss(),
                matching("$two").is(200).says("two").hit(),
                delete("/kv/$b/key").field("If-Match", "$two").is(200),
                matching("$two").is_one_of(&[404, 412]).miss(),
                matching("*").is(412).miss(),
            ],
        ),
        case(
            "with and without If-Match",
            [
                put("/kv/$b/key").body("one").is(200).keep("ETag", "one"),
                plain().is(200).says("one").miss(),
                matching("$one").is(200).says("one"),
                plain().is(200).says("one").hit(),
                matching("\"0\"").is(412).miss(),
                plain().is(200).says("one").hit(),
                put("/kv/$b/key").body("two").is(200).keep("ETag", "two"),
                matching("$one").is(412).miss(),
                plain().is(200).says("two").has("ETag", "$two"),
                matching("$two").is(200).says("two"),
                matching("$one").is(412),
            ],
        ),
        case(
            "the same with dates",
            [
                put("/kv/$b/key")
                    .field("If-Unmodified-Since", EARLY)
                    .body("one")
                    .is(200),
                matching(EARLY).is(200).says("one").miss(),
                matching(EARLY).is(200).says("one").hit(),
                put("/kv/$b/key")
                    .field("If-Unmodified-Since", LATE)
                    .body("two")
                    .is(200),
                matching(EARLY).is(412).miss(),
                matching(LATE).is(200).says("two").miss(),
                matching(LATE).is(200).says("two").hit(),
            ],
        ),
        case(
            "what changes nothing leaves the stored answer alone",
            [
                put("/kv/$b/key").body("one").is(200),
                plain().is(200).miss(),
                put("/kv/$b/key")
                    .field("If-Match", "\"0\"")
                    .body("two")
                    .is(412)
                    .miss(),
                delete("/kv/$b/key")
                    .field("If-Match", "\"0\"")
                    .is(412)
                    .miss(),
                plain().is(200).says("one").hit(),
            ],
        ),
        case(
            "a patch is an edit",
            [
                put("/kv/$b/key").typed(JSON, r#"{"n": 1}"#).is(200),
                plain().is(200).miss(),
                plain().is(200).hit(),
                patch("/kv/$b/key")
                    .typed(INCREMENT, r#"{"n": 1}"#)
                    .is(200)
                    .miss(),
                plain().is(200).says_json(r#"{"n": 2}"#).miss(),
                plain().is(200).says_json(r#"{"n": 2}"#).hit(),
            ],
        ),
        case(
            "one key's edit leaves the others",
            [
                put("/kv/$b/key").body("one").is(200),
                put("/kv/$b/other").body("o").is(200),
                plain().is(200).miss(),
                get("/kv/$b/other").is(200).miss(),
                put("/kv/$b/key").body("two").is(200),
                get("/kv/$b/other").is(200).says("o").hit(),
                plain().is(200).says("two").miss(),
            ],
        ),
    ]
}

fn revision(tag: &str) -> Result<u64> {
    let quoted = tag
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    quoted
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{tag} is no quoted number"))
}

fn etag_is_a_quoted_revision(answer: &Response, _: &Kept) -> Result<()> {
    revision(answer.field("ETag").context("no ETag")?).map(drop)
}

/// The answer's revision is above a kept one.
fn grew(answer: &Response, kept: &Kept, before: &str) -> Result<()> {
    let (now, before) = (
        revision(answer.field("ETag").context("no ETag")?)?,
        revision(&kept[before])?,
    );
    ensure!(now > before, "revision {now} after {before}");
    Ok(())
}

/// Last-Modified is the day of the test, as the Date of the answer says, or one of those beside it.
fn is_of_today(answer: &Response, _: &Kept) -> Result<()> {
    let modified = answer.field("Last-Modified").context("no Last-Modified")?;
    let date = answer.field("Date").context("no Date")?;
    let (minute, now) = (modified.get(..17), date.get(..17));
    let around_midnight = date.contains(" 00:0") || modified.contains(" 23:5");
    ensure!(
        minute.is_some() && minute == now || around_midnight,
        "{modified} is not of the day of {date}"
    );
    Ok(())
}

/// There is a `Link: <...>; rel="next"` whose target has this in its query.
fn next_is(part: &'static str) -> impl Fn(&Response, &Kept) -> Result<()> {
    move |answer, _| {
        let link = answer.field("Link").context("no Link")?;
        ensure!(
            link.contains("rel=\"next\"") && link.contains(part),
            "Link is {link}, without {part}"
        );
        Ok(())
    }
}

fn is_json(answer: &Response, _: &Kept) -> Result<()> {
    serde_json::from_slice::<serde_json::Value>(&answer.body)
        .context("the body is not JSON")
        .map(drop)
}

fn is_lines_of_json(lines: usize) -> impl Fn(&Response, &Kept) -> Result<()> {
    move |answer, _| {
        let text = answer.text();
        ensure!(
            text.lines().count() == lines && text.ends_with('\n'),
            "not {lines} lines"
        );
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line)
                .with_context(|| format!("{line:?} is not JSON"))?;
        }
        Ok(())
    }
}

/// CDN-Cache-Control allows caches no more than these seconds, staleness included.
fn lives_at_most(seconds: u64) -> impl Fn(&Response, &Kept) -> Result<()> {
    move |answer, _| {
        let control = answer
            .field("CDN-Cache-Control")
            .context("no CDN-Cache-Control")?;
        let allowed = control
            .split(',')
            .filter_map(|directive| directive.split_once('=')?.1.trim().parse::<u64>().ok());
        let allowed: u64 = allowed.sum();
        ensure!(allowed <= seconds, "{control} is more than {seconds} s");
        Ok(())
    }
}

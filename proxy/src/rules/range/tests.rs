use super::*;
use crate::http::{Scheme, Version};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

fn request(method: Method, lines: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method,
        target: "/".to_owned(),
        authority: "example.org".to_owned(),
        scheme: Scheme::Http,
        version: Version::Http11,
        fields: lines.iter().copied().collect(),
    }
}

fn stored(lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(200);
    head.fields = lines.iter().copied().collect();
    head
}

use RangeRequest::{Multiple, NeedsLength, Single, Unsatisfiable, Whole};

#[test]
fn ranges_are_selected_from_the_content() {
    fn check(range: &str, complete_len: u64, expected: RangeRequest) {
        let request = request(Method::Get, &[("range", range)]);
        let found = requested_range(&request, &stored(&[]), Some(complete_len), 4);
        assert_eq!(found, expected, "{range} of {complete_len}");
    }
    check("bytes=0-0", 10, Single(0..1));
    check("bytes=0-", 10, Single(0..10));
    check("bytes=2-5", 10, Single(2..6));
    check("Bytes=2-5", 10, Single(2..6));
    check("bytes= 2-5 ,", 10, Single(2..6));
    check("bytes=9-", 10, Single(9..10));
    check("bytes=5-99", 10, Single(5..10));
    check("bytes=5-99999999999999999999999", 10, Single(5..10));
    check("bytes=-3", 10, Single(7..10));
    check("bytes=-99", 10, Single(0..10));
    check(
        "bytes=0-18446744073709551615",
        u64::MAX,
        Single(0..u64::MAX),
    );

    check("bytes=10-", 10, Unsatisfiable);
    check("bytes=10-11, 20-", 10, Unsatisfiable);
    check("bytes=99999999999999999999999-", 10, Unsatisfiable);
    check("bytes=-0", 10, Unsatisfiable);
    check("bytes=0-", 0, Unsatisfiable);
    check("bytes=-5", 0, Whole);
    check("bytes=-0", 0, Unsatisfiable);

    check("bytes=0-1, 4-5", 10, Multiple(vec![0..2, 4..6]));
    check("bytes=-2, 0-1", 10, Multiple(vec![8..10, 0..2]));
    check("bytes=0-1, 20-, 4-5", 10, Multiple(vec![0..2, 4..6]));
    check("bytes=0-1, 20-", 10, Single(0..2));
    check("bytes=0-1,2-3", 10, Single(0..4));
    check("bytes=0-5,2-3,3-8", 10, Single(0..9));
    check("bytes=0-1,8-9,4-5,2-7", 10, Single(0..10));
    check("bytes=6-7,0-1,1-2", 10, Multiple(vec![6..8, 0..3]));
    check(
        "bytes=0-0,2-2,4-4,6-6",
        10,
        Multiple(vec![0..1, 2..3, 4..5, 6..7]),
    );
    check("bytes=0-0,2-2,4-4,6-6,8-8", 10, Whole);

    for ignored in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-2",
        "bytes=0-1, 5-2",
        "bytes=0-1, x",
        "bytes=--1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1 -2",
        "bytes =1-2",
        "items=0-1",
        "bytes=0x1-2",
        "bytes:0-1",
    ] {
        check(ignored, 10, Whole);
    }
}

#[test]
fn only_a_stored_200_asked_for_by_get_has_ranges() {
    fn check(method: Method, status: u16, lines: &[(&str, &str)], expected: RangeRequest) {
        let mut stored = stored(&[]);
        stored.status = status;
        let found = requested_range(&request(method, lines), &stored, Some(10), 4);
        assert_eq!(found, expected, "{lines:?}");
    }
    let range = ("range", "bytes=0-0");
    check(Method::Get, 200, &[range], Single(0..1));
    check(Method::Get, 200, &[range, range], Whole);
    check(Method::Get, 200, &[("if-range", "\"a\"")], Whole);
    check(Method::Head, 200, &[range], Whole);
    check(Method::Get, 404, &[range], Whole);
    check(Method::Get, 203, &[range], Whole);
}

#[test]
fn if_range_needs_a_strong_match() {
    fn check(if_range: &str, lines: &[(&str, &str)], expected: RangeRequest) {
        let request = request(
            Method::Get,
            &[("range", "bytes=0-0"), ("if-range", if_range)],
        );
        let found = requested_range(&request, &stored(lines), Some(10), 4);
        assert_eq!(found, expected, "{if_range} {lines:?}");
    }
    let part = Single(0..1);
    check("\"a\"", &[("etag", "\"a\"")], part.clone());
    check("\"a\"", &[("etag", "\"b\"")], Whole);
    check("\"a\"", &[("etag", "W/\"a\"")], Whole);
    check("W/\"a\"", &[("etag", "W/\"a\"")], Whole);
    check("\"a\"", &[], Whole);
    check("*", &[("etag", "\"a\"")], Whole);
    check("a", &[("etag", "a")], Whole);
    check(
        DATE,
        &[("last-modified", DATE), ("date", LATER)],
        part.clone(),
    );
    check(
        "sunday, 06-nov-94 08:49:37 gmt",
        &[("last-modified", DATE), ("date", LATER)],
        part,
    );
    check(DATE, &[("last-modified", DATE), ("date", DATE)], Whole);
    check(LATER, &[("last-modified", DATE), ("date", LATER)], Whole);
    check(DATE, &[("date", DATE)], Whole);
}

#[test]
fn a_length_that_is_not_known_yet_leaves_the_range_open() {
    fn check(lines: &[(&str, &str)], expected: RangeRequest) {
        let found = requested_range(&request(Method::Get, lines), &stored(&[]), None, 4);
        assert_eq!(found, expected, "{lines:?}");
    }
    check(&[("range", "bytes=0-0")], NeedsLength);
    check(&[("range", "bytes=x")], Whole);
    check(&[("range", "bytes=0-0"), ("if-range", "\"a\"")], Whole);
    check(&[], Whole);
}

#[test]
fn fields_tell_the_part() {
    let mut fields = stored(&[("content-length", "10"), ("etag", "\"a\"")]).fields;
    set_partial(&mut fields, &(2..6), 10);
    assert_eq!(fields.get_str("content-range"), Some("bytes 2-5/10"));
    assert_eq!(fields.get_str("content-length"), Some("4"));
    assert_eq!(fields.get_str("etag"), Some("\"a\""));

    set_unsatisfiable(&mut fields, 10);
    let expected: Fields = [("content-range", "bytes */10"), ("content-length", "0")]
        .into_iter()
        .collect();
    assert_eq!(fields, expected);
}

#[test]
fn random_sets_select_the_bytes_that_they_name() {
    use rand::prelude::*;
    let mut random = rand::rngs::StdRng::seed_from_u64(9110);
    for _ in 0..5_000 {
        let complete_len = random.random_range(1..30_u64);
        let mut wanted = vec![false; complete_len as usize];
        let mut texts = Vec::new();
        for _ in 0..random.random_range(1..6) {
            let first = random.random_range(0..40_u64);
            let last = first + random.random_range(0..10_u64);
            texts.push(format!("{first}-{last}"));
            for position in first..=last.min(complete_len - 1) {
                wanted[position as usize] = true;
            }
        }
        let range = format!("bytes={}", texts.join(","));
        let request = request(Method::Get, &[("range", &range)]);
        let parts = match requested_range(&request, &stored(&[]), Some(complete_len), 8) {
            Single(part) => vec![part],
            Multiple(parts) => parts,
            Unsatisfiable => Vec::new(),
            other => panic!("{range}: {other:?}"),
        };
        let mut found = vec![false; complete_len as usize];
        for position in parts.iter().cloned().flatten() {
            assert!(!found[position as usize], "{range}: {position} twice");
            found[position as usize] = true;
        }
        assert_eq!(found, wanted, "{range} of {complete_len}");
    }
}

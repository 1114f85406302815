use super::*;

const BYTES_MAX: usize = 1_000;

#[track_caller]
fn check(format: PatchFormat, stored: &str, patch: &str, expected: &str) {
    let patched = apply_patch(format, stored.as_bytes(), patch.as_bytes(), BYTES_MAX);
    let patched = patched.unwrap_or_else(|error| panic!("{stored} {patch}: {error}"));
    assert_eq!(
        String::from_utf8(patched).unwrap(),
        expected,
        "{stored} {patch}"
    );
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Document,
    Stored,
    Conflict,
    Range,
    TooLarge,
}

#[track_caller]
fn refused(format: PatchFormat, stored: &str, patch: &str, expected: Refusal) {
    let refusal = match apply_patch(format, stored.as_bytes(), patch.as_bytes(), BYTES_MAX) {
        Ok(patched) => panic!("{stored} {patch}: {}", String::from_utf8_lossy(&patched)),
        Err(PatchError::Document { .. }) => Refusal::Document,
        Err(PatchError::Stored { .. }) => Refusal::Stored,
        Err(PatchError::Conflict { .. }) => Refusal::Conflict,
        Err(PatchError::Range { .. }) => Refusal::Range,
        Err(PatchError::TooLarge { .. }) => Refusal::TooLarge,
    };
    assert_eq!(refusal, expected, "{stored} {patch}");
}

#[test]
fn merge_patches_follow_rfc_7396() {
    use PatchFormat::Merge;
    check(Merge, r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
    check(Merge, r#"{"a":"b","b":1}"#, r#"{"a":null}"#, r#"{"b":1}"#);
    check(
        Merge,
        r#"{"a":{"b":"c"}}"#,
        r#"{"a":{"b":"d","c":null}}"#,
        r#"{"a":{"b":"d"}}"#,
    );
    check(
        Merge,
        r#"{"a":[{"b":"c"}]}"#,
        r#"{"a":[1]}"#,
        r#"{"a":[1]}"#,
    );
    check(Merge, r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
    check(Merge, r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
    check(Merge, "[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
    check(
        Merge,
        "{}",
        r#"{"a":{"bb":{"ccc":null}}}"#,
        r#"{"a":{"bb":{}}}"#,
    );
    check(
        Merge,
        r#"{"text":"讓我們"}"#,
        r#"{"n":1}"#,
        r#"{"text":"讓我們","n":1}"#,
    );
}

#[test]
fn json_patches_follow_rfc_6902() {
    use PatchFormat::Operations;
    check(
        Operations,
        r#"{"a":1}"#,
        r#"[{"op":"add","path":"/b","value":2}]"#,
        r#"{"a":1,"b":2}"#,
    );
    check(
        Operations,
        r#"{"a":[1,3]}"#,
        r#"[{"op":"add","path":"/a/1","value":2}]"#,
        r#"{"a":[1,2,3]}"#,
    );
    check(
        Operations,
        r#"{"a":1}"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/a","value":2}]"#,
        r#"{"a":2}"#,
    );
    check(
        Operations,
        r#"{"a":1,"b":2}"#,
        r#"[{"op":"remove","path":"/a"}]"#,
        r#"{"b":2}"#,
    );
    check(
        Operations,
        r#"{"a":{"x":1}}"#,
        r#"[{"op":"move","from":"/a/x","path":"/b"}]"#,
        r#"{"a":{},"b":1}"#,
    );
    check(
        Operations,
        r#"{"a":1}"#,
        r#"[{"op":"copy","from":"/a","path":"/b"}]"#,
        r#"{"a":1,"b":1}"#,
    );
    check(Operations, "{}", "[]", "{}");
    for conflict in [
        r#"[{"op":"test","path":"/a","value":2}]"#,
        r#"[{"op":"remove","path":"/zz"}]"#,
        r#"[{"op":"replace","path":"/zz","value":1}]"#,
        r#"[{"op":"add","path":"/x/y","value":1}]"#,
        r#"[{"op":"copy","from":"/zz","path":"/b"}]"#,
    ] {
        refused(Operations, r#"{"a":1}"#, conflict, Refusal::Conflict);
    }
    for invalid in [
        "",
        "{",
        "{}",
        r#"[{"op":"fly","path":"/a"}]"#,
        r#"[{"op":"add","path":"a","value":1}]"#,
        r#"[{"op":"add","path":"/a"}]"#,
    ] {
        refused(Operations, r#"{"a":1}"#, invalid, Refusal::Document);
    }
}

#[test]
fn increments_add_and_remove() {
    use PatchFormat::Increment;
    check(Increment, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#);
    check(Increment, "{}", r#"{"n":2}"#, r#"{"n":2}"#);
    check(
        Increment,
        r#"{"n":1,"s":"x"}"#,
        r#"{"n":-2}"#,
        r#"{"n":-1,"s":"x"}"#,
    );
    check(Increment, r#"{"n":1.5}"#, r#"{"n":1}"#, r#"{"n":2.5}"#);
    check(
        Increment,
        r#"{"a":1,"b":2}"#,
        r#"{"a":null,"zz":null}"#,
        r#"{"b":2}"#,
    );
    check(Increment, r#"{"a":"text"}"#, r#"{"a":null}"#, "{}");
    check(
        Increment,
        r#"{"n":9223372036854775807}"#,
        r#"{"n":1}"#,
        r#"{"n":9223372036854775808}"#,
    );
    refused(
        Increment,
        r#"{"n":18446744073709551615}"#,
        r#"{"n":1}"#,
        Refusal::Range,
    );
    refused(
        Increment,
        r#"{"n":1e308}"#,
        r#"{"n":1e308}"#,
        Refusal::Range,
    );
    refused(Increment, r#"{"n":"1"}"#, r#"{"n":1}"#, Refusal::Conflict);
    refused(Increment, "[1]", r#"{"n":1}"#, Refusal::Conflict);
    for invalid in [
        "[1]",
        "1",
        r#"{"n":"1"}"#,
        r#"{"n":{}}"#,
        r#"{"n":true}"#,
        "nonsense",
    ] {
        refused(Increment, r#"{"n":1}"#, invalid, Refusal::Document);
    }
}

#[test]
fn what_is_not_json_cannot_be_patched() {
    for stored in ["", "plain text", "{\"a\":1", "{\"a\":1} x"] {
        refused(PatchFormat::Merge, stored, "{}", Refusal::Stored);
    }
}

#[test]
fn numbers_that_would_change_are_refused() {
    for kept in [
        "0",
        "-1",
        "1.0",
        "18446744073709551615",
        "0.1",
        "1e3",
        "-0.0",
        "0.30000000000000004",
        "1.7976931348623157e308",
    ] {
        let stored = format!(r#"{{"number":{kept},"a\"9999999999999999999999":1}}"#);
        let patched = apply_patch(PatchFormat::Merge, stored.as_bytes(), b"{}", BYTES_MAX).unwrap();
        let patched: Value = serde_json::from_slice(&patched).unwrap();
        assert_eq!(
            patched["number"].as_f64().unwrap(),
            kept.parse::<f64>().unwrap(),
            "{kept}"
        );
    }
    for lost in [
        "18446744073709551616",
        "1.00000000000000000001",
        "1e400",
        "1e-400",
    ] {
        let stored = format!(r#"{{"number":{lost}}}"#);
        refused(PatchFormat::Merge, &stored, "{}", Refusal::Stored);
        refused(PatchFormat::Merge, "{}", &stored, Refusal::Document);
    }
}

#[test]
fn size_is_bounded_on_the_way() {
    let long = "x".repeat(BYTES_MAX);
    refused(
        PatchFormat::Merge,
        "{}",
        &format!(r#"{{"a":"{long}"}}"#),
        Refusal::TooLarge,
    );
    // Thirty doublings of eleven bytes would be eleven gigabytes.
    let doublings: Vec<String> = (0..30)
        .map(|n| format!(r#"{{"op":"copy","from":"","path":"/{n}"}}"#))
        .collect();
    refused(
        PatchFormat::Operations,
        r#"{"a":"1234"}"#,
        &format!("[{}]", doublings.join(",")),
        Refusal::TooLarge,
    );
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(PatchFormat::Merge, "{}", &deep, Refusal::Document);
}

/// Each copy of the whole into its innermost member doubles the depth. What is that deep cannot
/// be written, or even dropped, on the stack of a thread.
#[test]
fn operations_do_not_build_what_is_too_deep() {
    let copies: Vec<String> = (0..18)
        .map(|n| {
            let path = "/a".repeat(1 << n);
            format!(r#"{{"op":"copy","from":"","path":"{path}"}}"#)
        })
        .collect();
    let moves: Vec<String> = (0..3_000)
        .map(|n| {
            let (from, path) = (format!("/{n}"), "/a".repeat(3));
            format!(r#"{{"op":"move","from":"{from}","path":"{path}"}}"#)
        })
        .collect();
    let nested = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
    let adds: Vec<String> = (0..200)
        .map(|n| {
            let path = "/a".repeat(1 + 120 * n);
            format!(r#"{{"op":"add","path":"{path}","value":{nested}}}"#)
        })
        .collect();
    let apply = |stored: &str, operations: &[String]| {
        let patch = format!("[{}]", operations.join(","));
        apply_patch(
            PatchFormat::Operations,
            stored.as_bytes(),
            patch.as_bytes(),
            64 << 20,
        )
    };
    for operations in [&copies, &adds] {
        let refusal = apply(r#"{"a":1}"#, operations).unwrap_err();
        assert!(
            matches!(refusal, PatchError::Conflict { .. }),
            "{refusal:?}"
        );
    }
    assert!(apply(r#"{"a":1}"#, &copies[..6]).is_ok());
    // Many operations that each go down a little are not deep in all.
    let members: Vec<String> = (0..3_000)
        .map(|n| format!(r#""{n}":[[n]]"#).replace("[n]", "1"))
        .collect();
    let stored = format!(r#"{{"a":{{"a":{{}}}},{}}}"#, members.join(","));
    let patched = apply(&stored, &moves).unwrap();
    assert_eq!(patched, br#"{"a":{"a":{"a":[1]}}}"#);
}

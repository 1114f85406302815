//! README's section "What it caches and why" is what the program says.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use proxy::explain::{NOT_STORED, not_stored};

use crate::command::explain;
use crate::support::{Backend, answer};
use crate::{FRESH, door};

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// Where a part of the README lies: between two comments with this name.
fn part(text: &str, name: &str) -> Range<usize> {
    let begin = format!("<!-- {name}:begin -->\n");
    let from = text.find(&begin).expect("README.md has the first mark") + begin.len();
    let end = text[from..].find(&format!("<!-- {name}:end -->"));
    from..from + end.expect("README.md has the second mark")
}

/// Compares a part with what it should say, seen through `essence`; rewrites it where one asks for that.
fn check(name: &str, expected: &str, essence: impl Fn(&str) -> String) {
    let text = fs::read_to_string(readme()).expect("README.md is there");
    let place = part(&text, name);
    if essence(&text[place.clone()]) == essence(expected) {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_EXPECT").is_some(),
        "README.md does not say what the program says, which is\n{expected}\n\
         UPDATE_EXPECT=1 cargo test -p proxy --test explain -- --test-threads=1 readme rewrites it"
    );
    let text = format!("{}{expected}{}", &text[..place.start], &text[place.end..]);
    fs::write(readme(), text).expect("the workspace can be written to");
}

/// Each word that Cache-Status may have as detail, with the clause and the rule that `lacquer explain` gives.
#[test]
fn every_reason_not_to_store_stands_in_the_table() {
    let mut table = String::from("| Word | Not stored, because | Rule |\n|---|---|---|\n");
    for because in NOT_STORED {
        let words = not_stored(*because);
        // A setting is a link to look for, a section is not.
        let rule = match words.rule.starts_with("RFC ") {
            true => words.rule.to_owned(),
            false => format!("`{}`", words.rule),
        };
        table.push_str(&format!("| `{because}` | {} | {rule} |\n", words.text));
    }
    check("not-stored", &table, str::to_owned);
}

/// Numbers depend on the moment.
fn without_numbers(text: &str) -> String {
    let mut essence = String::new();
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if essence.ends_with('#') => {}
            true => essence.push('#'),
            false => essence.push(character),
        }
    }
    essence
}

#[tokio::test]
async fn example_is_what_the_command_prints() {
    let backend = Backend::start(|seen| match seen.target.as_str() {
        "/account" => answer(200, &[FRESH, ("Set-Cookie", "session=1")], "welcome"),
        // As the origin answers in the tour, a little while ago.
        _ => answer(
            200,
            &[
                ("ETag", "\"2\""),
                ("Last-Modified", "Fri, 20 Nov 2026 14:19:17 GMT"),
                ("Vary", "If-Match"),
                ("Cache-Control", "no-cache"),
                (
                    "CDN-Cache-Control",
                    "max-age=14400, stale-while-revalidate=300",
                ),
                ("Age", "12"),
            ],
            "hello again",
        ),
    })
    .await;
    let door = door(&backend).await;
    let mut example = String::from("```console\n");
    for path in ["/kv/demo/greeting", "/account"] {
        let host = [("Host", "127.0.0.1:6081")];
        door.request("GET", path, &host).await;
        // Several of the clock's ticks, so that what is said of time is not said of the same moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let url = format!("http://127.0.0.1:6081{path}");
        example.push_str(&format!("$ lacquer explain {url}\n"));
        example.push_str(&explain(&door, &[&url]).await);
    }
    check("explain", &(example + "```\n"), without_numbers);
}

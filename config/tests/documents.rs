//! The example file and the README's table of settings follow the types.
//!
//! `UPDATE_EXPECT=1 cargo test -p config` rewrites both.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Config, example, reference};

const BEGIN: &str = "<!-- settings:begin -->\n";
const END: &str = "<!-- settings:end -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// Compares a part of a file with what the types say, or writes it there when asked to.
fn check(name: &str, expected: &str, part: impl Fn(&str) -> (usize, usize)) {
    let path = root().join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (from, to) = part(&text);
    if text[from..to] == *expected {
        return;
    }
    assert!(
        env::var_os("UPDATE_EXPECT").is_some(),
        "{name} does not say what the types say; UPDATE_EXPECT=1 cargo test -p config rewrites it"
    );
    let text = format!("{}{expected}{}", &text[..from], &text[to..]);
    fs::write(path, text).expect("the workspace can be written to");
}

#[test]
fn example_file_is_generated_from_the_types() {
    check("lacquer.example.toml", &example(), |text| (0, text.len()));
}

#[test]
fn readme_has_the_settings_table() {
    check("README.md", &reference(), |text| {
        let from = text.find(BEGIN).expect("README.md has the first mark") + BEGIN.len();
        let to = text.find(END).expect("README.md has the second mark");
        (from, to)
    });
}

#[test]
fn example_file_equals_the_defaults() {
    let path = root().join("lacquer.example.toml");
    assert_eq!(Config::load(&path).unwrap(), Config::default());
}

/// Lines that are settings, or settings in comments, with the marks taken off.
fn without_marks(text: &str) -> String {
    let is_toml = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        let is_key = |key: &str| {
            key.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        (line.contains(" = ") && is_key(key)) || (line.starts_with('[') && line.ends_with(']'))
    };
    let lines: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_toml(rest) => rest,
            _ => line,
        })
        .collect();
    lines.join("\n")
}

/// `Debug` prints every field by name, so a field without a line in the example is noticed here.
fn field_names(debug: &str) -> Vec<String> {
    let names = debug.split(['{', ',', ' ', '(', '[']).filter_map(|word| {
        let name = word.strip_suffix(':')?;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        (is_name && !name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn example_file_names_every_setting() {
    let text = without_marks(&example());
    // A certificate and a bucket are in the example's comments; with them, every type shows its fields.
    let contradicting = ["sni = ", "ca_file = ", "dsn_file = "];
    let config = contradicting.iter().fold(text.clone(), |text, key| {
        text.replace(&format!("\n{key}"), &format!("\n# {key}"))
    });
    let config = Config::from_str(&config, "example").unwrap();
    assert_eq!(config.tls.certificates.len(), 1);
    assert!(config.origin.buckets.contains_key("NAME"));
    // Fields of `BackendAddress::Host`, which is one value.
    let parts_of_values = ["host", "port"];
    for name in field_names(&format!("{config:?}")) {
        let named = text.lines().any(|line| {
            line.starts_with(&format!("{name} = "))
                || line.starts_with('[')
                    && line
                        .trim_matches(['[', ']'])
                        .split('.')
                        .any(|table| table == name)
        });
        assert!(
            named || parts_of_values.contains(&name.as_str()),
            "{name} is missing in lacquer.example.toml"
        );
    }
}

#[test]
fn the_examples_in_comments_are_right() {
    let text = without_marks(&example());
    let error = Config::from_str(&text, "example").unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    // Each example stands for itself; these contradict other examples or defaults.
    assert_eq!(lines.len(), 3, "{error}");
    assert!(error.contains("`backend.sni` has no effect"), "{error}");
    assert!(error.contains("`backend.ca_file` has no effect"), "{error}");
    assert!(
        error.contains("`origin.postgres.dsn_file` is set beside"),
        "{error}"
    );
}

#[test]
fn every_setting_has_a_meaning_and_each_row_one_line() {
    for line in reference().lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split(" | ").collect();
        assert_eq!(
            cells.len(),
            if line.starts_with("|---") { 1 } else { 3 },
            "{line}"
        );
        assert!(!line.contains("|  |"), "{line}");
    }
}

//! The built-in policy through the wire: what a shared cache makes of what a backend and its clients say.

mod adapters;
mod bodies;
mod conditions;
mod directives;
mod fields;
mod freshness;
mod http2;
mod parts;
mod purging;
mod races;
mod stale;
mod storing;
#[path = "../support/mod.rs"]
mod support;
mod validation;
mod writes;

/// Header lines of a table's row.
type Lines<'a> = &'a [(&'a str, &'a str)];

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
/// Older than [`FRESH`] lets it be.
const OLD: (&str, &str) = ("Age", "100");

/// Lines for the answers of a backend that outlive the table's row.
fn owned(lines: Lines<'_>) -> Vec<(String, String)> {
    let lines = lines.iter();
    lines
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn borrowed(lines: &[(String, String)]) -> Vec<(&str, &str)> {
    let lines = lines.iter();
    lines
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

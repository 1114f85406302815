//! Groups of answers that are invalidated together (RFC 9875).

use super::structured;
use crate::http::Fields;

/// The members of Cache-Groups or Cache-Group-Invalidation over all lines: a List of Strings (RFC 9875 §2, §3). None
/// when the field does not parse (RFC 9651 §4.2); members of another type are passed over.
pub fn groups(fields: &Fields, name: &str) -> Vec<String> {
    fields
        .get_joined(name)
        .and_then(|text| structured::strings(&text))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_the_strings_of_a_list() {
        fn check(lines: &[&str], expected: &[&str]) {
            let fields: Fields = lines.iter().map(|line| ("Cache-Groups", *line)).collect();
            assert_eq!(groups(&fields, "cache-groups"), expected, "{lines:?}");
        }
        check(&[], &[]);
        check(&["\"a\""], &["a"]);
        check(
            &["\"a b\";x=1,  \"c\\\"d\\\\\"", "\"e,f\""],
            &["a b", "c\"d\\", "e,f"],
        );
        check(&["\"a\", b, 1, (\"c\")"], &["a"]);
        check(&["\"a\", \"b"], &[]);
        check(&["\"a\","], &[]);
        check(&["\"a\" \"b\""], &[]);
        check(&["\"\u{e4}\""], &[]);
    }
}

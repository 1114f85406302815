//! Names of buckets and keys: their limits, and their form in a path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most characters in a bucket's name.
pub const BUCKET_CHARS_MAX: usize = 256;
/// Most characters in a key.
pub const KEY_CHARS_MAX: usize = 1_024;

/// Characters that the store keeps of a key in the part that is indexed as it is.
/// See `migrations/0001-create-entries.sql`.
const HEAD_CHARS: usize = 384;

/// Everything but RFC 3986's unreserved characters is escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("the name is empty")]
    Empty,
    /// Above the limit, in characters.
    #[error("the name has more than {chars_max} characters")]
    TooLong {
        /// The limit.
        chars_max: usize,
    },
    /// A character of Unicode's category Cc.
    #[error("the name holds a control character")]
    Control,
    /// A `%` without two hexadecimal digits behind it.
    #[error("the name holds a % that starts no escape")]
    Escape,
    /// Not UTF-8 once decoded.
    #[error("the name is not UTF-8")]
    NotUtf8,
}

/// A bucket's name: 1 to [`BUCKET_CHARS_MAX`] characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// Checks the limits.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check_name(&name, BUCKET_CHARS_MAX)?;
        Ok(Self(name))
    }

    /// The decoded name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key: 1 to [`KEY_CHARS_MAX`] characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Checks the limits.
    pub fn new(key: impl Into<String>) -> Result<Self, NameError> {
        let key = key.into();
        check_name(&key, KEY_CHARS_MAX)?;
        Ok(Self(key))
    }

    /// The decoded key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as the store keeps it: the first characters, and the rest (empty for most).
    pub fn split(&self) -> (&str, &str) {
        split_key(&self.0)
    }
}

/// Cuts any text where [`Key::split`] cuts a key.
pub(crate) fn split_key(key: &str) -> (&str, &str) {
    if key.len() <= HEAD_CHARS {
        return (key, "");
    }
    match key.char_indices().nth(HEAD_CHARS) {
        Some((at, _)) => key.split_at(at),
        None => (key, ""),
    }
}

fn check_name(name: &str, chars_max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > chars_max && name.chars().count() > chars_max {
        return Err(NameError::TooLong { chars_max });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

/// Decodes percent escapes, strictly. `+` stays a plus.
pub fn decode_name(encoded: &str) -> Result<String, NameError> {
    let bytes = encoded.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let escape = bytes.get(at + 1..at + 3).ok_or(NameError::Escape)?;
        if !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(NameError::Escape);
        }
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| NameError::NotUtf8)
}

/// Encodes a name as one path segment (a slash becomes `%2F`).
pub fn encode_segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoded: &str, expected: Result<&str, NameError>) {
        let key = decode_name(encoded).and_then(Key::new);
        assert_eq!(
            key.as_ref().map(Key::as_str).map_err(|error| *error),
            expected,
            "{encoded}"
        );
    }

    #[test]
    fn names_are_decoded_strictly() {
        check("key", Ok("key"));
        check("a%2Fb", Ok("a/b"));
        check("a%2fb/c", Ok("a/b/c"));
        check("a+b", Ok("a+b"));
        check("%E8%AE%93", Ok("讓"));
        check("", Err(NameError::Empty));
        check("%", Err(NameError::Escape));
        check("%4", Err(NameError::Escape));
        check("%zz", Err(NameError::Escape));
        check("%+1", Err(NameError::Escape));
        check("%FF", Err(NameError::NotUtf8));
        check("%ED%A0%80", Err(NameError::NotUtf8));
        check("%00", Err(NameError::Control));
        check("a%0Ab", Err(NameError::Control));
        check("%7F", Err(NameError::Control));
        check("%C2%85", Err(NameError::Control));
    }

    #[test]
    fn limits_count_characters() {
        let longest = "讓".repeat(KEY_CHARS_MAX);
        assert!(Key::new(longest.clone()).is_ok());
        assert_eq!(
            Key::new(longest + "x"),
            Err(NameError::TooLong {
                chars_max: KEY_CHARS_MAX
            })
        );
        assert!(BucketName::new("b".repeat(BUCKET_CHARS_MAX)).is_ok());
        assert_eq!(
            BucketName::new("b".repeat(BUCKET_CHARS_MAX + 1)),
            Err(NameError::TooLong {
                chars_max: BUCKET_CHARS_MAX
            })
        );
    }

    #[test]
    fn long_keys_are_cut_at_a_character() {
        let key = Key::new("讓".repeat(HEAD_CHARS + 2)).unwrap();
        let (head, tail) = key.split();
        assert_eq!((head.chars().count(), tail), (HEAD_CHARS, "讓讓"));
        let key = Key::new("讓".repeat(HEAD_CHARS)).unwrap();
        assert_eq!(key.split().1, "");
        assert_eq!(Key::new("short").unwrap().split(), ("short", ""));
    }

    #[test]
    fn encoded_names_decode_to_themselves() {
        for name in ["plain-._~", "a/b c?d#e%f", "讓我們", "\"<>\\^`{|}"] {
            let encoded = encode_segment(name);
            assert_eq!(decode_name(&encoded).unwrap(), name);
            assert!(
                encoded.is_ascii() && !encoded.contains(['/', '?', '#', ' ', '"']),
                "{encoded}"
            );
        }
    }
}

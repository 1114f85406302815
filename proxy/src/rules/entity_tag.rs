//! Entity tags (RFC 9110 §8.8.3) and lists of them.

/// An entity tag as it stands in ETag, If-Match and their kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub strength: Strength,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Strong,
    Weak,
}

impl<'a> EntityTag<'a> {
    /// Reads one tag and nothing else.
    pub fn parse(text: &'a [u8]) -> Option<EntityTag<'a>> {
        let (tag, rest) = EntityTag::split(text)?;
        rest.is_empty().then_some(tag)
    }

    /// RFC 9110 §8.8.3.2: equal, and both strong.
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        self.strength == Strength::Strong
            && other.strength == Strength::Strong
            && self.weak_eq(other)
    }

    /// RFC 9110 §8.8.3.2: equal, weak or not.
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// The tag at the start of a text, and what follows.
    fn split(text: &'a [u8]) -> Option<(EntityTag<'a>, &'a [u8])> {
        let (strength, text) = match text.strip_prefix(b"W/") {
            Some(text) => (Strength::Weak, text),
            None => (Strength::Strong, text),
        };
        let text = text.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', text)?;
        let (opaque, rest) = (&text[..end], &text[end + 1..]);
        let sound = opaque
            .iter()
            .all(|byte| *byte == b'!' || (*byte >= b'#' && *byte != 0x7f));
        sound.then_some((EntityTag { strength, opaque }, rest))
    }
}

/// The tags of one line of If-Match or If-None-Match, up to the first thing that is none: past it the
/// line could be read in more than one way.
pub fn entity_tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let start = text
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let (tag, after) = EntityTag::split(&text[start..])?;
        let after = after.trim_ascii_start();
        rest = (after.is_empty() || after.starts_with(b",")).then_some(after);
        rest.map(|_| tag)
    })
    .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted_and_may_be_weak() {
        fn check(text: &str, expected: Option<(Strength, &str)>) {
            let expected = expected.map(|(strength, opaque)| EntityTag {
                strength,
                opaque: opaque.as_bytes(),
            });
            assert_eq!(EntityTag::parse(text.as_bytes()), expected, "{text}");
        }
        check("\"a\"", Some((Strength::Strong, "a")));
        check("W/\"a\"", Some((Strength::Weak, "a")));
        check("\"\"", Some((Strength::Strong, "")));
        check("\"a,b!\u{e9}\"", Some((Strength::Strong, "a,b!\u{e9}")));
        for malformed in [
            "",
            "a",
            "\"",
            "\"a",
            "a\"",
            "'a'",
            "w/\"a\"",
            "W\"a\"",
            "W/ \"a\"",
            "\"a b\"",
            "\"a\"b",
            "\"a\" ",
            "*",
            "\"a\t\"",
            "\"a\u{7f}\"",
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn lists_end_at_what_is_no_tag() {
        fn check(line: &str, expected: &[&str]) {
            let tags: Vec<_> = entity_tags(line.as_bytes())
                .map(|tag| String::from_utf8_lossy(tag.opaque).into_owned())
                .collect();
            assert_eq!(tags, expected, "{line}");
        }
        check("", &[]);
        check("\"a\"", &["a"]);
        check(" \"a\" ,W/\"b\",, \"c,d\"", &["a", "b", "c,d"]);
        check("\"a\", b, \"c\"", &["a"]);
        check("\"a\" \"b\"", &[]);
        check("*", &[]);
        check("\"a\", *", &["a"]);
        check("a", &[]);
    }

    #[test]
    fn comparison_is_weak_or_strong() {
        fn check(one: &str, other: &str, weak: bool, strong: bool) {
            let [one, other] = [one, other]
                .map(|text| EntityTag::parse(text.as_bytes()).expect("the table holds tags"));
            assert_eq!((one.weak_eq(&other), one.strong_eq(&other)), (weak, strong));
        }
        check("W/\"1\"", "W/\"1\"", true, false);
        check("W/\"1\"", "W/\"2\"", false, false);
        check("W/\"1\"", "\"1\"", true, false);
        check("\"1\"", "\"1\"", true, true);
        check("\"a\"", "\"A\"", false, false);
    }
}

//! Preconditions (RFC 9110 §13), as values and as a verdict on reads.
//!
//! Reads are judged here, after the entry was read. Writes are judged by
//! PostgreSQL under the row's lock (`store/sql/judge.sql`, `put.sql`); this module
//! only says what to compare, as [`WriteConditions`].

use super::{Dating, Revision, Timestamp};

/// One member of an If-Match or If-None-Match field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A strong entity-tag, without its quotes.
    Strong(String),
    /// A weak entity-tag, without `W/` and its quotes.
    Weak(String),
    /// A bare RFC 1123 date, which If-Match on a read takes for `modified_at`.
    Date(Timestamp),
    /// Something else, which matches nothing.
    Other,
}

/// The value of an If-Match or If-None-Match field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// `*`.
    Any,
    /// The members; one that is no entity-tag matches nothing.
    Tags(Vec<Tag>),
}

impl TagList {
    /// Reads a field's value; several lines of the field are joined with commas before.
    pub fn parse(field: &str) -> Self {
        let mut rest = field.trim_matches(BLANKS);
        if rest == "*" {
            return Self::Any;
        }
        let mut tags = Vec::new();
        while !rest.is_empty() {
            let (tag, after) = take_tag(rest);
            tags.push(tag);
            let after = after.trim_start_matches(BLANKS);
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start_matches([' ', '\t', ',']),
                None if after.is_empty() => after,
                None => {
                    // Something follows a tag that is no comma: the member is not a tag.
                    tags.pop();
                    tags.push(Tag::Other);
                    after
                        .split_once(',')
                        .map_or("", |(_, next)| next)
                        .trim_start_matches([' ', '\t', ','])
                }
            };
        }
        Self::Tags(tags)
    }
}

const BLANKS: [char; 2] = [' ', '\t'];
/// Length of `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_BYTES: usize = 29;

fn take_tag(text: &str) -> (Tag, &str) {
    let (weak, opaque) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Some(quoted) = opaque.strip_prefix('"') {
        return match quoted.split_once('"') {
            Some((tag, rest)) if weak => (Tag::Weak(tag.to_owned()), rest),
            Some((tag, rest)) => (Tag::Strong(tag.to_owned()), rest),
            None => (Tag::Other, ""),
        };
    }
    if let Some(date) = text
        .get(..DATE_BYTES)
        .and_then(Timestamp::parse_imf_fixdate)
    {
        return (Tag::Date(date), &text[DATE_BYTES..]);
    }
    match text.find(',') {
        Some(at) => (Tag::Other, &text[at..]),
        None => (Tag::Other, ""),
    }
}

/// The preconditions of a request, already chosen by the rules on which field
/// replaces which (X-If-Match stands in for an absent If-Match on a read).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// RFC 9110 §13.1.1.
    pub if_match: Option<TagList>,
    /// RFC 9110 §13.1.4; `None` also when the date does not parse.
    pub if_unmodified_since: Option<Timestamp>,
    /// RFC 9110 §13.1.2.
    pub if_none_match: Option<TagList>,
    /// RFC 9110 §13.1.3; `None` also when the date does not parse.
    pub if_modified_since: Option<Timestamp>,
}

impl Conditions {
    /// What PostgreSQL compares before it writes. A date is looked at only where
    /// If-Match is absent (RFC 9110 §13.2.2, step 2).
    pub fn for_write(&self) -> WriteConditions {
        WriteConditions {
            if_match: self
                .if_match
                .as_ref()
                .map(|list| revisions(list, Comparison::Strong)),
            if_none_match: self
                .if_none_match
                .as_ref()
                .map(|list| revisions(list, Comparison::Weak)),
            unmodified_since: self
                .if_match
                .is_none()
                .then_some(self.if_unmodified_since)
                .flatten(),
        }
    }
}

/// Revisions that a write's condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevisionList {
    /// `*`.
    Any,
    /// Those of the field's entity-tags that could be ours; maybe none.
    Of(Vec<Revision>),
}

/// The conditions of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// The stored revision has to be one of these.
    pub if_match: Option<RevisionList>,
    /// The stored revision has to be none of these.
    pub if_none_match: Option<RevisionList>,
    /// The stored date has to be at or before this second.
    pub unmodified_since: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn revisions(list: &TagList, comparison: Comparison) -> RevisionList {
    match list {
        TagList::Any => RevisionList::Any,
        TagList::Tags(tags) => RevisionList::Of(
            tags.iter()
                .filter_map(|tag| match tag {
                    Tag::Strong(opaque) => parse_revision(opaque),
                    Tag::Weak(opaque) if comparison == Comparison::Weak => parse_revision(opaque),
                    _ => None,
                })
                .collect(),
        ),
    }
}

/// Only the spelling that we send: `007` and `+7` are not `7`.
fn parse_revision(opaque: &str) -> Option<Revision> {
    let number: i64 = opaque.parse().ok()?;
    (number.to_string() == opaque).then_some(Revision(number))
}

/// What a read's preconditions are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The stored revision.
    pub revision: Revision,
    /// The stored date.
    pub modified_at: Timestamp,
    /// What the date proves.
    pub dating: Dating,
}

/// What the preconditions of a read ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Judges a GET or HEAD in RFC 9110 §13.2.2's order; `current` is `None` when the key is not there.
///
/// A missing key is a 404 whatever the conditions (§13.2.1), except that `If-Match: *`
/// is a 412, which is older than that rule in this API.
pub fn judge_read(conditions: &Conditions, current: Option<&Current>) -> Verdict {
    let Some(current) = current else {
        return match conditions.if_match {
            Some(TagList::Any) => Verdict::Failed,
            _ => Verdict::Proceed,
        };
    };
    if let Some(list) = &conditions.if_match {
        if !matches_strongly(list, current) {
            return Verdict::Failed;
        }
    } else if let Some(date) = conditions.if_unmodified_since
        && current.modified_at.second() > date.second()
    {
        return Verdict::Failed;
    }
    if let Some(list) = &conditions.if_none_match {
        if matches_weakly(list, current) {
            return Verdict::NotModified;
        }
    } else if let Some(date) = conditions.if_modified_since
        && current.dating == Dating::Moved
        && current.modified_at.second() <= date.second()
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Judges a change of an entry that is there, by the rules that `judge.sql` has for writes.
pub fn judge_change(conditions: &Conditions, current: &Current) -> Verdict {
    let write = conditions.for_write();
    let names = |list: &RevisionList| match list {
        RevisionList::Any => true,
        RevisionList::Of(revisions) => revisions.contains(&current.revision),
    };
    let failed = write.if_match.as_ref().is_some_and(|list| !names(list))
        || write
            .unmodified_since
            .is_some_and(|date| current.modified_at.second() > date.second())
        || write.if_none_match.as_ref().is_some_and(names);
    if failed {
        Verdict::Failed
    } else {
        Verdict::Proceed
    }
}

/// If-Match of a read also takes the date of the entry, quoted or bare.
fn matches_strongly(list: &TagList, current: &Current) -> bool {
    let same_second = |date: Timestamp| date.second() == current.modified_at.second();
    match list {
        TagList::Any => true,
        TagList::Tags(tags) => tags.iter().any(|tag| match tag {
            Tag::Strong(opaque) => {
                parse_revision(opaque) == Some(current.revision)
                    || Timestamp::parse_imf_fixdate(opaque).is_some_and(same_second)
            }
            Tag::Date(date) => same_second(*date),
            Tag::Weak(_) | Tag::Other => false,
        }),
    }
}

fn matches_weakly(list: &TagList, current: &Current) -> bool {
    match list {
        TagList::Any => true,
        TagList::Tags(tags) => tags.iter().any(|tag| match tag {
            Tag::Strong(opaque) | Tag::Weak(opaque) => {
                parse_revision(opaque) == Some(current.revision)
            }
            Tag::Date(_) | Tag::Other => false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn date(text: &str) -> Timestamp {
        Timestamp::parse_imf_fixdate(text).unwrap()
    }

    fn conditions(fields: &[(&str, &str)]) -> Conditions {
        let mut conditions = Conditions::default();
        for (name, value) in fields {
            match *name {
                "If-Match" => conditions.if_match = Some(TagList::parse(value)),
                "If-None-Match" => conditions.if_none_match = Some(TagList::parse(value)),
                "If-Modified-Since" => conditions.if_modified_since = Some(date(value)),
                "If-Unmodified-Since" => conditions.if_unmodified_since = Some(date(value)),
                other => panic!("{other}"),
            }
        }
        conditions
    }

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: Verdict) {
        let current = Current {
            revision: Revision(7),
            modified_at: Timestamp::from_micros(date(DATE).micros() + 999_999),
            dating: Dating::Moved,
        };
        assert_eq!(
            judge_read(&conditions(fields), Some(&current)),
            expected,
            "{fields:?}"
        );
    }

    #[track_caller]
    fn check_missing(fields: &[(&str, &str)], expected: Verdict) {
        assert_eq!(
            judge_read(&conditions(fields), None),
            expected,
            "{fields:?}"
        );
    }

    #[test]
    fn if_match_compares_strongly_and_takes_dates() {
        use Verdict::{Failed, Proceed};
        check(&[], Proceed);
        check(&[("If-Match", "*")], Proceed);
        check(&[("If-Match", "\"7\"")], Proceed);
        check(&[("If-Match", "\"6\", \"7\"")], Proceed);
        check(&[("If-Match", "\"6\",,\t\"8\" ,\"7\"")], Proceed);
        check(&[("If-Match", &format!("\"{DATE}\""))], Proceed);
        check(&[("If-Match", DATE)], Proceed);
        check(&[("If-Match", &format!("\"1\", {DATE}"))], Proceed);
        check(&[("If-Match", &format!("{AFTER}, {DATE}, \"1\""))], Proceed);
        for refused in [
            "",
            "\"6\"",
            "W/\"7\"",
            "7",
            "\"07\"",
            "\"+7\"",
            "\"7",
            "\"7\"x",
            "*, \"6\"",
            AFTER,
            BEFORE,
            "w/\"7\"",
            "\"6\" \"7\"",
        ] {
            check(&[("If-Match", refused)], Failed);
        }
    }

    #[test]
    fn fields_are_judged_in_order() {
        use Verdict::{Failed, NotModified, Proceed};
        check(&[("If-Unmodified-Since", DATE)], Proceed);
        check(&[("If-Unmodified-Since", AFTER)], Proceed);
        check(&[("If-Unmodified-Since", BEFORE)], Failed);
        check(
            &[("If-Match", "\"7\""), ("If-Unmodified-Since", BEFORE)],
            Proceed,
        );
        check(&[("If-Match", "\"6\""), ("If-None-Match", "\"7\"")], Failed);
        check(
            &[("If-Match", "\"7\""), ("If-None-Match", "\"7\"")],
            NotModified,
        );
        check(&[("If-None-Match", "*")], NotModified);
        check(&[("If-None-Match", "\"7\"")], NotModified);
        check(&[("If-None-Match", "W/\"7\"")], NotModified);
        check(&[("If-None-Match", "\"1\", W/\"7\"")], NotModified);
        check(&[("If-None-Match", "\"6\"")], Proceed);
        check(&[("If-None-Match", DATE)], Proceed);
        check(&[("If-Modified-Since", DATE)], NotModified);
        check(&[("If-Modified-Since", AFTER)], NotModified);
        check(&[("If-Modified-Since", BEFORE)], Proceed);
        check(
            &[("If-None-Match", "\"6\""), ("If-Modified-Since", DATE)],
            Proceed,
        );
        check(
            &[("If-Unmodified-Since", BEFORE), ("If-None-Match", "\"7\"")],
            Failed,
        );
    }

    #[test]
    fn a_kept_date_proves_nothing() {
        let current = Current {
            revision: Revision(7),
            modified_at: date(DATE),
            dating: Dating::Kept,
        };
        let verdict = judge_read(&conditions(&[("If-Modified-Since", DATE)]), Some(&current));
        assert_eq!(verdict, Verdict::Proceed);
    }

    #[test]
    fn only_a_star_is_judged_on_a_missing_key() {
        check_missing(&[("If-Match", "*")], Verdict::Failed);
        check_missing(&[("If-Match", "\"7\"")], Verdict::Proceed);
        check_missing(&[("If-Match", DATE)], Verdict::Proceed);
        check_missing(&[("If-None-Match", "*")], Verdict::Proceed);
        check_missing(&[("If-Unmodified-Since", BEFORE)], Verdict::Proceed);
    }

    #[test]
    fn changes_fail_where_reads_are_not_modified() {
        use Verdict::{Failed, Proceed};
        let current = Current {
            revision: Revision(7),
            modified_at: date(DATE),
            dating: Dating::Moved,
        };
        for (fields, expected) in [
            (&[][..], Proceed),
            (&[("If-Match", "\"7\"")], Proceed),
            (&[("If-Match", "*")], Proceed),
            (&[("If-Match", "\"6\"")], Failed),
            (&[("If-Match", DATE)], Failed),
            (&[("If-None-Match", "*")], Failed),
            (&[("If-None-Match", "W/\"7\"")], Failed),
            (&[("If-None-Match", "\"6\"")], Proceed),
            (&[("If-Unmodified-Since", BEFORE)], Failed),
            (&[("If-Unmodified-Since", DATE)], Proceed),
            (
                &[("If-Match", "\"7\""), ("If-Unmodified-Since", BEFORE)],
                Proceed,
            ),
        ] {
            assert_eq!(
                judge_change(&conditions(fields), &current),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn writes_compare_revisions() {
        let of = |numbers: &[i64]| {
            Some(RevisionList::Of(
                numbers.iter().copied().map(Revision).collect(),
            ))
        };
        let write = conditions(&[
            ("If-Match", "\"1\", W/\"2\", \"x\", 3"),
            ("If-Unmodified-Since", DATE),
        ])
        .for_write();
        assert_eq!(
            write,
            WriteConditions {
                if_match: of(&[1]),
                if_none_match: None,
                unmodified_since: None
            }
        );
        let write = conditions(&[
            ("If-None-Match", "\"1\", W/\"2\""),
            ("If-Unmodified-Since", DATE),
        ])
        .for_write();
        assert_eq!(
            write,
            WriteConditions {
                if_match: None,
                if_none_match: of(&[1, 2]),
                unmodified_since: Some(date(DATE))
            }
        );
        assert_eq!(
            conditions(&[("If-None-Match", "*")])
                .for_write()
                .if_none_match,
            Some(RevisionList::Any)
        );
    }
}

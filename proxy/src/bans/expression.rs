//! One ban: its conditions and how they are tested.
//!
//! A field that is absent equals nothing and matches nothing, so `!=` and `!~` hold for it. Where a header has several lines, they are
//! compared joined by `, ` (RFC 9110 §5.3); Varnish looks at the first line only, which would leave objects behind.

use std::borrow::Cow;
use std::fmt;

use regex::bytes::Regex;

use super::lexer::BanSyntaxError;
use super::parser::parse;
use super::{BanSubject, RequestSubject};
use crate::http::Fields;
use crate::time::Timestamp;

/// Longest surrogate key, in bytes.
const TAG_BYTES_MAX: usize = 1024;

/// A condition on objects (and perhaps on the requests that look them up): what it matches is no longer served.
#[derive(Clone, Debug)]
pub struct Ban {
    condition: Condition,
    /// What was asked for, spelt one way: two bans with equal text are the same ban.
    text: Box<str>,
}

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Test>),
    Tag(Box<str>),
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Text(TextField, TextOperator),
    Time(TimeField, Comparison, f64),
}

#[derive(Clone, Debug)]
pub(super) enum TextField {
    Url,
    RequestField(String),
    Status,
    ObjectField(String),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum TimeField {
    Ttl,
    Age,
    Grace,
    Keep,
}

#[derive(Clone, Debug)]
pub(super) enum TextOperator {
    Equal(Box<[u8]>),
    NotEqual(Box<[u8]>),
    Match(Regex),
    NotMatch(Regex),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A surrogate key that no object can carry: empty, too long, or with white space or control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid surrogate key {0:?}")]
pub struct InvalidTag(pub String);

/// What the tests of one ban came to, and how many of them were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tested {
    pub(super) matched: Matched,
    pub(super) tests: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    Yes,
    No,
    /// Every test on the object held, and those on a request could not be made without one.
    NeedsRequest,
}

impl Ban {
    /// Reads an expression in Varnish's grammar. Arguments stand bare or in double quotes.
    ///
    /// # Errors
    /// [`BanSyntaxError`] with the place and what was expected there.
    pub fn parse(text: &str) -> Result<Ban, BanSyntaxError> {
        let (tests, text) = parse(text)?;
        Ok(Ban {
            condition: Condition::All(tests),
            text: text.into(),
        })
    }

    /// A purge by surrogate key: matches every object that carries `key`.
    ///
    /// # Errors
    /// [`InvalidTag`] when no field could name the key.
    pub fn tag(key: &str) -> Result<Ban, InvalidTag> {
        // A group of RFC 9875 may have spaces in its name.
        let bad = |letter: char| letter.is_control() || letter != ' ' && letter.is_whitespace();
        if key.is_empty() || key.len() > TAG_BYTES_MAX || key.contains(bad) {
            return Err(InvalidTag(key.chars().take(80).collect()));
        }
        Ok(Ban {
            condition: Condition::Tag(key.into()),
            // No expression starts this way, so no expression is equal to it.
            text: format!("surrogate-key {key}").into(),
        })
    }

    /// The expression in one spelling; for a purge by key `surrogate-key KEY`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it asks the request, so that only a look-up can decide.
    pub fn needs_request(&self) -> bool {
        self.tests().iter().any(Test::needs_request)
    }

    /// Whether it asks the object.
    pub fn needs_object(&self) -> bool {
        match &self.condition {
            Condition::All(tests) => !tests.iter().all(Test::needs_request),
            Condition::Tag(_) => true,
        }
    }

    fn tests(&self) -> &[Test] {
        match &self.condition {
            Condition::All(tests) => tests,
            Condition::Tag(_) => &[],
        }
    }

    pub(super) fn test(
        &self,
        object: &dyn BanSubject,
        request: Option<&dyn RequestSubject>,
        now: Timestamp,
    ) -> Tested {
        let tests = match &self.condition {
            Condition::Tag(tag) => {
                let matched = match object.has_tag(tag) {
                    true => Matched::Yes,
                    false => Matched::No,
                };
                return Tested { matched, tests: 1 };
            }
            Condition::All(tests) => tests,
        };
        let mut tested = Tested {
            matched: Matched::Yes,
            tests: 0,
        };
        for test in tests {
            tested.tests += 1;
            match test.holds(object, request, now) {
                Some(true) => {}
                Some(false) => {
                    tested.matched = Matched::No;
                    return tested;
                }
                None => tested.matched = Matched::NeedsRequest,
            }
        }
        tested
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Test {
    fn needs_request(&self) -> bool {
        matches!(
            self,
            Test::Text(TextField::Url | TextField::RequestField(_), _)
        )
    }

    /// `None` when it asks a request and there is none.
    fn holds(
        &self,
        object: &dyn BanSubject,
        request: Option<&dyn RequestSubject>,
        now: Timestamp,
    ) -> Option<bool> {
        match self {
            Test::Time(field, comparison, seconds) => {
                let millis = match field {
                    TimeField::Ttl => object.ttl_millis(now),
                    TimeField::Age => object.age_millis(now),
                    TimeField::Grace => object.grace_millis(now),
                    TimeField::Keep => object.keep_millis(now),
                };
                Some(comparison.holds(millis as f64, seconds * 1000.0))
            }
            Test::Text(TextField::Url, operator) => {
                Some(operator.holds(Some(request?.url().as_bytes())))
            }
            Test::Text(TextField::RequestField(name), operator) => {
                Some(operator.holds(value(request?.fields(), name).as_deref()))
            }
            Test::Text(TextField::ObjectField(name), operator) => {
                Some(operator.holds(value(object.fields(), name).as_deref()))
            }
            Test::Text(TextField::Status, operator) => {
                let mut digits = itoa::Buffer::new();
                Some(operator.holds(Some(digits.format(object.status()).as_bytes())))
            }
        }
    }
}

fn value<'a>(fields: &'a Fields, name: &'a str) -> Option<Cow<'a, [u8]>> {
    let mut lines = fields.get_all(name);
    let first = lines.next()?;
    match lines.next() {
        None => Some(Cow::Borrowed(first)),
        Some(_) => fields.get_joined(name).map(Cow::Owned),
    }
}

impl TextOperator {
    fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            TextOperator::Equal(wanted) => value == Some(wanted),
            TextOperator::NotEqual(wanted) => value != Some(wanted),
            TextOperator::Match(regex) => value.is_some_and(|value| regex.is_match(value)),
            TextOperator::NotMatch(regex) => !value.is_some_and(|value| regex.is_match(value)),
        }
    }
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
        }
    }
}

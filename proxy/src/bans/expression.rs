//! One ban: its conditions, how they are read and how they are tested.
//!
//! Grammar (Varnish 7.1): `<field> <operator> <argument> [&& <field> <operator> <argument>]…`. A field that is
//! absent equals nothing and matches nothing, so `!=` and `!~` hold for it. Where a header has several lines, they are
//! compared joined by `, ` (RFC 9110 §5.3); Varnish looks at the first line only, which would leave objects behind.

use std::borrow::Cow;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::lexer::{BanSyntaxError, Quoting, Word, quote, words};
use super::{BanSubject, RequestSubject};
use crate::http::Fields;
use crate::time::Timestamp;

/// Most bytes that one compiled regular expression may take. A ban list of thousands has to fit in memory.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that one thread's match of one expression may keep for the next; beyond it matching gets slower.
const REGEX_CACHE_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of groups in one regular expression: bounds the parser's own stack.
const REGEX_NESTING_MAX: u32 = 64;
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
enum Test {
    Text(TextField, TextOperator),
    Time(TimeField, Comparison, f64),
}

#[derive(Clone, Debug)]
enum TextField {
    Url,
    RequestField(String),
    Status,
    ObjectField(String),
}

#[derive(Clone, Copy, Debug)]
enum TimeField {
    Ttl,
    Age,
    Grace,
    Keep,
}

#[derive(Clone, Debug)]
enum TextOperator {
    Equal(Box<[u8]>),
    NotEqual(Box<[u8]>),
    Match(Regex),
    NotMatch(Regex),
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
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
        let words = words(text)?;
        let mut words = words.iter();
        let mut tests = Vec::new();
        let mut canonical = String::new();
        let missing = |expected: &str| BanSyntaxError::End {
            position: text.len(),
            expected: expected.to_owned(),
        };
        loop {
            let name = words.next().ok_or_else(|| missing("a field"))?;
            let field = AnyField::parse(name)?;
            let operator = words
                .next()
                .ok_or_else(|| missing(field.operators_expected()))?;
            let argument = words
                .next()
                .ok_or_else(|| missing(field.argument_expected()))?;
            canonical.push_str(&name.text);
            canonical.push(' ');
            canonical.push_str(&operator.text);
            canonical.push(' ');
            canonical.push_str(&quote(&argument.text));
            tests.push(field.test(operator, argument)?);
            match words.next() {
                None => break,
                Some(word) if word.text == "&&" && word.quoting == Quoting::Bare => {
                    canonical.push_str(" && ");
                }
                Some(word) => return Err(unexpected(word, "&& or the end")),
            }
        }
        Ok(Ban {
            condition: Condition::All(tests),
            text: canonical.into(),
        })
    }

    /// A purge by surrogate key: matches every object that carries `key`.
    ///
    /// # Errors
    /// [`InvalidTag`] when no field could name the key.
    pub fn tag(key: &str) -> Result<Ban, InvalidTag> {
        let bad = |letter: char| letter.is_whitespace() || letter.is_control();
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

/// A field before its operator is known.
enum AnyField {
    Text(TextField),
    Time(TimeField),
}

/// Fields without a name part, for reading and for the hint at a wrong one.
const FIELD_NAMES: [&str; 8] = [
    "req.url",
    "req.http.",
    "obj.http.",
    "obj.status",
    "obj.ttl",
    "obj.age",
    "obj.grace",
    "obj.keep",
];

impl AnyField {
    fn parse(word: &Word) -> Result<AnyField, BanSyntaxError> {
        let header = |prefix: &str| {
            let name = word.text.strip_prefix(prefix)?;
            is_field_name(name).then(|| name.to_owned())
        };
        if let Some(name) = header("req.http.") {
            return Ok(AnyField::Text(TextField::RequestField(name)));
        }
        if let Some(name) = header("obj.http.") {
            return Ok(AnyField::Text(TextField::ObjectField(name)));
        }
        Ok(match word.text.as_str() {
            "req.url" => AnyField::Text(TextField::Url),
            "obj.status" => AnyField::Text(TextField::Status),
            "obj.ttl" => AnyField::Time(TimeField::Ttl),
            "obj.age" => AnyField::Time(TimeField::Age),
            "obj.grace" => AnyField::Time(TimeField::Grace),
            "obj.keep" => AnyField::Time(TimeField::Keep),
            other => return Err(unexpected(word, &field_expected(other))),
        })
    }

    fn operators_expected(&self) -> &'static str {
        match self {
            AnyField::Text(_) => "one of ==, !=, ~, !~",
            AnyField::Time(_) => "one of ==, !=, >, >=, <, <=",
        }
    }

    fn argument_expected(&self) -> &'static str {
        match self {
            AnyField::Text(_) => "an argument",
            AnyField::Time(_) => DURATION_EXPECTED,
        }
    }

    fn test(self, operator: &Word, argument: &Word) -> Result<Test, BanSyntaxError> {
        let expected = self.operators_expected();
        match self {
            AnyField::Text(field) => {
                let literal = || Box::from(argument.text.as_bytes());
                let operator = match operator.text.as_str() {
                    "==" => TextOperator::Equal(literal()),
                    "!=" => TextOperator::NotEqual(literal()),
                    "~" => TextOperator::Match(regex(argument)?),
                    "!~" => TextOperator::NotMatch(regex(argument)?),
                    _ => return Err(unexpected(operator, expected)),
                };
                Ok(Test::Text(field, operator))
            }
            AnyField::Time(field) => {
                let comparison = match operator.text.as_str() {
                    "==" => Comparison::Equal,
                    "!=" => Comparison::NotEqual,
                    ">" => Comparison::Greater,
                    ">=" => Comparison::GreaterOrEqual,
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    _ => return Err(unexpected(operator, expected)),
                };
                let seconds = duration_seconds(&argument.text)
                    .ok_or_else(|| unexpected(argument, DURATION_EXPECTED))?;
                Ok(Test::Time(field, comparison, seconds))
            }
        }
    }
}

fn is_field_name(name: &str) -> bool {
    Fields::new().try_append(name.as_bytes(), b"").is_ok()
}

fn field_expected(found: &str) -> String {
    let nearest = FIELD_NAMES
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, found), name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    match nearest {
        // The header's name is missing, or is no name.
        Some((_, name)) if name.ends_with('.') => format!("{name}NAME"),
        Some((_, name)) => format!("a field (did you mean {name}?)"),
        None => "a field (req.url, req.http.NAME, obj.http.NAME, obj.status, obj.ttl, obj.age, obj.grace \
                 or obj.keep)"
            .to_owned(),
    }
}

const DURATION_EXPECTED: &str = "a duration such as 1.5h (units ms, s, m, h, d, w, y)";

/// `NN[.NN]UNIT`, as VCL writes durations; the unit may not be left out.
fn duration_seconds(text: &str) -> Option<f64> {
    let unit_start = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_start);
    let number = number.trim_ascii_end();
    let digits = number.strip_prefix('-').unwrap_or(number);
    let plain = digits.starts_with(|letter: char| letter.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        "y" => 365.0 * 86_400.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    Some(number * scale)
}

/// Bytes, not characters: `.` matches any byte of a URL or value, whatever its encoding, as in Varnish.
fn regex(argument: &Word) -> Result<Regex, BanSyntaxError> {
    RegexBuilder::new(&argument.text)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .nest_limit(REGEX_NESTING_MAX)
        .build()
        .map_err(|error| BanSyntaxError::Regex {
            position: argument.position,
            reason: regex_reason(&error),
        })
}

/// The crate's message draws the pattern over several lines; its last line says what is wrong.
fn regex_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn unexpected(word: &Word, expected: &str) -> BanSyntaxError {
    BanSyntaxError::Unexpected {
        position: word.position,
        expected: expected.to_owned(),
        found: word.text.clone(),
    }
}

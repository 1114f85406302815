//! From the words of an expression to its conditions.
//!
//! Grammar (Varnish 7.1): `<field> <operator> <argument> [&& <field> <operator> <argument>]…`. Text is compared
//! with `==`, `!=`, `~` and `!~`, times with `==`, `!=`, `>`, `>=`, `<` and `<=`.

use regex::bytes::{Regex, RegexBuilder};

use super::expression::{Comparison, Test, TextField, TextOperator, TimeField};
use super::lexer::{BanSyntaxError, Quoting, Word, quote, words};
use crate::http::Fields;

/// Most bytes that one compiled regular expression may take. A ban list of thousands has to fit in memory.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that one thread's match of one expression may keep for the next; beyond it matching gets slower.
const REGEX_CACHE_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of groups in one regular expression: bounds the parser's own stack.
const REGEX_NESTING_MAX: u32 = 64;

/// The conditions of an expression, and the expression in one spelling.
pub(super) fn parse(text: &str) -> Result<(Vec<Test>, String), BanSyntaxError> {
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
    Ok((tests, canonical))
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

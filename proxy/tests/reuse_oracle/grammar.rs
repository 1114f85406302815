//! The grammars that the oracle needs, as regular expressions written from the ABNF of the RFCs.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// RFC 9110 §5.6.2
const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";
/// RFC 9110 §5.6.4, with a group for what is between the quotes.
const QUOTED: &str = r#""((?:[^"\\]|\\.)*)""#;

/// What a directive is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Word {
    Bare,
    /// A token, the content of a quoted string without its escapes, or an Integer (RFC 8941 §3.3.1).
    Given(String),
    /// A String or Token of a structured field (RFC 8941 §3.3.3, §3.3.4).
    Text(String),
    /// Something outside the grammar.
    Garbled,
}

/// A directive, or what looks like one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Directive {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) word: Word,
    /// It stands before any quote that never ends; behind one nothing can be told for sure.
    pub(crate) sure: bool,
    /// The argument was written with a backslash.
    pub(crate) escaped: bool,
}

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

/// RFC 9111 §5.2 over RFC 9110 §5.6.1: the directives of one line.
pub(crate) fn directives(line: &str) -> Vec<Directive> {
    static SOUND: LazyLock<Regex> = LazyLock::new(|| {
        compiled(&format!(
            r"^[ \t]*(?:({TOKEN})(?:=(?:({TOKEN})|{QUOTED}))?)?[ \t]*(?:,|$)"
        ))
    });
    static ODD: LazyLock<Regex> =
        LazyLock::new(|| compiled(r#"^((?:[^",]|"(?:[^"\\]|\\.)*")*)(?:,|$)"#));
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(member) = SOUND.captures(rest) {
            rest = &rest[member[0].len()..];
            if let Some(name) = member.get(1) {
                let quoted = member.get(3).map(|text| text.as_str());
                let word = match (member.get(2), quoted) {
                    (Some(token), _) => Word::Given(token.as_str().to_owned()),
                    (None, Some(text)) => Word::Given(unescaped(text)),
                    (None, None) => Word::Bare,
                };
                found.push(Directive {
                    name: name.as_str().to_ascii_lowercase(),
                    word,
                    sure: true,
                    escaped: quoted.is_some_and(|text| text.contains('\\')),
                });
            }
        } else if let Some(member) = ODD.captures(rest) {
            rest = &rest[member[0].len()..];
            found.push(garbled(&member[1], true));
        } else {
            found.extend(rest.split(',').map(|piece| garbled(piece, false)));
            break;
        }
    }
    found
}

fn garbled(piece: &str, sure: bool) -> Directive {
    let name = piece.split('=').next().unwrap_or_default();
    Directive {
        name: name.trim().to_ascii_lowercase(),
        word: Word::Garbled,
        sure,
        escaped: false,
    }
}

fn unescaped(text: &str) -> String {
    static PAIR: LazyLock<Regex> = LazyLock::new(|| compiled(r"\\(.)"));
    PAIR.replace_all(text, "$1").into_owned()
}

/// RFC 8941 §4.2.2: a dictionary as directives, the last of each key; `None` when any of it does not parse.
pub(crate) fn dictionary(text: &str) -> Option<Vec<Directive>> {
    static MEMBER: LazyLock<Regex> = LazyLock::new(|| {
        let key = r"[a-z*][a-z0-9_\-.*]*";
        let decimal = r"-?[0-9]{1,12}\.[0-9]{1,3}";
        let integer = r"-?[0-9]{1,15}";
        let string = r#""(?:[ !#-\[\]-~]|\\["\\])*""#;
        let token = r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*";
        let other = r":[A-Za-z0-9+/=]*:";
        let boolean = r"\?[01]";
        let bare = format!("(?:{decimal}|{integer}|{string}|{token}|{other}|{boolean})");
        let parameters = format!("(?:; *{key}(?:={bare})?)*");
        let item = format!("{bare}{parameters}");
        let inner = format!(r"\( *(?:{item}(?: +{item})* *)?\)");
        compiled(&format!(
            r"^(?P<key>{key})(?:=(?:(?P<odd>{decimal}|{other}|{inner})|(?P<integer>{integer})|(?P<string>{string})|(?P<token>{token})|(?P<boolean>{boolean})))?{parameters}[ \t]*(?:(?P<more>,)[ \t]*|$)"
        ))
    });
    let mut found: Vec<Directive> = Vec::new();
    let mut falses: Vec<String> = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let member: Captures<'_> = MEMBER.captures(rest)?;
        rest = &rest[member[0].len()..];
        if rest.is_empty() && member.name("more").is_some() {
            return None;
        }
        let name = member["key"].to_owned();
        found.retain(|known| known.name != name);
        falses.retain(|known| *known != name);
        let word = if let Some(digits) = member.name("integer") {
            Word::Given(digits.as_str().to_owned())
        } else if let Some(string) = member.name("string") {
            Word::Text(unescaped(string.as_str().trim_matches('"')))
        } else if let Some(token) = member.name("token") {
            Word::Text(token.as_str().to_owned())
        } else if member.name("odd").is_some() {
            Word::Garbled
        } else if member.name("boolean").is_some_and(|b| b.as_str() == "?0") {
            falses.push(name);
            continue;
        } else {
            Word::Bare
        };
        found.push(Directive {
            name,
            word,
            sure: true,
            escaped: member[0].contains('\\'),
        });
    }
    // RFC 9213 §2.2 asks for one that is not empty; members that say no are members.
    (!found.is_empty() || !falses.is_empty()).then_some(found)
}

/// RFC 9111 §1.2.2: digits; what is more than 2^31 counts as 2^31.
pub(crate) fn delta_seconds(text: &str) -> Option<i64> {
    static DIGITS: LazyLock<Regex> = LazyLock::new(|| compiled(r"^0*([0-9]+)$"));
    let digits = DIGITS.captures(text)?;
    Some(match digits[1].len() {
        ..=12 => digits[1].parse::<i64>().ok()?.min(1 << 31),
        _ => 1 << 31,
    })
}

pub(crate) fn is_token(text: &str) -> bool {
    static WHOLE: LazyLock<Regex> = LazyLock::new(|| compiled(&format!("^{TOKEN}$")));
    WHOLE.is_match(text)
}

/// RFC 9110 §5.6.7, in any case as RFC 9111 §4.2 asks of caches, GMT only: seconds since 1970, perhaps before.
/// `clock` is that of the cache, which decides on two-digit years.
pub(crate) fn http_date(text: &str, clock: i64) -> Option<i64> {
    static FORMS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
        let month = "(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)";
        let time = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})";
        let day = "(?:mon|tue|wed|thu|fri|sat|sun)";
        let day_long = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)";
        [
            compiled(&format!(
                "(?i)^{day}, (?P<day>[0-9]{{2}}) {month} (?P<year>[0-9]{{4}}) {time} GMT$"
            )),
            compiled(&format!(
                "(?i)^{day_long}, (?P<day>[0-9]{{2}})-{month}-(?P<year>[0-9]{{2}}) {time} GMT$"
            )),
            compiled(&format!(
                "(?i)^{day} {month} (?P<day>[0-9]{{2}}| [0-9]) {time} (?P<year>[0-9]{{4}})$"
            )),
        ]
    });
    let date = FORMS.iter().find_map(|form| form.captures(text))?;
    let number = |name: &str| date[name].trim().parse::<i64>().ok();
    let month = 1 + "janfebmaraprmayjunjulaugsepoctnovdec".find(&date["month"].to_lowercase())? / 3;
    let mut year = number("year")?;
    if date["year"].len() == 2 {
        // More than 50 years ahead means the latest year before with these digits.
        let this_year = 1970 + clock / 31_556_952;
        year += this_year / 100 * 100 + 100;
        while year > this_year + 50 {
            year -= 100;
        }
    }
    let (day, hour) = (number("day")?, number("hour")?);
    let (minute, second) = (number("minute")?, number("second")?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    if day < 1 || day > lengths[month - 1] || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let past = year - 1;
    let days = past * 365 + past.div_euclid(4) - past.div_euclid(100)
        + past.div_euclid(400)
        + lengths[..month - 1].iter().sum::<i64>()
        + day
        - 1;
    // From the first day of year 1 to that of 1970.
    Some((days - 719_162) * 86_400 + hour * 3600 + minute * 60 + second)
}

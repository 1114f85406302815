//! Directives of a response (RFC 9111 §5.2.2, RFC 5861, RFC 8246) and the field that they come from (RFC 9213 §2.2).

use std::borrow::Cow;
use std::time::Duration;

use super::{Argument, Directive, directives};
use crate::http::{Fields, ResponseHead};
use crate::rules::structured::{self, Dictionary, Item};
use crate::rules::syntax::is_token;

/// What an origin says about reuse of its answer. A field is `None` or `false` where it says nothing.
///
/// Durations that are malformed, or given twice with different values, are zero: RFC 9111 §4.2.1 has
/// such an answer considered stale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// The field that decided.
    pub source: Source,
    /// §5.2.2.1
    pub max_age: Option<Duration>,
    /// §5.2.2.10
    pub s_maxage: Option<Duration>,
    /// §5.2.2.5
    pub no_store: bool,
    /// §5.2.2.4
    pub no_cache: FieldScope,
    /// §5.2.2.7
    pub private: FieldScope,
    /// §5.2.2.9
    pub public: bool,
    /// §5.2.2.2
    pub must_revalidate: bool,
    /// §5.2.2.8
    pub proxy_revalidate: bool,
    /// §3.5: must-revalidate, public or s-maxage is there and well written, so that an answer to Authorization
    /// is for all. What is malformed forbids and does not permit.
    pub permits_sharing: bool,
    /// §5.2.2.3
    pub must_understand: bool,
    /// §5.2.2.6. We transform no content; kept for whoever would.
    pub no_transform: bool,
    /// RFC 8246 §2. It tells clients not to reload; we never revalidate a fresh answer unasked.
    pub immutable: bool,
    /// RFC 5861 §3
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4
    pub stale_if_error: Option<Duration>,
}

/// Where the directives of a response were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// In no field: there is neither Cache-Control nor a targeted field. Expires counts.
    #[default]
    Absent,
    /// Cache-Control; Expires counts where it gives no lifetime.
    CacheControl,
    /// The targeted field with this index in the target list, in place of Cache-Control and Expires.
    Targeted(usize),
}

/// How much of a response no-cache or private speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldScope {
    /// The directive is absent.
    #[default]
    No,
    /// The named fields, in lower case, each once.
    Fields(Vec<Box<str>>),
    /// The whole response.
    All,
}

impl FieldScope {
    pub fn is_all(&self) -> bool {
        *self == FieldScope::All
    }

    /// Whether the directive speaks of this field by name.
    pub fn names(&self, field: &str) -> bool {
        match self {
            FieldScope::Fields(names) => names.iter().any(|name| name.eq_ignore_ascii_case(field)),
            FieldScope::No | FieldScope::All => false,
        }
    }

    /// Whether the directive speaks of some fields only.
    pub fn names_any(&self) -> bool {
        matches!(self, FieldScope::Fields(_))
    }

    /// No argument, one that is no list of field names, or an empty list: the whole response is meant.
    fn widen(&mut self, argument: Argument<'_>) {
        let Argument::Text(text) = argument else {
            *self = FieldScope::All;
            return;
        };
        let mut names = match std::mem::take(self) {
            FieldScope::No => Vec::new(),
            FieldScope::Fields(names) => names,
            FieldScope::All => {
                *self = FieldScope::All;
                return;
            }
        };
        let members = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let mut named = false;
        for member in members.filter(|member| !member.is_empty()) {
            named = true;
            let name = std::str::from_utf8(member)
                .ok()
                .filter(|name| is_token(name.as_bytes()));
            let Some(name) = name else {
                *self = FieldScope::All;
                return;
            };
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.to_ascii_lowercase().into());
            }
        }
        *self = if named {
            FieldScope::Fields(names)
        } else {
            FieldScope::All
        };
    }
}

impl ResponseDirectives {
    /// Reads the first field of `targeted` that is present and parses as a dictionary that is not empty;
    /// failing that, Cache-Control (RFC 9213 §2.2).
    pub fn of(head: &ResponseHead, targeted: &[String]) -> ResponseDirectives {
        targeted
            .iter()
            .enumerate()
            .find_map(|(index, name)| {
                let text = joined(&head.fields, name)?;
                let dictionary = structured::dictionary(&text)?;
                (!dictionary.is_empty()).then(|| ResponseDirectives::targeted(index, &dictionary))
            })
            .unwrap_or_else(|| ResponseDirectives::cache_control(&head.fields))
    }

    /// Whether Expires still has a say (RFC 9213 §2.2).
    pub fn heeds_expires(&self) -> bool {
        !matches!(self.source, Source::Targeted(_))
    }

    /// Whether reuse after the end of freshness is forbidden, however the origin fares (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate
            || self.proxy_revalidate
            || self.s_maxage.is_some()
            || self.no_cache.is_all()
    }

    fn cache_control(fields: &Fields) -> ResponseDirectives {
        let mut response = ResponseDirectives::default();
        for line in fields.get_all("cache-control") {
            response.source = Source::CacheControl;
            for directive in directives(line) {
                response.apply(directive);
            }
        }
        response
    }

    /// RFC 9213 §2.1: a flag is Boolean true, a number of seconds an Integer, field names a String.
    fn targeted(index: usize, dictionary: &Dictionary<'_>) -> ResponseDirectives {
        let mut response = ResponseDirectives {
            source: Source::Targeted(index),
            ..ResponseDirectives::default()
        };
        for (name, item) in dictionary {
            let takes_names = matches!(*name, b"no-cache" | b"private");
            let argument = match *item {
                Item::Boolean(false) => continue,
                Item::Boolean(true) => Argument::Absent,
                Item::Integer(digits) if !takes_names => Argument::Text(digits),
                Item::String(text) | Item::Token(text) if takes_names => Argument::Text(text),
                _ => Argument::Malformed,
            };
            response.apply(Directive { name, argument });
        }
        response
    }

    fn apply(&mut self, directive: Directive<'_>) {
        let Directive { name, argument } = directive;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"max-age") {
            set_seconds(&mut self.max_age, argument);
        } else if is(b"s-maxage") {
            set_seconds(&mut self.s_maxage, argument);
            self.permits_sharing |= argument.delta_seconds().is_some();
        } else if is(b"no-store") {
            self.no_store = true;
        } else if is(b"no-cache") {
            self.no_cache.widen(argument);
        } else if is(b"private") {
            self.private.widen(argument);
        } else if is(b"public") {
            // The one flag that only permits: in doubt it was not said.
            self.public |= argument != Argument::Malformed;
            self.permits_sharing |= self.public;
        } else if is(b"must-revalidate") {
            self.must_revalidate = true;
            self.permits_sharing |= argument != Argument::Malformed;
        } else if is(b"proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is(b"must-understand") {
            self.must_understand = true;
        } else if is(b"no-transform") {
            self.no_transform = true;
        } else if is(b"immutable") {
            self.immutable = true;
        } else if is(b"stale-while-revalidate") {
            set_seconds(&mut self.stale_while_revalidate, argument);
        } else if is(b"stale-if-error") {
            set_seconds(&mut self.stale_if_error, argument);
        }
    }
}

/// The safe way through duplicates: two values that differ are none (RFC 9111 §4.2.1).
fn set_seconds(place: &mut Option<Duration>, argument: Argument<'_>) {
    let seconds = argument.delta_seconds().unwrap_or(Duration::ZERO);
    *place = match *place {
        Some(known) if known != seconds => Some(Duration::ZERO),
        _ => Some(seconds),
    };
}

/// All lines of a field as one, copied only where there are several.
fn joined<'a>(fields: &'a Fields, name: &'a str) -> Option<Cow<'a, [u8]>> {
    let mut lines = fields.get_all(name);
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(Cow::Borrowed(first));
    }
    fields.get_joined(name).map(Cow::Owned)
}

#[cfg(test)]
mod tests;

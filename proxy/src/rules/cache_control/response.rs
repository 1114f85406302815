//! Directives of a response (RFC 9111 §5.2.2, RFC 5861, RFC 8246) and the field that they come from (RFC 9213 §2.2).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::{Argument, Directive, directives};
use crate::http::{Fields, ResponseHead};
use crate::rules::structured::{self, Dictionary, Item};
use crate::rules::syntax::{DELTA_SECONDS_MAX, is_token};

/// What an origin says about reuse of its answer.
///
/// Durations that are malformed, or given twice with different values, are zero: RFC 9111 §4.2.1 has
/// such an answer considered stale. Every object keeps one of these, so it is packed: what most answers say lies in
/// 24 bytes, the rest on the heap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    rare: Option<Box<Rare>>,
    max_age: Seconds,
    s_maxage: Seconds,
    stale_while_revalidate: Seconds,
    flags: u16,
    /// 0: [`Source::Absent`], 1: [`Source::CacheControl`], from 2 on the targeted field with that index.
    source: u16,
}

/// What few answers say.
#[derive(Clone, Default, PartialEq, Eq)]
struct Rare {
    stale_if_error: Seconds,
    no_cache: Vec<Box<str>>,
    private: Vec<Box<str>>,
}

/// Whole seconds up to 2^31, the most that a directive says (RFC 9111 §1.2.2), or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seconds(u32);

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds(u32::MAX)
    }
}

impl Seconds {
    fn of(duration: Option<Duration>) -> Seconds {
        duration.map_or_else(Seconds::default, |duration| {
            Seconds(duration.as_secs().min(DELTA_SECONDS_MAX) as u32)
        })
    }

    fn get(self) -> Option<Duration> {
        (self.0 != u32::MAX).then(|| Duration::from_secs(u64::from(self.0)))
    }
}

/// Bits of [`ResponseDirectives::flags`].
mod flag {
    pub(super) const NO_STORE: u16 = 1;
    pub(super) const NO_CACHE_ALL: u16 = 1 << 1;
    pub(super) const PRIVATE_ALL: u16 = 1 << 2;
    pub(super) const PUBLIC: u16 = 1 << 3;
    pub(super) const MUST_REVALIDATE: u16 = 1 << 4;
    pub(super) const PROXY_REVALIDATE: u16 = 1 << 5;
    pub(super) const PERMITS_SHARING: u16 = 1 << 6;
    pub(super) const MUST_UNDERSTAND: u16 = 1 << 7;
    pub(super) const NO_TRANSFORM: u16 = 1 << 8;
    pub(super) const IMMUTABLE: u16 = 1 << 9;
}

/// The same while it is read, one field for each directive. `None` or `false` where the origin says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    /// The field that decided.
    source: Source,
    max_age: Option<Duration>,
    s_maxage: Option<Duration>,
    no_store: bool,
    no_cache: FieldScope,
    private: FieldScope,
    public: bool,
    must_revalidate: bool,
    proxy_revalidate: bool,
    permits_sharing: bool,
    must_understand: bool,
    no_transform: bool,
    immutable: bool,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
}

impl From<Said> for ResponseDirectives {
    fn from(said: Said) -> ResponseDirectives {
        let flags = [
            (said.no_store, flag::NO_STORE),
            (said.no_cache == FieldScope::All, flag::NO_CACHE_ALL),
            (said.private == FieldScope::All, flag::PRIVATE_ALL),
            (said.public, flag::PUBLIC),
            (said.must_revalidate, flag::MUST_REVALIDATE),
            (said.proxy_revalidate, flag::PROXY_REVALIDATE),
            (said.permits_sharing, flag::PERMITS_SHARING),
            (said.must_understand, flag::MUST_UNDERSTAND),
            (said.no_transform, flag::NO_TRANSFORM),
            (said.immutable, flag::IMMUTABLE),
        ];
        let rare = Rare {
            stale_if_error: Seconds::of(said.stale_if_error),
            no_cache: said.no_cache.into_names(),
            private: said.private.into_names(),
        };
        ResponseDirectives {
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            max_age: Seconds::of(said.max_age),
            s_maxage: Seconds::of(said.s_maxage),
            stale_while_revalidate: Seconds::of(said.stale_while_revalidate),
            flags: flags
                .iter()
                .filter(|(is_said, _)| *is_said)
                .fold(0, |flags, (_, bit)| flags | bit),
            source: match said.source {
                Source::Absent => 0,
                Source::CacheControl => 1,
                Source::Targeted(index) => u16::try_from(index + 2).unwrap_or(u16::MAX),
            },
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The directive is absent.
    No,
    /// The named fields, in lower case, each once.
    Fields(&'a [Box<str>]),
    /// The whole response.
    All,
}

impl Scope<'_> {
    pub fn is_all(self) -> bool {
        self == Scope::All
    }

    /// Whether the directive speaks of this field by name.
    pub fn names(self, field: &str) -> bool {
        match self {
            Scope::Fields(names) => names.iter().any(|name| name.eq_ignore_ascii_case(field)),
            Scope::No | Scope::All => false,
        }
    }

    /// Whether the directive speaks of some fields only.
    pub fn names_any(self) -> bool {
        matches!(self, Scope::Fields(_))
    }
}

/// A [`Scope`] while it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum FieldScope {
    /// The directive is absent.
    #[default]
    No,
    /// The named fields, in lower case, each once.
    Fields(Vec<Box<str>>),
    /// The whole response.
    All,
}

impl FieldScope {
    fn into_names(self) -> Vec<Box<str>> {
        match self {
            FieldScope::Fields(names) => names,
            FieldScope::No | FieldScope::All => Vec::new(),
        }
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

    /// The field that decided.
    pub fn source(&self) -> Source {
        match self.source {
            0 => Source::Absent,
            1 => Source::CacheControl,
            index => Source::Targeted(usize::from(index) - 2),
        }
    }

    /// §5.2.2.1
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age.get()
    }

    /// §5.2.2.10
    pub fn s_maxage(&self) -> Option<Duration> {
        self.s_maxage.get()
    }

    /// §5.2.2.5
    pub fn no_store(&self) -> bool {
        self.says(flag::NO_STORE)
    }

    /// §5.2.2.4
    pub fn no_cache(&self) -> Scope<'_> {
        self.scope(flag::NO_CACHE_ALL, |rare| &rare.no_cache)
    }

    /// §5.2.2.7
    pub fn private(&self) -> Scope<'_> {
        self.scope(flag::PRIVATE_ALL, |rare| &rare.private)
    }

    /// §5.2.2.9
    pub fn public(&self) -> bool {
        self.says(flag::PUBLIC)
    }

    /// §5.2.2.2
    pub fn must_revalidate(&self) -> bool {
        self.says(flag::MUST_REVALIDATE)
    }

    /// §5.2.2.8
    pub fn proxy_revalidate(&self) -> bool {
        self.says(flag::PROXY_REVALIDATE)
    }

    /// §3.5: must-revalidate, public or s-maxage is there and well written, so that an answer to Authorization
    /// is for all. What is malformed forbids and does not permit.
    pub fn permits_sharing(&self) -> bool {
        self.says(flag::PERMITS_SHARING)
    }

    /// §5.2.2.3
    pub fn must_understand(&self) -> bool {
        self.says(flag::MUST_UNDERSTAND)
    }

    /// §5.2.2.6. We transform no content; kept for whoever would.
    pub fn no_transform(&self) -> bool {
        self.says(flag::NO_TRANSFORM)
    }

    /// RFC 8246 §2. It tells clients not to reload; we never revalidate a fresh answer unasked.
    pub fn immutable(&self) -> bool {
        self.says(flag::IMMUTABLE)
    }

    /// RFC 5861 §3
    pub fn stale_while_revalidate(&self) -> Option<Duration> {
        self.stale_while_revalidate.get()
    }

    /// RFC 5861 §4
    pub fn stale_if_error(&self) -> Option<Duration> {
        self.rare.as_ref()?.stale_if_error.get()
    }

    /// Whether Expires still has a say (RFC 9213 §2.2).
    pub fn heeds_expires(&self) -> bool {
        !matches!(self.source(), Source::Targeted(_))
    }

    /// Whether reuse after the end of freshness is forbidden, however the origin fares (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.says(flag::MUST_REVALIDATE | flag::PROXY_REVALIDATE | flag::NO_CACHE_ALL)
            || self.s_maxage().is_some()
    }

    /// Bytes beyond the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| {
            let names = rare.no_cache.iter().chain(&rare.private);
            let names: usize = names.map(|name| name.len() + size_of::<Box<str>>()).sum();
            size_of::<Rare>() + names
        })
    }

    /// Whether one of these flags is set.
    fn says(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    fn scope(&self, all: u16, names: impl Fn(&Rare) -> &Vec<Box<str>>) -> Scope<'_> {
        match &self.rare {
            _ if self.says(all) => Scope::All,
            Some(rare) if !names(rare).is_empty() => Scope::Fields(names(rare)),
            _ => Scope::No,
        }
    }

    fn cache_control(fields: &Fields) -> ResponseDirectives {
        let mut said = Said::default();
        for line in fields.get_all("cache-control") {
            said.source = Source::CacheControl;
            for directive in directives(line) {
                said.apply(directive);
            }
        }
        said.into()
    }

    /// RFC 9213 §2.1: a flag is Boolean true, a number of seconds an Integer, field names a String.
    fn targeted(index: usize, dictionary: &Dictionary<'_>) -> ResponseDirectives {
        let mut said = Said {
            source: Source::Targeted(index),
            ..Said::default()
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
            said.apply(Directive { name, argument });
        }
        said.into()
    }
}

impl fmt::Debug for ResponseDirectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseDirectives")
            .field("source", &self.source())
            .field("max_age", &self.max_age())
            .field("s_maxage", &self.s_maxage())
            .field("stale_while_revalidate", &self.stale_while_revalidate())
            .field("stale_if_error", &self.stale_if_error())
            .field("no_cache", &self.no_cache())
            .field("private", &self.private())
            .field("flags", &format_args!("{:#b}", self.flags))
            .finish()
    }
}

impl Said {
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

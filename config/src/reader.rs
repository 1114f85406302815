//! Reads TOML into settings, and collects everything that is wrong with it, with lines and the nearest right names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use strsim::damerau_levenshtein;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Config;
use crate::error::{Problem, ProblemKind};
use crate::reference;
use crate::setting::Table;
use crate::value::Refusal;

/// Longest file that is read. Settings are a few kilobytes; a device or a log given by mistake is not.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most problems that are listed. Nobody reads more, and finding a line takes time.
const PROBLEMS_MAX: usize = 100;

/// Reads a short text file.
pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than 1 MiB",
        )),
        false => Ok(text),
    }
}

/// What the reading of one text has found.
pub(crate) struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
    /// Where each setting stands that the text mentions, as a byte offset.
    places: BTreeMap<String, usize>,
}

impl<'a> Reader<'a> {
    /// Reads a whole text over `settings`.
    pub(crate) fn read<T: Table>(text: &'a str, settings: &mut T) -> Reader<'a> {
        let mut reader = Reader {
            text,
            problems: Vec::new(),
            places: BTreeMap::new(),
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors.into_iter().take(PROBLEMS_MAX) {
            let line = error.span().map(|span| reader.line(span.start));
            let message = error.message().to_owned();
            reader.problems.push(Problem {
                line,
                key: String::new(),
                kind: ProblemKind::Syntax { message },
            });
        }
        // What a broken text seems to say is not worth more complaints.
        if reader.problems.is_empty() {
            reader.table(settings, "", document.get_ref());
        }
        reader
    }

    /// Whether the text mentions a setting.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Adds problems found by looking at all settings, with the lines of what they speak about.
    pub(crate) fn add(&mut self, problems: Vec<Problem>) {
        for mut problem in problems {
            problem.line = self.place(&problem.key).map(|offset| self.line(offset));
            self.problems.push(problem);
        }
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// All problems, in the order of the text.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        // What has no place comes last.
        self.problems
            .sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        self.problems
    }

    /// Reads the keys of a table.
    pub(crate) fn table<T: Table>(&mut self, table: &mut T, path: &str, keys: &DeTable<'_>) {
        for (key, value) in keys {
            if self.problems.len() >= PROBLEMS_MAX {
                return;
            }
            let name = key.get_ref().as_ref();
            let full = join(path, name);
            self.places.insert(full.clone(), key.span().start);
            if !table.read_key(name, &full, value, self) {
                let problem = Problem {
                    line: Some(self.line(key.span().start)),
                    kind: unknown_key(path, name, T::KEYS),
                    key: full,
                };
                self.problems.push(problem);
            }
        }
    }

    /// Notes a value that is not what the setting takes.
    pub(crate) fn refuse(&mut self, path: &str, offset: usize, refusal: Refusal) {
        self.problems.push(Problem {
            line: Some(self.line(refusal.offset.unwrap_or(offset))),
            key: path.to_owned(),
            kind: ProblemKind::WrongValue {
                expected: refusal.expected,
                found: refusal.found,
                suggestion: refusal.suggestion,
            },
        });
    }

    /// Notes a value where a table, a list of tables or the like is due.
    pub(crate) fn refuse_shape(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        expected: String,
    ) {
        let refusal = Refusal::with_expected(value.get_ref(), expected);
        self.refuse(path, value.span().start, refusal);
    }

    /// Remembers where an element of a list of tables stands.
    pub(crate) fn note(&mut self, path: String, offset: usize) {
        self.places.insert(path, offset);
    }

    /// Where a setting stands, or else the innermost table around it that the text mentions.
    fn place(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(offset) = self.places.get(key) {
                return Some(*offset);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// A table as its header is written: `[cache]`, `[[listen]]`.
fn header(path: &str) -> String {
    match path
        .strip_suffix(']')
        .and_then(|path| path.rsplit_once('['))
    {
        Some((list, _)) => format!("[[{list}]]"),
        None if path.is_empty() => String::new(),
        None => format!("[{path}]"),
    }
}

/// Looks for the key that was meant: in the same table first, then anywhere.
fn unknown_key(path: &str, name: &str, known: &'static [&'static str]) -> ProblemKind {
    let here = || nearest(name, known.iter().copied()).map(str::to_owned);
    let elsewhere = || {
        let keys = reference::keys(&Config::default());
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let names: Vec<String> = keys.iter().map(|key| last(key)).collect();
        let name = nearest(name, names.iter().map(String::as_str))?;
        keys.iter().find(|key| last(key) == name).cloned()
    };
    ProblemKind::UnknownKey {
        name: crate::value::shortened(name),
        table: header(path),
        suggestion: here().or_else(elsewhere),
        known,
    }
}

/// The candidate that a mistyped name most likely meant, if any is near.
///
/// Case and dashes do not count; a third of the letters may be wrong; words may be in another order, missing, or the
/// name cut short.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    // No name is as long, and comparing costs the product of the lengths.
    const NAME_BYTES_MAX: usize = 64;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let words = |text: &str| {
        let mut words: Vec<String> = text.split(['_', '.']).map(str::to_owned).collect();
        words.sort();
        words
    };
    let name = plain(name);
    let name_words = words(&name);
    let distance = |candidate: &str| {
        let candidate = plain(candidate);
        let candidate_words = words(&candidate);
        let typed = damerau_levenshtein(&name, &candidate);
        let reordered = 1 + damerau_levenshtein(&name_words.join("_"), &candidate_words.join("_"));
        let within = |few: &[String], many: &[String]| few.iter().all(|word| many.contains(word));
        let missing =
            match within(&name_words, &candidate_words) || within(&candidate_words, &name_words) {
                true => 1 + name_words.len().abs_diff(candidate_words.len()),
                false => usize::MAX,
            };
        let cut_short = match name.len() >= 3 && candidate.starts_with(&name) {
            true => 1,
            false => usize::MAX,
        };
        let distance = typed.min(reordered).min(missing).min(cut_short);
        (distance, candidate.len())
    };
    candidates
        .map(|candidate| (distance(candidate), candidate))
        .filter(|((distance, length), _)| *distance <= (length.max(&name.len()) / 3).max(1))
        .min_by_key(|((distance, _), _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_forgives_slips_order_and_missing_words() {
        let keys = || {
            [
                "memory",
                "object_bytes_max",
                "connect_timeout",
                "first_byte_timeout",
                "grace",
            ]
            .into_iter()
        };
        for (name, expected) in [
            ("memroy", Some("memory")),
            ("Memory", Some("memory")),
            ("max_object_bytes", Some("object_bytes_max")),
            ("object-bytes-max", Some("object_bytes_max")),
            ("timeout_connect", Some("connect_timeout")),
            ("connect_timeouts", Some("connect_timeout")),
            ("max_memory", Some("memory")),
            ("grace_period", Some("grace")),
            ("mem", Some("memory")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, keys()), expected, "{name:?}");
        }
    }
}

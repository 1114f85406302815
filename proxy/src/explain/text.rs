//! An explanation for people.

use std::fmt::Write;
use std::time::Duration;

use super::finding::{Explanation, Outcome, StoredAnswer, StoredMark};
use super::words::{Words, not_stored};
use crate::rules::storability::NotStored;

/// Width of the column that says what a line is about.
const LABEL: usize = 14;

/// The usual reasons why a URL is never found in the cache, for those who see nothing there.
pub(super) const USUAL_REASONS: [&str; 5] = [
    "nobody has asked for it since the start, or a purge or a full cache has dropped it",
    "its answers say no-store or private, or have Set-Cookie without public or s-maxage",
    "its answers give neither a lifetime (max-age, s-maxage, Expires) nor a validator (ETag, Last-Modified)",
    "requests for it have Authorization or content, or are no GET",
    "it is asked for under another host, port, scheme or spelling: each is a key of its own",
];

pub(super) fn write(explanation: &Explanation) -> String {
    let mut page = Page(String::new());
    let Explanation {
        verdict, method, ..
    } = explanation;
    match &explanation.key {
        Some(key) => page.free(&format!("{method} {key}")),
        None => page.free("The request"),
    }
    page.free(&format!("{}.", verdict.sentence()));
    if explanation.key.is_none() {
        return page.0;
    }
    page.gap();
    match &explanation.stored {
        Some(stored) => {
            let mut text = count(stored.answers, "answer");
            if stored.marks > 0 {
                text = format!("{text}, {}", count(stored.marks, "mark"));
            }
            if !stored.varies_on.is_empty() {
                text = format!("{text}, varying on {}", stored.varies_on.join(", "));
            }
            page.line("under its URL", &text);
        }
        None => page.line("under its URL", "nothing"),
    }
    if let Some(answer) = &explanation.answer {
        page.answer(answer);
    }
    if let Some(mark) = &explanation.mark {
        page.mark(mark);
    }
    match (&explanation.ban, explanation.bans) {
        (Some(ban), _) => page.line("bans", &format!("matches: {ban}")),
        (None, 0) => {}
        (None, bans) if explanation.answer.is_some() => {
            page.line("bans", &format!("none of {bans} in force matches"));
        }
        (None, _) => {}
    }
    if explanation.is_being_fetched {
        page.line("under way", "a fetch of it; this request would wait for it");
    }
    // The mark has said it.
    let marked = explanation.mark.and_then(|mark| mark.because);
    let lately = explanation.lately.as_ref();
    if let Some(lately) = lately.filter(|lately| marked != Some(lately.because)) {
        let ago = duration(lately.ago);
        let why = why(lately.because);
        page.line("not stored", &format!("a {} {ago} ago{why}", lately.status));
    }
    for note in &explanation.notes {
        page.line(
            "request",
            &format!("{}: {} ({})", note.says, note.text, note.rule),
        );
    }
    let would_look_up = matches!(verdict.outcome, Outcome::Fetch | Outcome::Pass);
    if explanation.stored.is_none() && explanation.lately.is_none() && would_look_up {
        page.gap();
        page.free("Nothing is known of earlier answers. Usual reasons:");
        for reason in USUAL_REASONS {
            page.free(&format!("- {reason}"));
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn free(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }

    fn line(&mut self, label: &str, text: &str) {
        writeln!(self.0, "{label:LABEL$} {text}").expect("a string takes everything");
    }

    fn answer(&mut self, answer: &StoredAnswer) {
        let size = match answer.bytes {
            Some(bytes) => format!("{bytes} bytes"),
            None => "still filling".to_owned(),
        };
        self.line(
            "this one",
            &format!(
                "status {}, {size}, {} old, delivered {}, fetched by {}",
                answer.status,
                duration(answer.age),
                count(answer.hits as usize, "time"),
                answer.xid
            ),
        );
        for (name, value) in &answer.varies_on {
            match value {
                Some(value) => self.line("varies on", &format!("{name}: {value}")),
                None => self.line("varies on", &format!("{name}, which the request lacks")),
            }
        }
        let (source, rule) = answer.lifetime.source.words();
        let cut = match answer.lifetime.is_cut_short {
            true => ", ended before its time by a soft purge",
            false => "",
        };
        let lifetime = duration(answer.lifetime.duration);
        self.line(
            "lifetime",
            &format!("{lifetime}, from {source} ({rule}){cut}"),
        );
        let left = answer.ttl_seconds;
        let freshness = match left {
            1.. => format!(
                "for {} more",
                duration(Duration::from_secs(left.unsigned_abs()))
            ),
            _ => format!(
                "no: stale for {}",
                duration(Duration::from_secs(left.unsigned_abs()))
            ),
        };
        self.line("fresh", &freshness);
        let on_error = match answer.stale_if_error {
            Some(window) => format!(", {} while the backend fails", duration(window)),
            None => String::new(),
        };
        self.line(
            "stale use",
            &format!(
                "{} while it is fetched anew{on_error}",
                duration(answer.grace)
            ),
        );
        let validators = [
            ("ETag", &answer.etag),
            ("Last-Modified", &answer.last_modified),
        ];
        let validators: Vec<String> = validators
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)))
            .collect();
        match validators.is_empty() {
            true => self.line(
                "validators",
                "none: it cannot be confirmed, only fetched whole",
            ),
            false => self.line("validators", &validators.join(", ")),
        }
    }

    fn mark(&mut self, mark: &StoredMark) {
        let why = mark.because.map_or(String::new(), why);
        self.line(
            "this one",
            &format!(
                "a mark for {} more: the last answer, a {}, was not stored{why}",
                duration(mark.remains),
                mark.status
            ),
        );
    }
}

/// A reason with its rule, and with the word that Cache-Status has for it.
fn why(because: NotStored) -> String {
    let Words { rule, text } = not_stored(because);
    format!(", because {text} ({rule}); detail={because}")
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// The two largest units, rounded down.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else {
        return "0 s".to_owned();
    };
    let (size, unit) = units[first];
    let mut text = format!("{} {unit}", seconds / size);
    if let Some((smaller, unit)) = units.get(first + 1) {
        let rest = seconds % size / smaller;
        if rest > 0 {
            text.push_str(&format!(" {rest} {unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        };
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3_725, "1 h 2 min");
        check(90_000, "1 d 1 h");
        check(u64::MAX, "213503982334601 d 7 h");
    }
}

//! An explanation for programs. Names and words in it are kept; members may be added.

use serde_json::{Value, json};

use super::finding::{Explanation, LifetimeSource, NotStoredLately, StoredAnswer, StoredMark};
use super::text::USUAL_REASONS;
use super::words::not_stored;
use crate::rules::storability::NotStored;

pub(super) fn write(explanation: &Explanation) -> String {
    let verdict = &explanation.verdict;
    let words = verdict.words();
    let knows_nothing = explanation.stored.is_none() && explanation.lately.is_none();
    let notes = explanation
        .notes
        .iter()
        .map(|note| json!({ "says": note.says, "text": note.text, "rule": note.rule }));
    let stored = explanation.stored.as_ref().map(|stored| {
        json!({
            "answers": stored.answers,
            "marks": stored.marks,
            "varies_on": stored.varies_on,
        })
    });
    let value = json!({
        "method": explanation.method,
        "key": explanation.key,
        "verdict": {
            "outcome": verdict.outcome.as_str(),
            "status": verdict.status,
            "because": words.text,
            "rule": words.rule,
            "detail": verdict.detail,
            "confirms": verdict.confirms,
            "sentence": verdict.sentence(),
        },
        "stored": stored,
        "answer": explanation.answer.as_ref().map(answer),
        "mark": explanation.mark.as_ref().map(mark),
        "ban": explanation.ban,
        "bans": explanation.bans,
        "is_being_fetched": explanation.is_being_fetched,
        "not_stored_lately": explanation.lately.as_ref().map(lately),
        "request": notes.collect::<Vec<_>>(),
        "usual_reasons": knows_nothing.then_some(USUAL_REASONS),
    });
    format!("{value:#}\n")
}

fn answer(answer: &StoredAnswer) -> Value {
    let (source, rule) = answer.lifetime.source.words();
    let kind = match answer.lifetime.source {
        LifetimeSource::SMaxAge(_) => "s-maxage",
        LifetimeSource::MaxAge(_) => "max-age",
        LifetimeSource::Expires => "expires",
        LifetimeSource::Heuristic { .. } => "heuristic",
        LifetimeSource::None => "none",
    };
    let varies_on = answer
        .varies_on
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "status": answer.status,
        "bytes": answer.bytes,
        "age_seconds": answer.age.as_secs(),
        "lifetime": {
            "seconds": answer.lifetime.duration.as_secs(),
            "from": kind,
            "text": source,
            "rule": rule,
            "is_cut_short": answer.lifetime.is_cut_short,
        },
        "ttl_seconds": answer.ttl_seconds,
        "grace_seconds": answer.grace.as_secs(),
        "stale_if_error_seconds": answer.stale_if_error.map(|window| window.as_secs()),
        "keep_seconds": answer.keep.as_secs(),
        "etag": answer.etag,
        "last_modified": answer.last_modified,
        "varies_on": varies_on.collect::<Vec<_>>(),
        "hits": answer.hits,
        "xid": answer.xid,
    })
}

fn mark(mark: &StoredMark) -> Value {
    json!({
        "status": mark.status,
        "remains_seconds": mark.remains.as_secs(),
        "because": mark.because.map(reason),
    })
}

fn lately(lately: &NotStoredLately) -> Value {
    json!({
        "status": lately.status,
        "seconds_ago": lately.ago.as_secs(),
        "because": reason(lately.because),
    })
}

/// With the word of Cache-Status.
fn reason(because: NotStored) -> Value {
    let words = not_stored(because);
    json!({ "word": because.to_string(), "text": words.text, "rule": words.rule })
}

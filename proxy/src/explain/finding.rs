//! What a dry run has found, as values.

use std::time::Duration;

use super::words::{self, Cause, Words};
use crate::rules::storability::NotStored;

/// What would happen to a request, and all that bears on it.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub method: String,
    /// Scheme, host, path and query under which its answer is stored; `None` where the request is refused unread.
    pub key: Option<String>,
    pub verdict: Verdict,
    /// What the request itself says.
    pub notes: Vec<Note>,
    /// What is stored under the key; `None`: nothing, for no variant.
    pub stored: Option<StoredUrl>,
    /// The answer that this request selects.
    pub answer: Option<StoredAnswer>,
    /// The mark that this request selects.
    pub mark: Option<StoredMark>,
    /// The ban that has ended what this request selects.
    pub ban: Option<String>,
    /// Bans in force.
    pub bans: u64,
    /// Whether a fetch is under way that this request would wait for.
    pub is_being_fetched: bool,
    /// The last answer that was not stored, as far as it is remembered.
    pub lately: Option<NotStoredLately>,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub cause: Cause,
    /// The status, where the front door itself would answer.
    pub status: Option<u16>,
    /// More on the cause, for this request alone.
    pub detail: Option<String>,
    /// Whether the fetch would ask with the stored validators (RFC 9111 §4.3.1).
    pub confirms: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from the cache.
    Hit,
    /// Answered from the cache, and refreshed in the background.
    StaleHit,
    /// Fetched; the answer is stored where it may be.
    Fetch,
    /// Fetched for this client alone.
    Pass,
    /// The two connections would be joined.
    Pipe,
    /// The cache would drop something.
    Purge,
    /// Answered by the front door itself.
    Synth,
}

/// One thing that a request says, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The directive or the field, as sent.
    pub says: String,
    pub text: String,
    pub rule: &'static str,
}

/// Everything under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUrl {
    pub answers: usize,
    pub marks: usize,
    /// The request fields that they vary on, in lower case.
    pub varies_on: Vec<String>,
}

/// One stored answer at the moment of the question.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    pub status: u16,
    /// `None` while it still fills.
    pub bytes: Option<u64>,
    pub age: Duration,
    pub lifetime: Lifetime,
    /// Seconds of freshness left, negative once it is stale.
    pub ttl_seconds: i64,
    /// How long past its lifetime it serves while it is fetched anew.
    pub grace: Duration,
    /// How long past its lifetime it serves while the backend fails; `None` where the policy does not say.
    pub stale_if_error: Option<Duration>,
    /// How long beyond grace it is kept for a conditional refetch.
    pub keep: Duration,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// The request fields that it varies on, with this request's values.
    pub varies_on: Vec<(String, Option<String>)>,
    /// Deliveries so far.
    pub hits: u64,
    /// The number of the fetch that brought it, as in X-Varnish and the access log.
    pub xid: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From the moment when the origin made the answer.
    pub duration: Duration,
    pub source: LifetimeSource,
    /// A soft purge, or the like, has ended it before its time.
    pub is_cut_short: bool,
}

/// Where a lifetime comes from (RFC 9111 §4.2.1), with the field that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    SMaxAge(String),
    MaxAge(String),
    Expires,
    /// Guessed from Last-Modified.
    Heuristic {
        /// Of the time between Last-Modified and Date.
        percent: u32,
        max: Duration,
    },
    None,
}

/// "The last answer could not be stored."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMark {
    pub because: Option<NotStored>,
    pub status: u16,
    /// How long the mark remains.
    pub remains: Duration,
}

/// An answer that was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStoredLately {
    pub because: NotStored,
    pub status: u16,
    pub ago: Duration,
}

impl Verdict {
    pub(super) fn new(outcome: Outcome, cause: Cause) -> Verdict {
        Verdict {
            outcome,
            cause,
            status: None,
            detail: None,
            confirms: false,
        }
    }

    pub(super) fn synth(status: u16, cause: Cause) -> Verdict {
        Verdict {
            status: Some(status),
            ..Verdict::new(Outcome::Synth, cause)
        }
    }

    pub fn words(&self) -> Words {
        words::cause(self.cause)
    }

    /// The whole verdict in a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let Words { rule, text } = self.words();
        let would = match self.outcome {
            Outcome::Hit => "would be answered from the cache".to_owned(),
            Outcome::StaleHit => {
                "would be answered from the cache, and fetched anew in the background".to_owned()
            }
            Outcome::Fetch if self.confirms => {
                "would be fetched, if what is stored has changed".to_owned()
            }
            Outcome::Fetch => "would be fetched".to_owned(),
            Outcome::Pass => "would be passed to the backend, and its answer not stored".to_owned(),
            Outcome::Pipe => "would be joined with a connection to the backend".to_owned(),
            Outcome::Purge => "would change the cache".to_owned(),
            Outcome::Synth => format!(
                "would be answered by the front door itself with {}",
                self.status.unwrap_or_default()
            ),
        };
        let detail = match &self.detail {
            Some(detail) => format!(": {detail}"),
            None => String::new(),
        };
        format!("{would}, because {text}{detail} ({rule})")
    }
}

impl Outcome {
    /// For programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::StaleHit => "stale-hit",
            Outcome::Fetch => "fetch",
            Outcome::Pass => "pass",
            Outcome::Pipe => "pipe",
            Outcome::Purge => "purge",
            Outcome::Synth => "synth",
        }
    }
}

impl LifetimeSource {
    pub fn words(&self) -> (String, &'static str) {
        match self {
            LifetimeSource::SMaxAge(field) => {
                (format!("s-maxage in {field}"), "RFC 9111 §5.2.2.10")
            }
            LifetimeSource::MaxAge(field) => (format!("max-age in {field}"), "RFC 9111 §5.2.2.1"),
            LifetimeSource::Expires => ("Expires less Date".to_owned(), "RFC 9111 §5.3"),
            LifetimeSource::Heuristic { percent, max } => (
                format!(
                    "a guess: {percent} % of the time between Last-Modified and Date, at most {}",
                    super::text::duration(*max)
                ),
                "RFC 9111 §4.2.2",
            ),
            LifetimeSource::None => ("nothing that gives one".to_owned(), "RFC 9111 §4.2.1"),
        }
    }
}

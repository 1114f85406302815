//! Why a request would be a hit or not: a dry run of the request machine, told in words.
//!
//! `lacquer explain URL` sends the head of a request to the operator's port of a running front door; what is here runs
//! it through the same policy against the same store and says what would happen, and why. A dry run asks no backend,
//! changes nothing that is stored, and counts nothing (but for one look-up in moka's own statistics of use).
//!
//! `dry_run` decides what would happen, `finding` is what it found, `words` has the one table from reasons to
//! words and sections of the RFCs; `text` and `json` write it down for people and for programs. Nothing here
//! knows where the question came from.

mod dry_run;
mod finding;
mod json;
mod recent;
mod request_notes;
mod text;
mod words;

use crate::front::Front;
use crate::http1::HeadLimits;

pub use dry_run::explain;
pub use finding::{
    Explanation, Lifetime, LifetimeSource, NotStoredLately, Note, Outcome, StoredAnswer,
    StoredMark, StoredUrl, Verdict,
};
pub use recent::{Decision, Recent};
pub use words::{CAUSES, Cause, NOT_STORED, Words, cause, not_stored};

/// What the answer is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// A question that no front door can answer. What a listener would refuse is no such question: that is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    #[error("the head of the request does not end: an empty line is missing")]
    Incomplete,
    #[error("bytes follow the head of the request: a question has no content")]
    Content,
}

/// Explains what would happen to a request with this head (RFC 9112 §2.1, from the request line to the empty line). The
/// target may be absolute, and then names the scheme.
///
/// # Errors
/// [`BadQuestion`] where `head` is not one head.
pub fn answer(
    front: &Front,
    limits: &HeadLimits,
    head: &[u8],
    form: Form,
) -> Result<String, BadQuestion> {
    let explanation = explain(front, limits, head)?;
    Ok(match form {
        Form::Text => text::write(&explanation),
        Form::Json => json::write(&explanation),
    })
}

//! A body that one fetch appends to and many clients read, in bounded memory.
//!
//! Here is what all see of it, however far it has come. How it grows, who writes and who reads is in [`growing`], what
//! becomes of it in [`complete`], and what all that grow hold together in [`transit`].

mod complete;
mod growing;
mod transit;

use std::fmt;
use std::sync::OnceLock;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use complete::Complete;
use growing::Growing;

pub use growing::{Abandoned, BodyFailed, BodyReader, BodyWriter, Growth};
pub use transit::Transit;

/// Bytes in order of arrival, complete or still growing. A handle: a copy is of the same body.
///
/// An object holds its body in itself, and most objects are small and complete: so that one costs a `Bytes` here and
/// nothing elsewhere, and all that growing needs is let go of by the first look after the end.
pub struct Body {
    /// Set by the first look that finds the body complete.
    complete: OnceLock<Complete>,
    /// `None` only once `complete` is set.
    growing: ArcSwapOption<Growing>,
}

/// Whether a body came as it was announced, and so weighs what it was said to weigh before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    AsExpected,
    /// It is of another length, has trailers, or nobody knows any more.
    Otherwise,
}

impl Body {
    /// A complete body.
    pub fn whole(bytes: Bytes) -> Body {
        Body::of_complete(Complete::One(bytes))
    }

    /// A complete body of these pieces in their order.
    pub fn of_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Body {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        Body::of_complete(Complete::new(pieces.collect(), None))
    }

    fn of_complete(complete: Complete) -> Body {
        Body {
            complete: OnceLock::from(complete),
            growing: ArcSwapOption::empty(),
        }
    }

    fn complete(&self) -> Option<&Complete> {
        if let Some(complete) = self.complete.get() {
            return Some(complete);
        }
        let Some(growing) = self.growing.load_full() else {
            // Somebody else has looked first.
            return self.complete.get();
        };
        let complete = growing.complete.get()?;
        let settled = self.complete.get_or_init(|| complete.settled());
        self.growing.store(None);
        Some(settled)
    }

    /// Lets go of what growing needed, if the body is complete.
    pub fn settle(&self) -> Outcome {
        // In this order: what is let go of by then is complete.
        let growing = self.growing.load_full();
        let expected = growing.and_then(|growing| growing.expected);
        match self.complete() {
            Some(Complete::One(piece)) if expected == Some(piece.len() as u64) => {
                Outcome::AsExpected
            }
            _ => Outcome::Otherwise,
        }
    }

    /// Whole length, once it is known.
    pub fn complete_bytes(&self) -> Option<u64> {
        self.complete().map(Complete::bytes)
    }

    /// Whether every byte is here.
    pub fn is_complete(&self) -> bool {
        self.complete().is_some()
    }

    /// The pieces of a complete body: nothing to wait for.
    pub fn pieces(&self) -> Option<&[Bytes]> {
        self.complete().map(Complete::pieces)
    }

    /// Whether a complete body has trailers.
    pub fn has_trailers(&self) -> bool {
        let complete = self.complete();
        complete.is_some_and(|complete| complete.trailers().is_some())
    }

    /// Bytes held on the heap, overhead included.
    pub fn weight(&self) -> u64 {
        // In this order: what is let go of by then is complete.
        let growing = self.growing.load_full();
        if let Some(complete) = self.complete() {
            return complete.heap_bytes();
        }
        growing.map_or(0, |growing| growing.weight())
    }
}

impl Clone for Body {
    fn clone(&self) -> Body {
        // In this order: what is let go of by then is complete.
        let growing = self.growing.load_full();
        match self.complete() {
            Some(complete) => Body::of_complete(complete.clone()),
            None => Body {
                complete: OnceLock::new(),
                growing: ArcSwapOption::new(growing),
            },
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.complete() {
            Some(complete) => write!(f, "Body({} bytes)", complete.bytes()),
            None => f.write_str("Body(growing)"),
        }
    }
}

#[cfg(test)]
mod tests;

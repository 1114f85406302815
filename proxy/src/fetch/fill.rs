//! Bodies on their way into objects: whole ones, and the rest of those of which a part is stored.

use std::sync::Arc;

use crate::backend::{BackendError, ResponseBody};
use crate::http::ResponseHead;
use crate::object::{Abandoned, BodyWriter, Object};
use crate::rules::part::{self, Missing, Part};

/// A stored part, and what the fetch asks for to make it the whole.
#[derive(Debug)]
pub struct Completes {
    pub stored: Arc<Object>,
    pub missing: Missing,
}

/// Why a body was not filled to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum FillEnded {
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// More or less came than the part that was asked for.
    #[error("the part that came is not as long as its Content-Range says")]
    Length,
}

/// Moves the backend's body into the object until it ends, fails, passes `bytes_max`, or nobody is left to read it.
pub(super) async fn fill(
    body: &mut ResponseBody,
    writer: &mut BodyWriter,
    mut bytes_max: u64,
) -> Result<(), FillEnded> {
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece?,
            () = writer.abandoned() => return Err(FillEnded::Abandoned(Abandoned)),
        };
        match piece {
            Some(piece) => {
                bytes_max = bytes_max
                    .checked_sub(piece.len() as u64)
                    .ok_or(FillEnded::Length)?;
                writer.push(piece).await?;
            }
            None => return Ok(()),
        }
    }
}

/// The same for the rest of a body of which a part is stored.
pub(super) async fn fill_around(
    rest: &Completes,
    body: &mut ResponseBody,
    writer: &mut BodyWriter,
) -> Result<(), FillEnded> {
    let missing = &rest.missing.range;
    let stored = rest.stored.body.pieces().unwrap_or_default();
    if missing.start > 0 {
        for piece in stored {
            writer.push(piece.clone()).await?;
        }
    }
    let mut awaited = missing.end - missing.start;
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece?,
            () = writer.abandoned() => return Err(FillEnded::Abandoned(Abandoned)),
        };
        let Some(piece) = piece else { break };
        awaited = awaited
            .checked_sub(piece.len() as u64)
            .ok_or(FillEnded::Length)?;
        writer.push(piece).await?;
    }
    if awaited > 0 {
        return Err(FillEnded::Length);
    }
    if missing.start == 0 {
        for piece in stored {
            writer.push(piece.clone()).await?;
        }
    }
    Ok(())
}

/// Whether an answer is what a stored part lacks.
pub(super) fn is_the_rest(completes: &Completes, head: &ResponseHead) -> bool {
    let Completes { stored, missing } = completes;
    let complete_len = stored.part().map(|part| part.part.complete_len);
    Part::of(head).is_some_and(|part| {
        part.range == missing.range
            && Some(part.complete_len) == complete_len
            && part::may_combine(&stored.head, head)
    })
}

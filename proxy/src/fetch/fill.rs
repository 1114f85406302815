//! Bodies on their way into objects: whole ones, and the rest of those of which a part is stored.

use std::sync::Arc;

use super::hit_for_miss;
use crate::backend::{BackendError, ResponseBody};
use crate::front::{Front, FrontSettings};
use crate::http::ResponseHead;
use crate::metrics::Counter;
use crate::object::{Abandoned, BodyWriter, Kind, Object};
use crate::rules::hop_by_hop;
use crate::rules::part::{self, Missing, Part};
use crate::rules::storability::NotStored;
use crate::store::{Fence, Key};
use crate::time::Timestamp;

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

/// What is left of a fetch once its answer has landed: the body, which is not all here.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) front: Arc<Front>,
    /// As they were when the answer came.
    pub(super) settings: Arc<FrontSettings>,
    pub(super) object: Arc<Object>,
    pub(super) body: ResponseBody,
    pub(super) writer: BodyWriter,
    /// How the first attempt to fill it ended, if it has come to an end.
    pub(super) early: Option<Result<(), FillEnded>>,
    /// Present where the body is put together with a stored part.
    pub(super) rest: Option<Completes>,
    /// Where the object is stored, if it is.
    pub(super) stored: Option<(Key, Fence)>,
    /// When the answer came.
    pub(super) since: Timestamp,
}

impl Filling {
    /// Fills the object, and tells the store how that ended.
    /// All of the body has come, or will not come.
    pub(super) fn is_over(&self) -> bool {
        self.early.is_some()
    }

    pub(super) async fn run(self) {
        let Filling {
            front,
            settings,
            object,
            mut body,
            mut writer,
            early,
            rest,
            stored,
            since,
        } = self;
        let filled = match (early, &rest) {
            (Some(filled), _) => filled,
            (None, None) => {
                let place = object.part().map(|stored| &stored.part.range);
                let bytes_max = place.map_or(u64::MAX, |range| range.end - range.start);
                fill(&mut body, &mut writer, bytes_max).await
            }
            (None, Some(rest)) => fill_around(rest, &mut body, &mut writer).await,
        };
        let overflowed = object.kind == Kind::Response && writer.in_transit();
        if let Err(FillEnded::Backend(_) | FillEnded::Length) = &filled {
            front.metrics.count(Counter::FetchesFailed);
        }
        if let Some((key, fence)) = &stored
            && (filled.is_err() || overflowed)
        {
            // Before the readers learn of the end: who asks again then has to find something better.
            front.store.remove(key, &object);
            if overflowed {
                front.count_not_stored(NotStored::TooLarge);
                if object.part().is_none() {
                    let mut mark = hit_for_miss(&object, settings.hit_for_miss, Timestamp::now());
                    mark.because = Some(NotStored::TooLarge);
                    front.store.insert(key, Arc::new(mark), *fence, since);
                }
            } else {
                front.metrics.count(Counter::NotStoredIncomplete);
            }
        }
        if filled.is_err() {
            return drop(writer);
        }
        // Those of a rest tell of it alone.
        let mut trailers = body.trailers().filter(|_| rest.is_none());
        if let Some(trailers) = &mut trailers {
            hop_by_hop::strip_trailers(trailers);
        }
        writer.finish(trailers);
        if let Some((key, fence)) = stored.filter(|_| !overflowed) {
            match object.part() {
                None => front.store.reweigh(&key, &object),
                Some(_) => {
                    let bytes_max = settings.object_bytes_max;
                    let now = Timestamp::now();
                    front.store.combine(&key, &object, fence, bytes_max, now);
                }
            }
        }
    }
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

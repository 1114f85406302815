//! Bodies that grow, those who append to them and those who read them meanwhile.
//!
//! Two ways to grow ([`Growth`]): a body that is kept holds every piece; a body in transit forgets what
//! all its readers have taken and makes the writer wait while too much is untaken. A kept body that
//! passes the size limit, or finds no room beside the others that fill, turns into one in transit. When the last reader of a body in transit leaves,
//! nobody can read it any more and the writer is told.
//!
//! Lock order: none; the one mutex is never held over an await.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::complete::{Complete, SHARED_BYTES, bytes_of_one};
use super::{Body, Transit};
use crate::http::Fields;

/// No body that is announced as larger is ever kept, so what it will weigh is nobody's concern.
const EXPECTED_BYTES_MAX: u64 = 1 << 40;

/// A `Bytes` and the shared header of its allocation.
pub(super) const PIECE_OVERHEAD: u64 = size_of::<Bytes>() as u64 + SHARED_BYTES;

/// How a body grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Every piece is kept, up to `bytes_max` and while there is room ([`Transit::with_bytes_max`]); past
    /// either the body goes on in transit.
    Kept { bytes_max: u64 },
    /// Pieces are dropped once read; the writer waits while more than [`Transit::window`] bytes are unread.
    Transit,
}

/// The fetch ended before the body did. Whoever is sending it must not end it properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body ended before it was complete")]
pub struct BodyFailed;

/// Every reader of a body in transit has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this body any more")]
pub struct Abandoned;

/// What a body needs until it is complete, and what those go on with who read it by then.
#[derive(Debug)]
pub(super) struct Growing {
    filling: Mutex<Filling>,
    pub(super) complete: OnceLock<Complete>,
    /// Something was appended, or the end was reached: readers look again.
    grown: Notify,
    /// A reader moved on or left: the writer looks again.
    drained: Notify,
    transit: Transit,
    /// The length that was announced.
    pub(super) expected: Option<u64>,
}

#[derive(Debug)]
struct Filling {
    growth: Growth,
    pieces: VecDeque<Bytes>,
    /// Pieces, and bytes in them, that were dropped from the front.
    dropped: usize,
    dropped_bytes: u64,
    bytes: u64,
    /// Bytes of this body in the account of [`Transit`].
    accounted: u64,
    /// Its bytes in the account of what unfinished bodies keep.
    kept: u64,
    end: Option<Result<Option<Fields>, BodyFailed>>,
    /// Next piece of each reader; a slot is `None` when its reader has left.
    readers: Vec<Option<usize>>,
}

impl Body {
    /// An empty body and the one writer that may append to it.
    pub fn write(growth: Growth, transit: &Transit) -> BodyWriter {
        Body::write_expected(growth, transit, None)
    }

    /// The same for a body whose length was announced. While it grows, it weighs what it will.
    pub fn write_expected(growth: Growth, transit: &Transit, expected: Option<u64>) -> BodyWriter {
        let expected = expected.filter(|bytes| match growth {
            Growth::Kept { bytes_max } => *bytes <= bytes_max.min(EXPECTED_BYTES_MAX),
            Growth::Transit => false,
        });
        let growing = Arc::new(Growing::new(growth, transit, expected));
        BodyWriter {
            body: Body {
                complete: OnceLock::new(),
                growing: ArcSwapOption::new(Some(Arc::clone(&growing))),
            },
            growing,
            ended: false,
        }
    }

    /// A reader from the first byte. `None` once the first bytes of a body in transit are gone, and for a
    /// body that has failed.
    pub fn reader(&self) -> Option<BodyReader> {
        if let Some(complete) = self.complete() {
            return Some(BodyReader::of(complete));
        }
        let Some(growing) = self.growing.load_full() else {
            return self.complete.get().map(BodyReader::of);
        };
        let mut filling = growing.filling.lock();
        // Asked again under the lock: the writer may have ended the body meanwhile, and then its pieces are
        // in the complete form alone.
        if let Some(complete) = growing.complete.get() {
            return Some(BodyReader::of(complete));
        }
        if filling.dropped > 0 || matches!(filling.end, Some(Err(_))) {
            return None;
        }
        let slot = match filling.readers.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                filling.readers.push(None);
                filling.readers.len() - 1
            }
        };
        filling.readers[slot] = Some(0);
        drop(filling);
        Some(BodyReader {
            next: 0,
            source: Source::Growing { growing, slot },
        })
    }

    /// Waits until the body has ended. `true`: complete; `false`: it failed or was in transit.
    pub async fn ended(&self) -> bool {
        let Some(growing) = self.growing.load_full() else {
            return true;
        };
        wait_on(&growing.grown, || {
            if self.is_complete() {
                return Some(true);
            }
            let ended = growing.filling.lock().end.is_some();
            ended.then(|| self.is_complete())
        })
        .await
    }
}

impl Growing {
    fn new(growth: Growth, transit: &Transit, expected: Option<u64>) -> Growing {
        Growing {
            filling: Mutex::new(Filling {
                growth,
                pieces: VecDeque::new(),
                dropped: 0,
                dropped_bytes: 0,
                bytes: 0,
                accounted: 0,
                kept: 0,
                end: None,
                readers: Vec::new(),
            }),
            complete: OnceLock::new(),
            grown: Notify::new(),
            drained: Notify::new(),
            transit: transit.clone(),
            expected,
        }
    }

    pub(super) fn weight(&self) -> u64 {
        let filling = self.filling.lock();
        if let Some(expected) = self.expected
            && !filling.in_transit()
        {
            return bytes_of_one(usize::try_from(expected).unwrap_or(usize::MAX));
        }
        let pieces = filling.held_bytes() + filling.pieces.len() as u64 * PIECE_OVERHEAD;
        (size_of::<Growing>() + 2 * size_of::<usize>()) as u64 + pieces
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let filling = self.filling.get_mut();
        filling.release(&self.transit);
        let accounted = filling.accounted;
        self.transit.held.fetch_sub(accounted, Ordering::Relaxed);
    }
}

impl Filling {
    /// Drops the pieces that every reader has taken.
    fn trim(&mut self) {
        let Some(oldest) = self.readers.iter().flatten().min() else {
            return;
        };
        while self.dropped < *oldest {
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            self.dropped += 1;
            self.dropped_bytes += piece.len() as u64;
        }
    }

    /// Brings the account of bytes in transit up to date.
    fn account(&mut self, transit: &Transit) {
        let held = if self.in_transit() {
            self.held_bytes()
        } else {
            0
        };
        transit.held.fetch_add(held, Ordering::Relaxed);
        transit.held.fetch_sub(self.accounted, Ordering::Relaxed);
        self.accounted = held;
        // What was kept before the body went on in transit takes room until it is read.
        if self.in_transit() && self.kept > held {
            transit.kept.fetch_sub(self.kept - held, Ordering::Relaxed);
            self.kept = held;
        }
    }

    /// Gives back the room for what was kept: it is dropped, or the store's to weigh.
    fn release(&mut self, transit: &Transit) {
        let kept = std::mem::take(&mut self.kept);
        transit.kept.fetch_sub(kept, Ordering::Relaxed);
    }

    fn in_transit(&self) -> bool {
        self.growth == Growth::Transit
    }

    fn is_abandoned(&self) -> bool {
        self.in_transit() && self.readers.iter().all(Option::is_none)
    }

    fn held_bytes(&self) -> u64 {
        self.bytes - self.dropped_bytes
    }
}

/// Appends to a body. Dropped before [`BodyWriter::finish`], it fails the body for its readers.
#[derive(Debug)]
pub struct BodyWriter {
    body: Body,
    growing: Arc<Growing>,
    ended: bool,
}

impl BodyWriter {
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Appends a piece; for a body in transit, waits until there is room for it.
    ///
    /// # Errors
    /// [`Abandoned`] when nobody can read the body any more.
    pub async fn push(&mut self, piece: Bytes) -> Result<(), Abandoned> {
        if piece.is_empty() {
            return Ok(());
        }
        self.append(piece);
        wait_on(&self.growing.drained, || {
            let filling = self.growing.filling.lock();
            if filling.is_abandoned() {
                Some(Err(Abandoned))
            } else if filling.in_transit()
                && filling.held_bytes() > self.growing.transit.window_now()
            {
                None
            } else {
                Some(Ok(()))
            }
        })
        .await
    }

    pub(super) fn append(&mut self, piece: Bytes) {
        let mut filling = self.growing.filling.lock();
        filling.bytes += piece.len() as u64;
        if let Growth::Kept { bytes_max } = filling.growth {
            let cost = piece.len() as u64 + PIECE_OVERHEAD;
            if filling.bytes <= bytes_max && self.growing.transit.keep(cost) {
                filling.kept += cost;
            } else {
                filling.growth = Growth::Transit;
            }
        }
        // A kept piece is copied so that it does not hold a whole read buffer for a few bytes.
        let piece = if filling.in_transit() {
            piece
        } else {
            Bytes::copy_from_slice(&piece)
        };
        filling.pieces.push_back(piece);
        if filling.in_transit() {
            filling.trim();
            filling.account(&self.growing.transit);
        }
        drop(filling);
        self.growing.grown.notify_waiters();
    }

    /// Resolves when nobody can read the body any more; never for a body that is kept.
    pub async fn abandoned(&self) {
        wait_on(&self.growing.drained, || {
            self.growing.filling.lock().is_abandoned().then_some(())
        })
        .await;
    }

    /// Whether the body has passed its limit, or never was to be kept.
    pub fn in_transit(&self) -> bool {
        self.growing.filling.lock().in_transit()
    }

    /// Ends the body properly.
    pub fn finish(mut self, trailers: Option<Fields>) {
        self.ended = true;
        let mut filling = self.growing.filling.lock();
        if !filling.in_transit() {
            let pieces = filling.pieces.iter().cloned().collect();
            self.growing
                .complete
                .set(Complete::new(pieces, trailers.clone()))
                .expect("only the writer ends a body, and once");
            filling.release(&self.growing.transit);
            // Readers in the middle keep their place by piece, so the pieces they count stay until they
            // have read them; the complete form serves those who start now.
            if filling.readers.iter().all(Option::is_none) {
                filling.pieces = VecDeque::new();
            }
        }
        filling.end = Some(Ok(trailers));
        drop(filling);
        self.growing.grown.notify_waiters();
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.growing.filling.lock().end = Some(Err(BodyFailed));
            self.growing.grown.notify_waiters();
        }
    }
}

/// One client's place in a body.
#[derive(Debug)]
pub struct BodyReader {
    next: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Complete(Complete),
    /// Registered in this slot while the body was growing.
    Growing {
        growing: Arc<Growing>,
        slot: usize,
    },
}

impl BodyReader {
    fn of(complete: &Complete) -> BodyReader {
        BodyReader {
            next: 0,
            source: Source::Complete(complete.clone()),
        }
    }

    /// The next piece; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// [`BodyFailed`] when the fetch ended early.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyFailed> {
        let (growing, slot) = match &self.source {
            Source::Complete(complete) => {
                let piece = complete.pieces().get(self.next).cloned();
                self.next += usize::from(piece.is_some());
                return Ok(piece);
            }
            Source::Growing { growing, slot } => (growing, *slot),
        };
        let (piece, freed) = wait_on(&growing.grown, || {
            let mut filling = growing.filling.lock();
            let index = self.next - filling.dropped;
            if let Some(piece) = filling.pieces.get(index).cloned() {
                filling.readers[slot] = Some(self.next + 1);
                let in_transit = filling.in_transit();
                if in_transit {
                    filling.trim();
                    filling.account(&growing.transit);
                }
                return Some(Ok((Some(piece), in_transit)));
            }
            match &filling.end {
                Some(Ok(_)) => Some(Ok((None, false))),
                Some(Err(failed)) => Some(Err(*failed)),
                None => None,
            }
        })
        .await?;
        self.next += usize::from(piece.is_some());
        if freed {
            growing.drained.notify_one();
        }
        Ok(piece)
    }

    /// The trailers, once [`BodyReader::next`] has given `None`.
    pub fn trailers(&self) -> Option<Fields> {
        match &self.source {
            Source::Complete(complete) => complete.trailers().cloned(),
            Source::Growing { growing, .. } => match &growing.filling.lock().end {
                Some(Ok(trailers)) => trailers.clone(),
                _ => None,
            },
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if let Source::Growing { growing, slot } = &self.source {
            let mut filling = growing.filling.lock();
            filling.readers[*slot] = None;
            let all_gone = filling.readers.iter().all(Option::is_none);
            if all_gone && growing.complete.get().is_some() {
                filling.pieces = VecDeque::new();
            } else if filling.in_transit() {
                filling.trim();
                filling.account(&growing.transit);
            }
            drop(filling);
            growing.drained.notify_one();
        }
    }
}

/// Runs `check` now and after each notification until it gives a value.
async fn wait_on<T>(notify: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    if let Some(value) = check() {
        return value;
    }
    loop {
        let mut notified = pin!(notify.notified());
        // Registered before the check, so that nothing between the two is missed.
        notified.as_mut().enable();
        if let Some(value) = check() {
            return value;
        }
        notified.await;
    }
}

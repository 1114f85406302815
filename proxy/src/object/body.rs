//! A body that one fetch appends to and many clients read, in bounded memory.
//!
//! Two ways to grow ([`Growth`]): a body that is kept holds every piece; a body in transit forgets what
//! all its readers have taken and makes the writer wait while too much is untaken. A kept body that
//! passes the size limit, or finds no room beside the others that fill, turns into one in transit. When the last reader of a body in transit leaves,
//! nobody can read it any more and the writer is told.
//!
//! Lock order: none; the one mutex is never held over an await.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::http::Fields;

/// Bodies up to this size end as one piece, so that a hit is one copy and one write.
const ONE_PIECE_BYTES: u64 = 64 * 1024;

/// What a body in transit may hold when all of them together hold too much: enough for a client to be sent
/// something while more is read.
const SMALL_WINDOW_BYTES: u64 = 16 * 1024;

/// What all bodies that grow share: a body is weighed by the store only once it is whole, so what they hold
/// until then is counted here.
#[derive(Clone, Debug)]
pub struct Transit {
    /// Most unread bytes that one body in transit holds.
    pub window: u64,
    held: Arc<AtomicU64>,
    /// Bytes of unfinished bodies that are kept, overhead included, and what is unread of those that were
    /// kept until they grew too large.
    kept: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Transit {
    pub fn new(window: u64) -> Transit {
        Transit {
            window,
            held: Arc::default(),
            kept: Arc::default(),
            bytes_max: u64::MAX,
        }
    }

    /// The same account with another window.
    #[must_use]
    pub fn with_window(&self, window: u64) -> Transit {
        Transit {
            window,
            ..self.clone()
        }
    }

    /// The same account with a bound on what unfinished bodies that are kept hold together: one that would
    /// pass it goes on in transit. What bodies in transit hold together is bounded by it as well, but for a
    /// small window of each: nobody is turned away, all are sent more slowly.
    #[must_use]
    pub fn with_bytes_max(&self, bytes_max: u64) -> Transit {
        Transit {
            bytes_max,
            ..self.clone()
        }
    }

    /// Most unread bytes that one body in transit holds now.
    fn window_now(&self) -> u64 {
        match self.held_bytes() > self.bytes_max {
            true => self.window.min(SMALL_WINDOW_BYTES),
            false => self.window,
        }
    }

    /// Bytes that all unfinished bodies that are kept hold now, overhead included.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether a body of this length could be kept if it were here now.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max.saturating_sub(self.kept_bytes())
    }

    /// Makes room for bytes to keep; `false` when there is none.
    fn keep(&self, bytes: u64) -> bool {
        let fits = |kept: u64| {
            kept.checked_add(bytes)
                .filter(|kept| *kept <= self.bytes_max)
        };
        self.kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Bytes that all bodies in transit hold now.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

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

/// Bytes in order of arrival, complete or still growing.
#[derive(Debug)]
pub struct Body {
    complete: OnceLock<Complete>,
    filling: Mutex<Filling>,
    /// Something was appended, or the end was reached: readers look again.
    grown: Notify,
    /// A reader moved on or left: the writer looks again.
    drained: Notify,
    transit: Transit,
}

#[derive(Debug)]
struct Complete {
    pieces: Box<[Bytes]>,
    bytes: u64,
    trailers: Option<Fields>,
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
    /// A complete body.
    pub fn whole(bytes: Bytes) -> Arc<Body> {
        Body::of_pieces([bytes])
    }

    /// A complete body of these pieces in their order.
    pub fn of_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Arc<Body> {
        let pieces: Vec<Bytes> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let pieces = in_one_piece(&pieces, length).unwrap_or_else(|| pieces.into());
        let body = Body::growing(Growth::Transit, &Transit::new(0));
        let complete = Complete {
            pieces,
            bytes: length,
            trailers: None,
        };
        body.complete
            .set(complete)
            .expect("a new body has no end yet");
        Arc::new(body)
    }

    /// An empty body and the one writer that may append to it.
    pub fn write(growth: Growth, transit: &Transit) -> BodyWriter {
        BodyWriter {
            body: Arc::new(Body::growing(growth, transit)),
            ended: false,
        }
    }

    fn growing(growth: Growth, transit: &Transit) -> Body {
        Body {
            complete: OnceLock::new(),
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
            grown: Notify::new(),
            drained: Notify::new(),
            transit: transit.clone(),
        }
    }

    /// A reader from the first byte. `None` once the first bytes of a body in transit are gone, and for a
    /// body that has failed.
    pub fn reader(self: &Arc<Body>) -> Option<BodyReader> {
        if self.is_complete() {
            return Some(self.reader_of_complete());
        }
        let mut filling = self.filling.lock();
        // Asked again under the lock: the writer may have ended the body meanwhile, and then its pieces are
        // in the complete form alone.
        if self.is_complete() {
            return Some(self.reader_of_complete());
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
            body: Arc::clone(self),
            next: 0,
            slot: Some(slot),
        })
    }

    fn reader_of_complete(self: &Arc<Body>) -> BodyReader {
        BodyReader {
            body: Arc::clone(self),
            next: 0,
            slot: None,
        }
    }

    /// Whole length, once it is known.
    pub fn complete_bytes(&self) -> Option<u64> {
        self.complete.get().map(|complete| complete.bytes)
    }

    /// Whether every byte is here.
    pub fn is_complete(&self) -> bool {
        self.complete.get().is_some()
    }

    /// The pieces of a complete body: nothing to wait for.
    pub fn pieces(&self) -> Option<&[Bytes]> {
        self.complete.get().map(|complete| &*complete.pieces)
    }

    /// Waits until the body has ended. `true`: complete; `false`: it failed or was in transit.
    pub async fn ended(&self) -> bool {
        wait_on(&self.grown, || {
            if self.is_complete() {
                return Some(true);
            }
            self.filling
                .lock()
                .end
                .is_some()
                .then(|| self.is_complete())
        })
        .await
    }

    /// Bytes held, overhead included.
    pub fn weight(&self) -> u64 {
        let fixed = size_of::<Body>() + 2 * size_of::<usize>();
        let held = match self.complete.get() {
            Some(complete) => complete.bytes + complete.pieces.len() as u64 * PIECE_OVERHEAD,
            None => {
                let filling = self.filling.lock();
                filling.bytes - filling.dropped_bytes + filling.pieces.len() as u64 * PIECE_OVERHEAD
            }
        };
        fixed as u64 + held
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let filling = self.filling.get_mut();
        filling.release(&self.transit);
        let accounted = filling.accounted;
        self.transit.held.fetch_sub(accounted, Ordering::Relaxed);
    }
}

/// A `Bytes` and the shared header of its allocation.
const PIECE_OVERHEAD: u64 = size_of::<Bytes>() as u64 + 24;

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
    body: Arc<Body>,
    ended: bool,
}

impl BodyWriter {
    pub fn body(&self) -> &Arc<Body> {
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
        wait_on(&self.body.drained, || {
            let filling = self.body.filling.lock();
            if filling.is_abandoned() {
                Some(Err(Abandoned))
            } else if filling.in_transit() && filling.held_bytes() > self.body.transit.window_now()
            {
                None
            } else {
                Some(Ok(()))
            }
        })
        .await
    }

    fn append(&mut self, piece: Bytes) {
        let mut filling = self.body.filling.lock();
        filling.bytes += piece.len() as u64;
        if let Growth::Kept { bytes_max } = filling.growth {
            let cost = piece.len() as u64 + PIECE_OVERHEAD;
            if filling.bytes <= bytes_max && self.body.transit.keep(cost) {
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
            filling.account(&self.body.transit);
        }
        drop(filling);
        self.body.grown.notify_waiters();
    }

    /// Resolves when nobody can read the body any more; never for a body that is kept.
    pub async fn abandoned(&self) {
        wait_on(&self.body.drained, || {
            self.body.filling.lock().is_abandoned().then_some(())
        })
        .await;
    }

    /// Whether the body has passed its limit, or never was to be kept.
    pub fn in_transit(&self) -> bool {
        self.body.filling.lock().in_transit()
    }

    /// Ends the body properly.
    pub fn finish(mut self, trailers: Option<Fields>) {
        self.ended = true;
        let mut filling = self.body.filling.lock();
        if !filling.in_transit() {
            let length = filling.bytes;
            let pieces = in_one_piece(filling.pieces.make_contiguous(), length)
                .unwrap_or_else(|| filling.pieces.iter().cloned().collect());
            let complete = Complete {
                pieces,
                bytes: filling.bytes,
                trailers: trailers.clone(),
            };
            self.body
                .complete
                .set(complete)
                .expect("only the writer ends a body, and once");
            filling.release(&self.body.transit);
            // Readers in the middle keep their place by piece, so the pieces they count stay until they
            // have read them; the complete form serves those who start now.
            if filling.readers.iter().all(Option::is_none) {
                filling.pieces = VecDeque::new();
            }
        }
        filling.end = Some(Ok(trailers));
        drop(filling);
        self.body.grown.notify_waiters();
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.body.filling.lock().end = Some(Err(BodyFailed));
            self.body.grown.notify_waiters();
        }
    }
}

/// One client's place in a body.
#[derive(Debug)]
pub struct BodyReader {
    body: Arc<Body>,
    next: usize,
    /// Registered while the body was growing.
    slot: Option<usize>,
}

impl BodyReader {
    /// The next piece; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// [`BodyFailed`] when the fetch ended early.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyFailed> {
        let Some(slot) = self.slot else {
            let complete = self
                .body
                .complete
                .get()
                .expect("an unregistered reader reads a complete body");
            let piece = complete.pieces.get(self.next).cloned();
            self.next += usize::from(piece.is_some());
            return Ok(piece);
        };
        let (piece, freed) = wait_on(&self.body.grown, || {
            let mut filling = self.body.filling.lock();
            let index = self.next - filling.dropped;
            if let Some(piece) = filling.pieces.get(index).cloned() {
                filling.readers[slot] = Some(self.next + 1);
                let in_transit = filling.in_transit();
                if in_transit {
                    filling.trim();
                    filling.account(&self.body.transit);
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
            self.body.drained.notify_one();
        }
        Ok(piece)
    }

    /// The trailers, once [`BodyReader::next`] has given `None`.
    pub fn trailers(&self) -> Option<Fields> {
        match self.body.complete.get() {
            Some(complete) => complete.trailers.clone(),
            None => match &self.body.filling.lock().end {
                Some(Ok(trailers)) => trailers.clone(),
                _ => None,
            },
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut filling = self.body.filling.lock();
            filling.readers[slot] = None;
            let all_gone = filling.readers.iter().all(Option::is_none);
            if all_gone && self.body.complete.get().is_some() {
                filling.pieces = VecDeque::new();
            } else if filling.in_transit() {
                filling.trim();
                filling.account(&self.body.transit);
            }
            drop(filling);
            self.body.drained.notify_one();
        }
    }
}

/// Several small pieces as one; `None` where they stay as they are.
fn in_one_piece(pieces: &[Bytes], bytes: u64) -> Option<Box<[Bytes]>> {
    (pieces.len() > 1 && bytes <= ONE_PIECE_BYTES).then(|| {
        let mut joined = BytesMut::with_capacity(bytes as usize);
        for piece in pieces {
            joined.extend_from_slice(piece);
        }
        Box::from([joined.freeze()])
    })
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

#[cfg(test)]
mod tests;

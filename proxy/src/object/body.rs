//! A body that one fetch appends to and many clients read, in bounded memory.
//!
//! Two ways to grow ([`Growth`]): a body that is kept holds every piece; a body in transit forgets what
//! all its readers have taken and makes the writer wait while too much is untaken. A kept body that
//! passes the size limit, or finds no room beside the others that fill, turns into one in transit. When the last reader of a body in transit leaves,
//! nobody can read it any more and the writer is told.
//!
//! Lock order: none; the one mutex is never held over an await.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::block_bytes;
use crate::http::Fields;

/// Bodies up to this size end as one piece, so that a hit is one copy and one write.
const ONE_PIECE_BYTES: u64 = 64 * 1024;

/// Complete bodies up to this size are copied once more rather than have a second block on the heap.
const COPIED_BYTES_MAX: usize = 4096;

/// No body that is announced as larger is ever kept, so what it will weigh is nobody's concern.
const EXPECTED_BYTES_MAX: u64 = 1 << 40;

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

/// The end of a body that was kept.
#[derive(Clone, Debug)]
enum Complete {
    /// The usual body: one piece, maybe empty, and no trailers.
    One(Bytes),
    Many(Arc<Many>),
}

#[derive(Debug)]
struct Many {
    /// None is empty.
    pieces: Box<[Bytes]>,
    bytes: u64,
    trailers: Option<Fields>,
}

/// What a body needs until it is complete, and what those go on with who read it by then.
#[derive(Debug)]
struct Growing {
    filling: Mutex<Filling>,
    complete: OnceLock<Complete>,
    /// Something was appended, or the end was reached: readers look again.
    grown: Notify,
    /// A reader moved on or left: the writer looks again.
    drained: Notify,
    transit: Transit,
    /// The length that was announced.
    expected: Option<u64>,
}

/// Whether a body came as it was announced, and so weighs what it was said to weigh before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    AsExpected,
    /// It is of another length, has trailers, or nobody knows any more.
    Otherwise,
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

impl Complete {
    /// Of pieces that are not empty.
    fn new(pieces: Vec<Bytes>, trailers: Option<Fields>) -> Complete {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut pieces = in_one_piece(&pieces, bytes).unwrap_or(pieces);
        match (trailers, pieces.len()) {
            (None, 0 | 1) => Complete::One(pieces.pop().unwrap_or_default()),
            (trailers, _) => Complete::Many(Arc::new(Many {
                pieces: pieces.into(),
                bytes,
                trailers,
            })),
        }
    }

    fn pieces(&self) -> &[Bytes] {
        match self {
            Complete::One(piece) if piece.is_empty() => &[],
            Complete::One(piece) => std::slice::from_ref(piece),
            Complete::Many(many) => &many.pieces,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Complete::One(piece) => piece.len() as u64,
            Complete::Many(many) => many.bytes,
        }
    }

    fn trailers(&self) -> Option<&Fields> {
        match self {
            Complete::One(_) => None,
            Complete::Many(many) => many.trailers.as_ref(),
        }
    }

    /// A copy to be kept. What was cloned once, as for those who read while the body grew, has a second block
    /// on the heap; what is small is copied into one without.
    fn settled(&self) -> Complete {
        match self {
            Complete::One(piece) if piece.len() <= COPIED_BYTES_MAX => {
                Complete::One(Bytes::copy_from_slice(piece))
            }
            other => other.clone(),
        }
    }

    /// Bytes on the heap.
    fn heap_bytes(&self) -> u64 {
        let pieces = self.pieces().iter().map(piece_bytes).sum::<u64>();
        match self {
            Complete::One(_) => pieces,
            Complete::Many(many) => {
                let trailers = many.trailers.as_ref().map_or(0, Fields::heap_bytes);
                let list = size_of_val(&*many.pieces);
                pieces + (trailers + list + size_of::<Many>() + 2 * size_of::<usize>()) as u64
            }
        }
    }
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

    fn weight(&self) -> u64 {
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

/// A `Bytes` and the shared header of its allocation.
const PIECE_OVERHEAD: u64 = size_of::<Bytes>() as u64 + SHARED_BYTES;

/// What `Bytes` puts on the heap beside the bytes when it is cloned for the first time.
const SHARED_BYTES: u64 = 32;

/// Bytes that a piece of a complete body has on the heap.
fn piece_bytes(piece: &Bytes) -> u64 {
    bytes_of_one(piece.len())
}

fn bytes_of_one(length: usize) -> u64 {
    match length {
        0 => 0,
        _ => block_bytes(length) as u64 + SHARED_BYTES,
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

    fn append(&mut self, piece: Bytes) {
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

/// Several small pieces as one; `None` where they stay as they are.
fn in_one_piece(pieces: &[Bytes], bytes: u64) -> Option<Vec<Bytes>> {
    (pieces.len() > 1 && bytes <= ONE_PIECE_BYTES).then(|| {
        let mut joined = BytesMut::with_capacity(bytes as usize);
        for piece in pieces {
            joined.extend_from_slice(piece);
        }
        vec![joined.freeze()]
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

//! The end of a body that was kept: all its pieces, for good.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::http::Fields;
use crate::object::block_bytes;

/// Bodies up to this size end as one piece, so that a hit is one copy and one write.
const ONE_PIECE_BYTES: u64 = 64 * 1024;

/// Complete bodies up to this size are copied once more rather than have a second block on the heap.
const COPIED_BYTES_MAX: usize = 4096;

/// What `Bytes` puts on the heap beside the bytes when it is cloned for the first time.
pub(super) const SHARED_BYTES: u64 = 32;

/// The end of a body that was kept.
#[derive(Clone, Debug)]
pub(super) enum Complete {
    /// The usual body: one piece, maybe empty, and no trailers.
    One(Bytes),
    Many(Arc<Many>),
}

#[derive(Debug)]
pub(super) struct Many {
    /// None is empty.
    pieces: Box<[Bytes]>,
    bytes: u64,
    trailers: Option<Fields>,
}

impl Complete {
    /// Of pieces that are not empty.
    pub(super) fn new(pieces: Vec<Bytes>, trailers: Option<Fields>) -> Complete {
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

    pub(super) fn pieces(&self) -> &[Bytes] {
        match self {
            Complete::One(piece) if piece.is_empty() => &[],
            Complete::One(piece) => std::slice::from_ref(piece),
            Complete::Many(many) => &many.pieces,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Complete::One(piece) => piece.len() as u64,
            Complete::Many(many) => many.bytes,
        }
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        match self {
            Complete::One(_) => None,
            Complete::Many(many) => many.trailers.as_ref(),
        }
    }

    /// A copy to be kept. What was cloned once, as for those who read while the body grew, has a second block
    /// on the heap; what is small is copied into one without.
    pub(super) fn settled(&self) -> Complete {
        match self {
            Complete::One(piece) if piece.len() <= COPIED_BYTES_MAX => {
                Complete::One(Bytes::copy_from_slice(piece))
            }
            other => other.clone(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> u64 {
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

/// Bytes that a piece of a complete body has on the heap.
fn piece_bytes(piece: &Bytes) -> u64 {
    bytes_of_one(piece.len())
}

pub(super) fn bytes_of_one(length: usize) -> u64 {
    match length {
        0 => 0,
        _ => block_bytes(length) as u64 + SHARED_BYTES,
    }
}

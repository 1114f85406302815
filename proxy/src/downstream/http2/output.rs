//! Frames on their way to the socket: small ones copied one behind the other, large pieces of bodies between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// Pieces up to this size are copied behind their frame's head: cheaper than a slice of their own.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Sent bytes that may stay in front of those which are not.
const SENT_BYTES_MAX: usize = 64 * 1024;

/// Memory that an output keeps once all of it is sent.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// Slices in one call.
const SLICES_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Output {
    copied: Vec<u8>,
    /// Of `copied`.
    sent: usize,
    /// Each with the place in `copied` before which it stands.
    pieces: VecDeque<(usize, Bytes)>,
    piece_bytes: usize,
    copy_bytes_max: usize,
}

pub(super) type Slices<'a> = SmallVec<[IoSlice<'a>; SLICES_MAX]>;

impl Output {
    /// `takes_slices`: the stream writes several at once.
    pub(super) fn new(takes_slices: bool) -> Output {
        Output {
            copied: Vec::new(),
            sent: 0,
            pieces: VecDeque::new(),
            piece_bytes: 0,
            copy_bytes_max: match takes_slices {
                true => COPY_BYTES_MAX,
                false => usize::MAX,
            },
        }
    }

    /// Bytes that are not sent.
    pub(super) fn queued(&self) -> usize {
        self.copied.len() - self.sent + self.piece_bytes
    }

    /// Where to append frames.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Appends what need not be copied.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.len() <= self.copy_bytes_max {
            self.copied.extend_from_slice(&piece);
        } else {
            self.piece_bytes += piece.len();
            self.pieces.push_back((self.copied.len(), piece));
        }
    }

    /// All that is queued, where it is one slice.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then(|| &self.copied[self.sent..])
    }

    /// As much of it as one call takes.
    pub(super) fn slices(&self) -> Slices<'_> {
        let mut slices = Slices::new();
        let mut position = self.sent;
        for (place, piece) in &self.pieces {
            if slices.len() + 2 > SLICES_MAX {
                return slices;
            }
            if position < *place {
                slices.push(IoSlice::new(&self.copied[position..*place]));
                position = *place;
            }
            slices.push(IoSlice::new(piece));
        }
        if position < self.copied.len() && slices.len() < SLICES_MAX {
            slices.push(IoSlice::new(&self.copied[position..]));
        }
        slices
    }

    /// So many bytes are sent.
    pub(super) fn advance(&mut self, mut sent: usize) {
        while let Some((place, piece)) = self.pieces.front_mut() {
            let before = sent.min(*place - self.sent);
            self.sent += before;
            sent -= before;
            let of_piece = sent.min(piece.len());
            piece.advance(of_piece);
            self.piece_bytes -= of_piece;
            sent -= of_piece;
            if !piece.is_empty() {
                return self.forget_sent();
            }
            self.pieces.pop_front();
        }
        self.sent += sent;
        if self.sent == self.copied.len() {
            self.sent = 0;
            self.copied.clear();
        } else {
            self.forget_sent();
        }
    }

    fn forget_sent(&mut self) {
        if self.sent > SENT_BYTES_MAX {
            self.copied.drain(..self.sent);
            for (place, _) in &mut self.pieces {
                *place -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Gives up memory that much output has claimed, once there is none.
    pub(super) fn shrink(&mut self) {
        if self.queued() == 0 && self.copied.capacity() > KEPT_BYTES_MAX {
            self.copied = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(output: &mut Output, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while output.queued() > 0 {
            let slices = output.slices();
            let bytes: Vec<u8> = slices
                .iter()
                .flat_map(|slice| slice.iter())
                .copied()
                .collect();
            assert!(!bytes.is_empty() && slices.len() <= SLICES_MAX);
            if let Some(whole) = output.whole() {
                assert_eq!(whole, bytes);
            }
            drop(slices);
            let count = bytes.len().min(step);
            written.extend_from_slice(&bytes[..count]);
            output.advance(count);
        }
        written
    }

    #[test]
    fn bytes_go_out_in_order_however_many_at_a_time() {
        for takes_slices in [true, false] {
            for step in [997, 4096, 5000, 100_000, 1_000_000] {
                let mut output = Output::new(takes_slices);
                let mut expected = Vec::new();
                for round in 0..60_u8 {
                    let small = vec![round; usize::from(round % 5)];
                    output.end().extend_from_slice(&small);
                    expected.extend_from_slice(&small);
                    let piece = vec![round; usize::from(round % 7) * 1000];
                    output.push(piece.clone().into());
                    expected.extend_from_slice(&piece);
                }
                assert_eq!(output.queued(), expected.len());
                assert!(written(&mut output, step) == expected, "by {step}");
                assert_eq!(output.copied.len(), 0);
            }
        }
    }

    #[test]
    fn output_that_never_ends_does_not_grow() {
        let mut output = Output::new(true);
        for _ in 0..1000 {
            output.end().extend_from_slice(&[1; 5000]);
            output.push(vec![2; 5000].into());
            let count = (output.queued() - 1).min(10_000);
            output.advance(count);
        }
        assert!(output.copied.capacity() < 4 * SENT_BYTES_MAX);
        output.advance(output.queued());
        output.shrink();
        assert_eq!(output.copied.capacity(), 0);
    }
}

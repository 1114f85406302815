//! Bodies of any size that can be checked as they pass: each byte depends on its position.

use std::sync::{Arc, LazyLock};

use anyhow::{Result, ensure};

/// Prime, so that a shift by any usual buffer size shows.
const PERIOD_BYTES: usize = 1_048_573;

/// A place in an endless body.
#[derive(Clone, Debug)]
pub struct Pattern {
    period: Arc<[u8]>,
    position: u64,
}

impl Default for Pattern {
    fn default() -> Pattern {
        Pattern::new()
    }
}

impl Pattern {
    /// The beginning.
    pub fn new() -> Pattern {
        static PERIOD: LazyLock<Arc<[u8]>> = LazyLock::new(period);
        Pattern {
            period: Arc::clone(&PERIOD),
            position: 0,
        }
    }

    /// How many bytes have passed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to a position.
    #[must_use]
    pub fn at(mut self, position: u64) -> Pattern {
        self.position = position;
        self
    }

    /// The next bytes: at least one, at most `most`.
    pub fn next(&mut self, most: usize) -> Vec<u8> {
        let from = self.offset();
        let bytes = self.period[from..(from + most).min(PERIOD_BYTES)].to_vec();
        self.position += bytes.len() as u64;
        bytes
    }

    /// So many bytes from here.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.extend(self.next(count - bytes.len()));
        }
        bytes
    }

    /// Passes `bytes` if they are the next ones.
    pub fn check(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let from = self.offset();
            let count = bytes.len().min(PERIOD_BYTES - from);
            ensure!(
                bytes[..count] == self.period[from..from + count],
                "wrong bytes at or after {}",
                self.position
            );
            self.position += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn offset(&self) -> usize {
        usize::try_from(self.position % PERIOD_BYTES as u64)
            .expect("a remainder is below the period")
    }
}

/// Bytes of a multiplicative generator; any would do that does not repeat early.
fn period() -> Arc<[u8]> {
    let mut state: u32 = 1;
    let bytes = (0..PERIOD_BYTES).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_passes_and_nothing_else_does() {
        let mut written = Pattern::new();
        let body = written.bytes(3 * PERIOD_BYTES + 5);
        let mut read = Pattern::new();
        for piece in body.chunks(65_536) {
            read.check(piece).unwrap();
        }
        assert_eq!(read.position(), body.len() as u64);
        assert!(Pattern::new().check(&body[1..100]).is_err());
        assert!(Pattern::new().at(1).check(&body[1..100]).is_ok());
        assert!(Pattern::new().at(65_536).check(&body[..4096]).is_err());
    }
}

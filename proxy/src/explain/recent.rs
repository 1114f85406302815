//! The last answers that were not stored, and why: for questions that come after the mark has gone.

use std::hash::BuildHasher;

use parking_lot::Mutex;

use crate::rules::storability::NotStored;
use crate::time::Timestamp;

/// URLs remembered at most; about 40 KiB. A newer one takes the place of an older one by chance of its hash.
const PLACES: usize = 1024;

/// One answer that was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub because: NotStored,
    pub status: u16,
    pub at: Timestamp,
}

/// The hash of a key, and what became of its last answer.
type Place = Mutex<Option<(u64, Decision)>>;

/// A bounded table by key. It is written where an answer is not stored, so a hit never touches it; a lock is held
/// for the copy of one entry.
#[derive(Debug)]
pub struct Recent {
    places: Box<[Place]>,
    hasher: foldhash::fast::RandomState,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl Recent {
    pub fn note(&self, key: &[u8], decision: Decision) {
        let hash = self.hasher.hash_one(key);
        *self.place(hash).lock() = Some((hash, decision));
    }

    /// The last decision of this key, unless another key has taken its place.
    pub fn of(&self, key: &[u8]) -> Option<Decision> {
        let hash = self.hasher.hash_one(key);
        let (own, decision) = (*self.place(hash).lock())?;
        (own == hash).then_some(decision)
    }

    fn place(&self, hash: u64) -> &Place {
        &self.places[hash as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(status: u16) -> Decision {
        Decision {
            because: NotStored::Private,
            status,
            at: Timestamp::from_secs(1),
        }
    }

    #[test]
    fn last_decision_of_a_key_is_remembered_and_memory_is_bounded() {
        let recent = Recent::default();
        assert_eq!(recent.of(b"a"), None);
        recent.note(b"a", decision(200));
        recent.note(b"a", decision(404));
        assert_eq!(recent.of(b"a"), Some(decision(404)));
        assert_eq!(recent.of(b"b"), None);
        let keys: Vec<String> = (0..4 * PLACES).map(|number| number.to_string()).collect();
        for key in &keys {
            recent.note(key.as_bytes(), decision(200));
        }
        let known = keys
            .iter()
            .filter(|key| recent.of(key.as_bytes()).is_some());
        assert!((PLACES / 2..=PLACES).contains(&known.count()));
        assert_eq!(recent.places.len(), PLACES);
    }
}

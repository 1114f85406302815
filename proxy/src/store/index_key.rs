//! A cache key as moka keeps it.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// Keys up to this length, which leaves 41 bytes for host and path, lie where moka's own pointer leads: neither a block
/// of their own nor another line of memory to be waited for at each look-up.
const SHORT_BYTES_MAX: usize = 46;

/// Equal and hashed like its bytes.
#[derive(Clone, Debug)]
pub(super) enum IndexKey {
    Short {
        length: u8,
        bytes: [u8; SHORT_BYTES_MAX],
    },
    Long(Box<[u8]>),
}

impl IndexKey {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            IndexKey::Short { length, bytes } => &bytes[..usize::from(*length)],
            IndexKey::Long(bytes) => bytes,
        }
    }

    /// Bytes beyond the struct itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            IndexKey::Short { .. } => 0,
            IndexKey::Long(bytes) => bytes.len().next_multiple_of(16),
        }
    }
}

impl From<&[u8]> for IndexKey {
    fn from(key: &[u8]) -> IndexKey {
        if key.len() > SHORT_BYTES_MAX {
            return IndexKey::Long(key.into());
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        IndexKey::Short {
            length: key.len() as u8,
            bytes,
        }
    }
}

impl Borrow<[u8]> for IndexKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for IndexKey {
    fn eq(&self, other: &IndexKey) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for IndexKey {}

impl Hash for IndexKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_told_apart_by_their_bytes_alone() {
        let long = vec![7; 100];
        for length in 0..long.len() {
            let key = IndexKey::from(&long[..length]);
            assert_eq!(key.as_bytes(), &long[..length]);
            assert_eq!(key, IndexKey::from(&long[..length]));
            assert_ne!(key, IndexKey::from(&long[..=length]));
            let mut other = long[..=length].to_vec();
            other[length] = 8;
            assert_ne!(IndexKey::from(&*other), IndexKey::from(&long[..=length]));
        }
        assert_eq!(size_of::<IndexKey>(), 48);
    }
}

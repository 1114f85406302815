//! Looking at what is stored without using it.

use super::{FlightKey, Key, Store, Variants};
use crate::http::Fields;
use crate::rules::part::Asked;

impl Store {
    /// All objects of a URL, as they are now. moka counts a look at what is there as one use, and has no look that it
    /// does not count; nothing else changes.
    pub fn variants(&self, key: &[u8]) -> Option<Variants> {
        if !self.index.contains_key(key) {
            return None;
        }
        self.index.get(key)
    }

    /// Whether a request with these fields, for which `variants` are stored, would wait for a fetch under way.
    pub fn is_being_fetched(&self, key: &[u8], variants: &Variants, request: &Fields) -> bool {
        let whole = FlightKey {
            url: Key::from(key),
            variant: variants.expected_variant(request),
            asked: None,
        };
        let part = FlightKey {
            asked: Asked::by(request),
            ..whole.clone()
        };
        let shard = self.shard(key);
        shard.flights.contains_key(&whole) || shard.flights.contains_key(&part)
    }
}

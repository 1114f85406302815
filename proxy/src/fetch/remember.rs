//! What a fetch leaves for those who ask later why its answer was not stored.

use super::FetchTask;
use crate::explain::Decision;
use crate::policy::Storage;
use crate::time::Timestamp;

impl FetchTask {
    /// Keeps the reason, whether or not a mark keeps it as well: marks end, and what is due to one request alone
    /// leaves none.
    pub(super) fn remember(&self, storage: &Storage, status: u16, at: Timestamp) {
        let because = match storage {
            Storage::HitForMiss { because, .. } => *because,
            Storage::Private {
                because: Some(because),
            } => *because,
            Storage::Store(_) | Storage::Private { because: None } | Storage::Stale => return,
        };
        if let Some(key) = self.key() {
            self.front.recent.note(
                &key,
                Decision {
                    because,
                    status,
                    at,
                },
            );
        }
    }
}

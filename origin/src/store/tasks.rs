//! The store's own tasks, which no request may end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::metrics::Metrics;

/// Pause after a panic, so that one that comes back at once costs little.
const PANIC_PAUSE: Duration = Duration::from_millis(100);

/// Runs work that does not end by itself. A panic ends what it was doing, its connection
/// included, and it begins anew: else nobody would serve its queue any more.
pub(super) async fn run_for_ever<F: Future<Output = ()>>(
    metrics: Arc<Metrics>,
    work: impl Fn() -> F,
) {
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        metrics.panics.inc();
        tracing::error!("a task of the store panicked and begins anew");
        tokio::time::sleep(PANIC_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_begins_anew() {
        let metrics = Arc::new(Metrics::new());
        let attempts = AtomicU32::new(0);
        run_for_ever(metrics.clone(), async || {
            assert!(attempts.fetch_add(1, Ordering::Relaxed) >= 2, "on purpose");
        })
        .await;
        assert_eq!((attempts.into_inner(), metrics.panics.get()), (3, 2));
    }
}

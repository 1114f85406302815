//! Who drives a fetch: the request that asked for it while that waits, and then a task.
//!
//! Most fetches that somebody waits for end in one go with their answer: its body is there when its head is. Driven where
//! they are awaited, they need no task, and nobody has to be woken in the middle. But no fetch ends with its client, and
//! none waits for it: whoever leaves, or turns to something that may take long, lets go of the fetch, and it goes on by
//! itself.

use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;

use futures_util::FutureExt;
use tokio::runtime::Handle;

use crate::front::UnderWay;

/// A fetch under way. Dropped, it goes on in a task of its own.
#[must_use = "a fetch that is dropped goes on in a task"]
pub struct Driven(Option<Running>);

/// Boxed by itself: it takes kilobytes, which would move with whatever holds it.
struct Running {
    fetch: Pin<Box<dyn Future<Output = thread::Result<()>> + Send>>,
    under_way: UnderWay,
}

impl Running {
    /// Its panics are counted: they are no business of whoever drives it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.fetch.as_mut().poll(cx).map(|ended| {
            if ended.is_err() {
                self.under_way.panicked();
            }
        })
    }
}

impl Driven {
    pub(crate) fn new(
        fetch: impl Future<Output = ()> + Send + 'static,
        under_way: UnderWay,
    ) -> Driven {
        Driven(Some(Running {
            fetch: Box::pin(AssertUnwindSafe(fetch).catch_unwind()),
            under_way,
        }))
    }

    /// One that is over.
    pub(crate) fn over() -> Driven {
        Driven(None)
    }

    /// Waits for something that comes of the fetch, and drives it meanwhile. Safe to cancel where `awaited` is.
    pub async fn until<T>(&mut self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        poll_fn(|cx| {
            self.drive(cx);
            awaited.as_mut().poll(cx)
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(running) = &mut self.0
            && running.poll(cx).is_ready()
        {
            self.0 = None;
        }
    }

    /// Leaves the fetch to a task, now.
    pub fn let_go(&mut self) {
        if let Some(mut running) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            // Without a runtime the process is ending, and so does the fetch.
            runtime.spawn(poll_fn(move |cx| running.poll(cx)));
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driven").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::metrics::{Counter, Metrics};

    fn driven(fetch: impl Future<Output = ()> + Send + 'static) -> (Driven, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let under_way = UnderWay::among(&Arc::new(AtomicUsize::new(1)), &metrics);
        (Driven::new(fetch, under_way), metrics)
    }

    #[tokio::test]
    async fn panic_of_a_fetch_is_counted_wherever_it_runs() {
        let (mut here, metrics) = driven(async { panic!("as the test wants it") });
        assert_eq!(here.until(async { 7 }).await, 7);
        assert_eq!(metrics.get(Counter::Panics), 1);

        let (elsewhere, metrics) = driven(async { panic!("as the test wants it") });
        drop(elsewhere);
        while metrics.get(Counter::Panics) == 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn fetch_runs_where_it_is_awaited() {
        let (done, awaited) = oneshot::channel();
        let polls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&polls);
        let (mut driven, _) = driven(async move {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            counted.fetch_add(1, Ordering::Relaxed);
            done.send(tokio::task::id()).expect("it is awaited");
        });
        let here = tokio::spawn(async move {
            assert_eq!(driven.until(awaited).await, Ok(tokio::task::id()));
            // Nothing is left of it: it must not be polled again.
            assert_eq!(driven.until(async { 7 }).await, 7);
        });
        here.await.expect("no panic");
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn fetch_goes_on_without_whom_it_was_for() {
        let (allow, allowed) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let (mut driven, _) = driven(async move {
            let _ = allowed.await;
            done.send(()).expect("the test waits");
        });
        // Polled once in this task, whose waker it then knows.
        let waiting = driven.until(std::future::pending::<()>());
        let short = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(short, waiting).await.is_err());
        drop(driven);
        allow.send(()).expect("it still waits");
        ended.await.expect("it has not been dropped");
    }
}

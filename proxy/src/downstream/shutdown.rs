//! The server's wish to end, as a connection sees it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// Watches the server's shutdown signal.
///
/// Waiting on a `watch` takes a lock that all connections share, so a connection registers once and not for
/// each request; afterwards a look at the version number is enough.
pub(super) struct Shutdown {
    receiver: watch::Receiver<bool>,
    registered: Option<Registered>,
    has_begun: bool,
}

struct Registered {
    changed: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    waker: Waker,
}

impl Shutdown {
    pub(super) fn new(receiver: watch::Receiver<bool>) -> Shutdown {
        let has_begun = *receiver.borrow();
        Shutdown {
            receiver,
            registered: None,
            has_begun,
        }
    }

    /// Whether the signal has been given.
    pub(super) fn has_begun(&mut self) -> bool {
        if !self.has_begun && self.receiver.has_changed().unwrap_or(false) {
            self.has_begun = *self.receiver.borrow_and_update();
        }
        self.has_begun
    }

    /// Ready once the signal is given. A server that is gone without giving it never will.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_begun() {
            return Poll::Ready(());
        }
        let registered = self.registered.get_or_insert_with(|| {
            let mut receiver = self.receiver.clone();
            Registered {
                // Without the scheduler's say: where the task has used up its share, it would be put off before the waker is
                // known, and nobody would ask again.
                changed: Box::pin(tokio::task::unconstrained(async move {
                    if receiver.wait_for(|begun| *begun).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })),
                waker: Waker::noop().clone(),
            }
        });
        if registered.waker.will_wake(cx.waker()) {
            return Poll::Pending;
        }
        if registered.changed.as_mut().poll(cx).is_ready() {
            self.registered = None;
            self.has_begun = true;
            return Poll::Ready(());
        }
        registered.waker = cx.waker().clone();
        Poll::Pending
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("has_begun", &self.has_begun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[tokio::test]
    async fn signal_reaches_who_asked_when_its_share_was_used_up() {
        let (signal, receiver) = watch::channel(false);
        let waiting = tokio::spawn(async move {
            let mut shutdown = Shutdown::new(receiver);
            let mut is_first = true;
            poll_fn(|cx| {
                while is_first && has_budget_remaining() {
                    let _ = pin!(consume_budget()).poll(cx);
                }
                is_first = false;
                shutdown.poll_begun(cx)
            })
            .await;
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        signal.send(true).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        ended.expect("it hears of the signal").unwrap();
    }
}

//! A bounded queue between requests and the connections that serve them.
//!
//! Consumers take all that waits, up to a limit, in one go: that is how requests
//! come to share a statement. Several consumers may wait at one queue.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    arrived: Notify,
    capacity: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::default(),
            arrived: Notify::new(),
            capacity,
        }
    }

    /// Adds an item. When full, drops those that nobody waits for any more; when still
    /// full, gives the item back.
    pub(super) fn push(&self, item: T, is_abandoned: impl Fn(&T) -> bool) -> Result<(), T> {
        let mut items = self.items.lock();
        if items.len() >= self.capacity {
            items.retain(|item| !is_abandoned(item));
            if items.len() >= self.capacity {
                return Err(item);
            }
        }
        items.push_back(item);
        drop(items);
        self.arrived.notify_one();
        Ok(())
    }

    /// Moves up to `max` items to `into`, in order; waits until there is one.
    /// Safe to cancel: items are moved only when the future is ready.
    pub(super) async fn take(&self, max: usize, into: &mut Vec<T>) {
        loop {
            {
                let mut items = self.items.lock();
                let count = items.len().min(max);
                into.extend(items.drain(..count));
                if count > 0 {
                    // A permit of Notify may stand for several items: pass it on.
                    if !items.is_empty() {
                        self.arrived.notify_one();
                    }
                    return;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Moves up to `max` items to `into` without waiting.
    pub(super) fn take_ready(&self, max: usize, into: &mut Vec<T>) {
        let mut items = self.items.lock();
        let count = items.len().min(max);
        into.extend(items.drain(..count));
    }
}

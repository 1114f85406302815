//! The way from a fetch to the request that caused it: informational answers, then the answer.
//!
//! One allocation, and none for informational answers before there is one. A channel of the runtime for each of
//! the two takes five, among them room for 32 heads.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::Fetched;
use crate::http::ResponseHead;

/// Informational answers that may wait for a slow client: all that a backend may send to one request, since
/// a 100 that got lost would leave the client waiting.
const INFORMATIONAL_MAX: usize = 40;

/// The fetch's end. Dropped without an answer, it tells the request that none will come.
#[derive(Debug)]
pub struct Asker(Arc<Mutex<Way>>);

/// The request's end.
#[derive(Debug)]
pub struct Answer(Arc<Mutex<Way>>);

/// What comes from a fetch.
#[derive(Debug)]
pub enum News {
    Informational(ResponseHead),
    /// The last of it.
    Fetched(Fetched),
}

/// Either end wakes the other behind the lock, never under it.
#[derive(Debug, Default)]
struct Way {
    informational: VecDeque<ResponseHead>,
    fetched: Option<Fetched>,
    request: End,
    fetch: End,
}

/// Who is at one end.
#[derive(Debug, Default)]
enum End {
    #[default]
    Busy,
    Waiting(Waker),
    Gone,
}

impl End {
    fn wait(&mut self, waker: &Waker) {
        match self {
            End::Waiting(known) if known.will_wake(waker) => {}
            end => *end = End::Waiting(waker.clone()),
        }
    }

    /// Who is to be woken.
    fn take(&mut self) -> Option<Waker> {
        match std::mem::take(self) {
            End::Waiting(waker) => Some(waker),
            End::Busy => None,
            End::Gone => {
                *self = End::Gone;
                None
            }
        }
    }

    fn leave(&mut self) {
        *self = End::Gone;
    }
}

/// Both ends, for one fetch.
pub fn answer() -> (Asker, Answer) {
    let way = Arc::default();
    (Asker(Arc::clone(&way)), Answer(way))
}

impl Asker {
    /// A client too slow to take them loses informational answers, never the final one.
    pub fn inform(&self, head: ResponseHead) {
        let mut way = self.0.lock();
        if way.informational.len() < INFORMATIONAL_MAX {
            way.informational.push_back(head);
        }
        let waker = way.request.take();
        drop(way);
        wake(waker);
    }

    /// A request that has left meanwhile leaves the answer to whom else it is for.
    pub fn answer(self, fetched: Fetched) {
        let mut way = self.0.lock();
        if !matches!(way.request, End::Gone) {
            way.fetched = Some(fetched);
        }
        // Dropping self wakes.
    }

    /// Resolves when the request has left. Safe to cancel.
    pub async fn left(&self) {
        poll_fn(|cx| {
            let mut way = self.0.lock();
            match way.request {
                End::Gone => Poll::Ready(()),
                End::Busy | End::Waiting(_) => {
                    way.fetch.wait(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await;
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut way = self.0.lock();
        way.fetch.leave();
        let waker = way.request.take();
        drop(way);
        wake(waker);
    }
}

impl Answer {
    /// What comes next; `None` when the fetch has ended without an answer. Safe to cancel.
    pub async fn next(&mut self) -> Option<News> {
        poll_fn(|cx| {
            let mut way = self.0.lock();
            // In the order in which they came.
            if let Some(head) = way.informational.pop_front() {
                return Poll::Ready(Some(News::Informational(head)));
            }
            if let Some(fetched) = way.fetched.take() {
                return Poll::Ready(Some(News::Fetched(fetched)));
            }
            match way.fetch {
                End::Gone => Poll::Ready(None),
                End::Busy | End::Waiting(_) => {
                    way.request.wait(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut way = self.0.lock();
        way.request.leave();
        let waker = way.fetch.take();
        // Its body may wake others: not under the lock.
        let untaken = way.fetched.take();
        drop(way);
        drop(untaken);
        wake(waker);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::http::Fields;
    use crate::object::Object;
    use crate::policy::{Delivery, Source};
    use crate::time::Timestamp;

    fn fetched() -> Fetched {
        let head = ResponseHead::new(200);
        let object = Arc::new(Object::synthetic(head, Vec::new(), Timestamp::now(), 1));
        Fetched::Object {
            reader: object.body.reader().expect("a synthetic body is whole"),
            object,
            delivery: Delivery::new(Source::Synth),
            own_head: None,
        }
    }

    fn early_hints(number: usize) -> ResponseHead {
        ResponseHead {
            fields: [("Link", number.to_string().as_str())]
                .into_iter()
                .collect::<Fields>(),
            ..ResponseHead::new(103)
        }
    }

    #[tokio::test]
    async fn informational_answers_come_before_the_answer() {
        let (asker, mut answer) = answer();
        assert!(answer.next().now_or_never().is_none());
        for number in 0..INFORMATIONAL_MAX + 5 {
            asker.inform(early_hints(number));
        }
        asker.answer(fetched());
        for number in 0..INFORMATIONAL_MAX {
            match answer.next().await {
                Some(News::Informational(head)) => assert_eq!(head, early_hints(number)),
                other => panic!("{other:?} in place of number {number}"),
            }
        }
        assert!(matches!(answer.next().await, Some(News::Fetched(_))));
        assert!(answer.next().await.is_none());
    }

    #[tokio::test]
    async fn each_end_learns_that_the_other_is_gone() {
        let (asker, mut answer) = answer();
        let waiting = tokio::spawn(async move { answer.next().await.is_none() });
        tokio::task::yield_now().await;
        drop(asker);
        assert!(waiting.await.expect("no panic"));

        let (asker, answer) = super::answer();
        assert!(asker.left().now_or_never().is_none());
        let waiting = tokio::spawn(async move {
            asker.left().await;
            asker
        });
        tokio::task::yield_now().await;
        drop(answer);
        let asker = waiting.await.expect("no panic");
        let body = fetched();
        asker.answer(body);
    }

    #[tokio::test]
    async fn answer_wakes_who_waits() {
        let (asker, mut answer) = answer();
        let waiting = tokio::spawn(async move { answer.next().await });
        tokio::task::yield_now().await;
        asker.answer(fetched());
        assert!(matches!(waiting.await, Ok(Some(News::Fetched(_)))));
    }
}

//! Where handlers run: in the connection's own task as long as they need not wait, else in a task of their own.
//!
//! A hit is complete after one poll. So the future that runs handlers stays with the connection, one request after the
//! other, and costs no allocation and no move; one that has to wait is given to the runtime as it is, and the next
//! request gets another.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::poll_fn;
use parking_lot::Mutex;

use super::super::exchange::{Exchange, Left};
use super::super::info::ConnectionInfo;
use super::super::{Handler, handle};
use super::exchange::Http2;

/// Between a connection and the future that works for it.
#[derive(Debug)]
enum Seat {
    Empty,
    Given(Box<Http2>),
    Busy,
    Returned(Option<Box<Http2>>),
    /// The connection works with another: this one ends with its request.
    Left,
}

pub(super) struct Worker {
    seat: Arc<Mutex<Seat>>,
    working: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Worker {
    pub(super) fn new<H: Handler>(handler: Arc<H>, info: Arc<ConnectionInfo>) -> Worker {
        let seat = Arc::new(Mutex::new(Seat::Empty));
        Worker {
            working: Box::pin(work(handler, info, seat.clone())),
            seat,
        }
    }

    /// Runs a handler until it has to wait. Gives the worker back if it did not, and the exchange if it came back.
    pub(super) fn run(
        mut self,
        exchange: Box<Http2>,
        cx: &mut Context<'_>,
    ) -> Option<(Worker, Option<Box<Http2>>)> {
        *self.seat.lock() = Seat::Given(exchange);
        let polled = self.working.as_mut().poll(cx);
        let left = {
            let mut seat = self.seat.lock();
            let next = match *seat {
                Seat::Returned(_) => Seat::Empty,
                _ => Seat::Left,
            };
            std::mem::replace(&mut *seat, next)
        };
        match (polled, left) {
            (Poll::Pending, Seat::Returned(exchange)) => Some((self, exchange)),
            (Poll::Pending, _) => {
                // Its first poll there gives everything that it waits for the new task's waker.
                tokio::spawn(self.working);
                None
            }
            (Poll::Ready(()), _) => None,
        }
    }
}

async fn work<H: Handler>(handler: Arc<H>, info: Arc<ConnectionInfo>, seat: Arc<Mutex<Seat>>) {
    loop {
        // Nobody is woken for it: the connection polls behind what it gives.
        let exchange = poll_fn(|_| {
            let mut seat = seat.lock();
            match std::mem::replace(&mut *seat, Seat::Busy) {
                Seat::Given(exchange) => Poll::Ready(exchange),
                other => {
                    *seat = other;
                    Poll::Pending
                }
            }
        })
        .await;
        let served = handle(&*handler, Exchange::http2(exchange), &info).await;
        let mut returned = match served.0 {
            Left::Exchange(exchange) => exchange.into_http2(),
            Left::Nothing(_) => None,
        };
        if let Some(exchange) = &mut returned {
            exchange.conclude().await;
        }
        let mut seat = seat.lock();
        if matches!(*seat, Seat::Left) {
            return;
        }
        *seat = Seat::Returned(returned);
    }
}

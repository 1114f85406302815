#![allow(clippy::unwrap_used)]

mod ends;
mod frames;
mod http1;
mod http2;
mod limits;
mod memory;
mod support;
mod writes;

use super::*;

#[test]
fn exchanges_may_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Exchange>();
    check::<Served>();
}

#![allow(clippy::unwrap_used)]

mod frames;
mod heads;
mod hpack;

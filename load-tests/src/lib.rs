//! What the proofs in `tests/` are made of: the real programs as processes, a client that shows every byte, a backend
//! that does as it is told.
//!
//! Nothing here knows how the programs work inside. They are spoken to over HTTP, signals, files and `/proc`, as their
//! users do; only PostgreSQL for tests comes from a library ([`postgres`]).
//!
//! Everything is bounded: each wait has a deadline, each load a count, and processes die with the test that started
//! them.

pub mod frames;
pub mod message;
pub mod wire;

pub mod backend;
pub mod client;
pub mod conversation;
pub mod pattern;

pub mod memory;
pub mod metrics;

pub mod front;
pub mod origin;
pub mod place;
pub mod postgres;
pub mod process;
pub mod settings;

pub mod bench;

//! Lacquer.

pub mod cluster;

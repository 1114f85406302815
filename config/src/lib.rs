//! Lacquer.

//! x
pub mod kv;
pub mod settings;

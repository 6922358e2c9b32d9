//! What an engine's process works on, and the engines that are Rust crates. A library of its own, so that a change to what
//! measures them does not compile them again.

pub mod benchmarks;
pub mod engines;
pub mod networks;
pub mod task;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

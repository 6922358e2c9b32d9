//! The task of an engine's process, and the engines that are Rust crates. This is a separate library, so that a change
//! to the measuring code does not recompile the engines.

pub mod benchmarks;
pub mod engines;
pub mod networks;
pub mod task;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

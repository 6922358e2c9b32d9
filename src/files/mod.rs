//! Files: models, weights from and for other programs, and training runs.
//!
//! All are [safetensors](https://huggingface.co/docs/safetensors). A model's has a tensor for each of
//! [`Network::parameters`](crate::Network::parameters) and, as metadata, what the network is. A training run's is a model's
//! with more tensors, whose names begin with `trainer.`, and more metadata.

mod checkpoint;
mod epochs;
mod foreign;
mod format;
mod layout;
mod load;
mod matching;
mod model;
mod modules;
mod naming;
#[cfg(not(target_family = "wasm"))]
mod read;
mod resume;

pub use load::LoadWeights;
pub use naming::Naming;
pub use resume::Resume;

/// What the name of a tensor begins with that is a training run's and not the model's.
const STATE: &str = "trainer.";

/// What errors call a file that was given as bytes.
const BYTES: &str = "the bytes given";

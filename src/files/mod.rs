//! Files of models, of weights for other programs, and of training runs.
//!
//! All are [safetensors](https://huggingface.co/docs/safetensors). A model's file has a tensor for each of
//! [`Network::parameters`](crate::Network::parameters), and the network as metadata. A training run's file also has
//! tensors whose names begin with `trainer.`, and more metadata. Weights alone may have other formats.

mod checkpoint;
mod containers;
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
mod weight_format;

pub use load::LoadWeights;
pub use naming::Naming;
pub use resume::Resume;
pub use weight_format::WeightFormat;

/// Prefix of tensors that belong to the training run and not to the model.
const STATE: &str = "trainer.";

/// Name in errors of a file that was given as bytes.
const BYTES: &str = "the bytes given";

//! Trains and runs neural networks on any GPU that `wgpu` reaches.

mod cpu;
mod dataset;
mod device;
mod error;
mod gpu;
mod init;
pub mod lockstep;
mod loss;
#[cfg(feature = "mnist")]
pub mod mnist;
mod model;
mod network;
mod optimizer;
pub mod plan;
mod random;
mod trainer;

pub use dataset::Dataset;
pub use device::Device;
pub use error::{Error, Result};
pub use gpu::{Gpu, Traffic};
pub use init::Init;
pub use loss::Loss;
pub use model::{Forward, Model};
pub use network::{Activation, Dense, Layer, Network, NetworkBuilder, PARAMETER_ALIGNMENT, Parameter, Summary};
pub use optimizer::{Adam, Optimizer, Sgd};
pub use plan::Plan;
pub use trainer::{Epoch, Evaluation, Event, Fit, History, Trainer, TrainerConfig, Training};
pub use wgpu;

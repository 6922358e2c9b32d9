//! wgrad trains and runs neural networks on GPUs through [`wgpu`]: Vulkan, Metal, DX12 and WebGPU in a browser. Its
//! kernels are hand-written WGSL compute shaders.
//!
//! wgrad can run inside an app that already owns a GPU device. It records into the app's command encoder and works on
//! the app's buffers. It submits and polls only in the methods whose documentation says so.
//!
//! ```no_run
//! use wgrad::{Activation::*, Adam, Fit, Gpu, Loss, Network, Trainer, TrainerConfig};
//! # fn data() -> wgrad::Result<(wgrad::Dataset, wgrad::Dataset)> { unimplemented!() }
//!
//! let gpu = Gpu::request()?;
//! let network = Network::input(784)
//!     .dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity)
//!     .build()?;
//! println!("{}", network.summary());
//!
//! let (train, test) = data()?; // two `Dataset`s
//! let config = TrainerConfig { batch: 32, ..TrainerConfig::default() };
//! let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config)?;
//! trainer.fit(&train, Fit { epochs: 10, validation: Some(&test), ..Fit::default() }, |event| println!("{event:?}"))?;
//! println!("{:?}", trainer.evaluate(&test)?);
//! println!("{:?}", trainer.predict(&test.features_of(0..10))?);
//! # Ok::<(), wgrad::Error>(())
//! ```
//!
//! A network can have residual connections ([`NetworkBuilder::residual`]), several inputs and outputs ([`Graph`]) and
//! shared weights ([`Tied`]). The page `docs/graphs.md` shows them.
//!
//! # Inside an app
//!
//! wgrad uses the app's device, encoder and buffers, and the app submits. Preparing returns all errors. Recording
//! allocates nothing and cannot fail.
//!
//! ```no_run
//! # use wgrad::{Activation::*, Adam, Dataset, Gpu, Loss, Network, Trainer, TrainerConfig, wgpu};
//! # fn app(device: wgpu::Device, queue: wgpu::Queue, data: Dataset, input: wgpu::Buffer, output: wgpu::Buffer,
//! #        network: Network) -> wgrad::Result<()> {
//! let gpu = Gpu::from_parts(device.clone(), queue.clone());
//! let mut trainer =
//!     Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default())?;
//! let training = trainer.prepare(&data)?; // or prepare_buffers, for data on the GPU
//! let forward = trainer.model().prepare_forward(&input, &output, 256)?;
//!
//! // Each frame:
//! let mut encoder = device.create_command_encoder(&Default::default());
//! training.record_steps(&mut encoder, 4); // or record_within, for a time budget
//! forward.record_forward(&mut encoder);
//! queue.submit([encoder.finish()]);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Trainer::prepare_chain`] trains the network inside a larger differentiable computation, with the app's own loss.
//! - [`Rows`] names a part of an app's buffer. [`TextureSamples`] reads the app's textures, and [`TextureOutput`]
//!   writes them.
//! - [`Trainer::rebuild`] continues training on a new device after the old one was lost.
//!
//! The page `docs/embedding.md` is a tutorial.
//!
//! # How it works
//!
//! A [`Network`] only describes layers and shapes. A [`Plan`] is the list of ops and buffers of one step. A training
//! plan is made from a network, a [`Loss`], an [`Optimizer`] and a batch size. Plans can be printed.
//!
//! Two executors run a plan. The GPU executor has a shader for each kind of op. The CPU reference has a plain Rust
//! function for each shader. [`lockstep`] runs both, op by op, and compares every number.
//!
//! # Conventions
//!
//! - Tensors are row-major, with channels last: \[batch, features\], \[batch, steps, features\] or \[batch, height,
//!   width, channels\].
//! - A dense weight has shape \[inputs, units\], and y = x · W + b. The shape of a sample does not include the batch.
//! - A loss is the mean over the samples of a batch. The last, partial batch of an epoch is trained on too.
//! - Random numbers depend only on the seed, their purpose and an index. They are the same on the GPU, on the CPU and
//!   in a browser.
//! - Sums have a fixed order. The same seed on the same adapter and driver gives the same weights, bit for bit.
//! - Names are standard: logits, gradient, momentum, learning_rate. A matmul has the sizes m, n and k.
//! - Every method that reads data back from the GPU has an async form. The async form submits, and the app polls.
//!   Blocking forms say so in their documentation. They do not exist in a browser.
//!
//! # When not to use this
//!
//! wgrad computes in f32. It has dense, convolution, pooling and normalisation layers, and layers of your own. Several
//! GPUs train one network together if each can hold it: see [`Ranks`]. Use a large framework for models with billions
//! of weights, and for layers that wgrad lacks.
//!
//! # Features
//!
//! - `backends` (default): wgpu's backends. An app that enables them in its own wgpu dependency sets
//!   `default-features = false`.
//! - `files`: saves and loads models and training runs as safetensors, for example with `Model::save` and
//!   `Trainer::resume`. It also stores compiled kernels and measurements on disk. It adds the dependencies
//!   `safetensors`, `serde` and `serde_json`.
//! - `onnx`: reads and writes ONNX models, with [`Model::from_onnx`] and [`Model::to_onnx`]. It adds no dependency.
//! - `keras`: reads Keras models (`.keras` and `.h5`), with [`Keras`] and [`Model::from_keras`], and writes weights for
//!   Keras. It includes `files` and adds the dependencies `rawzip` and `flate2`.
//! - `numpy`: reads and writes NumPy arrays, with [`NumpyArray`], as data sets and as weights. It includes `files` and
//!   adds the dependencies `rawzip` and `flate2`.
//! - `mnist`: reads the MNIST files.

#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as wgrad; // for code that the library's tests share with tests/

/// Implements `From` for an enum whose variants are named like the structs that they hold.
macro_rules! from_variants {
    ($to:ident: $($from:ident)*) => {$(
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                Self::$from(from)
            }
        }
    )*};
}

mod accuracy;
mod activation;
#[cfg(any(feature = "keras", feature = "numpy"))]
mod archive;
mod averaging;
mod buffer_rows;
mod callback_future;
mod clock;
mod config;
mod cpu;
#[cfg(feature = "files")]
pub mod custom;
mod dataset;
mod device;
#[cfg(all(feature = "files", not(target_family = "wasm")))]
mod disk;
mod encoding;
mod error;
mod executor;
mod expression;
#[cfg(feature = "files")]
mod files;
mod fit;
mod gpu;
#[cfg(any(feature = "files", feature = "onnx"))]
mod half;
#[cfg(feature = "keras")]
mod hdf5;
mod history;
#[cfg(any(feature = "keras", feature = "onnx"))]
mod imported;
mod init;
#[cfg(feature = "keras")]
mod keras;
#[doc(hidden)]
pub mod kernel_sources;
pub mod lockstep;
mod loss;
#[cfg(feature = "mnist")]
pub mod mnist;
mod model;
mod named_values;
mod network;
#[cfg(feature = "numpy")]
mod numpy;
#[cfg(feature = "onnx")]
mod onnx;
mod ops;
mod optimizer;
mod orthogonal;
mod output_losses;
pub mod plan;
mod plan_bindings;
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub mod plan_runner;
mod predictor;
#[cfg(all(any(feature = "files", feature = "mnist"), not(target_family = "wasm")))]
mod process;
mod profile;
mod random;
mod ranks;
#[cfg(feature = "files")]
mod registry;
mod schedule;
mod scores;
mod shape;
mod slices;
mod submission_limits;
mod texture_io;
mod trainer;
#[cfg(target_family = "wasm")]
mod web;
mod wgsl;

pub use activation::{Activation, CustomActivation};
pub use averaging::{Ema, Lookahead};
pub use buffer_rows::Rows;
pub use config::{Clip, Group, TrainerConfig};
pub use dataset::{Augmentation, Dataset, DatasetBuilder, Features, Targets};
pub use device::Device;
#[cfg(all(feature = "files", not(target_family = "wasm")))]
#[doc(hidden)] // for the examples
pub use disk::{check as check_output, write as write_output};
pub use encoding::{Encoding, GridInterpolation, GridStorage, HashGrid};
pub use error::{Error, Result};
#[cfg(feature = "files")]
pub use files::{LoadWeights, Naming, Resume, WeightFormat};
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub use fit::Checkpoint;
pub use fit::{Control, EarlyStopping, Event, Fit};
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub use gpu::Tuning;
pub use gpu::{Gpu, Recorder, Traffic, optional_features, required_limits};
pub use history::{Best, Epoch, Evaluation, History, Monitor, OutputEpoch, OutputEvaluation, OutputHistory};
pub use init::Init;
#[cfg(feature = "keras")]
pub use keras::Keras;
pub use loss::{CustomLoss, Loss};
pub use model::{Forward, Model};
pub use named_values::{Inputs, NamedRows};
pub use network::{
    BatchNorm, Conv, Crop, Custom, CustomLayer, CustomParameter, Dense, Graph, GroupNorm, InstanceNorm, Interpolation,
    Layer, LayerNorm, LayerOps, LayerTensors, Margin, Network, NetworkBuilder, Pad, Padding, Parameter, Pool, RmsNorm,
    ScaleShift, Size, Summary, TensorSpec, Tied, Upsample, Value,
};
#[cfg(feature = "numpy")]
pub use numpy::NumpyArray;
#[cfg(feature = "onnx")]
pub use onnx::{Onnx, WriteOnnx};
pub use ops::{CustomOp, PARAMETER_ALIGNMENT, Pooling, TwinTensors};
pub use optimizer::{AdaBound, Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};
pub use output_losses::Losses;
pub use plan::{Cost, Plan, Work};
pub use predictor::Predictor;
pub use profile::{OpProfile, Profile};
pub use ranks::{LocalRank, Ranks, SumOverRanks};
pub use schedule::{Plateau, Schedule, StepDecay};
pub use scores::{Scores, psnr, ssim};
pub use shape::Shape;
pub use texture_io::{Images, RandomCrops, TextureOutput, TextureSamples};
pub use trainer::{Chain, ChainRows, Frame, NetworkGradientRows, Snapshots, Trainer, Training};
pub use wgpu;
pub use wgsl::Wgsl;

/// Compiles and runs the code examples of docs/graphs.md.
#[cfg(doctest)]
#[doc = include_str!("../docs/graphs.md")]
struct GraphsPage;

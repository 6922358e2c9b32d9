//! wgrad trains and runs neural networks on any GPU that [`wgpu`] reaches, Vulkan, Metal, DX12 or WebGPU in a browser,
//! with hand-written WGSL compute shaders. It is made to live *inside* another GPU app: it records into that app's
//! command encoder, on that app's buffers, and neither submits nor polls behind its back.
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
//! Networks with side paths, several inputs and outputs or shared weights: [`NetworkBuilder::residual`], [`Graph`],
//! [`Tied`], and the page `docs/graphs.md`.
//!
//! # Inside an app
//!
//! The app's device, its encoder, its buffers, its submission. What can fail is done before recording; recording
//! allocates nothing and cannot fail.
//!
//! ```no_run
//! # use wgrad::{Activation::*, Adam, Dataset, Gpu, Loss, Network, Trainer, TrainerConfig, wgpu};
//! # fn app(device: wgpu::Device, queue: wgpu::Queue, data: Dataset, input: wgpu::Buffer, output: wgpu::Buffer,
//! #        network: Network) -> wgrad::Result<()> {
//! let gpu = Gpu::from_parts(device.clone(), queue.clone());
//! let mut trainer =
//!     Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default())?;
//! let training = trainer.prepare(&data)?; // or prepare_buffers, for data that are on the GPU already
//! let forward = trainer.model().prepare_forward(&input, &output, 256)?;
//!
//! // Each frame:
//! let mut encoder = device.create_command_encoder(&Default::default());
//! training.record_steps(&mut encoder, 4); // or record_within: as many as a budget of time allows
//! forward.record_forward(&mut encoder);
//! queue.submit([encoder.finish()]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Trainer::prepare_chain`] makes the network a link of a larger differentiable computation, with a loss of the app's own;
//! [`Rows`] are parts of the app's buffers, [`TextureSamples`] and [`TextureOutput`] its textures; [`Trainer::rebuild`] goes on
//! after its device was lost. `docs/embedding.md` is a tutorial.
//!
//! # How it works
//!
//! A [`Network`] is a description. With a [`Loss`], an [`Optimizer`] and a batch size it becomes a [`Plan`]: buffers and
//! operations, pure data that prints. Two executors run a plan: the GPU, with a shader for each kind of operation, and
//! the CPU reference, with one plain function for each shader. [`lockstep`] runs both, operation by operation, and
//! compares every number.
//!
//! # Conventions
//!
//! - Row-major. Activations are \[batch, features\], or \[batch, height, width, channels\] and the like, channels last; a
//!   dense weight is \[inputs, units\] and y = x · W + b.
//! - A loss is the mean over the rows of a batch that exist. The last, partial batch of an epoch is trained on too.
//! - Random numbers are a function of the seed, the purpose and an index: the same on the GPU, the CPU and in a browser.
//! - Sums have a fixed order: the same seed on the same adapter and driver gives the same weights, bit for bit.
//! - Names are the field's: logits, gradient, momentum, learning_rate; a product is m × n × k.
//! - Whatever reads back has an async form, which submits but leaves polling to the app; the blocking forms say so and
//!   do not exist in a browser.
//!
//! # When not to use this
//!
//! For models of billions of weights, many GPUs or a zoo of layers, use a large framework. wgrad is small: dense
//! networks, one GPU, f32.

//! # Features
//!
//! - `backends`, the default: wgpu's own backends. An app that has them from wgpu itself says `default-features = false`.
//! - `files`: models and training runs as safetensors, `Model::save`, `Trainer::resume` and the like; compiled kernels and
//!   measurements on disk. It takes `safetensors`, `serde` and `serde_json`.
//! - `mnist`: the MNIST files.

#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate self as wgrad; // for what the library's tests share with others

/// Conversions of structs to the enum whose variants have their names.
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
mod history;
mod init;
#[doc(hidden)]
pub mod kernel_sources;
pub mod lockstep;
mod loss;
#[cfg(feature = "mnist")]
pub mod mnist;
mod model;
mod named_values;
mod network;
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
#[cfg(feature = "files")]
mod registry;
mod schedule;
mod scores;
mod shape;
mod submission_limits;
mod texture_io;
mod trainer;
#[cfg(target_family = "wasm")]
mod web;
mod wgsl;

pub use activation::{Activation, CustomActivation};
pub use buffer_rows::Rows;
pub use config::{Clip, Group, TrainerConfig};
pub use dataset::{Augmentation, Dataset, DatasetBuilder, Features, Targets};
pub use device::Device;
#[cfg(all(feature = "files", not(target_family = "wasm")))]
#[doc(hidden)] // for the examples
pub use disk::{check as check_output, write as write_output};
pub use encoding::{Encoding, HashGrid};
pub use error::{Error, Result};
#[cfg(feature = "files")]
pub use files::{LoadWeights, Naming, Resume};
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub use fit::Checkpoint;
pub use fit::{Control, EarlyStopping, Event, Fit};
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub use gpu::Tuning;
pub use gpu::{Gpu, Recorder, Traffic, optional_features, required_limits};
pub use history::{Best, Epoch, Evaluation, History, Monitor, OutputEpoch, OutputEvaluation, OutputHistory};
pub use init::Init;
pub use loss::{CustomLoss, Loss};
pub use model::{Forward, Model};
pub use named_values::{Inputs, NamedRows};
pub use network::{
    BatchNorm, Conv, Crop, Custom, CustomLayer, CustomParameter, Dense, Graph, GroupNorm, InstanceNorm, Interpolation,
    Layer, LayerNorm, LayerOps, LayerTensors, Margin, Network, NetworkBuilder, Pad, Padding, Parameter, Pool, RmsNorm,
    ScaleShift, Size, Summary, TensorSpec, Tied, Upsample, Value,
};
pub use ops::{CustomOp, PARAMETER_ALIGNMENT, Pooling, TwinTensors};
pub use optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};
pub use output_losses::Losses;
pub use plan::{Cost, Plan, Work};
pub use predictor::Predictor;
pub use profile::{OpProfile, Profile};
pub use schedule::{Plateau, Schedule};
pub use scores::{Scores, psnr, ssim};
pub use shape::Shape;
pub use texture_io::{Images, RandomCrops, TextureOutput, TextureSamples};
pub use trainer::{Chain, ChainRows, Frame, Snapshots, Trainer, Training};
pub use wgpu;
pub use wgsl::Wgsl;

/// The programs of docs/graphs.md are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/graphs.md")]
struct GraphsPage;

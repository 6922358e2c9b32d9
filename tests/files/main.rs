//! Tests of files: models, weights of other programs, training runs, damaged files and killed processes.
#![cfg(feature = "files")]

mod before;
mod damage;
mod death;
mod layouts;
mod models;
mod resuming;
mod weights;

use std::path::PathBuf;
use std::sync::OnceLock;

use safetensors::tensor::{Dtype, TensorView};
use wgrad::{Activation::*, *};

/// The GPU. Without a GPU a test fails, and the error says how to install one. No test is skipped.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::request().unwrap_or_else(|e| panic!("{e}")))
}

fn devices() -> [Device; 2] {
    [Device::Cpu, gpu().into()]
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Random numbers from −1 to 1 (xorshift). They depend only on the seed.
fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as f32 / 2_147_483_648.0 - 1.0
    };
    (0..count + 8).map(|_| next()).skip(8).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|n| n.to_bits()).collect()
}

/// A network with several kinds of layers.
fn network() -> Network {
    Network::input([2, 3])
        .flatten()
        .layer(Dense::new(7, LeakyRelu(0.1)).bias_init(Init::Normal { std: 0.3 }))
        .dropout(0.25)
        .layer_norm()
        .layer(Dense::new(5, Identity).without_bias())
        .activation(Tanh)
        .layer(LayerNorm { epsilon: 1e-3 })
        .dense(3, Identity)
        .build()
        .unwrap()
}

fn model(device: Device) -> Model {
    let network = network();
    Model::new(device, &network, &network.initial_parameters(7)).unwrap().for_loss(Loss::SoftmaxCrossEntropy)
}

/// A safetensors file as another program would write it.
fn foreign(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// The reason of a file error, without the file's name. Other errors fail the test.
fn reason<T>(result: Result<T>) -> String {
    match result.map(drop).unwrap_err() {
        Error::File { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

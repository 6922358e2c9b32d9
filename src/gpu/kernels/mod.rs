//! One file a kernel: its shader, its uniforms, its bindings and its grid. Kernels know nothing of layers.

mod accumulate;
mod copy_rows;
mod encode;
mod from_texture;
mod from_texture_random;
mod gather;
mod hash_grid;
mod hash_grid_gradient;
mod hash_grid_input;
mod hash_grid_scale;
mod hash_grid_scatter;
mod layer_norm;
mod layer_norm_input;
mod layer_norm_parameters;
pub(super) mod matmul;
mod metrics;
mod narrow;
mod next_batch;
mod pointwise;
mod pointwise_loss;
mod softmax;
mod softmax_cross_entropy;
mod sum_squares;
#[cfg(test)]
mod tests;
mod to_texture;
mod update;

use super::Variants;
use super::pipelines::Shader;
use crate::gpu::texts::text;
use crate::plan::{Op, Tensor};
pub(super) use encode::feature;
pub(crate) use from_texture::from_texture;
pub(crate) use from_texture_random::{LANES as RANDOM_TEXELS_LANES, from_texture_random};
pub(super) use hash_grid::interpolation;
pub(super) use pointwise::{activation_name, activations};
pub(crate) use to_texture::{FORMATS, to_texture};

/// The largest workgroup of any kernel.
pub(super) const MOST_INVOCATIONS: u32 = 256;

/// The most workgroup memory of any kernel, in bytes: two tiles of 128 vec4s for each of four slices of a product, and 64
/// rows of 64 numbers in `narrow`. Every device of WebGPU has it.
pub(super) const MOST_WORKGROUP_MEMORY: u32 = 16384;

/// All that a dispatch needs.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub shader: Shader,
    /// Bytes of the shader's uniform struct: binding 0.
    pub uniforms: Vec<u8>,
    /// Storage bindings from 1 on.
    pub bindings: Vec<Binding>,
    /// How many, before they are folded into two dimensions.
    pub workgroups: u64,
}

/// A storage binding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    /// `None` where this op leaves it unused.
    pub tensor: Option<Tensor>,
    /// Bytes that are of no tensor, left by one launch of an op for the next.
    pub scratch: u64,
    pub writable: bool,
}

impl Launch {
    /// For each storage binding, whether the kernel writes it.
    pub fn writable(&self) -> Vec<bool> {
        self.bindings.iter().map(|binding| binding.writable).collect()
    }
}

/// The launches of an op, one after the other.
pub(super) fn launches(op: &Op, variants: Variants) -> Vec<Launch> {
    vec![match op {
        Op::Matmul(op) => return matmul::launches(op, matmul::MatmulKernel::rule(op, variants), variants),
        Op::NextBatch(op) => return next_batch::launches(op),
        Op::Gather(op) => gather::launch(op, variants),
        Op::CopyRows(op) => copy_rows::launch(op),
        Op::Pointwise(op) => pointwise::launch(op),
        Op::Softmax(op) => softmax::launch(op, variants),
        Op::LayerNorm(op) => layer_norm::launch(op),
        Op::LayerNormInput(op) => layer_norm_input::launch(op),
        Op::LayerNormParameters(op) => return layer_norm_parameters::launches(op),
        Op::Encode(op) => encode::launch(op),
        Op::HashGrid(op) => hash_grid::launch(op),
        Op::HashGridScale(op) => return hash_grid_scale::launches(op),
        Op::HashGridScatter(op) => hash_grid_scatter::launch(op),
        Op::HashGridGradient(op) => hash_grid_gradient::launch(op),
        Op::HashGridInput(op) => hash_grid_input::launch(op),
        Op::PointwiseLoss(op) => pointwise_loss::launch(op, variants),
        Op::SoftmaxCrossEntropy(op) => softmax_cross_entropy::launch(op, variants),
        Op::Accumulate(op) => accumulate::launch(op),
        Op::SumSquares(op) => sum_squares::launch(op),
        Op::Update(op) => update::launch(op, variants),
        Op::Metrics(op) => metrics::launch(op),
        Op::NonFinite(op) => metrics::finite(op),
        Op::Narrow(op) => narrow::launch(op, variants),
    }]
}

fn read(tensor: impl Into<Option<Tensor>>) -> Binding {
    Binding { tensor: tensor.into(), scratch: 0, writable: false }
}

fn write(tensor: impl Into<Option<Tensor>>) -> Binding {
    Binding { tensor: tensor.into(), scratch: 0, writable: true }
}

/// Words that one launch of an op leaves there for the next.
fn leave(words: u32) -> Binding {
    Binding { tensor: None, scratch: u64::from(words) * 4, writable: true }
}

/// What the launch before has left.
fn left(words: u32) -> Binding {
    Binding { writable: false, ..leave(words) }
}

/// Invocations of a row and rows of a workgroup, for kernels that reduce rows. Short rows: an invocation for each, and no
/// barriers to wait at; few to a workgroup where workgroups are what threads share. Long ones: a workgroup for each.
fn lanes_and_rows(columns: u32, variants: Variants) -> (u32, u32) {
    match columns {
        ..=64 if variants.software => (1, 16),
        ..=64 => (1, 64),
        _ => (64, 1),
    }
}

/// What a shader's variants share with it: its text up to the mark.
fn declarations(source: &'static str) -> &'static str {
    source.split_once("////").map_or(source, |(declarations, _)| declarations)
}

/// What the variants that access memory in words of 64 bits share.
const WORDS: &str = text!("software/words.wgsl");

/// The shader of a kernel that has one text.
fn shader(name: &'static str, source: &'static str, constants: &[(&'static str, f64)]) -> Shader {
    Shader { name: name.into(), source: source.into(), constants: constants.to_vec() }
}

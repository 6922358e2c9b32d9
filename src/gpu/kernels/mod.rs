//! One file a kernel: its shader, its uniforms, its bindings and its grid. Kernels know nothing of layers.

pub(crate) mod encode;
pub(crate) mod from_texture;
pub(crate) mod from_texture_random;
pub(crate) mod hash_grid;
pub(crate) mod hash_grid_gradient;
pub(crate) mod hash_grid_input;
pub(crate) mod hash_grid_scale;
pub(crate) mod hash_grid_scatter;
pub(crate) mod matmul;
pub(crate) mod narrow;
#[cfg(test)]
mod tests;
pub(crate) mod to_texture;
pub(crate) mod update;

use crate::ops::*;
pub(crate) use encode::feature;
pub(crate) use from_texture::from_texture;
pub(crate) use from_texture_random::{LANES as RANDOM_TEXELS_LANES, from_texture_random};
pub(crate) use hash_grid::interpolation;
pub(crate) use to_texture::{FORMATS, to_texture};

/// What a shader's variants share with it: its text up to the mark.
fn declarations(source: &'static str) -> &'static str {
    source.split_once("////").map_or(source, |(declarations, _)| declarations)
}

/// What the variants that access memory in words of 64 bits share.
const WORDS: &str = text!("software/words.wgsl");

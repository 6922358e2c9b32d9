//! One file a kernel: its shader, its uniforms, its bindings and its grid. Kernels know nothing of layers.

pub(crate) mod matmul;
#[cfg(test)]
mod tests;
pub(crate) mod update;

use crate::ops::*;

/// What a shader's variants share with it: its text up to the mark.
fn declarations(source: &'static str) -> &'static str {
    source.split_once("////").map_or(source, |(declarations, _)| declarations)
}

/// What the variants that access memory in words of 64 bits share.
const WORDS: &str = text!("software/words.wgsl");

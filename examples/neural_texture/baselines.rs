//! Other ways to compress the material: JPEG files, and blocks as GPUs read them (BC1, BC5).

mod blocks;
mod jpeg;

pub use blocks::{BC1, BC1_AND_BC5, blocks};
pub use jpeg::Jpegs;

use crate::material::Material;

/// A compressed material.
pub struct Coded {
    pub bytes: usize,
    pub material: Material,
}

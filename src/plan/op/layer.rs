//! What stands between products.

use crate::activation::Activation;
use crate::plan::Tensor;

/// output = f(input) · mask, number by number; f is the activation, or · activation′ where `saved` is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointwise {
    /// Numbers, or their gradient.
    pub input: Tensor,
    /// For the derivative: the activation's output in the forward pass, or its input where the derivative takes that.
    pub saved: Option<Tensor>,
    /// As long as the input, written.
    pub output: Tensor,
    /// Applied, or whose derivative.
    pub activation: Activation,
    /// The mask.
    pub dropout: Option<Dropout>,
}

/// A mask of random zeros and 1 / (1 − rate), a function of the seed, the step, the layer and the place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of zeros.
    pub rate: f32,
    /// Tells the masks of a step apart.
    pub layer: u32,
    /// The cursor, for the number of the step.
    pub step: Tensor,
    /// What is known of the data set, for the seed.
    pub data: Tensor,
}

/// Softmax of each row, or its gradient: y ⊙ (dy − Σ dy ⊙ y) where the softmax itself is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// \[rows, columns\]: z, or dy.
    pub input: Tensor,
    /// For the gradient: y, what the softmax returned.
    pub saved: Option<Tensor>,
    /// \[rows, columns\], written: y, or dz.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

/// Layer normalisation of each row: y = x̂ · scale + shift, with x̂ = (x − mean) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormForward {
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[columns\].
    pub shift: Tensor,
    /// \[rows, columns\], written.
    pub y: Tensor,
    /// \[rows, 2\], written: the mean less the row's first number, and 1 / √(variance + epsilon).
    pub statistics: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
    /// Keeps the division finite.
    pub epsilon: f32,
}

/// The gradient of layer normalisation's input: with d = dy · scale, (d − mean d − x̂ · mean(d · x̂)) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormInput {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// dx, \[rows, columns\], written.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

/// The gradient of layer normalisation's weights: Σ dy · x̂ and Σ dy over the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormParameters {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// \[columns\], written.
    pub scale_gradient: Tensor,
    /// \[columns\], written.
    pub shift_gradient: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

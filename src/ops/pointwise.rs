//! Activations, their derivatives, and dropout.

use super::*;
use crate::activation::Activation;

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

impl Kernel for Pointwise {
    fn stem(&self) -> &'static str {
        "pointwise"
    }

    fn detail(&self) -> String {
        let of = if self.saved.is_some() { "derivative of " } else { "" };
        let dropout = self.dropout.map_or(String::new(), |d| format!(", dropout {}", d.rate));
        format!(" {of}{}{dropout}", self.activation)
    }

    fn operands(&self) -> Vec<Operand> {
        let (state, data) = (self.dropout.map(|d| d.step), self.dropout.map(|d| d.data));
        vec![read(self.input), read(self.saved), read(state), read(data), write(self.output)]
    }

    fn flops(&self) -> u64 {
        let function = match self.saved {
            Some(_) => crate::plan::cost::derivative(self.activation) + 1,
            None => crate::plan::cost::activation(self.activation),
        };
        u64::from(self.input.len()) * (function + u64::from(self.dropout.is_some()))
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::pointwise::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let cursor = self.dropout.map(|d| (at.step(d.step), at.data(d.data)));
        let cursor = cursor.as_ref().map(|(step, data)| (step, data));
        let saved = self.saved.map(|t| at.f32s(t));
        crate::cpu::pointwise::pointwise(self, at.f32s(self.input), saved, cursor, at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::activation::of_pointwise(self, at)]
    }
}

//! Activations, their derivatives, and dropout.

use super::*;
use crate::activation::Activation;
use crate::random::pcg4d;

/// Element-wise output = f(input) · mask. Here f is the activation; if `saved` is given, f multiplies by its
/// derivative.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointwise {
    /// Values, or their gradient.
    pub input: Tensor,
    /// For the derivative: the activation's output in the forward pass, or its input if the derivative needs the
    /// input.
    pub saved: Option<Tensor>,
    /// Same length as the input, written.
    pub output: Tensor,
    /// Activation that is applied, or whose derivative is applied.
    pub activation: Activation,
    /// Dropout mask; `None` without dropout.
    pub dropout: Option<Dropout>,
}

/// Dropout mask: random numbers, 0 or 1 / (1 − rate). It depends on the seed, the step, the layer and the position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Dropout rate: share of zeros.
    pub rate: f32,
    /// Number that separates the masks of the layers in a step.
    pub layer: u32,
    /// The cursor, which has the number of the step.
    pub step: Tensor,
    /// Description of the data set, which has the seed.
    pub data: Tensor,
    /// Numbers and channels per sample, if whole channels are dropped. `None`: each number separately.
    pub spatial: Option<[u32; 2]>,
}

impl Dropout {
    /// Separates the masks of layers from each other and from the shuffle, whose second word is the epoch.
    fn key(&self) -> u32 {
        (self.layer + 1).wrapping_mul(0x9e37_79b9)
    }

    /// Random words below this are dropped: the share `rate` of all words.
    fn threshold(&self) -> u32 {
        (f64::from(self.rate) * 4_294_967_296.0) as u32
    }

    /// Whether a number is kept. One hash serves four numbers, or one channel.
    fn keeps(&self, index: u32, state: &StepState, data: &DataInfo) -> bool {
        let (hashed, word) = match self.spatial {
            Some([sample, channels]) => (index / sample * channels + index % channels, 0),
            None => (index / 4, index as usize % 4),
        };
        let words = pcg4d([hashed, state.step, data.seed_low ^ self.key(), data.seed_high]);
        words[word] >= self.threshold()
    }
}

const LANES: u32 = 64;

const TEXT: &str = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl", "pointwise.wgsl.in");

impl Kernel for Pointwise {
    fn stem(&self) -> &'static str {
        "pointwise"
    }

    fn detail(&self) -> String {
        let of = if self.saved.is_some() { "derivative of " } else { "" };
        let spatial = if self.dropout.is_some_and(|d| d.spatial.is_some()) { "spatial " } else { "" };
        let dropout = self.dropout.map_or(String::new(), |d| format!(", {spatial}dropout {}", d.rate));
        format!(" {of}{}{dropout}", self.activation)
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let masks = self.dropout.iter_mut().flat_map(|mask| [&mut mask.step, &mut mask.data]);
        [&mut self.input, &mut self.output].into_iter().chain(&mut self.saved).chain(masks).collect()
    }

    fn operands(&self) -> Vec<Operand> {
        let (state, data) = (self.dropout.map(|d| d.step), self.dropout.map(|d| d.data));
        vec![read(self.input), read(self.saved), read(state), read(data), write(self.output)]
    }

    fn flops(&self) -> u64 {
        let [value, derivative] = self.activation.flops();
        let function = if self.saved.is_some() { derivative + 1 } else { value };
        u64::from(self.input.len()) * (function + u64::from(self.dropout.is_some()))
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.output.len().div_ceil(4);
        let (dropout_key, dropout_threshold, dropout_scale) =
            self.dropout.map_or((0, 0, 0.0), |mask| (mask.key(), mask.threshold(), 1.0 / (1.0 - mask.rate)));
        let spatial = self.dropout.and_then(|mask| mask.spatial);
        let [sample, channels] = spatial.unwrap_or([1; 2]);
        let constants = [
            ("DERIVATIVE", self.saved.is_some().into()),
            ("DROPOUT", self.dropout.is_some().into()),
            ("SPATIAL", spatial.is_some().into()),
        ];
        let shader = shader(
            format!("pointwise {}", self.activation),
            self.activation.text().to_owned() + TEXT,
            constants.into_iter().chain(self.activation.constant()).collect::<Vec<_>>(),
        );
        let uniforms = uniforms![quads, dropout_key, dropout_threshold, dropout_scale, sample, channels];
        vec![Launch::of(self, shader, uniforms, quads.div_ceil(LANES))]
    }

    fn without_twin(&self) -> Option<String> {
        self.activation.without_twin()
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, saved) = (at.f32s(self.input), self.saved.map(|t| at.f32s(t)));
        let mask = self.dropout.map(|dropout| (dropout, at.step(dropout.step), at.data(dropout.data)));
        for (i, (y, &x)) in at.out(self.output).iter_mut().zip(input).enumerate() {
            *y = match saved {
                Some(saved) => x * self.activation.derivative(saved[i]),
                None => self.activation.value(x),
            };
            if let Some((dropout, state, data)) = &mask {
                *y = if dropout.keeps(i as u32, state, data) { *y / (1.0 - dropout.rate) } else { 0.0 };
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (input, saved) = (at.f32s(self.input), self.saved.map(|t| at.f32s(t)));
        // The mask is exact. Its scale is rounded once.
        let scale = self.dropout.map_or(1.0, |mask| 1.0 / (1.0 - f64::from(mask.rate)));
        let roundings = if self.dropout.is_some() { 4.0 * U + DIVISION } else { 0.0 };
        let bound = |(i, &x): (usize, &f32)| {
            let (value, off) = match saved {
                None => (f64::from(self.activation.value(x)), self.activation.value_bound(x.into(), 0.0)),
                Some(saved) => {
                    let value = f64::from(x) * f64::from(self.activation.derivative(saved[i]));
                    let off = f64::from(x.abs()) * self.activation.derivative_bound(saved[i].into());
                    (value, off + value.abs() * 2.0 * U)
                }
            };
            scale * (off + if value.is_finite() { value.abs() * roundings } else { 0.0 })
        };
        vec![Bounds::Each(input.iter().enumerate().map(bound).collect())]
    }
}

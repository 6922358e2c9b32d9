//! A whole network of narrow layers. Its kernels are `shaders/narrow.wgsl.in` and, for software adapters,
//! `shaders/software/narrow.subgroup.wgsl.in`. They call a function `evaluate`, which is generated for the network.

mod activations;
mod gradient;
mod subgroup;
pub(crate) mod writer;

use super::*;
use crate::activation::Activation;
pub(crate) use activations::{activation_name, activations as activation_functions};
use writer::{Place, Writer, constants, element};

/// Forward pass of a whole network of narrow dense layers, in one dispatch. Values between layers are not written to
/// memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    /// \[rows, inputs\].
    pub input: Tensor,
    /// All weights of the network.
    pub parameters: Tensor,
    /// \[rows, outputs\], written.
    pub output: Tensor,
    /// Layers in order, at least one. No layer has more than [`WIDEST_NARROW`] inputs or units.
    pub layers: Vec<NarrowLayer>,
}

/// A layer of [`Narrow`]: y = activation(x · W + b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NarrowLayer {
    /// Offset of W, \[inputs, units\], in the parameters: a multiple of 64.
    pub weight: u32,
    /// Offset of b, \[units\], in the parameters: a multiple of 64. `None` without a bias.
    pub bias: Option<u32>,
    /// Number of inputs.
    pub inputs: u32,
    /// Number of outputs.
    pub units: u32,
    /// Activation, applied last. Softmax is supported.
    pub activation: Activation,
}

/// Widest layer of [`Narrow`]: its input row and its output row fit in the registers of one GPU invocation.
pub const WIDEST_NARROW: u32 = 64;

/// Rows per workgroup.
const LANES: u32 = 64;
/// Rows per workgroup of the subgroup variant, for small and for large networks; at least one row per lane. Many rows
/// share each load of a weight, but the driver takes longer to compile. 32 rows would take twice as long again.
const SUBGROUP_ROWS: [u32; 2] = [8, 16];
/// Multiply-adds from which the larger number of rows is worth it.
const SMALL_NETWORK: u64 = 1 << 24;

impl Kernel for Narrow {
    binds! { "narrow": read parameters, read input, write output }

    fn detail(&self) -> String {
        let layers = self.layers.iter().map(|layer| format!("-{} {}", layer.units, layer.activation));
        format!(" {}{}", self.input.columns(), layers.collect::<String>())
    }

    fn flops(&self) -> u64 {
        u64::from(self.output.rows()) * self.layers.iter().map(NarrowLayer::flops).sum::<u64>()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let rows = self.output.rows();
        let (kind, source, of_workgroup) = match adapter.matmul_subgroup {
            None => ("narrow", self.source(), LANES),
            Some(lanes) => {
                let weights: u64 = self.layers.iter().map(|layer| u64::from(layer.inputs * layer.units)).sum();
                let large = weights * u64::from(rows) > SMALL_NETWORK;
                let of_workgroup = SUBGROUP_ROWS[usize::from(large)].max(lanes);
                ("narrow.subgroup", self.subgroup_source(of_workgroup, lanes), of_workgroup)
            }
        };
        // The name includes custom activations, so that compile errors name them.
        let own = self.layers.iter().map(|layer| layer.activation).filter(|f| matches!(f, Activation::Custom(_)));
        let own: String = own.map(|f| format!(" {f}")).collect();
        let name = format!("{kind} {}-{}{own}", self.input.columns(), self.output.columns());
        vec![Launch::of(self, shader(name, source, []), uniforms![rows], rows.div_ceil(of_workgroup))]
    }

    fn rows(&self) -> usize {
        self.output.rows() as usize
    }

    fn without_twin(&self) -> Option<String> {
        self.layers.iter().find_map(|layer| layer.activation.without_twin())
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, parameters, rows) = (at.f32s(self.input), at.f32s(self.parameters), at.rows.clone());
        let [inputs, outputs] = [self.input, self.output].map(|tensor| tensor.columns() as usize);
        let all = input.chunks_exact(inputs).zip(at.out(self.output).chunks_exact_mut(outputs));
        for (x, y) in all.skip(rows.start).take(rows.len()) {
            y.copy_from_slice(&self.layers.iter().fold(x.to_vec(), |row, layer| layer.apply(&row, parameters)));
        }
    }

    /// Each layer propagates the errors of the layer before it, and adds its own.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (input, parameters) = (at.f64s(self.input), at.f64s(self.parameters));
        let bound = |x: &[f64]| {
            let exact = x.iter().map(|&x| (x, 0.0)).collect();
            self.layers.iter().fold(exact, |row: Vec<_>, layer| layer.bounds(&row, &parameters))
        };
        let rows = input.chunks_exact(self.input.columns() as usize);
        vec![Bounds::Each(rows.flat_map(bound).map(|(_, error)| error).collect())]
    }
}

impl Narrow {
    /// Text for GPUs.
    pub(crate) fn source(&self) -> String {
        let mut writer = Writer::new(String::new(), "parameters", "", Place::Tile);
        writer.functions(&self.layers, &["activate"]);
        let widest = self.layers.iter().map(|layer| layer.inputs).max().unwrap_or(1);
        let (inputs, outputs) = (self.input.columns(), self.output.columns());
        writer.text += &constants(&[("INPUTS", inputs), ("OUTPUTS", outputs), ("WIDEST", widest)]);
        writer.text += "fn evaluate(row: u32, lane: u32) {\n";
        writer.layers(&self.layers);
        (0..outputs).for_each(|i| writer.line(&format!("output[row * OUTPUTS + {i}u] = {};", element("y", i))));
        writer.text + "}\n" + text!("narrow.memory.wgsl", "narrow.wgsl.in")
    }
}

impl NarrowLayer {
    /// Flops per row: the same as those of a matmul with its epilogue, or of a matmul and a softmax.
    fn flops(&self) -> u64 {
        let function = if self.activation == Activation::Softmax { 5 } else { self.activation.flops()[0] };
        u64::from(self.units) * (2 * u64::from(self.inputs) + u64::from(self.bias.is_some()) + function)
    }

    fn apply(&self, x: &[f32], parameters: &[f32]) -> Vec<f32> {
        let units = self.units as usize;
        let tensor = |offset: u32, len: usize| &parameters[offset as usize..][..len];
        let mut y = self.bias.map_or(vec![0.0; units], |bias| tensor(bias, units).to_vec());
        for (x, weights) in x.iter().zip(tensor(self.weight, x.len() * units).chunks_exact(units)) {
            y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
        }
        match self.activation {
            Activation::Softmax => softmax_of(&y.clone(), &mut y),
            activation => y.iter_mut().for_each(|y| *y = activation.value(*y)),
        }
        y
    }

    /// A row of values after this layer, each with its error bound. The bound contains the input's errors times the
    /// weights, the roundings of the sums on both sides, and the activation's error.
    fn bounds(&self, x: &[(f64, f64)], parameters: &[f64]) -> Vec<(f64, f64)> {
        let units = self.units as usize;
        let roundings = 2.0 * (x.len() as f64 + 2.0) * U;
        let sum_with_bound = |j: usize| {
            let bias = self.bias.map_or(0.0, |bias| parameters[bias as usize + j]);
            let (mut sum, mut magnitude, mut error) = (bias, bias.abs(), FLUSHED);
            for (k, &(x, off)) in x.iter().enumerate() {
                let w = parameters[self.weight as usize + k * units + j];
                sum += x * w;
                magnitude += (x.abs() + off) * w.abs();
                error += off * w.abs() + FLUSHED;
            }
            (sum, error + roundings * magnitude)
        };
        let sums = (0..units).map(sum_with_bound);
        match self.activation {
            Activation::Softmax => {
                let (z, errors): (Vec<f64>, Vec<f64>) = sums.unzip();
                // Logits with errors of at most e change a probability by a factor of at most e^2e.
                let factor = (2.0 * errors.into_iter().fold(0.0, f64::max)).exp_m1();
                softmax_with_bounds(&z).map(|(y, own)| (y, own * (1.0 + factor) + y * factor)).collect()
            }
            activation => {
                let of = |(z, error)| (f64::from(activation.value(z as f32)), activation.value_bound(z, error));
                sums.map(of).collect()
            }
        }
    }
}

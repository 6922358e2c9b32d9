//! A whole network of narrow layers. Its kernel, `shaders/narrow.wgsl.in`, and that for software adapters,
//! `shaders/software/narrow.subgroup.wgsl.in`, call a function `evaluate`, which is written for the network.

mod activations;
mod subgroup;
pub(crate) mod writer;

use super::*;
use crate::activation::Activation;
use writer::{Place, Writer, constants, element};

/// A whole network of narrow dense layers, a forward pass in one dispatch: what lies between its layers is stored
/// nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    /// \[rows, inputs\].
    pub input: Tensor,
    /// Every weight of the network.
    pub parameters: Tensor,
    /// \[rows, outputs\], written.
    pub output: Tensor,
    /// First to last, at least one; none takes in or puts out more than [`WIDEST_NARROW`].
    pub layers: Vec<NarrowLayer>,
}

/// A layer of [`Narrow`]: y = activation(x · W + b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NarrowLayer {
    /// Where W, \[inputs, units\], starts in the parameters: a multiple of 64.
    pub weight: u32,
    /// Where b, \[units\], starts, if there is one: a multiple of 64.
    pub bias: Option<u32>,
    /// Length of a row that comes in.
    pub inputs: u32,
    /// Length of a row that goes out.
    pub units: u32,
    /// Applied last; may be softmax.
    pub activation: Activation,
}

/// The widest layer of [`Narrow`]: a row of it, in and out, still fits the registers of one GPU invocation.
pub const WIDEST_NARROW: u32 = 64;

/// Rows of a workgroup.
const LANES: u32 = 64;
/// Rows of a workgroup of the subgroup variant, at least one for each lane: many, so that each load of a weight serves
/// many; but few where all rows take less time than the driver's compiler would take over more. With 32 it would take
/// twice as long again.
const SUBGROUP_ROWS: [u32; 2] = [8, 16];
/// Multiply-adds from which the larger is worth it.
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
        // With an app's own activations, so that errors name what does not compile.
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

    /// Each layer passes on the errors of the one before, and adds its own.
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
    /// The text for real GPUs.
    pub(crate) fn source(&self) -> String {
        let mut writer = Writer { text: String::new(), parameters: "parameters", prefix: "", place: Place::Tile };
        writer.functions(&self.layers);
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
    /// Of a row: what the layer's product and its softmax would take.
    fn flops(&self) -> u64 {
        let end = if self.activation == Activation::Softmax { 5 } else { self.activation.flops()[0] };
        u64::from(self.units) * (2 * u64::from(self.inputs) + u64::from(self.bias.is_some()) + end)
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

    /// A row of values, and how far the two sides may lie apart: what the weights make of the errors that come in; the
    /// roundings of two sums, of numbers that may be larger by those errors; and what the activation makes of it all.
    fn bounds(&self, x: &[(f64, f64)], parameters: &[f64]) -> Vec<(f64, f64)> {
        let units = self.units as usize;
        let roundings = 2.0 * (x.len() as f64 + 2.0) * U;
        let of_sum = |j: usize| {
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
        let sums = (0..units).map(of_sum);
        match self.activation {
            Activation::Softmax => {
                let (z, errors): (Vec<f64>, Vec<f64>) = sums.unzip();
                // Logits that are off by e at most move a probability by a factor of e^2e at most.
                let factor = (2.0 * errors.into_iter().fold(0.0, f64::max)).exp_m1();
                of_softmax_row(&z).map(|(y, own)| (y, own * (1.0 + factor) + y * factor)).collect()
            }
            activation => {
                let of = |(z, error)| (f64::from(activation.value(z as f32)), activation.value_bound(z, error));
                sums.map(of).collect()
            }
        }
    }
}

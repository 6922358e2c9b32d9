//! A whole network of narrow layers.

use super::*;
use crate::activation::Activation;

/// A whole network of narrow dense layers, a forward pass in one dispatch: what lies between its layers is stored nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    /// \[rows, inputs\].
    pub input: Tensor,
    /// Every weight of the network.
    pub parameters: Tensor,
    /// \[rows, outputs\], written.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
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

impl Narrow {
    /// Length of an input row.
    pub fn inputs(&self) -> u32 {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Length of an output row.
    pub fn outputs(&self) -> u32 {
        self.layers.last().map_or(0, |layer| layer.units)
    }
}

impl Kernel for Narrow {
    fn stem(&self) -> &'static str {
        "narrow"
    }

    fn detail(&self) -> String {
        let layers = self.layers.iter().map(|layer| format!("-{} {}", layer.units, layer.activation));
        format!(" {}{}", self.inputs(), layers.collect::<String>())
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.parameters), read(self.input), write(self.output)]
    }

    fn flops(&self) -> u64 {
        u64::from(self.rows) * self.layers.iter().map(crate::plan::cost::of_narrow_layer).sum::<u64>()
    }

    fn rows(&self) -> usize {
        self.rows as usize
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::narrow::launch(self, *adapter)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        crate::cpu::narrow::narrow(self, at.rows.clone(), at.f32s(self.input), at.f32s(self.parameters), at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::narrow::of_narrow(self, at)]
    }
}

//! Matrix products, one by one and a whole narrow network of them.

use super::Update;
use crate::activation::Activation;
use crate::plan::{LONGEST_SLICE, Tensor};

/// C = op(A) · op(B) over a slice of k, then the epilogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Matmul {
    /// \[m, k\], or \[k, m\] where transposed.
    pub a: Tensor,
    /// \[k, n\], or \[n, k\] where transposed.
    pub b: Tensor,
    /// \[m, n\], written; a slice of k that does not start at 0 adds to it. Under [`Epilogue::Update`] the weights.
    pub c: Tensor,
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Length of every sum.
    pub k: u32,
    /// The slice of k that this op sums.
    pub slice: std::ops::Range<u32>,
    /// Which of the operands are stored transposed.
    pub layout: Layout,
    /// What is done to the sums before they are written; by the last slice only.
    pub epilogue: Epilogue,
    /// \[n\]: the column sums of B over the slice, the gradient of a bias where B is the gradient of its outputs. Under
    /// [`Epilogue::Update`] the biases.
    pub bias_gradient: Option<Tensor>,
}

/// How the operands of a product are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A \[m, k\], B \[k, n\]: the forward pass, X · W.
    Nn,
    /// A \[m, k\], B \[n, k\]: the gradient of the inputs, dZ · Wᵀ.
    Nt,
    /// A \[k, m\], B \[k, n\]: the gradient of the weights, Xᵀ · dZ.
    Tn,
}

impl Matmul {
    /// The product in slices of k that kernels can sum. Only the last one holds the whole sum, which the epilogue needs.
    pub(crate) fn sliced(self) -> impl Iterator<Item = Self> {
        (0..self.k).step_by(LONGEST_SLICE as usize).map(move |start| {
            let slice = start..self.k.min(start + LONGEST_SLICE);
            let epilogue = if slice.end == self.k { self.epilogue.clone() } else { Epilogue::None };
            Self { slice, epilogue, ..self.clone() }
        })
    }

    /// What the epilogue reads, if anything.
    pub fn extra(&self) -> Option<Tensor> {
        match self.epilogue {
            Epilogue::None | Epilogue::Update(_) => None,
            Epilogue::Bias { bias, .. } => bias,
            Epilogue::Derivative { saved, .. } => Some(saved),
        }
    }
}

/// What happens to a sum before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// activation(sum + bias\[column\]).
    Bias {
        /// \[n\], if there is one.
        bias: Option<Tensor>,
        /// Applied last.
        activation: Activation,
    },
    /// sum · activation′.
    Derivative {
        /// \[m, n\]: the activation's output in the forward pass, or its input where the derivative takes that.
        saved: Tensor,
        /// Whose derivative.
        activation: Activation,
    },
    /// The sums are the gradient of weights, C, and go straight into the optimizer, as the column sums do for the biases:
    /// neither is written anywhere. The update's parameters are the weights and, behind them, the biases; its gradients
    /// are not read. Of a product in one slice only.
    Update(Box<Update>),
}

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

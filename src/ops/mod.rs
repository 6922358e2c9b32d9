//! Operations (ops) that plans are made of. Each file defines one op: operands, arithmetic, dispatches, CPU twin and
//! error bounds. Executors, the lockstep comparison, cost estimates and plan texts are derived from these definitions.

mod bounds;
mod cost;
mod excerpt;
mod launch;
mod octets;
mod operands;
mod state;
mod strides;
pub(crate) mod template;
mod tensor;
#[cfg(test)]
mod tests;
mod texts;

use std::fmt::{self, Debug};

pub use crate::slices::Share;
pub(crate) use bounds::*;
pub use cost::Work;
pub(crate) use excerpt::{excerpt, with_constants};
pub use launch::Word;
pub(crate) use launch::*;
pub use operands::Access;
pub(crate) use operands::*;
pub use state::*;
pub(crate) use strides::*;
pub use tensor::*;
pub(crate) use texts::*;

/// Definition of an op.
pub(crate) trait Kernel: Debug {
    /// Name in plans and profiles. The shader file is `shaders/<stem>.wgsl`.
    fn stem(&self) -> &'static str;

    /// Text after the name in a plan's text: dimensions and fused operations.
    fn detail(&self) -> String {
        String::new()
    }

    /// Options of the op. Only the long text of a plan shows them.
    fn options(&self) -> String {
        String::new()
    }

    /// Operands, in the order of the shader's storage bindings, from binding 1.
    fn operands(&self) -> Vec<Operand>;

    /// All tensors of the op, mutable so that they can be moved to other buffers.
    fn tensors_mut(&mut self) -> Vec<&mut Tensor>;

    /// Floating-point operations: see [`Work::flops`].
    fn flops(&self) -> u64;

    /// Memory traffic: see [`Work::bytes`]. The default counts each operand once, or twice if it is read and written.
    fn bytes(&self) -> u64 {
        self.operands().iter().map(Operand::traffic).sum()
    }

    /// Dispatches of the op on a GPU, in order.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch>;

    /// Number of rows into which the CPU twin's work can be split, for ops that take long. The default is 1: no split.
    fn rows(&self) -> usize {
        1
    }

    /// If the app gave a custom function without a CPU twin: a description of that function. The CPU cannot run the op
    /// then.
    fn without_twin(&self) -> Option<String> {
        None
    }

    /// The op's CPU reference, also called its CPU twin: plain Rust that a reader can check against a textbook. It
    /// computes only the rows `at.rows`.
    fn twin(&self, at: &mut Operands<'_>);

    /// Largest allowed differences between a GPU's result and the CPU twin's, one [`Bounds`] for each written
    /// operand. `at` holds the values of all operands before the op.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds>;
}

/// Declares the modules of a list of `file::Type`, exports their types, and defines the enum of all ops.
macro_rules! ops {
    ($($file:ident :: $op:ident),* $(,)?) => {
        $(mod $file;)*
        $(pub use $file::*;)*

        /// One op of a plan.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($op), "`].")] $op($op),)*
        }

        impl Op {
            pub(crate) fn as_kernel(&self) -> &dyn Kernel {
                match self {
                    $(Self::$op(op) => op,)*
                }
            }

            /// All tensors that the op reads or writes.
            pub(crate) fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
                match self {
                    $(Self::$op(op) => op.tensors_mut(),)*
                }
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })*
    };
}

ops! {
    next_batch::NextBatch,
    gather::Gather,
    copy_rows::CopyRows,
    matmul::Matmul,
    pointwise::Pointwise,
    curvature::Curvature,
    combine::Combine,
    scale_shift::ScaleShift,
    rearrange::Rearrange,
    pad::Pad,
    reduce::Reduce,
    reduce_max_gradient::ReduceMaxGradient,
    pool::PoolForward,
    pool_gradient::PoolGradient,
    resample::Resample,
    softmax::Softmax,
    layer_norm::LayerNormForward,
    layer_norm_input::LayerNormInput,
    layer_norm_parameters::LayerNormParameters,
    channel_statistics::ChannelStatistics,
    running_statistics::RunningStatistics,
    batch_norm::BatchNormForward,
    batch_norm_parameters::BatchNormParameters,
    batch_norm_input::BatchNormInput,
    encode::Encode,
    hash_grid::HashGridForward,
    hash_grid_scale::HashGridScale,
    hash_grid_scatter::HashGridScatter,
    hash_grid_gradient::HashGridGradient,
    hash_grid_input::HashGridInput,
    hash_grid_tangent::HashGridTangent,
    eikonal::Eikonal,
    loss::LossOp,
    accumulate::Accumulate,
    sum_slices::SumSlices,
    combine_slices::CombineSlices,
    sum_squares::SumSquares,
    update::Update,
    metrics::Metrics,
    non_finite::NonFinite,
    narrow::Narrow,
    narrow_rows::NarrowRows,
    narrow_gradients::NarrowGradients,
    custom::CustomOp,
}

impl Op {
    /// Name of the kernel. The shader file is `shaders/<kernel>.wgsl`.
    pub fn kernel(&self) -> &'static str {
        self.as_kernel().stem()
    }

    /// Tensors that the op only reads.
    pub fn inputs(&self) -> Vec<Tensor> {
        let operands = self.as_kernel().operands().into_iter();
        operands.filter(|operand| !operand.is_written()).filter_map(|operand| operand.tensor).collect()
    }

    /// Tensors that the op writes, each with its access.
    pub fn outputs(&self) -> Vec<(Tensor, Access)> {
        let operands = self.as_kernel().operands().into_iter().filter(Operand::is_written);
        operands.filter_map(|Operand { tensor, access, .. }| tensor.map(|tensor| (tensor, access))).collect()
    }

    /// Dispatches of the op on this adapter.
    pub(crate) fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        self.as_kernel().launches(adapter)
    }

    /// The ops that an executor without its kernel runs instead, in order: the op itself, or its parts if it is a
    /// [`NarrowRows`] or a [`NarrowGradients`].
    pub fn parts(&self) -> &[Op] {
        match self {
            Self::NarrowRows(NarrowRows { parts, .. }) | Self::NarrowGradients(NarrowGradients { parts, .. }) => parts,
            _ => std::slice::from_ref(self),
        }
    }

    /// Floating-point operations and memory traffic of the op.
    pub fn work(&self) -> Work {
        Work { flops: self.as_kernel().flops(), bytes: self.as_kernel().bytes() }
    }
}

/// Writes the kernel's name, the dimensions and the fused operations.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kernel(), self.as_kernel().detail())
    }
}

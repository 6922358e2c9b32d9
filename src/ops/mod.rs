//! The operations that plans are made of. What an op is, its own file says: tensors in the order of the shader's
//! bindings, arithmetic, dispatches, CPU twin, and how far the two may lie apart. Executors, lockstep, cost and display
//! derive the rest.

mod bounds;
mod cost;
mod excerpt;
mod launch;
mod operands;
mod state;
mod strides;
pub(crate) mod template;
mod tensor;
#[cfg(test)]
mod tests;
mod texts;

use std::fmt::{self, Debug};

pub(crate) use bounds::*;
pub use cost::Work;
pub(crate) use excerpt::excerpt;
pub use launch::Word;
pub(crate) use launch::*;
pub use operands::Access;
pub(crate) use operands::*;
pub use state::*;
pub(crate) use strides::*;
pub use tensor::*;
pub(crate) use texts::*;

/// What an op is.
pub(crate) trait Kernel: Debug {
    /// Its name in plans and profiles, and the stem of its shader: `shaders/<stem>.wgsl`.
    fn stem(&self) -> &'static str;

    /// What a plan's text says behind the name: dimensions, what is fused.
    fn detail(&self) -> String {
        String::new()
    }

    /// What only a plan's long text says: its options.
    fn options(&self) -> String {
        String::new()
    }

    /// Its tensors, in the order of the shader's bindings from 1 on.
    fn operands(&self) -> Vec<Operand>;

    /// All of them, to be moved to other buffers.
    fn tensors_mut(&mut self) -> Vec<&mut Tensor>;

    /// See [`Work::flops`].
    fn flops(&self) -> u64;

    /// See [`Work::bytes`]: here of each operand once, twice where it is read and written.
    fn bytes(&self) -> u64 {
        self.operands().iter().map(Operand::traffic).sum()
    }

    /// What it is on a GPU, one dispatch after the other.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch>;

    /// Rows that the twin can be cut between, where it takes long.
    fn rows(&self) -> usize {
        1
    }

    /// What it lacks a twin of, where an app gave it none: then the CPU cannot run it.
    fn without_twin(&self) -> Option<String> {
        None
    }

    /// The reference, in plain Rust that a reader can check against the textbook: makes `at.rows` of its rows.
    fn twin(&self, at: &mut Operands<'_>);

    /// How far a GPU's result may lie from the twin's, for each operand that is written, from what all of them hold
    /// before.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds>;
}

/// From a list of `file::Type`: the modules, their types, and the enum of them all.
macro_rules! ops {
    ($($file:ident :: $op:ident),* $(,)?) => {
        $(mod $file;)*
        $(pub use $file::*;)*

        /// One op.
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

            /// Every tensor it reads or writes.
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
    loss::LossOp,
    accumulate::Accumulate,
    sum_squares::SumSquares,
    update::Update,
    metrics::Metrics,
    non_finite::NonFinite,
    narrow::Narrow,
    custom::CustomOp,
}

impl Op {
    /// The stem of the kernel: `shaders/<kernel>.wgsl`.
    pub fn kernel(&self) -> &'static str {
        self.as_kernel().stem()
    }

    /// Every tensor it only reads.
    pub fn inputs(&self) -> Vec<Tensor> {
        let operands = self.as_kernel().operands().into_iter();
        operands.filter(|operand| !operand.is_written()).filter_map(|operand| operand.tensor).collect()
    }

    /// Every tensor it writes.
    pub fn outputs(&self) -> Vec<(Tensor, Access)> {
        let operands = self.as_kernel().operands().into_iter().filter(Operand::is_written);
        operands.filter_map(|Operand { tensor, access, .. }| tensor.map(|tensor| (tensor, access))).collect()
    }

    /// Its dispatches on an adapter.
    pub(crate) fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        self.as_kernel().launches(adapter)
    }

    /// Its arithmetic and traffic.
    pub fn work(&self) -> Work {
        Work { flops: self.as_kernel().flops(), bytes: self.as_kernel().bytes() }
    }
}

/// Its kernel, dimensions, and what is fused.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kernel(), self.as_kernel().detail())
    }
}

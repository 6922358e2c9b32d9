//! Matrix products.

use super::*;
use crate::activation::Activation;
use crate::plan::LONGEST_SLICE;

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

impl Kernel for Matmul {
    fn stem(&self) -> &'static str {
        "matmul"
    }

    fn detail(&self) -> String {
        let Self { m, n, k, slice, .. } = self;
        let slice = if slice.len() as u32 == *k { String::new() } else { format!(" k {slice:?}") };
        let epilogue = match &self.epilogue {
            Epilogue::None => String::new(),
            Epilogue::Bias { activation, .. } => format!(" bias {activation}"),
            Epilogue::Derivative { activation, .. } => format!(" derivative of {activation}"),
            Epilogue::Update(_) => " update".into(),
        };
        format!(" {:?} {m}x{n}x{k}{slice}{epilogue}", self.layout)
    }

    fn options(&self) -> String {
        match &self.epilogue {
            Epilogue::Update(update) => update.options(),
            _ => String::new(),
        }
    }

    fn operands(&self) -> Vec<Operand> {
        let operands = vec![read(self.a), read(self.b)];
        let rest = match &self.epilogue {
            Epilogue::Update(update) => update.bound(),
            _ => {
                let sums = if self.slice.start == 0 { write } else { change };
                vec![read(self.extra()), sums(self.c.into()), sums(self.bias_gradient)]
            }
        };
        [operands, rest].concat()
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_matmul(self)
    }

    // Of its operands it reads a slice of k.
    fn bytes(&self) -> u64 {
        let operands = self.a.bytes() + self.b.bytes();
        let rest = self.operands().iter().skip(2).map(Operand::traffic).sum::<u64>();
        rest + operands * self.slice.len() as u64 / u64::from(self.k)
    }

    fn rows(&self) -> usize {
        self.m as usize
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        use crate::gpu::kernels::matmul;
        matmul::launches(self, matmul::MatmulKernel::rule(self, *adapter), *adapter)
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (a, b, rows) = (at.f32s(self.a), at.f32s(self.b), at.rows.clone());
        match &self.epilogue {
            Epilogue::Update(update) => {
                let state = at.step(update.step);
                // The biases come with the last row.
                let (first, last) = (rows.start * self.n as usize, rows.end == self.m as usize);
                let end = if last { update.parameters.len() as usize } else { rows.end * self.n as usize };
                let parameters = &mut at.out(update.parameters)[first..end];
                let moments = update.moments.map_or(&mut [][..], |moments| at.out(moments));
                crate::cpu::matmul::matmul_update(self, rows, a, b, &state, parameters, moments);
            }
            _ => {
                let extra = self.extra().map_or(&[][..], |t| at.f32s(t));
                let bias_gradient = self.bias_gradient.filter(|_| rows.end == self.m as usize).map(|t| at.out(t));
                let c = &mut at.out(self.c)[rows.start * self.n as usize..rows.end * self.n as usize];
                crate::cpu::matmul::matmul_rows(self, rows, a, b, extra, c, bias_gradient);
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::of_matmul(self, at)
    }
}

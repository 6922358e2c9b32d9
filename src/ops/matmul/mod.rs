//! Matmul: C = op(A) · op(B) with a fused epilogue. The submodules choose the kernel, write its text and list its
//! dispatches.

mod convolution;
mod launches;
mod rule;
mod sliding;
mod text;
mod window;

use std::borrow::Cow;
use std::ops::Range;

use super::*;
use crate::activation::Activation;
pub(crate) use launches::launches;
pub use rule::{K, MatmulKernel, Tile};
pub use window::{Axis, Window};

/// A matmul with a fused epilogue: C = epilogue(op(A) · op(B)).
#[derive(Debug, Clone, PartialEq)]
pub struct Matmul {
    /// \[m, k\], or \[k, m\] if A is transposed.
    pub a: Tensor,
    /// \[k, n\], or \[n, k\] if B is transposed.
    pub b: Tensor,
    /// \[m, n\], written. With [`Epilogue::Update`], C is the weights.
    pub c: Tensor,
    /// Which operands are stored transposed.
    pub layout: Layout,
    /// Window of a convolution: how A is read from \[batch, height, width, channels\]. `None` if A is stored as a
    /// matrix.
    pub window: Option<Window>,
    /// Operation on the sums before they are written.
    pub epilogue: Epilogue,
    /// \[m, n\]: added after the bias and before the activation or its derivative. It is a residual connection, or
    /// another gradient of the same value. It must not share a buffer with C. `None` with [`Epilogue::Update`].
    pub addend: Option<Tensor>,
    /// \[n\]: column sums of B. If B is the gradient of a layer's outputs, they are the gradient of the bias. With
    /// [`Epilogue::Update`], this tensor is the biases.
    pub bias_gradient: Option<Tensor>,
}

/// How the operands of a matmul are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A is \[m, k\], B is \[k, n\]: the forward pass, X · W.
    Nn,
    /// A is \[m, k\], B is \[n, k\]: the gradient of the inputs, dZ · Wᵀ.
    Nt,
    /// A is \[k, m\], B is \[k, n\]: the gradient of the weights, Xᵀ · dZ.
    Tn,
}

/// Operation on each sum of a matmul before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Epilogue {
    /// Writes the sum.
    None,
    /// activation((sum + bias\[column\]) + addend).
    Bias {
        /// \[n\]; `None` without a bias.
        bias: Option<Tensor>,
        /// Activation, applied last.
        activation: Activation,
    },
    /// (sum + addend) · activation′.
    Derivative {
        /// \[m, n\]: the activation's output in the forward pass, or its input if the derivative needs the input.
        saved: Tensor,
        /// Activation whose derivative is applied.
        activation: Activation,
    },
    /// Optimizer step. The sums are the gradient of the weights C, and the column sums are the gradient of the
    /// biases. The optimizer uses them directly, so they are not written to memory. The step's parameters are the
    /// weights, followed by the biases.
    Update(Box<OptimizerStep>),
}

impl Matmul {
    /// A matmul without an epilogue: C = op(A) · op(B).
    pub fn new(a: Tensor, b: Tensor, c: Tensor, layout: Layout) -> Self {
        Self { a, b, c, layout, window: None, epilogue: Epilogue::None, addend: None, bias_gradient: None }
    }

    /// \[m, n, k\]: rows of C, columns of C, and length of each sum.
    pub fn shape(&self) -> [u32; 3] {
        let k = match (self.layout, &self.window) {
            (Layout::Tn, _) => self.b.rows(),
            (_, Some(window)) => window.len(),
            (_, None) => self.a.columns(),
        };
        [self.c.rows(), self.c.columns(), k]
    }

    /// Elements of A and B that some rows of C need, stored in the layout, and the range of these rows in them.
    fn stored<'a>(
        &self,
        a: &'a [f32],
        b: &'a [f32],
        rows: Range<usize>,
    ) -> (Cow<'a, [f32]>, Cow<'a, [f32]>, Range<usize>) {
        let Some(window) = &self.window else { return (a.into(), b.into(), rows) };
        match self.layout {
            Layout::Tn => (window.read(a, 0..self.k() as usize).into(), b.into(), rows),
            Layout::Nn => (window.read(a, rows.clone()).into(), b.into(), 0..rows.len()),
            Layout::Nt => {
                (window.read(a, rows.clone()).into(), window.transposed(b, self.n() as usize).into(), 0..rows.len())
            }
        }
    }

    /// Groups of a convolution. Each column of C reads only the channels of its group.
    fn groups(&self) -> u32 {
        self.window.map_or(1, |window| window.groups)
    }

    fn m(&self) -> u32 {
        self.c.rows()
    }

    fn n(&self) -> u32 {
        self.c.columns()
    }

    fn k(&self) -> u32 {
        self.shape()[2]
    }

    /// Number of multiply-adds.
    fn size(&self) -> u64 {
        self.shape().into_iter().map(u64::from).product()
    }

    /// Tensor that the epilogue reads, if any.
    pub fn extra(&self) -> Option<Tensor> {
        match self.epilogue {
            Epilogue::None | Epilogue::Update(_) => None,
            Epilogue::Bias { bias, .. } => bias,
            Epilogue::Derivative { saved, .. } => Some(saved),
        }
    }

    /// Offset of the biases from the weights, if there are biases.
    fn bias_at(&self) -> Option<usize> {
        self.bias_gradient.map(|bias| (bias.offset - self.c.offset) as usize)
    }

    /// Computes the sums of some rows of C and, if requested, the column sums of B.
    fn sums(&self, rows: Range<usize>, a: &[f32], b: &[f32], c: &mut [f32], column_sums: Option<&mut [f32]>) {
        let [m, n, k] = self.shape().map(|length| length as usize);
        let groups = self.groups() as usize;
        let group_n = n / groups;
        c.fill(0.0);
        let rows = rows.flat_map(|i| (0..groups).map(move |group| (i, group)));
        for ((i, group), row) in rows.zip(c.chunks_exact_mut(group_n)) {
            let (a, first) = (&a[group * (a.len() / groups)..], group * group_n);
            if self.layout == Layout::Nt {
                for (c, b) in row.iter_mut().zip(b[first * k..].chunks_exact(k)) {
                    *c = dot(&a[i * k..][..k], b);
                }
                continue;
            }
            let at = |p: usize| if self.layout == Layout::Nn { a[i * k + p] } else { a[p * m + i] };
            let of_b = |p: usize| &b[p * n + first..][..group_n];
            // Four terms per pass, each sum in the same order: a row of C is read and written a quarter as often.
            let fours = k - k % 4;
            for p in (0..fours).step_by(4) {
                let a: [f32; 4] = std::array::from_fn(|i| at(p + i));
                let rows = of_b(p).iter().zip(of_b(p + 1)).zip(of_b(p + 2)).zip(of_b(p + 3));
                for (c, (((b0, b1), b2), b3)) in row.iter_mut().zip(rows) {
                    *c = *c + a[0] * b0 + a[1] * b1 + a[2] * b2 + a[3] * b3;
                }
            }
            for p in fours..k {
                let a = at(p);
                for (c, &b) in row.iter_mut().zip(of_b(p)) {
                    *c += a * b;
                }
            }
        }
        if let Some(sums) = column_sums {
            sums.fill(0.0);
            for p in 0..k {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += if self.layout == Layout::Nt { b[j * k + p] } else { b[p * n + j] };
                }
            }
        }
    }
}

impl Kernel for Matmul {
    fn stem(&self) -> &'static str {
        "matmul"
    }

    fn detail(&self) -> String {
        let [m, n, k] = self.shape();
        let epilogue = match &self.epilogue {
            Epilogue::None => String::new(),
            Epilogue::Bias { activation, .. } => format!(" bias {activation}"),
            Epilogue::Derivative { activation, .. } => format!(" derivative of {activation}"),
            Epilogue::Update(_) => " update".into(),
        };
        let addend = if self.addend.is_some() { " add" } else { "" };
        let window = self.window.map_or(String::new(), |w| format!(" window {}x{}", w.rows.taps, w.columns.taps));
        let groups = if self.groups() > 1 { format!(" groups {}", self.groups()) } else { String::new() };
        format!(" {:?} {m}x{n}x{k}{window}{groups}{addend}{epilogue}", self.layout)
    }

    fn options(&self) -> String {
        match &self.epilogue {
            Epilogue::Update(step) => format!(" {:?}", step.optimizer),
            _ => String::new(),
        }
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let mut tensors = vec![&mut self.a, &mut self.b, &mut self.c];
        tensors.extend(self.addend.iter_mut().chain(&mut self.bias_gradient));
        match &mut self.epilogue {
            Epilogue::None => {}
            Epilogue::Bias { bias, .. } => tensors.extend(bias),
            Epilogue::Derivative { saved, .. } => tensors.push(saved),
            Epilogue::Update(step) => tensors.extend(step.tensors_mut()),
        }
        tensors
    }

    fn operands(&self) -> Vec<Operand> {
        let rest = match &self.epilogue {
            Epilogue::Update(step) => step.operands(),
            _ => vec![read(self.extra()), write(self.c), write(self.bias_gradient)],
        };
        let addend = self.addend.map(read).into_iter().collect();
        [vec![read(self.a), read(self.b)], rest, addend].concat()
    }

    fn flops(&self) -> u64 {
        let [m, n, k] = self.shape().map(u64::from);
        let epilogue = match &self.epilogue {
            Epilogue::None => 0,
            Epilogue::Bias { bias, activation } => m * n * (u64::from(bias.is_some()) + activation.flops()[0]),
            Epilogue::Derivative { activation, .. } => m * n * (activation.flops()[1] + 1),
            Epilogue::Update(step) => step.flops(),
        };
        let column_sums = if self.bias_gradient.is_some() { n * k } else { 0 };
        let addend = if self.addend.is_some() { m * n } else { 0 };
        2 * m * n * k + epilogue + column_sums + addend
    }

    fn rows(&self) -> usize {
        self.m() as usize
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        launches(self, MatmulKernel::rule(self, adapter), adapter)
    }

    fn without_twin(&self) -> Option<String> {
        match self.epilogue {
            Epilogue::Bias { activation, .. } | Epilogue::Derivative { activation, .. } => activation.without_twin(),
            _ => None,
        }
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (a, b, rows) = (at.f32s(self.a), at.f32s(self.b), at.rows.clone());
        let n = self.n() as usize;
        let range = rows.start * n..rows.end * n;
        let (a, b, stored) = self.stored(a, b, rows.clone());
        // The column sums are computed with the last row.
        let bias = self.bias_gradient.filter(|_| rows.end == self.rows());
        if let Epilogue::Update(step) = &self.epilogue {
            let (mut gradients, mut bias_gradients) = (vec![0.0; range.len()], vec![0.0; n]);
            self.sums(stored, &a, &b, &mut gradients, bias.map(|_| &mut bias_gradients[..]));
            let (parameters, moments) = step.take(at);
            step.apply(range.clone(), |i| gradients[i - range.start], at, parameters, moments);
            if let Some(first) = self.bias_at().filter(|_| bias.is_some()) {
                step.apply(first..first + n, |i| bias_gradients[i - first], at, parameters, moments);
            }
            return;
        }
        let c = &mut at.out(self.c)[range.clone()];
        self.sums(stored, &a, &b, c, bias.map(|bias| at.out(bias)));
        if let Epilogue::Bias { bias, .. } = self.epilogue {
            let bias = bias.map_or(&[][..], |bias| at.f32s(bias));
            for (i, c) in c.chunks_exact_mut(n).flat_map(|row| row.iter_mut().enumerate()) {
                *c += bias.get(i).copied().unwrap_or(0.0);
            }
        }
        if let Some(addend) = self.addend {
            for (c, addend) in c.iter_mut().zip(&at.f32s(addend)[range.clone()]) {
                *c += addend;
            }
        }
        match self.epilogue {
            Epilogue::None | Epilogue::Update(_) => {}
            Epilogue::Bias { activation, .. } => {
                for c in c {
                    *c = activation.value(*c);
                }
            }
            Epilogue::Derivative { saved, activation } => {
                for (c, &saved) in c.iter_mut().zip(&at.f32s(saved)[range]) {
                    *c *= activation.derivative(saved);
                }
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let [m, n, k] = self.shape().map(|length| length as usize);
        let (a, b) = (at.f32s(self.a), at.f32s(self.b));
        let (a, b, _) = self.stored(a, b, 0..m);
        let abs = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let sums = |a: &[f32], b: &[f32]| {
            let (mut c, mut column_sums) = (vec![0.0; m * n], vec![0.0; n]);
            self.sums(0..m, a, b, &mut c, Some(&mut column_sums));
            [c, column_sums]
        };
        // Σ|a·b|: the matmul of the absolute values.
        let roundings = 2.0 * (k as f64 + 2.0) * U;
        let off = |(value, magnitude): (f32, f32)| Off { value: value.into(), off: roundings * f64::from(magnitude) };
        let [exact, exact_columns] = sums(&a, &b);
        let [magnitude, magnitude_columns] = sums(&abs(&a), &abs(&b));
        let mut sums: Vec<Off> = exact.into_iter().zip(magnitude).map(off).collect();
        let column_sums: Vec<Off> = exact_columns.into_iter().zip(magnitude_columns).map(off).collect();
        let plus = |sum: Off, term: f64| Off::sum([sum, Off::exact(term)], 1.0);
        if let Epilogue::Bias { bias, .. } = self.epilogue {
            let bias = bias.map_or(vec![0.0; n], |bias| at.f64s(bias));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = plus(*sum, bias[i % n]);
            }
        }
        if let Some(addend) = self.addend {
            for (sum, addend) in sums.iter_mut().zip(at.f64s(addend)) {
                *sum = plus(*sum, addend);
            }
        }
        match &self.epilogue {
            Epilogue::None => {}
            Epilogue::Update(step) => {
                sums.resize(step.parameters.len() as usize, Off::exact(0.0));
                if let Some(first) = self.bias_at() {
                    sums[first..][..n].copy_from_slice(&column_sums);
                }
                return step.bounds(&sums, at);
            }
            Epilogue::Bias { activation, .. } => {
                for sum in &mut sums {
                    sum.off = activation.value_bound(sum.value, sum.off);
                }
            }
            Epilogue::Derivative { saved, activation } => {
                for (sum, &saved) in sums.iter_mut().zip(at.f32s(*saved)) {
                    let slope = f64::from(activation.derivative(saved).abs());
                    let slope_error = activation.derivative_bound(saved.into());
                    sum.off = sum.off * slope + sum.value.abs() * (slope_error + slope * 2.0 * U);
                }
            }
        }
        let outputs = std::iter::once(sums).chain(self.bias_gradient.map(|_| column_sums));
        outputs.map(|sums| Bounds::Each(sums.into_iter().map(|sum| sum.off).collect())).collect()
    }
}

/// Dot product with eight partial sums, so that the compiler can use vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms are added in order, although one pass takes several. Weights trained on the CPU stay the same, bit for
    /// bit.
    #[test]
    fn sums_are_in_the_order_of_k() {
        let (m, n) = (3, 5);
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 313.0 - 1.6;
        let tensor = |shape: [usize; 2]| Tensor::new(BufferId(0), Dtype::F32, shape.map(|length| length as u32));
        for (layout, k) in [Layout::Nn, Layout::Tn].into_iter().flat_map(|layout| [11, 3, 8, 1].map(|k| (layout, k))) {
            let a: Vec<f32> = (0..m * k).map(number).collect();
            let b: Vec<f32> = (0..k * n).map(|i| number(i + 500)).collect();
            let shape_of_a = if layout == Layout::Nn { [m, k] } else { [k, m] };
            let op = Matmul::new(tensor(shape_of_a), tensor([k, n]), tensor([m, n]), layout);
            let mut c = vec![0.0; m * n];
            op.sums(0..m, &a, &b, &mut c, None);
            for (at, c) in c.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let of_a = |p: usize| if layout == Layout::Nn { a[i * k + p] } else { a[p * m + i] };
                let sum = (0..k).fold(0.0f32, |sum, p| sum + of_a(p) * b[p * n + j]);
                assert_eq!(c.to_bits(), sum.to_bits(), "{layout:?} {k} {i} {j}");
            }
        }
    }
}

//! Gradient of batch normalisation's scale and shift.

use super::channel_statistics::{
    COLUMNS, JOINED, by_width, chunks_of, depth, inverse, inverse_error, normal_epsilon, normalised_bound, width,
};
use super::*;

/// Gradient of batch normalisation's scale and shift: Σ dy · x̂ and Σ dy over the rows. dy must be 0 in rows that are
/// not valid.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormParameters {
    /// dy, \[rows, channels\].
    pub gradient: Tensor,
    /// \[rows, channels\].
    pub x: Tensor,
    /// \[2, channels rounded up to 64\]: statistics of the batch.
    pub statistics: Tensor,
    /// \[channels\], written.
    pub scale_gradient: Tensor,
    /// \[channels\], written.
    pub shift_gradient: Tensor,
    /// \[2, channels\], written: both sums, for the gradient of the input.
    pub sums: Tensor,
    /// The same value as in the forward pass.
    pub epsilon: f32,
}

impl Kernel for BatchNormParameters {
    binds! {
        "batch_norm_parameters":
        read gradient, read x, read statistics, write scale_gradient, write shift_gradient, write sums
    }

    fn flops(&self) -> u64 {
        // Per number: x − mean, a product, two sums. Per channel: epsilon, the root, its reciprocal, a product.
        4 * u64::from(self.x.len()) + 4 * u64::from(self.x.columns())
    }

    /// If there are many rows, workgroups share them, and a second launch adds the partial sums.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (rows, columns) = (self.x.rows(), self.x.columns());
        let [of_row, stride] = [self.x, self.statistics].map(|tensor| tensor.columns() / width(&self.x));
        let (chunks, chunk_rows) = chunks_of(rows);
        let text = text!("shared/numbers.wgsl.in", "batch_norm_parameters.wgsl.in");
        let of_all = shader("batch_norm_parameters", by_width(&self.x, text), []);
        let epsilon = normal_epsilon(self.epsilon);
        let uniforms = uniforms![rows, columns: of_row, stride, parts: chunks, part_rows: chunk_rows, epsilon];
        let whole = Launch::of(self, of_all, uniforms, u64::from(columns.div_ceil(COLUMNS)) * u64::from(chunks));
        if chunks == 1 {
            return vec![whole];
        }
        let words = 2 * u64::from(chunks) * u64::from(columns);
        let (inputs, outputs) = whole.bindings.split_at(3);
        let sums = Launch {
            shader: shader("batch_norm_parameters.parts", text!("batch_norm_parameters.parts.wgsl"), []),
            uniforms: uniforms![columns, parts: chunks],
            bindings: [&[read_scratch(words)], outputs].concat(),
            workgroups: columns.div_ceil(JOINED).into(),
        };
        vec![Launch { bindings: [inputs, &[write_scratch(words), write(None), write(None)]].concat(), ..whole }, sums]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let (gradient, x, statistics) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        // In f64, because there may be many rows.
        let mut all = vec![[0.0; 2]; columns];
        for (dy, x) in gradient.chunks_exact(columns).zip(x.chunks_exact(columns)) {
            for (c, [along, sum]) in all.iter_mut().enumerate() {
                *along += f64::from(dy[c]) * (f64::from(x[c]) - f64::from(statistics[c]));
                *sum += f64::from(dy[c]);
            }
        }
        let (scale_gradient, shift_gradient) = (at.out(self.scale_gradient), at.out(self.shift_gradient));
        let sums = at.out::<f32>(self.sums);
        for (c, [along, sum]) in all.into_iter().enumerate() {
            scale_gradient[c] = (along * inverse(statistics[stride + c], normal_epsilon(self.epsilon))) as f32;
            shift_gradient[c] = sum as f32;
            (sums[c], sums[columns + c]) = (scale_gradient[c], shift_gradient[c]);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let (gradient, x, statistics) = (at.f64s(self.gradient), at.f64s(self.x), at.f32s(self.statistics));
        let (chunks, chunk_rows) = chunks_of(self.x.rows());
        let roundings = 2.0 * (depth(chunk_rows) + f64::from(chunks) + 3.0) * U;
        let inverses: Vec<_> = (statistics[stride..][..columns].iter())
            .map(|&variance| {
                (inverse(variance, normal_epsilon(self.epsilon)), inverse_error(variance, normal_epsilon(self.epsilon)))
            })
            .collect();
        let mut bounds = [vec![0.0; columns], vec![0.0; columns]];
        for (i, (dy, x)) in gradient.iter().zip(x).enumerate() {
            let c = i % columns;
            let (value, off) = normalised_bound(x, statistics[c].into(), inverses[c].0, inverses[c].1);
            bounds[0][c] += dy.abs() * (value * roundings + off) + FLUSHED * inverses[c].0;
            bounds[1][c] += dy.abs() * roundings;
        }
        let both = bounds.concat();
        bounds.into_iter().chain([both]).map(Bounds::Each).collect()
    }
}

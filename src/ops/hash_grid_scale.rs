//! Scales that convert a hash grid's gradients to integers.

use super::*;

/// For each level, a scale that converts the gradients of its entries to integers whose sums fit in 32 bits. It is a
/// power of two, stored with its reciprocal. Both are NaN if the gradients are not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScale {
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// \[levels, 2\], written: scale, then reciprocal.
    pub scales: Tensor,
}

/// Fewest rows per chunk, and most chunks. Each chunk has a workgroup.
const ROWS_OF_CHUNK: u32 = 1024;
const MOST_CHUNKS: u32 = 256;

impl Kernel for HashGridScale {
    binds! { "hash_grid_scale": read gradient, write scales }

    fn flops(&self) -> u64 {
        2 * u64::from(self.gradient.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (rows, levels) = (self.gradient.rows(), self.scales.rows());
        let chunk_rows = rows.div_ceil(rows.div_ceil(ROWS_OF_CHUNK).min(MOST_CHUNKS));
        let chunks = rows.div_ceil(chunk_rows);
        let words = u64::from(chunks) * u64::from(levels);
        let (source, constants) = (text!("hash_grid_scale.wgsl"), [("FEATURES", self.features().into())]);
        let sums = Launch {
            shader: shader("hash_grid_scale", source, constants),
            uniforms: uniforms![rows, levels, part_rows: chunk_rows],
            bindings: vec![read(self.gradient), write_scratch(words)],
            workgroups: chunks.into(),
        };
        let scales = Launch {
            shader: shader("hash_grid_scale.parts", text!("hash_grid_scale.parts.wgsl"), []),
            uniforms: uniforms![levels, parts: chunks],
            bindings: vec![read_scratch(words), write(self.scales)],
            workgroups: levels.into(),
        };
        vec![sums, scales]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let sums = self.sums(at.f32s(self.gradient));
        for (scale, sum) in at.out::<f32>(self.scales).as_chunks_mut().0.iter_mut().zip(sums) {
            *scale = scale_of(sum as f32);
        }
    }

    /// The power of two differs only if the error of the sum crosses a power of two.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let terms = f64::from(self.gradient.rows()) * f64::from(self.features());
        let of_sum = |sum: f64| {
            let off = 2.0 * (terms + 1.0) * U * sum;
            let [low, high] = [sum - off, sum + off].map(|sum| scale_of(sum as f32));
            // If no power is crossed, both are equal and the bound is 0.
            [0, 1].map(|i| f64::from((low[i] - high[i]).abs()))
        };
        vec![Bounds::Each(self.sums(at.f32s(self.gradient)).into_iter().flat_map(of_sum).collect())]
    }
}

impl HashGridScale {
    fn features(&self) -> u32 {
        self.gradient.columns() / self.scales.rows()
    }

    /// Sum of |dy| over the features of each level.
    fn sums(&self, gradient: &[f32]) -> Vec<f64> {
        let levels = self.scales.rows() as usize;
        let mut sums = vec![0.0; levels];
        for (i, dy) in gradient.chunks_exact(self.features() as usize).enumerate() {
            sums[i % levels] += dy.iter().map(|dy| f64::from(dy.abs())).sum::<f64>();
        }
        sums
    }
}

/// Power of two that scales a sum to at least 2²⁹ and less than 2³⁰, and its reciprocal.
fn scale_of(sum: f32) -> [f32; 2] {
    if !sum.is_finite() {
        return [f32::NAN; 2];
    }
    // Keeps the reciprocal from being subnormal.
    let exponent = (sum.to_bits() >> 23).max(30) as i32 - 127;
    [2f32.powi(29 - exponent), 2f32.powi(exponent - 29)]
}

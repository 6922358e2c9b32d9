//! The gradient of layer normalisation's weights.

use super::layer_norm::{normalised, normalised_bound};
use super::*;

/// The gradient of layer normalisation's weights: Σ dy · x̂ and Σ dy over the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormParameters {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// \[columns\], written.
    pub scale_gradient: Tensor,
    /// \[columns\], written.
    pub shift_gradient: Tensor,
}

/// Columns of a workgroup.
const COLUMNS: u32 = 8;
/// Rows that are worth workgroups of their own, and the most parts.
const ROWS_OF_PART: u32 = 2048;
const MOST_PARTS: u32 = 64;
/// Columns of a workgroup that adds parts up.
const LANES: u32 = 64;

impl Kernel for LayerNormParameters {
    binds! {
        "layer_norm_parameters":
        read gradient, read x, read statistics, write scale_gradient, write shift_gradient
    }

    fn flops(&self) -> u64 {
        // x̂ 2, its product, two sums.
        5 * u64::from(self.x.len())
    }

    /// Where rows are many, workgroups share them, and a second launch adds up what they leave.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (rows, columns) = (self.x.rows(), self.x.columns());
        let part_rows = rows.div_ceil((rows / ROWS_OF_PART).clamp(1, MOST_PARTS));
        let parts = rows.div_ceil(part_rows);
        let source = text!("shared/from_first.wgsl.in", "layer_norm_parameters.wgsl.in");
        let of_all = shader("layer_norm_parameters", source, []);
        let uniforms = uniforms![rows, columns, parts, part_rows, zero: 0];
        let whole = Launch::of(self, of_all, uniforms, u64::from(columns.div_ceil(COLUMNS)) * u64::from(parts));
        if parts == 1 {
            return vec![whole];
        }
        let words = 2 * u64::from(parts) * u64::from(columns);
        let inputs = &whole.bindings[..3];
        let sums = Launch {
            shader: shader("layer_norm_parameters.parts", text!("layer_norm_parameters.parts.wgsl"), []),
            uniforms: uniforms![columns, parts],
            bindings: vec![left(words), write(self.scale_gradient), write(self.shift_gradient)],
            workgroups: columns.div_ceil(LANES).into(),
        };
        vec![Launch { bindings: [inputs, &[leave(words), write(None)]].concat(), ..whole }, sums]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let columns = self.x.columns() as usize;
        let (gradient, x, statistics) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        // In f64, as rows may be many.
        let mut sums = vec![[0.0; 2]; columns];
        let rows = gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).zip(statistics.chunks_exact(2));
        for ((dy, x), statistics) in rows {
            for (i, [scale, shift]) in sums.iter_mut().enumerate() {
                *scale += f64::from(dy[i]) * normalised(x, statistics, i);
                *shift += f64::from(dy[i]);
            }
        }
        let (scale_gradient, shift_gradient) = (at.out(self.scale_gradient), at.out(self.shift_gradient));
        for (i, [scale, shift]) in sums.into_iter().enumerate() {
            (scale_gradient[i], shift_gradient[i]) = (scale as f32, shift as f32);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let columns = self.x.columns() as usize;
        let (gradient, x, statistics) = (at.f64s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        let roundings = 2.0 * (f64::from(self.x.rows()) + 5.0) * U;
        let mut bounds = [vec![0.0; columns], vec![0.0; columns]];
        let rows = gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).zip(statistics.chunks_exact(2));
        for ((dy, x), statistics) in rows {
            for (i, dy) in dy.iter().enumerate() {
                let (value, off) = normalised_bound(x, statistics, i);
                bounds[0][i] += dy.abs() * (value * roundings + off);
                bounds[1][i] += dy.abs() * roundings;
            }
        }
        bounds.map(Bounds::Each).into()
    }
}

//! The gradient of layer, group, instance and RMS normalisation's weights.

use super::layer_norm::{Members, normalised, normalised_bound};
use super::*;

/// The gradient of [`LayerNormForward`]'s weights: Σ dy · x̂ and Σ dy over the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormParameters {
    /// dy, \[rows, columns\], or \[samples, positions, channels\].
    pub gradient: Tensor,
    /// As dy.
    pub x: Tensor,
    /// \[rows · groups, 2\], from the forward pass.
    pub statistics: Tensor,
    /// \[columns\], written.
    pub scale_gradient: Tensor,
    /// \[columns\], written; none of RMS normalisation.
    pub shift_gradient: Option<Tensor>,
    /// As in the forward pass.
    pub groups: u32,
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
        let of = Members::of(self.x, self.groups);
        let (rows, columns) = (self.x.rows() * of.positions, of.channels());
        let part_rows = rows.div_ceil((rows / ROWS_OF_PART).clamp(1, MOST_PARTS));
        let parts = rows.div_ceil(part_rows);
        let source = text!("shared/from_first.wgsl.in", "layer_norm_parameters.wgsl.in");
        let constants = of.constants(self.shift_gradient.is_some());
        let of_all = shader("layer_norm_parameters", source, constants);
        let Members { positions, groups, width, .. } = of;
        let uniforms = uniforms![rows, columns, parts, part_rows, positions, groups, width, zero: 0];
        let whole = Launch::of(self, of_all, uniforms, u64::from(columns.div_ceil(COLUMNS)) * u64::from(parts));
        if parts == 1 {
            return vec![whole];
        }
        let words = 2 * u64::from(parts) * u64::from(columns);
        let inputs = &whole.bindings[..3];
        let sums = Launch {
            shader: shader("layer_norm_parameters.parts", text!("layer_norm_parameters.parts.wgsl"), [constants[1]]),
            uniforms: uniforms![columns, parts],
            bindings: vec![left(words), write(self.scale_gradient), write(self.shift_gradient)],
            workgroups: columns.div_ceil(LANES).into(),
        };
        vec![Launch { bindings: [inputs, &[leave(words), write(None)]].concat(), ..whole }, sums]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let of = Members::of(self.x, self.groups);
        let (gradient, x, statistics) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        // In f64, as rows may be many.
        let mut sums = vec![[0.0; 2]; of.channels() as usize];
        for (group, statistics) in statistics.chunks_exact(2).enumerate() {
            let first = self.first(of, x, group);
            of.each(group).for_each(|(at, c)| {
                sums[c][0] += f64::from(gradient[at]) * normalised(x[at], first, statistics);
                sums[c][1] += f64::from(gradient[at]);
            });
        }
        let outputs = [Some(self.scale_gradient), self.shift_gradient];
        for (i, tensor) in outputs.into_iter().flatten().enumerate() {
            at.out::<f32>(tensor).iter_mut().zip(&sums).for_each(|(out, sums)| *out = sums[i] as f32);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let of = Members::of(self.x, self.groups);
        let (gradient, x, statistics) = (at.f64s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        let roundings = 2.0 * (f64::from(self.x.rows() * of.positions) + 5.0) * U;
        let mut bounds = vec![vec![0.0; of.channels() as usize]; 1 + usize::from(self.shift_gradient.is_some())];
        for (group, statistics) in statistics.chunks_exact(2).enumerate() {
            let first = self.first(of, x, group);
            for (at, c) in of.each(group) {
                let (value, off) = normalised_bound(x[at], first, statistics);
                let each = [value * roundings + off, roundings];
                bounds.iter_mut().zip(each).for_each(|(bounds, each)| bounds[c] += gradient[at].abs() * each);
            }
        }
        bounds.into_iter().map(Bounds::Each).collect()
    }
}

impl LayerNormParameters {
    /// What the numbers of a group are taken less.
    fn first(&self, of: Members, x: &[f32], group: usize) -> f32 {
        self.shift_gradient.map_or(0.0, |_| x[of.start(group)])
    }
}

//! The gradient of a hash grid's table.

use super::*;

/// The gradient of a hash grid's table from its sums, which go back to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridGradient {
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// u32: the level of every 64 numbers of the table.
    pub blocks: Tensor,
    /// i32 \[entries, features\], read and set to zero.
    pub sums: Tensor,
    /// \[entries, features\], written.
    pub table_gradient: Tensor,
}

const LANES: u32 = 64;

impl Kernel for HashGridGradient {
    fn stem(&self) -> &'static str {
        "hash_grid_gradient"
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.scales, &mut self.blocks, &mut self.sums, &mut self.table_gradient]
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.scales), read(self.blocks), change(self.sums), write(self.table_gradient)]
    }

    fn flops(&self) -> u64 {
        self.sums.len().into()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.sums.len() / 4;
        vec![Launch {
            shader: shader("hash_grid_gradient", text!("hash_grid_gradient.wgsl"), []),
            uniforms: uniforms![quads],
            bindings: self.operands(),
            workgroups: quads.div_ceil(LANES).into(),
        }]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (scales, blocks) = (at.f32s(self.scales), at.words(self.blocks));
        let gradient = at.out::<f32>(self.table_gradient).iter_mut();
        for (i, (gradient, sum)) in gradient.zip(at.out::<i32>(self.sums)).enumerate() {
            *gradient = std::mem::take(sum) as f32 * scales[2 * blocks[i / 64] as usize + 1];
        }
    }

    /// A whole number as f32, rounded either way; the product with a power of two is exact.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (scales, blocks) = (at.f64s(self.scales), at.words(self.blocks));
        let of_sum =
            |(i, &sum): (usize, &u32)| 2.0 * U * f64::from(sum as i32).abs() * scales[2 * blocks[i / 64] as usize + 1];
        vec![Bounds::Exact, Bounds::Each(at.words(self.sums).iter().enumerate().map(of_sum).collect())]
    }
}

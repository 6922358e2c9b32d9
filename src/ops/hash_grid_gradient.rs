//! Gradient of a hash grid's table.

use super::*;

/// Converts the integer sums of a hash grid to the gradient of its table, and sets the sums to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridGradient {
    /// Scales from [`HashGridScale`].
    pub scales: Tensor,
    /// u32: the level of each 64 numbers of the table.
    pub blocks: Tensor,
    /// i32 \[entries, features\], read and set to zero.
    pub sums: Tensor,
    /// \[entries, features\], written.
    pub table_gradient: Tensor,
}

const LANES: u32 = 64;

impl Kernel for HashGridGradient {
    binds! { "hash_grid_gradient": read scales, read blocks, change sums, write table_gradient }

    fn flops(&self) -> u64 {
        self.sums.len().into()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.sums.len() / 4;
        let shader = shader("hash_grid_gradient", text!("hash_grid_gradient.wgsl"), []);
        vec![Launch::of(self, shader, uniforms![quads], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (scales, blocks) = (at.f32s(self.scales), at.words(self.blocks));
        let gradient = at.out::<f32>(self.table_gradient).iter_mut();
        for (i, (gradient, sum)) in gradient.zip(at.out::<i32>(self.sums)).enumerate() {
            *gradient = std::mem::take(sum) as f32 * scales[2 * blocks[i / 64] as usize + 1];
        }
    }

    /// The conversion of an integer to f32 may round either way. The product with a power of two is exact.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (scales, blocks) = (at.f64s(self.scales), at.words(self.blocks));
        let of_sum =
            |(i, &sum): (usize, &u32)| 2.0 * U * f64::from(sum as i32).abs() * scales[2 * blocks[i / 64] as usize + 1];
        vec![Bounds::Exact, Bounds::Each(at.words(self.sums).iter().enumerate().map(of_sum).collect())]
    }
}

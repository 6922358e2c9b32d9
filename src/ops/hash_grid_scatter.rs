//! Sums of a hash grid's gradients.

use super::*;

/// Adds the gradients of each point to the entries at the corners of its cells. The sums are integers, so they do not
/// depend on the order.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScatter {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// The same table as in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// Scales from [`HashGridScale`].
    pub scales: Tensor,
    /// i32 \[entries, features\], added to.
    pub sums: Tensor,
}

impl Kernel for HashGridScatter {
    binds! { "hash_grid_scatter": read x, read levels, read gradient, read scales, change sums }

    fn flops(&self) -> u64 {
        self.grid().of_corners(5, 3)
    }

    fn bytes(&self) -> u64 {
        self.grid().bytes(self, self.sums)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let source = text!("shared/bits.wgsl", "hash_grid.functions.wgsl", "hash_grid_scatter.wgsl.in");
        vec![self.grid().launch(self, shader("hash_grid_scatter", source, self.grid().constants()))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (grid, sums) = (self.grid(), at.out::<i32>(self.sums));
        let (gradient, scales) = (at.f32s(self.gradient), at.f32s(self.scales));
        grid.for_each_corner(at.f32s(self.x), at.words(self.levels), |corner| {
            let scale = scales[2 * corner.level];
            if !scale.is_nan() {
                for (sum, dy) in sums[grid.numbers(corner.entry)].iter_mut().zip(&gradient[corner.features..]) {
                    *sum += (corner.weight() * (dy * scale)).round_ties_even() as i32;
                }
            }
        });
    }

    /// Each contribution is a product that is rounded to an integer. The integer differs only if the product's error
    /// crosses a half.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let grid = self.grid();
        let (gradient, scales) = (at.f64s(self.gradient), at.f64s(self.scales));
        let mut bounds = vec![0.0; self.sums.len() as usize];
        grid.for_each_corner(at.f32s(self.x), at.words(self.levels), |corner| {
            for (bound, dy) in bounds[grid.numbers(corner.entry)].iter_mut().zip(&gradient[corner.features..]) {
                let scaled = dy * scales[2 * corner.level];
                let exact = f64::from(corner.weight()) * scaled;
                let off = scaled.abs() * corner.weight_off(grid.dimensions) + 2.0 * U * exact.abs();
                *bound += (exact + off).round() - (exact - off).round();
            }
        });
        vec![Bounds::Whole(bounds)]
    }
}

impl HashGridScatter {
    fn grid(&self) -> Grid {
        Grid::of(self.x, self.levels, self.gradient)
    }
}

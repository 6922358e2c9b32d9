//! Sums of a hash grid's gradients.

use super::*;
use crate::encoding::HashGrid;

/// Adds the gradients of each point to the entries at the corners of its cells. The sums are integers, so they do not
/// depend on the order.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScatter {
    /// Options of the grid.
    pub options: HashGrid,
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
    /// \[rows, dimensions\]: tangents of the points. If given, the derivatives of the corners' weights along them replace
    /// the weights.
    pub tangent: Option<Tensor>,
}

impl Kernel for HashGridScatter {
    binds! { "hash_grid_scatter": read x, read levels, read gradient, read scales, change sums, read tangent }

    fn flops(&self) -> u64 {
        self.grid().of_corners(if self.tangent.is_some() { 20 } else { 5 }, 3)
    }

    fn bytes(&self) -> u64 {
        self.grid().bytes(self, self.sums)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let source =
            super::hash_grid_tangent::TANGENT.to_owned() + text!("shared/bits.wgsl", "hash_grid_scatter.wgsl.in");
        let constants = [self.grid().constants_with_features(), vec![("TANGENT", self.tangent.is_some().into())]];
        vec![self.grid().launch(self, shader("hash_grid_scatter", source, constants.concat()))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (grid, sums) = (self.grid(), at.out::<i32>(self.sums));
        let (gradient, scales) = (at.f32s(self.gradient), at.f32s(self.scales));
        let (x, tangent) = (at.f32s(self.x), self.tangent.map(|tangent| at.f32s(tangent)));
        grid.for_each_corner(x, at.words(self.levels), |corner| {
            let scale = scales[2 * corner.level];
            if !scale.is_nan() {
                let slope = tangent.map(|t| corner.weight_tangent(corner.tangent(x, t, grid.dimensions)));
                for (sum, dy) in sums[grid.numbers(corner.entry)].iter_mut().zip(&gradient[corner.features..]) {
                    let share = slope.map_or_else(|| corner.weight() * (dy * scale), |slope| slope * dy * scale);
                    *sum += share.round_ties_even() as i32;
                }
            }
        });
    }

    /// Each contribution is a product that is rounded to an integer. The integer differs only if the product's error
    /// crosses a half.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let grid = self.grid();
        let (gradient, scales) = (at.f64s(self.gradient), at.f64s(self.scales));
        let (x, tangent) = (at.f32s(self.x), self.tangent.map(|tangent| at.f32s(tangent)));
        let mut bounds = vec![0.0; self.sums.len() as usize];
        grid.for_each_corner(x, at.words(self.levels), |corner| {
            let (weight, weight_off) = match tangent {
                None => (corner.weight(), corner.weight_off(&grid)),
                Some(tangent) => {
                    let along = corner.tangent(x, tangent, grid.dimensions);
                    (corner.weight_tangent(along), corner.weight_tangent_size_and_off(along, &grid).1)
                }
            };
            for (bound, dy) in bounds[grid.numbers(corner.entry)].iter_mut().zip(&gradient[corner.features..]) {
                let scaled = dy * scales[2 * corner.level];
                let exact = f64::from(weight) * scaled;
                let flushed = if tangent.is_some() { FLUSHED * scales[2 * corner.level] } else { 0.0 };
                let off = scaled.abs() * weight_off + 2.0 * U * exact.abs() + flushed;
                *bound += (exact + off).round() - (exact - off).round();
            }
        });
        vec![Bounds::Whole(bounds)]
    }
}

impl HashGridScatter {
    fn grid(&self) -> Grid {
        Grid::of(self.options, self.x, self.levels, self.gradient)
    }
}

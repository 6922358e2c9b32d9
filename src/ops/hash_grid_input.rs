//! Gradient of a hash grid's points.

use super::*;
use crate::encoding::HashGrid;

/// Gradient of a hash grid's points. It is 0 for a coordinate outside of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridInput {
    /// Options of the grid.
    pub options: HashGrid,
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// The same table as in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// dx, \[rows, dimensions\], written.
    pub output: Tensor,
}

impl Kernel for HashGridInput {
    binds! { "hash_grid_input": read x, read levels, read table, read gradient, write output }

    fn flops(&self) -> u64 {
        self.grid().of_corners(12, 2)
    }

    fn bytes(&self) -> u64 {
        self.grid().bytes(self, self.table)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let source = text!("hash_grid.functions.wgsl", "hash_grid.slope.wgsl.in", "hash_grid_input.wgsl.in");
        vec![self.grid().launch_rows(self, shader("hash_grid_input", source, self.grid().constants_with_features()))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (grid, x, output) = (self.grid(), at.f32s(self.x), at.out::<f32>(self.output));
        let (table, gradient) = (at.f32s(self.table), at.f32s(self.gradient));
        output.fill(0.0);
        grid.for_each_corner(x, at.words(self.levels), |corner| {
            let (entry, dy) = (&table[grid.numbers(corner.entry)], &gradient[corner.features..]);
            let value: f32 = entry.iter().zip(dy).map(|(t, dy)| t * dy).sum();
            for axis in 0..grid.dimensions as usize {
                let i = corner.row * grid.dimensions as usize + axis;
                // Outside, a position is clamped to the edge, so the gradient is 0.
                if !(x[i] < 0.0 || x[i] > 1.0) {
                    let others: f32 = (0..4).filter(|&a| a != axis).map(|a| corner.shares[a]).product();
                    let sign = if corner.far[axis] { 1.0 } else { -1.0 };
                    let slope = grid.interpolation.slope(corner.fractions[axis]);
                    output[i] += corner.resolution as f32 * slope * sign * value * others;
                }
            }
        });
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (grid, table, gradient) = (self.grid(), at.f64s(self.table), at.f64s(self.gradient));
        // Roundings of the sums over corners, levels and features, and of the products.
        let terms = f64::from(grid.levels + grid.features + (1 << grid.dimensions));
        let mut bounds = vec![0.0; self.output.len() as usize];
        grid.for_each_corner(at.f32s(self.x), at.words(self.levels), |corner| {
            let (entry, dy) = (&table[grid.numbers(corner.entry)], &gradient[corner.features..]);
            let value: f64 = entry.iter().zip(dy).map(|(t, dy)| (t * dy).abs()).sum();
            let steep = f64::from(corner.resolution) * value;
            for axis in 0..grid.dimensions as usize {
                let others: f64 = (0..4).filter(|&a| a != axis).map(|a| f64::from(corner.shares[a].abs())).product();
                let of_others: f64 =
                    (0..grid.dimensions as usize).filter(|&a| a != axis).map(|a| corner.share_off(&grid, a)).sum();
                let (slope, slope_off) = corner.slope(&grid, axis);
                let share = slope.abs() * (of_others + 2.0 * (terms + 8.0) * U * others) + slope_off * others;
                bounds[corner.row * grid.dimensions as usize + axis] += steep * share;
            }
        });
        vec![Bounds::Each(bounds)]
    }
}

impl HashGridInput {
    fn grid(&self) -> Grid {
        Grid::of(self.options, self.x, self.levels, self.gradient)
    }
}

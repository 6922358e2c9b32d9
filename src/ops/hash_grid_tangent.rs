//! Tangents of a hash grid's features.

use super::*;
use crate::encoding::HashGrid;

/// Tangents of a hash grid's features: the derivative of the features along the tangents of the points. A coordinate
/// outside of the grid does not move.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridTangent {
    /// Options of the grid. Its interpolation is linear.
    pub options: HashGrid,
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// The same table as in [`HashGridForward`].
    pub levels: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// The tangents of the points, \[rows, dimensions\].
    pub tangent: Tensor,
    /// The gradient of the features that [`HashGridScatter`] multiplies by the derivative of the corners' weights,
    /// \[rows, levels · features\].
    pub gradient: Tensor,
    /// \[rows, levels · features\], written.
    pub output: Tensor,
    /// \[rows, levels · features\], written: a bound for the sum of |contribution| to the table's gradient over the
    /// corners of the cell. [`HashGridScale`] makes the scales of these.
    pub reach: Tensor,
}

/// The functions of the kernels that follow tangents.
pub(crate) const TANGENT: &str = text!("hash_grid.functions.wgsl", "hash_grid.tangent.wgsl.in");

impl Kernel for HashGridTangent {
    binds! {
        "hash_grid_tangent": read x, read levels, read table, read tangent, read gradient, write output, write reach
    }

    fn flops(&self) -> u64 {
        self.grid().of_corners(0, 22)
    }

    fn bytes(&self) -> u64 {
        self.grid().bytes(self, self.table)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let source = TANGENT.to_owned() + text!("hash_grid_tangent.wgsl.in");
        vec![self.grid().launch(self, shader("hash_grid_tangent", source, self.grid().constants_with_features()))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (grid, x, tangent) = (self.grid(), at.f32s(self.x), at.f32s(self.tangent));
        let (table, gradient) = (at.f32s(self.table), at.f32s(self.gradient));
        let [output, reach] = [self.output, self.reach].map(|tensor| at.out::<f32>(tensor));
        output.fill(0.0);
        grid.for_each_corner(x, at.words(self.levels), |corner| {
            let along = corner.tangent(x, tangent, grid.dimensions);
            let (weight, entry) = (corner.weight_tangent(along), &table[grid.numbers(corner.entry)]);
            let longest = 2.0 * along.iter().map(|t| t.abs()).sum::<f32>();
            for (i, value) in (corner.features..).zip(entry) {
                output[i] += weight * value;
                reach[i] = longest * gradient[i].abs();
            }
        });
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (grid, x, tangent) = (self.grid(), at.f32s(self.x), at.f32s(self.tangent));
        let (table, gradient) = (at.f64s(self.table), at.f64s(self.gradient));
        let [mut outputs, mut reaches] = [0, 1].map(|_| vec![0.0; self.output.len() as usize]);
        // Roundings of the sum over the corners, and of the product.
        let roundings = 2.0 * (f64::from(1 << grid.dimensions) + 1.0) * U;
        grid.for_each_corner(x, at.words(self.levels), |corner| {
            let along = corner.tangent(x, tangent, grid.dimensions);
            let (size, off) = corner.weight_tangent_size_and_off(along, &grid);
            let longest = 2.0 * along.iter().map(|t| f64::from(t.abs()) + flushed(*t)).sum::<f64>();
            for (i, value) in (corner.features..).zip(&table[grid.numbers(corner.entry)]) {
                outputs[i] += value.abs() * (off + roundings * size);
                // The product with the resolution, three sums and a product are rounded.
                reaches[i] = longest * (gradient[i].abs() * 10.0 * U + FLUSHED);
            }
        });
        vec![Bounds::Each(outputs), Bounds::Each(reaches)]
    }
}

impl HashGridTangent {
    fn grid(&self) -> Grid {
        Grid::of(self.options, self.x, self.levels, self.output)
    }
}

impl Corner {
    /// The tangent of the corner's point, in cells of its level. 0 along an axis outside of the grid.
    pub fn tangent(&self, x: &[f32], tangent: &[f32], dimensions: u32) -> [f32; 4] {
        let first = self.row * dimensions as usize;
        [0, 1, 2, 3].map(|axis| match axis < dimensions as usize {
            true if !(x[first + axis] < 0.0 || x[first + axis] > 1.0) => self.resolution as f32 * tangent[first + axis],
            _ => 0.0,
        })
    }

    /// The product of the weights along all other axes.
    fn others(&self, axis: usize) -> f32 {
        (0..4).filter(|&other| other != axis).map(|other| self.shares[other]).product()
    }

    /// The derivative of the corner's weight along a tangent in cells.
    pub fn weight_tangent(&self, along: [f32; 4]) -> f32 {
        let term = |axis: usize| if self.far[axis] { along[axis] } else { -along[axis] } * self.others(axis);
        (0..4).map(term).sum()
    }

    /// The sum of the absolute terms of [`weight_tangent`](Self::weight_tangent), and its error bound.
    pub fn weight_tangent_size_and_off(&self, along: [f32; 4], grid: &Grid) -> (f64, f64) {
        let (mut size, mut off) = (0.0, 0.0);
        for (axis, &along) in along.iter().enumerate() {
            let (others, length) = (f64::from(self.others(axis).abs()), f64::from(along).abs());
            size += length * others;
            // The errors of the weights along the other axes add up, because these weights are at most 1.
            let of_others = (0..grid.dimensions as usize).filter(|&other| other != axis);
            off += length * of_others.map(|other| self.share_off(grid, other)).sum::<f64>();
            // A tangent may be flushed to zero before or after it is multiplied by the resolution.
            off += if length < FLUSHED * f64::from(self.resolution) { length } else { 0.0 };
        }
        // Roundings: of the tangent, of three products, of three sums.
        (size, off + 2.0 * 7.0 * U * size)
    }
}

//! Encodings of coordinates, and the gradients of hash grids.

use crate::network::Encoding;
use crate::plan::Tensor;

/// An encoding of coordinates one by one, or its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Encode {
    /// Which; no hash grid.
    pub encoding: Encoding,
    /// \[rows, columns\]: the coordinates.
    pub x: Tensor,
    /// For the gradient: dy, \[rows, columns · features\].
    pub gradient: Option<Tensor>,
    /// \[rows, columns · features\], written: y; or dx, \[rows, columns\].
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Coordinates of a row.
    pub columns: u32,
}

/// What the ops of a hash grid share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridShape {
    /// How many points.
    pub rows: u32,
    /// Coordinates of a point, 1 to 4.
    pub dimensions: u32,
    /// How many levels.
    pub levels: u32,
    /// Weights of an entry: 1, 2 or 4.
    pub features: u32,
}

/// The features of points in a hash grid: of each level, the entries at the corners of a point's cell, interpolated.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridForward {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// u32 \[levels, 4\]: cells along a side, the first entry, the mask of hashes or 0 where entries are numbered, 0.
    pub levels: Tensor,
    /// \[rows, levels · features\], written.
    pub y: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// For each level, what turns the gradients of its entries into whole numbers whose sums 32 bits can hold: a power of
/// two, and one over it; NaN where the gradients are not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScale {
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// \[levels, 2\], written.
    pub scales: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// Adds the gradients of the entries that each point took part of, as whole numbers: in any order, the sums are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScatter {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// i32 \[entries, features\], added to.
    pub sums: Tensor,
    /// The grid.
    pub shape: GridShape,
}

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

/// The gradient of a hash grid's points; 0 for a coordinate that lies outside.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridInput {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// dx, \[rows, dimensions\], written.
    pub output: Tensor,
    /// The grid.
    pub shape: GridShape,
}

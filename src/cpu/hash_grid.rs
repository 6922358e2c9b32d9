//! Twin of `shaders/hash_grid.wgsl.in`.

use crate::plan::{GridShape, HashGridForward};

pub fn hash_grid(op: &HashGridForward, x: &[f32], levels: &[u32], table: &[f32], y: &mut [f32]) {
    let features = op.shape.features as usize;
    y.fill(0.0);
    for_each_corner(&op.shape, x, levels, |corner| {
        let entry = &table[corner.entry * features..][..features];
        for (y, value) in y[corner.features..].iter_mut().zip(entry) {
            *y += corner.weight() * value;
        }
    });
}

/// A corner of the cell that a point lies in.
pub struct Corner {
    /// The point.
    pub row: usize,
    pub level: usize,
    /// Cells along a side of the level.
    pub resolution: u32,
    /// Its entry in the table.
    pub entry: usize,
    /// Where the features of the point in the level start.
    pub features: usize,
    /// Along each axis, the share that it has.
    pub shares: [f32; 4],
    /// Along each axis, whether it is the cell's far one.
    pub far: [bool; 4],
}

impl Corner {
    pub fn weight(&self) -> f32 {
        let [x, y, z, w] = self.shares;
        (x * y) * (z * w)
    }
}

/// Goes over the corners of the cell of each point, in each level.
pub fn for_each_corner(shape: &GridShape, x: &[f32], levels: &[u32], mut visit: impl FnMut(Corner)) {
    let dimensions = shape.dimensions as usize;
    for (row, x) in x.chunks_exact(dimensions).enumerate() {
        let mut point = [0.0; 4];
        point[..dimensions].copy_from_slice(x);
        for (level, words) in levels.as_chunks().0.iter().enumerate() {
            let [resolution, first, mask, _]: [u32; 4] = *words;
            let side = resolution as f32;
            // NaN stays NaN: clamp keeps it, and as a whole number it is 0.
            let position = point.map(|x| (x * side).clamp(0.0, side));
            let vertex = position.map(|p| (p as u32).min(resolution - 1));
            for corner in 0..1u32 << dimensions {
                let far = [0, 1, 2, 3].map(|axis| corner >> axis & 1 == 1);
                let mut shares = [0.0; 4];
                let mut v = vertex;
                for axis in 0..4 {
                    let fraction = position[axis] - vertex[axis] as f32;
                    shares[axis] = if far[axis] { fraction } else { 1.0 - fraction };
                    v[axis] += u32::from(far[axis]);
                }
                let entry = (first + entry(v, resolution, mask)) as usize;
                let features = (row * shape.levels as usize + level) * shape.features as usize;
                visit(Corner { row, level, resolution, entry, features, shares, far });
            }
        }
    }
}

/// A vertex's entry in its level.
fn entry(v: [u32; 4], resolution: u32, mask: u32) -> u32 {
    if mask == 0 {
        return v.iter().rev().fold(0, |number, v| number * (resolution + 1) + v);
    }
    let primes = [1, 2_654_435_761, 805_459_861, 3_674_653_429];
    v.iter().zip(primes).fold(0, |hash, (v, prime)| hash ^ v.wrapping_mul(prime)) & mask
}

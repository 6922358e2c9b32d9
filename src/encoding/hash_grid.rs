//! The hash grid: its options and its levels.

use super::within;
use crate::error::{Error, Result};
use crate::optimizer::option;
use crate::shape::LONGEST_TENSOR;

/// A multiresolution hash grid (Müller et al., 2022, Instant NGP).
///
/// Each level is a grid over the unit cube, finer than the level before. Each vertex has a few trained weights. The
/// features of a point are the weights at the corners of its cell, interpolated. The levels' features are concatenated.
///
/// By default, a level with more vertices than `log2_hashmap_size` allows stores its weights in a hash table. Several
/// vertices may then share an entry, and training resolves the collisions. [`GridStorage`] has other choices.
///
/// It takes 1 to 4 coordinates from 0 to 1. Coordinates outside are clamped. The weights start uniform in ±10⁻⁴. The
/// defaults are those of tiny-cuda-nn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct HashGrid {
    /// The number of levels, 1 to 32. Default 16.
    pub levels: u32,
    /// The number of weights at a vertex: 1, 2, 4 or 8. Default 2.
    pub features_per_level: u32,
    /// The base-2 logarithm of a level's largest number of entries, 1 to 24. Default 19. Only
    /// [`GridStorage::Hash`] uses it.
    pub log2_hashmap_size: u32,
    /// The number of cells along a side of the first level, at least 1. Default 16.
    pub base_resolution: u32,
    /// The resolution of a level divided by that of the level before, at least 1. The number of cells is rounded.
    /// Default 2.
    pub per_level_scale: f32,
    /// How a level stores the weights of its vertices. Default [`GridStorage::Hash`].
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "is_default"))]
    pub storage: GridStorage,
    /// How the weights are interpolated. Default [`GridInterpolation::Linear`].
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "is_default"))]
    pub interpolation: GridInterpolation,
}

/// How a level of a [`HashGrid`] stores the weights of its vertices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum GridStorage {
    /// An entry for each vertex if the level has at most 2^`log2_hashmap_size` vertices, otherwise a hash table.
    #[default]
    Hash,
    /// An entry for each vertex at every level. No vertices share weights, and the table grows with the resolution to
    /// the power of the number of coordinates.
    Dense,
    /// A tile of `base_resolution` vertices along each axis, repeated over the level like a texture. Vertices at a
    /// distance of a multiple of `base_resolution` share weights.
    ///
    /// tiny-cuda-nn has tables of the same size, but repeats the numbers of the vertices, not the tile.
    Tiled,
}

/// How a [`HashGrid`] interpolates the weights at the corners of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum GridInterpolation {
    /// Linear along each axis. The slope jumps between cells.
    #[default]
    Linear,
    /// The position t in the cell, from 0 to 1 along each axis, is replaced by t² (3 − 2 t). The slope is continuous
    /// and 0 at the vertices, so normals and other gradients of the coordinates have no edges.
    Smoothstep,
    /// The weights of the nearest vertex. The gradient of the coordinates is 0.
    Nearest,
}

#[cfg(feature = "files")]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl GridInterpolation {
    /// The interpolation weight of the far vertex at position t in a cell.
    pub(crate) fn weight(self, t: f32) -> f32 {
        match self {
            Self::Linear => t,
            Self::Smoothstep => t * t * (3.0 - 2.0 * t),
            Self::Nearest => t.round_ties_even(),
        }
    }

    /// The derivative of [`weight`](Self::weight).
    pub(crate) fn slope(self, t: f32) -> f32 {
        match self {
            Self::Linear => 1.0,
            Self::Smoothstep => 6.0 * t * (1.0 - t),
            Self::Nearest => 0.0,
        }
    }
}

impl Default for HashGrid {
    fn default() -> Self {
        Self {
            levels: 16,
            features_per_level: 2,
            log2_hashmap_size: 19,
            base_resolution: 16,
            per_level_scale: 2.0,
            storage: GridStorage::Hash,
            interpolation: GridInterpolation::Linear,
        }
    }
}

impl HashGrid {
    /// Sets [`per_level_scale`](Self::per_level_scale) so that the last level has this number of cells along a side.
    /// Building the network fails if it is less than [`base_resolution`](Self::base_resolution).
    pub fn up_to(self, finest_resolution: u32) -> Self {
        let ratio = f64::from(finest_resolution) / f64::from(self.base_resolution);
        let steps = f64::from(self.levels.max(2) - 1);
        Self { per_level_scale: libm::exp(libm::log(ratio) / steps) as f32, ..self }
    }

    /// The levels for points with this number of coordinates.
    pub(crate) fn levels(&self, dimensions: u32) -> Vec<Level> {
        let mut first = 0;
        (0..self.levels)
            .map(|level| {
                let (entries, mask) = self.entries(level, dimensions);
                let (resolution, side) = (self.resolution(level) as u32, self.side(level) as u32);
                let level = Level { resolution, first, entries: entries as u32, mask, side };
                first += level.entries;
                level
            })
            .collect()
    }

    /// The number of vertices along a side for which a level has entries.
    fn side(&self, level: u32) -> u64 {
        let vertices = self.resolution(level) as u64 + 1;
        if self.storage == GridStorage::Tiled { vertices.min(self.base_resolution.into()) } else { vertices }
    }

    /// The number of entries of a level, padding included, and the mask of its hash.
    fn entries(&self, level: u32, dimensions: u32) -> (u64, u32) {
        let (vertices, most) = (self.side(level).saturating_pow(dimensions), 1u64 << self.log2_hashmap_size);
        let (entries, mask) = match self.storage {
            GridStorage::Hash if vertices > most => (most, most as u32 - 1),
            _ => (vertices.min(LONGEST_TENSOR), 0),
        };
        (entries.next_multiple_of(u64::from(BLOCK / self.features_per_level)), mask)
    }

    /// The number of cells along a side.
    fn resolution(&self, level: u32) -> f64 {
        libm::round(f64::from(self.base_resolution) * libm::pow(self.per_level_scale.into(), level.into()))
    }

    /// Checks the options for points with this number of coordinates.
    pub(super) fn check(&self, what: &str, dimensions: u32) -> Result<()> {
        within("levels of HashGrid", "from 1 to 32", self.levels, 1..=32)?;
        within("log2_hashmap_size of HashGrid", "from 1 to 24", self.log2_hashmap_size, 1..=24)?;
        within("base_resolution of HashGrid", "at least 1", self.base_resolution, 1..=u32::MAX)?;
        let (features, scale) = (self.features_per_level, self.per_level_scale);
        option("features_per_level of HashGrid", "1, 2, 4 or 8", features, [1, 2, 4, 8].contains(&features))?;
        option("per_level_scale of HashGrid", "finite and at least 1", scale, scale.is_finite() && scale >= 1.0)?;
        // An f32 coordinate cannot distinguish more cells than this limit.
        let finest = self.resolution(self.levels - 1);
        if finest > FINEST {
            let what = "finest level of HashGrid".into();
            return Err(Error::LimitExceeded {
                what,
                needed: finest as u64,
                limit: FINEST as u64,
                unit: "cells per side",
            });
        }
        if !(1..=4).contains(&dimensions) {
            return Err(Error::shape(what, "1 to 4 coordinates", dimensions));
        }
        let entries: u64 = (0..self.levels).map(|level| self.entries(level, dimensions).0).sum();
        let (needed, limit) = (entries * u64::from(features), LONGEST_TENSOR);
        match needed <= limit {
            true => Ok(()),
            false => Err(Error::LimitExceeded { what: format!("table of {what}"), needed, limit, unit: "weights" }),
        }
    }
}

const FINEST: f64 = 8_388_608.0;

/// A level starts at a multiple of this number of weights, so a block of the table belongs to one level.
pub(crate) const BLOCK: u32 = 64;

/// A level of a hash grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// The number of cells along a side.
    pub resolution: u32,
    /// The index of its first entry in the table.
    pub first: u32,
    /// The number of entries, padding included.
    pub entries: u32,
    /// The mask of the hash. 0 if the entries are numbered.
    pub mask: u32,
    /// The number of vertices along a side that have numbered entries. They repeat if the level has more vertices.
    pub side: u32,
}

impl Level {
    /// The level as the kernels read it: resolution, first entry, mask, side.
    pub fn words(&self) -> [u32; 4] {
        [self.resolution, self.first, self.mask, self.side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_dense_where_they_fit_and_start_at_blocks() {
        let grid = HashGrid { levels: 4, log2_hashmap_size: 10, ..HashGrid::default() };
        let levels = grid.levels(2);
        let sides: Vec<u32> = levels.iter().map(|l| l.resolution).collect();
        assert_eq!(sides, [16, 32, 64, 128]);
        // 17 × 17 vertices are padded to a multiple of 32 entries of 2 weights. 33 × 33 exceed 1024.
        assert_eq!(levels[0], Level { resolution: 16, first: 0, entries: 320, mask: 0, side: 17 });
        assert_eq!(levels[1], Level { resolution: 32, first: 320, entries: 1024, mask: 1023, side: 33 });
        assert_eq!(levels[3].first, 320 + 2 * 1024);
        // 31 × 31 cells have 32 × 32 vertices, which is exactly the limit.
        let fits = HashGrid { base_resolution: 31, levels: 1, ..grid };
        assert_eq!(fits.levels(2)[0].mask, 0);
        assert_eq!(HashGrid { base_resolution: 32, ..fits }.levels(2)[0].mask, 1023);
        // 8,388,608⁴ does not fit into 64 bits.
        assert_eq!(HashGrid { base_resolution: 1 << 23, ..fits }.levels(4)[0].entries, 1024);
    }

    #[test]
    fn dense_levels_have_all_vertices_and_tiled_levels_have_a_tile() {
        let grid = HashGrid { levels: 3, log2_hashmap_size: 4, storage: GridStorage::Dense, ..HashGrid::default() };
        let of = |grid: HashGrid| grid.levels(2).iter().map(|l| (l.entries, l.mask, l.side)).collect::<Vec<_>>();
        // 17², 33² and 65² vertices, padded to a multiple of 32 entries.
        assert_eq!(of(grid), [(320, 0, 17), (1120, 0, 33), (4256, 0, 65)]);
        let tiled = HashGrid { storage: GridStorage::Tiled, ..grid };
        assert_eq!(of(tiled), [(256, 0, 16), (256, 0, 16), (256, 0, 16)]);
        let large = HashGrid { levels: 12, storage: GridStorage::Dense, ..HashGrid::default() };
        let message = large.check("layer x", 3).unwrap_err().to_string();
        assert!(
            message.starts_with("table of layer x: needs ") && message.ends_with("limit is 1073741824"),
            "{message}"
        );
    }

    #[test]
    fn up_to_ends_at_the_resolution_asked_for() {
        for (levels, finest) in [(16, 512), (8, 512), (12, 2048), (2, 17), (16, 16)] {
            let grid = HashGrid { levels, ..HashGrid::default() }.up_to(finest);
            assert_eq!(grid.levels(2).last().unwrap().resolution, finest);
        }
    }
}

//! Input encodings: map a few coordinates to many features, from which a small network learns fine detail.

use crate::error::{Error, Result};
use crate::optimizer::option;
use crate::shape::LONGEST_TENSOR;

/// An input encoding, usually the first layer of a network.
///
/// [`HashGrid`] encodes all coordinates of a row as one point. The others encode each coordinate separately. The
/// features of a coordinate are adjacent.
///
/// ```
/// use wgrad::{Activation::*, Encoding, HashGrid, Network};
/// // From x and y to red, green and blue.
/// let image = Network::input(2).encoding(HashGrid::default()).dense(64, Relu).dense(3, Identity).build()?;
/// let waves = Encoding::Frequency { frequencies: 12 };
/// let image = Network::input(2).encoding(waves).dense(64, Relu).dense(64, Relu).dense(3, Identity).build()?;
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Encoding {
    /// Identity: scale · x + offset. One feature for each coordinate.
    Identity {
        /// The factor. 1 keeps the coordinate.
        scale: f32,
        /// The number that is added after the multiplication.
        offset: f32,
    },
    /// Frequency encoding (Mildenhall et al., 2020, NeRF): sin(2ᵏ π x) and cos(2ᵏ π x) for k = 0, 1, 2 and so on. Two
    /// features for each frequency.
    Frequency {
        /// The number of frequencies, 1 to 32. 12 is usual.
        frequencies: u32,
    },
    /// Triangle-wave encoding (Müller et al., 2021, neural radiance caching). The wave has the zeros and peaks of
    /// sin(2ᵏ π x) for k = 0, 1, 2 and so on. One feature for each frequency.
    TriangleWave {
        /// The number of frequencies, 1 to 32. 12 is usual.
        frequencies: u32,
    },
    /// One-blob encoding (Müller et al., 2019). Bins divide the interval from 0 to 1. A feature is the integral over
    /// its bin of a kernel around x. The quartic kernel 15/16 (1 − u²)² replaces the Gaussian. It reaches one bin width
    /// to each side.
    OneBlob {
        /// The number of bins, 1 to 1024. 16 is usual.
        bins: u32,
    },
    /// See [`HashGrid`].
    HashGrid(HashGrid),
}

/// A multiresolution hash grid (Müller et al., 2022, Instant NGP).
///
/// Each level is a grid over the unit cube, finer than the level before. Each vertex has a few trained weights. The
/// features of a point are the weights at the corners of its cell, interpolated linearly. The levels' features are
/// concatenated.
///
/// A level with more vertices than `log2_hashmap_size` allows stores its weights in a hash table. Several vertices may
/// then share an entry, and training resolves the collisions.
///
/// It takes 1 to 4 coordinates from 0 to 1. Coordinates outside are clamped. The weights start uniform in ±10⁻⁴. The
/// defaults are those of tiny-cuda-nn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct HashGrid {
    /// The number of levels, 1 to 32. Default 16.
    pub levels: u32,
    /// The number of weights at a vertex: 1, 2 or 4. Default 2.
    pub features_per_level: u32,
    /// The base-2 logarithm of a level's largest number of entries, 1 to 24. Default 19.
    pub log2_hashmap_size: u32,
    /// The number of cells along a side of the first level, at least 1. Default 16.
    pub base_resolution: u32,
    /// The resolution of a level divided by that of the level before, at least 1. The number of cells is rounded.
    /// Default 2.
    pub per_level_scale: f32,
}

impl Default for HashGrid {
    fn default() -> Self {
        Self { levels: 16, features_per_level: 2, log2_hashmap_size: 19, base_resolution: 16, per_level_scale: 2.0 }
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
        let most = 1u64 << self.log2_hashmap_size;
        (0..self.levels)
            .map(|level| {
                let resolution = self.resolution(level) as u32;
                let vertices = (u64::from(resolution) + 1).saturating_pow(dimensions);
                let hashed = vertices > most;
                let entries = vertices.min(most).next_multiple_of(u64::from(BLOCK / self.features_per_level)) as u32;
                let level = Level { resolution, first, entries, mask: if hashed { most as u32 - 1 } else { 0 } };
                first += entries;
                level
            })
            .collect()
    }

    /// The number of cells along a side.
    fn resolution(&self, level: u32) -> f64 {
        libm::round(f64::from(self.base_resolution) * libm::pow(self.per_level_scale.into(), level.into()))
    }

    fn check(&self) -> Result<()> {
        within("levels of HashGrid", "from 1 to 32", self.levels, 1..=32)?;
        within("log2_hashmap_size of HashGrid", "from 1 to 24", self.log2_hashmap_size, 1..=24)?;
        within("base_resolution of HashGrid", "at least 1", self.base_resolution, 1..=u32::MAX)?;
        let (features, scale) = (self.features_per_level, self.per_level_scale);
        option("features_per_level of HashGrid", "1, 2 or 4", features, [1, 2, 4].contains(&features))?;
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
        Ok(())
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
    /// The mask of the hash. 0 if every vertex has its own entry.
    pub mask: u32,
}

impl Level {
    /// The level as the kernels read it: resolution, first entry, mask.
    pub fn words(&self) -> [u32; 4] {
        [self.resolution, self.first, self.mask, 0]
    }
}

from_variants!(Encoding: HashGrid);

impl Encoding {
    /// The first part of the layer's default name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Encoding::Identity { .. } => "identity",
            Encoding::Frequency { .. } => "frequency",
            Encoding::TriangleWave { .. } => "triangle_wave",
            Encoding::OneBlob { .. } => "one_blob",
            Encoding::HashGrid(_) => "hash_grid",
        }
    }

    /// The number of features for each coordinate. For a hash grid, for each point.
    pub(crate) fn features(&self) -> u32 {
        match *self {
            Encoding::Identity { .. } => 1,
            Encoding::Frequency { frequencies } => 2 * frequencies,
            Encoding::TriangleWave { frequencies } => frequencies,
            Encoding::OneBlob { bins } => bins,
            Encoding::HashGrid(grid) => grid.levels * grid.features_per_level,
        }
    }

    /// The number of features for this number of coordinates. Returns an error if the encoding cannot take them.
    pub(super) fn outputs(&self, what: &str, coordinates: u32) -> Result<u32> {
        match *self {
            Encoding::Identity { scale, offset } => {
                option("scale of Encoding::Identity", "finite", scale, scale.is_finite())?;
                option("offset of Encoding::Identity", "finite", offset, offset.is_finite())?;
            }
            Encoding::Frequency { frequencies } | Encoding::TriangleWave { frequencies } => {
                within("frequencies of an encoding", "from 1 to 32", frequencies, 1..=32)?;
            }
            Encoding::OneBlob { bins } => within("bins of Encoding::OneBlob", "from 1 to 1024", bins, 1..=1024)?,
            Encoding::HashGrid(grid) => {
                grid.check()?;
                if coordinates > 4 {
                    return Err(Error::shape(what, "1 to 4 coordinates", coordinates));
                }
                return Ok(self.features());
            }
        }
        let limit = LONGEST_TENSOR;
        let needed = u64::from(coordinates) * u64::from(self.features());
        match needed <= limit {
            true => Ok(needed as u32),
            false => Err(Error::LimitExceeded { what: format!("outputs of {what}"), needed, limit, unit: "features" }),
        }
    }
}

fn within(name: &'static str, expected: &'static str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<()> {
    option(name, expected, value, range.contains(&value))
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
        assert_eq!(levels[0], Level { resolution: 16, first: 0, entries: 320, mask: 0 });
        assert_eq!(levels[1], Level { resolution: 32, first: 320, entries: 1024, mask: 1023 });
        assert_eq!(levels[3].first, 320 + 2 * 1024);
        // 31 × 31 cells have 32 × 32 vertices, which is exactly the limit.
        let fits = HashGrid { base_resolution: 31, levels: 1, ..grid };
        assert_eq!(fits.levels(2)[0].mask, 0);
        assert_eq!(HashGrid { base_resolution: 32, ..fits }.levels(2)[0].mask, 1023);
        // 8,388,608⁴ does not fit into 64 bits.
        assert_eq!(HashGrid { base_resolution: 1 << 23, ..fits }.levels(4)[0].entries, 1024);
    }

    #[test]
    fn up_to_ends_at_the_resolution_asked_for() {
        for (levels, finest) in [(16, 512), (8, 512), (12, 2048), (2, 17), (16, 16)] {
            let grid = HashGrid { levels, ..HashGrid::default() }.up_to(finest);
            assert_eq!(grid.levels(2).last().unwrap().resolution, finest);
        }
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let grid = HashGrid::default();
        let bad: [(Encoding, &str); 9] = [
            (
                Encoding::Identity { scale: f32::NAN, offset: 0.0 },
                "scale of Encoding::Identity must be finite, got NaN",
            ),
            (Encoding::Frequency { frequencies: 0 }, "frequencies of an encoding must be from 1 to 32, got 0"),
            (Encoding::TriangleWave { frequencies: 33 }, "frequencies of an encoding must be from 1 to 32, got 33"),
            (Encoding::OneBlob { bins: 0 }, "bins of Encoding::OneBlob must be from 1 to 1024, got 0"),
            (HashGrid { levels: 0, ..grid }.into(), "levels of HashGrid must be from 1 to 32, got 0"),
            (
                HashGrid { features_per_level: 3, ..grid }.into(),
                "features_per_level of HashGrid must be 1, 2 or 4, got 3",
            ),
            (
                HashGrid { log2_hashmap_size: 25, ..grid }.into(),
                "log2_hashmap_size of HashGrid must be from 1 to 24, got 25",
            ),
            (
                HashGrid { per_level_scale: 0.5, ..grid }.into(),
                "per_level_scale of HashGrid must be finite and at least 1, got 0.5",
            ),
            (
                HashGrid { levels: 32, ..grid }.into(),
                "finest level of HashGrid: needs 34359738368 cells per side, but the limit is 8388608",
            ),
        ];
        for (encoding, message) in bad {
            assert_eq!(encoding.outputs("x", 2).unwrap_err().to_string(), message);
        }
        let message = Encoding::from(grid).outputs("layer hash_grid_1", 5).unwrap_err().to_string();
        assert_eq!(message, "layer hash_grid_1: expected 1 to 4 coordinates, got 5");
    }
}

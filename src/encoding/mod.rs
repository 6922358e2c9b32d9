//! Input encodings: map a few coordinates to many features, from which a small network learns fine detail.

mod hash_grid;

use std::ops::Range;

use crate::error::{Error, Result};
use crate::optimizer::option;
use crate::shape::LONGEST_TENSOR;
pub(crate) use hash_grid::{BLOCK, Level};
pub use hash_grid::{GridInterpolation, GridStorage, HashGrid};

/// An input encoding, usually the first layer of a network.
///
/// [`HashGrid`] encodes all coordinates of a row as one point. `SphericalHarmonics` encodes three coordinates as a
/// direction. The others encode each coordinate separately. The features of a coordinate are adjacent.
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
    /// Real spherical harmonics (Sloan, 2008, "Stupid Spherical Harmonics Tricks"), for directions. Each 3 coordinates
    /// x, y and z are a direction of length 1, with coordinates from −1 to 1. It has degree² features.
    ///
    /// Feature l² + l + m is the harmonic of degree l, below `degree`, and of order m, from −l to l. The harmonics are
    /// orthonormal over the unit sphere. Those of odd m have the sign of Condon and Shortley. The features are
    /// polynomials of the coordinates, and their gradient is that of the polynomials. The direction is not normalised.
    ///
    /// tiny-cuda-nn has the same features in the same order, but takes (x + 1) / 2 in place of x, and the same for y
    /// and z.
    SphericalHarmonics {
        /// The number of degrees, 1 to 8. 4 is usual.
        degree: u32,
    },
    /// See [`HashGrid`].
    HashGrid(HashGrid),
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
            Encoding::SphericalHarmonics { .. } => "spherical_harmonics",
            Encoding::HashGrid(_) => "hash_grid",
        }
    }

    /// The number of coordinates that are encoded together. Hash grids encode all coordinates of a row together.
    pub(crate) fn group(&self) -> u32 {
        if matches!(self, Encoding::SphericalHarmonics { .. }) { 3 } else { 1 }
    }

    /// The number of features for each group of coordinates. For a hash grid, for each point.
    pub(crate) fn features(&self) -> u32 {
        match *self {
            Encoding::Identity { .. } => 1,
            Encoding::Frequency { frequencies } => 2 * frequencies,
            Encoding::TriangleWave { frequencies } => frequencies,
            Encoding::OneBlob { bins } => bins,
            Encoding::SphericalHarmonics { degree } => degree * degree,
            Encoding::HashGrid(grid) => grid.levels * grid.features_per_level,
        }
    }

    /// The number of features for this number of coordinates, which the encoding can take.
    pub(crate) fn features_of(&self, coordinates: u32) -> u32 {
        match self {
            Encoding::HashGrid(_) => self.features(),
            _ => coordinates / self.group() * self.features(),
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
            Encoding::SphericalHarmonics { degree } => {
                within("degree of Encoding::SphericalHarmonics", "from 1 to 8", degree, 1..=8)?;
                if !coordinates.is_multiple_of(3) {
                    return Err(Error::shape(what, "3 coordinates for each direction", coordinates));
                }
            }
            Encoding::HashGrid(grid) => {
                grid.check(what, coordinates)?;
                return Ok(self.features());
            }
        }
        let limit = LONGEST_TENSOR;
        let needed = u64::from(coordinates / self.group()) * u64::from(self.features());
        match needed <= limit {
            true => Ok(needed as u32),
            false => Err(Error::LimitExceeded { what: format!("outputs of {what}"), needed, limit, unit: "features" }),
        }
    }
}

/// The encodings of parts of a row, each with its columns of the coordinates and of the features.
pub(crate) fn columns(parts: &[(u32, Encoding)]) -> impl Iterator<Item = (Encoding, Range<u32>, Range<u32>)> {
    let mut ends = [0; 2];
    parts.iter().map(move |&(coordinates, encoding)| {
        let starts = ends;
        ends = [starts[0] + coordinates, starts[1] + encoding.features_of(coordinates)];
        (encoding, starts[0]..ends[0], starts[1]..ends[1])
    })
}

fn within(name: &'static str, expected: &'static str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<()> {
    option(name, expected, value, range.contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let grid = HashGrid::default();
        let bad: [(Encoding, &str); 10] = [
            (
                Encoding::Identity { scale: f32::NAN, offset: 0.0 },
                "scale of Encoding::Identity must be finite, got NaN",
            ),
            (Encoding::Frequency { frequencies: 0 }, "frequencies of an encoding must be from 1 to 32, got 0"),
            (Encoding::TriangleWave { frequencies: 33 }, "frequencies of an encoding must be from 1 to 32, got 33"),
            (Encoding::OneBlob { bins: 0 }, "bins of Encoding::OneBlob must be from 1 to 1024, got 0"),
            (
                Encoding::SphericalHarmonics { degree: 9 },
                "degree of Encoding::SphericalHarmonics must be from 1 to 8, got 9",
            ),
            (HashGrid { levels: 0, ..grid }.into(), "levels of HashGrid must be from 1 to 32, got 0"),
            (
                HashGrid { features_per_level: 3, ..grid }.into(),
                "features_per_level of HashGrid must be 1, 2, 4 or 8, got 3",
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
        let message = Encoding::SphericalHarmonics { degree: 4 }.outputs("layer x", 4).unwrap_err().to_string();
        assert_eq!(message, "layer x: expected 3 coordinates for each direction, got 4");
    }
}

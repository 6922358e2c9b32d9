//! Weight initialisers.

use crate::error::Result;
use crate::optimizer::{above_zero, option};
use crate::orthogonal::orthonormal;
use crate::random::{self, Stream};

/// A weight initialiser. The host draws the numbers, so every device starts from the same bits. They depend only on the
/// seed and on the position of the tensor in the network.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Init {
    /// Zeros. The default for biases.
    Zeros,
    /// A constant.
    Constant(f32),
    /// Uniform in ±bound.
    Uniform {
        /// The largest magnitude.
        bound: f32,
    },
    /// Normal with mean 0 and this standard deviation.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010). The default here for sigmoid, tanh and
    /// identity. Keras' default for dense layers.
    #[default]
    GlorotUniform,
    /// Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).
    GlorotNormal,
    /// Uniform in ±√(6 / fan_in) (He et al., 2015). The default here for relu.
    HeUniform,
    /// Normal with variance 2 / fan_in (He et al., 2015). Not truncated.
    HeNormal,
    /// Uniform in ±√(3 / fan_in) (LeCun et al., 1998).
    LecunUniform,
    /// Normal with variance 1 / fan_in (LeCun et al., 1998). The default here for selu.
    LecunNormal,
    /// Uniform in ±√(6 / fan_in) / frequency (Sitzmann et al., 2020, SIREN), for layers after a sine layer with this
    /// frequency. The default here for sine. The paper's first layer has `Uniform` with bound 1 / fan_in instead.
    Siren {
        /// The frequency of the layers' sine, above 0. The paper has 30.
        frequency: f32,
    },
    /// Orthogonal (Saxe et al., 2014): the rows are orthonormal, or the columns if there are fewer columns. A row of a
    /// weight is the weights of one input. A bias becomes a random vector of length 1.
    Orthogonal,
}

impl Init {
    /// Checks the number, if there is one.
    pub(crate) fn check(self) -> Result<()> {
        let (name, value) = match self {
            Init::Constant(value) => ("value of Init::Constant", value),
            Init::Uniform { bound } => ("bound of Init::Uniform", bound),
            Init::Normal { std } => ("std of Init::Normal", std),
            Init::Siren { frequency } => return above_zero("frequency of Init::Siren", frequency),
            _ => return Ok(()),
        };
        option(name, "finite", value, value.is_finite())
    }

    /// Fills `values` with the weights of tensor number `tensor`. `row` is the length of a row.
    pub(crate) fn fill(self, values: &mut [f32], row: u32, [fan_in, fan_out]: [u32; 2], seed: u64, tensor: u32) {
        let (fan_in, fan_out) = (f64::from(fan_in), f64::from(fan_out));
        let draw = |index: usize| random::uniform(seed, Stream::Weights, tensor, index as u32);
        let mut uniform = |bound: f64| {
            for (i, value) in values.iter_mut().enumerate() {
                *value = ((2.0 * draw(i) - 1.0) * bound) as f32;
            }
        };
        let std = match self {
            Init::Zeros => return values.fill(0.0),
            Init::Constant(value) => return values.fill(value),
            Init::Orthogonal => return orthogonal(values, row as usize, draw),
            Init::Uniform { bound } => return uniform(bound.into()),
            Init::LecunUniform => return uniform((3.0 / fan_in).sqrt()),
            Init::LecunNormal => (1.0 / fan_in).sqrt(),
            Init::GlorotUniform => return uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::HeUniform => return uniform((6.0 / fan_in).sqrt()),
            Init::Siren { frequency } => return uniform((6.0 / fan_in).sqrt() / f64::from(frequency)),
            Init::Normal { std } => f64::from(std),
            Init::GlorotNormal => (2.0 / (fan_in + fan_out)).sqrt(),
            Init::HeNormal => (2.0 / fan_in).sqrt(),
        };
        for (i, value) in values.iter_mut().enumerate() {
            *value = (random::normal_quantile(draw(i)) * std) as f32;
        }
    }
}

/// Orthonormal rows, or columns if there are fewer columns.
fn orthogonal(values: &mut [f32], columns: usize, draw: impl Fn(usize) -> f64) {
    let rows = values.len() / columns;
    let (count, length) = (rows.min(columns), rows.max(columns));
    let basis = orthonormal(count, length, |i, j| random::normal_quantile(draw(i * length + j)));
    for (i, value) in values.iter_mut().enumerate() {
        let (row, column) = (i / columns, i % columns);
        *value = if rows <= columns { basis[i] } else { basis[column * length + row] } as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_or_columns_have_length_one_and_no_overlap() {
        for (rows, columns) in [(7usize, 7usize), (40, 9), (9, 40), (1, 16), (33, 33), (130, 67), (64, 129), (1, 1)] {
            let mut w = vec![f32::NAN; rows * columns];
            Init::Orthogonal.fill(&mut w, columns as u32, [rows as u32, columns as u32], 3, 1);
            let (count, length) = (rows.min(columns), rows.max(columns));
            let at =
                |i: usize, j: usize| f64::from(if rows <= columns { w[i * columns + j] } else { w[j * columns + i] });
            for i in 0..count {
                for k in 0..=i {
                    let dot: f64 = (0..length).map(|j| at(i, j) * at(k, j)).sum();
                    // Each of the `length` products has two roundings to f32.
                    let bound = length as f64 * 2.0 * f64::from(f32::EPSILON);
                    assert!((dot - f64::from(u8::from(i == k))).abs() < bound, "{rows}x{columns} {i} {k}: {dot}");
                }
            }
        }
    }

    /// A uniform orthogonal matrix of 3 rows has a trace with mean 0 and variance 1 (Diaconis and Mallows, 1986). Its
    /// determinant is 1 or −1 with equal probability.
    #[test]
    fn orthogonal_matrices_are_uniform() {
        let n = 4000;
        let (mut trace, mut squares, mut determinant) = (0.0, 0.0, 0.0);
        for seed in 0..n {
            let mut w = [0.0; 9];
            Init::Orthogonal.fill(&mut w, 3, [3, 3], seed, 0);
            let [a, b, c, d, e, f, g, h, i] = w.map(f64::from);
            trace += a + e + i;
            squares += (a + e + i).powi(2);
            determinant += a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
        }
        let n = n as f64;
        // Five standard errors. A square of at most 9 with mean 1 has a variance of at most 8.
        let bound = 5.0 / n.sqrt();
        assert!((trace / n).abs() < bound, "trace {}", trace / n);
        assert!((determinant / n).abs() < bound, "determinant {}", determinant / n);
        assert!((squares / n - 1.0).abs() < bound * 8f64.sqrt(), "squared trace {}", squares / n);
    }

    #[test]
    fn each_initialiser_has_the_variance_of_its_formula() {
        let (fan_in, fan_out) = (300u32, 100u32);
        let n = (fan_in * fan_out) as usize;
        let cases = [
            (Init::Zeros, 0.0),
            (Init::Normal { std: 0.3 }, 0.09),
            (Init::GlorotUniform, 2.0 / 400.0),
            (Init::GlorotNormal, 2.0 / 400.0),
            (Init::HeUniform, 2.0 / 300.0),
            (Init::HeNormal, 2.0 / 300.0),
            (Init::Siren { frequency: 2.0 }, 2.0 / 300.0 / 4.0),
            (Init::LecunUniform, 1.0 / 300.0),
            (Init::LecunNormal, 1.0 / 300.0),
            (Init::Uniform { bound: 0.3 }, 0.03),
        ];
        for (init, variance) in cases {
            let mut w = vec![f32::NAN; n];
            init.fill(&mut w, fan_out, [fan_in, fan_out], 42, 0);
            let mean = w.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let actual = w.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            // Five standard errors. The sample variance of n normal numbers has the standard error var·√(2/n).
            assert!(mean.abs() <= 5.0 * (variance / n as f64).sqrt(), "{init:?}: mean {mean}");
            assert!((actual - variance).abs() <= 5.0 * variance * (2.0 / n as f64).sqrt(), "{init:?}: {actual}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_does_not() {
        let weights = |seed, tensor| {
            let mut w = [0.0; 64];
            Init::HeNormal.fill(&mut w, 8, [8, 8], seed, tensor);
            w.map(f32::to_bits)
        };
        assert_eq!(weights(1, 0), weights(1, 0));
        assert_ne!(weights(1, 0), weights(2, 0));
        assert_ne!(weights(1, 0), weights(1, 1));
    }
}

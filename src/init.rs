//! Initialisers: how a weight starts.

use crate::random::{self, Stream};

/// How a tensor of weights is filled at the start. The numbers depend on the seed and on the tensor's place in the
/// network only, and are drawn on the host, so every device starts from the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Init {
    /// All zeros. The default for biases.
    Zeros,
    /// Normal with mean 0 and this standard deviation.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)): Glorot and Bengio, 2010. Keras' default for a dense layer, and the
    /// default here for sigmoid, tanh and identity.
    #[default]
    GlorotUniform,
    /// Normal with variance 2 / (fan_in + fan_out): Glorot and Bengio, 2010.
    GlorotNormal,
    /// Uniform in ±√(6 / fan_in): He et al., 2015. The default here for relu.
    HeUniform,
    /// Normal with variance 2 / fan_in: He et al., 2015. Not truncated.
    HeNormal,
}

impl Init {
    /// Fills `values`, the weights of tensor number `tensor`.
    pub(crate) fn fill(self, values: &mut [f32], fan_in: u32, fan_out: u32, seed: u64, tensor: u32) {
        let (fan_in, fan_out) = (f64::from(fan_in), f64::from(fan_out));
        let draw = |index: usize| random::uniform(seed, Stream::Weights, tensor, index as u32);
        let mut uniform = |bound: f64| {
            for (i, value) in values.iter_mut().enumerate() {
                *value = ((2.0 * draw(i) - 1.0) * bound) as f32;
            }
        };
        let std = match self {
            Init::Zeros => return values.fill(0.0),
            Init::GlorotUniform => return uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::HeUniform => return uniform((6.0 / fan_in).sqrt()),
            Init::Normal { std } => f64::from(std),
            Init::GlorotNormal => (2.0 / (fan_in + fan_out)).sqrt(),
            Init::HeNormal => (2.0 / fan_in).sqrt(),
        };
        for (i, value) in values.iter_mut().enumerate() {
            *value = (random::normal_quantile(draw(i)) * std) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ];
        for (init, variance) in cases {
            let mut w = vec![f32::NAN; n];
            init.fill(&mut w, fan_in, fan_out, 42, 0);
            let mean = w.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let actual = w.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            // Five standard errors; the sample variance of n normal numbers has standard error var·√(2/n).
            assert!(mean.abs() <= 5.0 * (variance / n as f64).sqrt(), "{init:?}: mean {mean}");
            assert!((actual - variance).abs() <= 5.0 * variance * (2.0 / n as f64).sqrt(), "{init:?}: {actual}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_does_not() {
        let weights = |seed, tensor| {
            let mut w = [0.0; 64];
            Init::HeNormal.fill(&mut w, 8, 8, seed, tensor);
            w.map(f32::to_bits)
        };
        assert_eq!(weights(1, 0), weights(1, 0));
        assert_ne!(weights(1, 0), weights(2, 0));
        assert_ne!(weights(1, 0), weights(1, 1));
    }
}

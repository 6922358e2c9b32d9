//! Counter-based random numbers. A number depends only on (seed, stream, index). So the CPU, every GPU and a browser
//! draw the same numbers, in any order.

/// The purpose of random numbers that [`uniform`] draws. Purposes have separate streams, so they do not shift each
/// other's numbers. The shuffle in `next_batch` has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Initial weights. The tensor is the index in the network.
    Weights = 1,
    /// The order of rows before a split.
    Split = 2,
    /// Random pixels of a texture, in the second word of a key: `shaders/from_texture_random.wgsl.in`.
    Texels = 3,
    /// The windows of an epoch over a data set that is larger than the device's window. The tensor is the epoch.
    Windows = 4,
    /// Positions of crops, in the second word of a key: `shaders/from_texture_crops.wgsl.in`.
    Crops = 6,
    /// Data for the check of a layer. The tensor selects the data.
    #[cfg(not(target_family = "wasm"))]
    Check = 5,
}

/// The hash pcg4d: four mixed words from four. Source: Jarzynski and Olano, "Hash Functions for GPU Rendering", Journal
/// of Computer Graphics Techniques 9(3), 2020. `shaders/shared/pcg4d.wgsl` has the same function.
pub(crate) fn pcg4d(v: [u32; 4]) -> [u32; 4] {
    let mut v = v.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    mix(&mut v);
    v = v.map(|x| x ^ (x >> 16));
    mix(&mut v);
    v
}

/// A uniform number in the open interval (0, 1), in steps of 2⁻³².
pub(crate) fn uniform(seed: u64, stream: Stream, tensor: u32, index: u32) -> f64 {
    // The stream is in the low byte. So 2²⁴ tensors can each have 2³² numbers.
    let bits = pcg4d([seed as u32, (seed >> 32) as u32, tensor << 8 | stream as u32, index])[0];
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// The quantile function of the standard normal distribution, for 0 < p < 1.
///
/// It makes two Newton steps on the distribution function, from a rational first approximation (Abramowitz and Stegun
/// 26.2.23). `libm` gives the same bits on every platform. The system's own functions may differ.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p);
    let t = libm::sqrt(-2.0 * libm::log(tail));
    let numerator = 2.515517 + t * (0.802853 + t * 0.010328);
    let denominator = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308));
    let mut z = t - numerator / denominator; // upper tail: P(Z > z) = tail
    for _ in 0..2 {
        let above = 0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2);
        let density = libm::exp(-0.5 * z * z) / libm::sqrt(2.0 * std::f64::consts::PI);
        z += (above - tail) / density;
    }
    if p < 0.5 { -z } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_matches_tabulated_values() {
        // Standard tables of the normal distribution.
        for (p, z) in [(0.5, 0.0), (0.975, 1.959963984540054), (0.0227501319481792, -2.0), (1e-9, -5.997807015)] {
            assert!((normal_quantile(p) - z).abs() < 1e-7, "{p}: {} is not {z}", normal_quantile(p));
        }
    }

    #[test]
    fn uniform_numbers_fill_the_interval_evenly_and_streams_differ() {
        let n = 100_000;
        let draw = |tensor| (0..n).map(move |i| uniform(7, Stream::Weights, tensor, i));
        let mean = draw(0).sum::<f64>() / f64::from(n);
        // Five standard errors of the mean of n uniform numbers.
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0f64 / f64::from(n)).sqrt());
        assert!(draw(0).all(|x| 0.0 < x && x < 1.0));
        assert!(draw(0).zip(draw(1)).filter(|(a, b)| a == b).count() < 3);
    }
}

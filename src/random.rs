//! Counter-based random numbers: a number is a function of (seed, stream, index) and of nothing else, so the CPU,
//! every GPU and a browser draw the same ones, in any order.

/// What a number is drawn for, where [`uniform`] draws it. Each purpose has a stream of its own, so that none shifts
/// another's numbers. (The shuffle hashes with keys of its own: `next_batch`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Initial weights: index 0 is the first tensor's stream, and so on.
    Weights = 1,
    /// The order of rows before a split.
    Split = 2,
    /// Points of a texture, in the second word of a key: `shaders/from_texture_random.wgsl.in`.
    Texels = 3,
    /// The windows of an epoch over data that are not on the device as a whole; the tensor is the epoch.
    Windows = 4,
    /// Places of crops, in the second word of a key: `shaders/from_texture_crops.wgsl.in`.
    Crops = 6,
    /// Data for the check of a layer; the tensor says which.
    #[cfg(not(target_family = "wasm"))]
    Check = 5,
}

/// The hash pcg4d: four mixed words from four. Source: Jarzynski and Olano, "Hash Functions for GPU Rendering",
/// Journal of Computer Graphics Techniques 9(3), 2020. `shaders/shared/pcg4d.wgsl` has the same function.
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

/// A uniform number in the open interval (0, 1), in steps of 2^-32.
pub(crate) fn uniform(seed: u64, stream: Stream, tensor: u32, index: u32) -> f64 {
    // The stream sits in the low byte, so 2^24 tensors can each have 2^32 numbers.
    let bits = pcg4d([seed as u32, (seed >> 32) as u32, tensor << 8 | stream as u32, index])[0];
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// The quantile of the standard normal distribution: the z below which lies a share `p` of it, 0 < p < 1.
///
/// Two Newton steps on the distribution function, from a rational first guess (Abramowitz and Stegun 26.2.23).
/// `libm` computes the same bits on every platform, which the system's own mathematics does not promise.
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

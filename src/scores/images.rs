//! Image quality metrics: PSNR and SSIM.

use crate::error::{Error, Result};

/// Side of the window of [`ssim`], in pixels.
const WINDOW: usize = 11;

/// PSNR (peak signal-to-noise ratio) of an image against a reference, in decibels: 10 · log₁₀(peak² / mean squared
/// error). Infinite for equal images.
///
/// `peak` is the largest possible pixel value: 1 for numbers from 0 to 1, 255 for bytes.
///
/// ```
/// let (image, reference) = ([0.5, 0.25, 0.75, 1.0], [0.5, 0.35, 0.65, 1.0]);
/// assert!((wgrad::psnr(&image, &reference, 1.0)? - 23.01).abs() < 0.01);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the images are empty or have different lengths, or `peak` is not finite and above 0.
pub fn psnr(image: &[f32], reference: &[f32], peak: f32) -> Result<f64> {
    check(image, reference, reference.len().max(1), peak)?;
    let squares = image.iter().zip(reference).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
    Ok(10.0 * libm::log10(f64::from(peak).powi(2) / super::mean(squares)))
}

/// SSIM (structural similarity) of an image against a reference: 1 for equal images, less for others. Both are
/// row-major \[height, width, channels\]; `peak` is as for [`psnr`].
///
/// The formula is that of Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
/// Structural Similarity", IEEE Transactions on Image Processing 13(4), 2004. It uses a Gaussian window of 11 · 11
/// pixels with a standard deviation of 1.5, K₁ = 0.01 and K₂ = 0.03. The result is the mean over all windows inside
/// the image, and over the channels.
///
/// ```
/// let image: Vec<f32> = (0..12 * 16 * 3).map(|i| (i % 7) as f32 / 7.0).collect();
/// assert_eq!(wgrad::ssim(&image, &image, [12, 16, 3], 1.0)?, 1.0);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the images do not have this shape or are smaller than 11 · 11 pixels, or `peak` is not finite
/// and above 0.
pub fn ssim(image: &[f32], reference: &[f32], shape: [usize; 3], peak: f32) -> Result<f64> {
    let [height, width, channels] = shape;
    if height < WINDOW || width < WINDOW || channels == 0 {
        let expected = format!("at least {WINDOW} rows and columns, and 1 channel");
        return Err(Error::shape("images for SSIM", expected, format!("{shape:?}")));
    }
    check(image, reference, height.saturating_mul(width).saturating_mul(channels), peak)?;
    let [c1, c2] = [0.01, 0.03].map(|k: f64| (k * f64::from(peak)).powi(2));
    let window = gaussian();
    let plane = |image: &[f32], channel: usize| -> Vec<f64> {
        image.iter().skip(channel).step_by(channels).copied().map(f64::from).collect()
    };
    let mean_of = |x: &[f64], y: &[f64]| {
        let products: Vec<f64> = x.iter().zip(y).map(|(x, y)| x * y).collect();
        blurred(&products, width, &window)
    };
    let of_channel = |channel: usize| {
        let (x, y) = (plane(image, channel), plane(reference, channel));
        let (mean_x, mean_y) = (blurred(&x, width, &window), blurred(&y, width, &window));
        let (xx, yy, xy) = (mean_of(&x, &x), mean_of(&y, &y), mean_of(&x, &y));
        super::mean((0..xx.len()).map(|i| {
            let (x, y) = (mean_x[i], mean_y[i]);
            let (variances, covariance) = (xx[i] - x * x + (yy[i] - y * y), xy[i] - x * y);
            (2.0 * x * y + c1) * (2.0 * covariance + c2) / ((x * x + y * y + c1) * (variances + c2))
        }))
    };
    Ok(super::mean((0..channels).map(of_channel)))
}

/// The weights of a line of the window; they sum to 1.
fn gaussian() -> [f64; WINDOW] {
    let weights: [f64; WINDOW] =
        std::array::from_fn(|i| libm::exp(-(i as f64 - (WINDOW / 2) as f64).powi(2) / (2.0 * 1.5 * 1.5)));
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// Weighted means of the windows inside a plane, along lines and then along columns.
fn blurred(plane: &[f64], width: usize, window: &[f64; WINDOW]) -> Vec<f64> {
    let along = |line: &[f64]| line.iter().zip(window).map(|(x, weight)| x * weight).sum();
    let lines: Vec<f64> = plane.chunks_exact(width).flat_map(|line| line.windows(WINDOW).map(along)).collect();
    let width = width + 1 - WINDOW;
    let down = |i: usize| (0..WINDOW).map(|k| lines[i + k * width] * window[k]).sum();
    (0..lines.len() - (WINDOW - 1) * width).map(down).collect()
}

fn check(image: &[f32], reference: &[f32], numbers: usize, peak: f32) -> Result<()> {
    for (what, given) in [("image", image), ("reference", reference)] {
        if given.len() != numbers {
            return Err(Error::shape(format!("{what} to compare"), format!("{numbers} numbers"), given.len()));
        }
    }
    match peak.is_finite() && peak > 0.0 {
        true => Ok(()),
        false => Err(Error::shape("peak of images to compare", "a finite number above 0", peak)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 without a pattern.
    fn noise(seed: u32, count: usize) -> Vec<f32> {
        (0..count as u32).map(|i| crate::random::pcg4d([i, seed, 0, 0])[0] as f32 / u32::MAX as f32).collect()
    }

    #[test]
    fn psnr_is_ten_for_each_tenth_of_the_squared_error() {
        let reference = noise(1, 300);
        let off = |error: f32| -> Vec<f32> { reference.iter().map(|y| y + error).collect() };
        for (error, decibels) in [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)] {
            // The sums have an error of 2^-24, and the image's error is at least 2^-7.
            assert!((psnr(&off(error), &reference, 1.0).unwrap() - decibels).abs() < 1e-4);
        }
        assert_eq!(psnr(&reference, &reference, 1.0).unwrap(), f64::INFINITY);
        assert!((psnr(&[255.0], &[0.0], 255.0).unwrap()).abs() < 1e-12);
        assert!(psnr(&[f32::NAN], &[0.0], 1.0).unwrap().is_nan());
    }

    /// Computed by the definition: each window's weighted moments in two dimensions, about its own means.
    fn by_definition(image: &[f32], reference: &[f32], [height, width, channels]: [usize; 3], peak: f64) -> f64 {
        let weight = |i: usize, j: usize| {
            let off = (i as f64 - 5.0).powi(2) + (j as f64 - 5.0).powi(2);
            (-off / 4.5).exp()
        };
        let places: Vec<(usize, usize)> = (0..121).map(|i| (i / 11, i % 11)).collect();
        let all: f64 = places.iter().map(|&(i, j)| weight(i, j)).sum();
        let mut windows = Vec::new();
        for (channel, top, left) in (0..channels)
            .flat_map(|c| (0..=height - 11).flat_map(move |top| (0..=width - 11).map(move |left| (c, top, left))))
        {
            let at = |image: &[f32], i, j| f64::from(image[((top + i) * width + left + j) * channels + channel]);
            let mean = |f: &dyn Fn(usize, usize) -> f64| {
                places.iter().map(|&(i, j)| weight(i, j) / all * f(i, j)).sum::<f64>()
            };
            let (x, y) = (mean(&|i, j| at(image, i, j)), mean(&|i, j| at(reference, i, j)));
            let xx = mean(&|i, j| (at(image, i, j) - x).powi(2));
            let yy = mean(&|i, j| (at(reference, i, j) - y).powi(2));
            let xy = mean(&|i, j| (at(image, i, j) - x) * (at(reference, i, j) - y));
            let (c1, c2) = ((0.01 * peak).powi(2), (0.03 * peak).powi(2));
            windows.push((2.0 * x * y + c1) * (2.0 * xy + c2) / ((x * x + y * y + c1) * (xx + yy + c2)));
        }
        windows.iter().sum::<f64>() / windows.len() as f64
    }

    #[test]
    fn ssim_is_what_its_definition_says() {
        for shape in [[11, 11, 1], [11, 17, 3], [19, 12, 2]] {
            let count = shape.iter().product();
            let (image, other) = (noise(2, count), noise(3, count));
            let mixed: Vec<f32> = image.iter().zip(&other).map(|(x, y)| 0.8 * x + 0.2 * y).collect();
            for (a, b) in [(&image, &other), (&mixed, &image)] {
                for peak in [1.0, 2.0] {
                    let (actual, expected) =
                        (ssim(a, b, shape, peak).unwrap(), by_definition(a, b, shape, peak.into()));
                    // Both sides use f64. E x² − (E x)² loses digits compared with C₂ of 9·10⁻⁴.
                    assert!((actual - expected).abs() < 1e-10, "{shape:?}: {actual} {expected}");
                }
            }
            assert_eq!(ssim(&image, &image, shape, 1.0).unwrap(), 1.0);
        }
    }

    #[test]
    fn images_that_cannot_be_compared_are_refused() {
        let of = |result: Result<f64>| result.unwrap_err().to_string();
        assert_eq!(of(psnr(&[1.0], &[1.0; 2], 1.0)), "image to compare: expected 2 numbers, got 1");
        assert_eq!(of(psnr(&[], &[], 1.0)), "image to compare: expected 1 numbers, got 0");
        assert_eq!(of(psnr(&[1.0], &[1.0], 0.0)), "peak of images to compare: expected a finite number above 0, got 0");
        let small = of(ssim(&[0.0; 110], &[0.0; 110], [11, 10, 1], 1.0));
        assert_eq!(small, "images for SSIM: expected at least 11 rows and columns, and 1 channel, got [11, 10, 1]");
        let short = of(ssim(&[0.0; 121], &[0.0; 120], [11, 11, 1], 1.0));
        assert_eq!(short, "reference to compare: expected 121 numbers, got 120");
    }
}

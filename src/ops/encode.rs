//! Encodings that act on each coordinate separately.

use std::f64::consts::PI;

use super::*;
use crate::encoding::Encoding;

/// An encoding of each coordinate, the gradient of the encoding, or the tangent of its features.
#[derive(Debug, Clone, PartialEq)]
pub struct Encode {
    /// The encoding. Hash grids have their own ops.
    pub encoding: Encoding,
    /// \[rows, coordinates\].
    pub x: Tensor,
    /// For the gradient: dy, \[rows, coordinates · features\].
    pub gradient: Option<Tensor>,
    /// For the tangent: that of x, \[rows, coordinates\].
    pub tangent: Option<Tensor>,
    /// Written. Forward: y, \[rows, coordinates · features\]. Gradient: dx, \[rows, coordinates\]. Tangent: that of y.
    pub output: Tensor,
}

const LANES: u32 = 64;

impl Kernel for Encode {
    binds! { "encode": read x, read gradient, read tangent, write output }

    fn detail(&self) -> String {
        let of = match (self.gradient, self.tangent) {
            (Some(_), _) => "gradient of ",
            (None, Some(_)) => "tangent of ",
            (None, None) => "",
        };
        format!(" {of}{:?}", self.encoding)
    }

    fn flops(&self) -> u64 {
        let each = text_and_flops(self.encoding).1[usize::from(self.gradient.or(self.tangent).is_some())];
        u64::from(self.x.len()) * u64::from(self.encoding.features()) * each
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let [scale, offset] = scale_and_offset(self.encoding);
        let numbers = self.output.len();
        let shader = shader(
            format!("encode {}", self.encoding.kind()),
            text_and_flops(self.encoding).0.to_owned() + text!("encode.wgsl.in"),
            [("GRADIENT", self.gradient.is_some().into()), ("TANGENT", self.tangent.is_some().into())],
        );
        let uniforms = uniforms![numbers, outputs: self.encoding.features(), scale, offset];
        vec![Launch::of(self, shader, uniforms, numbers.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, output) = (at.f32s(self.x), at.out::<f32>(self.output));
        let features = self.encoding.features() as usize;
        if let Some(tangent) = self.tangent {
            for ((y, &x), t) in output.chunks_exact_mut(features).zip(x).zip(at.f32s(tangent)) {
                (0..).zip(y).for_each(|(k, y)| *y = t * Feature::of(self.encoding, x, k).slope);
            }
            return;
        }
        let Some(gradient) = self.gradient else {
            for (y, &x) in output.chunks_exact_mut(features).zip(x) {
                (0..).zip(y).for_each(|(k, y)| *y = Feature::of(self.encoding, x, k).value);
            }
            return;
        };
        for ((dx, &x), dy) in output.iter_mut().zip(x).zip(at.f32s(gradient).chunks_exact(features)) {
            *dx = (0..).zip(dy).map(|(k, dy)| dy * Feature::of(self.encoding, x, k).slope).sum();
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (x, features) = (at.f32s(self.x), self.encoding.features());
        if let Some(tangent) = self.tangent {
            let bound = |x: f32, t: f32, k: u32| {
                let Feature { slope, off, .. } = Feature::of(self.encoding, x, k);
                let (size, slope) = (f64::from(t).abs(), f64::from(slope).abs());
                size * (off[1] + 2.0 * U * slope) + flushed(t) * slope
            };
            let numbers = x.iter().zip(at.f32s(tangent));
            return vec![Bounds::Each(
                numbers.flat_map(|(&x, &t)| (0..features).map(move |k| bound(x, t, k))).collect(),
            )];
        }
        let Some(gradient) = self.gradient else {
            let of_number = |&x: &f32| (0..features).map(move |k| Feature::of(self.encoding, x, k).off[0]);
            return vec![Bounds::Each(x.iter().flat_map(of_number).collect())];
        };
        let roundings = 2.0 * (f64::from(features) + 1.0) * U;
        let of_term = |x: f32, k: u32, dy: f64| {
            let feature = Feature::of(self.encoding, x, k);
            dy.abs() * (feature.off[1] + f64::from(feature.slope.abs()) * roundings)
        };
        let gradient = at.f64s(gradient);
        let numbers = x.iter().zip(gradient.chunks_exact(features as usize));
        vec![Bounds::Each(numbers.map(|(&x, dy)| (0..).zip(dy).map(|(k, &dy)| of_term(x, k, dy)).sum()).collect())]
    }
}

/// A feature of a coordinate.
struct Feature {
    value: f32,
    /// Derivative of the value.
    slope: f32,
    /// Error bounds of the value and of the derivative on a GPU.
    off: [f64; 2],
}

impl Feature {
    /// Feature k of a coordinate. Inlined because most callers use only one field.
    #[inline(always)]
    fn of(encoding: Encoding, x: f32, k: u32) -> Self {
        let size = f64::from(x.abs());
        // A coordinate this small may be flushed to zero before it is multiplied.
        let flushed = if size < FLUSHED { size } else { 0.0 };
        let (value, slope, off) = match encoding {
            Encoding::Identity { scale, offset } => {
                let steep = f64::from(scale.abs());
                let off = 2.0 * U * (2.0 * steep * size + f64::from(offset.abs())) + steep * flushed;
                return Self { value: scale * x + offset, slope: scale, off: [off, 0.0] };
            }
            // The argument's reduction is exact. The sine has the roundings of pi, of the product and of the result;
            // its series adds less, and 1e-9 by truncation. The argument of the cosine is rounded once more, near
            // 1/2.
            Encoding::Frequency { .. } => {
                let (sin, cos) = (PI * reduced_argument(x, k / 2)).sin_cos();
                let (value, slope) = if k.is_multiple_of(2) { (sin, cos) } else { (cos, -sin) };
                let (steep, off) = (PI * 2f64.powi(k as i32 / 2), 10.0 * U);
                (value, steep * slope, [off, steep * (off + 4.0 * U)])
            }
            // Exact: differences of close numbers, and powers of two.
            Encoding::TriangleWave { .. } => {
                let (t, steep) = (reduced_argument(x, k), 2f64.powi(k as i32 + 1));
                let falls = t.abs() > 0.5;
                let (value, slope) = if falls { (t.signum() - t, -steep) } else { (t, steep) };
                (2.0 * value, slope, [steep * flushed, 0.0])
            }
            // The edges have the roundings of x * bins, of the difference and of the sum. The kernel is at most 15/16
            // high, with a slope up to 1.44. On each side its polynomials have about six roundings of numbers up to
            // 1.
            Encoding::OneBlob { bins } => {
                let (bins, k) = (f64::from(bins), f64::from(k));
                let left = k - f64::from(x) * bins;
                let off = U * (2.0 * bins * size + k + 2.0);
                let (value, slope) =
                    (blob_below(left + 1.0) - blob_below(left), bins * (blob(left) - blob(left + 1.0)));
                (value, slope, [2.0 * (off + 6.0 * U), bins * 2.0 * (1.44 * off + 6.0 * U)])
            }
            Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
        };
        Self { value: value as f32, slope: slope as f32, off }
    }
}

/// 2ᵏ x, reduced by a multiple of 2 to the range −1 to 1. The reduction is exact.
fn reduced_argument(x: f32, k: u32) -> f64 {
    let t = x * 2f32.powi(k as i32);
    f64::from(t - 2.0 * (t * 0.5).round_ties_even())
}

/// Quartic kernel.
fn blob(t: f64) -> f64 {
    15.0 / 16.0 * (1.0 - t * t).max(0.0).powi(2)
}

/// Integral of the quartic kernel from −1 to t.
fn blob_below(t: f64) -> f64 {
    let t = t.clamp(-1.0, 1.0);
    0.5 + 15.0 / 16.0 * (t - 2.0 / 3.0 * t.powi(3) + t.powi(5) / 5.0)
}

/// Text of an encoding: `feature`, `slope` and the functions that they call. Then the flops of a feature, and those of
/// its slope and its term of the sum.
fn text_and_flops(encoding: Encoding) -> (&'static str, [u64; 2]) {
    macro_rules! file {
        ($name:literal) => {
            text!("shared/bits.wgsl", "encodings/functions.wgsl", concat!("encodings/", $name, ".wgsl.in"))
        };
    }
    match encoding {
        Encoding::Identity { .. } => (file!("identity"), [2, 2]),
        // The series of a sine has 14 operations, its argument 4.
        Encoding::Frequency { .. } => (file!("frequency"), [18, 22]),
        Encoding::TriangleWave { .. } => (file!("triangle_wave"), [6, 6]),
        Encoding::OneBlob { .. } => (file!("one_blob"), [18, 18]),
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

/// Scale and offset of `identity`; 0 for other encodings.
fn scale_and_offset(encoding: Encoding) -> [f32; 2] {
    match encoding {
        Encoding::Identity { scale, offset } => [scale, offset],
        _ => [0.0; 2],
    }
}

/// For texts of other kernels: appends `fn NAME(x: f32, k: u32) -> f32`, which returns feature k of a coordinate, and
/// the functions that it calls. Their names begin with `prefix`. If `of` is "slope" instead of "feature", it returns
/// the derivative of the feature.
pub(crate) fn feature(texts: &mut Vec<String>, encoding: Encoding, of: &str, name: &str, prefix: &str) {
    let [scale, offset] = scale_and_offset(encoding).map(|value| format!("{value:?}"));
    let text = text_and_flops(encoding).0.replace("u.outputs", &format!("{}u", encoding.features()));
    let text = text.replace("u.scale", &scale).replace("u.offset", &offset);
    excerpt(texts, &text, of, |called| if called == of { name.to_owned() } else { format!("{prefix}{called}") });
}

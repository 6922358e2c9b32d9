//! Encodings without weights. Each encodes groups of coordinates separately. A group is one coordinate, or the three
//! coordinates of a direction.

mod coordinate;
mod harmonics;
mod text;

use super::*;
use crate::encoding::Encoding;
use coordinate::Feature;
use harmonics::harmonic;
#[cfg(feature = "onnx")]
pub(crate) use harmonics::harmonic_norm;
pub(crate) use text::feature;
#[cfg(test)]
pub(crate) use text::whole;

/// Encodings of a row's coordinates, the gradient of these encodings, or the tangents of their features.
#[derive(Debug, Clone, PartialEq)]
pub struct Encode {
    /// At least one encoding. Each has columns of its own.
    pub parts: Vec<EncodePart>,
    /// \[rows, coordinates\].
    pub x: Tensor,
    /// For the gradient: dy, \[rows, features\].
    pub gradient: Option<Tensor>,
    /// For the tangent: that of x, \[rows, coordinates\].
    pub tangent: Option<Tensor>,
    /// Forward: y, \[rows, features\]. Gradient: dx, \[rows, coordinates\]. Tangent: that of y. The columns of the parts
    /// are written.
    pub output: Tensor,
}

/// An encoding of some columns of each row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodePart {
    /// The encoding. Hash grids have their own ops.
    pub encoding: Encoding,
    /// Column of its first coordinate.
    pub first_coordinate: u32,
    /// Number of coordinates.
    pub coordinates: u32,
    /// Column of its first feature.
    pub first_feature: u32,
}

const LANES: u32 = 64;

impl Kernel for Encode {
    fn stem(&self) -> &'static str {
        "encode"
    }

    fn detail(&self) -> String {
        let encodings: Vec<String> = self.parts.iter().map(|part| format!("{:?}", part.encoding)).collect();
        let of = match (self.gradient, self.tangent) {
            (Some(_), _) => "gradient of ",
            (None, Some(_)) => "tangent of ",
            (None, None) => "",
        };
        format!(" {of}{}", encodings.join(" + "))
    }

    fn operands(&self) -> Vec<Operand> {
        let fills = self.width() == self.output.columns();
        let output = if fills { write(self.output) } else { change(self.output) };
        vec![read(self.x), read(self.gradient), read(self.tangent), output]
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let options = self.gradient.iter_mut().chain(&mut self.tangent);
        [&mut self.x].into_iter().chain(options).chain([&mut self.output]).collect()
    }

    fn flops(&self) -> u64 {
        let of_slopes = self.gradient.or(self.tangent).is_some();
        let of_part = |part: &EncodePart| {
            let axes = if of_slopes { part.encoding.group() } else { 1 };
            u64::from(part.features() * axes) * flops(part.encoding)[usize::from(of_slopes)]
        };
        u64::from(self.x.rows()) * self.parts.iter().map(of_part).sum::<u64>()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let kinds: Vec<&str> = self.parts.iter().map(|part| part.encoding.kind()).collect();
        let numbers = self.x.rows() * self.width();
        let shader = shader(format!("encode {}", kinds.join(" ")), text::source(self), []);
        vec![Launch::of(self, shader, uniforms![numbers], numbers.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, output) = (at.f32s(self.x), at.out::<f32>(self.output));
        if let Some(tangent) = self.tangent.map(|tangent| at.f32s(tangent)) {
            self.for_each_group(x, |encoding, point, coordinate, feature| {
                for (k, y) in (0..encoding.features()).zip(&mut output[feature..]) {
                    let term = |axis: usize| tangent[coordinate + axis] * slope(encoding, point, k, axis).0;
                    *y = (0..point.len()).map(term).sum();
                }
            });
            return;
        }
        let Some(gradient) = self.gradient.map(|gradient| at.f32s(gradient)) else {
            self.for_each_group(x, |encoding, point, _, feature| {
                let features = output[feature..][..encoding.features() as usize].iter_mut();
                (0..).zip(features).for_each(|(k, y)| *y = value(encoding, point, k).0);
            });
            return;
        };
        self.for_each_group(x, |encoding, point, coordinate, feature| {
            for axis in 0..point.len() {
                let term = |k: u32| gradient[feature + k as usize] * slope(encoding, point, k, axis).0;
                output[coordinate + axis] = (0..encoding.features()).map(term).sum();
            }
        });
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let mut bounds = vec![0.0; self.output.len() as usize];
        if let Some(tangent) = self.tangent.map(|tangent| at.f32s(tangent)) {
            self.for_each_group(at.f32s(self.x), |encoding, point, coordinate, feature| {
                // Each term is a product, and takes part in at most as many sums as there are terms, less one.
                let roundings = 2.0 * point.len() as f64 * U;
                for (k, bound) in (0..encoding.features()).zip(&mut bounds[feature..]) {
                    let of_term = |axis: usize| {
                        let (t, (slope, off)) = (tangent[coordinate + axis], slope(encoding, point, k, axis));
                        let (size, slope) = (f64::from(t).abs(), f64::from(slope).abs());
                        size * (off + roundings * slope) + flushed(t) * slope
                    };
                    *bound = (0..point.len()).map(of_term).sum();
                }
            });
            return vec![Bounds::Each(bounds)];
        }
        let gradient = self.gradient.map(|gradient| at.f64s(gradient));
        self.for_each_group(at.f32s(self.x), |encoding, point, coordinate, feature| {
            let Some(gradient) = &gradient else {
                for k in 0..encoding.features() {
                    bounds[feature + k as usize] = value(encoding, point, k).1;
                }
                return;
            };
            let roundings = 2.0 * (f64::from(encoding.features()) + 1.0) * U;
            for axis in 0..point.len() {
                let of_term = |k: u32| {
                    let (slope, off) = slope(encoding, point, k, axis);
                    gradient[feature + k as usize].abs() * (off + f64::from(slope.abs()) * roundings)
                };
                bounds[coordinate + axis] = (0..encoding.features()).map(of_term).sum();
            }
        });
        vec![Bounds::Each(bounds)]
    }
}

impl Encode {
    /// Length of a row of x.
    fn coordinates(&self) -> u32 {
        self.x.columns()
    }

    /// Length of a row of features.
    fn features(&self) -> u32 {
        self.gradient.unwrap_or(self.output).columns()
    }

    /// Columns that a part writes.
    fn columns_of(&self, part: &EncodePart) -> u32 {
        if self.gradient.is_some() { part.coordinates } else { part.features() }
    }

    /// Columns that all parts write.
    fn width(&self) -> u32 {
        self.parts.iter().map(|part| self.columns_of(part)).sum()
    }

    /// Visits each group of coordinates: its encoding, its values, and the indices of its first coordinate and its
    /// first feature.
    fn for_each_group(&self, x: &[f32], mut visit: impl FnMut(Encoding, &[f32], usize, usize)) {
        let [inputs, outputs] = [self.coordinates(), self.features()].map(|columns| columns as usize);
        for row in 0..self.x.rows() as usize {
            for part in &self.parts {
                let [group, each] = [part.encoding.group(), part.encoding.features()].map(|n| n as usize);
                for i in 0..part.coordinates as usize / group {
                    let coordinate = row * inputs + part.first_coordinate as usize + i * group;
                    let feature = row * outputs + part.first_feature as usize + i * each;
                    visit(part.encoding, &x[coordinate..][..group], coordinate, feature);
                }
            }
        }
    }
}

impl EncodePart {
    /// An encoding of all columns of a row.
    pub fn whole(encoding: Encoding, coordinates: u32) -> Self {
        Self { encoding, first_coordinate: 0, coordinates, first_feature: 0 }
    }

    /// Number of its features.
    pub(crate) fn features(&self) -> u32 {
        self.encoding.features_of(self.coordinates)
    }
}

/// Feature k of a group, and its error bound.
#[inline(always)]
fn value(encoding: Encoding, point: &[f32], k: u32) -> (f32, f64) {
    match *point {
        [x, y, z] => narrowed(harmonic([x, y, z], k, None)),
        _ => {
            let feature = Feature::of(encoding, point[0], k);
            (feature.value, feature.off[0])
        }
    }
}

/// Derivative of feature k of a group along an axis, and its error bound.
#[inline(always)]
fn slope(encoding: Encoding, point: &[f32], k: u32, axis: usize) -> (f32, f64) {
    match *point {
        [x, y, z] => narrowed(harmonic([x, y, z], k, Some(axis))),
        _ => {
            let feature = Feature::of(encoding, point[0], k);
            (feature.slope, feature.off[1])
        }
    }
}

/// The value rounded to f32. Its bound also contains that rounding.
fn narrowed((value, off): (f64, f64)) -> (f32, f64) {
    (value as f32, off + U * value.abs())
}

/// Flops of a feature, and those of its slope and its term of the sum.
fn flops(encoding: Encoding) -> [u64; 2] {
    match encoding {
        Encoding::Identity { .. } => [2, 2],
        // The series of a sine has 14 operations, its argument 4.
        Encoding::Frequency { .. } => [18, 22],
        Encoding::TriangleWave { .. } => [6, 6],
        Encoding::OneBlob { .. } => [18, 18],
        // A step of the recurrence or of the power, and a factor of the norm, have about 6 operations for each degree.
        Encoding::SphericalHarmonics { degree } => [6 * u64::from(degree), 6 * u64::from(degree) + 4],
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

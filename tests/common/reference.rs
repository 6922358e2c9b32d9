//! Layers and losses in f64 with their textbook formulas, one sample at a time.

use std::sync::OnceLock;

use wgrad::{
    Activation, Conv, Encoding, GridInterpolation, GridStorage, Interpolation, Layer, Loss, Margin, Padding, Pool,
    Pooling, ScaleShift,
};

/// A sample: its shape, and its numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub shape: Vec<u32>,
    pub values: Vec<f64>,
}

impl Sample {
    pub fn new(shape: &[u32], values: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<u32>() as usize, values.len());
        Self { shape: shape.to_vec(), values }
    }

    fn of(shape: &[u32], mut value: impl FnMut(&[u32]) -> f64) -> Self {
        let values = indices(shape).iter().map(|index| value(index)).collect();
        Self { shape: shape.to_vec(), values }
    }

    /// The number at an index. The index is aligned at the last dimension. A dimension of length 1 is broadcast.
    fn at(&self, index: &[u32]) -> f64 {
        let index = &index[index.len() - self.shape.len()..];
        let place = |at: u32, (&length, &i): (&u32, &u32)| at * length + if length == 1 { 0 } else { i };
        self.values[self.shape.iter().zip(index).fold(0, place) as usize]
    }

    /// Maps each row of the last dimension to another row.
    fn map_rows(&self, row: impl FnMut(&[f64]) -> Vec<f64>) -> Self {
        let columns = *self.shape.last().unwrap() as usize;
        let rows: Vec<Vec<f64>> = self.values.chunks(columns).map(row).collect();
        let mut shape = self.shape.clone();
        *shape.last_mut().unwrap() = rows[0].len() as u32;
        Self { shape, values: rows.concat() }
    }
}

/// Every index of a shape, in row-major order.
fn indices(shape: &[u32]) -> Vec<Vec<u32>> {
    shape.iter().fold(vec![Vec::new()], |all, &length| {
        all.iter().flat_map(|index| (0..length).map(move |i| [&index[..], &[i]].concat())).collect()
    })
}

/// The distance to the nearest corner: a point where a function has no derivative.
#[derive(Debug, Clone, PartialEq)]
pub struct Corners {
    pub nearest: f64,
}

impl Default for Corners {
    fn default() -> Self {
        Self { nearest: f64::INFINITY }
    }
}

impl Corners {
    /// Records a distance to a corner. Equal numbers (distance 0) do not count: they have the same origin and remain
    /// equal.
    fn pass(&mut self, distance: f64) {
        if distance != 0.0 {
            self.nearest = self.nearest.min(distance.abs());
        }
    }
}

/// Applies an activation. Softmax applies to each row of the last dimension.
pub fn activated(activation: Activation, z: &Sample, corners: &mut Corners) -> Sample {
    let places: &[f64] = match activation {
        Activation::Relu | Activation::LeakyRelu(_) | Activation::Elu(_) | Activation::Selu => &[0.0],
        Activation::HardSigmoid | Activation::HardSwish => &[-3.0, 3.0],
        _ => &[],
    };
    for place in places {
        z.values.iter().for_each(|z| corners.pass(z - place));
    }
    z.map_rows(|row| activate(activation, row))
}

/// Applies an activation to a row.
pub fn activate(activation: Activation, z: &[f64]) -> Vec<f64> {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let each = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z)).collect();
    match activation {
        Activation::Identity => z.to_vec(),
        Activation::Relu => each(&|z| z.max(0.0)),
        Activation::LeakyRelu(slope) => each(&|z| if z > 0.0 { z } else { f64::from(slope) * z }),
        Activation::Elu(alpha) => each(&|z| if z > 0.0 { z } else { f64::from(alpha) * (z.exp() - 1.0) }),
        Activation::Selu => {
            each(&|z| 1.0507009873554805 * if z > 0.0 { z } else { 1.6732632423543772 * (z.exp() - 1.0) })
        }
        Activation::GeluErf => each(&|z| z * 0.5 * libm::erfc(-z / 2f64.sqrt())),
        Activation::GeluTanh => {
            each(&|z| 0.5 * z * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh()))
        }
        Activation::Silu => each(&|z| z * sigmoid(z)),
        Activation::Softplus => each(&|z| (1.0 + z.exp()).ln()),
        Activation::Squareplus(b) => each(&|z| (z + (z * z + f64::from(b)).sqrt()) / 2.0),
        Activation::Exponential => each(&|z| z.exp()),
        Activation::Sine(frequency) => each(&|z| (f64::from(frequency) * z).sin()),
        Activation::Sigmoid => each(&sigmoid),
        Activation::Tanh => each(&|z| z.tanh()),
        Activation::HardSigmoid => each(&|z| (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::HardSwish => each(&|z| z * (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::Softmax => {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            each(&|z| z.exp() / sum)
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The outputs of a layer before its fused activation. `weights` holds the layer's own weights in parameter order. A
/// layer tied directly to another is passed as that other layer. Dropout passes its input unchanged.
pub fn outputs(layer: &Layer, weights: &[&[f64]], inputs: &[&Sample], corners: &mut Corners) -> Vec<Sample> {
    let x = inputs[0];
    let axis_of = |axis: i32| (axis + if axis < 0 { x.shape.len() as i32 } else { 0 }) as usize;
    let with_length = |axis: usize, length: u32| {
        let mut shape = x.shape.clone();
        shape[axis] = length;
        shape
    };
    let part = |axis: usize, start: u32, length: u32| {
        Sample::of(&with_length(axis, length), |index| {
            let mut index = index.to_vec();
            index[axis] += start;
            x.at(&index)
        })
    };
    let combined = |how: &dyn Fn(f64, f64) -> f64| {
        inputs[1..].iter().fold(x.clone(), |a, b| {
            let shape_of = |sample: &Sample| wgrad::Shape::try_from(&sample.shape[..]).unwrap();
            let shape = shape_of(&a).broadcast(&shape_of(b)).unwrap();
            Sample::of(&shape, |index| how(a.at(index), b.at(index)))
        })
    };
    let product = |units: usize, weight: &dyn Fn(usize, usize) -> f64, bias: Option<&[f64]>| {
        x.map_rows(|row| {
            let dot = |unit| row.iter().enumerate().map(|(i, x)| x * weight(i, unit)).sum::<f64>();
            (0..units).map(|unit| bias.map_or(0.0, |bias| bias[unit]) + dot(unit)).collect()
        })
    };
    vec![match layer {
        Layer::Dense(dense) => {
            let units = dense.units() as usize;
            product(units, &|i, unit| weights[0][i * units + unit], dense.has_bias().then(|| weights[1]))
        }
        Layer::Conv(conv) => convolved(conv, x, weights[0], weights.get(1).copied()),
        Layer::Pool(pool) => pooled(pool, x, corners),
        Layer::Upsample(_) | Layer::Pad(_) | Layer::Crop(_) | Layer::DepthToSpace(_) | Layer::SpaceToDepth(_) => {
            resized(layer, x)
        }
        Layer::Tied(_) => {
            // W has the shape [outputs of this layer, inputs of this layer].
            let columns = *x.shape.last().unwrap() as usize;
            product(weights[1].len(), &|i, unit| weights[0][unit * columns + i], Some(weights[1]))
        }
        Layer::LayerNorm(norm) => x.map_rows(|row| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let deviation = (variance + f64::from(norm.epsilon)).sqrt();
            row.iter().enumerate().map(|(j, x)| (x - mean) / deviation * weights[0][j] + weights[1][j]).collect()
        }),
        Layer::GroupNorm(norm) => group_norm(x, norm.groups, norm.epsilon, weights),
        Layer::InstanceNorm(norm) => group_norm(x, *x.shape.last().unwrap(), norm.epsilon, weights),
        Layer::RmsNorm(norm) => x.map_rows(|row| {
            let square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let root = (square + f64::from(norm.epsilon)).sqrt();
            row.iter().zip(weights[0]).map(|(x, scale)| x / root * scale).collect()
        }),
        Layer::ScaleShift(ScaleShift::Trained) => {
            x.map_rows(|row| row.iter().enumerate().map(|(j, x)| x * weights[0][j] + weights[1][j]).collect())
        }
        &Layer::ScaleShift(ScaleShift::Fixed { scale, shift }) => {
            x.map_rows(|row| row.iter().map(|x| x * f64::from(scale) + f64::from(shift)).collect())
        }
        Layer::CompositeEncoding(parts) => x.map_rows(|row| {
            let (mut row, mut tables) = (row, weights.iter());
            let of_part = |&(coordinates, encoding): &(u32, Encoding)| {
                let (own, rest) = row.split_at(coordinates as usize);
                row = rest;
                let table = if matches!(encoding, Encoding::HashGrid(_)) { tables.next() } else { None };
                encode(encoding, own, table.copied().unwrap_or_default())
            };
            parts.iter().flat_map(of_part).collect()
        }),
        &Layer::Encoding(encoding) => x.map_rows(|row| encode(encoding, row, weights.first().unwrap_or(&&[][..]))),
        Layer::Activation(_) | Layer::Dropout(_) | Layer::SpatialDropout(_) => x.clone(),
        Layer::Flatten => Sample::new(&[x.values.len() as u32], x.values.clone()),
        Layer::Reshape(shape) => Sample::new(shape, x.values.clone()),
        Layer::Add => combined(&|a, b| a + b),
        Layer::Multiply => combined(&|a, b| a * b),
        Layer::Concat { axis } => {
            let axis = axis_of(*axis);
            let length = inputs.iter().map(|input| input.shape[axis]).sum();
            Sample::of(&with_length(axis, length), |index| {
                let mut index = index.to_vec();
                let mut inputs = inputs.iter();
                let mut input = inputs.next().unwrap();
                while index[axis] >= input.shape[axis] {
                    index[axis] -= input.shape[axis];
                    input = inputs.next().unwrap();
                }
                input.at(&index)
            })
        }
        Layer::Slice { axis, start, end } => part(axis_of(*axis), *start, end - start),
        Layer::Split { axis, parts } => {
            let axis = axis_of(*axis);
            let length = x.shape[axis] / parts;
            return (0..*parts).map(|i| part(axis, i * length, length)).collect();
        }
        Layer::Transpose(order) => {
            let order: Vec<usize> = order.iter().map(|&axis| axis_of(axis)).collect();
            let shape: Vec<u32> = order.iter().map(|&axis| x.shape[axis]).collect();
            Sample::of(&shape, |index| {
                let mut from = vec![0; index.len()];
                order.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
                x.at(&from)
            })
        }
        Layer::ReduceMean(axes) | Layer::ReduceMax(axes) => {
            let axes: Vec<usize> = axes.iter().map(|&axis| axis_of(axis)).collect();
            let keep = |index: &[u32]| -> Vec<u32> {
                (0..index.len()).filter(|axis| !axes.contains(axis)).map(|axis| index[axis]).collect()
            };
            let left = keep(&x.shape);
            let reduce = |index: &[u32], corners: &mut Corners| {
                let all = indices(&x.shape);
                let taken: Vec<f64> = all.iter().filter(|from| keep(from) == index).map(|from| x.at(from)).collect();
                match layer {
                    Layer::ReduceMean(_) => taken.iter().sum::<f64>() / taken.len() as f64,
                    _ => largest(&taken, corners),
                }
            };
            match left.is_empty() {
                true => Sample::new(&[1], vec![reduce(&[], corners)]),
                false => Sample::of(&left, |index| reduce(index, corners)),
            }
        }
        other => panic!("{other:?} has no formula here"),
    }]
}

/// A textbook convolution: each output is a sum over the taps. In a transposed convolution, each input adds to the
/// outputs of all taps.
fn convolved(conv: &Conv, x: &Sample, weights: &[f64], bias: Option<&[f64]>) -> Sample {
    // A sequence is treated as an image with one row.
    let is_sequence = x.shape.len() == 2;
    let image = if is_sequence { vec![1, x.shape[0], x.shape[1]] } else { x.shape.clone() };
    let (mut kernel, mut stride, mut dilation, mut padding) = (conv.kernel, conv.stride, conv.dilation, [[0; 2]; 2]);
    if is_sequence {
        (kernel[0], stride[0], dilation[0]) = (1, 1, 1);
    }
    let span = |i: usize| dilation[i] * (kernel[i] - 1) + 1;
    let mut length = [0; 2];
    for i in 0..2 {
        let n = image[i];
        padding[i] = match (conv.padding, conv.transposed) {
            (Padding::Explicit(_), _) if is_sequence && i == 0 => [0; 2],
            (Padding::Explicit(sides), _) => sides[i],
            (Padding::Same, None) => {
                let all = ((n.div_ceil(stride[i]) - 1) * stride[i] + span(i)).saturating_sub(n);
                [all / 2, all - all / 2]
            }
            (Padding::Same, Some(_)) => {
                let all = span(i).saturating_sub(stride[i]);
                [all / 2, all - all / 2]
            }
        };
        let both: u32 = padding[i].iter().sum();
        length[i] = match (conv.padding, conv.transposed) {
            (_, None) => (n + both - span(i)) / stride[i] + 1,
            (Padding::Same, Some(_)) => n * stride[i],
            (_, Some(_)) if is_sequence && i == 0 => 1,
            (_, Some(more)) => (n - 1) * stride[i] + span(i) + more[i] - both,
        };
    }
    let (inputs, outputs) = (image[2] as usize, conv.channels as usize);
    // An output reads the inputs of its group.
    let groups = conv.groups as usize;
    let seen = inputs / groups;
    let mut values: Vec<f64> = match bias {
        Some(bias) => (0..length[0] * length[1]).flat_map(|_| bias.to_vec()).collect(),
        None => vec![0.0; (length[0] * length[1]) as usize * outputs],
    };
    // Maps a position and a tap in the smaller image to a position in the larger one, to which the padding applies.
    let along =
        |i: usize, position: u32, tap: u32| (position * stride[i] + tap * dilation[i]).checked_sub(padding[i][0]);
    let (small, large) =
        if conv.transposed.is_some() { ([image[0], image[1]], length) } else { (length, [image[0], image[1]]) };
    for (row, column) in (0..small[0]).flat_map(|row| (0..small[1]).map(move |column| (row, column))) {
        for (i, j) in (0..kernel[0]).flat_map(|i| (0..kernel[1]).map(move |j| (i, j))) {
            let (Some(y), Some(z)) = (along(0, row, i), along(1, column, j)) else { continue };
            if y >= large[0] || z >= large[1] {
                continue;
            }
            let [at_small, at_large] = [row * small[1] + column, y * large[1] + z].map(|at| at as usize);
            let (from, to) = if conv.transposed.is_some() { (at_small, at_large) } else { (at_large, at_small) };
            let tap = (i * kernel[1] + j) as usize;
            for (a, b) in (0..seen).flat_map(|a| (0..outputs).map(move |b| (a, b))) {
                let weight = weights[(tap * seen + a) * outputs + b];
                let group = b / (outputs / groups);
                values[to * outputs + b] += x.values[from * inputs + group * seen + a] * weight;
            }
        }
    }
    let all = [length[0], length[1], conv.channels];
    Sample::new(if is_sequence { &all[1..] } else { &all }, values)
}

/// Computes each output from the existing numbers of its window.
fn pooled(pool: &Pool, x: &Sample, corners: &mut Corners) -> Sample {
    let (last, first) = (x.shape.len() - 1, 3 - x.shape.len());
    let options = |axis: usize| (pool.size[first + axis], pool.stride[first + axis]);
    let padding = |axis: usize| match pool.padding {
        Padding::Explicit(sides) => sides[first + axis],
        Padding::Same => {
            let ((size, stride), n) = (options(axis), x.shape[axis]);
            let all = ((n.div_ceil(stride) - 1) * stride + size).saturating_sub(n);
            [all / 2, all - all / 2]
        }
    };
    let mut shape = x.shape.clone();
    for (axis, length) in shape[..last].iter_mut().enumerate() {
        let (size, stride) = options(axis);
        *length = (*length + padding(axis).iter().sum::<u32>() - size) / stride + 1;
    }
    let all = indices(&x.shape);
    Sample::of(&shape, |index| {
        let sees = |from: &&Vec<u32>| {
            from[last] == index[last]
                && (0..last).all(|axis| {
                    let ((size, stride), place) = (options(axis), from[axis] + padding(axis)[0]);
                    (index[axis] * stride..index[axis] * stride + size).contains(&place)
                })
        };
        let taken: Vec<f64> = all.iter().filter(sees).map(|from| x.at(from)).collect();
        match pool.how {
            Pooling::Max => largest(&taken, corners),
            Pooling::Average => taken.iter().sum::<f64>() / taken.len() as f64,
        }
    })
}

/// Interpolates, pads or crops the image, or moves blocks of pixels to or from channels.
fn resized(layer: &Layer, x: &Sample) -> Sample {
    let (last, first) = (x.shape.len() - 1, 3 - x.shape.len());
    let with_lengths = |length: &dyn Fn(usize, u32) -> u32| -> Vec<u32> {
        let lengths = x.shape[..last].iter().enumerate().map(|(axis, &n)| length(first + axis, n));
        lengths.chain([x.shape[last]]).collect()
    };
    // Interpolates linearly between numbers, one axis after the other.
    fn between(x: &Sample, at: &[f64], index: &mut Vec<u32>) -> f64 {
        let axis = index.len();
        let Some(&place) = at.get(axis) else { return x.at(index) };
        let mut of = |place: f64| {
            index.push(place.min(f64::from(x.shape[axis] - 1)) as u32);
            let value = between(x, at, index);
            index.pop();
            value
        };
        let weight = place - place.floor();
        of(place.floor()) * (1.0 - weight) + if weight > 0.0 { of(place.floor() + 1.0) * weight } else { 0.0 }
    }
    match layer {
        Layer::Upsample(up) => {
            let shape = with_lengths(&|side, n| up.target.map_or(n * up.factor[side], |target| target[side]));
            Sample::of(&shape, |index| {
                let place = |axis: usize| {
                    let (i, n, m) = (f64::from(index[axis]), f64::from(x.shape[axis]), f64::from(shape[axis]));
                    match up.how {
                        Interpolation::Nearest => (i * n / m + 1e-9).floor(),
                        Interpolation::Bilinear => ((i + 0.5) * n / m - 0.5).clamp(0.0, n - 1.0),
                    }
                };
                let at: Vec<f64> = (0..last).map(place).chain([f64::from(index[last])]).collect();
                between(x, &at, &mut Vec::new())
            })
        }
        Layer::Pad(pad) => {
            let shape = with_lengths(&|side, n| n + pad.sides[side].iter().sum::<u32>());
            Sample::of(&shape, |index| {
                let mut from = index.to_vec();
                for (axis, place) in from[..last].iter_mut().enumerate() {
                    let (at, end) = (*place as i32 - pad.sides[first + axis][0] as i32, x.shape[axis] as i32 - 1);
                    *place = match pad.with {
                        Margin::Zeros if at < 0 || at > end => return 0.0,
                        Margin::Reflect if at < 0 => -at,
                        Margin::Reflect if at > end => 2 * end - at,
                        _ => at.clamp(0, end),
                    } as u32;
                }
                x.at(&from)
            })
        }
        Layer::Crop(crop) => {
            let shape = with_lengths(&|side, n| n - crop.sides[side].iter().sum::<u32>());
            Sample::of(&shape, |index| {
                let mut from = index.to_vec();
                (0..last).for_each(|axis| from[axis] += crop.sides[first + axis][0]);
                x.at(&from)
            })
        }
        &Layer::DepthToSpace(r) => {
            let channels = x.shape[2] / r / r;
            Sample::of(&[x.shape[0] * r, x.shape[1] * r, channels], |index| {
                let channel = (index[0] % r * r + index[1] % r) * channels + index[2];
                x.at(&[index[0] / r, index[1] / r, channel])
            })
        }
        &Layer::SpaceToDepth(r) => {
            let channels = x.shape[2];
            Sample::of(&[x.shape[0] / r, x.shape[1] / r, channels * r * r], |index| {
                let (block, channel) = (index[2] / channels, index[2] % channels);
                x.at(&[index[0] * r + block / r, index[1] * r + block % r, channel])
            })
        }
        other => panic!("{other:?} resizes nothing"),
    }
}

/// Normalises each group of channels by its mean and variance over all positions.
fn group_norm(x: &Sample, groups: u32, epsilon: f32, weights: &[&[f64]]) -> Sample {
    let channels = *x.shape.last().unwrap() as usize;
    let width = channels / groups as usize;
    let mut y = x.clone();
    for group in 0..groups as usize {
        let is_own = |(i, _): &(usize, &f64)| i % channels / width == group;
        let own: Vec<f64> = x.values.iter().enumerate().filter(is_own).map(|(_, x)| *x).collect();
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        let variance = own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / own.len() as f64;
        for (i, y) in y.values.iter_mut().enumerate().filter(|(i, _)| i % channels / width == group) {
            let normalised = (*y - mean) / (variance + f64::from(epsilon)).sqrt();
            *y = normalised * weights[0][i % channels] + weights[1][i % channels];
        }
    }
    y
}

/// Mean and variance of each channel over a batch.
pub fn channel_statistics(batch: &[&Sample]) -> Vec<[f64; 2]> {
    let channels = *batch[0].shape.last().unwrap() as usize;
    let of_channel = |c: usize| batch.iter().flat_map(move |x| x.values[c..].iter().step_by(channels));
    (0..channels)
        .map(|c| {
            let n = of_channel(c).count() as f64;
            let mean = of_channel(c).sum::<f64>() / n;
            [mean, of_channel(c).map(|x| (x - mean).powi(2)).sum::<f64>() / n]
        })
        .collect()
}

/// Batch normalisation of a sample.
pub fn batch_norm(x: &Sample, statistics: &[[f64; 2]], scale: &[f64], shift: &[f64], epsilon: f64) -> Sample {
    let normalise = |c: usize, x: f64| {
        let [mean, variance] = statistics[c];
        (x - mean) / (variance + epsilon).sqrt() * scale[c] + shift[c]
    };
    x.map_rows(|row| row.iter().enumerate().map(|(c, &x)| normalise(c, x)).collect())
}

fn largest(values: &[f64], corners: &mut Corners) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let second = values.iter().copied().filter(|value| *value != largest).fold(f64::NEG_INFINITY, f64::max);
    corners.pass(largest - second);
    largest
}

/// Computes an encoding with its textbook formula.
pub fn encode(encoding: Encoding, x: &[f64], table: &[f64]) -> Vec<f64> {
    use std::f64::consts::PI;
    let features = |n: u32, f: &dyn Fn(f64, u32) -> f64| {
        x.iter().flat_map(|&x| (0..n).map(move |k| (x, k))).map(|(x, k)| f(x, k)).collect::<Vec<f64>>()
    };
    match encoding {
        Encoding::Identity { scale, offset } => features(1, &|x, _| f64::from(scale) * x + f64::from(offset)),
        Encoding::Frequency { frequencies } => features(2 * frequencies, &|x, k| {
            let angle = 2f64.powi(k as i32 / 2) * PI * x;
            if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        }),
        // The arcsine of a sine is a triangle wave.
        Encoding::TriangleWave { frequencies } => {
            features(frequencies, &|x, k| (2f64.powi(k as i32) * PI * x).sin().asin() * 2.0 / PI)
        }
        // The integral of the kernel over a bin, by Simpson's rule with 64 intervals.
        Encoding::OneBlob { bins } => features(bins, &|x, k| {
            let n = f64::from(bins);
            let kernel = |u: f64| 15.0 / 16.0 * (1.0 - u * u).max(0.0).powi(2);
            let (start, end) = (f64::from(k) - n * x, f64::from(k) + 1.0 - n * x);
            let (start, end) = (start.clamp(-1.0, 1.0), end.clamp(-1.0, 1.0));
            let simpson = |a: f64, b: f64| (b - a) / 6.0 * (kernel(a) + 4.0 * kernel((a + b) / 2.0) + kernel(b));
            let at = |i: u32| start + (end - start) * f64::from(i) / 64.0;
            (0..64).map(|i| simpson(at(i), at(i + 1))).sum()
        }),
        Encoding::SphericalHarmonics { degree } => x.chunks(3).flat_map(|d| harmonics(d, degree as usize)).collect(),
        Encoding::HashGrid(grid) => {
            let (entries, features) = (1u64 << grid.log2_hashmap_size, grid.features_per_level as usize);
            let mut first = 0;
            let mut y = Vec::new();
            for level in 0..grid.levels {
                let scale = f64::from(grid.per_level_scale).powi(level as i32);
                let resolution = (f64::from(grid.base_resolution) * scale).round();
                let side = match grid.storage {
                    GridStorage::Tiled => (resolution as u64 + 1).min(grid.base_resolution.into()),
                    _ => resolution as u64 + 1,
                };
                let vertices = side.pow(x.len() as u32);
                let hashed = grid.storage == GridStorage::Hash && vertices > entries;
                let mut sum = vec![0.0; features];
                for corner in 0..1usize << x.len() {
                    let (mut weight, mut number, mut hash) = (1.0, 0, 0u32);
                    for (axis, x) in x.iter().enumerate().rev() {
                        let p = x.clamp(0.0, 1.0) * resolution;
                        let cell = p.floor().min(resolution - 1.0);
                        let far = (corner >> axis & 1) as f64;
                        weight *= match grid.interpolation {
                            GridInterpolation::Nearest => f64::from(u8::from((p - cell).round() == far)),
                            GridInterpolation::Smoothstep => {
                                let t = 1.0 - (p - cell - far).abs();
                                t * t * (3.0 - 2.0 * t)
                            }
                            _ => 1.0 - (p - cell - far).abs(),
                        };
                        let vertex = (cell + far) as u64;
                        number = number * side + vertex % side;
                        hash ^= (vertex as u32).wrapping_mul([1, 2654435761, 805459861, 3674653429][axis]);
                    }
                    let entry = if hashed { u64::from(hash) % entries } else { number };
                    for (f, sum) in sum.iter_mut().enumerate() {
                        *sum += weight * table[(first + entry as usize) * features + f];
                    }
                }
                y.extend(sum);
                first += (if hashed { entries } else { vertices } as usize).next_multiple_of(64 / features);
            }
            y
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The real spherical harmonics below a degree, orthonormal over the unit sphere. Their polynomials are found
/// numerically, so this shares no coefficient with the library.
fn harmonics(direction: &[f64], degree: usize) -> Vec<f64> {
    static POLYNOMIALS: OnceLock<Vec<Vec<Vec<f64>>>> = OnceLock::new();
    let polynomials = POLYNOMIALS.get_or_init(|| (0..8).map(|m| polynomials_along_z(m, 8)).collect());
    let [x, y, z] = direction.try_into().unwrap();
    let mut features = vec![0.0; degree * degree];
    for l in 0..degree {
        for m in 0..=l {
            // The sine of the polar angle to the power m, with the sign of Condon and Shortley.
            let radius = (-f64::hypot(x, y)).powi(m as i32);
            let (sin, cos) = (m as f64 * f64::atan2(y, x)).sin_cos();
            let along_z = radius * value(&polynomials[m][l - m], z);
            features[l * l + l - m] = along_z * sin;
            features[l * l + l + m] = along_z * cos;
        }
    }
    features
}

/// The polynomials of order m for the degrees l below `degree`. Gram and Schmidt make them orthonormal on [-1, 1] with
/// the weight (1 - z^2)^m, times the integral of cos^2(m phi) over a turn.
fn polynomials_along_z(m: usize, degree: usize) -> Vec<Vec<f64>> {
    let turn = std::f64::consts::PI * if m == 0 { 2.0 } else { 1.0 };
    let product = |p: &[f64], q: &[f64]| {
        let f = |z: f64| value(p, z) * value(q, z) * (1.0 - z * z).powi(m as i32);
        // Simpson's rule. Its error is about 1e-12 with this number of intervals.
        let n = 4000;
        let h = 2.0 / f64::from(n);
        let inside = |i: u32| f64::from([2, 4][i as usize % 2]) * f(-1.0 + h * f64::from(i));
        turn * h / 3.0 * (f(-1.0) + f(1.0) + (1..n).map(inside).sum::<f64>())
    };
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for power in 0..degree - m {
        let mut p = vec![0.0; power + 1];
        p[power] = 1.0;
        // The second pass removes the rounding errors of the first.
        for q in basis.iter().chain(&basis) {
            let share = product(&p, q);
            p.iter_mut().zip(q).for_each(|(p, q)| *p -= share * q);
        }
        let length = product(&p, &p).sqrt();
        p.iter_mut().for_each(|p| *p /= length);
        basis.push(p);
    }
    basis
}

/// A polynomial with these coefficients, from the constant on.
fn value(coefficients: &[f64], z: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * z + c)
}

/// The loss of a row. It takes logits if the loss includes the last activation.
pub fn loss_of_row(loss: Loss, y: &[f64], targets: &[f64], corners: &mut Corners) -> f64 {
    loss_of_row_near(loss, y, targets, y, corners)
}

/// The loss of a row with the divisors that it has for the outputs `at`. A divisor that counts as a constant in the
/// gradient must not change while `y` moves away from `at`.
pub fn loss_of_row_near(loss: Loss, y: &[f64], targets: &[f64], at: &[f64], corners: &mut Corners) -> f64 {
    let pairs = || y.iter().copied().zip(targets.iter().copied());
    let mean = |f: &dyn Fn(f64, f64) -> f64| pairs().map(|(y, t)| f(y, t)).sum::<f64>() / y.len() as f64;
    let entropy = |targets: &mut dyn Iterator<Item = f64>| {
        let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let of_all = largest + y.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        y.iter().zip(targets).map(|(z, t)| t * (of_all - z)).sum::<f64>()
    };
    match loss {
        Loss::MeanSquaredError => mean(&|y, t| (y - t).powi(2)),
        Loss::SumOfSquares => mean(&|y, t| (y - t).powi(2)) * y.len() as f64,
        Loss::MeanAbsoluteError => {
            pairs().for_each(|(y, t)| corners.pass(y - t));
            mean(&|y, t| (y - t).abs())
        }
        Loss::Huber { delta } => {
            let delta = f64::from(delta);
            mean(&|y, t| match (y - t).abs() {
                e if e <= delta => 0.5 * e * e,
                e => delta * (e - 0.5 * delta),
            })
        }
        Loss::RelativeL2 { epsilon } => {
            let relative = |i: usize| (y[i] - targets[i]).powi(2) / (at[i].powi(2) + f64::from(epsilon));
            (0..y.len()).map(relative).sum::<f64>() / y.len() as f64
        }
        Loss::RelativeL2Luminance { epsilon } => {
            let luminance = 0.299 * at[0] + 0.587 * at[1] + 0.114 * at[2];
            mean(&|y, t| (y - t).powi(2)) / (luminance.powi(2) + f64::from(epsilon))
        }
        Loss::RelativeL1 { epsilon } | Loss::Mape { epsilon } | Loss::Smape { epsilon } => {
            pairs().for_each(|(y, t)| corners.pass(y - t));
            let size = |i: usize| match loss {
                Loss::RelativeL1 { .. } => at[i].abs(),
                Loss::Mape { .. } => targets[i].abs(),
                _ => (at[i].abs() + targets[i].abs()) / 2.0,
            };
            let relative = |i: usize| (y[i] - targets[i]).abs() / (size(i) + f64::from(epsilon));
            (0..y.len()).map(relative).sum::<f64>() / y.len() as f64
        }
        Loss::LogL1 => {
            pairs().for_each(|(y, t)| corners.pass(y - t));
            mean(&|y, t| (1.0 + (y - t).abs()).ln())
        }
        // Below 0, the tangents at 0: t² (1 / ε − y / ε²) and −t (ln ε + y / ε).
        Loss::Variance { epsilon } => {
            let e = f64::from(epsilon);
            mean(&|y, t| t * t * if y < 0.0 { 1.0 / e - y / (e * e) } else { 1.0 / (y + e) })
        }
        Loss::DensityCrossEntropy { epsilon } => {
            let e = f64::from(epsilon);
            mean(&|y, t| -t * if y < 0.0 { e.ln() + y / e } else { (y + e).ln() })
        }
        Loss::BinaryCrossEntropy => mean(&|z, t| z.max(0.0) - t * z + (-z.abs()).exp().ln_1p()),
        Loss::SoftmaxCrossEntropy => entropy(&mut targets.iter().copied()),
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => {
            let (s, n) = (f64::from(smoothing), y.len() as f64);
            entropy(&mut targets.iter().map(|t| (1.0 - s) * t + s / n))
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The targets of a row that correspond to a label.
pub fn label_targets(label: u32, outputs: usize) -> Vec<f64> {
    match outputs {
        1 => vec![f64::from(label)],
        _ => (0..outputs).map(|output| f64::from(u8::from(output == label as usize))).collect(),
    }
}

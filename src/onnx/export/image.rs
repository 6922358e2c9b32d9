//! Layers of images and sequences: their operators have the channels first.

use std::borrow::Cow;

use super::{Exporter, Order, Outputs, int, one};
use crate::network::{Conv, Crop, Interpolation, Margin, Node, Pad, Padding, Pool, Upsample, margins};
use crate::onnx::Result;
use crate::onnx::messages::Attribute;
use crate::ops::Pooling;
use crate::shape::Shape;

/// An attribute with a number for each dimension of a sample without its channels.
fn each(name: &str, sample: Shape, both: [u32; 2]) -> (&str, Attribute) {
    (name, Attribute::Ints(both[3 - sample.len()..].iter().map(|&length| length.into()).collect()))
}

/// The paddings before all dimensions, then those after them.
fn pads(conv: &Conv, sample: Shape) -> (&'static str, Attribute) {
    let first = 3 - sample.len();
    let sides: Vec<[i64; 2]> = (first..2).map(|i| conv.padded(i, sample[i - first])).collect();
    let all = (0..2).flat_map(|side| sides.iter().map(move |both| both[side])).collect();
    ("pads", Attribute::Ints(all))
}

pub(super) fn conv(exp: &mut Exporter, node: &Node, conv: &Conv) -> Result<Outputs> {
    let (sample, parameter) = (exp.shape(node), exp.parameter(node, 0));
    let [ref kernel @ .., of_group, outputs] = parameter.shape[..] else {
        return Err("weights without a kernel".into());
    };
    let (groups, is_transposed) = (conv.groups, conv.transposed.is_some());
    // [kernel, inputs of a group, outputs] becomes [outputs, inputs of a group, kernel], or [inputs, outputs of a
    // group, kernel] for a transposed convolution.
    let (rows, columns) = if is_transposed { (groups * of_group, outputs / groups) } else { (outputs, of_group) };
    let [of_group, outputs, rows, columns] = [of_group, outputs, rows, columns].map(|count| count as usize);
    let dims = [rows, columns].into_iter().map(|count| count as u64).chain(kernel.iter().map(|&k| k.into())).collect();
    let taps = kernel.iter().map(|&length| length as usize).product::<usize>();
    let weight = exp.arranged(parameter, dims, |values| {
        let mut arranged = Vec::with_capacity(values.len());
        for row in 0..rows {
            for column in 0..columns {
                let (input, output) = match is_transposed {
                    true => (row % of_group, row / of_group * columns + column),
                    false => (column, row),
                };
                arranged.extend((0..taps).map(|tap| values[(tap * of_group + input) * outputs + output]));
            }
        }
        Cow::Owned(arranged)
    });
    let x = exp.input(node, 0, Order::ChannelsFirst);
    let mut inputs = vec![x, weight];
    if node.parameters.len() > 1 {
        inputs.push(exp.weight(exp.parameter(node, 1)));
    }
    let mut attributes = vec![
        each("kernel_shape", sample, conv.kernel),
        each("strides", sample, conv.stride),
        each("dilations", sample, conv.dilation),
        pads(conv, sample),
        int("group", groups.into()),
    ];
    if let Some(more) = conv.transposed {
        // "same" lengthens the output if the kernel is shorter than the stride.
        let more = match conv.padding {
            Padding::Explicit(_) => more,
            Padding::Same => [0, 1].map(|i| (i64::from(conv.stride[i]) - conv.span(i)).max(0) as u32),
        };
        attributes.push(each("output_padding", sample, more));
    }
    let op = if is_transposed { "ConvTranspose" } else { "Conv" };
    let y = exp.node(op, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), attributes);
    one(exp.activated(conv.activation, y, 1)?, Order::ChannelsFirst)
}

pub(super) fn pool(exp: &mut Exporter, node: &Node, pool: &Pool) -> Result<Outputs> {
    let (sample, x) = (exp.shape(node), exp.input(node, 0, Order::ChannelsFirst));
    let attributes = vec![
        each("kernel_shape", sample, pool.size),
        each("strides", sample, pool.stride),
        pads(&pool.as_conv(sample), sample),
    ];
    let op = if pool.how == Pooling::Max { "MaxPool" } else { "AveragePool" };
    one(exp.node(op, &[&x], attributes), Order::ChannelsFirst)
}

pub(super) fn upsample(exp: &mut Exporter, node: &Node, upsample: &Upsample) -> Result<Outputs> {
    let (from, to) = (exp.shape(node), node.shapes[0]);
    let axes = 0..from.len() - 1;
    let x = exp.input(node, 0, Order::ChannelsFirst);
    let is_exact = axes.clone().all(|axis| divides_exactly(from[axis], to[axis]));
    if upsample.how == Interpolation::Nearest && !is_exact {
        return nearest(exp, x, from, to);
    }
    // The batch and the channels keep their lengths. Sizes of some axes only would need the attribute `axes`, with which
    // onnxruntime 1.32 fails if a transpose comes before it.
    let same = exp.helper("Shape", &[&x], vec![int("start", 0), int("end", 2)]);
    let lengths: Vec<i64> = axes.map(|axis| to[axis].into()).collect();
    let lengths = exp.ints(&lengths);
    let sizes = exp.helper("Concat", &[&same, &lengths], vec![int("axis", 0)]);
    let text = |name, value: &str| (name, Attribute::Text(value.into()));
    let attributes = match upsample.how {
        Interpolation::Nearest => vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ],
        Interpolation::Bilinear => {
            vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
        }
    };
    one(exp.node("Resize", &[&x, "", "", &sizes], attributes), Order::ChannelsFirst)
}

/// Whether floor(i / (m / n)) is floor(i · n / m) for each output i of m, in f32 as in f64. Readers divide by the
/// rounded scale.
fn divides_exactly(n: u32, m: u32) -> bool {
    let scale = m as f32 / n as f32;
    let wide = f64::from(m) / f64::from(n);
    (0..m).all(|i| {
        let place = u64::from(i) * u64::from(n) / u64::from(m);
        (i as f32 / scale) as u64 == place && (f64::from(i) / wide) as u64 == place
    })
}

/// Nearest-neighbour interpolation by the indices of rows and columns.
fn nearest(exp: &mut Exporter, x: String, from: Shape, to: Shape) -> Result<Outputs> {
    let mut y = x;
    for axis in 0..from.len() - 1 {
        let (n, m) = (i64::from(from[axis]), i64::from(to[axis]));
        let places: Vec<i64> = (0..m).map(|i| i * n / m).collect();
        let places = exp.ints(&places);
        y = exp.node("Gather", &[&y, &places], vec![int("axis", axis as i64 + 2)]);
    }
    one(y, Order::ChannelsFirst)
}

pub(super) fn pad(exp: &mut Exporter, node: &Node, pad: &Pad) -> Result<Outputs> {
    let sample = exp.shape(node);
    let sides = &margins(pad.sides, sample)[3 - sample.len()..];
    // None for the batch and the channels.
    let all = (0..2).flat_map(|side| [0, 0].into_iter().chain(sides.iter().map(move |both| both[side].into())));
    let mode = match pad.with {
        Margin::Zeros => "constant",
        Margin::Reflect => "reflect",
        Margin::Replicate => "edge",
    };
    let x = exp.input(node, 0, Order::ChannelsFirst);
    let all = exp.ints(&all.collect::<Vec<i64>>());
    let y = exp.node("Pad", &[&x, &all], vec![("mode", Attribute::Text(mode.into()))]);
    one(y, Order::ChannelsFirst)
}

pub(super) fn crop(exp: &mut Exporter, node: &Node, crop: &Crop) -> Result<Outputs> {
    let (x, order) = exp.native(node, 0);
    let sample = exp.shape(node);
    let sides = &margins(crop.sides, sample)[3 - sample.len()..];
    let ranges = sides.iter().enumerate().map(|(axis, side)| (axis, side[0], sample[axis] - side[1]));
    let y = exp.part(&x, ranges.map(|(axis, start, end)| (order.dim(axis, sample.len()), start, end)));
    one(y, order)
}

pub(super) fn blocks(exp: &mut Exporter, node: &Node, op: &str, block: u32) -> Result<Outputs> {
    let x = exp.input(node, 0, Order::ChannelsFirst);
    one(exp.node(op, &[&x], vec![int("blocksize", block.into())]), Order::ChannelsFirst)
}

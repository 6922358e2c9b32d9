//! Upsampling, padding, cropping, depth to space and space to depth.

use super::{Builder, LayerContext, Lowered, Role, Tensor, made, seen_as};
use crate::error::Result;
use crate::network::{Layer, Margin, margins};
use crate::ops::transposed;
use crate::plan::{Pad, Rearrange, Resample, Terms};

/// How one of these layers maps elements.
enum Map {
    /// Weighted sums along rows and columns.
    Sums([Terms; 2]),
    /// Zeros around the image, which starts at this row and column.
    Zeros([u32; 2]),
    /// A part of the image, which starts at this row and column.
    Part([u32; 2]),
    /// Depth to space if true, else space to depth, with blocks of this size.
    Blocks(u32, bool),
}

fn map(at: &LayerContext) -> Option<Map> {
    let first = |sides| margins(sides, at.input_shape()).map(|[before, _]| before);
    Some(match &at.node.layer {
        Layer::Upsample(upsample) => Map::Sums(upsample.terms(at.input_shape(), at.shape())),
        Layer::Pad(pad) if pad.with == Margin::Zeros => Map::Zeros(first(pad.sides)),
        Layer::Pad(pad) => Map::Sums(pad.terms(at.input_shape())),
        Layer::Crop(crop) => Map::Part(first(crop.sides)),
        Layer::DepthToSpace(block) => Map::Blocks(*block, true),
        Layer::SpaceToDepth(block) => Map::Blocks(*block, false),
        _ => return None,
    })
}

pub(super) fn forward(at: &LayerContext, plan: &mut Builder) -> Result<Lowered> {
    let output = plan.activation(&at.node.name, at.shape())?;
    if let Some(map) = map(at) {
        push(&at.name("table"), map, image(at.inputs[0]), image(output), plan)?;
    }
    Ok(made(output))
}

pub(super) fn backward(at: &LayerContext, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (Some(sink), Some(map)) = (plan.sink(at, 0)?, map(at)) else { return Ok(()) };
    let (gradient, sink) = (image(gradient), image(sink));
    let back = match map {
        Map::Sums(terms) => Map::Sums([0, 1].map(|side| transposed(&terms[side], sink.shape[side + 1]))),
        Map::Zeros(first) => Map::Part(first),
        Map::Part(first) => Map::Zeros(first),
        Map::Blocks(block, to_space) => Map::Blocks(block, !to_space),
    };
    push(&at.name("gradient_table"), back, gradient, sink, plan)
}

fn push(table: &str, map: Map, input: Tensor, output: Tensor, plan: &mut Builder) -> Result<()> {
    let part = |whole: Tensor, [row, column]: [u32; 2], of: Tensor| {
        let [_, height, width, _] = of.shape[..] else { return whole };
        whole.range(1, row..row + height).range(2, column..column + width)
    };
    match map {
        Map::Sums(terms) => {
            let (words, terms) = Resample::table(&terms);
            let table = plan.buffer(table, words.len() as u32, Role::ResampleTable)?;
            plan.fill(table, words);
            plan.push(Resample { input, table, output, terms });
        }
        Map::Zeros([row, column]) => plan.push(Pad { input, output, start: [0, row, column, 0].into() }),
        Map::Part(first) => plan.push(Rearrange { input: part(input, first, output), output, scale: 1.0 }),
        Map::Blocks(block, to_space) => {
            // The two dimensions of a block are interleaved with height and width in space, and come before the
            // channels in depth.
            let depth = if to_space { input } else { output };
            let [samples, height, width, channels] = depth.shape[..] else { return Ok(()) };
            let (rows, each) = (samples * height, channels / block);
            let of = |tensor, is_depth: bool| match is_depth {
                true => seen_as(tensor, [rows, width, block, each]).permuted(&[0, 2, 1, 3]),
                false => seen_as(tensor, [rows, block, width, each]),
            };
            plan.push(Rearrange { input: of(input, to_space), output: of(output, !to_space), scale: 1.0 });
        }
    }
    Ok(())
}

/// Views a batch of sequences as images with one row.
fn image(tensor: Tensor) -> Tensor {
    match tensor.shape[..] {
        [samples, steps, channels] => seen_as(tensor, [samples, 1, steps, channels]),
        _ => tensor,
    }
}

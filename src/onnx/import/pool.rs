//! Pooling, and local response normalisation.

use super::conv::{both, each, padding, pads, same};
use super::{Entry, Importer, Op, one};
use crate::network::{Layer, Margin, Pad, Pool};
use crate::onnx::Result;
use crate::onnx::layout::View;

pub(super) fn pool(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let image = imp.image(&x, false)?;
    let rank = image.lengths.len();
    let [size, strides] = [each(node, "kernel_shape", rank, 0)?, each(node, "strides", rank, 1)?];
    if each(node, "dilations", rank, 1)?.iter().any(|&dilation| dilation != 1) {
        return Err("attribute dilations: only 1 is supported in a pool".into());
    }
    let ceil = node.int("ceil_mode", 0)? != 0;
    let mut sides = pads(node, rank, |i| Ok(same(image.lengths[i], size[i], strides[i], 1)))?;
    let mut value = image.value;
    let includes = node.op == "AveragePool" && node.int("count_include_pad", 0)? != 0;
    let mut lengths = image.lengths.clone();
    if includes && sides.iter().flatten().any(|&side| side > 0) {
        value = imp.layer(Pad { with: Margin::Zeros, sides: both(&sides) }, &[value])?;
        for (length, side) in lengths.iter_mut().zip(&mut sides) {
            *length += u64::from(side[0]) + u64::from(side[1]);
            *side = [0; 2];
        }
    }
    if ceil {
        for i in 0..rank {
            let [length, before, behind] = [lengths[i], sides[i][0].into(), sides[i][1].into()];
            let (span, stride) = (u64::from(size[i]), u64::from(strides[i].max(1)));
            let mut positions = (length + before + behind).saturating_sub(span).div_ceil(stride);
            // The last window must begin within the image or the padding before it.
            if positions * stride >= length + before {
                positions -= 1;
            }
            let more = (positions * stride + span).saturating_sub(length + before);
            sides[i][1] = u32::try_from(more).map_err(|_| "attribute ceil_mode: too large")?;
        }
    }
    let mut layer = if node.op == "MaxPool" { Pool::max(both(&size)) } else { Pool::average(both(&size)) };
    layer = layer.stride(both(&strides));
    layer.padding = padding(&sides);
    let value = imp.layer(layer, &[value])?;
    one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?)
}

pub(super) fn global(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let dims: Vec<usize> = (2 - imp.batch..x.dims.len()).collect();
    let y = imp.reduced(&x, &dims, op.node.op == "GlobalMaxPool", true)?;
    one(View { channels: Some(1 - imp.batch), ..y })
}

/// y = x / (bias + alpha · mean of x² over neighbouring channels)^beta.
pub(super) fn lrn(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let size = u32::try_from(node.int("size", 0)?).unwrap_or(0);
    if size == 0 {
        return Err("attribute size: expected a number of at least 1".into());
    }
    let image = imp.image(&x, true)?;
    let positions: u64 = image.lengths.iter().product();
    let squares = imp.layer(Layer::Multiply, &[image.value, image.value])?;
    let rows = imp.shaped(squares, &[positions, image.channel_count, 1])?;
    let sides = [[0; 2], [(size - 1) / 2, size / 2]];
    let padded = imp.layer(Pad { with: Margin::Zeros, sides }, &[rows])?;
    let means = imp.layer(Pool::average([1, size]).stride(1), &[padded])?;
    let means = imp.shaped(means, &[&image.lengths[..], &[image.channel_count]].concat())?;
    let scaled = imp.scale_shift(node.float("alpha", 1e-4)?, node.float("bias", 1.0)?, means)?;
    let divisor = imp.power(scaled, -node.float("beta", 0.75)?)?;
    let value = imp.layer(Layer::Multiply, &[image.value, divisor])?;
    one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?)
}

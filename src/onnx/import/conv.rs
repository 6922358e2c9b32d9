//! Conv and ConvTranspose. Their weights become channels-last when they are loaded.

use super::dense::module;
use super::{Entry, Importer, Op, one};
use crate::network::{Conv, Layer, Padding, Value};
use crate::onnx::Result;
use crate::onnx::layout::{Factor, View, count, permutation};
use crate::onnx::messages::Node;

/// A value as images or sequences with the channels last.
pub(super) struct Image {
    /// Of shape \[height, width, channels\] or \[steps, channels\].
    pub value: Value,
    /// Lengths of the dimensions without the channels.
    pub lengths: Vec<u64>,
    /// The factors of the channels, in ONNX's order and in memory.
    pub channels: Vec<Factor>,
    pub in_memory: Vec<Factor>,
    pub channel_count: u64,
}

impl Importer<'_> {
    /// Brings the channels last in memory, in any order unless `ordered`.
    pub(super) fn image(&mut self, x: &View, ordered: bool) -> Result<Image> {
        let mut dims = x.dims.clone();
        if self.batch == 0 {
            match dims.first() {
                Some(first) if first.is_empty() => dims.remove(0),
                _ => return Err("more than one image in one sample".into()),
            };
        }
        if !(2..=3).contains(&dims.len()) {
            return Err(format!("an input of {} dimensions; images and sequences are supported", dims.len() + 1));
        }
        let channels = dims.remove(0);
        let spatial = dims.concat();
        let present = [&spatial[..], &x.in_memory_order(&channels)].concat();
        let wanted = if x.order == present && !ordered { present } else { [&spatial[..], &channels].concat() };
        let view = self.arranged(x, wanted)?;
        let lengths: Vec<u64> = dims.iter().map(|dim| count(dim)).collect();
        let channel_count = count(&channels);
        let value = self.shaped(view.value, &[&lengths[..], &[channel_count]].concat())?;
        let in_memory = view.in_memory_order(&channels);
        Ok(Image { value, lengths, channels, in_memory, channel_count })
    }

    /// The view of a result of shape \[height, width, channels\]. `channels`: their factors in ONNX's order and in
    /// memory, or `None` for new channels.
    pub fn view_of_image(&mut self, value: Value, channels: Option<(Vec<Factor>, Vec<Factor>)>) -> Result<View> {
        let shape = self.shape(value)?;
        let (last, lengths) = shape.split_last().ok_or("no dimensions")?;
        let (channels, in_memory) = match channels {
            Some(both) => both,
            None => {
                let new = self.factors.of((*last).into())?;
                (new.clone(), new)
            }
        };
        let spatial = lengths.iter().map(|&d| self.factors.of(d.into())).collect::<Result<Vec<_>>>()?;
        let order = [spatial.concat(), in_memory].concat();
        let mut dims = vec![channels];
        dims.extend(spatial);
        if self.batch == 0 {
            dims.insert(0, vec![]);
        }
        Ok(View { value, dims, order, batch_at: 0, channels: Some(1 - self.batch) })
    }
}

/// An attribute with a number for each dimension of an image.
pub(super) fn each(node: &Node, name: &str, rank: usize, default: u32) -> Result<Vec<u32>> {
    let Some(values) = node.ints(name)? else { return Ok(vec![default; rank]) };
    let values = values.iter().map(|&value| u32::try_from(value).ok()).collect::<Option<Vec<u32>>>();
    match values {
        Some(values) if values.len() == rank => Ok(values),
        _ => Err(format!("attribute {name}: expected {rank} numbers of at least 0, got {:?}", node.ints(name)?)),
    }
}

/// Those of height and width; a sequence has one for both.
pub(super) fn both<T: Copy>(values: &[T]) -> [T; 2] {
    [values[0], values[values.len() - 1]]
}

/// The padding before and after each dimension. `missing`: for a dimension, the padding that "same" asks for.
pub(super) fn pads(node: &Node, rank: usize, missing: impl Fn(usize) -> Result<u32>) -> Result<Vec<[u32; 2]>> {
    match node.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" => {
            let all = each(node, "pads", 2 * rank, 0)?;
            Ok((0..rank).map(|i| [all[i], all[i + rank]]).collect())
        }
        "VALID" => Ok(vec![[0; 2]; rank]),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            (0..rank).map(|i| Ok(shared(missing(i)?, mode == "SAME_UPPER"))).collect()
        }
        other => Err(format!("attribute auto_pad: {other:?} is not supported")),
    }
}

/// A padding, half before a dimension and half after it. `upper`: the larger half is after it.
fn shared(all: u32, upper: bool) -> [u32; 2] {
    if upper { [all / 2, all - all / 2] } else { [all - all / 2, all / 2] }
}

/// Padding of images or sequences.
pub(super) fn padding(sides: &[[u32; 2]]) -> Padding {
    Padding::Explicit(both(sides))
}

/// The padding for an output length of length / stride, rounded up.
pub(super) fn same(length: u64, kernel: u32, stride: u32, dilation: u32) -> u32 {
    let stride = u64::from(stride.max(1));
    let span = u64::from(dilation) * u64::from(kernel.saturating_sub(1)) + 1;
    let needed = (length.div_ceil(stride) - 1) * stride + span;
    needed.saturating_sub(length).try_into().unwrap_or(u32::MAX)
}

pub(super) fn conv(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x, w) = (op.node, op.view(0)?, op.constant(1)?);
    let transposed = node.op == "ConvTranspose";
    let groups = usize::try_from(node.int("group", 1)?).map_err(|_| "attribute group: a negative number")?;
    let image = imp.image(&x, groups > 1)?;
    let rank = image.lengths.len();
    let [first, second, ref kernel @ ..] = w.dims[..] else { return Err("weights without dimensions".into()) };
    if kernel.len() != rank || kernel.iter().any(|&k| k > 4096) {
        return Err(format!("weights of the shape {:?} for images of {rank} dimensions", w.dims));
    }
    let kernel: Vec<u32> = kernel.iter().map(|&k| k as u32).collect();
    if each(node, "kernel_shape", rank, 0)? != kernel && node.attribute("kernel_shape").is_some() {
        return Err(format!("attribute kernel_shape: expected {kernel:?}, the shape of the weights"));
    }
    let of_all_groups = second.saturating_mul(groups as u64);
    let (inputs, outputs) = if transposed { (first, of_all_groups) } else { (of_all_groups, first) };
    if inputs != image.channel_count || groups == 0 || !first.is_multiple_of(groups as u64) {
        let channels = image.channel_count;
        return Err(format!("weights of the shape {:?} in {groups} groups for {channels} channels", w.dims));
    }
    let [strides, dilations] = [each(node, "strides", rank, 1)?, each(node, "dilations", rank, 1)?];
    let mut more = each(node, "output_padding", rank, 0)?;
    let sides = match transposed {
        false => pads(node, rank, |i| Ok(same(image.lengths[i], kernel[i], strides[i], dilations[i])))?,
        true => {
            let wanted =
                node.ints("output_shape")?.map(|all| all.iter().rev().take(rank).rev().copied().collect::<Vec<_>>());
            // The padding that is needed for the wanted output length. A negative one lengthens the output.
            let missing = |i: usize| {
                let length = image.lengths[i] as i64;
                let wanted = match &wanted {
                    Some(wanted) => *wanted.get(i).ok_or("attribute output_shape: too few numbers")?,
                    None => length.saturating_mul(i64::from(strides[i])),
                };
                let span = i64::from(dilations[i]) * (i64::from(kernel[i]) - 1) + 1;
                let made = (length - 1).saturating_mul(i64::from(strides[i])).saturating_add(i64::from(more[i]) + span);
                Ok::<i64, String>(made.saturating_sub(wanted))
            };
            let is_auto = node.text("auto_pad", "NOTSET")?.starts_with("SAME") || wanted.is_some();
            if is_auto {
                let missing = (0..rank).map(missing).collect::<Result<Vec<_>>>()?;
                let upper = node.text("auto_pad", "NOTSET")? == "SAME_UPPER";
                for (more, missing) in more.iter_mut().zip(&missing).filter(|(_, missing)| **missing < 0) {
                    let added =
                        u32::try_from(missing.unsigned_abs()).ok().and_then(|missing| more.checked_add(missing));
                    *more = added.ok_or("attribute output_shape: too large")?;
                }
                missing.iter().map(|&all| shared(u32::try_from(all).unwrap_or(0), upper)).collect()
            } else {
                pads(node, rank, |_| Ok(0))?
            }
        }
    };
    let channels = u32::try_from(outputs).map_err(|_| "too many channels")?;
    let mut layer =
        if transposed { Conv::transposed(channels, both(&kernel)) } else { Conv::new(channels, both(&kernel)) };
    layer = layer.stride(both(&strides)).dilation(both(&dilations)).groups(groups as u32).output_padding(both(&more));
    layer.padding = padding(&sides);
    let taps = kernel.iter().map(|&k| k as usize).product::<usize>();
    let (outputs, of_group) = (outputs as usize, inputs as usize / groups);
    imp.affords(w.len())?;
    let values = w.to_f32()?;
    let order = permutation(&image.channels, &image.in_memory);
    let place = |i: usize| order.as_ref().map_or(i, |order| order[i]);
    let mut weight = Vec::with_capacity(values.len());
    for tap in 0..taps {
        for input in 0..of_group {
            for output in 0..outputs {
                let (row, column) = match transposed {
                    true => {
                        let each = outputs / groups;
                        (output / each * of_group + place(input), output % each)
                    }
                    false => (output, place(input)),
                };
                let columns = if transposed { outputs / groups } else { of_group };
                weight.push(values[(row * columns + column) * taps + tap]);
            }
        }
    }
    let mut numbers = vec![("weight", weight)];
    match op.optional(2)? {
        Some(bias) if bias.len() == outputs as u64 => numbers.push(("bias", bias.to_f32()?)),
        Some(bias) => return Err(format!("a bias of the shape {:?} for {outputs} channels", bias.dims)),
        // Room for a batch normalisation that is folded into it.
        None if imp.options.fold_batch_norm => numbers.push(("bias", vec![0.0; outputs])),
        None => layer = layer.without_bias(),
    }
    let value = imp.layers(Layer::Conv(layer), &[image.value], module(op, 1), numbers)?[0];
    imp.may_fold(op, value);
    one(imp.view_of_image(value, None)?)
}

//! Pad, Resize and Upsample, DepthToSpace and SpaceToDepth.

use super::conv::both;
use super::moving::{cropped, padded};
use super::{Entry, Importer, Op, one};
use crate::network::{Interpolation, Layer, Margin, Pad, Upsample};
use crate::onnx::Result;
use crate::onnx::layout::View;
use crate::onnx::messages::{Attribute, Node};
use crate::onnx::tensor::Int;

pub(super) fn pad(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, mut x) = (op.node, op.view(0)?);
    let with = match node.text("mode", "constant")? {
        "constant" => Margin::Zeros,
        "reflect" => Margin::Reflect,
        "edge" => Margin::Replicate,
        other => return Err(format!("attribute mode: {other:?} is not supported")),
    };
    let value = match (op.optional(2)?, node.attribute("value")) {
        (Some(value), _) => value.uniform().ok_or("a padding value that is no float")?,
        (None, Some(_)) => node.float("value", 0.0)?,
        _ => 0.0,
    };
    let pads = op.given()?.ints("pads", 1)?.ok_or("the pads are missing")?;
    let axes = match op.optional(3)? {
        Some(axes) => axes.to_known()?,
        None => (0..(x.dims.len() + imp.batch) as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} dimensions", pads.len(), axes.len()));
    }
    let mut sides = vec![[0i64; 2]; x.dims.len()];
    for (i, axis) in axes.iter().enumerate() {
        let both = [pads[i], pads[i + axes.len()]];
        if both != [0, 0] {
            sides[imp.axis(&x, *axis)?] = both;
        }
    }
    for (dim, both) in sides.iter_mut().enumerate() {
        if both.iter().any(|&side| side < 0) {
            x = cropped(imp, &x, dim, both.map(|side| side.min(0).unsigned_abs()))?;
            *both = both.map(|side| side.max(0));
        }
    }
    if sides.iter().flatten().any(|&side| side > 1 << 20) {
        return Err("a padding of more than 2²⁰".into());
    }
    let sides: Vec<[u32; 2]> = sides.iter().map(|both| both.map(|side| side as u32)).collect();
    let shifts = with == Margin::Zeros && value != 0.0;
    if shifts {
        x.value = imp.scale_shift(1.0, -value, x.value)?;
    }
    let first = 2 - imp.batch;
    let of_image = (0..sides.len()).all(|dim| dim >= first || sides[dim] == [0; 2]) && x.dims.len() > first;
    let y = if of_image && x.dims.len() <= first + 2 && (imp.batch == 1 || x.dims[0].is_empty()) {
        let image = imp.image(&x, false)?;
        let pad = Pad { with, sides: both(&sides[first..]) };
        let value = imp.layer(pad, &[image.value])?;
        imp.view_of_image(value, Some((image.channels, image.in_memory)))?
    } else {
        for (dim, both) in sides.iter().enumerate().filter(|(_, both)| **both != [0; 2]) {
            x = padded(imp, &x, dim, *both, with)?;
        }
        x
    };
    let value = if shifts { imp.scale_shift(1.0, value, y.value)? } else { y.value };
    one(View { value, ..y })
}

/// Scales or sizes, for each dimension of the tensor with its batch.
enum Wanted {
    Scales(Vec<f32>),
    Sizes(Vec<Int>),
}

pub(super) fn resize(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let of_scales = |input: usize| -> Result<Option<Wanted>> {
        Ok(match op.optional(input)? {
            Some(tensor) if tensor.len() > 0 => Some(Wanted::Scales(tensor.to_f32()?)),
            _ => None,
        })
    };
    let wanted = match node.attribute("scales") {
        Some(Attribute::Floats(scales)) => Some(Wanted::Scales(scales.clone())),
        _ if node.op == "Upsample" || imp.opset < 11 => of_scales(1)?,
        _ => match op.optional(3)? {
            Some(sizes) if sizes.len() > 0 => Some(Wanted::Sizes(sizes.to_ints()?)),
            _ => of_scales(2)?,
        },
    };
    let wanted = wanted.ok_or("neither scales nor sizes")?;
    if node.int("antialias", 0)? != 0 {
        return Err("attribute antialias: only 0 is supported".into());
    }
    if node.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err("attribute keep_aspect_ratio_policy: only stretch is supported".into());
    }
    let rank = x.dims.len() + imp.batch;
    let axes: Vec<usize> = match node.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| crate::onnx::fold::axis(axis, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    let count = match &wanted {
        Wanted::Scales(scales) => scales.len(),
        Wanted::Sizes(sizes) => sizes.len(),
    };
    if count != axes.len() {
        return Err(format!("{count} scales or sizes for {} dimensions", axes.len()));
    }
    let image = imp.image(&x, false)?;
    let mut to = image.lengths.clone();
    let mut scales = vec![1.0; to.len()];
    for (i, axis) in axes.into_iter().enumerate() {
        match (axis.checked_sub(2), &wanted) {
            (None, Wanted::Scales(scales)) if scales[i] == 1.0 => {}
            // The batch and the channels keep their lengths.
            (None, Wanted::Sizes(sizes))
                if axis < imp.batch || sizes[i] == Int::from(x.lengths()[axis - imp.batch] as i64) => {}
            (None, _) => return Err("it resizes the batch or the channels".into()),
            (Some(at), Wanted::Scales(wanted)) => {
                to[at] = (image.lengths[at] as f32 * wanted[i]).floor() as u64;
                scales[at] = f64::from(wanted[i]);
            }
            (Some(at), Wanted::Sizes(sizes)) => {
                to[at] = u64::try_from(sizes[i].known()?).map_err(|_| "a negative size")?;
                scales[at] = to[at] as f64 / image.lengths[at] as f64;
            }
        }
    }
    if to.iter().any(|&length| length == 0 || length > 1 << 16) {
        return Err(format!("an output of {to:?}; expected lengths of 1 to 65536"));
    }
    let lengths: Vec<u32> = to.iter().map(|&length| length as u32).collect();
    let how = interpolation(node, imp.opset, &image.lengths, &to, &scales)?;
    let upsample = Upsample { how, factor: [1; 2], target: Some(both(&lengths)) };
    let value = imp.layer(upsample, &[image.value])?;
    one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?)
}

/// wgrad's interpolation that reads the same inputs with the same weights as ONNX's, at every output.
fn interpolation(node: &Node, opset: i64, from: &[u64], to: &[u64], scales: &[f64]) -> Result<Interpolation> {
    let mode = node.text("mode", "nearest")?;
    let transformation = match node.op == "Upsample" || opset < 11 {
        true => "asymmetric",
        false => node.text("coordinate_transformation_mode", "half_pixel")?,
    };
    let place = |i: u64, n: u64, m: u64, scale: f64| {
        let (i, n, m) = (i as f64, n as f64, m as f64);
        Ok(match transformation {
            "asymmetric" => i / scale,
            "half_pixel" => (i + 0.5) / scale - 0.5,
            "pytorch_half_pixel" if m <= 1.0 => 0.0,
            "pytorch_half_pixel" => (i + 0.5) / scale - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = m / (n * scale);
                n / 2.0 * (1.0 - adjustment) + (i + 0.5) / scale - 0.5
            }
            "align_corners" if m <= 1.0 => 0.0,
            "align_corners" => i * (n - 1.0) / (m - 1.0),
            other => return Err(format!("attribute coordinate_transformation_mode: {other} is not supported")),
        })
    };
    let nearest = match opset < 11 || node.op == "Upsample" {
        true => "floor",
        false => node.text("nearest_mode", "round_prefer_floor")?,
    };
    let differs = || {
        format!(
            "attribute mode: {mode} with {transformation} of {from:?} to {to:?} elements reads other inputs than \
                 wgrad's interpolation"
        )
    };
    for ((&n, &m), &scale) in from.iter().zip(to).zip(scales) {
        for i in 0..m {
            let x = place(i, n, m, scale)?;
            match mode {
                "nearest" => {
                    let rounded = match nearest {
                        "floor" => x.floor(),
                        "ceil" => x.ceil(),
                        "round_prefer_ceil" => (x + 0.5).floor(),
                        _ => (x - 0.5).ceil(),
                    };
                    if rounded.clamp(0.0, n as f64 - 1.0) as u64 != i * n / m {
                        return Err(differs());
                    }
                }
                "linear" | "bilinear" => {
                    let last = n as f64 - 1.0;
                    let own = ((i as f64 + 0.5) * n as f64 / m as f64 - 0.5).clamp(0.0, last);
                    if (x.clamp(0.0, last) - own).abs() > 1e-5 {
                        return Err(differs());
                    }
                }
                other => return Err(format!("attribute mode: {other} is not supported")),
            }
        }
    }
    Ok(if mode == "nearest" { Interpolation::Nearest } else { Interpolation::Bilinear })
}

/// DepthToSpace and SpaceToDepth. wgrad's blocks come before the channels (DCR).
pub(super) fn blocks(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, mut x) = (op.node, op.view(0)?);
    let block = u32::try_from(node.int("blocksize", 0)?).ok().filter(|block| (1..=4096).contains(block));
    let block = block.ok_or("attribute blocksize: expected a number of at least 1")?;
    let to_space = node.op == "DepthToSpace";
    let dim = 1 - imp.batch;
    let length = x.lengths().get(dim).copied().ok_or("an input without channels")?;
    let area = u64::from(block) * u64::from(block);
    match node.text("mode", "DCR")? {
        "DCR" => {}
        "CRD" if length.is_multiple_of(area) => {
            // The channels come before their blocks: rename them, so that the blocks come first.
            let mut dims = x.lengths();
            dims.splice(dim..=dim, [length / area, area]);
            if !x.reshape(&dims, &mut imp.factors) {
                x = imp.in_order(&x)?;
                x = imp.view(x.value, &dims)?;
            }
            let blocks = x.dims.remove(dim + 1);
            x.dims[dim].splice(0..0, blocks);
        }
        other => return Err(format!("attribute mode: {other} of {length} channels is not supported")),
    }
    let image = imp.image(&x, true)?;
    let layer = if to_space { Layer::DepthToSpace(block) } else { Layer::SpaceToDepth(block) };
    let value = imp.layer(layer, &[image.value])?;
    one(imp.view_of_image(value, None)?)
}

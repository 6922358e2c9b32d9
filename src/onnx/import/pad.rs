//! Pad, DepthToSpace and SpaceToDepth.

use super::conv::both;
use super::moving::{cropped, padded};
use super::{Entry, Importer, Op, one};
use crate::network::{Layer, Margin, Pad};
use crate::onnx::Result;
use crate::onnx::layout::View;

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
    let mut sides = vec![[0i64; 2]; x.dims.len()];
    for (axis, both) in op.given()?.pads(x.dims.len() + imp.batch)? {
        if both != [0, 0] {
            sides[imp.axis(&x, axis)?] = both;
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
    if with == Margin::Zeros && value != 0.0 {
        for (dim, both) in sides.iter().enumerate() {
            x = imp.surrounded(&x, dim, both.map(u64::from), value)?;
        }
        return one(x);
    }
    let first = 2 - imp.batch;
    let of_image = (0..sides.len()).all(|dim| dim >= first || sides[dim] == [0; 2]) && x.dims.len() > first;
    if of_image && x.dims.len() <= first + 2 && (imp.batch == 1 || x.dims[0].is_empty()) {
        let image = imp.image(&x, false)?;
        let pad = Pad { with, sides: both(&sides[first..]) };
        let value = imp.layer(pad, &[image.value])?;
        return one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?);
    }
    for (dim, both) in sides.iter().enumerate() {
        x = padded(imp, &x, dim, *both, with)?;
    }
    one(x)
}

/// DepthToSpace and SpaceToDepth. wgrad's blocks come before the channels (DCR).
pub(super) fn blocks(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, mut x) = (op.node, op.view(0)?);
    let block = u32::try_from(node.int("blocksize", 0)?).ok().filter(|block| (1..=4096).contains(block));
    let block = block.ok_or("attribute blocksize: expected a number of at least 1")?;
    let to_space = node.op == "DepthToSpace";
    let channels_first = match node.text("mode", "DCR")? {
        "DCR" => false,
        "CRD" => true,
        other => return Err(format!("attribute mode: {other} is not supported")),
    };
    let dim = 1 - imp.batch;
    if x.dims.len() <= dim {
        return Err("an input without channels".into());
    }
    let area = u64::from(block) * u64::from(block);
    if channels_first && to_space {
        x = swapped(imp, &x, dim, area, false)?;
    }
    let image = imp.image(&x, true)?;
    let layer = if to_space { Layer::DepthToSpace(block) } else { Layer::SpaceToDepth(block) };
    let value = imp.layer(layer, &[image.value])?;
    let y = imp.view_of_image(value, None)?;
    one(if channels_first && !to_space { swapped(imp, &y, dim, area, true)? } else { y })
}

/// Swaps the blocks with the channels, which are parts of one dimension. `blocks_first`: the blocks come first before.
fn swapped(imp: &mut Importer, x: &View, dim: usize, area: u64, blocks_first: bool) -> Result<View> {
    let length = x.lengths()[dim];
    if !length.is_multiple_of(area) {
        return Err(format!("{length} channels, no multiple of {area}"));
    }
    let mut dims = x.lengths();
    let parts = if blocks_first { [area, length / area] } else { [length / area, area] };
    dims.splice(dim..=dim, parts);
    let mut x = imp.regrouped(x, &dims)?;
    let second = x.dims.remove(dim + 1);
    x.dims[dim].splice(0..0, second);
    Ok(x)
}

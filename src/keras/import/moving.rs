//! Layers that move numbers, or leave them as they are.

use serde_json::Value as Json;

use super::build::sample;
use super::{Call, Importer};
use crate::keras::Result;
use crate::network::{Crop, Layer, Margin, Pad, Upsample, Value};

pub(super) fn identity(_: &mut Importer, call: &Call) -> Result<Value> {
    call.input()
}

pub(super) fn dropout(imp: &mut Importer, call: &Call) -> Result<Value> {
    call.config.only("noise_shape", &[])?;
    let (x, rate) = (call.input()?, call.config.number("rate", 0.0)?);
    match (rate, call.class_has("Spatial")) {
        (0.0, _) => Ok(x),
        (rate, true) => imp.add(call, Layer::SpatialDropout(rate), &[x]),
        (rate, false) => imp.add(call, Layer::Dropout(rate), &[x]),
    }
}

pub(super) fn flatten(imp: &mut Importer, call: &Call) -> Result<Value> {
    imp.add(call, Layer::Flatten, &[call.input()?])
}

pub(super) fn reshape(imp: &mut Importer, call: &Call) -> Result<Value> {
    let x = call.input()?;
    let target = call.config.get("target_shape").and_then(Json::as_array);
    let target = target.and_then(|list| list.iter().map(Json::as_i64).collect::<Option<Vec<i64>>>());
    let target = target.ok_or("attribute target_shape: expected whole numbers")?;
    let (all, mut known) = (imp.shape(x)?.elements(), target.iter().filter(|&&length| length != -1));
    let known = known.try_fold(1u64, |known, &length| known.checked_mul(u64::try_from(length).ok()?));
    let open = known.and_then(|known| all.checked_div(known)).and_then(|open| u32::try_from(open).ok());
    let length = |length: &i64| if *length == -1 { open } else { u32::try_from(*length).ok() };
    let lengths = target.iter().map(length).collect::<Option<Vec<u32>>>();
    let lengths = lengths.ok_or_else(|| format!("attribute target_shape: {target:?} for {all} elements"))?;
    imp.add(call, Layer::Reshape(sample(&lengths)?), &[x])
}

/// Keras counts the dimensions from 1, after the batch.
pub(super) fn permute(imp: &mut Importer, call: &Call) -> Result<Value> {
    let order = call.config.get("dims").and_then(Json::as_array);
    let axis = |axis: &Json| axis.as_i64().and_then(|axis| i32::try_from(axis).ok()?.checked_sub(1));
    let order = order.and_then(|list| list.iter().map(axis).collect::<Option<Vec<i32>>>());
    let order = order.filter(|order| order.iter().all(|&axis| axis >= 0));
    let order = order.ok_or("attribute dims: expected a list of numbers from 1")?;
    imp.add(call, Layer::Transpose(order), &[call.input()?])
}

pub(super) fn upsample(imp: &mut Importer, call: &Call) -> Result<Value> {
    let size = call.config.pair("size", [2; 2])?;
    let layer = match call.config.text("interpolation", "nearest")? {
        "nearest" => Upsample::nearest(size),
        "bilinear" => Upsample::bilinear(size),
        other => return Err(format!("attribute interpolation: {other:?} is not supported")),
    };
    imp.add(call, layer, &[call.input()?])
}

pub(super) fn pad(imp: &mut Importer, call: &Call) -> Result<Value> {
    let sides = call.config.sides("padding", call.class_has("1D"))?;
    imp.add(call, Pad { with: Margin::Zeros, sides }, &[call.input()?])
}

pub(super) fn crop(imp: &mut Importer, call: &Call) -> Result<Value> {
    let sides = call.config.sides("cropping", call.class_has("1D"))?;
    imp.add(call, Crop { sides }, &[call.input()?])
}

//! Normalisations, and the scaling of inputs.

use serde_json::Value as Json;

use super::{Call, Importer};
use crate::keras::Result;
use crate::network::{BatchNorm, GroupNorm, Layer, LayerNorm, RmsNorm, Value};

/// Scale and shift of a normalisation, by their names, and the other weights. Without a weight, a scale of ones and a
/// shift of zeros.
fn scales(imp: &mut Importer, call: &Call, others: &[&str]) -> Result<Vec<Vec<f32>>> {
    let x = call.input()?;
    let (channels, rank) = (imp.channels(x)?, imp.shape(x)?.len());
    call.config.last_axis("axis", rank)?;
    let (scale, centre) = (call.config.flag("scale", true)?, call.config.flag("center", true)?);
    let mut roles = Vec::new();
    roles.extend(scale.then_some("gamma"));
    roles.extend(centre.then_some("beta"));
    roles.extend(others);
    let weights = imp.weights(call, &roles)?;
    weights.iter().try_for_each(|weight| weight.check(&[channels]))?;
    let mut weights = weights.into_iter().map(|weight| weight.numbers);
    let mut or = |is_there: bool, number: f32| match is_there {
        true => Ok(weights.next().unwrap_or_default()),
        // A later call shares the first one's.
        false if !call.is_first() => Ok(vec![]),
        false => imp.filled(number, channels),
    };
    let first = [or(scale, 1.0)?, or(centre, 0.0)?];
    Ok(first.into_iter().chain(weights).collect())
}

pub(super) fn batch(imp: &mut Importer, call: &Call) -> Result<Value> {
    let numbers = scales(imp, call, &["moving_mean", "moving_variance"])?;
    call.config.only("renorm", &[false.into()])?;
    let epsilon = call.config.number("epsilon", 1e-3)?;
    let layer = BatchNorm { epsilon, momentum: 1.0 - call.config.number("momentum", 0.99)? };
    let numbers = ["scale", "shift", "mean", "variance"].into_iter().zip(numbers).collect();
    imp.add_weighted(call, call.path, layer, call.input()?, numbers)
}

pub(super) fn layer(imp: &mut Importer, call: &Call) -> Result<Value> {
    call.config.only("rms_scaling", &[false.into()])?;
    let layer = LayerNorm { epsilon: call.config.number("epsilon", 1e-3)? };
    scaled_and_shifted(imp, call, layer.into())
}

pub(super) fn group(imp: &mut Importer, call: &Call) -> Result<Value> {
    let channels = imp.channels(call.input()?)?;
    let groups = match call.config.get("groups").and_then(Json::as_i64) {
        Some(-1) => channels,
        _ => call.config.whole_or("groups", 32)?,
    };
    let layer = GroupNorm { groups, epsilon: call.config.number("epsilon", 1e-3)? };
    scaled_and_shifted(imp, call, layer.into())
}

fn scaled_and_shifted(imp: &mut Importer, call: &Call, layer: Layer) -> Result<Value> {
    let numbers = ["scale", "shift"].into_iter().zip(scales(imp, call, &[])?).collect();
    imp.add_weighted(call, call.path, layer, call.input()?, numbers)
}

pub(super) fn rms(imp: &mut Importer, call: &Call) -> Result<Value> {
    let x = call.input()?;
    call.config.last_axis("axis", imp.shape(x)?.len())?;
    let weights = imp.weights(call, &["scale"])?;
    weights[0].check(&[imp.channels(x)?])?;
    let layer = RmsNorm { epsilon: call.config.number("epsilon", 1e-6)? };
    let numbers = weights.into_iter().map(|weight| ("scale", weight.numbers)).collect();
    imp.add_weighted(call, call.path, layer, x, numbers)
}

/// Normalises by mean and variance that were counted before the training: (x - mean) / max(√variance, 1e-7).
pub(super) fn normalization(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (x, config) = (call.input()?, call.config);
    config.only("invert", &[false.into()])?;
    let constants = match imp.normalizations.get(call.path) {
        Some(&constants) => constants,
        None => {
            let constants = mean_and_scale(imp, call)?;
            imp.normalizations.insert(call.path.to_owned(), constants);
            constants
        }
    };
    let [length, channels] = [imp.channels(constants[0])?, imp.channels(x)?];
    if ![1, channels].contains(&length) {
        return Err(format!("attribute axis: {length} means; expected 1 or {channels}, for the last axis"));
    }
    if length == channels {
        config.last_axis("axis", imp.shape(x)?.len())?;
    }
    let centered = imp.add(call, Layer::Add, &[x, constants[0]])?;
    imp.add(call, Layer::Multiply, &[centered, constants[1]])
}

/// The constants of a Normalization: negative means, and scales.
fn mean_and_scale(imp: &mut Importer, call: &Call) -> Result<[Value; 2]> {
    let given = |name: &str| -> Result<Option<Vec<f32>>> {
        let Some(value) = call.config.get(name) else { return Ok(None) };
        // A number, or nested lists with one length above 1.
        let (mut numbers, mut open) = (Vec::new(), vec![value]);
        while let Some(value) = open.pop() {
            match value {
                Json::Array(list) => open.extend(list.iter().rev()),
                other => {
                    numbers.push(other.as_f64().ok_or_else(|| format!("attribute {name}: expected numbers"))? as f32)
                }
            }
        }
        Ok(Some(numbers))
    };
    let (mean, variance) = match (given("mean")?, given("variance")?) {
        (Some(mean), Some(variance)) => (mean, variance),
        _ => {
            let [mean, variance, _] = &mut imp.weights(call, &["mean", "variance", "count"])?[..] else {
                return Err("three weights".into());
            };
            (std::mem::take(&mut mean.numbers), std::mem::take(&mut variance.numbers))
        }
    };
    if mean.len() != variance.len() {
        return Err(format!("{} means and {} variances; expected the same number", mean.len(), variance.len()));
    }
    let length = [u32::try_from(mean.len()).map_err(|_| "too many means")?];
    let scale: Vec<f32> = variance.iter().map(|variance| 1.0 / variance.sqrt().max(1e-7)).collect();
    let negative: Vec<f32> = mean.iter().map(|mean| -mean).collect();
    let mean = imp.constant(call, &format!("{}_mean", call.path), &length, negative, false)?;
    Ok([mean, imp.constant(call, &format!("{}_scale", call.path), &length, scale, false)?])
}

pub(super) fn rescaling(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (x, config) = (call.input()?, call.config);
    let (scale, shift) = (config.number("scale", 1.0)?, config.number("offset", 0.0)?);
    imp.scale_shift(call, scale, shift, x)
}

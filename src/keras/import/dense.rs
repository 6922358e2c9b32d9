//! Dense layers.

use super::functions::described;
use super::{Call, Importer};
use crate::keras::Result;
use crate::network::{Dense, Value};

pub(super) fn dense(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (x, config) = (call.input()?, call.config);
    let (units, activation) = (config.whole("units")?, described(imp, call)?);
    let has_bias = config.flag("use_bias", true)?;
    let weights = imp.weights(call, if has_bias { &["kernel", "bias"] } else { &["kernel"] })?;
    let expected = [imp.channels(x)?, units];
    weights[0].check(&expected)?;
    let mut layer = Dense::new(units, activation);
    if !has_bias {
        layer = layer.without_bias();
    }
    let numbers = with_bias(weights, units)?;
    imp.add_weighted(call, call.path, layer, x, numbers)
}

/// A weight and perhaps a bias, as numbers of a layer.
pub(super) fn with_bias(
    weights: Vec<crate::keras::weights::Weight>,
    units: u32,
) -> Result<Vec<(&'static str, Vec<f32>)>> {
    if let Some(bias) = weights.get(1) {
        bias.check(&[units])?;
    }
    Ok(["weight", "bias"].into_iter().zip(weights.into_iter().map(|weight| weight.numbers)).collect())
}

//! Layers of several inputs, and arithmetic with numbers.

use super::{Call, Given, Importer};
use crate::activation::{Activation, elementary};
use crate::keras::Result;
use crate::network::{Layer, Value};

pub(super) fn concat(imp: &mut Importer, call: &Call) -> Result<Value> {
    let axis = match call.config.get("axis") {
        None => -1,
        Some(axis) => axis.as_i64().and_then(|axis| i32::try_from(axis).ok()).unwrap_or(0),
    };
    // Keras counts the batch as axis 0.
    match (axis, &call.inputs[..]) {
        (0, _) => Err("attribute axis: expected an axis of a sample, not the batch".into()),
        (_, [only]) => Ok(*only),
        _ => imp.add(call, Layer::Concat { axis: if axis > 0 { axis - 1 } else { axis } }, &call.inputs),
    }
}

pub(super) fn merge(imp: &mut Importer, call: &Call) -> Result<Value> {
    if matches!(call.layer.class, "Add" | "Multiply")
        && call.inputs.len() == call.arguments.len()
        && call.inputs.len() > 1
    {
        let layer = if call.layer.class == "Add" { Layer::Add } else { Layer::Multiply };
        return imp.add(call, layer, &call.inputs);
    }
    let [mut so_far, ref rest @ ..] = call.arguments[..] else { return Err("no inputs".into()) };
    for &other in rest {
        so_far = Given::Value(both(imp, call, so_far, other)?);
    }
    match (so_far, call.layer.class) {
        (Given::Value(sum), "Average") => imp.scale_shift(call, 1.0 / call.inputs.len() as f32, 0.0, sum),
        (Given::Value(value), _) => Ok(value),
        (Given::Number(_), _) => Err("no inputs".into()),
    }
}

/// One step of arithmetic.
fn both(imp: &mut Importer, call: &Call, a: Given, b: Given) -> Result<Value> {
    use Given::{Number, Value};
    match (call.layer.class, a, b) {
        ("Add", Value(x), Number(n)) | ("Add", Number(n), Value(x)) => imp.scale_shift(call, 1.0, n, x),
        ("Multiply", Value(x), Number(n)) | ("Multiply", Number(n), Value(x)) => imp.scale_shift(call, n, 0.0, x),
        ("Subtract", Value(x), Number(n)) => imp.scale_shift(call, 1.0, -n, x),
        ("Subtract", Number(n), Value(x)) => imp.scale_shift(call, -1.0, n, x),
        ("Divide" | "TrueDivide", Value(x), Number(n)) if n != 0.0 => imp.scale_shift(call, 1.0 / n, 0.0, x),
        ("Add" | "Average", Value(a), Value(b)) => imp.add(call, Layer::Add, &[a, b]),
        ("Multiply", Value(a), Value(b)) => imp.add(call, Layer::Multiply, &[a, b]),
        ("Subtract", Value(a), Value(b)) => {
            let negative = imp.scale_shift(call, -1.0, 0.0, b)?;
            imp.add(call, Layer::Add, &[a, negative])
        }
        ("Divide" | "TrueDivide", a, Value(b)) => {
            let reciprocal = elementary("reciprocal").map(Activation::Custom).ok_or("no reciprocal")?;
            let inverse = imp.activated(call, reciprocal, b)?;
            match a {
                Value(a) => imp.add(call, Layer::Multiply, &[a, inverse]),
                Number(n) => imp.scale_shift(call, n, 0.0, inverse),
            }
        }
        // max(a, b) = a + relu(b - a), and min(a, b) = a - relu(a - b).
        ("Maximum" | "Minimum", Value(a), Value(b)) => {
            let sign = if call.layer.class == "Maximum" { 1.0 } else { -1.0 };
            let [first, second] = [imp.scale_shift(call, -sign, 0.0, a)?, imp.scale_shift(call, sign, 0.0, b)?];
            let difference = imp.add(call, Layer::Add, &[first, second])?;
            let more = imp.activated(call, Activation::Relu, difference)?;
            let more = imp.scale_shift(call, sign, 0.0, more)?;
            imp.add(call, Layer::Add, &[a, more])
        }
        (class, ..) => Err(format!("{class} of these arguments is not supported")),
    }
}

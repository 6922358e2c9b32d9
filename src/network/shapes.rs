//! Shape inference: the output shapes of a layer, and errors for inputs that it cannot take.

use super::resizing::of_blocks;
use super::{BatchNorm, Dense, Layer, ScaleShift};
use crate::error::{Error, Result};
use crate::init::Init;
use crate::optimizer::{above_zero, below_one, option};
use crate::shape::{MOST_DIMENSIONS, Shape};

/// The largest number of parts of a [`Layer::Split`]. Each part needs a buffer and an op.
const MOST_PARTS: u32 = 1024;

/// The shape of each output of a layer. `what` names the layer and its inputs, for errors.
pub(super) fn outputs(layer: &Layer, what: &str, inputs: &[Shape]) -> Result<Vec<Shape>> {
    let error = |expected: String, actual: String| Error::shape(what, expected, actual);
    let fault = |expected: String, actual: String| Err(error(expected, actual));
    layer.activation().check()?;
    if let Layer::Constant { shape, .. } = layer {
        return match (1..MOST_DIMENSIONS).contains(&shape.len()) && !shape.contains(&0) {
            true => Ok(vec![*shape]),
            false => fault("a shape of 1 to 4 dimensions, and no length of 0".into(), format!("{shape:?}")),
        };
    }
    let at_least = if matches!(layer, Layer::Add | Layer::Multiply) { 2 } else { 1 };
    if inputs.len() < at_least {
        return fault(format!("at least {at_least} inputs"), inputs.len().to_string());
    }
    let x = inputs[0];
    let axis_of = |axis: i32| axis_of(x, axis, what);
    Ok(vec![match layer {
        Layer::Dense(Dense { units: 0, .. }) => return fault("at least 1 unit".into(), "0".into()),
        Layer::Dense(dense) => {
            dense.weight_init.check()?;
            dense.bias_init.map_or(Ok(()), Init::check)?;
            with_length(x, x.len() - 1, dense.units)
        }
        Layer::Conv(conv) => conv.output(x, what)?,
        Layer::Pool(pool) => pool.output(x, what)?,
        Layer::Upsample(upsample) => upsample.output(x, what)?,
        Layer::Pad(pad) => pad.output(x, what)?,
        Layer::Crop(crop) => crop.output(x, what)?,
        Layer::DepthToSpace(block) => of_blocks(x, *block, true, what)?,
        Layer::SpaceToDepth(block) => of_blocks(x, *block, false, what)?,
        Layer::Encoding(_) | Layer::CompositeEncoding(_) if x.len() != 1 => {
            return fault("samples of shape [features]".into(), format!("{x:?}; add a flatten layer before it"));
        }
        Layer::Encoding(encoding) => encoding.outputs(what, x[0])?.into(),
        Layer::CompositeEncoding(parts) => {
            let taken: u64 = parts.iter().map(|(coordinates, _)| u64::from(*coordinates)).sum();
            if taken != u64::from(x[0]) || parts.iter().any(|(coordinates, _)| *coordinates == 0) {
                let counts: Vec<u32> = parts.iter().map(|(coordinates, _)| *coordinates).collect();
                let expected = format!("encodings of 1 or more coordinates each, {} in all", x[0]);
                return fault(expected, format!("{counts:?}"));
            }
            let mut features = 0u32;
            for (coordinates, encoding) in parts {
                features = features.saturating_add(encoding.outputs(what, *coordinates)?);
            }
            features.into()
        }
        Layer::Flatten => Shape::of(&[x.elements() as u32]),
        Layer::Dropout(rate) | Layer::SpatialDropout(rate) => below_one("dropout rate", *rate).map(|()| x)?,
        Layer::LayerNorm(_) | Layer::GroupNorm(_) | Layer::InstanceNorm(_) | Layer::RmsNorm(_) => {
            let (channels, norm) = (x[x.len() - 1], layer.normalisation(x));
            above_zero(norm.name, norm.epsilon)?;
            if norm.groups == 0 || !channels.is_multiple_of(norm.groups) {
                return fault(
                    format!("a number of groups that divides the {channels} channels"),
                    norm.groups.to_string(),
                );
            }
            if !norm.of_rows && x.elements() == u64::from(norm.groups) {
                return fault("at least 2 numbers of a sample per group".into(), "1".into());
            }
            x
        }
        Layer::BatchNorm(BatchNorm { epsilon, momentum }) => {
            above_zero("epsilon of batch_norm", *epsilon)?;
            option("momentum of batch_norm", "from 0 to 1", *momentum, (0.0..=1.0).contains(momentum))?;
            x
        }
        Layer::Activation(_) | Layer::ScaleShift(ScaleShift::Trained) => x,
        Layer::ScaleShift(ScaleShift::Fixed { scale, shift }) => {
            option("scale of ScaleShift::Fixed", "finite", *scale, scale.is_finite())?;
            option("shift of ScaleShift::Fixed", "finite", *shift, shift.is_finite())?;
            x
        }
        // The other layer has already been looked up, and a constant has no input.
        Layer::Tied(_) | Layer::Constant { .. } => x,
        Layer::Add | Layer::Multiply => inputs[1..].iter().try_fold(x, |a, &b| {
            let alike = || "shapes that broadcast (lengths that are equal or 1, compared from the last axis)".into();
            a.broadcast(&b).ok_or_else(|| error(alike(), listed(inputs)))
        })?,
        Layer::Concat { axis } => {
            let axis = axis_of(*axis)?;
            let alike = |&b: &Shape| b.len() == x.len() && with_length(b, axis, x[axis]) == x;
            if inputs.iter().any(|b| b.len() != x.len()) {
                let actual = format!("{}; add a flatten or reshape layer before it", listed(inputs));
                return fault("shapes with the same number of dimensions".into(), actual);
            }
            if !inputs.iter().all(alike) {
                return fault(format!("shapes that are equal except along axis {axis}"), listed(inputs));
            }
            let length: u64 = inputs.iter().map(|b| u64::from(b[axis])).sum();
            with_length(x, axis, u32::try_from(length).unwrap_or(u32::MAX))
        }
        Layer::Slice { axis, start, end } => {
            let axis = axis_of(*axis)?;
            if start >= end || *end > x[axis] {
                let expected =
                    format!("a start below the end, and an end of at most {} (the length of axis {axis})", x[axis]);
                return fault(expected, format!("{start} to {end}"));
            }
            with_length(x, axis, end - start)
        }
        Layer::Split { axis, parts } => {
            let axis = axis_of(*axis)?;
            if *parts == 0 || *parts > MOST_PARTS || !x[axis].is_multiple_of(*parts) {
                let most = if *parts > MOST_PARTS { format!(" up to {MOST_PARTS}") } else { String::new() };
                let expected = format!("a number of parts{most} that divides {} (the length of axis {axis})", x[axis]);
                return fault(expected, parts.to_string());
            }
            return Ok(vec![with_length(x, axis, x[axis] / parts); *parts as usize]);
        }
        Layer::Reshape(shape) => {
            if shape.elements() != x.elements() || shape.is_empty() || shape.len() >= MOST_DIMENSIONS {
                let expected = format!("a shape with {} numbers in 1 to 4 dimensions", x.elements());
                return fault(expected, format!("{shape:?}"));
            }
            *shape
        }
        Layer::Transpose(order) => {
            let axes = order.iter().map(|&axis| axis_of(axis)).collect::<Result<Vec<_>>>()?;
            if axes.len() != x.len() || (0..x.len()).any(|axis| !axes.contains(&axis)) {
                return fault(format!("each of the {} axes once", x.len()), format!("{order:?}"));
            }
            Shape::of(&axes.into_iter().map(|axis| x[axis]).collect::<Vec<_>>())
        }
        Layer::Custom(custom) => {
            return custom.0.shapes(inputs).map_err(|fault| match fault {
                Error::Shape { what: of, expected, actual } => {
                    Error::Shape { what: format!("{what}: {of}"), expected, actual }
                }
                other => other,
            });
        }
        Layer::ReduceMean(axes) | Layer::ReduceMax(axes) => {
            let gone = reduced(axes, x, what)?;
            let left: Vec<u32> = (0..x.len()).filter(|axis| !gone.contains(axis)).map(|axis| x[axis]).collect();
            if left.is_empty() { 1.into() } else { Shape::of(&left) }
        }
    }])
}

/// The index of an axis. A negative axis counts from the end.
pub(crate) fn axis_of(shape: Shape, axis: i32, what: &str) -> Result<usize> {
    let rank = shape.len() as i32;
    let from_first = if axis < 0 { axis + rank } else { axis };
    match (0..rank).contains(&from_first) {
        true => Ok(from_first as usize),
        false => Err(Error::shape(what, format!("an axis from {} to {}", -rank, rank - 1), axis)),
    }
}

/// The axes that a reduction removes.
pub(crate) fn reduced(axes: &[i32], shape: Shape, what: &str) -> Result<Vec<usize>> {
    let gone = axes.iter().map(|&axis| axis_of(shape, axis, what)).collect::<Result<Vec<_>>>()?;
    let twice = gone.iter().enumerate().any(|(i, axis)| gone[..i].contains(axis));
    match gone.is_empty() || twice {
        true => Err(Error::shape(what, "at least one axis, and no axis twice", format!("{axes:?}"))),
        false => Ok(gone),
    }
}

/// The shape with another length along a dimension.
pub(crate) fn with_length(mut shape: Shape, axis: usize, length: u32) -> Shape {
    shape.lengths[axis] = length;
    shape
}

fn listed(shapes: &[Shape]) -> String {
    shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" and ")
}

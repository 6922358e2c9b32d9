//! Functions of one value.

use super::{Entry, Importer, Op, one};
use crate::activation::{Activation, elementary as by_name};
use crate::network::{Layer, ScaleShift, Value};
use crate::onnx::Result;
use crate::onnx::layout::View;
use crate::onnx::tensor::Data;

/// An elementary function as an activation.
pub(super) fn elementary(name: &str) -> Result<Activation> {
    by_name(name).map(Activation::Custom).ok_or_else(|| format!("the function {name} is not supported"))
}

pub(super) fn plain(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let activation = match &*op.node.op {
        "Relu" => Activation::Relu,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Softplus" => Activation::Softplus,
        "HardSwish" => Activation::HardSwish,
        "Exp" => Activation::Exponential,
        "Sin" => return one(View { value: sine(imp, x.value)?, ..x }),
        "Neg" => return one(View { value: imp.scale_shift(-1.0, 0.0, x.value)?, ..x }),
        other => elementary(&other.to_lowercase())?,
    };
    let y = imp.after(&x, activation)?;
    if activation == Activation::Sigmoid {
        imp.sigmoids.insert(op.node.outputs.first().cloned().unwrap_or_default(), x.value);
    }
    one(y)
}

/// The sine. A factor before it is its frequency.
fn sine(imp: &mut Importer, x: Value) -> Result<Value> {
    let (frequency, from) = match imp.graph.layer_of(x) {
        Some((&Layer::ScaleShift(ScaleShift::Fixed { scale, shift: 0.0 }), from)) if scale > 0.0 => (scale, from),
        _ => (1.0, x),
    };
    imp.activation(Activation::Sine(frequency), from)
}

pub(super) fn with_alpha(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, alpha) = (op.view(0)?, op.node.attribute("alpha"));
    let or = |default: f32| if alpha.is_some() { op.node.float("alpha", default) } else { Ok(default) };
    let value = match &*op.node.op {
        "LeakyRelu" => imp.activation(Activation::LeakyRelu(or(0.01)?), x.value)?,
        "Elu" => imp.activation(Activation::Elu(or(1.0)?), x.value)?,
        // alpha · elu(x / alpha)
        "Celu" => {
            let scaled = imp.scale_shift(1.0 / or(1.0)?, 0.0, x.value)?;
            let elu = imp.activation(Activation::Elu(1.0), scaled)?;
            imp.scale_shift(or(1.0)?, 0.0, elu)?
        }
        "Swish" if or(1.0)? == 1.0 => imp.activation(Activation::Silu, x.value)?,
        "Swish" => {
            let scaled = imp.scale_shift(or(1.0)?, 0.0, x.value)?;
            let gate = imp.activation(Activation::Sigmoid, scaled)?;
            imp.layer(Layer::Multiply, &[x.value, gate])?
        }
        // x where it is above alpha, else 0.
        _ => {
            let shifted = imp.scale_shift(1.0, -or(1.0)?, x.value)?;
            let above = imp.activation(elementary("step")?, shifted)?;
            imp.layer(Layer::Multiply, &[x.value, above])?
        }
    };
    one(View { value, ..x })
}

pub(super) fn selu(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let [alpha, gamma] = [op.node.float("alpha", 1.673_263_2)?, op.node.float("gamma", 1.050_701)?];
    if (alpha - 1.673_263_2).abs() < 1e-6 && (gamma - 1.050_701).abs() < 1e-6 {
        return one(imp.after(&x, Activation::Selu)?);
    }
    let elu = imp.after(&x, Activation::Elu(alpha))?;
    one(View { value: imp.scale_shift(gamma, 0.0, elu.value)?, ..elu })
}

/// max(0, min(1, alpha · x + beta)). wgrad's own has alpha 1/6 and beta 1/2.
pub(super) fn hard_sigmoid(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let [alpha, beta] = [op.node.float("alpha", 0.2)?, op.node.float("beta", 0.5)?];
    let scale = if (alpha - 1.0 / 6.0).abs() < 1e-7 { 1.0 } else { 6.0 * alpha };
    let scaled = imp.scale_shift(scale, 6.0 * (beta - 0.5), x.value)?;
    one(View { value: imp.activation(Activation::HardSigmoid, scaled)?, ..x })
}

pub(super) fn gelu(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let activation = match op.node.text("approximate", "none")? {
        "none" => Activation::GeluErf,
        "tanh" => Activation::GeluTanh,
        other => return Err(format!("attribute approximate: {other:?} is not supported")),
    };
    one(imp.after(&op.view(0)?, activation)?)
}

/// Clamps to bounds: attributes before version 11, inputs since.
pub(super) fn clip(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let bound = |name: &str, input: usize| -> Result<Option<f32>> {
        let bound = match (op.node.attribute(name), op.optional(input)?) {
            (Some(_), _) => Some(op.node.float(name, 0.0)?),
            (None, Some(tensor)) => match &tensor.data {
                Data::F32(values) => values.first().copied(),
                _ => return Err("bounds that are no floats".into()),
            },
            (None, None) => None,
        };
        // Exporters write the largest number for no bound.
        Ok(bound.filter(|bound| bound.abs() < 3.4e38))
    };
    let (low, high) = (bound("min", 1)?, bound("max", 2)?);
    one(View { value: imp.clamped(x.value, low, high)?, ..x })
}

impl Importer<'_> {
    /// max(x, low) = relu(x - low) + low, and min(x, high) = high - relu(high - x). This rounds x to the precision of
    /// the bound. So for a large bound, it is x + relu(low - x) and x - relu(x - high), where x must be finite.
    fn clamped(&mut self, x: Value, low: Option<f32>, high: Option<f32>) -> Result<Value> {
        if (low, high) == (Some(0.0), Some(6.0)) {
            return self.activation(elementary("relu6")?, x);
        }
        const LARGE: f32 = 64.0;
        let mut y = x;
        if let Some(low) = low.filter(|low| low.abs() > LARGE) {
            let missing = self.scale_shift(-1.0, low, y)?;
            let missing = self.activation(Activation::Relu, missing)?;
            y = self.layer(Layer::Add, &[y, missing])?;
        } else if let Some(low) = low {
            let shifted = self.scale_shift(1.0, -low, y)?;
            let above = self.activation(Activation::Relu, shifted)?;
            y = self.scale_shift(1.0, low, above)?;
        }
        if let Some(high) = high.filter(|high| high.abs() > LARGE) {
            let excess = self.scale_shift(1.0, -high, y)?;
            let excess = self.activation(Activation::Relu, excess)?;
            let excess = self.scale_shift(-1.0, 0.0, excess)?;
            y = self.layer(Layer::Add, &[y, excess])?;
        } else if let Some(high) = high {
            let mirrored = self.scale_shift(-1.0, high, y)?;
            let below = self.activation(Activation::Relu, mirrored)?;
            y = self.scale_shift(-1.0, high, below)?;
        }
        Ok(y)
    }
}

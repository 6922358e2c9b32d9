//! Activations, as layers or at the end of a layer.
//!
//! Softmax over the last dimension: y = e^z / Σ e^z, dz = y ⊙ (dy − Σ dy ⊙ y).

use super::{Builder, LONGEST_ROW, LayerContext, Tensor, limit, rows};
use crate::activation::Activation;
use crate::error::Result;
use crate::plan::{Curvature, Pointwise, Role, Softmax};

/// Adds an activation. Returns the pre-activation, if there is an activation, and the output.
pub(super) fn forward(
    name: &str,
    pre_activation: Tensor,
    activation: Activation,
    plan: &mut Builder,
) -> Result<(Option<Tensor>, Tensor)> {
    let output = match activation {
        Activation::Identity => return Ok((None, pre_activation)),
        _ => plan.buffer(name, pre_activation.shape, Role::Activation)?,
    };
    let saved = None;
    match activation {
        Activation::Softmax => {
            let (input, output) = (rows(pre_activation), rows(output));
            limit("classes of a softmax", input.columns().into(), LONGEST_ROW.into(), "classes")?;
            plan.push(Softmax { input, saved, output });
        }
        _ => plan.push(Pointwise { input: pre_activation, saved, output, activation, dropout: None }),
    }
    Ok((Some(pre_activation), output))
}

/// The gradient of the pre-activation. It sums the share from the output's gradient and the share of losses that
/// compute the activation.
pub(super) fn backward(
    at: &LayerContext,
    activation: Activation,
    gradient: Option<Tensor>,
    pre_activation_gradient: Option<Tensor>,
    plan: &mut Builder,
) -> Result<Option<Tensor>> {
    let (Some(pre_activation), Some(gradient)) = (at.done.pre_activation, gradient) else {
        return Ok(gradient.or(pre_activation_gradient));
    };
    let name = if pre_activation_gradient.is_some() { "gradient_by_layers" } else { "gradient" };
    let output = plan.gradient(&at.name(name), pre_activation)?;
    let y = at.done.outputs[0];
    match activation {
        Activation::Softmax => {
            let (input, saved, output) = (rows(gradient), Some(rows(y)), rows(output));
            plan.push(Softmax { input, saved, output });
        }
        _ => {
            let saved = Some(if activation.differentiates_from_output() { y } else { pre_activation });
            plan.push(Pointwise { input: gradient, saved, output, activation, dropout: None });
        }
    }
    plan.sum_in_order(std::iter::once(output).chain(pre_activation_gradient).collect(), &at.name("gradient"))
}

/// The tangent of the output, given that of the pre-activation. The pre-activation gets a share of its gradient, because
/// the activation's derivative changes with it.
pub(super) fn tangent(
    at: &LayerContext,
    activation: Activation,
    tangent: Tensor,
    plan: &mut Builder,
) -> Result<Tensor> {
    let Some(pre_activation) = at.done.pre_activation.filter(|_| activation != Activation::Identity) else {
        return Ok(tangent);
    };
    let saved = if activation.differentiates_from_output() { at.done.outputs[0] } else { pre_activation };
    let output = plan.gradient(&at.name("output"), pre_activation)?;
    plan.push(Pointwise { input: tangent, saved: Some(saved), output, activation, dropout: None });
    if activation.second_derivative().is_some()
        && let Some(gradient) = plan.node_gradients[at.index].output
    {
        let share = plan.gradient(&at.name("gradient"), pre_activation)?;
        plan.push(Curvature { tangent, gradient, saved, activation, output: share });
        plan.lowered[at.index].pre_activation_gradients.push(share);
    }
    Ok(output)
}

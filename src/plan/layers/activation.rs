//! Activations, as layers or at the end of a layer. Softmax over the last dimension: y = e^z / Σ e^z, dz = y ⊙ (dy − Σ
//! dy ⊙ y).

use super::{At, Builder, LONGEST_ROW, Tensor, limit, rows};
use crate::activation::Activation;
use crate::error::Result;
use crate::plan::{Pointwise, Role, Softmax};

/// Adds an activation. Returns the pre-activation, if there is an activation, and the output.
pub(super) fn forward(
    name: &str,
    sums: Tensor,
    activation: Activation,
    plan: &mut Builder,
) -> Result<(Option<Tensor>, Tensor)> {
    let output = match activation {
        Activation::Identity => return Ok((None, sums)),
        _ => plan.buffer(name, sums.shape, Role::Activation)?,
    };
    let saved = None;
    match activation {
        Activation::Softmax => {
            let (input, output) = (rows(sums), rows(output));
            limit("classes of a softmax", input.columns().into(), LONGEST_ROW.into(), "classes")?;
            plan.push(Softmax { input, saved, output });
        }
        _ => plan.push(Pointwise { input: sums, saved, output, activation, dropout: None }),
    }
    Ok((Some(sums), output))
}

/// The gradient of the pre-activation. It sums the share from the output's gradient and the share of losses that
/// compute the activation.
pub(super) fn backward(
    at: &At,
    activation: Activation,
    gradient: Option<Tensor>,
    of_sums: Option<Tensor>,
    plan: &mut Builder,
) -> Result<Option<Tensor>> {
    let (Some(sums), Some(gradient)) = (at.done.sums, gradient) else { return Ok(gradient.or(of_sums)) };
    let name = if of_sums.is_some() { "gradient_by_layers" } else { "gradient" };
    let output = plan.gradient(&at.name(name), sums)?;
    let y = at.done.outputs[0];
    match activation {
        Activation::Softmax => {
            let (input, saved, output) = (rows(gradient), Some(rows(y)), rows(output));
            plan.push(Softmax { input, saved, output });
        }
        _ => {
            let saved = Some(if activation.differentiates_from_output() { y } else { sums });
            plan.push(Pointwise { input: gradient, saved, output, activation, dropout: None });
        }
    }
    plan.add_up(std::iter::once(output).chain(of_sums).collect(), &at.name("gradient"))
}

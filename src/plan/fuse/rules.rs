//! The fusion rules. Each rule looks at the op at one position and finds its partner.

use super::{Fused, Ops};
use crate::activation::Activation;
use crate::ops::*;
use crate::plan::Role;

/// The matmul at this position, if its epilogue has room for the next op.
fn matmul<'a>(ops: &'a Ops, at: usize) -> Option<&'a Matmul> {
    match ops.ops[at].as_ref()? {
        Op::Matmul(matmul) if matmul.bias_gradient.is_none() => Some(matmul),
        _ => None,
    }
}

/// The bias of a matmul. `None` if its epilogue does more.
fn bias_of(matmul: &Matmul) -> Option<Option<Tensor>> {
    match matmul.epilogue {
        Epilogue::None => Some(None),
        Epilogue::Bias { bias, activation: Activation::Identity } => Some(bias),
        _ => None,
    }
}

/// Another tensor in the shape of a matmul's C.
fn as_c(matmul: &Matmul, tensor: Tensor) -> Tensor {
    seen_as(tensor, matmul.c.shape)
}

/// Matmul, then a bias: fuses the bias into the epilogue.
pub(super) fn bias(ops: &Ops, first: usize) -> Option<Fused> {
    let matmul = matmul(ops, first).filter(|matmul| matmul.epilogue == Epilogue::None && matmul.addend.is_none())?;
    let second = ops.sole_reader(matmul.c)?;
    let Some(Op::Combine(Combine { a, b, output, how: Combination::Add })) = &ops.ops[second] else { return None };
    let is_row = b.shape[..] == matmul.c.shape[1..] && b.is_packed() && output.len() == matmul.c.len();
    if a.buffer != matmul.c.buffer || b.buffer == a.buffer || !is_row {
        return None;
    }
    let epilogue = Epilogue::Bias { bias: Some(*b), activation: Activation::Identity };
    let op = Matmul { c: as_c(matmul, *output), epilogue, ..matmul.clone() }.into();
    Some(Fused { first, second, at: ops.place(first, second, &[*b])?, op })
}

/// Matmul, then another tensor added: a residual connection, or a second share of a gradient.
pub(super) fn addend(ops: &Ops, first: usize) -> Option<Fused> {
    let matmul = matmul(ops, first).filter(|matmul| matmul.addend.is_none())?;
    bias_of(matmul)?;
    let second = ops.sole_reader(matmul.c)?;
    let Some(Op::Combine(Combine { a, b, output, how: Combination::Add })) = &ops.ops[second] else { return None };
    let other = if a.buffer == matmul.c.buffer { b } else { a };
    let all_alike = [a, b, output].iter().all(|tensor| tensor.len() == matmul.c.len() && tensor.is_packed());
    if other.buffer == matmul.c.buffer || !all_alike {
        return None;
    }
    let op = Matmul { c: as_c(matmul, *output), addend: Some(as_c(matmul, *other)), ..matmul.clone() }.into();
    Some(Fused { first, second, at: ops.place(first, second, &[*other])?, op })
}

/// Matmul, then an activation. No other op may read the pre-activation.
pub(super) fn activation(ops: &Ops, first: usize) -> Option<Fused> {
    let matmul = matmul(ops, first)?;
    let bias = bias_of(matmul)?;
    let second = ops.sole_reader(matmul.c)?;
    let Some(Op::Pointwise(Pointwise { saved: None, dropout: None, output, activation, .. })) = &ops.ops[second] else {
        return None;
    };
    let epilogue = Epilogue::Bias { bias, activation: *activation };
    let op = Matmul { c: as_c(matmul, *output), epilogue, ..matmul.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// Batch normalisation, then an activation. No other op may read the pre-activation.
pub(super) fn norm_activation(ops: &Ops, first: usize) -> Option<Fused> {
    let Some(Op::BatchNormForward(norm)) = &ops.ops[first] else { return None };
    let second = ops.sole_reader(norm.y).filter(|_| norm.activation == Activation::Identity)?;
    let Some(Op::Pointwise(Pointwise { saved: None, dropout: None, output, activation, .. })) = &ops.ops[second] else {
        return None;
    };
    let op = BatchNormForward { y: seen_as(*output, norm.y.shape), activation: *activation, ..norm.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// A dropout mask, then the derivative of the activation before it.
pub(super) fn masked_derivative(ops: &Ops, first: usize) -> Option<Fused> {
    let Some(Op::Pointwise(mask)) = &ops.ops[first] else { return None };
    if mask.saved.is_some() || mask.activation != Activation::Identity || mask.dropout.is_none() {
        return None;
    }
    let second = ops.sole_reader(mask.output)?;
    let Some(Op::Pointwise(derivative)) = &ops.ops[second] else { return None };
    let saved = derivative.saved.filter(|saved| derivative.dropout.is_none() && saved.buffer != mask.output.buffer)?;
    let op = Pointwise { input: mask.input, dropout: mask.dropout, ..derivative.clone() }.into();
    Some(Fused { first, second, at: ops.place(first, second, &[saved])?, op })
}

/// Matmul, then the derivative of an activation: the result is the gradient of the pre-activation.
pub(super) fn derivative(ops: &Ops, first: usize) -> Option<Fused> {
    let matmul = matmul(ops, first).filter(|matmul| matmul.epilogue == Epilogue::None)?;
    let second = ops.sole_reader(matmul.c)?;
    let Some(Op::Pointwise(derivative)) = &ops.ops[second] else { return None };
    let saved = derivative.saved.filter(|saved| derivative.dropout.is_none() && saved.buffer != matmul.c.buffer)?;
    let epilogue = Epilogue::Derivative { saved: as_c(matmul, saved), activation: derivative.activation };
    let op = Matmul { c: as_c(matmul, derivative.output), epilogue, ..matmul.clone() }.into();
    Some(Fused { first, second, at: ops.place(first, second, &[saved])?, op })
}

/// A loss, then the derivative of the last activation. The kernels of softmax losses cannot fuse a derivative.
pub(super) fn loss_derivative(ops: &Ops, first: usize) -> Option<Fused> {
    let Some(Op::LossOp(loss)) = &ops.ops[first] else { return None };
    let second = ops.sole_reader(loss.gradient.filter(|_| !loss.loss.is_softmax())?)?;
    let Some(Op::Pointwise(derivative)) = &ops.ops[second] else { return None };
    let activation = derivative.activation;
    let from_output = activation.differentiates_from_output() && derivative.dropout.is_none();
    let saved = derivative.saved.filter(|_| from_output && loss.activation == Activation::Identity)?;
    if (saved.buffer, saved.offset) != (loss.output.buffer, loss.output.offset) {
        return None;
    }
    let gradient = Some(seen_as(derivative.output, loss.output.shape));
    let op = LossOp { gradient, activation, ..loss.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// The gradient of weights, and the column sums of the same output gradient: the gradient of the biases.
pub(super) fn bias_gradient(ops: &Ops, first: usize) -> Option<Fused> {
    let matmul = matmul(ops, first)?;
    if matmul.layout != Layout::Tn || matmul.epilogue != Epilogue::None || matmul.addend.is_some() {
        return None;
    }
    let sums = |at: &&usize| match &ops.ops[**at] {
        Some(Op::Reduce(Reduce { input, output, how: Reduction::Sum })) => {
            seen_as(*input, matmul.b.shape) == matmul.b && output.shape[..] == [1, matmul.b.columns()]
        }
        _ => false,
    };
    let second = *ops.readers[matmul.b.buffer.0].iter().find(sums)?;
    let Some(Op::Reduce(Reduce { output, .. })) = &ops.ops[second] else { return None };
    let between = first.min(second) + 1..first.max(second);
    let is_changed = between.clone().any(|at| ops.writes(at, &matmul.b));
    if is_changed || between.clone().any(|at| ops.touches(at, output)) {
        return None;
    }
    let bias_gradient = Some(seen_as(*output, output.len()));
    let op = Matmul { bias_gradient, ..matmul.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// The gradient of a layer's weights and biases, then their update. No other op may read that gradient, or read the
/// weights afterwards.
pub(super) fn update(ops: &Ops, first: usize) -> Option<Fused> {
    let Some(Op::Matmul(matmul)) = &ops.ops[first] else { return None };
    let is_gradient = ops.role(matmul.c) == Role::Gradients && matmul.epilogue == Epilogue::None;
    let last = matmul.bias_gradient.unwrap_or(matmul.c);
    // A custom layer may write the column sums to its own tensor.
    if !is_gradient || matmul.addend.is_some() || last.buffer != matmul.c.buffer {
        return None;
    }
    let len = (last.offset + last.len()).checked_sub(matmul.c.offset)?;
    let (second, step) = own_update(ops, first, matmul.c, len)?;
    if step.multipliers.is_some() {
        return None;
    }
    let [c, bias] =
        [Some(matmul.c), matmul.bias_gradient].map(|t| t.map(|t| Tensor { buffer: step.parameters.buffer, ..t }));
    let epilogue = Epilogue::Update(Box::new(step.part(0, len)));
    let op = Matmul { c: c?, bias_gradient: bias, epilogue, ..matmul.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// The gradient of a hash grid's table, then its update, under the same conditions.
pub(super) fn grid_update(ops: &Ops, first: usize) -> Option<Fused> {
    let Some(Op::HashGridGradient(gradient)) = &ops.ops[first] else { return None };
    let made = gradient.table_gradient;
    if ops.role(made) != Role::Gradients || gradient.step.is_some() {
        return None;
    }
    let (second, step) = own_update(ops, first, made, made.len())?;
    let table_gradient = Tensor { buffer: step.parameters.buffer, ..made };
    let op = HashGridGradient { table_gradient, step: Some(Box::new(step.clone())), ..gradient.clone() }.into();
    Some(Fused { first, second, at: first, op })
}

/// The update of `len` weights from the first of a gradient on, if no other op reads or writes that gradient, and no op
/// before the update uses the weights.
fn own_update<'a>(ops: &'a Ops, first: usize, gradient: Tensor, len: u32) -> Option<(usize, &'a OptimizerStep)> {
    let update = |at: usize| match &ops.ops[at] {
        Some(Op::Update(Update { step, gradients, scale: None })) => {
            let all =
                gradients.offset == gradient.offset && gradients.len() == len.next_multiple_of(PARAMETER_ALIGNMENT);
            (all && step.averages.count() == 0).then_some((step, gradients))
        }
        _ => None,
    };
    let (second, (step, gradients)) = ops.readers[gradient.buffer.0].iter().find_map(|&at| Some((at, update(at)?)))?;
    let others = (0..ops.ops.len()).filter(|&at| at != first && at != second);
    let gradients_are_its_own = others.clone().all(|at| !ops.touches(at, gradients));
    let weights_are_free =
        others.filter(|at| (first..second).contains(at)).all(|at| !ops.touches(at, &step.parameters));
    (gradients_are_its_own && weights_are_free).then_some((second, step))
}

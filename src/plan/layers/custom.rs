//! Custom layers: checks their ops and tensors, and adds them to the plan.

use super::{Builder, LayerContext, Lowered, Role};
use crate::error::Result;
use crate::network::{Custom, LayerOps, LayerTensors};

pub(super) fn forward(at: &LayerContext, layer: &Custom, plan: &mut Builder) -> Result<Lowered> {
    let one = at.node.shapes.len() == 1;
    let name = |i: usize| if one { at.node.name.clone() } else { at.name(&format!("output_{i}")) };
    let outputs = (0..).zip(&at.node.shapes).map(|(i, &shape)| plan.activation(&name(i), shape));
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    let mut ops = layer_ops(at, LayerTensors { outputs: outputs.clone(), ..given(at, plan) }, plan);
    layer.0.forward(&mut ops)?;
    let kept = add(at, ops, Role::Activation, plan)?;
    Ok(Lowered { outputs, kept, ..Lowered::default() })
}

pub(super) fn backward(
    at: &LayerContext,
    layer: &Custom,
    gradients: &[Option<super::Tensor>],
    plan: &mut Builder,
) -> Result<()> {
    let input_gradients = (0..at.inputs.len()).map(|i| plan.sink(at, i)).collect::<Result<_>>()?;
    let sink = |&p: &usize| plan.trained[p].then(|| plan.parameter_sink(at, p)).transpose();
    let parameter_gradients = at.node.parameters.iter().map(sink).collect::<Result<_>>()?;
    let tensors = LayerTensors {
        outputs: at.done.outputs.clone(),
        output_gradients: gradients.to_vec(),
        input_gradients,
        parameter_gradients,
        ..given(at, plan)
    };
    let mut ops = layer_ops(at, tensors, plan);
    let name = |tensor: super::Tensor| plan.plan.buffer(tensor.buffer).name[at.node.name.len() + 1..].to_owned();
    ops.own = at.done.kept.iter().map(|&tensor| (name(tensor), tensor)).collect();
    ops.before = ops.own.len();
    layer.0.backward(&mut ops)?;
    add(at, ops, Role::ActivationGradient, plan).map(drop)
}

/// The tensors that both passes read.
fn given(at: &LayerContext, plan: &Builder) -> LayerTensors {
    LayerTensors {
        inputs: at.inputs.clone(),
        parameters: at.node.parameters.iter().map(|&p| plan.parameter(p)).collect(),
        states: at.node.states.iter().map(|&s| plan.state(s)).collect(),
        is_training: plan.masks.is_some(),
        ..LayerTensors::default()
    }
}

fn layer_ops<'a>(at: &LayerContext<'a>, tensors: LayerTensors, plan: &Builder) -> LayerOps<'a> {
    let (layer, next) = (at.node.name.as_str(), plan.plan.buffers.len());
    LayerOps { tensors, layer, own: Vec::new(), before: 0, next, ops: Vec::new() }
}

/// Adds the ops of a pass. Returns all intermediate tensors of the layer.
fn add(at: &LayerContext, ops: LayerOps, role: Role, plan: &mut Builder) -> Result<Vec<super::Tensor>> {
    ops.check_written()?;
    for (name, tensor) in &ops.own[ops.before..] {
        plan.buffer(&at.name(name), tensor.shape, role)?;
    }
    plan.plan.step.extend(ops.ops);
    Ok(ops.own.into_iter().map(|(_, tensor)| tensor).collect())
}

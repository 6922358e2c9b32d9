//! The forward and backward ops of each kind of layer. This module is independent of devices.

mod activation;
mod arithmetic;
mod batch_norm;
mod composite;
mod constant;
mod convolution;
mod custom;
mod dense;
mod dropout;
mod encode;
mod hash_grid;
mod layer_norm;
mod moving;
mod pooling;
mod reducing;
mod resizing;
mod scale_shift;

use self::dense::LayerMatmul;
use super::builder::{Builder, Lowered, limit};
use super::{LONGEST_ROW, Role, Shape, Tensor, rows, seen_as};
use crate::activation::Activation;
use crate::encoding::{Encoding, GridInterpolation};
use crate::error::{Error, Result};
use crate::network::{self, Layer, Network, Node};

/// A layer of the network and its tensors in the plan.
pub(super) struct LayerContext<'a> {
    /// The index of the node. It makes its dropout masks unique.
    pub index: usize,
    pub node: &'a Node,
    pub inputs: Vec<Tensor>,
    /// For each input, whether its gradient is needed.
    pub wanted: Vec<bool>,
    /// The results of its forward pass. Empty before that pass.
    pub done: Lowered,
}

impl LayerContext<'_> {
    fn name(&self, of: &str) -> String {
        format!("{}.{of}", self.node.name)
    }

    /// The shape of one sample of its first output.
    fn shape(&self) -> Shape {
        self.node.shapes[0]
    }

    /// The shape of one sample of its first input.
    fn input_shape(&self) -> Shape {
        Shape::of(&self.inputs[0].shape[1..])
    }

    /// The layer whose ops it uses. For a tied layer, this is the layer that it is tied to.
    fn layer<'a>(&'a self, plan: &'a Builder) -> &'a Layer {
        resolved(plan.network, &self.node.layer)
    }
}

/// Adds a layer's forward pass.
pub(super) fn forward(at: &LayerContext, plan: &mut Builder) -> Result<Lowered> {
    match at.layer(plan).clone() {
        Layer::Dense(dense) => dense::forward(at, LayerMatmul::dense(dense.has_bias(), dense.activation()), plan),
        Layer::Conv(conv) => convolution::forward(at, &conv, plan),
        Layer::Pool(pool) => pooling::forward(at, &pool, plan),
        Layer::Upsample(_) | Layer::Pad(_) | Layer::Crop(_) | Layer::DepthToSpace(_) | Layer::SpaceToDepth(_) => {
            resizing::forward(at, plan)
        }
        Layer::Tied(tied) => dense::forward(at, transposed_matmul(tied.transposed.unwrap_or_default()), plan),
        Layer::Flatten | Layer::Reshape(_) | Layer::Activation(Activation::Identity) => Ok(moving::reshape(at, plan)),
        Layer::Activation(activation) => {
            let (pre_activation, output) = activation::forward(&at.node.name, at.inputs[0], activation, plan)?;
            Ok(Lowered { pre_activation, ..made(output) })
        }
        Layer::Dropout(rate) => dropout::forward(at, rate, false, plan),
        Layer::SpatialDropout(rate) => dropout::forward(at, rate, true, plan),
        layer @ (Layer::LayerNorm(_) | Layer::GroupNorm(_) | Layer::InstanceNorm(_) | Layer::RmsNorm(_)) => {
            layer_norm::forward(at, &layer.normalisation(at.shape()), plan)
        }
        Layer::BatchNorm(norm) => batch_norm::forward(at, norm, plan),
        Layer::Encoding(Encoding::HashGrid(grid)) => hash_grid::forward(at, grid, plan),
        Layer::Encoding(encoding) => encode::forward(at, encoding, plan),
        Layer::CompositeEncoding(parts) => composite::forward(at, &parts, plan),
        Layer::Add => arithmetic::add(at, plan),
        Layer::Multiply => arithmetic::multiply(at, plan),
        Layer::Concat { axis } => moving::concat(at, axis, plan),
        Layer::Slice { axis, start, .. } => moving::slices(at, axis, start, plan),
        Layer::Split { axis, .. } => moving::slices(at, axis, 0, plan),
        Layer::Transpose(order) => moving::transpose(at, &order, plan),
        Layer::ScaleShift(of) => scale_shift::forward(at, of, plan),
        Layer::Custom(layer) => custom::forward(at, &layer, plan),
        Layer::Constant { trained, .. } => constant::forward(at, trained, plan),
        Layer::ReduceMean(axes) => reducing::forward(at, super::Reduction::Mean, &axes, plan),
        Layer::ReduceMax(axes) => reducing::forward(at, super::Reduction::Max, &axes, plan),
    }
}

/// Adds a layer's backward pass. It starts from the gradients of the outputs or of the pre-activation. It adds the
/// gradients of trained weights, and the needed gradients of inputs.
pub(super) fn backward(
    at: &LayerContext,
    gradients: &[Option<Tensor>],
    pre_activation_gradient: Option<Tensor>,
    plan: &mut Builder,
) -> Result<()> {
    let layer = at.layer(plan).clone();
    let activation = layer.activation();
    let through = |gradient: Option<Tensor>, plan: &mut Builder| {
        let inner = activation::backward(at, activation, gradient, pre_activation_gradient, plan)?;
        plan.node_gradients[at.index].pre_activation = inner;
        Ok::<_, Error>(inner)
    };
    // At least one output of a layer has a gradient.
    let Some(first) = gradients.iter().flatten().chain(&pre_activation_gradient).next().copied() else { return Ok(()) };
    match layer {
        Layer::Dense(dense) => {
            let gradient = through(gradients[0], plan)?;
            let matmul = LayerMatmul::dense(dense.has_bias(), dense.activation());
            dense::backward(at, matmul, gradient.unwrap_or(first), plan)?;
        }
        Layer::Conv(conv) => {
            let gradient = through(gradients[0], plan)?;
            convolution::backward(at, &conv, gradient.unwrap_or(first), plan)?;
        }
        Layer::Pool(pool) => pooling::backward(at, &pool, first, plan)?,
        Layer::Upsample(_) | Layer::Pad(_) | Layer::Crop(_) | Layer::DepthToSpace(_) | Layer::SpaceToDepth(_) => {
            resizing::backward(at, first, plan)?
        }
        Layer::Tied(_) => {
            let gradient = through(gradients[0], plan)?;
            dense::backward(at, transposed_matmul(activation), gradient.unwrap_or(first), plan)?;
        }
        Layer::Activation(_) => {
            if let Some(gradient) = through(gradients[0], plan)? {
                plan.contribute(at.node.inputs[0], gradient);
            }
        }
        Layer::Flatten | Layer::Reshape(_) => plan.contribute(at.node.inputs[0], first),
        Layer::Dropout(rate) => dropout::backward(at, rate, false, first, plan)?,
        Layer::SpatialDropout(rate) => dropout::backward(at, rate, true, first, plan)?,
        Layer::LayerNorm(_) | Layer::GroupNorm(_) | Layer::InstanceNorm(_) | Layer::RmsNorm(_) => {
            layer_norm::backward(at, &layer.normalisation(at.shape()), first, plan)?;
        }
        Layer::BatchNorm(norm) => batch_norm::backward(at, norm.epsilon, first, plan)?,
        Layer::Encoding(Encoding::HashGrid(grid)) => hash_grid::backward(at, grid, first, plan)?,
        Layer::Encoding(encoding) => encode::backward(at, encoding, first, plan)?,
        Layer::CompositeEncoding(parts) => composite::backward(at, &parts, first, plan)?,
        Layer::Add => arithmetic::add_backward(at, first, plan)?,
        Layer::Multiply => arithmetic::multiply_backward(at, first, plan)?,
        Layer::Concat { axis } => moving::concat_backward(at, axis, first, plan)?,
        Layer::Slice { axis, start, .. } => moving::slices_backward(at, axis, start, gradients, plan)?,
        Layer::Split { axis, .. } => moving::slices_backward(at, axis, 0, gradients, plan)?,
        Layer::Transpose(order) => moving::transpose_backward(at, &order, first, plan)?,
        Layer::ScaleShift(of) => scale_shift::backward(at, of, first, plan)?,
        Layer::Custom(layer) => custom::backward(at, &layer, gradients, plan)?,
        Layer::Constant { .. } => constant::backward(at, first, plan)?,
        Layer::ReduceMean(axes) => reducing::mean_backward(at, &axes, first, plan)?,
        Layer::ReduceMax(axes) => reducing::max_backward(at, &axes, first, plan)?,
    }
    plan.sum_shared_gradients(true)
}

/// Whether [`tangent`] knows a layer. `needs_input`: the gradient of its input is needed too.
pub(super) fn has_tangent(network: &Network, node: &Node, needs_input: bool) -> bool {
    match resolved(network, &node.layer) {
        layer @ (Layer::Dense(_) | Layer::Tied(_) | Layer::Activation(_)) => {
            layer.activation().is_twice_differentiable()
        }
        Layer::Encoding(Encoding::Identity { .. }) => true,
        Layer::Encoding(Encoding::HashGrid(grid)) if grid.interpolation != GridInterpolation::Linear => false,
        // The gradient of its input would need second derivatives of the encoding.
        Layer::Encoding(_) => !needs_input,
        Layer::ScaleShift(network::ScaleShift::Fixed { .. }) => true,
        layer => is_linear(layer),
    }
}

/// Whether a layer is a linear function of its inputs without weights.
fn is_linear(layer: &Layer) -> bool {
    use Layer::*;
    matches!(layer, Flatten | Reshape(_) | Dropout(_) | SpatialDropout(_) | Add)
        || matches!(layer, Concat { .. } | Slice { .. } | Split { .. } | Transpose(_))
}

/// Adds the tangents of a layer's outputs, given those of its inputs. Adds the shares of the gradients of weights and of
/// the pre-activation that come from the network gradient: see `network_gradient.rs`.
pub(super) fn tangent(at: &LayerContext, tangents: Vec<Tensor>, plan: &mut Builder) -> Result<Vec<Tensor>> {
    let first = tangents[0];
    let of_tangents = LayerContext { inputs: tangents, wanted: Vec::new(), done: Lowered::default(), ..*at };
    let linear = match at.layer(plan).clone() {
        Layer::Dense(dense) => {
            let matmul = LayerMatmul::dense(dense.has_bias(), dense.activation());
            return Ok(vec![dense::tangent(at, matmul, first, plan)?]);
        }
        Layer::Tied(tied) => {
            let matmul = transposed_matmul(tied.transposed.unwrap_or_default());
            return Ok(vec![dense::tangent(at, matmul, first, plan)?]);
        }
        Layer::Activation(activation) => return Ok(vec![activation::tangent(at, activation, first, plan)?]),
        Layer::Encoding(Encoding::HashGrid(grid)) => return Ok(vec![hash_grid::tangent(at, grid, first, plan)?]),
        Layer::Encoding(encoding) => return Ok(vec![encode::tangent(at, encoding, first, plan)?]),
        Layer::ScaleShift(network::ScaleShift::Fixed { scale, .. }) => {
            scale_shift::forward(&of_tangents, network::ScaleShift::Fixed { scale, shift: 0.0 }, plan)?
        }
        _ => forward(&of_tangents, plan)?,
    };
    Ok(linear.outputs)
}

/// The layer whose ops a layer uses. For a tied layer, this is the layer that it is tied to.
fn resolved<'a>(network: &'a Network, layer: &'a Layer) -> &'a Layer {
    let of = |name: &str| network.layers().find(|(other, _)| *other == name).map(|(_, layer)| layer);
    match layer {
        Layer::Tied(tied) if tied.transposed.is_none() => of(tied.layer()).unwrap_or(layer),
        layer => layer,
    }
}

/// The matmul of a dense layer with another layer's transposed weights.
fn transposed_matmul(activation: Activation) -> LayerMatmul {
    LayerMatmul { transposed: true, ..LayerMatmul::dense(true, activation) }
}

/// The result of a layer with one output that keeps nothing for the backward pass.
fn made(output: Tensor) -> Lowered {
    Lowered { outputs: vec![output], ..Lowered::default() }
}

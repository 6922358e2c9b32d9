//! Convolutions. Keras' order of weights is ours, except for transposed and depthwise ones.

use super::dense::with_bias;
use super::functions::described;
use super::{Call, Importer};
use crate::activation::Activation;
use crate::keras::Result;
use crate::keras::weights::Weight;
use crate::network::{Conv, Value};

/// What all convolutions have: the input, its channels, and the layer without groups and activation.
struct Options {
    x: Value,
    inputs: u32,
    conv: Conv,
    is_sequence: bool,
    has_bias: bool,
}

fn options(imp: &Importer, call: &Call, mut conv: Conv) -> Result<Options> {
    let (x, config) = (call.input()?, call.config);
    let is_sequence = call.class_has("1D");
    let rank = if is_sequence { 2 } else { 3 };
    let shape = imp.shape(x)?;
    if shape.len() != rank {
        return Err(format!("an input of {} dimensions; expected {rank}", shape.len()));
    }
    conv.kernel = config.pair("kernel_size", [1; 2])?;
    conv = conv.stride(config.pair("strides", [1; 2])?).dilation(config.pair("dilation_rate", [1; 2])?);
    conv = match config.text("padding", "valid")? {
        "valid" => conv,
        "same" => conv.same(),
        "causal" if is_sequence => {
            let before = u64::from(conv.dilation[1]) * u64::from(conv.kernel[1].saturating_sub(1));
            conv.padding_of([0; 2], [u32::try_from(before).map_err(|_| "attribute dilation_rate: too large")?, 0])
        }
        other => return Err(format!("attribute padding: {other:?} is not supported")),
    };
    let has_bias = config.flag("use_bias", true)?;
    let inputs = imp.channels(x)?;
    Ok(Options { x, inputs, conv: if has_bias { conv } else { conv.without_bias() }, is_sequence, has_bias })
}

impl Options {
    /// The shape of a kernel.
    fn kernel(&self, rest: [u32; 2]) -> Vec<u32> {
        let taps = if self.is_sequence { &self.conv.kernel[1..] } else { &self.conv.kernel[..] };
        [taps, &rest].concat()
    }

    fn weights(&self, imp: &Importer, call: &Call, mut kernels: Vec<&str>) -> Result<Vec<Weight>> {
        kernels.extend(self.has_bias.then_some("bias"));
        imp.weights(call, &kernels)
    }
}

pub(super) fn conv(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (filters, activation) = (call.config.whole("filters")?, described(imp, call)?);
    let options = options(imp, call, Conv::new(filters, 1))?;
    let groups = call.config.whole_or("groups", 1)?;
    if groups == 0 {
        return Err("attribute groups: expected at least 1".into());
    }
    let weights = options.weights(imp, call, vec!["kernel"])?;
    weights[0].check(&options.kernel([options.inputs / groups, filters]))?;
    let numbers = with_bias(weights, filters)?;
    imp.add_weighted(call, call.path, options.conv.groups(groups).activation(activation), options.x, numbers)
}

pub(super) fn transposed(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (filters, activation) = (call.config.whole("filters")?, described(imp, call)?);
    let mut options = options(imp, call, Conv::transposed(filters, 1))?;
    call.config.only("output_padding", &[])?;
    let mut weights = options.weights(imp, call, vec!["kernel"])?;
    // Keras has [height, width, outputs, inputs].
    weights[0].check(&options.kernel([filters, options.inputs]))?;
    weights[0].numbers = swapped(&weights[0].numbers, filters as usize, options.inputs as usize);
    if call.config.text("padding", "valid")? == "valid" {
        // Keras' output covers each stride, also where the kernel is shorter.
        let Conv { kernel, stride, dilation, .. } = options.conv;
        let span = |i: usize| dilation[i].saturating_mul(kernel[i].saturating_sub(1)).saturating_add(1);
        options.conv = options.conv.output_padding([0, 1].map(|i| stride[i].saturating_sub(span(i))));
    }
    let numbers = with_bias(weights, filters)?;
    imp.add_weighted(call, call.path, options.conv.activation(activation), options.x, numbers)
}

/// The numbers with the last two dimensions swapped. These have lengths of `rows` and `columns`.
fn swapped(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let matrices = numbers.chunks_exact((rows * columns).max(1));
    matrices.flat_map(|m| (0..columns).flat_map(move |j| (0..rows).map(move |i| m[i * columns + j]))).collect()
}

/// Keras has [height, width, inputs, multiplier]: the order of our outputs, as each input is a group.
pub(super) fn depthwise(imp: &mut Importer, call: &Call) -> Result<Value> {
    let activation = described(imp, call)?;
    let options = options(imp, call, Conv::new(0, 1))?;
    let weights = options.weights(imp, call, vec!["kernel"])?;
    let (conv, channels) = depthwise_conv(call, &options, &weights[0])?;
    let numbers = with_bias(weights, channels)?;
    imp.add_weighted(call, call.path, conv.activation(activation), options.x, numbers)
}

/// The depthwise layer for these options, and its number of outputs.
fn depthwise_conv(call: &Call, options: &Options, kernel: &Weight) -> Result<(Conv, u32)> {
    let multiplier = call.config.whole_or("depth_multiplier", 1)?;
    kernel.check(&options.kernel([options.inputs, multiplier]))?;
    let channels = options.inputs.checked_mul(multiplier).ok_or("attribute depth_multiplier: too large")?;
    let mut conv = options.conv.groups(options.inputs);
    conv.channels = channels;
    Ok((conv, channels))
}

/// A depthwise convolution without bias, then one of 1 × 1.
pub(super) fn separable(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (filters, activation) = (call.config.whole("filters")?, described(imp, call)?);
    let options = options(imp, call, Conv::new(0, 1))?;
    let mut weights = options.weights(imp, call, vec!["depthwise_kernel", "pointwise_kernel"])?;
    let depthwise = weights.remove(0);
    let (conv, channels) = depthwise_conv(call, &options, &depthwise)?;
    let one = if options.is_sequence { vec![1] } else { vec![1, 1] };
    weights[0].check(&[one, vec![channels, filters]].concat())?;
    let name = format!("{}_depthwise", call.path);
    let conv = conv.without_bias().activation(Activation::Identity);
    let x = imp.add_weighted(call, &name, conv, options.x, vec![("weight", depthwise.numbers)])?;
    let mut pointwise = Conv::new(filters, 1).activation(activation);
    if !options.has_bias {
        pointwise = pointwise.without_bias();
    }
    let numbers = with_bias(weights, filters)?;
    imp.add_weighted(call, call.path, pointwise, x, numbers)
}

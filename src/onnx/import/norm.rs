//! Normalisations. Their scales and shifts become channels-last when they are loaded.

use super::dense::module;
use super::{Entry, Importer, Op, one};
use crate::network::{BatchNorm, GroupNorm, InstanceNorm, Layer, LayerNorm, RmsNorm};
use crate::onnx::Result;
use crate::onnx::layout::{Factor, View, count, permutation};
use crate::onnx::tensor::Tensor;

/// Numbers for each channel in memory order.
fn channels(tensor: &Tensor, logical: &[Factor], memory: &[Factor]) -> Result<Vec<f32>> {
    if tensor.len() != count(logical) {
        return Err(format!("numbers of the shape {:?} for {} channels", tensor.dims, count(logical)));
    }
    let values = tensor.to_f32()?;
    Ok(match permutation(logical, memory) {
        Some(places) => places.into_iter().map(|place| values[place]).collect(),
        None => values,
    })
}

/// The dimension of the channels.
fn channel_dim(imp: &Importer, x: &View) -> Result<usize> {
    let dim = 1 - imp.batch;
    if imp.batch == 0 && x.dims.first().is_none_or(|first| !first.is_empty()) {
        return Err("more than one image in one sample".into());
    }
    if x.dims.len() > dim { Ok(dim) } else { Err("an input without channels".into()) }
}

pub(super) fn batch(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let trains = if imp.opset < 7 { node.int("is_test", 0)? == 0 } else { node.int("training_mode", 0)? != 0 };
    if trains {
        return Err("attribute training_mode: a batch's own statistics are not supported; export for inference".into());
    }
    if node.int("spatial", 1)? != 1 {
        return Err("attribute spatial: only 1 is supported".into());
    }
    let dim = if imp.batch == 0 && x.dims.len() < 2 { return Err("no channels".into()) } else { 1 - imp.batch };
    let factors = x.dims.get(dim).ok_or("an input without channels")?.clone();
    let (view, value) = imp.with_last(&x, &factors)?;
    let memory = view.in_memory_order(&factors);
    let of = |i: usize| channels(op.constant(i)?, &factors, &memory);
    let [scale, shift, mean, variance] = [of(1)?, of(2)?, of(3)?, of(4)?];
    let epsilon = node.float("epsilon", 1e-5)?;
    if imp.fold_into(&x, &scale, &shift, &mean, &variance, epsilon) {
        return one(View { channels: Some(dim), ..x });
    }
    let layer = BatchNorm { epsilon, momentum: 1.0 - node.float("momentum", 0.9)? };
    let numbers = vec![("scale", scale), ("shift", shift), ("mean", mean), ("variance", variance)];
    let value = imp.layers(Layer::BatchNorm(layer), &[value], module(op, 1), numbers)?[0];
    one(View { value, channels: Some(dim), ..view })
}

impl Importer<'_> {
    /// Folds a batch normalisation into the layer that computes its input: y = scale · (x - mean) / √(variance +
    /// epsilon) + shift. Returns whether that was wished and possible.
    fn fold_into(&mut self, x: &View, scale: &[f32], shift: &[f32], mean: &[f32], variance: &[f32], e: f32) -> bool {
        let Some(name) = self.foldable.get(&x.value.source).filter(|_| self.options.fold_batch_norm).cloned() else {
            return false;
        };
        let [weight, bias] = ["weight", "bias"].map(|role| format!("{name}.{role}"));
        let factor = |o: usize| (f64::from(scale[o]) / (f64::from(variance[o]) + f64::from(e)).sqrt()) as f32;
        let factors: Vec<f32> = (0..scale.len()).map(factor).collect();
        let Some(values) = self.numbers.get_mut(&bias).filter(|bias| bias.len() == scale.len()) else { return false };
        for (o, value) in values.iter_mut().enumerate() {
            *value = (*value - mean[o]) * factors[o] + shift[o];
        }
        for (i, value) in self.numbers.get_mut(&weight).into_iter().flatten().enumerate() {
            *value *= factors[i % factors.len()];
        }
        true
    }
}

pub(super) fn instance(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, epsilon) = (op.view(0)?, op.node.float("epsilon", 1e-5)?);
    let dim = channel_dim(imp, &x)?;
    let factors = x.dims[dim].clone();
    // PyTorch writes a group normalisation as an instance normalisation of groups. Then the channels of each group
    // come last in memory.
    let inner = x.order.iter().rposition(|factor| factors.contains(factor)).map_or(0, |last| last + 1);
    let inner = x.order[inner..].to_vec();
    let channels_last = [&factors[..], &inner].concat();
    let is_group = !inner.is_empty() && x.order.ends_with(&channels_last) && x.order.len() > channels_last.len();
    let of_group = if is_group { count(&inner) as usize } else { 1 };
    let (view, value) = imp.with_last(&x, if is_group { &channels_last } else { &factors })?;
    let memory = view.in_memory_order(&factors);
    let of = |i: usize| -> Result<Vec<f32>> {
        let values = channels(op.constant(i)?, &factors, &memory)?;
        Ok(values.into_iter().flat_map(|value| std::iter::repeat_n(value, of_group)).collect())
    };
    let numbers = vec![("scale", of(1)?), ("shift", of(2)?)];
    let layer = match is_group {
        true => Layer::GroupNorm(GroupNorm { groups: count(&factors) as u32, epsilon }),
        false => Layer::InstanceNorm(InstanceNorm { epsilon }),
    };
    let value = imp.layers(layer, &[value], module(op, 1), numbers)?[0];
    one(View { value, channels: Some(dim), ..view })
}

pub(super) fn group(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, epsilon) = (op.view(0)?, op.node.float("epsilon", 1e-5)?);
    let dim = channel_dim(imp, &x)?;
    let factors = x.dims[dim].clone();
    let groups = u32::try_from(op.node.int("num_groups", 0)?).map_err(|_| "attribute num_groups: too large")?;
    let ordered = imp.arranged(&x, [x.others(&factors), factors.clone()].concat())?;
    let (view, value) = imp.with_last(&ordered, &factors)?;
    let all = count(&factors);
    let of = |i: usize| -> Result<Vec<f32>> {
        let tensor = op.constant(i)?;
        let each = if tensor.len() == u64::from(groups) && imp.opset < 21 { all / u64::from(groups) } else { 1 };
        if tensor.len() * each != all {
            return Err(format!("numbers of the shape {:?} for {all} channels", tensor.dims));
        }
        Ok(tensor.to_f32()?.into_iter().flat_map(|value| std::iter::repeat_n(value, each as usize)).collect())
    };
    let numbers = vec![("scale", of(1)?), ("shift", of(2)?)];
    let value = imp.layers(Layer::GroupNorm(GroupNorm { groups, epsilon }), &[value], module(op, 1), numbers)?[0];
    one(View { value, channels: Some(dim), ..view })
}

/// The dimensions from the axis on, last in memory, with the numbers of each.
fn trailing(imp: &mut Importer, op: &Op) -> Result<(View, crate::network::Value, Vec<Factor>, Vec<Factor>)> {
    let x = op.view(0)?;
    let first = imp.axis(&x, op.node.int("axis", -1)?)?;
    let factors = x.dims[first..].concat();
    let (view, value) = imp.with_last(&x, &factors)?;
    let memory = view.in_memory_order(&factors);
    Ok((view, value, factors, memory))
}

pub(super) fn layer(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (view, value, factors, memory) = trailing(imp, op)?;
    let epsilon = op.node.float("epsilon", 1e-5)?;
    let scale = channels(op.constant(1)?, &factors, &memory)?;
    let shift = match op.optional(2)? {
        Some(shift) => channels(shift, &factors, &memory)?,
        None => vec![0.0; scale.len()],
    };
    let numbers = vec![("scale", scale), ("shift", shift)];
    let value = imp.layers(Layer::LayerNorm(LayerNorm { epsilon }), &[value], module(op, 1), numbers)?[0];
    let mut outputs = vec![Entry::View(View { value, ..view })];
    if op.node.outputs.iter().skip(1).any(|name| imp.is_read(name)) {
        outputs.extend(statistics(imp, op, epsilon)?.map(Entry::View));
    }
    Ok(outputs)
}

/// The other outputs of a layer normalisation: the mean, and 1 / √(variance + epsilon).
fn statistics(imp: &mut Importer, op: &Op, epsilon: f32) -> Result<[View; 2]> {
    let x = op.view(0)?;
    let dims: Vec<usize> = (imp.axis(&x, op.node.int("axis", -1)?)?..x.dims.len()).collect();
    let mean = imp.reduced(&x, &dims, false, true)?;
    let less = imp.scaled(&Entry::View(mean.clone()), -1.0)?;
    let centred = imp.combined(&Entry::View(x), &less, false)?;
    let value = imp.layer(Layer::Multiply, &[centred.value, centred.value])?;
    let variance = imp.reduced(&View { value, ..centred }, &dims, false, true)?;
    let shifted = imp.scale_shift(1.0, epsilon, variance.value)?;
    Ok([mean, View { value: imp.power(shifted, -0.5)?, ..variance }])
}

pub(super) fn rms(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (view, value, factors, memory) = trailing(imp, op)?;
    let scale = channels(op.constant(1)?, &factors, &memory)?;
    let layer = Layer::RmsNorm(RmsNorm { epsilon: op.node.float("epsilon", 1e-5)? });
    let value = imp.layers(layer, &[value], module(op, 1), vec![("scale", scale)])?[0];
    one(View { value, ..view })
}

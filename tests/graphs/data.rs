//! Random data for random graphs, and the values and losses of the graphs in f64.

use std::ops::Range;

use wgrad::lockstep::Lockstep;
use wgrad::plan::{DataInfo, Role};

use crate::common::reference::{
    Corners, Sample, activated, batch_norm, channel_statistics, label_targets, loss_of_row, outputs,
};
use crate::drawn::Drawn;

pub struct Data {
    /// For each input, the features of all rows.
    pub features: Vec<Vec<f32>>,
    /// For each output, the targets of all rows.
    pub targets: Vec<Vec<u32>>,
    pub infos: Vec<DataInfo>,
}

pub fn random(drawn: &Drawn, rows: u32, shuffle: bool, seed: u64) -> Data {
    let mut random = crate::random_of(seed);
    let inputs = drawn.network.input_specs();
    let features: Vec<Vec<f32>> = inputs.iter().map(|end| random.f32s((rows * end.features()) as usize)).collect();
    let mut targets = Vec::new();
    for (output, end) in drawn.outputs.iter().zip(drawn.network.output_specs()) {
        let columns = *end.shape.last().unwrap();
        let mut words = Vec::new();
        for _ in 0..rows {
            for _ in 0..end.features() / columns {
                match output.values {
                    true => words.extend((0..columns).map(|_| random.f32().abs().to_bits())),
                    false => words.push(random.below(columns.max(2))),
                }
            }
            if output.weighted {
                words.push((random.f32() + 1.5).to_bits());
            }
        }
        targets.push(words);
    }
    let info = |i: usize| {
        let output = drawn.outputs.get(i);
        DataInfo {
            rows,
            shuffle: shuffle.into(),
            seed_low: seed as u32,
            values: output.is_some_and(|output| output.values).into(),
            weighted: output.is_some_and(|output| output.weighted).into(),
            ignored: output.is_some_and(|output| output.ignores).into(),
            feature_stride: inputs.get(i).map_or(0, |end| end.features()),
            target_stride: targets.get(i).map_or(0, |words| words.len() as u32 / rows),
            ..DataInfo::default()
        }
    };
    let infos = (0..inputs.len().max(targets.len())).map(info).collect();
    Data { features, targets, infos }
}

impl Data {
    /// Sets the data in a plan of training or evaluation.
    pub fn set(&self, lockstep: &mut Lockstep) {
        let mut set = |role, words: &[u32]| {
            if let Some(id) = lockstep.plan().find(role) {
                lockstep.set(id, words).unwrap();
            }
        };
        for (i, features) in (0..).zip(&self.features) {
            set(Role::Features(i), bytemuck::cast_slice(features));
        }
        for (i, targets) in (0..).zip(&self.targets) {
            set(Role::Targets(i), targets);
        }
        for (i, info) in (0..).zip(&self.infos) {
            set(Role::Data(i), bytemuck::cast_slice(&[*info]));
        }
    }

    /// One row of each input.
    pub fn sample(&self, drawn: &Drawn, row: usize) -> Vec<Sample> {
        let ends = drawn.network.input_specs().iter().zip(&self.features);
        let of = |(end, features): (&wgrad::TensorSpec, &Vec<f32>)| {
            let width = end.features() as usize;
            Sample::new(&end.shape, features[row * width..][..width].iter().map(|&x| x.into()).collect())
        };
        ends.map(of).collect()
    }

    /// The loss of each output over some rows, without the output's weight.
    pub fn losses(
        &self,
        drawn: &Drawn,
        weights: &[f64],
        rows: Range<usize>,
        pass: &Pass,
        corners: &mut Corners,
    ) -> Vec<f64> {
        let mut totals = vec![0.0; drawn.outputs.len()];
        let samples: Vec<Vec<Sample>> = rows.clone().map(|row| self.sample(drawn, row)).collect();
        let batch = values(drawn, weights, &samples, pass, corners);
        for (row, values) in rows.clone().zip(&batch) {
            for (o, output) in drawn.outputs.iter().enumerate() {
                let y = &values[output.value];
                let columns = *y.shape.last().unwrap() as usize;
                let info = &self.infos[o];
                let targets = &self.targets[o][row * info.target_stride as usize..][..info.target_stride as usize];
                let weight = if output.weighted { f32::from_bits(*targets.last().unwrap()).into() } else { 1.0 };
                let positions = y.values.len() / columns;
                for (position, y) in y.values.chunks(columns).enumerate() {
                    let targets = match output.values {
                        true => {
                            targets[position * columns..][..columns].iter().map(|&t| f32::from_bits(t).into()).collect()
                        }
                        false if output.ignores && targets[position] == 0 => continue,
                        false => label_targets(targets[position], columns),
                    };
                    let logits = logits(drawn, output.value, output.loss, y);
                    let loss = weight * loss_of_row(output.loss, &logits, &targets, corners);
                    let is_sum = output.loss == wgrad::Loss::SumOfSquares;
                    totals[o] += if is_sum { loss } else { loss / (rows.len() * positions) as f64 };
                }
            }
        }
        totals
    }
}

/// The values that the loss reads. If the loss computes the last activation itself, these are logits. For a softmax,
/// any logits with these probabilities are valid.
fn logits(drawn: &Drawn, value: usize, loss: wgrad::Loss, y: &[f64]) -> Vec<f64> {
    use wgrad::{Activation, Layer, Loss};
    let mut value = value;
    let last = loop {
        match drawn.steps.iter().find(|step| step.outputs.contains(&value)) {
            Some(step) => match step.layer {
                Layer::Flatten | Layer::Reshape(_) | Layer::Activation(Activation::Identity) => value = step.inputs[0],
                _ => break activation_of(drawn, step),
            },
            None => break Activation::Identity,
        }
    };
    match (loss, last) {
        (Loss::BinaryCrossEntropy, Activation::Sigmoid) => y.iter().map(|p| (p / (1.0 - p)).ln()).collect(),
        (Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. }, Activation::Softmax) => {
            y.iter().map(|p| p.ln()).collect()
        }
        _ => y.to_vec(),
    }
}

/// The layer that a step computes. A tied step computes the layer that it is tied to, unless it transposes the weights.
fn layer_of<'a>(drawn: &'a Drawn, step: &'a crate::drawn::Step) -> &'a wgrad::Layer {
    match step.tied {
        Some(of) if !is_transposed(drawn, step) => &drawn.steps[of].layer,
        _ => &step.layer,
    }
}

fn activation_of(drawn: &Drawn, step: &crate::drawn::Step) -> wgrad::Activation {
    layer_of(drawn, step).activation()
}

/// For a tied step: true if it transposes the weights. Only such a step has its own bias.
fn is_transposed(drawn: &Drawn, step: &crate::drawn::Step) -> bool {
    drawn.network.parameters().iter().any(|p| p.layer() == step.name)
}

/// For each dropout layer by name: the factors of all numbers in the batch, row by row.
pub type Masks = std::collections::BTreeMap<String, Vec<f64>>;

/// The behaviour of dropout and batch normalisation.
pub enum Pass {
    Training(Masks),
    Inference,
}

/// Every value of a graph, for each sample of a batch, in f64.
pub fn values(
    drawn: &Drawn,
    weights: &[f64],
    inputs: &[Vec<Sample>],
    pass: &Pass,
    corners: &mut Corners,
) -> Vec<Vec<Sample>> {
    let of_layer = |name: &str| -> Vec<&[f64]> {
        let own = drawn.network.parameters().iter().filter(|p| p.layer() == name);
        own.map(|p| &weights[p.range()]).collect()
    };
    let mut batch = inputs.to_vec();
    for step in &drawn.steps {
        let mut own = of_layer(&step.name);
        if let Some(of) = step.tied {
            let others = of_layer(&drawn.steps[of].name);
            own = if own.is_empty() { others } else { vec![others[0], own[0]] };
        }
        let layer = layer_of(drawn, step);
        if let wgrad::Layer::BatchNorm(norm) = layer {
            let given: Vec<&Sample> = batch.iter().map(|values| &values[step.inputs[0]]).collect();
            // The running statistics have their initial values.
            let statistics = match pass {
                Pass::Training(_) => channel_statistics(&given),
                Pass::Inference => vec![[0.0, 1.0]; own[0].len()],
            };
            let normalised = |x| batch_norm(x, &statistics, own[0], own[1], norm.epsilon.into());
            let made: Vec<Sample> = given.into_iter().map(normalised).collect();
            batch.iter_mut().zip(made).for_each(|(values, made)| values.push(made));
            continue;
        }
        for (row, values) in batch.iter_mut().enumerate() {
            let given: Vec<&Sample> = step.inputs.iter().map(|&input| &values[input]).collect();
            let sums = outputs(layer, &own, &given, corners);
            let mut made: Vec<Sample> = sums.iter().map(|sums| activated(layer.activation(), sums, corners)).collect();
            if let Pass::Training(masks) = pass
                && let Some(mask) = masks.get(&step.name)
            {
                let len = made[0].values.len();
                made[0].values.iter_mut().zip(&mask[row * len..]).for_each(|(x, mask)| *x *= mask);
            }
            values.extend(made);
        }
    }
    batch
}

//! Compares a layer's gradients with central differences of forward passes on the GPU.

use std::ops::Range;

use super::{Check, name, read};
use crate::accuracy::U;
use crate::error::Result;
use crate::lockstep::gradient::{Slope, largest, steps};
use crate::lockstep::{Differences, GradientComparison, Lockstep};
use crate::network::Parameter;
use crate::plan::{BufferId, Op, Role};

/// The largest number of elements of a tensor that are compared with central differences.
const MOST_COMPARED: usize = 256;

/// Steps of the central differences, for data of order 1. Steep functions need short steps; the shortest is as exact
/// as f32 allows. Flat functions need long steps.
const DIFFERENCES: Differences = Differences { step: 1.0 / 65_536.0, steps: 14, noise: 0.0, bound: 0.0 };

/// Size of the outputs of all steps, in bytes.
pub(super) fn outputs_bytes(outputs: usize) -> u64 {
    (2 * DIFFERENCES.steps * outputs * 4) as u64
}

/// A tensor whose gradient is checked. Its values and its gradients have the same place in their buffers.
struct Checked {
    name: String,
    buffer: BufferId,
    words: Range<usize>,
    gradient: Role,
}

impl Check {
    /// Compares the gradient of each input and of each parameter with central differences.
    pub fn gradients(&self) -> Result<Vec<(String, GradientComparison)>> {
        let plan = &self.lockstep.plan;
        let tensors = self.tensors();
        let first = self.run_again()?;
        self.check_repeats(&first, &self.run_again()?)?;
        let made = |role: Role| -> &[f32] {
            let found = first.iter().find(|(id, _)| plan.buffer(*id).role == role);
            found.map_or(&[], |(_, words)| bytemuck::cast_slice(words))
        };
        let outputs: Vec<f32> =
            (0..self.network.output_specs().len()).flat_map(|o| made(Role::Output(o as u32))).copied().collect();

        // The effect of rounding every input and parameter: see `check_layer`.
        let values = |tensor: &Checked| -> Vec<f32> { self.lockstep.get(tensor.buffer)[tensor.words.clone()].to_vec() };
        let worth = |tensor: &Checked| -> f64 {
            let (x, gradient) = (values(tensor), &made(tensor.gradient)[tensor.words.clone()]);
            let products = x.iter().zip(gradient).map(|(x, g)| f64::from(*x) * f64::from(*g));
            products.filter(|product| product.is_finite()).map(|product| product * product).sum()
        };
        let worth = tensors.iter().map(worth).sum::<f64>().sqrt();
        let inputs = self.network.input_specs().iter().map(|spec| f64::from(spec.features()));
        let n = inputs.sum::<f64>() + self.network.parameter_count() as f64;

        let mut comparisons = Vec::new();
        for tensor in &tensors {
            let gradient = &made(tensor.gradient)[tensor.words.clone()];
            let most = largest(gradient);
            let bound = 2.0 * U * (n * f64::from(self.rows)).sqrt() * most;
            let mut comparison = GradientComparison::default();
            let x = values(tensor);
            for index in spread(gradient.len()) {
                let moved: Vec<f32> = steps(&DIFFERENCES)
                    .flat_map(|h| [h, -h].map(|by| (f64::from(x[index]) + by) as f32))
                    .chain([x[index]])
                    .collect();
                let made = self.outputs_at(tensor.buffer, tensor.words.start + index, &moved)?;
                let size = self.changed(&outputs, &made);
                // If no output changes, there is no rounding error.
                let noise = if size > 0.0 { U * n.sqrt() * (size + worth) } else { 0.0 };
                let how = Differences { noise, bound, ..DIFFERENCES };
                let terms = made.chunks(outputs.len().max(1)).map(|y| self.terms(y)).collect::<Vec<_>>();
                let (sides, _) = terms.as_chunks();
                let slope = Slope::of(&how, &self.terms(&outputs), sides);
                // The outputs would have to change by more than their own size.
                let is_too_steep = size > 0.0 && most * how.step > size;
                let slope = if is_too_steep { Slope { disagreement: f64::INFINITY, ..slope } } else { slope };
                comparison.add(index, gradient[index], most, slope);
            }
            let id = plan.find(tensor.gradient);
            let kernel = id.map_or_else(String::new, |id| self.writer(id, tensor.words.start));
            let what = format!("kernel {kernel}, gradient of {}", tensor.name);
            match comparison.fault {
                Some(fault) => return Err(self.fault(format!("{what}: {fault}"))),
                None if comparison.compared == 0 => {
                    let why = "the layer is too steep, or its gradient too large, for steps of 1.5e-5";
                    return Err(self.fault(format!("{what}: central differences cannot check it: {why}")));
                }
                None => comparisons.push((tensor.name.clone(), comparison)),
            }
        }
        Ok(comparisons)
    }

    /// The inputs and parameters.
    fn tensors(&self) -> Vec<Checked> {
        let mut tensors = Vec::new();
        for (i, spec) in (0..).zip(self.network.input_specs()) {
            if let Some(buffer) = self.lockstep.plan.find(Role::Input(i)) {
                let words = 0..(self.rows * spec.features()) as usize;
                tensors.push(Checked { name: spec.name.clone(), buffer, words, gradient: Role::InputGradient(i) });
            }
        }
        if let Some(buffer) = self.lockstep.plan.find(Role::Parameters) {
            let own = self.network.parameters().iter();
            let of =
                |p: &Parameter| Checked { name: p.name.clone(), buffer, words: p.range(), gradient: Role::Gradients };
            tensors.extend(own.map(of));
        }
        tensors
    }

    /// The last op of the forward and backward pass that writes a word of a buffer.
    fn writer(&self, id: BufferId, word: usize) -> String {
        let plan = &self.lockstep.plan;
        let writes = |op: &&Op| op.outputs().iter().any(|(t, _)| t.buffer == id && t.words().contains(&word));
        plan.step[self.phases()[1].clone()].iter().rev().find(writes).map_or("", name).into()
    }

    /// m ‖g‖: the largest output, times the norm of the loss weights of the changing outputs.
    fn changed(&self, outputs: &[f32], made: &[f32]) -> f64 {
        let changes = |j: usize| made.iter().skip(j).step_by(outputs.len()).any(|y| *y != outputs[j]);
        let weights = (0..outputs.len()).filter(|&j| changes(j)).map(|j| f64::from(self.weights[j]));
        largest(made) * weights.map(|g| g * g).sum::<f64>().sqrt()
    }

    /// Each output's term in the loss.
    fn terms(&self, outputs: &[f32]) -> Vec<f64> {
        outputs.iter().zip(&self.weights).map(|(y, g)| f64::from(*y) * f64::from(*g)).collect()
    }

    /// The outputs for each value of one number. The number keeps the last value, which has no outputs.
    fn outputs_at(&self, id: BufferId, word: usize, values: &[f32]) -> Result<Vec<f32>> {
        let Lockstep { gpu, plan, on_gpu, .. } = &self.lockstep;
        let from = gpu.upload("moved numbers", bytemuck::cast_slice(values))?;
        let Some(to) = on_gpu.buffer(id) else { return Ok(Vec::new()) };
        let mut encoder = gpu.encoder();
        let mut end = 0;
        for (i, at) in (0..values.len()).zip((0..).step_by(4)) {
            encoder.copy_buffer_to_buffer(&from, at, to, word as u64 * 4, 4);
            if i + 1 == values.len() {
                break;
            }
            self.record(&mut encoder, self.phases()[0].clone());
            for o in 0..self.network.output_specs().len() {
                let role = Role::Output(o as u32);
                let bytes = plan.find(role).and_then(|id| plan.buffer(id).bytes()).unwrap_or(0);
                encoder.copy_buffer_to_buffer(on_gpu.of(role), 0, &self.outputs, end, bytes);
                end += bytes;
            }
        }
        gpu.submit(encoder)?;
        Ok(bytemuck::cast_vec(read(gpu, &self.outputs, 0..end as usize / 4)?))
    }
}

/// Indices of at most [`MOST_COMPARED`] of `len` elements, evenly spread, including the first and the last.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let some = len.min(MOST_COMPARED);
    (0..some).map(move |i| if some < len { i * (len - 1) / (some - 1) } else { i })
}

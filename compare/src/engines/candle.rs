//! candle, on the CPU.

use std::rc::Rc;

use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, loss::cross_entropy};

use super::Engine;
use crate::Result;
use crate::task::{BETA1, BETA2, Batches, EPSILON, FEATURES, LEARNING_RATE, Task};

struct Candle {
    task: Rc<Task>,
    layers: Vec<Linear>,
    optimizer: AdamW,
    batches: Option<Batches>,
    test: Option<Tensor>,
}

pub fn start(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    let (mut layers, mut variables) = (Vec::new(), Vec::new());
    for layer in task.layers()? {
        let weight = Tensor::from_vec(layer.weight, (layer.inputs, layer.outputs), &Device::Cpu)?;
        let weight = Var::from_tensor(&weight.t()?.contiguous()?)?; // candle keeps [outputs, inputs]
        let bias = Var::from_vec(layer.bias, layer.outputs, &Device::Cpu)?;
        layers.push(Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone())));
        variables.extend([weight, bias]);
    }
    // Adam is AdamW without decay.
    let adam = ParamsAdamW { lr: LEARNING_RATE, beta1: BETA1, beta2: BETA2, eps: EPSILON, weight_decay: 0.0 };
    let optimizer = AdamW::new(variables, adam)?;
    Ok(Box::new(Candle { task, layers, optimizer, batches: None, test: None }))
}

fn forward(layers: &[Linear], input: &Tensor) -> Result<Tensor> {
    let mut x = input.clone();
    for (i, layer) in layers.iter().enumerate() {
        x = layer.forward(&x)?;
        if i + 1 < layers.len() {
            x = x.relu()?;
        }
    }
    Ok(x)
}

impl Engine for Candle {
    fn device(&self) -> String {
        "CPU".into()
    }

    fn train(&mut self, steps: usize) -> Result<()> {
        if self.batches.is_none() {
            self.batches = Some(self.task.batches()?);
        }
        let batches = self.batches.as_mut().expect("it was made above");
        for _ in 0..steps {
            let (features, labels) = batches.next_batch();
            let rows = labels.len();
            let labels: Vec<u32> = labels.iter().map(|&l| u32::from(l)).collect();
            let features = Tensor::from_vec(features, (rows, FEATURES), &Device::Cpu)?;
            let labels = Tensor::from_vec(labels, rows, &Device::Cpu)?;
            let loss = cross_entropy(&forward(&self.layers, &features)?, &labels)?;
            self.optimizer.backward_step(&loss)?;
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.test.is_none() {
            let rows = Tensor::from_vec(self.task.test_features()?, (self.task.batch, FEATURES), &Device::Cpu)?;
            self.test = Some(rows);
        }
        let rows = self.test.as_ref().expect("it was made above");
        Ok(forward(&self.layers, rows)?.detach().flatten_all()?.to_vec1()?)
    }
}

//! candle on the CPU.

use std::rc::Rc;
use std::slice::Iter;

use candle_core::{Device, Tensor, Var};
use candle_nn::loss::{cross_entropy, mse};
use candle_nn::{AdamW, BatchNorm, Linear, Module, ModuleT, Optimizer, ParamsAdamW};

use super::Engine;
use crate::Result;
use crate::benchmarks::Step;
use crate::task::{self, BETA1, BETA2, Batches, EPSILON, LEARNING_RATE, Task, scaled};

/// A layer's weights.
enum Layer {
    Dense(Linear),
    Conv { weight: Tensor, bias: Option<Tensor> },
    BatchNorm(BatchNorm),
}

struct Candle {
    task: Rc<Task>,
    layers: Vec<Layer>,
    optimizer: AdamW,
    batches: Option<Batches>,
    test: Option<Tensor>,
}

pub fn start(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    let mut variables = Vec::new();
    let mut layers = Vec::new();
    for task::Layer { step, weight, bias } in task.layers()? {
        let mut variable = |tensor: task::Tensor| -> Result<Tensor> {
            let mut tensor = Tensor::from_vec(tensor.values, tensor.shape, &Device::Cpu)?;
            if tensor.rank() == 2 {
                tensor = tensor.t()?.contiguous()?; // candle stores [outputs, inputs]
            }
            let variable = Var::from_tensor(&tensor)?;
            variables.push(variable.clone());
            Ok(variable.as_tensor().clone())
        };
        let weight = variable(weight)?;
        let bias = bias.map(variable).transpose()?;
        layers.push(match (step, bias) {
            (Step::Dense { .. }, bias) => Layer::Dense(Linear::new(weight, bias)),
            (Step::BatchNorm, Some(shift)) => {
                let channels = weight.dim(0)?;
                let (mean, variance) = (Tensor::zeros_like(&weight)?, Tensor::ones_like(&weight)?);
                Layer::BatchNorm(BatchNorm::new(channels, mean, variance, weight, shift, 1e-5)?)
            }
            (_, bias) => Layer::Conv { weight, bias },
        });
    }
    // AdamW without weight decay equals Adam.
    let adam = ParamsAdamW { lr: LEARNING_RATE, beta1: BETA1, beta2: BETA2, eps: EPSILON, weight_decay: 0.0 };
    let optimizer = AdamW::new(variables, adam)?;
    Ok(Box::new(Candle { task, layers, optimizer, batches: None, test: None }))
}

fn forward(steps: &[Step], layers: &mut Iter<Layer>, input: &Tensor, train: bool) -> Result<Tensor> {
    let mut x = input.clone();
    for step in steps {
        let mut run = |steps| forward(steps, layers, &x, train);
        x = match step {
            Step::Relu => x.relu()?,
            Step::MaxPool => x.max_pool2d(2)?,
            Step::Mean => x.mean((2, 3))?,
            Step::Residual { inner, shortcut } => (run(inner)? + run(shortcut)?)?,
            Step::Skip { inner } => Tensor::cat(&[&x, &run(inner)?], 1)?,
            _ => match (step, layers.next().ok_or("fewer weights than steps")?) {
                (Step::Dense { .. }, Layer::Dense(linear)) => linear.forward(&x.flatten_from(1)?)?,
                (Step::BatchNorm, Layer::BatchNorm(norm)) => norm.forward_t(&x, train)?,
                (Step::Conv { stride, padding, .. }, Layer::Conv { weight, bias }) => {
                    with_bias(x.conv2d(weight, *padding, *stride, 1, 1)?, bias)?
                }
                (Step::Transposed, Layer::Conv { weight, bias }) => {
                    with_bias(x.conv_transpose2d(weight, 0, 0, 2, 1)?, bias)?
                }
                _ => return Err("weights of another kind than the step".into()),
            },
        };
        if matches!(step, Step::Dense { relu: true, .. } | Step::Conv { relu: true, .. }) {
            x = x.relu()?;
        }
    }
    Ok(x)
}

fn with_bias(x: Tensor, bias: &Option<Tensor>) -> Result<Tensor> {
    Ok(match bias {
        Some(bias) => x.broadcast_add(&bias.reshape((1, (), 1, 1))?)?,
        None => x,
    })
}

impl Candle {
    fn output(&self, input: &Tensor, train: bool) -> Result<Tensor> {
        forward(&self.task.network.steps, &mut self.layers.iter(), input, train)
    }

    /// A batch of samples; rows for a dense network.
    fn batch(&self, values: Vec<f32>) -> Result<Tensor> {
        let shape = self.task.batch_shape();
        let batch = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?;
        Ok(if self.task.network.input.len() == 1 { batch.flatten_from(1)? } else { batch })
    }
}

impl Engine for Candle {
    fn device(&self) -> String {
        "CPU".into()
    }

    fn train(&mut self, steps: usize) -> Result<()> {
        if self.batches.is_none() {
            self.batches = Some(self.task.batches()?);
        }
        for _ in 0..steps {
            let (features, targets) = self.batches.as_mut().expect("it was made above").next_batch();
            let targets = targets.to_vec();
            let output = self.output(&self.batch(features)?, true)?;
            let loss = if self.task.network.labels {
                let labels: Vec<u32> = targets.into_iter().map(u32::from).collect();
                cross_entropy(&output, &Tensor::from_vec(labels, self.task.batch, &Device::Cpu)?)?
            } else {
                mse(&output, &self.batch(scaled(&targets))?)?
            };
            self.optimizer.backward_step(&loss)?;
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.test.is_none() {
            self.test = Some(self.batch(self.task.test_features()?)?);
        }
        let rows = self.test.as_ref().expect("it was made above");
        Ok(self.output(rows, false)?.detach().flatten_all()?.to_vec1()?)
    }
}

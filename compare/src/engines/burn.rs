//! Burn on wgpu (with autotune and fusion) and on ndarray. Each step uploads its batch, as in Burn's MNIST example.

use std::rc::Rc;
use std::slice::Iter;

use burn::backend::wgpu::{WgpuDevice, graphics::AutoGraphicsApi, init_setup};
use burn::backend::{Autodiff, NdArray, Wgpu};
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, PaddingConfig2d};
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer, adaptor::OptimizerAdaptor};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::module::max_pool2d;
use burn::tensor::{Int, Tensor, TensorData, activation::relu};

use super::Engine;
use crate::Result;
use crate::benchmarks::Step;
use crate::task::{self, BETA1, BETA2, Batches, EPSILON, LEARNING_RATE, Task, scaled};

#[derive(Module, Debug)]
enum Layer<B: Backend> {
    Dense(Linear<B>),
    Conv(Conv2d<B>),
    Transposed(ConvTranspose2d<B>),
    BatchNorm(BatchNorm<B>),
}

/// The layers with weights, in order.
#[derive(Module, Debug)]
struct Layers<B: Backend> {
    layers: Vec<Layer<B>>,
}

/// The value between two steps.
#[derive(Clone)]
enum Value<B: Backend> {
    Rows(Tensor<B, 2>),
    Images(Tensor<B, 4>),
}

impl<B: Backend> Value<B> {
    fn rows(self) -> Tensor<B, 2> {
        match self {
            Self::Rows(rows) => rows,
            Self::Images(images) => images.flatten(1, 3),
        }
    }

    fn images(self) -> Tensor<B, 4> {
        match self {
            Self::Rows(rows) => rows.unsqueeze_dims(&[2, 3]),
            Self::Images(images) => images,
        }
    }
}

fn param<B: Backend, const D: usize>(tensor: task::Tensor, device: &B::Device) -> Param<Tensor<B, D>> {
    Param::from_data(TensorData::new(tensor.values, tensor.shape), device)
}

impl<B: Backend> Layer<B> {
    fn new(task::Layer { step, weight, bias }: task::Layer, device: &B::Device) -> Self {
        let shape = weight.shape.clone();
        let bias = bias.map(|bias| param(bias, device));
        match step {
            Step::Conv { stride, padding, .. } => {
                let config = Conv2dConfig::new([shape[1], shape[0]], [shape[2], shape[3]]).with_stride([stride; 2]);
                let config = config.with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding));
                Self::Conv(Conv2d { weight: param(weight, device), bias, ..config.init(device) })
            }
            Step::Transposed => {
                let config = ConvTranspose2dConfig::new([shape[0], shape[1]], [2, 2]).with_stride([2, 2]);
                Self::Transposed(ConvTranspose2d { weight: param(weight, device), bias, ..config.init(device) })
            }
            // Burn also initialises scale and shift to 1 and 0.
            Step::BatchNorm => Self::BatchNorm(BatchNormConfig::new(shape[0]).init(device)),
            _ => Self::Dense(Linear { weight: param(weight, device), bias }),
        }
    }

    fn forward(&self, x: Value<B>) -> Value<B> {
        match self {
            Self::Dense(linear) => Value::Rows(linear.forward(x.rows())),
            Self::Conv(conv) => Value::Images(conv.forward(x.images())),
            Self::Transposed(conv) => Value::Images(conv.forward(x.images())),
            Self::BatchNorm(norm) => Value::Images(norm.forward(x.images())),
        }
    }
}

fn forward<B: Backend>(steps: &[Step], layers: &mut Iter<Layer<B>>, mut x: Value<B>) -> Value<B> {
    for step in steps {
        let mut run = |steps| forward(steps, layers, x.clone()).images();
        x = match step {
            Step::Relu => Value::Images(relu(x.images())),
            Step::MaxPool => Value::Images(max_pool2d(x.images(), [2, 2], [2, 2], [0, 0], [1, 1], false)),
            Step::Mean => Value::Images(x.images().mean_dim(2).mean_dim(3)),
            Step::Residual { inner, shortcut } => Value::Images(run(inner) + run(shortcut)),
            Step::Skip { inner } => Value::Images(Tensor::cat(vec![run(&[]), run(inner)], 1)),
            _ => layers.next().expect("as many layers as steps with weights").forward(x),
        };
        if matches!(step, Step::Dense { relu: true, .. } | Step::Conv { relu: true, .. }) {
            x = match x {
                Value::Rows(rows) => Value::Rows(relu(rows)),
                Value::Images(images) => Value::Images(relu(images)),
            };
        }
    }
    x
}

struct Burn<B: AutodiffBackend> {
    task: Rc<Task>,
    name: String,
    device: B::Device,
    model: Layers<B>,
    cross_entropy: CrossEntropyLoss<B>,
    optimizer: OptimizerAdaptor<Adam, Layers<B>, B>,
    batches: Option<Batches>,
    test: Option<Value<B::InnerBackend>>,
}

pub fn start_wgpu(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    let device = WgpuDevice::default();
    let setup = init_setup::<AutoGraphicsApi>(&device, Default::default());
    start::<Autodiff<Wgpu>>(task, device, setup.adapter.get_info().name)
}

pub fn start_ndarray(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    start::<Autodiff<NdArray>>(task, Default::default(), "CPU".into())
}

fn start<B: AutodiffBackend>(task: Rc<Task>, device: B::Device, name: String) -> Result<Box<dyn Engine>> {
    let layers = task.layers()?.into_iter().map(|layer| Layer::new(layer, &device)).collect();
    let model: Layers<B> = Layers { layers };
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let adam = AdamConfig::new().with_beta_1(BETA1 as f32).with_beta_2(BETA2 as f32).with_epsilon(EPSILON as f32);
    let optimizer = adam.init();
    Ok(Box::new(Burn { task, name, device, model, cross_entropy, optimizer, batches: None, test: None }))
}

/// A batch of samples.
fn batch<B: Backend>(task: &Task, values: Vec<f32>, device: &B::Device) -> Value<B> {
    match task.network.input.len() {
        1 => Value::Rows(Tensor::from_data(TensorData::new(values, [task.batch, task.network.features()]), device)),
        _ => Value::Images(Tensor::from_data(TensorData::new(values, task.batch_shape()), device)),
    }
}

impl<B: AutodiffBackend> Engine for Burn<B> {
    fn device(&self) -> String {
        self.name.clone()
    }

    fn train(&mut self, steps: usize) -> Result<()> {
        if self.batches.is_none() {
            self.batches = Some(self.task.batches()?);
        }
        let batches = self.batches.as_mut().expect("it was made above");
        for _ in 0..steps {
            let (features, targets) = batches.next_batch();
            let features = batch(&self.task, features, &self.device);
            let output = forward(&self.task.network.steps, &mut self.model.layers.iter(), features);
            let loss = if self.task.network.labels {
                let labels = targets.iter().map(|&l| i32::from(l)).collect::<Vec<_>>();
                let labels = TensorData::new(labels, [self.task.batch]);
                let labels = Tensor::<B, 1, Int>::from_data(labels, &self.device);
                self.cross_entropy.forward(output.rows(), labels)
            } else {
                let targets = batch(&self.task, scaled(targets), &self.device);
                MseLoss::new().forward(output.images(), targets.images(), Reduction::Mean)
            };
            let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
            self.model = self.optimizer.step(LEARNING_RATE, self.model.clone(), gradients);
        }
        B::sync(&self.device).map_err(|e| format!("{e:?}").into())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.test.is_none() {
            self.test = Some(batch(&self.task, self.task.test_features()?, &self.device));
        }
        let rows = self.test.clone().expect("it was made above");
        let model = self.model.valid();
        let outputs = forward(&self.task.network.steps, &mut model.layers.iter(), rows).rows().into_data();
        Ok(outputs.to_vec().map_err(|e| format!("{e:?}"))?)
    }
}

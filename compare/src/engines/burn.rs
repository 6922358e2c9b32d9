//! Burn: batches uploaded a step, as its own MNIST example does; on wgpu with autotune and fusion, and on ndarray.

use std::rc::Rc;

use burn::backend::wgpu::{WgpuDevice, graphics::AutoGraphicsApi, init_setup};
use burn::backend::{Autodiff, NdArray, Wgpu};
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::{Linear, loss::CrossEntropyLoss, loss::CrossEntropyLossConfig};
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer, adaptor::OptimizerAdaptor};
use burn::tensor::{Int, Tensor, TensorData, activation::relu, backend::AutodiffBackend, backend::Backend};

use super::Engine;
use crate::Result;
use crate::task::{BETA1, BETA2, Batches, EPSILON, FEATURES, LEARNING_RATE, Layer, Task};

#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    layers: Vec<Linear<B>>,
}

impl<B: Backend> Classifier<B> {
    fn new(layers: Vec<Layer>, device: &B::Device) -> Self {
        let linear = |layer: Layer| Linear {
            weight: Param::from_data(TensorData::new(layer.weight, [layer.inputs, layer.outputs]), device),
            bias: Some(Param::from_data(TensorData::new(layer.bias, [layer.outputs]), device)),
        };
        Self { layers: layers.into_iter().map(linear).collect() }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(input, |x, (i, layer)| match i {
            i if i == last => layer.forward(x),
            _ => relu(layer.forward(x)),
        })
    }
}

struct Burn<B: AutodiffBackend> {
    task: Rc<Task>,
    name: String,
    device: B::Device,
    model: Classifier<B>,
    loss: CrossEntropyLoss<B>,
    optimizer: OptimizerAdaptor<Adam, Classifier<B>, B>,
    batches: Option<Batches>,
    test: Option<Tensor<B::InnerBackend, 2>>,
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
    let model: Classifier<B> = Classifier::new(task.layers()?, &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let adam = AdamConfig::new().with_beta_1(BETA1 as f32).with_beta_2(BETA2 as f32).with_epsilon(EPSILON as f32);
    let optimizer = adam.init();
    Ok(Box::new(Burn { task, name, device, model, loss, optimizer, batches: None, test: None }))
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
            let (features, labels) = batches.next_batch();
            let rows = labels.len();
            let labels = labels.iter().map(|&l| i32::from(l)).collect::<Vec<_>>();
            let features = Tensor::from_data(TensorData::new(features, [rows, FEATURES]), &self.device);
            let labels = Tensor::<B, 1, Int>::from_data(TensorData::new(labels, [rows]), &self.device);
            let loss = self.loss.forward(self.model.forward(features), labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
            self.model = self.optimizer.step(LEARNING_RATE, self.model.clone(), gradients);
        }
        B::sync(&self.device).map_err(|e| format!("{e:?}").into())
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.test.is_none() {
            let rows = TensorData::new(self.task.test_features()?, [self.task.batch, FEATURES]);
            self.test = Some(Tensor::from_data(rows, &self.device));
        }
        let rows = self.test.clone().expect("it was made above");
        let logits = self.model.valid().forward(rows).into_data();
        Ok(logits.to_vec().map_err(|e| format!("{e:?}"))?)
    }
}

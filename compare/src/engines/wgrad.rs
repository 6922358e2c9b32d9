//! wgrad: the data set on the GPU, steps recorded into encoders of our own.

use std::rc::Rc;

use wgrad::{Adam, Dataset, Forward, Gpu, Loss, Trainer, TrainerConfig, Training, wgpu};

use super::Engine;
use crate::Result;
use crate::task::{self, CLASSES, FEATURES, Task};

/// Steps of a submission.
const STEPS: usize = 10;

struct Wgrad {
    task: Rc<Task>,
    gpu: Gpu,
    trainer: Trainer,
    training: Option<Training>,
    inference: Option<Inference>,
}

/// A forward pass over the test rows, and the buffer its logits are read from.
struct Inference {
    forward: Forward,
    output: wgpu::Buffer,
    staging: wgpu::Buffer,
}

pub fn start(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    let gpu = Gpu::request()?;
    let network = task::network()?;
    let mut parameters = network.initial_parameters(0);
    for (pair, layer) in network.parameters().chunks(2).zip(task.layers()?) {
        parameters[pair[0].range()].copy_from_slice(&layer.weight);
        parameters[pair[1].range()].copy_from_slice(&layer.bias);
    }
    let config = TrainerConfig { batch: task.batch as u32, shuffle: false, ..TrainerConfig::default() };
    let trainer = Trainer::from_parameters(
        &gpu,
        &network,
        Loss::SoftmaxCrossEntropy,
        Adam::default(), // the task's: PyTorch's
        config,
        &parameters,
    )?;
    Ok(Box::new(Wgrad { task, gpu, trainer, training: None, inference: None }))
}

impl Wgrad {
    fn prepare_training(&mut self) -> Result<Training> {
        self.trainer.warm_up()?; // the driver compiles while the data are read
        let labels = self.task.train_labels()?.into_iter().map(u32::from).collect();
        let data = Dataset::from_u8(self.task.train_images()?, FEATURES, labels, CLASSES as u32)?;
        Ok(self.trainer.prepare(data)?)
    }

    fn prepare_inference(&self) -> Result<Inference> {
        let rows = self.task.batch;
        let buffer = |label, features: usize, usage| {
            let size = (rows * features * 4) as u64;
            let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            self.gpu.device().create_buffer(&descriptor)
        };
        let (storage, copy) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
        let input = buffer("test rows", FEATURES, storage | copy);
        let output = buffer("logits", CLASSES, storage | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer("logits, to be read", CLASSES, copy | wgpu::BufferUsages::MAP_READ);
        let features: Vec<u8> = self.task.test_features()?.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.gpu.queue().write_buffer(&input, 0, &features);
        let forward = self.trainer.model().prepare_forward(&input, &output, rows as u32)?;
        Ok(Inference { forward, output, staging })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn wait(&self) -> Result<()> {
        self.gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
        Ok(())
    }
}

impl Engine for Wgrad {
    fn device(&self) -> String {
        self.gpu.adapter_info().name.clone()
    }

    fn train(&mut self, steps: usize) -> Result<()> {
        if self.training.is_none() {
            self.training = Some(self.prepare_training()?);
        }
        let training = self.training.as_ref().expect("it was made above");
        for first in (0..steps).step_by(STEPS) {
            let mut encoder = self.encoder();
            training.record_steps(&mut encoder, STEPS.min(steps - first) as u32);
            self.gpu.queue().submit([encoder.finish()]);
        }
        self.wait()
    }

    fn forward(&mut self) -> Result<Vec<f32>> {
        if self.inference.is_none() {
            self.inference = Some(self.prepare_inference()?);
        }
        let Inference { forward, output, staging } = self.inference.as_ref().expect("it was made above");
        let mut encoder = self.encoder();
        forward.record_forward(&mut encoder);
        encoder.copy_buffer_to_buffer(output, 0, staging, 0, staging.size());
        self.gpu.queue().submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| ());
        self.wait()?;
        let bytes = staging.get_mapped_range(..)?;
        let logits = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        drop(bytes);
        staging.unmap();
        Ok(logits)
    }
}

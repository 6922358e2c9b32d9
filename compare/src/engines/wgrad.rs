//! wgrad: the data set is in a GPU buffer, and steps are recorded into command encoders of this program.

use std::io::Read;
use std::rc::Rc;

use wgrad::{Adam, Forward, Gpu, Loss, Rows, Trainer, TrainerConfig, Training, wgpu};

use super::Engine;
use crate::Result;
use crate::task::{Task, scaled};

/// Bytes of the data set that are read in one piece.
const PIECE: usize = 1 << 20;

/// Steps in one submission.
const STEPS: usize = 10;

struct Wgrad {
    task: Rc<Task>,
    gpu: Gpu,
    trainer: Trainer,
    training: Option<Training>,
    inference: Option<Inference>,
}

/// A forward pass over the test rows, and the buffer for reading its outputs.
struct Inference {
    forward: Forward,
    output: wgpu::Buffer,
    staging: wgpu::Buffer,
}

pub fn start(task: Rc<Task>) -> Result<Box<dyn Engine>> {
    let gpu = Gpu::request()?;
    let network = task.network.network()?;
    let mut parameters = network.initial_parameters(0);
    let mut weights = task.weights()?.into_iter();
    for parameter in network.parameters() {
        parameters[parameter.range()].iter_mut().zip(&mut weights).for_each(|(to, from)| *to = from);
    }
    let loss = if task.network.labels { Loss::SoftmaxCrossEntropy } else { Loss::MeanSquaredError };
    let config = TrainerConfig { batch: task.batch as u32, shuffle: false, ..TrainerConfig::default() };
    let trainer = Trainer::from_parameters(
        &gpu,
        &network,
        loss,
        Adam::default(), // PyTorch's defaults, which the task uses
        config,
        &parameters,
    )?;
    Ok(Box::new(Wgrad { task, gpu, trainer, training: None, inference: None }))
}

impl Wgrad {
    fn prepare_training(&mut self) -> Result<Training> {
        self.trainer.warm_up()?; // the driver compiles while the data set is read
        // Read directly into the final buffer.
        let (file, length) = self.task.train_inputs_file()?;
        let inputs = self.buffer_from(length, file)?;
        let targets = self.task.train_targets()?;
        let words: Vec<u8> = match self.task.network.labels {
            true => targets.iter().flat_map(|&class| u32::from(class).to_le_bytes()).collect(),
            false => scaled(&targets).iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let targets = self.buffer_from(words.len(), words.as_slice())?;
        let rows = length / self.task.network.features();
        Ok(self.trainer.prepare_buffers(Rows::from(&inputs).bytes(), &targets, rows as u32)?)
    }

    /// Creates a storage buffer of `size` bytes and fills it from `contents`.
    fn buffer_from(&self, size: usize, mut contents: impl Read) -> Result<wgpu::Buffer> {
        let features = self.gpu.device().features();
        // If all memory can be mapped, the buffer itself is mapped, without a staging copy.
        let in_place = features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        let map = if in_place { wgpu::BufferUsages::MAP_WRITE } else { wgpu::BufferUsages::empty() };
        let buffer = self.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("data set"),
            size: size as u64,
            usage: wgpu::BufferUsages::STORAGE | map,
            mapped_at_creation: true,
        });
        let mut view = buffer.get_mapped_range_mut(..)?;
        let mut piece = vec![0; PIECE];
        for first in (0..size).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(size - first)];
            contents.read_exact(piece)?;
            view.slice(first..first + piece.len()).copy_from_slice(piece);
        }
        drop(view);
        buffer.unmap();
        Ok(buffer)
    }

    fn prepare_inference(&self) -> Result<Inference> {
        let rows = self.task.batch;
        let buffer = |label, features: usize, usage| {
            let size = (rows * features * 4) as u64;
            let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            self.gpu.device().create_buffer(&descriptor)
        };
        let (storage, copy) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
        let outputs = self.trainer.network().output_specs()[0].features() as usize;
        let input = buffer("test rows", self.task.network.features(), storage | copy);
        let output = buffer("outputs", outputs, storage | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer("outputs, to be read", outputs, copy | wgpu::BufferUsages::MAP_READ);
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
        let outputs = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        drop(bytes);
        staging.unmap();
        Ok(outputs)
    }
}

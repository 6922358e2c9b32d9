//! wgrad in a browser. Like `src/engines/wgrad.rs`: the data set is on the GPU, and steps are recorded into own
//! encoders.

#[path = "../../../../src/networks.rs"]
mod networks;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wgrad::{Adam, Dataset, Gpu, Loss, Model, Trainer, TrainerConfig, Training};

/// Steps in one submission.
const STEPS: u32 = 10;

#[wasm_bindgen]
pub struct Engine {
    gpu: Gpu,
    trainer: Trainer,
    model: Model,
    training: Option<Training>,
}

#[wasm_bindgen]
impl Engine {
    /// The network with this name and the task's weights.
    pub async fn open(name: &str, batch: u32, weights: Vec<f32>) -> Result<Engine, JsError> {
        let gpu = Gpu::request_async().await?;
        let known = networks::NETWORKS.iter().find(|(known, _)| *known == name);
        let (_, make) = known.ok_or_else(|| JsError::new("no network of this name"))?;
        let network = make()?;
        let mut parameters = network.initial_parameters(0);
        let mut weights = weights.into_iter();
        for parameter in network.parameters() {
            parameters[parameter.range()].iter_mut().zip(&mut weights).for_each(|(to, from)| *to = from);
        }
        let config = TrainerConfig { batch, shuffle: false, ..TrainerConfig::default() };
        // For image targets, the output has the input's length: see `Description::labels` in src/task.rs.
        let loss = if puts_out_images(&network) { Loss::MeanSquaredError } else { Loss::SoftmaxCrossEntropy };
        let trainer = Trainer::from_parameters(&gpu, &network, loss, Adam::default(), config, &parameters)?;
        Ok(Self { gpu, model: trainer.model(), trainer, training: None })
    }

    /// The training set: rows of bytes, each with a label or an image of bytes as target.
    pub fn prepare(&mut self, inputs: Vec<u8>, targets: Vec<u8>) -> Result<(), JsError> {
        let network = self.trainer.network();
        let features = network.input_specs()[0].features() as usize;
        let data = if puts_out_images(network) {
            let targets = targets.iter().map(|&byte| f32::from(byte) * (1.0 / 255.0)).collect();
            Dataset::from_u8_targets(inputs, features, targets, features as u32)?
        } else {
            Dataset::from_u8(inputs, features, targets.into_iter().map(u32::from).collect(), 10)?
        };
        self.training = Some(self.trainer.prepare(data)?);
        Ok(())
    }

    /// Runs `steps` steps and waits for them.
    pub async fn train(&mut self, steps: u32) -> Result<(), JsValue> {
        let training = self.training.as_ref().ok_or("nothing is prepared")?;
        for first in (0..steps).step_by(STEPS as usize) {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            training.record_steps(&mut encoder, STEPS.min(steps - first));
            self.gpu.queue().submit([encoder.finish()]);
        }
        let queue = self.gpu.queue();
        let done = Promise::new(&mut |resolve, _| {
            queue.on_submitted_work_done(move || drop(resolve.call0(&JsValue::UNDEFINED)));
        });
        JsFuture::from(done).await.map(drop)
    }

    /// The outputs for rows of features.
    pub async fn forward(&self, features: Vec<f32>) -> Result<Vec<f32>, JsError> {
        Ok(self.model.forward_async(&features).await?)
    }
}

fn puts_out_images(network: &wgrad::Network) -> bool {
    network.output_specs()[0].shape.len() == 3
}

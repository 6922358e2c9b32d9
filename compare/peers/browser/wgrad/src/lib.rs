//! wgrad in a browser: the data set on the GPU, steps recorded into encoders of our own, as `src/engines/wgrad.rs` has it.

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Gpu, Loss, Model, Network, Trainer, TrainerConfig, Training};

/// Steps of a submission.
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
    /// The network, with the task's weights: of each layer row-major [inputs, outputs], then a number an output.
    pub async fn open(batch: u32, weights: Vec<f32>) -> Result<Engine, JsError> {
        let gpu = Gpu::request_async().await?;
        let network =
            Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build()?;
        let mut parameters = network.initial_parameters(0);
        let mut weights = weights.into_iter();
        for parameter in network.parameters() {
            parameters[parameter.range()].iter_mut().zip(&mut weights).for_each(|(to, from)| *to = from);
        }
        let config = TrainerConfig { batch, shuffle: false, ..TrainerConfig::default() };
        let loss = Loss::SoftmaxCrossEntropy;
        let trainer = Trainer::from_parameters(&gpu, &network, loss, Adam::default(), config, &parameters)?;
        Ok(Self { gpu, model: trainer.model(), trainer, training: None })
    }

    /// The training set: rows of bytes, and a label each.
    pub fn prepare(&mut self, images: Vec<u8>, labels: Vec<u8>) -> Result<(), JsError> {
        let data = Dataset::from_u8(images, 784, labels.into_iter().map(u32::from).collect(), 10)?;
        self.training = Some(self.trainer.prepare(data)?);
        Ok(())
    }

    /// So many steps, and waits for them.
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

    /// The logits of rows of features.
    pub async fn forward(&self, features: Vec<f32>) -> Result<Vec<f32>, JsError> {
        Ok(self.model.forward_async(&features).await?)
    }
}

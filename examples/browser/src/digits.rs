//! For `digits.html`: trains the network 784-512-256-128-10 with batch size 128, in a page or in a worker. The digits
//! are synthetic (a square with noise, at a position for each class), so the page needs no files.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Control, Dataset, Device, Event, Fit, Gpu, Loss, Model, Network, Predictor, Trainer, TrainerConfig};

use crate::{busy, of};

/// Pixels of a digit, and number of classes.
const PIXELS: usize = 784;
const CLASSES: u32 = 10;

/// The interface for JavaScript. It may be freed at any time: running calls finish.
#[wasm_bindgen]
pub struct Digits(Rc<State>);

struct State {
    /// `None` while a call trains.
    trainer: RefCell<Option<Trainer>>,
    /// `None` while a call predicts.
    predictor: RefCell<Option<Predictor>>,
    model: Model, // shares the trainer's weights
    data: Dataset,
    stop: Cell<bool>,
    why: Option<String>,
}

#[wasm_bindgen]
impl Digits {
    /// Opens the best device, or the CPU if `cpu` is set, and generates `rows` digits. Calls `on_progress` with the
    /// number of compiled kernels and the number of all kernels.
    pub async fn open(cpu: bool, rows: u32, on_progress: Function) -> Result<Digits, JsValue> {
        State::open(cpu, rows, on_progress).await.map(|state| Self(Rc::new(state))).map_err(of)
    }

    /// The reason for training on the CPU, as a message for the visitor.
    pub fn why(&self) -> Option<String> {
        self.0.why.clone()
    }

    /// Trains. Calls `on_progress` with the epoch, its finished steps and its number of steps. At the end of an epoch
    /// the loss and the digits per second follow. Returns a promise of the number of finished epochs.
    pub fn fit(&self, epochs: u32, on_progress: Function) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let mut trainer = state.trainer.take().ok_or_else(|| busy("this network"))?;
            state.stop.set(false);
            let fit = Fit { epochs, ..Fit::default() };
            let progress = |event: Event| {
                let numbers = match event {
                    Event::Steps { epoch, done, steps, .. } => [epoch, done, steps].map(f64::from).to_vec(),
                    Event::Epoch(epoch) => {
                        let speed = f64::from(epoch.train.rows) / epoch.seconds.unwrap_or(f64::NAN);
                        let counts = [epoch.epoch, epoch.steps, epoch.steps].map(f64::from);
                        counts.into_iter().chain([epoch.train.loss, speed]).collect()
                    }
                    _ => return Control::Continue,
                };
                let numbers: js_sys::Array = numbers.into_iter().map(JsValue::from).collect();
                // Ignore errors that the callback of the page throws.
                drop(on_progress.apply(&JsValue::UNDEFINED, &numbers));
                if state.stop.get() { Control::Stop } else { Control::Continue }
            };
            let history = trainer.fit_async(&state.data, fit, progress).await;
            state.trainer.replace(Some(trainer));
            Ok((history.map_err(of)?.epochs.len() as u32).into())
        })
    }

    /// Stops the running training after the submitted steps.
    pub fn stop(&self) {
        self.0.stop.set(true);
    }

    /// Returns a promise of a model file with the current weights. `Model::from_bytes` reads it.
    pub fn save(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let bytes = state.model.to_bytes_async().await.map_err(of)?;
            Ok(js_sys::Uint8Array::from(bytes.as_slice()).into())
        })
    }

    /// Returns a promise of the predicted class of the first digit. Works during training too.
    pub fn predict(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let mut predictor = state.predictor.take().ok_or_else(|| busy("this network"))?;
            let class = predictor.predict_async(&state.data.features_of(0..1)).await;
            state.predictor.replace(Some(predictor));
            Ok(class.map_err(of)?[0].into())
        })
    }
}

impl State {
    async fn open(cpu: bool, rows: u32, on_progress: Function) -> wgrad::Result<Self> {
        let (device, why) = match cpu {
            true => (Device::Cpu, None),
            false => Gpu::request_or_cpu_async().await,
        };
        let network = Network::input(PIXELS as u32).dense(512, Relu).dense(256, Relu).dense(128, Relu);
        let network = network.dense(CLASSES, Identity).build()?;
        let config = TrainerConfig { batch: 128, ..TrainerConfig::default() };
        let compiled = |done: usize, of: usize| {
            // Ignore errors that the callback of the page throws.
            drop(on_progress.call2(&JsValue::UNDEFINED, &(done as u32).into(), &(of as u32).into()));
        };
        let loss = Loss::SoftmaxCrossEntropy;
        let trainer = Trainer::new_async(device, &network, loss, Adam::default(), config, compiled).await?;
        let model = trainer.model();
        let predictor = RefCell::new(Some(model.predictor(1)?));
        let why = why.map(|why| why.to_string());
        let trainer = RefCell::new(Some(trainer));
        Ok(Self { trainer, predictor, model, data: digits(rows)?, stop: Cell::new(false), why })
    }
}

fn digits(rows: u32) -> wgrad::Result<Dataset> {
    let labels: Vec<u32> = (0..rows).map(|row| row % CLASSES).collect();
    let mut state = 1u32;
    let pixels = labels.iter().flat_map(|&label| (0..PIXELS).map(move |pixel| (label, pixel))).map(|(label, pixel)| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        let is_blot = pixel % 28 / 7 + pixel / 196 * 4 == label as usize + 3;
        (state >> 25) as u8 + if is_blot { 100 } else { 0 }
    });
    Dataset::from_u8(pixels.collect(), PIXELS, labels, CLASSES)
}

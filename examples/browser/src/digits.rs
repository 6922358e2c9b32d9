//! Trains the network of the digits, 784-512-256-128-10 at batch 128, as a page or a worker would: for `digits.html`. The
//! digits are made up here, a blot for each class with noise, so that the page needs no file.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Control, Dataset, Device, Event, Fit, Gpu, Loss, Model, Network, Predictor, Trainer, TrainerConfig};

use crate::{busy, of};

/// Pixels of a digit, and how many digits there are.
const PIXELS: usize = 784;
const CLASSES: u32 = 10;

/// What a page calls. It may be freed at any time: what runs goes on to its end.
#[wasm_bindgen]
pub struct Digits(Rc<State>);

struct State {
    /// None while it trains.
    trainer: RefCell<Option<Trainer>>,
    /// None while it predicts.
    predictor: RefCell<Option<Predictor>>,
    model: Model, // shares the trainer's weights
    data: Dataset,
    stop: Cell<bool>,
    why: Option<String>,
}

#[wasm_bindgen]
impl Digits {
    /// Opens the best device, or the CPU where asked, with `rows` digits.
    pub async fn open(cpu: bool, rows: u32, told: Function) -> Result<Digits, JsValue> {
        State::open(cpu, rows, told).await.map(|state| Self(Rc::new(state))).map_err(of)
    }

    /// Why it trains on the CPU, for the visitor.
    pub fn why(&self) -> Option<String> {
        self.0.why.clone()
    }

    /// Trains. Calls `told` with the epoch, the steps done of it, its steps, and where they are known its loss and the digits a
    /// second. A promise of the epochs that were finished.
    pub fn fit(&self, epochs: u32, told: Function) -> Promise {
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
                // A page that throws here has only itself to tell.
                drop(told.apply(&JsValue::UNDEFINED, &numbers));
                if state.stop.get() { Control::Stop } else { Control::Continue }
            };
            let history = trainer.fit_async(&state.data, fit, progress).await;
            state.trainer.replace(Some(trainer));
            Ok((history.map_err(of)?.epochs.len() as u32).into())
        })
    }

    /// Ends the training that runs, after what has been submitted.
    pub fn stop(&self) {
        self.0.stop.set(true);
    }

    /// A promise of the bytes of a file that `Model::from_bytes` reads, with the weights of the moment.
    pub fn save(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let bytes = state.model.to_bytes_async().await.map_err(of)?;
            Ok(js_sys::Uint8Array::from(bytes.as_slice()).into())
        })
    }

    /// A promise of the class of the first digit, also while it trains.
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
    async fn open(cpu: bool, rows: u32, told: Function) -> wgrad::Result<Self> {
        let (device, why) = match cpu {
            true => (Device::Cpu, None),
            false => Gpu::request_or_cpu_async().await,
        };
        let network = Network::input(PIXELS as u32).dense(512, Relu).dense(256, Relu).dense(128, Relu);
        let network = network.dense(CLASSES, Identity).build()?;
        let config = TrainerConfig { batch: 128, ..TrainerConfig::default() };
        let compiled = |done: usize, of: usize| {
            // A page that throws here has only itself to tell.
            drop(told.call2(&JsValue::UNDEFINED, &(done as u32).into(), &(of as u32).into()));
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

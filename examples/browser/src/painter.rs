//! For `index.html`: learns an image. The network maps the coordinates of a pixel to its colour.
//!
//! If an async method borrowed `self`, JavaScript's next call would throw "recursive use of an object". Therefore
//! methods return a promise that shares the state. While a call trains, it takes the trainer out of the state.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Fit, Gpu, HashGrid, Loss, Model, Network, Predictor, Trainer, TrainerConfig};

use crate::{busy, of};

/// The interface for JavaScript. It may be freed at any time: running calls finish.
#[wasm_bindgen]
pub struct Painter(Rc<State>);

struct State {
    /// `None` while a call trains.
    trainer: RefCell<Option<Trainer>>,
    /// `None` while a call predicts.
    predictor: RefCell<Option<Predictor>>,
    pixels: Dataset,
    coordinates: Vec<f32>,
    /// The reason for running on the CPU, if it does.
    why: Option<String>,
}

/// Rows in one prediction.
const ROWS: u32 = 4096;

#[wasm_bindgen]
impl Painter {
    /// Opens the best device for an image of `side` × `side` pixels. `rgba` holds the bytes red, green, blue and alpha
    /// of each pixel. Calls `on_progress` with the number of compiled kernels and the number of all kernels.
    pub async fn open(side: u32, rgba: Vec<u8>, on_progress: Function) -> Result<Painter, JsValue> {
        State::open(side, rgba, on_progress).await.map(|state| Self(Rc::new(state))).map_err(of)
    }

    /// The reason for training on the CPU, as a message for the visitor. `None` with a GPU.
    pub fn why(&self) -> Option<String> {
        self.0.why.clone()
    }

    /// Trains for one epoch. Returns a promise of the mean squared error and the pixels per second.
    pub fn learn(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let mut trainer = state.trainer.take().ok_or_else(|| busy("this picture"))?;
            let fit = Fit { epochs: 1, ..Fit::default() };
            let history = trainer.fit_async(&state.pixels, fit, |_| ()).await;
            state.trainer.replace(Some(trainer));
            let history = history.map_err(of)?;
            let epoch = history.epochs.last().expect("an epoch was asked for");
            let seconds = epoch.seconds.unwrap_or(f64::NAN);
            Ok(js_sys::Array::of2(&epoch.train.loss.into(), &(f64::from(epoch.train.rows) / seconds).into()).into())
        })
    }

    /// Returns a promise of the network's image: red, green, blue and alpha of every pixel.
    pub fn picture(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let mut predictor = state.predictor.take().ok_or_else(|| busy("this picture"))?;
            let painted = state.paint(&mut predictor).await;
            state.predictor.replace(Some(predictor));
            Ok(js_sys::Uint8Array::from(painted.map_err(of)?.as_slice()).into())
        })
    }
}

impl State {
    async fn open(side: u32, rgba: Vec<u8>, on_progress: Function) -> wgrad::Result<Self> {
        let (device, why) = Gpu::request_or_cpu_async().await;
        let grid = HashGrid { levels: 8, log2_hashmap_size: 14, ..HashGrid::default() }.up_to(side.max(16));
        let network = Network::input(2).encoding(grid).dense(32, Relu).dense(32, Relu).dense(3, Identity).build()?;
        let config = TrainerConfig { batch: ROWS, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.01, ..Adam::default() };
        let compiled = |done: usize, of: usize| {
            // Ignore errors that the callback of the page throws.
            drop(on_progress.call2(&JsValue::UNDEFINED, &(done as u32).into(), &(of as u32).into()));
        };
        let trainer = Trainer::new_async(device, &network, Loss::MeanSquaredError, adam, config, compiled).await?;

        let centre = |i: u32| (i as f32 + 0.5) / side as f32;
        let coordinates: Vec<f32> = (0..side * side).flat_map(|i| [centre(i % side), centre(i / side)]).collect();
        let colours = rgba.chunks(4).flat_map(|pixel| pixel.iter().take(3)).map(|&byte| f32::from(byte) / 255.0);
        let pixels = Dataset::from_f32_targets(coordinates.clone(), 2, colours.collect(), 3)?;
        let model: Model = trainer.model(); // shares the trainer's weights
        let predictor = RefCell::new(Some(model.predictor(ROWS)?));
        let why = why.map(|why| why.to_string());
        Ok(Self { trainer: RefCell::new(Some(trainer)), predictor, pixels, coordinates, why })
    }

    async fn paint(&self, predictor: &mut Predictor) -> wgrad::Result<Vec<u8>> {
        let mut colours = vec![0.0; self.coordinates.len() / 2 * 3];
        let rows = predictor.rows() as usize;
        for (places, colours) in self.coordinates.chunks(rows * 2).zip(colours.chunks_mut(rows * 3)) {
            predictor.forward_into_async(places, colours).await?;
        }
        let byte = |colour: &f32| (colour * 255.0).round() as u8; // `as` clamps to 0..=255
        Ok(colours.chunks(3).flat_map(|rgb| rgb.iter().map(byte).chain([255])).collect())
    }
}

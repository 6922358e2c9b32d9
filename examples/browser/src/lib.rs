//! Learns a picture in a browser, by WebGPU: a network that makes the colour of every place from its coordinates. The page,
//! `index.html`, says what picture, calls for one epoch after the other and shows what is learned.
//!
//! From the repository's root, after `rustup target add wasm32-unknown-unknown` and `cargo install wasm-bindgen-cli@0.2.130`:
//!
//!     cargo build --release --target wasm32-unknown-unknown --manifest-path examples/browser/Cargo.toml --target-dir target
//!     wasm-bindgen --target web --out-dir examples/browser/pkg target/wasm32-unknown-unknown/release/browser.wasm
//!     python3 -m http.server --directory examples/browser
//!
//! and open <http://localhost:8000>, or <http://localhost:8000/doctor.html> for every kernel beside the CPU reference.

#[path = "../../../tests/cases/mod.rs"]
mod cases;
#[path = "../../../tests/common/inputs.rs"]
mod common;
mod doctor;

use wasm_bindgen::prelude::*;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Fit, Gpu, HashGrid, Loss, Model, Network, Trainer, TrainerConfig};

#[wasm_bindgen]
pub struct Painter {
    trainer: Trainer,
    model: Model, // shares the trainer's weights
    pixels: Dataset,
    coordinates: Vec<f32>,
}

#[wasm_bindgen]
impl Painter {
    /// Opens the GPU, for a square picture of so many pixels a side, whose bytes are red, green, blue and alpha.
    pub async fn open(side: u32, rgba: Vec<u8>) -> Result<Painter, JsError> {
        let gpu = Gpu::request_async().await?;
        let grid = HashGrid { levels: 8, log2_hashmap_size: 14, ..HashGrid::default() }.up_to(side.max(16));
        let network = Network::input(2).encoding(grid).dense(32, Relu).dense(32, Relu).dense(3, Identity).build()?;
        let config = TrainerConfig { batch: 4096, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.01, ..Adam::default() };
        let trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, adam, config)?;

        let centre = |i: u32| (i as f32 + 0.5) / side as f32;
        let coordinates: Vec<f32> = (0..side * side).flat_map(|i| [centre(i % side), centre(i / side)]).collect();
        let colours = rgba.chunks(4).flat_map(|pixel| pixel.iter().take(3)).map(|&byte| f32::from(byte) / 255.0);
        let pixels = Dataset::from_f32_targets(coordinates.clone(), 2, colours.collect(), 3)?;
        Ok(Self { model: trainer.model(), trainer, pixels, coordinates })
    }

    /// Trains for an epoch. Returns the mean squared error.
    pub async fn learn(&mut self) -> Result<f64, JsError> {
        let fit = Fit { epochs: 1, ..Fit::default() };
        let history = self.trainer.fit_async(&self.pixels, fit, |_| ()).await?;
        Ok(history.epochs.last().map_or(f64::NAN, |epoch| epoch.train.loss))
    }

    /// What the network makes of every pixel: red, green, blue and alpha.
    pub async fn picture(&self) -> Result<Vec<u8>, JsError> {
        let colours = self.model.forward_async(&self.coordinates).await?;
        let byte = |colour: &f32| (colour * 255.0).round() as u8; // as holds it within 0 to 255
        Ok(colours.chunks(3).flat_map(|rgb| rgb.iter().map(byte).chain([255])).collect())
    }
}

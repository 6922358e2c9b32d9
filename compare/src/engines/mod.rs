//! The engines that are Rust crates, each one file, behind one trait.

mod burn;
mod candle;
mod meganeura;
mod wgpu;
mod wgrad;

use std::rc::Rc;

use crate::Result;
use crate::task::Task;

/// An engine with the network, its optimizer and the task's data, ready to work.
pub trait Engine {
    /// What it runs on.
    fn device(&self) -> String;

    /// Trains on the next batches of the training set, in its order; comes back when the last step is done.
    fn train(&mut self, steps: usize) -> Result<()>;

    /// Runs the network on the first rows of the test set, as many as a batch has; what needs to be done but once, such
    /// as bringing them to the device, is done the first time only. The outputs are row-major [batch, classes], or images
    /// as the task has them.
    fn forward(&mut self) -> Result<Vec<f32>>;
}

type Start = fn(Rc<Task>) -> Result<Box<dyn Engine>>;

/// An engine, and how it starts.
pub struct Kind {
    pub name: &'static str,
    /// The crate whose version counts.
    pub package: &'static str,
    pub gpu: bool,
    /// Whether its images are \[channels, height, width\].
    pub channels_first: bool,
    /// Why it runs dense networks only, if so.
    pub dense_only: Option<&'static str>,
    pub start: Start,
}

impl Kind {
    const fn new(name: &'static str, package: &'static str, start: Start) -> Self {
        Self { name, package, gpu: false, channels_first: true, dense_only: None, start }
    }

    const fn on_gpu(self) -> Self {
        Self { gpu: true, ..self }
    }
}

/// What all are compared with.
pub const BASE: &str = "wgrad";

/// A device that is opened, and trains nothing: what the driver takes.
pub const FLOOR: &str = "wgpu-alone";

const MEGANEURA_LACKS: &str = "no batch normalisation, and only an approximate gradient of max pooling";

pub const ENGINES: [Kind; 6] = [
    Kind { channels_first: false, ..Kind::new(BASE, "wgrad", wgrad::start).on_gpu() },
    Kind::new("burn-wgpu", "burn", burn::start_wgpu).on_gpu(),
    Kind { dense_only: Some(MEGANEURA_LACKS), ..Kind::new("meganeura", "meganeura", meganeura::start).on_gpu() },
    Kind::new("burn-ndarray", "burn", burn::start_ndarray),
    Kind::new("candle-cpu", "candle-core", candle::start),
    Kind { dense_only: Some("it has no networks"), ..Kind::new(FLOOR, "wgpu", wgpu::start).on_gpu() },
];

pub fn find(name: &str) -> Result<&'static Kind> {
    let names = || ENGINES.map(|kind| kind.name).join(", ");
    ENGINES
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| format!("no engine {name}: there are {}", names()).into())
}

//! The engines that are Rust crates. Each is one file and implements one trait.

mod burn;
mod candle;
mod meganeura;
mod wgpu;
mod wgrad;

use std::rc::Rc;

use crate::Result;
use crate::task::Task;

/// An engine that holds the network, the optimizer and the task's data.
pub trait Engine {
    /// Name of the device.
    fn device(&self) -> String;

    /// Trains on the next batches of the training set, in order. Returns after the last step has finished.
    fn train(&mut self, steps: usize) -> Result<()>;

    /// Runs the network on the first batch of the test set. One-time work, such as the upload, happens in the first
    /// call only. The outputs are row-major [batch, classes], or images in the task's layout.
    fn forward(&mut self) -> Result<Vec<f32>>;
}

type Start = fn(Rc<Task>) -> Result<Box<dyn Engine>>;

/// An engine and its constructor.
pub struct Kind {
    pub name: &'static str,
    /// The crate whose version is reported.
    pub package: &'static str,
    pub gpu: bool,
    /// Whether its images have channels first: \[channels, height, width\].
    pub channels_first: bool,
    /// The reason if it runs dense networks only.
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

/// The engine that all others are compared with.
pub const BASE: &str = "wgrad";

/// Opens a device and trains nothing: shows the cost of the driver.
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
        .ok_or_else(|| format!("unknown engine {name}; expected one of {}", names()).into())
}

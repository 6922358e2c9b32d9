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
    /// as bringing them to the device, is done the first time only. The logits are row-major [batch, classes].
    fn forward(&mut self) -> Result<Vec<f32>>;
}

type Start = fn(Rc<Task>) -> Result<Box<dyn Engine>>;

/// Name, crate whose version counts, whether it is a GPU's, and how it starts.
pub struct Kind {
    pub name: &'static str,
    pub package: &'static str,
    pub gpu: bool,
    pub start: Start,
}

/// What all are compared with.
pub const BASE: &str = "wgrad";

/// A device that is opened, and trains nothing: what the driver takes.
pub const FLOOR: &str = "wgpu-alone";

pub const ENGINES: [Kind; 6] = [
    Kind { name: BASE, package: "wgrad", gpu: true, start: wgrad::start },
    Kind { name: "burn-wgpu", package: "burn", gpu: true, start: burn::start_wgpu },
    Kind { name: "meganeura", package: "meganeura", gpu: true, start: meganeura::start },
    Kind { name: "burn-ndarray", package: "burn", gpu: false, start: burn::start_ndarray },
    Kind { name: "candle-cpu", package: "candle-core", gpu: false, start: candle::start },
    Kind { name: FLOOR, package: "wgpu", gpu: true, start: wgpu::start },
];

pub fn find(name: &str) -> Result<&'static Kind> {
    let names = || ENGINES.map(|kind| kind.name).join(", ");
    ENGINES
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| format!("no engine {name}: there are {}", names()).into())
}

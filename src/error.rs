//! The one error type of the crate.

use thiserror::Error;

/// For a developer on a desktop what to install; in a browser the reason alone, which a visitor of the page may read.
fn no_adapter(wanted: &str, reason: &str) -> String {
    match cfg!(target_family = "wasm") {
        true => reason.into(),
        false => format!(
            "no GPU adapter found{wanted}: {reason}. Install a Vulkan driver (on Debian and Ubuntu, `apt-get install \
             mesa-vulkan-drivers` installs a software adapter), or use Device::Cpu"
        ),
    }
}

/// What can go wrong. Each message names the thing, what was expected, what came and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No GPU, real or software, answered. In a browser the message is for a visitor of the page;
    /// [`Device::Cpu`](crate::Device::Cpu) trains there too: see [`Gpu::request_or_cpu_async`](crate::Gpu::request_or_cpu_async).
    #[error("{}", no_adapter(wanted, reason))]
    NoAdapter {
        /// `" named \"x\""` where one was asked for by name, else empty.
        wanted: String,
        /// What the platform said; in a browser, in plain words.
        reason: String,
    },

    /// The adapter would not open a device.
    #[error("adapter {adapter}: cannot open a device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// What the platform said.
        reason: String,
    },

    /// Something is larger than the device or a kernel allows. Found before anything is allocated.
    #[error("{what}: needs {needed} {unit}, but the limit is {limit}{}", instead(what))]
    LimitExceeded {
        /// The buffer, binding or dimension.
        what: String,
        /// How much it takes.
        needed: u64,
        /// How much there may be.
        limit: u64,
        /// What the two are counted in.
        unit: &'static str,
    },

    /// The device has no memory left.
    #[error("out of GPU memory while allocating {what} ({bytes} bytes): use a smaller batch, network or data set")]
    OutOfMemory {
        /// The buffer that did not fit.
        what: String,
        /// Its size.
        bytes: u64,
    },

    /// The device was lost: reset, unplugged, or taken away by the driver.
    #[error(
        "the GPU device was lost: {reason}. Its buffers are gone: create a new Gpu, then call Trainer::rebuild or \
         create a new Trainer"
    )]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },

    /// [`Trainer::rebuild`](crate::Trainer::rebuild) without a snapshot to go on from.
    #[error("the trainer has no snapshot: take one first, with Trainer::snapshot or Snapshots::record_snapshot")]
    NoSnapshot,

    /// The driver or wgpu refused something: a device, or a buffer of the app's, that lacks what it needs; or a bug in
    /// wgrad or in the driver.
    #[error("GPU error in {what}: {reason}")]
    Gpu {
        /// What was being built.
        what: String,
        /// wgpu's own words.
        reason: String,
    },

    /// A layer is wrong, usually an app's own: a kernel that a plan cannot have, or what `lockstep::check_layer` finds.
    #[error("layer {layer}: {fault}")]
    Layer {
        /// Its name.
        layer: String,
        /// The kernel and the place, what came and what was expected.
        fault: String,
    },

    /// A network, batch, data set or buffer has the wrong shape.
    #[error("{what}: expected {expected}, got {actual}")]
    Shape {
        /// The layer, data set or buffer.
        what: String,
        /// What would have fitted.
        expected: String,
        /// What came.
        actual: String,
    },

    /// A hyperparameter lies outside its range.
    #[error("{name} must be {expected}, got {actual}")]
    InvalidOption {
        /// The option.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// What came.
        actual: String,
    },

    /// A label is not one of the classes.
    #[error(
        "label of row {row}{of_target}: expected a class below {classes}, got {label}{}",
        if of_target.is_empty() { "" } else { "; to ignore this label, call DatasetBuilder::ignoring" }
    )]
    LabelOutOfRange {
        /// The row, from 0.
        row: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: u32,
        /// " of target \"kind\"" where targets have names, else empty.
        of_target: String,
    },

    /// A feature is NaN or infinite.
    #[error("feature {column} of row {row}{of_input}: expected a finite number, got {value}")]
    NonFiniteFeature {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The value.
        value: f32,
        /// " of input \"image\"" where inputs have names, else empty.
        of_input: String,
    },

    /// A target or a row's weight is NaN or infinite.
    #[error("{what} of row {row}{of_target}: expected a finite number, got {value}")]
    NonFiniteTarget {
        /// `"target"` or `"weight"`.
        what: &'static str,
        /// The row, from 0.
        row: usize,
        /// The value.
        value: f32,
        /// " of target \"size\"" where targets have names, else empty.
        of_target: String,
    },

    /// A target lies outside the range that a loss takes.
    #[error("target {column} of row {row}{of_target}: expected 0 to 1 for {loss}, got {value}")]
    TargetOutOfRange {
        /// The row, from 0.
        row: usize,
        /// Which of the row's targets, from 0.
        column: usize,
        /// The value.
        value: f32,
        /// The loss, in words.
        loss: &'static str,
        /// " of target \"size\"" where targets have names, else empty.
        of_target: String,
    },

    /// An output is NaN, so its row has no class.
    #[error(
        "output {column} of row {row}: expected a number to choose a class by, got NaN; check the weights for NaN and \
         infinity, and the features for very large numbers"
    )]
    NoClass {
        /// The row, from 0.
        row: usize,
        /// The first of its outputs that is NaN, from 0.
        column: usize,
    },

    /// Training diverged: the loss, a weight, or a number that the optimizer keeps became NaN or infinite, so the weights are
    /// no longer usable.
    #[error(
        "training diverged in epoch {epoch}, step {step} of the run: the loss, a weight or an optimizer moment became \
         NaN or infinite; lower the learning rate, clip the gradients, or check the data"
    )]
    NonFiniteLoss {
        /// The epoch, from 1.
        epoch: u32,
        /// The step since the trainer was made, from 1: the first whose loss was not finite, or where the losses were finite,
        /// the last step before the weights were looked at.
        step: u32,
    },

    /// A weight, or a number that the optimizer keeps for it, is NaN or infinite: in numbers given, or about to be kept.
    #[error("number {index} of {tensor}: expected a finite number, got {value}")]
    NonFiniteParameter {
        /// The tensor, as [`Network::parameters`](crate::Network::parameters) names it: `dense_1.weight`, or `moment_1 of
        /// dense_1.weight`.
        tensor: String,
        /// Which of its numbers, from 0, row-major.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A call that only a GPU can serve, on the CPU.
    #[error("{call} needs a GPU, but the device is Device::Cpu")]
    NeedsGpu {
        /// What was called.
        call: &'static str,
    },

    /// The device lacks a feature that wgpu calls so.
    #[error(
        "{what} needs the wgpu feature {feature}, which the device lacks: request it when the app creates the device, \
         or use an adapter that supports it"
    )]
    MissingFeature {
        /// What needs it.
        what: &'static str,
        /// Its name in `wgpu::Features`.
        feature: &'static str,
    },

    /// A file is missing, cut short, of another format, or cannot be written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A shape or a number of something that does not fit: `what` it is, what was expected, and what came.
    pub fn shape(what: impl Into<String>, expected: impl Into<String>, actual: impl ToString) -> Self {
        Error::Shape { what: what.into(), expected: expected.into(), actual: actual.to_string() }
    }

    /// The same, of an option of what is named here.
    pub(crate) fn within(self, what: &str) -> Self {
        match self {
            Self::InvalidOption { name, expected, actual } => {
                Self::InvalidOption { name, expected, actual: format!("{actual} in {what}") }
            }
            other => other,
        }
    }

    /// A stable name of the kind of error, for code that branches on it where the type is out of reach: JavaScript in a page,
    /// a log. It is the variant's name: `"DeviceLost"`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NoAdapter { .. } => "NoAdapter",
            Error::NoDevice { .. } => "NoDevice",
            Error::LimitExceeded { .. } => "LimitExceeded",
            Error::OutOfMemory { .. } => "OutOfMemory",
            Error::DeviceLost { .. } => "DeviceLost",
            Error::NoSnapshot => "NoSnapshot",
            Error::Gpu { .. } => "Gpu",
            Error::Shape { .. } => "Shape",
            Error::InvalidOption { .. } => "InvalidOption",
            Error::LabelOutOfRange { .. } => "LabelOutOfRange",
            Error::NonFiniteFeature { .. } => "NonFiniteFeature",
            Error::NonFiniteTarget { .. } => "NonFiniteTarget",
            Error::NonFiniteLoss { .. } => "NonFiniteLoss",
            Error::Layer { .. } => "Layer",
            Error::NeedsGpu { .. } => "NeedsGpu",
            Error::MissingFeature { .. } => "MissingFeature",
            Error::NonFiniteParameter { .. } => "NonFiniteParameter",
            Error::TargetOutOfRange { .. } => "TargetOutOfRange",
            Error::NoClass { .. } => "NoClass",
            Error::File { .. } => "File",
        }
    }
}

/// What to do about something that is larger than the device allows, where there is something.
fn instead(what: &str) -> &'static str {
    match what.contains("the data set's") {
        true => {
            ". Trainer::fit and Trainer::evaluate upload long data in windows of whole updates: use a smaller batch. \
             To record your own steps, prepare parts of the data (Dataset::split) one after the other. Or store \
             features of 0 to 255 as bytes (Dataset::from_u8), or use a device with higher limits"
        }
        false => "",
    }
}

/// A result whose error is [`Error`](enum@Error).
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::Error;

    /// By the source, so that a variant added later is held to it.
    #[test]
    fn the_code_of_every_variant_is_its_name() {
        let source = include_str!("error.rs");
        let variants = source.split_once("pub enum Error {").unwrap().1.split_once("\n}\n").unwrap().0;
        let names = variants
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()) && line.ends_with(['{', ',']));
        let names: Vec<&str> = names.map(|line| line.trim_end_matches([' ', '{', ','])).collect();
        assert!(names.len() >= 16, "{names:?}");
        let codes = source.split_once("pub fn code(").unwrap().1.split_once("\n    }\n").unwrap().0;
        for name in &names {
            let arm = codes.lines().find(|line| line.contains(&format!("Error::{name} ")));
            assert!(arm.is_some_and(|arm| arm.contains(&format!("=> \"{name}\","))), "{name}: {arm:?}");
        }
        assert_eq!(codes.matches("=> \"").count(), names.len());
    }

    #[test]
    fn a_code_can_be_branched_on() {
        assert_eq!(Error::DeviceLost { reason: "unplugged".into() }.code(), "DeviceLost");
        assert_eq!(Error::NoSnapshot.code(), "NoSnapshot");
    }
}

//! The error type of the crate.

use thiserror::Error;

/// The text of `NoAdapter`. On a desktop it says what to install; in a browser it has only the reason, for a visitor
/// of the page.
fn no_adapter(wanted: &str, reason: &str) -> String {
    match cfg!(target_family = "wasm") {
        true => reason.into(),
        false => format!(
            "no GPU adapter found{wanted}: {reason}. Install a Vulkan driver (on Debian and Ubuntu, `apt-get install \
             mesa-vulkan-drivers` installs a software adapter), or use Device::Cpu"
        ),
    }
}

/// Errors of wgrad. Each text says what was wrong, what was expected, what was found and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no GPU, hardware or software. In a browser the text is for a visitor of the page. To train on
    /// [`Device::Cpu`](crate::Device::Cpu) then, use [`Gpu::request_or_cpu_async`](crate::Gpu::request_or_cpu_async).
    #[error("{}", no_adapter(wanted, reason))]
    NoAdapter {
        /// `" named \"x\""` if a name was requested, otherwise empty.
        wanted: String,
        /// The platform's reason. In a browser, a text in plain words.
        reason: String,
    },

    /// The adapter did not open a device.
    #[error("adapter {adapter}: cannot open a device: {reason}")]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// The platform's reason.
        reason: String,
    },

    /// A limit of the device or of a kernel is exceeded. Returned before anything is allocated.
    #[error("{what}: needs {needed} {unit}, but the limit is {limit}{}", instead(what))]
    LimitExceeded {
        /// Name of the buffer, binding or dimension.
        what: String,
        /// Required amount.
        needed: u64,
        /// Largest allowed amount.
        limit: u64,
        /// Unit of both amounts.
        unit: &'static str,
    },

    /// The device is out of memory.
    #[error("out of GPU memory while allocating {what} ({bytes} bytes): use a smaller batch, network or data set")]
    OutOfMemory {
        /// Name of the buffer that did not fit.
        what: String,
        /// Size of the buffer.
        bytes: u64,
    },

    /// The device was lost: reset, unplugged, or removed by the driver.
    #[error(
        "the GPU device was lost: {reason}. Its buffers are gone: create a new Gpu, then call Trainer::rebuild or \
         create a new Trainer"
    )]
    DeviceLost {
        /// The driver's reason.
        reason: String,
    },

    /// [`Trainer::rebuild`](crate::Trainer::rebuild) or a save of the snapshot was called, but there is no snapshot.
    #[error("the trainer has no snapshot: take one first, with Trainer::snapshot or Snapshots::record_snapshot")]
    NoSnapshot,

    /// wgpu or the driver returned an error: the app's device or buffer is not suitable, or wgrad or the driver has a
    /// bug.
    #[error("GPU error in {what}: {reason}")]
    Gpu {
        /// What was being built.
        what: String,
        /// wgpu's text.
        reason: String,
    },

    /// A layer is wrong, usually an app's own: a plan cannot use its kernel, or `lockstep::check_layer` found a
    /// fault.
    #[error("layer {layer}: {fault}")]
    Layer {
        /// Name of the layer.
        layer: String,
        /// The kernel and the place, what was found and what was expected.
        fault: String,
    },

    /// A network, batch, data set or buffer has the wrong shape.
    #[error("{what}: expected {expected}, got {actual}")]
    Shape {
        /// Name of the layer, data set or buffer.
        what: String,
        /// Expected shape.
        expected: String,
        /// Actual shape.
        actual: String,
    },

    /// A rank cannot train with the others: see [`Ranks`](crate::Ranks).
    #[error("rank {rank}: {reason}")]
    Rank {
        /// Number of the rank.
        rank: u32,
        /// What it lacks, or what is different there.
        reason: String,
    },

    /// A hyperparameter is outside its range.
    #[error("{name} must be {expected}, got {actual}")]
    InvalidOption {
        /// Name of the option.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Actual value.
        actual: String,
    },

    /// A label is not one of the classes.
    #[error(
        "label of row {row}{of_target}: expected a class below {classes}, got {label}{}",
        if of_target.is_empty() { "" } else { "; to ignore this label, call DatasetBuilder::ignoring" }
    )]
    LabelOutOfRange {
        /// Index of the row, from 0.
        row: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: u32,
        /// `" of target \"kind\""` if targets have names, otherwise empty.
        of_target: String,
    },

    /// A feature is NaN or infinite.
    #[error("feature {column} of row {row}{of_input}: expected a finite number, got {value}")]
    NonFiniteFeature {
        /// Index of the row, from 0.
        row: usize,
        /// Index of the column, from 0.
        column: usize,
        /// The value.
        value: f32,
        /// `" of input \"image\""` if inputs have names, otherwise empty.
        of_input: String,
    },

    /// A target or a row's weight is NaN or infinite.
    #[error("{what} of row {row}{of_target}: expected a finite number, got {value}")]
    NonFiniteTarget {
        /// `"target"` or `"weight"`.
        what: &'static str,
        /// Index of the row, from 0.
        row: usize,
        /// The value.
        value: f32,
        /// `" of target \"size\""` if targets have names, otherwise empty.
        of_target: String,
    },

    /// A target is outside the range of the loss.
    #[error("target {column} of row {row}{of_target}: expected 0 to 1 for {loss}, got {value}")]
    TargetOutOfRange {
        /// Index of the row, from 0.
        row: usize,
        /// Index of the number in the row's targets, from 0.
        column: usize,
        /// The value.
        value: f32,
        /// Name of the loss.
        loss: &'static str,
        /// `" of target \"size\""` if targets have names, otherwise empty.
        of_target: String,
    },

    /// An output is NaN, so its row has no class.
    #[error(
        "output {column} of row {row}: expected a number to choose a class by, got NaN; check the weights for NaN and \
         infinity, and the features for very large numbers"
    )]
    NoClass {
        /// Index of the row, from 0.
        row: usize,
        /// Index of the first output of the row that is NaN, from 0.
        column: usize,
    },

    /// Training diverged: the loss, a weight or an optimizer moment became NaN or infinite. The weights are no longer
    /// usable.
    #[error(
        "training diverged in epoch {epoch}, step {step} of the run: the loss, a weight or an optimizer moment became \
         NaN or infinite; lower the learning rate, clip the gradients, or check the data"
    )]
    NonFiniteLoss {
        /// Number of the epoch, from 1.
        epoch: u32,
        /// Number of the step since the trainer was made, from 1. It is the first step whose loss was not finite. If
        /// all losses were finite, it is the last step before the weights were checked.
        step: u32,
    },

    /// A weight or an optimizer moment is NaN or infinite, in given numbers or before saving.
    #[error("number {index} of {tensor}: expected a finite number, got {value}")]
    NonFiniteParameter {
        /// Name of the tensor, as in [`Network::parameters`](crate::Network::parameters): `dense_1.weight`, or
        /// `moment_1 of dense_1.weight`.
        tensor: String,
        /// Index of the number in the tensor, from 0, row-major.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A call that needs a GPU was made on the CPU.
    #[error("{call} needs a GPU, but the device is Device::Cpu")]
    NeedsGpu {
        /// Name of the call.
        call: &'static str,
    },

    /// The device lacks a feature.
    #[error(
        "{what} needs the wgpu feature {feature}, which the device lacks: request it when the app creates the device, \
         or use an adapter that supports it"
    )]
    MissingFeature {
        /// What needs the feature.
        what: &'static str,
        /// Name of the feature in `wgpu::Features`.
        feature: &'static str,
    },

    /// A file is missing, truncated or of another format, or cannot be written.
    #[error("{path}: {reason}")]
    File {
        /// Path of the file.
        path: String,
        /// What is wrong with the file.
        reason: String,
    },
}

impl Error {
    /// A [`Shape`](Self::Shape) error: what has the wrong shape, the expected shape and the actual shape.
    pub fn shape(what: impl Into<String>, expected: impl Into<String>, actual: impl ToString) -> Self {
        Error::Shape { what: what.into(), expected: expected.into(), actual: actual.to_string() }
    }

    /// The same error with `what` added to the name of the option.
    pub(crate) fn within(self, what: &str) -> Self {
        match self {
            Self::InvalidOption { name, expected, actual } => {
                Self::InvalidOption { name, expected, actual: format!("{actual} in {what}") }
            }
            other => other,
        }
    }

    /// A stable name of the kind of error: the name of the variant, such as `"DeviceLost"`. Use it where the type is
    /// not available, such as in JavaScript or a log.
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
            Error::Rank { .. } => "Rank",
            Error::File { .. } => "File",
        }
    }
}

/// Advice for an exceeded limit, if there is any.
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

    /// Read from the source, so that later variants are tested too.
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

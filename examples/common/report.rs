//! Reports of training runs as JSON, for scripts.

use std::path::Path;

use serde_json::{Value, json};
use wgrad::{Adam, Dataset, Device, Epoch, Evaluation, Loss, Model, Network, Traffic, Trainer, TrainerConfig};

use super::{Result, write_file};

/// Writes the report of a training run.
pub fn write_training(path: &Path, trainer: &Trainer, first_step_seconds: Option<f64>, test: Evaluation) -> Result<()> {
    let mut report = common(&trainer.model(), trainer.device(), test.loss, test.accuracy)?;
    let training_fields = [
        ("batch_size", json!(trainer.config().batch)),
        ("seed", json!(trainer.config().seed)),
        ("first_step_seconds", json!(first_step_seconds)),
        ("ops_per_step", json!(trainer.plan().step.len())),
        ("epochs", trainer.history().epochs.iter().map(epoch).collect()),
    ];
    for (name, value) in training_fields {
        report[name] = value;
    }
    write_file(path, format!("{report:#}\n"))
}

/// Writes the report of a saved model. The fields of a training run are null, and `epochs` is empty.
pub fn write_model(path: &Path, model: &Model, device: &Device, test: &Dataset, accuracy: f64) -> Result<()> {
    // Only a trainer computes the loss. It is null if the network does not fit this loss.
    let (loss, config) = (Loss::SoftmaxCrossEntropy, TrainerConfig::default());
    let weights = model.parameters()?;
    let trainer =
        Trainer::from_parameters(device.clone(), model.network(), loss, Adam::default(), config, &weights).ok();
    let loss = trainer.map(|mut trainer| trainer.evaluate(test)).transpose()?.map_or(f64::NAN, |test| test.loss);
    write_file(path, format!("{:#}\n", common(model, device, loss, accuracy)?))
}

/// All fields of a report, in the order of the file. The fields of a training run are null.
fn common(model: &Model, device: &Device, test_loss: f64, test_accuracy: f64) -> Result<Value> {
    let traffic = match device {
        Device::Gpu(gpu) => gpu.traffic(),
        Device::Cpu => Traffic::default(),
    };
    let network = model.network();
    Ok(json!({
        "adapter": adapter(device),
        "executor": if matches!(device, Device::Gpu(_)) { "gpu" } else { "cpu" },
        "network": widths(network),
        "parameters": network.parameter_count(),
        "batch_size": null,
        "seed": null,
        "first_step_seconds": null,
        "ops_per_step": null,
        "submits": traffic.submits,
        "readback_bytes": traffic.readback_bytes,
        "epochs": [],
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "weights_fnv1a": format!("{:016x}", fnv1a(&model.parameters()?)),
    }))
}

/// Number of features, then the units or channels of each layer with weights, such as 784-512-256-128-10.
fn widths(network: &Network) -> String {
    let weights = network.parameters().iter().filter(|parameter| parameter.shape.len() > 1);
    let widths = weights.filter_map(|weight| weight.shape.last().copied());
    std::iter::once(network.inputs()).chain(widths).map(|n| n.to_string()).collect::<Vec<_>>().join("-")
}

fn adapter(device: &Device) -> Value {
    let Device::Gpu(gpu) = device else { return Value::Null };
    let info = gpu.adapter_info();
    json!({
        "name": info.name,
        "backend": info.backend.to_string(),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(),
        "device_type": format!("{:?}", info.device_type),
    })
}

fn epoch(epoch: &Epoch) -> Value {
    let seconds = epoch.seconds.unwrap_or(f64::NAN);
    json!({
        "epoch": epoch.epoch,
        "train_loss": epoch.train.loss,
        "train_accuracy": epoch.train.accuracy,
        "validation_loss": epoch.validation.map(|v| v.loss),
        "validation_accuracy": epoch.validation.map(|v| v.accuracy),
        "learning_rate": epoch.learning_rate,
        "seconds": seconds,
        "samples_per_second": f64::from(epoch.train.rows) / seconds,
        "ms_per_step": seconds * 1000.0 / f64::from(epoch.steps),
    })
}

/// The FNV-1a hash of the weights' bytes: equal hashes show that two runs gave the same weights.
fn fnv1a(weights: &[f32]) -> u64 {
    let bytes = weights.iter().flat_map(|w| w.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

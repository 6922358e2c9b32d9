//! The figures of a run, for scripts.

use std::path::Path;

use serde_json::{Value, json};
use wgrad::{Device, Epoch, Evaluation, Network, Traffic, Trainer};

use super::{Result, write_whole};

/// Writes them as JSON.
pub fn write(path: &Path, trainer: &Trainer, first_step_seconds: Option<f64>, test: Evaluation) -> Result<()> {
    let traffic = match trainer.device() {
        Device::Gpu(gpu) => gpu.traffic(),
        Device::Cpu => Traffic::default(),
    };
    let weights = trainer.model().parameters()?;
    let network = trainer.network();
    let report = json!({
        "adapter": adapter(trainer.device()),
        "executor": if matches!(trainer.device(), Device::Gpu(_)) { "gpu" } else { "cpu" },
        "network": widths(network),
        "parameters": network.parameter_count(),
        "batch_size": trainer.config().batch,
        "seed": trainer.config().seed,
        "first_step_seconds": first_step_seconds,
        "ops_per_step": trainer.plan().step.len(),
        "submits": traffic.submits,
        "readback_bytes": traffic.readback_bytes,
        "epochs": trainer.history().epochs.iter().map(epoch).collect::<Vec<_>>(),
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "weights_fnv1a": format!("{:016x}", fnv1a(&weights)),
    });
    write_whole(path, format!("{report:#}\n"))
}

/// As in 784-512-256-128-10.
fn widths(network: &Network) -> String {
    let dense = network.layers().filter_map(|(_, layer)| match layer {
        wgrad::Layer::Dense(dense) => Some(dense.units()),
        _ => None,
    });
    std::iter::once(network.inputs()).chain(dense).map(|n| n.to_string()).collect::<Vec<_>>().join("-")
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

/// A fingerprint of the weights' bits (the hash FNV-1a), to see whether two runs ended alike.
fn fnv1a(weights: &[f32]) -> u64 {
    let bytes = weights.iter().flat_map(|w| w.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

//! Runs a model in slices within a time budget, as an app does over its frames.

use std::time::{Duration, Instant};

use wgrad::{Forward, Gpu, Model, wgpu};

use crate::common::Result;
use crate::common::passes::storage_buffer;

/// Passes before the times are shown. The first passes measure the ops.
const PASSES: u32 = 8;

/// Prints how many slices a pass has, and how long the longest takes beside the longest op.
pub fn show(gpu: &Gpu, model: &Model, budget: Duration, rows: u32) -> Result<()> {
    let buffers = |specs: &[wgrad::TensorSpec]| -> Vec<(String, wgpu::Buffer)> {
        let bytes = |spec: &wgrad::TensorSpec| u64::from(rows) * u64::from(spec.features()) * 4;
        specs.iter().map(|spec| (spec.name.clone(), storage_buffer(gpu.device(), bytes(spec)))).collect()
    };
    let (inputs, outputs) = (buffers(model.network().input_specs()), buffers(model.network().output_specs()));
    let input: Vec<(&str, &wgpu::Buffer)> = inputs.iter().map(|(name, buffer)| (&**name, buffer)).collect();
    let output: Vec<(&str, &wgpu::Buffer)> = outputs.iter().map(|(name, buffer)| (&**name, buffer)).collect();
    let forward = model.prepare_forward(input, output, rows)?;
    forward.warm_up()?;
    for _ in 0..PASSES {
        pass(gpu, &forward, budget)?;
    }
    let longest = |times: &[f64]| times.iter().fold(0.0f64, |longest, &time| longest.max(time)) * 1e3;
    let (slices, ops) = (pass(gpu, &forward, budget)?, pass(gpu, &forward, Duration::from_nanos(1))?);
    println!(
        "{} slices within {:.1} ms, the longest {:.2} ms; the longest of {} ops {:.2} ms (with submission and waiting)",
        slices.len(),
        budget.as_secs_f64() * 1e3,
        longest(&slices),
        ops.len(),
        longest(&ops)
    );
    Ok(())
}

/// The seconds of each slice of a pass.
fn pass(gpu: &Gpu, forward: &Forward, budget: Duration) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    loop {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let is_whole = forward.record_within(&mut encoder, budget);
        let start = Instant::now();
        gpu.queue().submit([encoder.finish()]);
        gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
        times.push(start.elapsed().as_secs_f64());
        if is_whole {
            return Ok(times);
        }
    }
}

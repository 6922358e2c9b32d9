//! Seconds of recorded work.

use std::time::Instant;

use wgrad::{Gpu, wgpu};

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// A submission is as many repetitions as take about this long, or one.
    pub seconds: f64,
    /// How many submissions.
    pub submissions: usize,
}

/// Most repetitions of a submission: encoders grow with them.
const MOST_REPETITIONS: u32 = 4096;

/// Seconds of one repetition, with the GPU's clocks up and its kernels compiled: the median.
pub fn seconds(gpu: &Gpu, effort: Effort, record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> f64 {
    let times = times(gpu, effort, record);
    times[times.len() / 2]
}

/// The least: for roofs, which are what a machine can do at best.
pub fn least_seconds(gpu: &Gpu, effort: Effort, record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> f64 {
    times(gpu, effort, record)[0]
}

/// From the least on.
fn times(gpu: &Gpu, effort: Effort, mut record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> Vec<f64> {
    let mut run = |repetitions: u32| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        record(&mut encoder, repetitions);
        let start = Instant::now();
        let submission_index = Some(gpu.queue().submit([encoder.finish()]));
        // A lost device shows when results are read back.
        let _ = gpu.device().poll(wgpu::PollType::Wait { submission_index, timeout: None });
        start.elapsed().as_secs_f64() / f64::from(repetitions)
    };
    // The first compiles; then twice as many until they take long enough.
    run(1);
    let mut repetitions = 1;
    while run(repetitions) * f64::from(repetitions) < effort.seconds / 2.0 && repetitions < MOST_REPETITIONS {
        repetitions *= 2;
    }
    let mut times: Vec<f64> = (0..effort.submissions).map(|_| run(repetitions)).collect();
    times.sort_by(f64::total_cmp);
    times
}

//! Measures the time of recorded commands.

use std::time::Instant;

use wgrad::{Gpu, wgpu};

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Approximate time of a submission, in seconds. The number of repetitions follows from it.
    pub seconds: f64,
    /// Number of submissions.
    pub submissions: usize,
}

/// Largest number of repetitions in a submission: each one needs memory in the encoder.
const MOST_REPETITIONS: u32 = 4096;

/// Median time of one repetition, in seconds. The kernels are compiled and the GPU's clocks are up.
pub fn seconds(gpu: &Gpu, effort: Effort, record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> f64 {
    let times = times(gpu, effort, record);
    times[times.len() / 2]
}

/// Shortest time of one repetition, in seconds. For the roofline.
pub fn least_seconds(gpu: &Gpu, effort: Effort, record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> f64 {
    times(gpu, effort, record)[0]
}

/// The times of all submissions, sorted.
fn times(gpu: &Gpu, effort: Effort, mut record: impl FnMut(&mut wgpu::CommandEncoder, u32)) -> Vec<f64> {
    let mut run = |repetitions: u32| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        record(&mut encoder, repetitions);
        let start = Instant::now();
        let submission_index = Some(gpu.queue().submit([encoder.finish()]));
        // If the device is lost, the read-back returns the error.
        let _ = gpu.device().poll(wgpu::PollType::Wait { submission_index, timeout: None });
        start.elapsed().as_secs_f64() / f64::from(repetitions)
    };
    // The first run compiles. Then the repetitions double until the run takes long enough.
    run(1);
    let mut repetitions = 1;
    while run(repetitions) * f64::from(repetitions) < effort.seconds / 2.0 && repetitions < MOST_REPETITIONS {
        repetitions *= 2;
    }
    let mut times: Vec<f64> = (0..effort.submissions).map(|_| run(repetitions)).collect();
    times.sort_by(f64::total_cmp);
    times
}

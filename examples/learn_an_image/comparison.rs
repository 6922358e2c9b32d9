//! Trains two networks for equal times, in turns: with fused kernels, and op by op.

use std::time::Instant;

use image::RgbImage;

use crate::common::Result;
use crate::headless::{SUBMISSION, render, squared_error, train};
use crate::{Args, Learner, psnr};

/// Submissions that measure the time of a step, after one that compiles the kernels.
const MEASURED: u32 = 8;

pub fn run(args: &Args, picture: impl FnOnce() -> RgbImage) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let picture = &picture();
    let open = |op_by_op, steps| -> Result<Run> {
        let learner = Learner::with_ops(gpu.clone(), args, picture, Some(steps), op_by_op)?;
        train(&learner, 1)?; // compiles the kernels
        Ok(Run { learner, planned: steps, done: 1, seconds: 0.0 })
    };
    // The learning rate decays over the steps, so their numbers are computed before: those of equal times.
    let mut tried = [open(false, args.steps)?, open(true, args.steps)?];
    for _ in 0..MEASURED {
        tried.iter_mut().try_for_each(Run::advance)?;
    }
    let ratio = tried[1].seconds / tried[0].seconds;
    let fewer = ((f64::from(args.steps) / ratio).round() as u32).max(1);
    println!("a step op by op takes {ratio:.2} times as long: {} steps beside {fewer}", args.steps);

    let [mut fused, mut single] = [open(false, args.steps)?, open(true, fewer)?];
    while !fused.is_done() || !single.is_done() {
        if single.is_done() || (!fused.is_done() && fused.seconds <= single.seconds) {
            fused.advance()?;
        } else {
            single.advance()?;
        }
    }
    let mut psnrs = Vec::new();
    for (name, run) in [("fused", fused), ("op by op", single)] {
        let psnr = psnr(squared_error(picture, &render(&run.learner, picture)?));
        println!("{name}: {} steps in {:.1} s, PSNR {psnr:.2} dB", run.done, run.seconds);
        psnrs.push(psnr);
    }
    println!("fused training is {:+.2} dB better", psnrs[0] - psnrs[1]);
    Ok(())
}

struct Run {
    learner: Learner,
    planned: u32,
    done: u32,
    seconds: f64,
}

impl Run {
    fn is_done(&self) -> bool {
        self.done >= self.planned
    }

    /// A submission of training.
    fn advance(&mut self) -> Result<()> {
        let steps = SUBMISSION.min(self.planned.saturating_sub(self.done)).max(1);
        let begun = Instant::now();
        train(&self.learner, steps)?;
        self.seconds += begun.elapsed().as_secs_f64();
        self.done += steps;
        Ok(())
    }
}

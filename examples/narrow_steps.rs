//! Measures the training steps of a narrow network, fused and op by op, in turns, and the first step of each.
//!
//! A driver may compile kernels at their first dispatch, and it keeps compiled kernels on disk. To measure first steps,
//! switch that cache off. For Mesa's drivers, such as lavapipe:
//!
//!     cargo run --release --example narrow_steps
//!     cargo run --release --example narrow_steps -- --grid
//!     MESA_SHADER_CACHE_DISABLE=true cargo run --release --example narrow_steps -- --rounds 1
//!
//! Takes about a minute on two CPU cores with a software adapter.

#[macro_use]
mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use common::Result;
use common::device::{self, DeviceChoice};
use common::options::{self, integer};
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Gpu, HashGrid, Loss, Network, Trainer, TrainerConfig, Training, wgpu};

/// Measures the training steps of the network 32-64-64-64-3, fused and op by op, and the first step of each.
#[derive(Parser)]
struct Args {
    /// Batches to measure
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1024, 4096, 65_536], value_parser = integer(1..=1 << 20))]
    batch: Vec<u32>,
    /// Puts a hash grid with 16 levels before the layers, and takes points with 2 coordinates
    #[arg(long)]
    grid: bool,
    /// Trains with `Adam::skip_zero_gradients`, for hash grids whose entries are mostly untouched
    #[arg(long)]
    skip_zero_gradients: bool,
    /// Rounds. In each, both forms run in turns
    #[arg(long, default_value_t = 9, value_parser = integer(1..=1000))]
    rounds: u32,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    let network = if args.grid { Network::input(2).encoding(HashGrid::default()) } else { Network::input(32) };
    let network = network.dense(64, Relu).dense(64, Relu).dense(64, Relu).dense(3, Identity).build()?;
    println!("{}", network.summary());
    let adapter = pollster::block_on(args.device.adapter(&device::instance(), None))?;
    println!("{}", device::describe_adapter(&adapter.get_info()));
    let optimizer = Adam { skip_zero_gradients: args.skip_zero_gradients, ..Adam::default() };
    println!("   batch  form        dispatches  first step      step  speed-up");
    for &batch in &args.batch {
        let form = |op_by_op| {
            // A device of its own has no compiled kernels.
            let gpu = pollster::block_on(Gpu::from_adapter(&adapter))?;
            Form::new(&gpu, &network, optimizer, TrainerConfig { batch, op_by_op, ..TrainerConfig::default() })
        };
        let mut forms: [Form; 2] = [form(true)?, form(false)?];
        // A round takes at least a tenth of a second for each form.
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            let mut times = [0.0; 2];
            for (form, time) in forms.iter_mut().zip(&mut times) {
                *time = form.time(Duration::from_millis(100))?;
            }
            rounds.push(times);
        }
        let median = |of: &dyn Fn(&[f64; 2]) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        for (i, (name, form)) in ["op by op", "fused"].into_iter().zip(forms).enumerate() {
            println!(
                "{batch:8}  {name:10}  {:10}  {:8.2} s  {:7.2} ms  {:7.2}×",
                form.dispatches,
                form.first_step.as_secs_f64(),
                median(&|times| times[i]) * 1e3,
                median(&|times| times[0] / times[i])
            );
        }
    }
    Ok(())
}

/// A way to train the network.
struct Form {
    gpu: Gpu,
    training: Training,
    _trainer: Trainer,
    dispatches: usize,
    /// Time from the network to the end of its first step.
    first_step: Duration,
}

impl Form {
    fn new(gpu: &Gpu, network: &Network, optimizer: Adam, config: TrainerConfig) -> Result<Self> {
        let data = random_data(network, config.batch)?;
        let start = Instant::now();
        let mut trainer = Trainer::new(gpu, network, Loss::MeanSquaredError, optimizer, config)?;
        let training = trainer.prepare(&data)?;
        let kernels = gpu.kernels(trainer.plan());
        let dispatches = kernels.iter().take(trainer.plan().step.len()).map(Vec::len).sum();
        let mut form = Self { gpu: gpu.clone(), training, _trainer: trainer, dispatches, first_step: Duration::ZERO };
        form.steps(1)?;
        form.first_step = start.elapsed();
        Ok(form)
    }

    /// Runs these steps, and waits for their end.
    fn steps(&mut self, steps: u32) -> Result<()> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.training.record_steps(&mut encoder, steps);
        let submission_index = Some(self.gpu.queue().submit([encoder.finish()]));
        self.gpu.device().poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        Ok(())
    }

    /// Seconds of a step, measured for this time.
    fn time(&mut self, least: Duration) -> Result<f64> {
        let (start, mut steps) = (Instant::now(), 0);
        while start.elapsed() < least {
            self.steps(4)?;
            steps += 4;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(steps))
    }
}

/// Two batches of uniform random numbers from 0 to 1, the same in each run.
fn random_data(network: &Network, batch: u32) -> Result<Dataset> {
    let mut state = 1u64;
    let mut numbers = |count: u32| -> Vec<f32> {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        (0..count).map(next).collect()
    };
    let rows = 2 * batch;
    let (features, targets) = (numbers(rows * network.inputs()), numbers(rows * network.outputs()));
    Ok(Dataset::from_f32_targets(features, network.inputs() as usize, targets, network.outputs())?)
}

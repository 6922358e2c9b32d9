//! Shows a custom layer: a dense layer with a sine activation (SIREN), with its own WGSL kernels.
//!
//! Checks the layer's kernels and gradients. Then it trains two networks to represent an image: one with this layer,
//! and one with a hash grid.
//!
//! Prints the result of the check, and the PSNR and the time of both networks. Writes out/own_layer/sheet.svg.
//! Takes about 2 minutes on two CPU cores with a software adapter.
//! The argument is the number of epochs [default: 80].
//!
//!     cargo run --release --example own_layer -- 80

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
#[path = "../learn_an_image/landscape.rs"]
mod landscape;
mod sine;

use common::picture::{self, Tile};
use sine::Sine;
use wgrad::Activation::*;
use wgrad::{Adam, Dataset, Fit, Gpu, HashGrid, Loss, Network, Schedule, Trainer, TrainerConfig, lockstep};

const SIDE: u32 = 128;
const BATCH: u32 = 2048;

fn main() -> std::process::ExitCode {
    common::exit_code(run())
}

fn run() -> common::Result<()> {
    let epochs = std::env::args().nth(1).map_or(Ok(80), |epochs| epochs.parse())?;
    let gpu = Gpu::request()?;
    // Tests the layer alone: its kernels against their CPU references, and its gradients against finite differences.
    println!("{}", lockstep::check_layer(&gpu, Sine { units: 9, omega: 30.0, is_first: false }, [[5]], 7)?);
    let sine = |i| Sine { units: 128, omega: 30.0, is_first: i == 0 };
    let sines = (0..4).fold(Network::input(2), |network, i| network.layer(sine(i))).dense(3, Identity).build()?;
    let grid = HashGrid { levels: 8, log2_hashmap_size: 12, base_resolution: 8, ..HashGrid::default() }.up_to(SIDE);
    let grid = Network::input(2).encoding(grid).dense(64, Relu).dense(64, Relu).dense(3, Identity).build()?;
    let target = landscape::draw(SIDE).into_raw();
    let tile = |pixels, caption| Tile { pixels, width: SIDE, height: SIDE, caption, frame: None };
    let mut tiles = vec![tile(target.clone(), "target".into())];
    // Sine layers need coordinates from −1 to 1, a hash grid from 0 to 1.
    for (name, network, first, learning_rate) in [("sine layers", sines, -1.0, 5e-4), ("hash grid", grid, 0.0, 1e-2)] {
        let start = std::time::Instant::now();
        let place = |i: u32| first + (1.0 - first) * (i as f32 + 0.5) / SIDE as f32;
        let places: Vec<f32> = (0..SIDE * SIDE).flat_map(|i| [place(i % SIDE), place(i / SIDE)]).collect();
        let colours = target.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let data = Dataset::from_f32_targets(places.clone(), 2, colours, 3)?;
        let schedule = Schedule::cosine(epochs * SIDE * SIDE / BATCH, 0.05);
        let config = TrainerConfig { batch: BATCH, schedule, ..TrainerConfig::default() };
        let adam = Adam { learning_rate, ..Adam::default() };
        let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, adam, config)?;
        trainer.fit(&data, Fit { epochs, ..Fit::default() }, |_| {})?;
        let psnr = format!("{name}: {:.2} dB", -10.0 * trainer.evaluate(&data)?.loss.log10());
        println!("{psnr} after {:.1} s", start.elapsed().as_secs_f64());
        let colours = trainer.model().forward(&places)?;
        tiles.push(tile(colours.iter().map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8).collect(), psnr));
    }
    let [sheet] = common::checked_outputs("out/own_layer".as_ref(), ["sheet.svg"])?;
    picture::write_sheet(&sheet, "An image learned by a custom layer", &tiles, 3)
}

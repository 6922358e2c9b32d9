//! Trains a small residual network for super-resolution: it doubles the width and height of images.
//!
//! Trains on patches of images at half size, with the full-size patches as targets. One image is held out for the
//! test.
//!
//! Prints the PSNR of each epoch. Then it prints the PSNR of the held-out image, enlarged by the network and by
//! bicubic interpolation. Writes curve.svg, doubled.png (the network's result) and sheet.svg (a comparison).
//! Takes about 3 minutes on two CPU cores with a software adapter.
//!
//!     cargo run --release --example super_resolution
//!     cargo run --release --example super_resolution -- --pictures DIR

#[macro_use]
mod common;
#[path = "learn_an_image/landscape.rs"]
mod landscape;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};
use common::picture::{self, Tile};
use common::plot::{self, Curve, Panel};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, RgbImage};
use wgrad::Activation::{Identity, Relu};
use wgrad::{
    Adam, Conv, Dataset, Device, Event, Fit, Graph, Init, Layer, Loss, Model, Network, Schedule, Trainer,
    TrainerConfig, Upsample,
};

/// Trains a network that doubles the width and height of images.
#[derive(Parser)]
struct Args {
    /// Folder of at least two PNG or JPEG images; the last one by name is held out [default: landscapes drawn by the
    /// program]
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Longest side of an image, in pixels; larger images are scaled down
    #[arg(long, value_name = "PIXELS", default_value_t = 384, value_parser = integer(64..=4096))]
    size: u32,
    /// Number of epochs
    #[arg(long, default_value_t = 15, value_parser = integer(1..=u32::MAX))]
    epochs: u32,
    /// Number of patches, at positions spread over the images
    #[arg(long, default_value_t = 2048, value_parser = integer(1..=1 << 20))]
    patches: u32,
    /// Batch size, in patches
    #[arg(long, default_value_t = 8, value_parser = integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Seed of the initial weights, the patches and the shuffle
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the images and the plot
    #[arg(long, value_name = "DIR", default_value = "out/super_resolution")]
    out: PathBuf,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

/// Width and height of a patch at half size, in pixels.
const PATCH: u32 = 24;
/// Channels of the hidden layers.
const CHANNELS: u32 = 24;
/// Number of residual blocks, of two convolutions each.
const BLOCKS: u32 = 3;

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    let [curve, sheet, png] = common::checked_outputs(&args.out, ["curve.svg", "sheet.svg", "doubled.png"])?;
    let mut pictures = pictures(args)?;
    let held_out = pictures.pop().ok_or("no image")?;
    let half = halved(&held_out);
    let bicubic = imageops::resize(&half, held_out.width(), held_out.height(), FilterType::CatmullRom);
    let bicubic_psnr = psnr(&bicubic, &held_out)?;

    let network = network([PATCH, PATCH])?;
    println!("{}", network.summary());
    let data = patches(&pictures, args)?;
    let config = TrainerConfig { batch: args.batch, seed: args.seed, ..TrainerConfig::default() };
    let updates = config.updates(data.rows(), args.epochs);
    let warm_up = updates / 20;
    let schedule = Schedule::cosine(updates - warm_up, 0.02).warm_up(warm_up);
    let adam = Adam { learning_rate: 2e-3, ..Adam::default() };
    let config = TrainerConfig { schedule, ..config };
    let mut trainer = Trainer::new(args.device.open()?, &network, Loss::MeanSquaredError, adam, config)
        .map_err(|e| options::suggest_smaller("--batch", e))?;
    trainer.fit(data, Fit { epochs: args.epochs, ..Fit::default() }, |event| {
        if let Event::Epoch(epoch) = event {
            let (psnr, seconds) = (-10.0 * epoch.train.loss.log10(), epoch.seconds.unwrap_or(f64::NAN));
            println!("epoch {}/{}: training PSNR {psnr:.2} dB; {seconds:.1} s", epoch.epoch, args.epochs);
        }
    })?;

    let doubled = doubled(trainer.device().clone(), &trainer.model(), &half)?;
    let network_psnr = psnr(&doubled, &held_out)?;
    println!("held-out image: bicubic PSNR {bicubic_psnr:.2} dB, network PSNR {network_psnr:.2} dB");
    println!("difference: {:+.2} dB", network_psnr - bicubic_psnr);
    let losses = trainer.history().epochs.iter().map(|e| (f64::from(e.epoch), -10.0 * e.train.loss.log10())).collect();
    let curves = vec![Curve { label: "training patches".into(), points: losses }];
    plot::curves(&curve, &[Panel { title: "Quality", x_label: "epoch", y_label: "PSNR in dB", log_y: false, curves }])?;
    let bytes = picture::encode_png(&doubled, doubled.width(), doubled.height(), ExtendedColorType::Rgb8)?;
    common::write_file(&png, bytes)?;
    let bicubic = (&bicubic, format!("bicubic: {bicubic_psnr:.2} dB"));
    compare(&sheet, [bicubic, (&doubled, format!("network: {network_psnr:.2} dB")), (&held_out, "original".into())])?;
    println!("images and plot are in {}", args.out.display());
    Ok(())
}

/// The network for images of \[height, width\]. Residual blocks compute the details that bilinear interpolation lacks.
/// They work at the small size; the last channels then become 2x2 pixels, as in ESPCN (Shi et al., 2016).
fn network([height, width]: [u32; 2]) -> Result<Network> {
    let mut graph = Graph::new();
    let picture = graph.input("picture", [height, width, 3]);
    let conv = |activation| Conv::new(CHANNELS, 3).same().activation(activation);
    let mut x = graph.layer(conv(Relu), [picture])?;
    for _ in 0..BLOCKS {
        let inner = graph.layer(conv(Relu), [x])?;
        let inner = graph.layer(conv(Identity), [inner])?;
        x = graph.add([x, inner])?;
    }
    // The details start at 0, so the first output is the bilinear interpolation.
    let details = graph.layer(Conv::new(4 * 3, 3).same().weight_init(Init::Constant(0.0)), [x])?;
    let details = graph.layer(Layer::DepthToSpace(2), [details])?;
    let interpolated = graph.layer(Upsample::bilinear(2), [picture])?;
    let doubled = graph.add([interpolated, details])?;
    Ok(graph.build([("doubled", doubled)])?)
}

/// All images, with even sides. The held-out image is the last one.
fn pictures(args: &Args) -> Result<Vec<RgbImage>> {
    let Some(folder) = &args.pictures else {
        return Ok([2000.0, 4000.0, 6000.0, 8000.0, 0.0]
            .map(|along| landscape::draw_from(along, args.size & !1))
            .into());
    };
    let files = common::picture_folder::picture_files(folder)?;
    if files.len() < 2 {
        let found = files.len();
        return Err(format!("{}: expected at least 2 PNG or JPEG images, found {found}", folder.display()).into());
    }
    files.iter().map(|file| load(file, args.size)).collect()
}

/// Reads an image and crops it to even sides. Returns an error if it is smaller than a patch.
fn load(file: &Path, size: u32) -> Result<RgbImage> {
    let picture = picture::load_at_most(file, size)?;
    let (width, height) = picture.dimensions();
    if width.min(height) < 2 * PATCH {
        let smallest = 2 * PATCH;
        return Err(
            format!("{}: expected sides of at least {smallest} pixels, got {width}x{height}", file.display()).into()
        );
    }
    Ok(imageops::crop_imm(&picture, 0, 0, width & !1, height & !1).to_image())
}

/// An image at half size, by bicubic interpolation.
fn halved(picture: &RgbImage) -> RgbImage {
    imageops::resize(picture, picture.width() / 2, picture.height() / 2, FilterType::CatmullRom)
}

/// The data set: patches at half size, and the full-size patches as targets.
fn patches(pictures: &[RgbImage], args: &Args) -> Result<Dataset> {
    let halves: Vec<RgbImage> = pictures.iter().map(halved).collect();
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for i in 0..args.patches as usize {
        let (half, whole) = (&halves[i % halves.len()], &pictures[i % pictures.len()]);
        // The positions are evenly spread (Roberts' sequence, 2018); the seed shifts them.
        let place = |factor: f64, length: u32| {
            let t = (args.seed as f64 * 0.37 + (i as f64 + 0.5) * factor).fract();
            (t * f64::from(length - PATCH + 1)) as u32
        };
        let (x, y) = (place(0.754_877_666, half.width()), place(0.569_840_291, half.height()));
        inputs.extend_from_slice(&imageops::crop_imm(half, x, y, PATCH, PATCH).to_image());
        let target = imageops::crop_imm(whole, 2 * x, 2 * y, 2 * PATCH, 2 * PATCH).to_image();
        targets.extend(target.iter().map(|&byte| f32::from(byte) / 255.0));
    }
    Ok(Dataset::of_rows(args.patches as usize)
        .input("picture", inputs, [PATCH, PATCH, 3])
        .targets("doubled", targets, [2 * PATCH, 2 * PATCH, 3])
        .build()?)
}

/// Doubles a whole image with the trained weights: a convolutional network accepts any image size.
fn doubled(device: Device, model: &Model, half: &RgbImage) -> Result<RgbImage> {
    let (width, height) = half.dimensions();
    let model = Model::new(device, &network([height, width])?, &model.parameters()?)?;
    let numbers: Vec<f32> = half.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let bytes = model.forward(&numbers)?.iter().map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    Ok(RgbImage::from_raw(2 * width, 2 * height, bytes).ok_or("expected three numbers for each pixel")?)
}

fn psnr(picture: &RgbImage, reference: &RgbImage) -> Result<f64> {
    let numbers = |picture: &RgbImage| -> Vec<f32> { picture.iter().map(|&byte| byte.into()).collect() };
    Ok(wgrad::psnr(&numbers(picture), &numbers(reference), 255.0)?)
}

/// Draws the whole images, and an enlarged detail of each.
fn compare(path: &Path, pictures: [(&RgbImage, String); 3]) -> Result<()> {
    const DETAIL: u32 = 64;
    let tile = |picture: RgbImage, caption: String| {
        let (width, height) = picture.dimensions();
        Tile { pixels: picture.into_raw(), width, height, caption, frame: None }
    };
    let detail = |picture: &RgbImage| {
        let (x, y) = ((picture.width().max(DETAIL) - DETAIL) / 2, (picture.height().max(DETAIL) - DETAIL) / 2);
        let detail = imageops::crop_imm(picture, x, y, DETAIL, DETAIL).to_image();
        imageops::resize(&detail, 6 * DETAIL, 6 * DETAIL, FilterType::Nearest)
    };
    let whole = pictures.iter().map(|(picture, caption)| tile((*picture).clone(), caption.clone()));
    let details = pictures.iter().map(|(picture, _)| tile(detail(picture), "detail".into()));
    let tiles: Vec<Tile> = whole.chain(details).collect();
    picture::write_sheet(path, "The held-out image at twice its size", &tiles, 3)
}

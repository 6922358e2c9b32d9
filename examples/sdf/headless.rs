//! Runs without a window: writes images of the shape after 1, 2, 4, 8, ... steps, and the loss curve.

use std::path::Path;

use image::ExtendedColorType;
use wgrad::Gpu;
use wgrad::plan::RowMetrics;

use crate::common::passes::read_buffer;
use crate::common::picture::{self, Tile};
use crate::common::plot::{self, Curve, Panel};
use crate::common::{self, Result, snapshots, write_file};
use crate::{Args, BATCH, FRAME, Frame, Learner, Pass, TRUE_FIELD, buffer};

const EYE: [f32; 3] = [1.7, 1.9, 2.3];

pub fn run(args: &Args) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let [shape_file, sheet, curve_file] = common::checked_outputs(&args.out, ["shape.png", "sheet.svg", "loss.svg"])?;
    let snapshot_steps = snapshots::steps(args.steps);
    common::check_outputs(snapshot_steps.iter().map(|&step| snapshots::path(&args.out, step)))?;
    let mut learner = Learner::new(gpu.clone(), args, Some(args.steps))?;
    let (training, model) = (&learner.training, learner.trainer.model());
    let picture = buffer(&gpu, args.size * args.size);
    let resources = [(0, learner.frame.as_entire_binding()), (3, picture.as_entire_binding())];
    let truth = Pass::new(&gpu, "render", TRUE_FIELD, &resources, None);
    let learned = Pass::new(&gpu, "render", &learner.field()?, &resources, Some(model.parameter_buffer()?));
    let tiles_across = args.size.div_ceil(8);
    // Starts a frame: writes its uniforms and creates its encoder.
    let frame = |number| {
        learner.write(Frame::new(EYE, [args.size; 2], number));
        gpu.device().create_command_encoder(&Default::default())
    };

    let mut encoder = frame(0);
    truth.record(&mut encoder, [tiles_across, tiles_across]);
    let truth: Vec<u32> = read_buffer(&gpu, encoder, &picture)?;

    let (mut frames, mut losses, mut overlap) = (Vec::new(), Vec::new(), 0.0);
    let mut done = 0;
    for next in snapshot_steps {
        let before = done;
        let mut encoder = loop {
            // A frame is one submission: the pass for samples, the training steps, and sometimes the pass that draws.
            let mut encoder = frame(done);
            if done == before {
                training.record_clear_metrics(&mut encoder);
            }
            let steps = FRAME.min(next - done);
            learner.record_samples(&mut encoder);
            training.record_steps(&mut encoder, steps);
            done += steps;
            if done == next {
                break encoder;
            }
            gpu.queue().submit([encoder.finish()]);
        };
        training.record_metrics(&mut encoder);
        learned.record(&mut encoder, [tiles_across, tiles_across]);
        let pixels: Vec<u32> = read_buffer(&gpu, encoder, &picture)?;
        let metrics: RowMetrics = read_buffer(&gpu, frame(done), training.metrics_buffer())?[0];

        let loss = f64::from(metrics.loss) / f64::from(metrics.rows);
        overlap = overlap_of(&pixels, &truth);
        println!("step {done:>5}: loss {loss:.6}, overlap of the outlines {:.1}%", overlap * 100.0);
        let frame = tile(&pixels, args.size, format!("step {done}\nloss {loss:.6}"));
        save(&snapshots::path(&args.out, done), &frame)?;
        losses.push((f64::from(done), loss));
        frames.push(frame);
    }
    snapshots::remove_old(&args.out, args.steps)?;

    let truth = Tile { frame: Some(picture::TARGET), ..tile(&truth, args.size, "true shape".into()) };
    save(&shape_file, &truth)?;
    let tiles: Vec<Tile> = [truth].into_iter().chain(frames).collect();
    picture::write_sheet(&sheet, "The true shape, and the network's shape after each number of steps", &tiles, 5)?;
    let curve = Curve { label: "loss".into(), points: losses };
    let (title, x_label, y_label) = ("Distance to a shape", "step", "mean absolute error since the last image");
    plot::curves(&curve_file, &[Panel { title, x_label, y_label, log_y: true, curves: vec![curve] }])?;
    println!("final overlap of the outlines {:.1}%", overlap * 100.0);
    println!("mean of | |gradient| - 1 | over {} new samples: {:.4}", BATCH * FRAME, slope_error(&gpu, &mut learner)?);
    println!("see sheet.svg, loss.svg, shape.png and step_*.png in {}", args.out.display());
    Ok(())
}

/// The mean of | |gradient| − 1 | over new samples.
fn slope_error(gpu: &Gpu, learner: &mut Learner) -> Result<f64> {
    learner.write(Frame::new(EYE, [1; 2], u32::MAX));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    learner.record_samples(&mut encoder);
    let (chain, gradient) = learner.gradient()?;
    chain.record_forward(&mut encoder);
    let gradient: Vec<f32> = read_buffer(gpu, encoder, &gradient)?;
    let length = |g: &[f32]| g.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let errors = gradient.chunks(3).map(|g| (length(g) - 1.0).abs());
    Ok(errors.sum::<f64>() / f64::from(BATCH * FRAME))
}

/// The number of pixels that both images hit, divided by the number that at least one hits.
fn overlap_of(a: &[u32], b: &[u32]) -> f64 {
    let hits =
        |both: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| both(**a >> 24 > 0, **b >> 24 > 0)).count();
    hits(|a, b| a && b) as f64 / hits(|a, b| a || b).max(1) as f64
}

fn tile(pixels: &[u32], size: u32, caption: String) -> Tile {
    let pixels = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()[..3].to_vec()).collect();
    Tile { pixels, width: size, height: size, caption, frame: None }
}

fn save(path: &Path, tile: &Tile) -> Result<()> {
    write_file(path, picture::encode_png(&tile.pixels, tile.width, tile.height, ExtendedColorType::Rgb8)?)
}

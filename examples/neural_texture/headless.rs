//! Runs without a window: trains, writes and reads the files, and compares them with JPEG and BC.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use bytemuck::Zeroable;
use image::{ExtendedColorType, RgbImage};
use wgrad::plan::RowMetrics;
use wgrad::{Gpu, wgpu};

use crate::Args;
use crate::baselines::{BC1, BC1_AND_BC5, Coded, Jpegs, blocks};
use crate::common::passes::read_buffer;
use crate::common::plot::{self, Curve, Panel};
use crate::common::{self, Result, picture};
use crate::file::Compressed;
use crate::learner::{self, BATCHES, Learner, Packing, Textures};
use crate::material::{CHANNELS, Material};
use crate::pyramid::Pyramid;
use crate::viewer::{View, Viewer};

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

pub fn run(args: &Args) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let names = ["material.safetensors", "crops.png", "plane.png", "results.csv", "curves.svg"];
    let [file, crops, plane, table, curves] = common::checked_outputs(&args.out, names)?;
    let material = Material::draw(args.size);
    let textures = Textures::new(&gpu, &material);
    let start = Instant::now();
    compress(&gpu, args, &textures)?.write(&file)?;
    println!("training took {:.1} s", start.elapsed().as_secs_f64());

    // From here on, all figures and images are of the file.
    let (neural, viewer) = open(&gpu, &textures, &file)?;
    let jpegs = Jpegs::encode(&material)?;
    let jpeg = jpegs.within(neural.bytes);
    let (bc1, bc5) = (blocks(&material, BC1), blocks(&material, BC1_AND_BC5));
    let name = format!("latents of {} bits", args.bits);
    let rows = [(&name[..], &neural), ("JPEG, same bytes", &jpeg), ("BC1", &bc1), ("BC1 and BC5", &bc5)];
    let mut csv = String::from("form,bytes,bits per texel,level 0,level 1,level 2,level 3,albedo,normal,surface\n");
    println!(
        "{:<18} {:>9} {:>10}  PSNR in dB of the levels 0 to 3, and of level 0's albedo, normal, surface",
        "", "bytes", "bits/texel"
    );
    for (name, coded) in rows {
        let levels = (0..4).map(|level| material.psnr(&coded.material.mips[level], level));
        let groups = [0..3, 3..6, 6..9].map(|channels| material.psnr_of(&coded.material.mips[0], 0, channels));
        let psnr: Vec<String> = levels.chain(groups).map(|psnr| format!("{psnr:.2}")).collect();
        let bits = bits_per_texel(&material, coded);
        println!("{name:<18} {:>9} {bits:>10.2}  {}", coded.bytes, psnr.join("  "));
        writeln!(csv, "\"{name}\",{},{bits:.3},{}", coded.bytes, psnr.join(","))?;
    }
    common::write_file(&table, csv)?;
    let psnr = |coded: &Coded| material.psnr(&coded.material.mips[0], 0);
    println!("PSNR {:.2} dB, {:.2} dB more than JPEG", psnr(&neural), psnr(&neural) - psnr(&jpeg));

    draw_curves(&curves, &material, &jpegs, &neural, &[&bc1, &bc5])?;
    draw_crops(&crops, &[&material, &neural.material, &jpeg.material, &bc1.material])?;
    draw_plane(&plane, &gpu, &viewer)?;
    println!("see crops.png, plane.png, curves.svg, results.csv and material.safetensors in {}", args.out.display());
    Ok(())
}

fn bits_per_texel(material: &Material, coded: &Coded) -> f64 {
    coded.bytes as f64 * 8.0 / f64::from(material.size * material.size)
}

/// Reads a file and decodes all mip levels, with a pass of the app's shader.
fn open(gpu: &Gpu, textures: &Textures, path: &Path) -> Result<(Coded, Viewer)> {
    let compressed = Compressed::read(path)?;
    let (latents, decoder) = compressed.upload(gpu)?;
    let size = compressed.pyramid.size;
    let viewer = Viewer::new(gpu, &compressed.pyramid, textures, &latents, &decoder, FORMAT)?;
    let mips = (0..=size.ilog2() as usize).map(|level| decode(gpu, &viewer, size, level));
    let material = Material { size, mips: mips.collect::<Result<_>>()? };
    Ok((Coded { bytes: std::fs::metadata(path)?.len() as usize, material }, viewer))
}

/// Trains, prints the loss after 64, 128, 256, ... steps, and packs the latents.
fn compress(gpu: &Gpu, args: &Args, textures: &Textures) -> Result<Compressed> {
    let pyramid = Pyramid::new(args.size, args.bits)?;
    let mut learner = Learner::new(gpu, &pyramid, textures, args.seed, Some(args.steps))?;
    let (mut done, steps) = (0, args.steps);
    while done < steps {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        learner.training.record_clear_metrics(&mut encoder);
        let now = BATCHES.min(steps - done);
        // The first half trains exact latents, the second half rounded ones.
        learner.record_samples(gpu, &mut encoder, done >= steps / 2);
        for _ in 0..now {
            learner.training.record_steps(&mut encoder, 1);
            learner.record_rounding(&mut encoder);
        }
        learner.training.record_metrics(&mut encoder);
        let RowMetrics { loss, rows, .. } = read_buffer(gpu, encoder, learner.training.metrics_buffer())?[0];
        let loss = f64::from(loss) / f64::from(rows);
        if !loss.is_finite() {
            return Err("the loss is no longer finite".into());
        }
        done += now;
        if done == steps || (done >= 64 && done.is_power_of_two()) {
            println!("step {done}: loss {loss:.6}, PSNR {:.2} dB", -10.0 * loss.log10());
        }
    }
    let packing = Packing::new(gpu, &pyramid, &learner.trainer.model())?;
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    packing.record(&mut encoder);
    let mut latents: Vec<u8> = read_buffer(gpu, encoder, &packing.latents)?;
    latents.truncate(pyramid.words() as usize * 4);
    Ok(Compressed { pyramid, latents, decoder: packing.decoder.parameters()? })
}

/// The texels of a mip level.
fn decode(gpu: &Gpu, viewer: &Viewer, size: u32, level: usize) -> Result<Vec<[u8; CHANNELS]>> {
    let count = (size >> level).pow(2);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    viewer.record_decode(&mut encoder, &View { lod: level as f32, ..View::zeroed() }, count);
    let bytes: Vec<u8> = read_buffer(gpu, encoder, &viewer.texels)?;
    let texels = bytes.chunks_exact(12).take(count as usize);
    Ok(texels.map(|t| [t[0], t[1], t[2], t[4], t[5], t[6], t[8], t[9], t[10]]).collect())
}

fn draw_curves(path: &Path, material: &Material, jpegs: &Jpegs, neural: &Coded, blocks: &[&Coded]) -> Result<()> {
    let texels = f64::from(material.size).powi(2);
    let point = |coded: &Coded| (bits_per_texel(material, coded), material.psnr(&coded.material.mips[0], 0));
    let budgets = (3..=30).map(|half| jpegs.within((f64::from(half) / 2.0 * texels / 8.0) as usize));
    let curve = |label: &str, points| Curve { label: label.into(), points };
    let curves = vec![
        curve("latents and a network", vec![point(neural)]),
        curve("JPEG", budgets.map(|coded| point(&coded)).collect()),
        curve("BC1; BC1 and BC5", blocks.iter().map(|coded| point(coded)).collect()),
    ];
    let (title, x_label, y_label) = ("Nine channels of a material", "bits per texel", "PSNR of level 0 in dB");
    plot::curves(path, &[Panel { title, x_label, y_label, log_y: false, curves }])
}

/// Draws a part of the materials, each texel as 2x2 pixels. A row is a material: albedo, normal, surface.
fn draw_crops(path: &Path, materials: &[&Material]) -> Result<()> {
    let side = materials[0].size;
    let part = side.min(192);
    let picture = RgbImage::from_fn(part * 6, part * 2 * materials.len() as u32, |x, y| {
        let (group, row) = ((x / (part * 2)) as usize, (y / (part * 2)) as usize);
        let at = (y % (part * 2) / 2 * side + x % (part * 2) / 2) as usize;
        let texel = &materials[row].mips[0][at];
        image::Rgb([texel[group * 3], texel[group * 3 + 1], texel[group * 3 + 2]])
    });
    let png = picture::encode_png(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)?;
    common::write_file(path, png)
}

/// Draws the lit plane: above with the original textures, below with the compressed ones. On the left is a near view,
/// on the right a view to the horizon.
fn draw_plane(path: &Path, gpu: &Gpu, viewer: &Viewer) -> Result<()> {
    const SIZE: [u32; 2] = [512, 384];
    let [width, height] = SIZE;
    let target = gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: Some("plane"),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let copied = learner::buffer(gpu, width * height);
    let mut picture = RgbImage::new(width * 2, height * 2);
    let size = SIZE.map(|side| side as f32);
    for (column, (height_shown, tilt)) in [(0.35, 0.0), (1.5, 0.96)].into_iter().enumerate() {
        for (row, split) in [size[0], 0.0].into_iter().enumerate() {
            let view = View { centre: [0.45, 0.4], height: height_shown, tilt, size, split, lod: 0.0 };
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            viewer.record_draw(&mut encoder, &view, &target);
            let layout =
                wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(width * 4), rows_per_image: None };
            let to = wgpu::TexelCopyBufferInfo { buffer: &copied, layout };
            encoder.copy_texture_to_buffer(target.as_image_copy(), to, target.size());
            let pixels: Vec<u8> = read_buffer(gpu, encoder, &copied)?;
            for (i, pixel) in (0..).zip(pixels.chunks_exact(4)) {
                let at = (column as u32 * width + i % width, row as u32 * height + i / width);
                picture.put_pixel(at.0, at.1, image::Rgb([pixel[0], pixel[1], pixel[2]]));
            }
        }
    }
    let png = picture::encode_png(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)?;
    common::write_file(path, png)
}

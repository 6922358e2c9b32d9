//! Tests hostile frames with a convolutional network. They must leave the same bits as a plain training on the same
//! images.

use super::*;
use wgrad::{Conv, Upsample};

const IMAGE: [u32; 3] = [6, 5, 3];
const PIXELS: usize = 90;

fn network() -> Network {
    Network::input(IMAGE)
        .layer(Conv::new(8, 3).same().without_bias())
        .batch_norm()
        .activation(Relu)
        .max_pool(2)
        .layer(Conv::new(4, 3).same().groups(2).activation(Elu(1.0)))
        .layer(Upsample::bilinear(2))
        .layer(Conv::new(2, 2).stride(2))
        .flatten()
        .dropout(0.1)
        .dense(OUTPUTS as u32, Identity)
        .build()
        .unwrap()
}

/// Hostile frames must leave the same bits as a plain training.
#[test]
fn hostile_frames_of_images_train_as_calm_ones() {
    let _alone = alone();
    const FRAMES: u32 = 300;
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let config = TrainerConfig { batch: ROWS, shuffle: false, ..TrainerConfig::default() };
    let sgd = Sgd { learning_rate: 0.01, ..Sgd::default() };
    let make = || Trainer::new(&gpu, &network(), Loss::MeanSquaredError, sgd, config.clone()).unwrap();
    let mut trainer = make();

    let buffer = |words: usize| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let size = words as u64 * 4;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let rows = ROWS as usize;
    let (x, t, y) = (buffer(rows * PIXELS), buffer(rows * OUTPUTS), buffer(rows * OUTPUTS));
    let (log, frame) = (buffer(rows * OUTPUTS * FRAMES as usize), buffer(1));
    let before = Pass::new(&device, BEFORE, &[&x, &t, &frame]);
    let after = Pass::new(&device, AFTER, &[&y, &log, &frame]);
    let training = trainer.prepare_buffers(&x, &t, ROWS).unwrap();
    let forward = trainer.model().prepare_forward(&x, &y, ROWS).unwrap();
    let groups = ROWS * PIXELS as u32 / 64 + 1;

    run_frames((&device, &queue), FRAMES, [&before, &after], groups, &training, &forward);
    assert_eq!(gpu.traffic(), Traffic::default(), "no submission, no poll and no mapping of wgrad's");

    let mut calm = make();
    let log = read(&device, &queue, &log);
    for (n, outputs) in (0..FRAMES).zip(log.chunks(rows * OUTPUTS)) {
        let numbers = |of_row: usize, first: u32| (0..(rows * of_row) as u32).map(|i| number(i + first, n)).collect();
        let (pixels, targets): (Vec<f32>, Vec<f32>) = (numbers(PIXELS, 0), numbers(OUTPUTS, 1000));
        let data = Dataset::from_f32_targets(pixels.clone(), PIXELS, targets, OUTPUTS as u32).unwrap();
        if n % 50 == 49 {
            assert_eq!(outputs, calm.model().forward(&pixels).unwrap(), "frame {n}");
        }
        calm.fit(&data, Fit::default(), |_| {}).unwrap();
    }
    assert_eq!(trainer.model().parameters().unwrap(), calm.model().parameters().unwrap());
}

//! Tests hostile frames with a network of two inputs and two outputs, all in the app's structs.

use super::*;
use wgrad::{Dense, Graph, Losses};

/// The layout of the app's structs, in words. A struct holds an image, an age, a target for each output, the outputs
/// and a word of the app. The first struct begins after three words. Five words follow the last one.
const STRIDE: usize = 15;
const FIRST: usize = 3;
const WORDS: usize = FIRST + ROWS as usize * STRIDE + 5;
const IMAGE: (usize, usize) = (0, 4);
const AGE: (usize, usize) = (4, 2);
const KIND: usize = 3;
const SIZE: usize = 1;
const OF_KIND: (usize, usize) = (6, KIND);
const OF_SIZE: (usize, usize) = (9, SIZE);
const MADE_KIND: (usize, usize) = (10, KIND);
const MADE_SIZE: (usize, usize) = (13, SIZE);

fn network() -> Network {
    let build = || {
        let mut graph = Graph::new();
        let (image, age) = (graph.input("image", [2, 2]), graph.input("age", AGE.1 as u32));
        let pixels = graph.reshape(image, 4)?;
        let pixels = graph.layer(Dense::new(10, Relu), pixels)?;
        let years = graph.layer(Dense::new(6, Relu), age)?;
        let both = graph.concat([pixels, years], -1)?;
        let kind = graph.layer(Dense::new(KIND as u32, Identity), both)?;
        let size = graph.layer(Dense::new(SIZE as u32, Identity), both)?;
        graph.build([("kind", kind), ("size", size)])
    };
    build().unwrap()
}

/// A thousand frames of a network with two inputs and two outputs must have the right outputs.
#[test]
fn a_thousand_hostile_frames_of_a_graph() {
    let _alone = alone();
    const FRAMES: u32 = 1000;
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let config = TrainerConfig { batch: ROWS, shuffle: false, ..TrainerConfig::default() };
    let sgd = Sgd { learning_rate: 0.01, ..Sgd::default() };
    let losses = || {
        let losses = Losses::new().output("kind", Loss::MeanSquaredError);
        losses.weighted("size", Loss::MeanSquaredError, 0.5)
    };
    let make = |on: Device| Trainer::new(on, &network(), losses(), sgd, config.clone()).unwrap();
    let mut trainer = make(Device::from(&gpu));

    let buffer = |words: usize| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let size = words as u64 * 4;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let (structs, picture, frame) = (buffer(WORDS), buffer(1), buffer(1));
    let log = buffer(WORDS * FRAMES as usize);
    let before = Pass::new(&device, BEFORE_ALL, &[&structs, &picture, &frame]);
    let after = Pass::new(&device, AFTER_ALL, &[&structs, &log, &frame]);
    let rows =
        |(word, _): (usize, usize)| Rows::from(structs.slice((FIRST + word) as u64 * 4..)).stride(STRIDE as u64 * 4);
    let inputs = [("age", rows(AGE)), ("image", rows(IMAGE))];
    let training = trainer.prepare_buffers(inputs, [("kind", rows(OF_KIND)), ("size", rows(OF_SIZE))], ROWS).unwrap();
    let outputs = [("size", rows(MADE_SIZE)), ("kind", rows(MADE_KIND))];
    let forward = trainer.model().prepare_forward(inputs, outputs, ROWS).unwrap();

    let grown = run_frames((&device, &queue), FRAMES, [&before, &after], 1, &training, &forward);
    assert_eq!(gpu.traffic(), Traffic::default(), "no submission, no poll and no mapping of wgrad's");

    // The reference: the same frames on the CPU.
    let mut reference = make(Device::Cpu);
    let log = read(&device, &queue, &log);
    let mut worst = 0f32;
    for (n, words) in (0..FRAMES).zip(log.chunks(WORDS)) {
        let written: Vec<f32> = (0..WORDS as u32).map(|i| number(i, n)).collect();
        let rows_of = |words: &[f32], (first, columns): (usize, usize)| -> Vec<f32> {
            let row = |row: usize| words[FIRST + row * STRIDE + first..][..columns].to_vec();
            (0..ROWS as usize).flat_map(row).collect()
        };
        let (image, age) = (rows_of(&written, IMAGE), rows_of(&written, AGE));
        let expected = reference.model().forward_all([("image", &image), ("age", &age)]).unwrap();
        for (made, expected) in [MADE_KIND, MADE_SIZE].into_iter().zip(&expected) {
            for (actual, expected) in rows_of(words, made).iter().zip(expected) {
                let error = (actual - expected).abs();
                worst = worst.max(error);
                // As for the chain, each of two layers sums up to 17 terms of size up to 2. Both devices round, so u
                // doubles to f32::EPSILON. Each of the n steps adds 0.01 times a gradient's error, from two outputs.
                // A gradient sums 12 terms of size up to 2.
                let bound = f32::EPSILON * (2.0 * 2.0 * 17.0 + 0.01 * 2.0 * 2.0 * 12.0 * n as f32);
                assert!(error <= bound, "frame {n}: {actual} is not {expected} by {error} of {bound}");
            }
        }
        // All other words must hold what the app wrote.
        let mut others = words.to_vec();
        for row in 0..ROWS as usize {
            let places = FIRST + row * STRIDE + MADE_KIND.0..FIRST + row * STRIDE + MADE_SIZE.0 + SIZE;
            others[places.clone()].copy_from_slice(&written[places]);
        }
        assert!(others == written, "frame {n}: what lies between the rows was touched");
        let data = Dataset::of_rows(ROWS as usize)
            .input("image", image, [2, 2])
            .input("age", age, AGE.1 as u32)
            .targets("kind", rows_of(&written, OF_KIND), KIND as u32)
            .targets("size", rows_of(&written, OF_SIZE), SIZE as u32)
            .build()
            .unwrap();
        reference.fit(&data, Fit::default(), |_| {}).unwrap();
    }
    println!("{FRAMES} frames, largest error {worst:e}, memory grown by {grown:?} bytes over the last half");
}

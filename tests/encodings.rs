//! Tests encodings: every kernel against its CPU reference, known values, and training that repeats bit for bit.

mod common;

use common::*;
use proptest::prelude::*;
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::plan::*;
use wgrad::{
    Adam, Clip, Dataset, Device, Encoding, Error, Fit, Gpu, GridInterpolation, GridStorage, Group, HashGrid, Loss,
    Model, Naming, Network, Trainer, TrainerConfig,
};

/// Encodings that treat each coordinate separately.
const POINTWISE: [Encoding; 4] = [
    Encoding::Identity { scale: -0.75, offset: 0.3 },
    Encoding::Frequency { frequencies: 12 },
    Encoding::TriangleWave { frequencies: 32 },
    Encoding::OneBlob { bins: 16 },
];

fn network(coordinates: u32, encoding: Encoding) -> Network {
    Network::input(coordinates).dense(coordinates, Identity).encoding(encoding).dense(3, Tanh).build().unwrap()
}

/// The fixed-point sum of a table entry does not overflow its 32 bits. All points of the largest batch are in one cell,
/// with gradients of one sign.
#[test]
fn sums_in_fixed_point_hold_the_largest_batch_on_one_entry() {
    let rows = 1 << 20;
    let grid =
        HashGrid { levels: 1, features_per_level: 1, log2_hashmap_size: 4, base_resolution: 1, ..HashGrid::default() };
    let network = Network::input(1).encoding(grid).dense(1, Identity).build().unwrap();
    let config = TrainerConfig { keep_gradients: true, op_by_op: true, ..batches_of(rows) };
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
    let step: Vec<Op> = plan.step.iter().filter(|op| op.kernel().starts_with("hash_grid_")).cloned().collect();
    let (Op::HashGridScatter(scatter), Op::HashGridGradient(of_table)) = (&step[1], &step[2]) else { panic!("{plan}") };
    let (x, gradient, table_gradient) = (scatter.x, scatter.gradient, of_table.table_gradient);
    let mut lockstep = lockstep(gpu(), without_sharing(Plan { step, report: vec![], ..plan }));
    lockstep.set(x.buffer, &vec![0.0f32; rows as usize]).unwrap();
    // Just below 2, the largest mantissa. The sum is just below 2²¹.
    lockstep.set(gradient.buffer, &vec![1.999_999_9f32; rows as usize]).unwrap();
    assert_agree(&mut lockstep, "one entry");
    let sum = lockstep.get(table_gradient.buffer)[table_gradient.offset as usize];
    assert!((sum - 2_097_151.9).abs() < 1.0, "{sum}");
}

/// A gradient that is not finite makes all gradients of its level NaN. The other level stays finite.
#[test]
fn a_gradient_that_is_not_finite_makes_its_level_nan_and_no_other() {
    let grid = HashGrid { levels: 2, log2_hashmap_size: 8, ..HashGrid::default() };
    let network = Network::input(2).encoding(grid).dense(1, Identity).build().unwrap();
    let config = TrainerConfig { keep_gradients: true, op_by_op: true, ..batches_of(4) };
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
    let step: Vec<Op> = plan.step.iter().filter(|op| op.kernel().starts_with("hash_grid_")).cloned().collect();
    let (Op::HashGridScatter(scatter), Op::HashGridGradient(of_table)) = (&step[1], &step[2]) else { panic!("{plan}") };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (x, gradient, out) = (scatter.x, scatter.gradient, of_table.table_gradient);
        let mut lockstep =
            lockstep(gpu(), without_sharing(Plan { step: step.clone(), report: vec![], ..plan.clone() }));
        lockstep.set(x.buffer, &[0.3f32; 8]).unwrap();
        let mut dy = [0.5f32; 16];
        dy[6] = bad;
        lockstep.set(gradient.buffer, &dy).unwrap();
        for comparison in lockstep.run().unwrap() {
            assert!(comparison.divergence.is_none_or(|d| d.gpu.is_nan() && d.cpu.is_nan()), "{}", comparison.op);
        }
        let gradients = lockstep.get(out.buffer);
        let (first, second) = gradients[out.offset as usize..][..out.len() as usize].split_at(out.len() as usize / 2);
        assert!(first.iter().all(|g| g.is_finite()) && first.iter().any(|g| *g != 0.0));
        assert!(second.iter().all(|g| g.is_nan()));
    }
}

/// The outputs of a network with only this encoding. The CPU and the GPU must agree.
fn encode(encoding: impl Into<Encoding>, coordinates: u32, x: &[f32], parameters: Option<&[f32]>) -> Vec<f32> {
    let network = Network::input(coordinates).encoding(encoding).build().unwrap();
    let initial = network.initial_parameters(1);
    let parameters = parameters.unwrap_or(&initial);
    let [cpu, gpu] =
        [Device::Cpu, gpu().into()].map(|d| Model::new(d, &network, parameters).unwrap().forward(x).unwrap());
    for (a, b) in cpu.iter().zip(&gpu) {
        assert!((a - b).abs() < 1e-5, "{a} on the CPU is {b} on the GPU");
    }
    gpu
}

fn assert_near(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() < 2e-6, "{actual:?} is not {expected:?}");
    }
}

/// Each encoding gives the values of its formula.
#[test]
fn encodings_have_the_values_of_their_formulas() {
    assert_near(&encode(Encoding::Identity { scale: 2.0, offset: -1.0 }, 2, &[0.25, 1.0], None), &[-0.5, 1.0]);
    let half = 0.5f32.sqrt();
    // Sine and cosine of pi/4, pi/2 and pi, then of 3 pi, 6 pi and 12 pi.
    let x = [0.25, 3.0];
    let expected = [half, half, 1.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0];
    assert_near(&encode(Encoding::Frequency { frequencies: 3 }, 2, &x, None), &expected);
    // The first wave has a period of 2 and its peak at 1/2: at 1/8 it has 1/4 of the peak. The next waves have half the
    // peak, the peak and zero.
    assert_near(&encode(Encoding::TriangleWave { frequencies: 4 }, 1, &[0.125], None), &[0.25, 0.5, 1.0, 0.0]);
    assert_near(&encode(Encoding::TriangleWave { frequencies: 2 }, 1, &[0.75], None), &[0.5, -1.0]);
    // The point is in the middle of bin 1 of 4. The kernel's integral from -1/2 to 1/2 is 203/256. The two neighbouring
    // bins share the rest.
    let [in_bin, beside] = [203.0 / 256.0, 53.0 / 512.0];
    assert_near(&encode(Encoding::OneBlob { bins: 4 }, 1, &[0.375], None), &[beside, in_bin, beside, 0.0]);
}

/// Spherical harmonics equal a basis that is orthogonalised numerically, in each degree. Those of the first three
/// degrees have the textbook's coefficients.
#[test]
fn spherical_harmonics_are_orthonormal_polynomials_of_the_direction() {
    let directions = [[0.6f32, 0.0, -0.8], [0.48, -0.64, 0.6], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.36, 0.48, 0.8]];
    let x = directions.concat();
    for degree in 1..=8 {
        let encoding = Encoding::SphericalHarmonics { degree };
        let exact: Vec<f32> = directions
            .iter()
            .flat_map(|d| common::reference::encode(encoding, &d.map(f64::from), &[]))
            .map(|y| y as f32)
            .collect();
        assert_near(&encode(encoding, 3, &x, None), &exact);
    }
    let [x, y, z] = directions[1];
    let [c0, c1, c2, c20] = [0.282_094_8, 0.488_602_5, 1.092_548_4, 0.315_391_57];
    let expected = [
        c0,
        -c1 * y,
        c1 * z,
        -c1 * x,
        c2 * x * y,
        -c2 * y * z,
        c20 * (3.0 * z * z - 1.0),
        -c2 * x * z,
        0.5 * c2 * (x * x - y * y),
    ];
    assert_near(&encode(Encoding::SphericalHarmonics { degree: 3 }, 3, &directions[1], None), &expected);
}

/// A hash grid interpolates between its vertices and clamps points outside the grid.
#[test]
fn a_hash_grid_interpolates_between_vertices() {
    // One level of 2 x 2 cells and 9 vertices. The vertices are numbered along x first and padded to 64.
    let grid =
        HashGrid { levels: 1, features_per_level: 1, log2_hashmap_size: 6, base_resolution: 2, ..HashGrid::default() };
    let mut table = [0.0f32; 64];
    for (v, value) in table[..9].iter_mut().enumerate() {
        *value = [1.0, 10.0, 100.0][v % 3] * [1.0, 2.0, 4.0][v / 3];
    }
    let x = [0.0, 0.0, 0.5, 0.0, 1.0, 1.0, 0.25, 0.0, 0.75, 0.25, -3.0, 7.0];
    assert_near(&encode(grid, 2, &x, Some(&table)), &[1.0, 10.0, 400.0, 5.5, 55.0 * 1.5, 4.0]);
    // A quarter of a cell has the weight 3/16 - 2/64 = 5/32.
    let x = [0.125, 0.0, 0.5, 0.875];
    let smooth = HashGrid { interpolation: GridInterpolation::Smoothstep, ..grid };
    assert_near(&encode(smooth, 2, &x, Some(&table)), &[1.0 + 9.0 * 5.0 / 32.0, 20.0 + 20.0 * 27.0 / 32.0]);
    let nearest = HashGrid { interpolation: GridInterpolation::Nearest, ..grid };
    assert_near(&encode(nearest, 2, &[0.2, 0.3, 0.8, 0.1], Some(&table)), &[2.0, 100.0]);
    // The tile has 2 x 2 vertices, the first four entries. The third vertex of a row is the first one again.
    let tiled = HashGrid { storage: GridStorage::Tiled, ..grid };
    let expected = [table[0], table[1], table[0], table[2], table[3], 0.5 * (table[2] + table[3])];
    let x = [0.0, 0.0, 0.5, 0.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.75, 0.5];
    assert_near(&encode(tiled, 2, &x, Some(&table)), &expected);
}

/// A composite encoding has the features of its encodings side by side. Files and a resumed run keep it.
#[test]
fn a_composite_encoding_equals_its_parts_and_is_kept_by_files() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 7, base_resolution: 4, ..HashGrid::default() };
    let wide = HashGrid { features_per_level: 8, storage: GridStorage::Tiled, ..grid };
    let parts: [(u32, Encoding); 4] = [
        (2, grid.into()),
        (1, Encoding::TriangleWave { frequencies: 3 }),
        (3, Encoding::SphericalHarmonics { degree: 2 }),
        (1, wide.into()),
    ];
    let network = Network::input(7).composite_encoding(parts).build().unwrap();
    let weights = Random(8).f32s(network.parameter_words() as usize);
    let model = Model::new(gpu(), &network, &weights).unwrap();
    let x: Vec<f32> = Random(3).f32s(7 * 21).iter().map(|x| 0.5 + 0.5 * x).collect();
    let expected: Vec<f32> = x
        .chunks(7)
        .flat_map(|row| {
            let (mut row, mut tables) = (row, network.parameters().iter());
            let of_part = |(coordinates, encoding): (u32, Encoding)| {
                let (own, rest) = row.split_at(coordinates as usize);
                row = rest;
                let table = if matches!(encoding, Encoding::HashGrid(_)) { tables.next() } else { None };
                let table: Vec<f64> = table.map_or(vec![], |t| weights[t.range()].iter().map(|&w| w.into()).collect());
                let own: Vec<f64> = own.iter().map(|&x| x.into()).collect();
                common::reference::encode(encoding, &own, &table).into_iter().map(|y| y as f32).collect::<Vec<_>>()
            };
            parts.into_iter().flat_map(of_part).collect::<Vec<_>>()
        })
        .collect();
    assert_near(&model.forward(&x).unwrap(), &expected);
    let summary = network.summary().to_string();
    assert!(
        summary.contains("composite_1 (2 hash_grid, 1 triangle_wave, 3 spherical_harmonics, 1 hash_grid)"),
        "{summary}"
    );
    let read = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    assert_eq!(read.network(), &network);
    assert_eq!(bits(read.parameters().unwrap()), bits(model.parameters().unwrap()));
    for naming in [Naming::Wgrad, Naming::PyTorch, Naming::Keras] {
        let bytes = model.weights_to_bytes(naming).unwrap();
        let read = Model::weights_from_bytes(Device::Cpu, &network, &bytes).unwrap();
        assert_eq!(bits(read.parameters().unwrap()), bits(model.parameters().unwrap()), "{naming:?}");
    }
}

/// A composite encoding trains alike on GPU and CPU, as the first layer and after another layer.
#[test]
fn composite_encodings_train_alike_on_both() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 7, base_resolution: 4, ..HashGrid::default() };
    let identity = Encoding::Identity { scale: 2.0, offset: 0.5 };
    let lists: [&[(u32, Encoding)]; 3] = [
        &[(2, grid.into()), (3, Encoding::SphericalHarmonics { degree: 3 }), (1, identity)],
        &[(6, Encoding::OneBlob { bins: 4 })],
        &[(3, identity), (3, HashGrid { features_per_level: 1, ..grid }.into())],
    ];
    for parts in lists {
        for first in [true, false] {
            let network = Network::input(6);
            let network = if first { network } else { network.dense(6, Tanh) };
            let network = network.composite_encoding(parts.to_vec()).dense(7, Relu).dense(2, Identity).build().unwrap();
            let adam = Adam::default().into();
            let plan = Plan::training(&network, Loss::MeanSquaredError, &adam, &batches_of(37)).unwrap();
            let mut lockstep = lockstep_with_data(gpu(), &network, plan, 90, 5);
            for step in 0..3 {
                assert_agree(&mut lockstep, &format!("step {step}\n{}", network.summary()));
            }
        }
    }
}

/// A small picture to learn: each row has coordinates and a colour.
fn picture(side: usize) -> Dataset {
    let at = |i: usize| [(i % side) as f32 + 0.5, (i / side) as f32 + 0.5].map(|c| c / side as f32);
    let features: Vec<f32> = (0..side * side).flat_map(at).collect();
    let targets = features.chunks(2).flat_map(|p| [(9.0 * p[0]).sin(), (p[0] * p[1] * 20.0).cos(), p[1]]).collect();
    Dataset::from_f32_targets(features, 2, targets, 3).unwrap()
}

fn grid_trainer(device: impl Into<Device>, config: TrainerConfig) -> Trainer {
    let grid = HashGrid { levels: 6, log2_hashmap_size: 9, ..HashGrid::default() }.up_to(64);
    let network = Network::input(2).encoding(grid).dense(16, Relu).dense(3, Identity).build().unwrap();
    let adam = Adam { learning_rate: 0.01, epsilon: 1e-15, ..Adam::default() };
    Trainer::new(device, &network, Loss::MeanSquaredError, adam, config).unwrap()
}

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// Training with the same seed gives the same bits; another seed gives other weights.
#[test]
fn hash_grid_training_learns_and_repeats_bit_for_bit() {
    let data = picture(48);
    let run = |gpu: &Gpu, seed| {
        let mut trainer = grid_trainer(gpu, TrainerConfig { batch: 500, seed, ..TrainerConfig::default() });
        let history = trainer.fit(&data, Fit { epochs: 40, ..Fit::default() }, |_| {}).unwrap();
        (history.epochs.last().unwrap().train.loss, bits(trainer.model().parameters().unwrap()))
    };
    for gpu in gpus() {
        let (loss, weights) = run(gpu, 3);
        assert!(loss < 2e-3, "{loss}");
        for _ in 0..3 {
            assert_eq!(run(gpu, 3), (loss, weights.clone()));
        }
        assert_ne!(run(gpu, 4).1, weights);
    }
}

/// GPU and CPU agree with clipping, accumulation and parameter groups. A frozen table has no gradient op.
#[test]
fn hash_grids_train_alike_with_every_way_to_treat_gradients() {
    let config = |clip, accumulate, groups| TrainerConfig { batch: 50, clip, accumulate, groups, ..Default::default() };
    let slow = vec![Group::layer("hash_grid_1").rate(0.1).without_decay()];
    let frozen = vec![Group::layer("hash_grid_1").frozen()];
    for config in
        [config(Some(Clip::Norm(0.1)), 1, vec![]), config(Some(Clip::Value(0.01)), 3, slow), config(None, 2, frozen)]
    {
        let network = grid_trainer(Device::Cpu, config.clone()).network().clone();
        let adam = Adam { weight_decay: 0.01, ..Adam::default() }.into();
        let plan = Plan::training(&network, Loss::MeanSquaredError, &adam, &config).unwrap();
        let trained = config.groups.iter().all(|group| *group != Group::layer("hash_grid_1").frozen());
        assert_eq!(plan.step.iter().any(|op| op.kernel() == "hash_grid_scatter"), trained);
        let kind = TargetKind { values: true, weighted: true };
        let mut lockstep = lockstep_with_targets(gpu(), &network, plan, 120, 7, kind);
        for step in 0..4 {
            assert_agree(&mut lockstep, &format!("step {step}, {config:?}"));
        }
    }
}

/// Files keep encodings and their weights. A resumed run ends with the same bits.
#[test]
fn files_keep_hash_grids_and_training_resumes_to_the_same_bits() {
    let data = picture(24);
    let config = TrainerConfig { batch: 100, seed: 9, ..TrainerConfig::default() };
    let fit = |trainer: &mut Trainer, epochs| trainer.fit(&data, Fit { epochs, ..Fit::default() }, |_| {}).unwrap();
    let mut whole = grid_trainer(gpu(), config.clone());
    fit(&mut whole, 4);
    let mut first = grid_trainer(gpu(), config);
    fit(&mut first, 2);
    let mut second = Trainer::resume_from_bytes(gpu(), &first.to_bytes().unwrap()).unwrap();
    fit(&mut second, 2);
    assert_eq!(bits(second.model().parameters().unwrap()), bits(whole.model().parameters().unwrap()));

    let model = whole.model();
    let read = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    assert_eq!(read.network(), model.network());
    assert_eq!(bits(read.parameters().unwrap()), bits(model.parameters().unwrap()));
    for naming in [Naming::Wgrad, Naming::PyTorch, Naming::Keras] {
        let bytes = model.weights_to_bytes(naming).unwrap();
        let read = Model::weights_from_bytes(Device::Cpu, model.network(), &bytes).unwrap();
        assert_eq!(bits(read.parameters().unwrap()), bits(model.parameters().unwrap()), "{naming:?}");
    }
    for encoding in POINTWISE {
        let model =
            Model::new(Device::Cpu, &network(2, encoding), &network(2, encoding).initial_parameters(0)).unwrap();
        let read = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
        assert_eq!(read.network(), model.network());
    }
}

/// A table above the size limit is an error, and nothing is allocated.
#[test]
fn a_table_that_no_device_holds_is_refused_before_allocation() {
    let grid = HashGrid { levels: 32, log2_hashmap_size: 24, per_level_scale: 1.3, ..HashGrid::default() };
    let grid = HashGrid { features_per_level: 4, ..grid };
    let error = Network::input(3).encoding(grid).build().unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
    let shaped = Network::input([2, 2]).encoding(grid).build().unwrap_err().to_string();
    assert!(
        shaped.starts_with("layer hash_grid_1 (from input [2, 2]): expected samples of shape [features]"),
        "{shaped}"
    );
    let summary = Network::input(2).encoding(HashGrid::default()).dense(3, Identity).build().unwrap();
    let summary = summary.summary().to_string();
    assert!(summary.contains("hash_grid_1  ") && summary.contains("[batch, 32]"), "{summary}");
}

const STORAGES: [GridStorage; 3] = [GridStorage::Hash, GridStorage::Dense, GridStorage::Tiled];
const INTERPOLATIONS: [GridInterpolation; 3] =
    [GridInterpolation::Linear, GridInterpolation::Smoothstep, GridInterpolation::Nearest];

fn encoding() -> impl Strategy<Value = Encoding> {
    let grid = (1u32..7, 0u32..4, 2u32..9, 1u32..20, 1.0f32..2.5, 0usize..9);
    prop_oneof![
        1 => (-2.0f32..2.0, -1.0f32..1.0).prop_map(|(scale, offset)| Encoding::Identity { scale, offset }),
        1 => (1u32..9).prop_map(|frequencies| Encoding::Frequency { frequencies }),
        1 => (1u32..9).prop_map(|frequencies| Encoding::TriangleWave { frequencies }),
        1 => (1u32..20).prop_map(|bins| Encoding::OneBlob { bins }),
        1 => (1u32..9).prop_map(|degree| Encoding::SphericalHarmonics { degree }),
        3 => grid.prop_map(|(levels, features, log2_hashmap_size, base_resolution, per_level_scale, options)| {
            let (storage, interpolation) = (STORAGES[options / 3], INTERPOLATIONS[options % 3]);
            // A dense grid of 4 dimensions has few enough entries.
            let small = storage == GridStorage::Dense;
            let base_resolution = if small { base_resolution % 4 + 1 } else { base_resolution };
            let (levels, per_level_scale) =
                if small { (levels.min(3), per_level_scale.min(1.5)) } else { (levels, per_level_scale) };
            let features_per_level = 1 << features;
            let grid = HashGrid { levels, features_per_level, log2_hashmap_size, storage, ..HashGrid::default() };
            HashGrid { base_resolution, per_level_scale, interpolation, ..grid }.into()
        })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 60, failure_persistence: None, ..Default::default() })]

    /// Networks with random encodings agree on GPU and CPU.
    #[test]
    fn random_encodings_train_alike_on_both(
        inputs in 1u32..5, first in encoding(), before in prop::option::of(1u32..5), second in encoding(), after: bool,
        batch in 1u32..90, rows in 1u32..150, seed in 0u64..1000, plain: bool,
    ) {
        let harmonics = |encoding| matches!(encoding, Encoding::SphericalHarmonics { .. });
        let inputs = if harmonics(if before.is_some() { first } else { second }) { 3 } else { inputs };
        let mut network = Network::input(inputs);
        if let Some(units) = before {
            network = network.encoding(first).dense(if harmonics(second) { 3 } else { units }, Tanh);
        }
        network = network.encoding(second);
        if after {
            network = network.activation(Tanh);
        }
        let network = network.dense(7, Relu).dense(2, Identity).build().unwrap();
        let gpu = if plain { plain_gpu() } else { gpu() };
        // Each fused kernel takes a software adapter a second to compile, so only some networks are fused.
        let config = TrainerConfig { op_by_op: seed % 8 > 0, ..batches_of(batch) };
        let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
        let mut lockstep = lockstep_with_data(gpu, &network, plan, rows, seed);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step} of {rows} rows\n{}", network.summary()));
        }
    }
}

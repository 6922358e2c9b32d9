//! Files in `tests/before/`, written by the version before networks became graphs. This version must load them and
//! continue to the same bytes as that version did.
//!
//! Commit 92599ef wrote the files: its `made_model` and `made_checkpoint` return their bytes. `hashes.txt` holds the
//! results of that commit for these files: hashes of outputs, of weights, and of the files saved at the end. No test
//! rewrites them, because a newer version would only agree with itself. Everything runs on the CPU reference, so that
//! no driver decides the bits.
//!
//! The files and the hashes of weights must never change. A version that stores more in its files changes the hashes of
//! saved files. Then `made_anew_they_are_the_same_files` fails. Such a version may replace those expectations, and only
//! those.

use super::*;

const MODEL: &str = "model.safetensors";

/// Features from a formula: whole numbers, and divisions that IEEE 754 rounds in the same way everywhere.
fn rows(first: usize, count: usize, features: usize) -> Vec<f32> {
    let feature = |row: usize, column: usize| ((row * (2 * column + 3) + 5 * column) % 29) as f32 / 14.0 - 1.0;
    (first..first + count).flat_map(|row| (0..features).map(move |column| feature(row, column))).collect()
}

/// The label of a row is the number of positive values among its first `classes - 1` features.
fn labelled(first: usize, count: usize, features: usize, classes: u32) -> Dataset {
    let values = rows(first, count, features);
    let label = |row: &[f32]| row[..classes as usize - 1].iter().filter(|&&x| x > 0.0).count() as u32;
    let labels = values.chunks(features).map(label).collect();
    Dataset::from_f32(values, features, labels, classes).unwrap()
}

// A model ------------------------------------------------------------------------------------------------------------

fn classifier() -> Network {
    Network::input([4, 3])
        .flatten()
        .dense(16, Relu)
        .dropout(0.25)
        .layer_norm()
        .layer(Dense::new(12, GeluErf).without_bias())
        .dropout(0.1)
        .dense(4, Softmax)
        .build()
        .unwrap()
}

fn made_model() -> Vec<u8> {
    let config = TrainerConfig { batch: 8, seed: 11, ..TrainerConfig::default() };
    let loss = Loss::SoftmaxCrossEntropy;
    let mut trainer = Trainer::new(Device::Cpu, &classifier(), loss, Adam::default(), config).unwrap();
    trainer.fit(labelled(0, 60, 12, 4), Fit { epochs: 3, ..Fit::default() }, |_| ()).unwrap();
    trainer.model().to_bytes().unwrap()
}

/// A model of that version gives the same outputs, and continues training to the same weights.
#[test]
fn a_model_gives_the_same_outputs_and_trains_on_to_the_same_weights() {
    let file = stored(MODEL);
    let model = Model::from_bytes(Device::Cpu, &file).unwrap();
    assert_eq!(model.network(), &classifier());
    assert!(model.to_bytes().unwrap() == file, "what was read is written again");
    let features = rows(100, 20, 12);
    let mut found = vec![
        ("outputs", fnv1a(&f32s(&model.forward(&features).unwrap()))),
        ("probabilities", fnv1a(&f32s(&model.predict_proba(&features).unwrap()))),
    ];

    let config = TrainerConfig { batch: 16, seed: 12, ..TrainerConfig::default() };
    let (loss, start) = (Loss::SoftmaxCrossEntropy, model.parameters().unwrap());
    let adam = AdamW::default();
    let mut trainer = Trainer::from_parameters(Device::Cpu, model.network(), loss, adam, config, &start).unwrap();
    trainer.fit(labelled(60, 50, 12, 4), Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
    let trained = trainer.model();
    found.push(("weights", fnv1a(&f32s(&trained.parameters().unwrap()))));
    found.push(("saved file", fnv1a(&trained.to_bytes().unwrap())));
    assert_hashes(MODEL, &found);
}

// Checkpoints --------------------------------------------------------------------------------------------------------

/// A training run, and the step of its second epoch at which the checkpoint was taken.
struct Run {
    file: &'static str,
    new: fn() -> Trainer,
    /// Rows for training, and rows for validation.
    data: fn() -> [Dataset; 2],
    early_stopping: Option<EarlyStopping>,
    /// Steps of the second epoch before the checkpoint.
    step: u32,
}

/// Covers weights of the best epoch, rates and decay by layers, a rate that rises and then falls, and a last batch of 4
/// rows.
const DROPOUT: Run = Run {
    file: "dropout.safetensors",
    new: || {
        let network = Network::input(6)
            .dropout(0.1)
            .dense(16, LeakyRelu(0.1))
            .dropout(0.3)
            .dense(16, Relu)
            .dense(3, Identity)
            .build()
            .unwrap();
        let config = TrainerConfig {
            batch: 16,
            seed: 5,
            schedule: Schedule::cosine(24, 0.1).warm_up(4),
            groups: vec![
                Group::layer("dense_2").rate(0.5),
                Group::layer("dense_4").frozen(),
                Group::layer("dense_5").without_decay(),
            ],
            ..TrainerConfig::default()
        };
        let adam = Adam { learning_rate: 0.02, weight_decay: 0.01, ..Adam::default() };
        Trainer::new(Device::Cpu, &network, Loss::SoftmaxCrossEntropy, adam, config).unwrap()
    },
    data: || [labelled(0, 100, 6, 3), labelled(100, 40, 6, 3)],
    early_stopping: Some(EarlyStopping { monitor: Monitor::Loss, patience: 5, min_delta: 0.0, restore_best: true }),
    step: 3,
};

/// Covers a partial update: an update has two batches, and the last batch has 2 rows.
const HASH_GRID: Run = Run {
    file: "hash_grid.safetensors",
    new: || {
        // One level has an entry for each vertex. In the other two levels, vertices share entries.
        let grid = HashGrid { levels: 3, log2_hashmap_size: 7, base_resolution: 6, ..HashGrid::default() };
        let network = Network::input(2).encoding(grid).layer_norm().dense(16, Relu).dense(2, Sigmoid).build().unwrap();
        let config = TrainerConfig {
            batch: 12,
            seed: 6,
            accumulate: 2,
            clip: Some(Clip::Norm(0.05)),
            ..TrainerConfig::default()
        };
        let sgd = Sgd { learning_rate: 0.5, momentum: 0.9, ..Sgd::default() };
        Trainer::new(Device::Cpu, &network, Loss::MeanSquaredError, sgd, config).unwrap()
    },
    data: || {
        [(0, 86), (86, 20)].map(|(first, count)| {
            let point = |row: usize| [(row * 37 % 101) as f32 / 100.0, (row * 61 % 103) as f32 / 102.0];
            let points: Vec<_> = (first..first + count).map(point).collect();
            let targets = points.iter().flat_map(|[x, y]| [x * y, (x - y) * (x - y)]).collect();
            Dataset::from_f32_targets(points.concat(), 2, targets, 2).unwrap()
        })
    },
    early_stopping: None,
    step: 3,
};

/// The checkpoint that a run of two epochs writes in its second epoch.
fn made_checkpoint(run: &Run) -> Vec<u8> {
    let path = folder("before").join(run.file);
    let [train, validation] = (run.data)();
    let fit = Fit {
        epochs: 2,
        validation: Some(&validation),
        early_stopping: run.early_stopping,
        checkpoint: Some(Checkpoint { path: &path, every: Some(run.step) }),
        ..Fit::default()
    };
    let mut file = None;
    let look = |event| {
        // The report of a step comes before the step's file, so the next report finds the file.
        if let Event::Steps { epoch: 2, done, .. } = event
            && done > run.step
        {
            file.get_or_insert_with(|| std::fs::read(&path).unwrap());
        }
    };
    (run.new)().fit(&train, fit, look).unwrap();
    file.expect("a report after the step")
}

/// Continues to the end of the epoch and for two more epochs, then compares the bytes.
fn goes_on_to_the_same_bytes(run: &Run) {
    let file = stored(run.file);
    let mut trainer = Trainer::resume_from_bytes(Device::Cpu, &file).unwrap();
    assert!(trainer.to_bytes().unwrap() == file, "what was read is written again");
    let [train, validation] = (run.data)();
    let fit = Fit {
        epochs: 3,
        validation: Some(&validation),
        early_stopping: run.early_stopping,
        every: Some(1),
        ..Fit::default()
    };
    let mut next = None;
    let note = |event| {
        if let Event::Steps { epoch, done, .. } = event {
            next.get_or_insert((epoch, done));
        }
    };
    trainer.fit(&train, fit, note).unwrap();
    assert_eq!(next, Some((2, run.step + 1)), "it goes on within the epoch");
    assert_eq!(trainer.epochs(), 4);
    let losses: Vec<f64> = trainer.history().epochs.iter().map(|epoch| epoch.train.loss).collect();
    assert!(losses[3] < losses[0], "it learns: {losses:?}");
    let weights = trainer.model().parameters().unwrap();
    let saved = without_seconds(trainer.to_bytes().unwrap());
    assert_hashes(run.file, &[("weights", fnv1a(&f32s(&weights))), ("saved file", fnv1a(&saved))]);
}

/// A run with dropout continues to the same bytes.
#[test]
fn a_run_with_dropout_goes_on_to_the_same_bytes() {
    goes_on_to_the_same_bytes(&DROPOUT);
}

/// A run with a hash grid continues to the same bytes.
#[test]
fn a_run_with_a_hash_grid_goes_on_to_the_same_bytes() {
    goes_on_to_the_same_bytes(&HASH_GRID);
}

/// The current code writes the same files as that version did.
#[test]
fn made_anew_they_are_the_same_files() {
    assert!(made_model() == stored(MODEL), "{MODEL}");
    for run in [DROPOUT, HASH_GRID] {
        assert!(without_seconds(made_checkpoint(&run)) == without_seconds(stored(run.file)), "{}", run.file);
    }
}

// Bytes --------------------------------------------------------------------------------------------------------------

fn stored(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/before/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A checkpoint with 0 for the seconds of its epochs. All other bytes are a function of the run.
fn without_seconds(mut file: Vec<u8>) -> Vec<u8> {
    // Bytes per epoch in the history. Steps and rate take 4 bytes each, then the seconds take 8.
    const EPOCH: usize = 36;
    let history = {
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let history = tensors.tensor("trainer.history").unwrap().data();
        let start = history.as_ptr() as usize - file.as_ptr() as usize;
        start..start + history.len()
    };
    assert!(!history.is_empty() && history.len().is_multiple_of(EPOCH), "{} bytes of history", history.len());
    file[history].chunks_exact_mut(EPOCH).for_each(|epoch| epoch[8..16].fill(0));
    file
}

/// The hash function that `tests/golden.rs` uses for weights.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Compares hashes with the lines of `hashes.txt` for this file.
fn assert_hashes(file: &str, found: &[(&str, u64)]) {
    let found: Vec<String> = found.iter().map(|(what, hash)| format!("{file} {what}: {hash:016x}")).collect();
    let all = String::from_utf8(stored("hashes.txt")).unwrap();
    let expected: Vec<&str> = all.lines().filter(|line| line.starts_with(&format!("{file} "))).collect();
    assert_eq!(found, expected, "left: now; right: hashes.txt");
}

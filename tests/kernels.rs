//! Every kernel against its CPU twin: awkward sizes, random data, outputs poisoned with NaN first (by `Lockstep`), both
//! products. The bounds are derived in `src/lockstep/bounds.rs`.

mod common;

use common::*;
use wgrad::plan::*;
use wgrad::{Activation, Adam, Gpu, Sgd};

fn tensor(buffer: usize, len: u32) -> Tensor {
    Tensor { buffer: BufferId(buffer), offset: 0, len }
}

/// A product over all of k, or over several slices of it one after the other.
fn check_matmul(gpu: &Gpu, [m, n, k]: [u32; 3], layout: Layout, epilogue: u32, bias_gradient: bool, slices: u32) {
    let activation =
        [Activation::Identity, Activation::Relu, Activation::Sigmoid, Activation::Tanh][((m + n) % 4) as usize];
    let extra_len = if epilogue == 2 { m * n } else { n };
    let plan_epilogue = match epilogue {
        0 => Epilogue::None,
        1 => Epilogue::Bias { bias: tensor(2, n), activation },
        _ => Epilogue::Derivative { output: tensor(2, m * n), activation },
    };
    let buffers = [
        ("a", m * k, Role::Activation),
        ("b", k * n, Role::Activation),
        ("extra", extra_len, Role::Activation),
        ("c", m * n, Role::Activation),
        ("sums", n, Role::Activation),
    ];
    let step = k.div_ceil(slices).next_multiple_of(4);
    let ops = (0..k).step_by(step as usize).map(|start| {
        let slice = start..k.min(start + step);
        let epilogue = if slice.end == k { plan_epilogue.clone() } else { Epilogue::None };
        let bias_gradient = bias_gradient.then(|| tensor(4, n));
        let (a, b, c) = (tensor(0, m * k), tensor(1, k * n), tensor(3, m * n));
        Op::Matmul(Matmul { a, b, c, m, n, k, slice, layout, epilogue, bias_gradient })
    });
    let ops: Vec<Op> = ops.collect();
    let mut plan = single(&buffers, ops[0].clone());
    plan.step = ops;
    let mut random = Random(u64::from(m * 31 + n * 17 + k));
    let mut lockstep = lockstep(gpu, plan);
    // Long sums are of 1, 2 and 3: no sum is ever rounded, so that not one term may be missing.
    let long = k > 10_000;
    let number = |x: f32| if long { (x.abs() * 2.99).floor() + 1.0 } else { x };
    let mut numbers = |len: u32| random.f32s(len as usize).into_iter().map(number).collect::<Vec<_>>();
    lockstep.set(BufferId(0), &numbers(m * k)).unwrap();
    lockstep.set(BufferId(1), &numbers(k * n)).unwrap();
    lockstep.set(BufferId(2), &numbers(extra_len)).unwrap();
    let what = format!("{:?} {m}x{n}x{k} {layout:?} epilogue {epilogue}", gpu.adapter_info().name);
    for comparison in lockstep.run().unwrap() {
        assert_eq!(comparison.divergence, None, "{what}: {} (worst {})", comparison.op, comparison.worst);
        assert!(!long || comparison.worst == 0.0, "{what}: exact sums differ: {}", comparison.worst);
    }
}

const LAYOUTS: [Layout; 3] = [Layout::Nn, Layout::Nt, Layout::Tn];

#[test]
fn matmul_at_awkward_sizes() {
    let sizes = [1, 3, 4, 63, 64, 65, 257];
    for gpu in gpus() {
        for (i, &m) in sizes.iter().enumerate() {
            for (j, &n) in sizes.iter().enumerate() {
                let k = sizes[(i + j) % sizes.len()];
                check_matmul(gpu, [m, n, k], LAYOUTS[(i + 2 * j) % 3], (i + j) as u32 % 3, (i * j) % 2 == 0, 1);
            }
        }
    }
}

#[test]
fn matmul_in_every_layout_with_every_epilogue() {
    for gpu in gpus() {
        for layout in LAYOUTS {
            for epilogue in 0..3 {
                // The four activations, by (m + n) % 4; aligned to vectors and not; small tiles and large ones.
                for (m, n) in [(36, 44), (37, 44), (38, 44), (39, 44), (33, 10)] {
                    check_matmul(gpu, [m, n, 18], layout, epilogue, true, 1);
                }
                check_matmul(gpu, [128, 96, 68], layout, epilogue, true, 1);
            }
            check_matmul(gpu, [1757, 33, 1], layout, 1, false, 1);
            check_matmul(gpu, [5, 1757, 257], layout, 2, true, 1);
            check_matmul(gpu, [130, 70, 1757], layout, 0, true, 1);
        }
    }
}

#[test]
fn matmul_in_slices_of_k() {
    for gpu in gpus() {
        for layout in LAYOUTS {
            check_matmul(gpu, [33, 35, 130], layout, 1, true, 3);
            check_matmul(gpu, [65, 64, 257], layout, 2, true, 2);
        }
    }
}

/// The longest slice a plan may ask for, and a sum that takes several: lavapipe would silently stop looping.
#[test]
fn matmul_near_the_iteration_limit() {
    for gpu in gpus() {
        for layout in LAYOUTS {
            check_matmul(gpu, [2, 5, LONGEST_SLICE], layout, 0, true, 1);
        }
        check_matmul(gpu, [3, 4, 2 * LONGEST_SLICE + 12], Layout::Tn, 0, true, 3);
    }
}

fn step_state(step: u32, rows: u32) -> StepState {
    StepState { step, rows, ..StepState::default() }
}

fn check_gather(gpu: &Gpu, batch: u32, columns: u32, data_rows: u32, present: u32, bytes: bool) {
    let op = Op::Gather(Gather {
        features: tensor(0, 0),
        data: tensor(1, 5),
        step: tensor(2, 4),
        indices: tensor(3, batch),
        x: tensor(4, batch * columns),
        batch,
        columns,
    });
    let row_words = if bytes { columns.div_ceil(4) } else { columns };
    let buffers = [
        ("features", data_rows * row_words, Role::Features),
        ("data", 5, Role::Data),
        ("step", 4, Role::Step),
        ("indices", batch, Role::Indices),
        ("x", batch * columns, Role::Activation),
    ];
    let mut random = Random(u64::from(batch * 7 + columns));
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    let features: Vec<u32> = match bytes {
        true => (0..data_rows * row_words).map(|_| random.word()).collect(),
        false => random.f32s((data_rows * row_words) as usize).into_iter().map(f32::to_bits).collect(),
    };
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    lockstep.set(BufferId(0), &features).unwrap();
    lockstep.set(BufferId(1), &[DataInfo { rows: data_rows, bytes: bytes.into(), ..DataInfo::default() }]).unwrap();
    lockstep.set(BufferId(2), &[step_state(1, present)]).unwrap();
    lockstep.set(BufferId(3), &indices).unwrap();
    assert_agree(&mut lockstep, &format!("gather {batch}x{columns}, {present} present, bytes {bytes}"));
}

#[test]
fn gather_of_bytes_and_of_floats() {
    for (batch, columns, present) in [(1, 1, 1), (3, 5, 3), (63, 4, 17), (65, 257, 64), (128, 784, 128)] {
        for bytes in [false, true] {
            check_gather(gpu(), batch, columns, 70, present, bytes);
        }
    }
}

#[test]
fn a_grid_of_more_than_65535_workgroups() {
    // Five invocations a row, 64 a workgroup: 81,920 workgroups, folded into two dimensions.
    check_gather(gpu(), LARGEST_BATCH, 18, 1000, LARGEST_BATCH - 5, true);
}

fn check_next_batch(batch: u32, rows: u32, shuffle: bool, start: StepState) {
    let op = Op::NextBatch(NextBatch { data: tensor(0, 5), step: tensor(1, 4), indices: tensor(2, batch), batch });
    let buffers = [("data", 5, Role::Data), ("step", 4, Role::Step), ("indices", batch, Role::Indices)];
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    let info = DataInfo { rows, shuffle: shuffle.into(), seed_low: 77, seed_high: 5, bytes: 0 };
    lockstep.set(BufferId(0), &[info]).unwrap();
    lockstep.set(BufferId(1), &[start]).unwrap();
    for _ in 0..3 {
        assert_agree(&mut lockstep, &format!("next_batch {batch} of {rows}"));
    }
}

#[test]
fn next_batch_shuffles_as_the_reference_does() {
    for (batch, rows) in [(1, 1), (2, 3), (32, 60_000), (257, 300), (1757, 1757), (1000, 10)] {
        check_next_batch(batch, rows, true, StepState::default());
        check_next_batch(batch, rows, false, StepState { step: 9, epoch: 4, ..StepState::default() });
    }
}

#[test]
fn next_batch_of_the_largest_batch() {
    check_next_batch(LARGEST_BATCH, LARGEST_BATCH + 3, true, StepState::default());
}

fn check_softmax(gpu: &Gpu, batch: u32, classes: u32, present: u32, gradient: bool, scale: f32) {
    let (data_rows, len) = (50, batch * classes);
    let op = Op::SoftmaxCrossEntropy(SoftmaxCrossEntropy {
        logits: tensor(0, len),
        labels: tensor(1, 0),
        step: tensor(2, 4),
        indices: tensor(3, batch),
        gradient: gradient.then(|| tensor(4, len)),
        metrics: tensor(5, batch * 4),
        batch,
        classes,
    });
    let buffers = [
        ("logits", len, Role::Activation),
        ("labels", data_rows, Role::Labels),
        ("step", 4, Role::Step),
        ("indices", batch, Role::Indices),
        ("gradient", len, Role::ActivationGradient),
        ("metrics", batch * 4, Role::RowMetrics),
    ];
    let mut random = Random(u64::from(batch + classes));
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    let logits: Vec<f32> = random.f32s(len as usize).into_iter().map(|z| z * scale).collect();
    let labels: Vec<u32> = (0..data_rows).map(|_| random.below(classes)).collect();
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    let metrics: Vec<RowMetrics> =
        (0..batch).map(|i| RowMetrics { loss: random.f32(), correct: i, rows: i + 1, non_finite_step: 0 }).collect();
    lockstep.set(BufferId(0), &logits).unwrap();
    lockstep.set(BufferId(1), &labels).unwrap();
    lockstep.set(BufferId(2), &[step_state(3, present)]).unwrap();
    lockstep.set(BufferId(3), &indices).unwrap();
    lockstep.set(BufferId(5), &metrics).unwrap();
    assert_agree(&mut lockstep, &format!("softmax {batch}x{classes}, scale {scale}"));
}

#[test]
fn softmax_cross_entropy_from_small_to_large() {
    for (batch, classes, present) in [(1, 1, 1), (3, 2, 2), (63, 10, 63), (65, 64, 33), (5, 65, 5), (7, 1757, 6)] {
        check_softmax(gpu(), batch, classes, present, true, 5.0);
        check_softmax(gpu(), batch, classes, present, false, 1.0);
    }
    // Equal logits: the first of the largest is the prediction, within a lane's classes and across lanes.
    check_softmax(gpu(), 40, 10, 40, true, 0.0);
    check_softmax(gpu(), 40, 100, 40, true, 0.0);
    // Logits whose exponentials overflow f32 unless the largest is subtracted.
    check_softmax(gpu(), 9, 10, 9, true, 1000.0);
    check_softmax(gpu(), 2, MOST_CLASSES, 2, true, 3.0);
}

#[test]
fn softmax_cross_entropy_flags_what_is_not_finite() {
    // The last one has gone wrong before, in step 7, which stays the first.
    let cases = [(f32::NAN, 0, 0), (f32::INFINITY, 0, 0), (f32::NEG_INFINITY, 1, 0), (0.0, 7, 0), (f32::NAN, 0, 7)];
    for (logit, label, before) in cases {
        let op = SoftmaxCrossEntropy {
            logits: tensor(0, 2),
            labels: tensor(1, 0),
            step: tensor(2, 4),
            indices: tensor(3, 1),
            gradient: None,
            metrics: tensor(4, 4),
            batch: 1,
            classes: 2,
        };
        let buffers = [
            ("logits", 2, Role::Activation),
            ("labels", 1, Role::Labels),
            ("step", 4, Role::Step),
            ("indices", 1, Role::Indices),
            ("metrics", 4, Role::RowMetrics),
        ];
        let mut lockstep = lockstep(gpu(), single(&buffers, Op::SoftmaxCrossEntropy(op)));
        lockstep.set(BufferId(0), &[1.0, logit]).unwrap();
        lockstep.set(BufferId(1), &[label]).unwrap();
        lockstep.set(BufferId(2), &[step_state(42, 1)]).unwrap();
        lockstep.set(BufferId(4), &[RowMetrics { non_finite_step: before, ..RowMetrics::default() }]).unwrap();
        // The loss need not be the same NaN; the step at which it went wrong must be.
        if let Some(divergence) = lockstep.run().unwrap().remove(0).divergence {
            assert_eq!(divergence.index, 0, "logit {logit}, label {label}: {divergence:?}");
        }
        let first = if before == 0 { 42 } else { before };
        assert_eq!(lockstep.get(BufferId(4))[3].to_bits(), first, "logit {logit}, label {label}");
    }
}

#[test]
fn metrics_sum_every_row() {
    for batch in [1, 3, 255, 256, 257, 1757, LARGEST_BATCH] {
        let op = Op::Metrics(Metrics { rows: tensor(0, batch * 4), totals: tensor(1, 4), batch });
        let buffers = [("rows", batch * 4, Role::RowMetrics), ("totals", 4, Role::Totals)];
        let mut random = Random(u64::from(batch));
        let row = |i: u32, random: &mut Random| RowMetrics {
            loss: random.f32().abs(),
            correct: i % 2,
            rows: 1,
            non_finite_step: if i % 3 == 1 { 100 + random.below(1000) } else { 0 },
        };
        let rows: Vec<RowMetrics> = (0..batch).map(|i| row(i, &mut random)).collect();
        let mut lockstep = lockstep(gpu(), single(&buffers, op));
        lockstep.set(BufferId(0), &rows).unwrap();
        assert_agree(&mut lockstep, &format!("metrics of {batch}"));
    }
}

/// Lengths are multiples of 64, as parameter buffers are.
const LENGTHS: [u32; 3] = [64, 320, 1757 * 64];

#[test]
fn sgd_updates() {
    for len in LENGTHS {
        for momentum in [0.0, 0.9] {
            let options = Sgd { learning_rate: 0.1, momentum };
            let (parameters, gradients, velocity) = (tensor(0, len), tensor(1, len), tensor(2, len));
            let op = Op::Sgd(SgdUpdate { parameters, gradients, velocity, options });
            let buffers = [("w", len, Role::Parameters), ("g", len, Role::Gradients), ("v", len, Role::Moment1)];
            let mut random = Random(u64::from(len));
            let mut lockstep = lockstep(gpu(), single(&buffers, op));
            for buffer in 0..3 {
                lockstep.set(BufferId(buffer), &random.f32s(len as usize)).unwrap();
            }
            for _ in 0..3 {
                assert_agree(&mut lockstep, &format!("sgd of {len}, momentum {momentum}"));
            }
        }
    }
}

#[test]
fn adam_updates_at_early_and_late_steps() {
    for len in LENGTHS {
        for (step, beta1) in [(1, 0.9), (2, 0.0), (10, 0.9), (500, 0.9), (1_000_000, 0.9)] {
            let options = Adam { beta1, ..Adam::default() };
            let op = AdamUpdate {
                parameters: tensor(0, len),
                gradients: tensor(1, len),
                moment1: tensor(2, len),
                moment2: tensor(3, len),
                step: tensor(4, 4),
                options,
            };
            let buffers = [
                ("w", len, Role::Parameters),
                ("g", len, Role::Gradients),
                ("m", len, Role::Moment1),
                ("v", len, Role::Moment2),
                ("step", 4, Role::Step),
            ];
            for gpu in gpus() {
                let mut random = Random(u64::from(len + step));
                let mut lockstep = lockstep(gpu, single(&buffers, Op::Adam(op.clone())));
                for buffer in 0..3 {
                    lockstep.set(BufferId(buffer), &random.f32s(len as usize)).unwrap();
                }
                let squares: Vec<f32> = random.f32s(len as usize).into_iter().map(|x| x * x).collect();
                lockstep.set(BufferId(3), &squares).unwrap();
                lockstep.set(BufferId(4), &[step_state(step, 1)]).unwrap();
                assert_agree(&mut lockstep, &format!("adam of {len} at step {step}"));
            }
        }
    }
}

/// Plans from outside may be wrong: then kernels check their own indices, and nothing is read or written elsewhere.
#[test]
fn a_lockstep_of_an_unsound_plan_does_no_harm() {
    for gpu in gpus() {
        let op = Op::Gather(Gather {
            features: tensor(0, 0),
            data: tensor(1, 5),
            step: tensor(2, 4),
            indices: tensor(3, 8),
            x: tensor(4, 32),
            batch: 8,
            columns: 4,
        });
        let buffers = [
            ("features", 4, Role::Features),
            ("data", 5, Role::Data),
            ("step", 4, Role::Step),
            ("indices", 8, Role::Indices),
            ("x", 32, Role::Activation),
        ];
        let mut lockstep = wgrad::lockstep::Lockstep::new(gpu, single(&buffers, op)).unwrap();
        assert!(lockstep.set(BufferId(4), &[0.0; 2]).is_err(), "shorter than its op says");
        lockstep.set(BufferId(1), &[DataInfo { rows: 1, ..DataInfo::default() }]).unwrap();
        lockstep.set(BufferId(2), &[step_state(1, 8)]).unwrap();
        assert!(lockstep.run().unwrap()[0].divergence.is_none(), "row 0 is there");
    }
}

/// A check that cannot fail proves nothing: a wrong operand must be caught, and named.
#[test]
fn the_lockstep_catches_a_wrong_kernel() {
    let op = Op::Sgd(SgdUpdate {
        parameters: tensor(0, 64),
        gradients: tensor(1, 64),
        velocity: tensor(2, 64),
        options: Sgd { learning_rate: 0.1, momentum: 0.9 },
    });
    let buffers = [("w", 64, Role::Parameters), ("g", 64, Role::Gradients), ("v", 64, Role::Moment1)];
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    let mut random = Random(3);
    for buffer in 0..3 {
        lockstep.set(BufferId(buffer), &random.f32s(64)).unwrap();
    }
    // Behind the lockstep's back, one GPU gradient is off by a few units in the last place.
    lockstep.disturb_gpu(BufferId(1), 17, 1e-6);
    let divergence = lockstep.run().unwrap().remove(0).divergence.expect("must be caught");
    assert_eq!((divergence.buffer.as_str(), divergence.index), ("v", 17));
}

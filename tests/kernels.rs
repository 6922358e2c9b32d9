//! Compares every kernel, in both variants, with its CPU twin. The cases are in `cases/`.

mod cases;
mod common;

use std::collections::BTreeSet;
use std::path::Path;

use cases::{CASES, Check};
use common::*;
use wgrad::plan::*;
use wgrad::{Activation, Gpu, Sgd};

/// Lengths of the cursor and of the data set's description, in words.
const STEP: u32 = (size_of::<StepState>() / 4) as u32;
const DATA: u32 = (size_of::<DataInfo>() / 4) as u32;

fn tensor(buffer: usize, shape: impl Into<Shape>) -> Tensor {
    Tensor::new(BufferId(buffer), Dtype::F32, shape)
}

/// The faults that a case finds on a GPU.
fn faults(case: &cases::Case, gpu: &Gpu, falsify: bool) -> Vec<String> {
    let mut check = Check::new(gpu, falsify);
    (case.run)(&mut check).unwrap();
    assert!(check.compared > 0, "{} compares nothing", case.name);
    check.faults
}

/// Every case whose first kernel has this name. A case runs once, although it covers other kernels too.
fn cases_of(kernel: &str) -> Vec<&'static cases::Case> {
    let cases: Vec<_> = CASES.iter().filter(|case| case.kernels[0] == kernel).collect();
    assert!(!cases.is_empty(), "no case of {kernel}");
    cases
}

fn pass(cases: &[&cases::Case], gpus: &[&Gpu]) {
    for gpu in gpus {
        for case in cases {
            let faults = faults(case, gpu, false);
            assert!(faults.is_empty(), "{} on {:?}: {faults:#?}", case.name, gpu.device().features());
        }
    }
}

macro_rules! kernels {
    ($($kernel:ident)+) => {
        $(#[test] fn $kernel() { pass(&cases_of(stringify!($kernel)), &gpus()) })+
        const KERNELS: &[&str] = &[$(stringify!($kernel)),+];
    };
}

kernels! {
    next_batch gather copy_rows matmul pointwise curvature combine scale_shift rearrange pad reduce softmax layer_norm
    encode hash_grid pool resample batch_norm eikonal pointwise_loss softmax_cross_entropy metrics non_finite
    accumulate sum_slices sum_squares update narrow narrow_rows
}

/// Runs the matmul cases with one kernel. `place` is its index in [`PRODUCTS`].
fn pass_products(place: usize) {
    let mut cases = cases_of("matmul");
    // Other convolution kernels have one pipeline for each geometry. `tests/convolutions.rs` tests some of them.
    let slides = PRODUCTS[place].tile == Tile::Sliding;
    cases.retain(|case| case.name.starts_with("convolutions") == slides);
    if PRODUCTS[place].tile == Tile::Square64 || matches!(PRODUCTS[place].k, K::Slices(_)) {
        // A software adapter takes long to compile each variant of these kernels. The cases kept here cover every
        // size, layout and epilogue. The doctor runs all cases.
        let few = ["matmul_at_all_awkward_sizes", "matmul_in_parts_of_k", "matmul_near_the_iteration_limit"];
        cases.retain(|case| few.contains(&case.name));
        assert_eq!(cases.len(), few.len());
    }
    pass(&cases, &[&with_products(PRODUCTS[place])]);
}

macro_rules! products {
    ($($test:ident)+) => {
        #[allow(non_camel_case_types)]
        enum Place { $($test),+ }
        $(#[test] fn $test() { pass_products(Place::$test as usize) })+
        const TESTED: usize = [$(stringify!($test)),+].len();
    };
}

products! {
    matmul_slices matmul_parts matmul_large matmul_vector matmul_plain matmul_subgroup matmul_wide matmul_panel matmul_sliding
}

const _: () = assert!(TESTED == PRODUCTS.len());

/// Every kernel must compute ((a·b) + bias) + addend in this order. The numbers 1, 2²⁴ and −2²⁴ give 0 in this order,
/// and 1 in any other.
#[test]
fn an_addend_is_added_after_the_bias() {
    let [a, b, c, addend] = [0, 1, 2, 3].map(|buffer| tensor(buffer, [8, 8]));
    let epilogue = Epilogue::Bias { bias: Some(tensor(4, 8)), activation: Activation::Identity };
    let op = Matmul { epilogue, addend: Some(addend), ..Matmul::new(a, b, c, Layout::Nn) };
    let buffers = [("a", 64), ("b", 64), ("c", 64), ("addend", 64), ("bias", 8)];
    let plan = single(&buffers.map(|(name, len)| (name, len, Role::Activation)), op.into());
    let unit: Vec<f32> = (0..64u8).map(|i| f32::from(u8::from(i % 9 == 0))).collect();
    let large = 16_777_216.0f32;
    let others = PRODUCTS.map(with_products);
    for gpu in others.iter().chain(gpus()) {
        let mut lockstep = lockstep(gpu, plan.clone());
        lockstep.set(BufferId(0), &unit).unwrap();
        lockstep.set(BufferId(1), &[1.0f32; 64]).unwrap();
        lockstep.set(BufferId(3), &[-large; 64]).unwrap();
        lockstep.set(BufferId(4), &[large; 8]).unwrap();
        let compared = lockstep.run().unwrap();
        assert!(compared[0].divergence.is_none() && compared[0].worst == 0.0, "{compared:?}");
        assert_eq!(lockstep.get(BufferId(2)), [0.0; 64]);
    }
}

/// Every shader of an op must have a case in `cases/`, and every case a test in this file.
#[test]
fn every_shader_has_cases() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").read_dir().unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // Texture shaders belong to no op: `app/parts.rs` tests them. `words` is shared code of several kernels.
    let of_ops = names.filter(|name| name.contains(".wgsl") && !name.contains("texture") && !name.starts_with("words"));
    let stems: BTreeSet<String> = of_ops.map(|name| name.split('.').next().unwrap().into()).collect();
    let set = |names: Vec<&str>| names.into_iter().map(String::from).collect::<BTreeSet<_>>();
    let of_cases = set(CASES.iter().flat_map(|case| case.kernels).copied().collect());
    let differ: Vec<&String> = stems.symmetric_difference(&of_cases).collect();
    assert!(differ.is_empty(), "a shader without a case in tests/cases/mod.rs, or a case without a shader: {differ:?}");
    let first = set(CASES.iter().map(|case| case.kernels[0]).collect());
    assert_eq!(first, set(KERNELS.to_vec()), "`kernels!` in tests/kernels.rs lists the first kernel of each case");
}

/// Every case must notice a wrong input on the GPU. A check that cannot fail proves nothing.
#[test]
fn a_wrong_input_fails_every_case() {
    for case in CASES {
        assert!(!faults(case, gpu(), true).is_empty(), "{}", case.name);
    }
}

/// A plan from outside may be wrong. Kernels then check their own indices, so they touch nothing outside the tensors.
#[test]
fn a_lockstep_of_an_unsound_plan_does_no_harm() {
    for gpu in gpus() {
        let op = Op::Gather(Gather {
            features: tensor(0, 4),
            data: tensor(1, DATA),
            step: tensor(2, STEP),
            indices: tensor(3, 8),
            x: tensor(4, [8, 4]),
        });
        let buffers = [
            ("features", 4, Role::Features(0)),
            ("data", DATA, Role::Data(0)),
            ("step", STEP, Role::Step),
            ("indices", 8, Role::Indices),
            ("x", 32, Role::Activation),
        ];
        let mut lockstep = wgrad::lockstep::Lockstep::new(gpu, single(&buffers, op)).unwrap();
        lockstep.set(BufferId(0), &[0.0; 4]).unwrap();
        assert!(lockstep.set(BufferId(4), &[0.0; 2]).is_err(), "shorter than its op says");
        lockstep.set(BufferId(1), &[DataInfo { rows: 1, ..DataInfo::default() }]).unwrap();
        lockstep.set(BufferId(2), &[StepState { step: 1, rows: 8, ..StepState::default() }]).unwrap();
        assert!(lockstep.run().unwrap()[0].divergence.is_none(), "row 0 is there");
    }
}

/// The lockstep must catch and name a wrong operand. A check that cannot fail proves nothing.
#[test]
fn the_lockstep_catches_a_wrong_kernel() {
    let op = Op::Update(Update {
        step: OptimizerStep {
            optimizer: Sgd { momentum: 0.9, ..Sgd::default() }.into(),
            parameters: tensor(0, 64),
            moments: Some(tensor(2, 64)),
            cursor: tensor(3, STEP),
            multipliers: None,
            absolute_decay: 0.0,
            averages: Averages::default(),
            clip: None,
            accumulates: false,
        },
        gradients: tensor(1, 64),
        scale: None,
    });
    let buffers =
        [("w", 64, Role::Parameters), ("g", 64, Role::Gradients), ("v", 64, Role::Moments), ("step", STEP, Role::Step)];
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    let mut random = Random(3);
    for buffer in 0..3 {
        lockstep.set(BufferId(buffer), &random.f32s(64)).unwrap();
    }
    let state = StepState { update: 2, learning_rate: 0.1, ..StepState::default() };
    lockstep.set(BufferId(3), &[state]).unwrap();
    // Moves one GPU gradient by a few units in the last place, unseen by the lockstep.
    lockstep.disturb_gpu(BufferId(1), 17, 1e-6);
    let divergence = lockstep.run().unwrap().remove(0).divergence.expect("must be caught");
    assert_eq!((divergence.buffer.as_str(), divergence.index), ("v", 17));
}

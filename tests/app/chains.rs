//! Tests chains: a network inside a larger differentiable computation of the app.

use proptest::prelude::*;
use wgrad::Activation::{self, Identity, Relu, Silu, Tanh};
use wgrad::plan::{DataInfo, Op, Role};
use wgrad::plan_runner::PlanRunner;
use wgrad::{
    Adam, ChainRows, Clip, Group, HashGrid, Loss, Losses, Network, NetworkGradientRows, Plan, Rows, Sgd, Trainer,
    TrainerConfig,
};

use super::{App, Random, assert_agree, gpu, lockstep, plain_gpu, without_sharing};

/// A random network. Its first and last layers vary in kind.
fn network() -> impl Strategy<Value = Network> {
    let activation = || prop::sample::select(Activation::ALL.to_vec());
    (1u32..40, 0..4, activation(), 1u32..40, activation()).prop_map(|(inputs, first, hidden, units, last)| {
        let network = Network::input(inputs);
        let network = match first {
            0 => network,
            1 => network.activation(hidden),
            2 => network.dropout(0.3),
            _ => network.layer_norm(),
        };
        network.dense(units, hidden).layer_norm().dense(9, hidden).dense(1 + units % 5, last).build().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_chains_run_alike_on_both(
        network in network(), batch in 1u32..40, accumulate in 1u32..3, clip: bool, wanted: bool, frozen: bool,
        seed in 1u64..1000, plain: bool, strided: [bool; 4],
    ) {
        let gpu = if plain { plain_gpu() } else { gpu() };
        let clip = clip.then_some(Clip::Norm(0.1));
        let groups = network.layers().filter(|_| frozen).map(|(name, _)| Group::layer(name).frozen()).collect();
        let config = TrainerConfig { batch, accumulate, clip, groups, ..TrainerConfig::default() };
        let plan = Plan::chain(&network, &Adam::default().into(), &config, &[wanted]).unwrap();
        // The app's buffers may have any length. Rows start at the fifth word, with three words between them.
        let ends = [Role::Input(0), Role::Output(0), Role::OutputGradient(0), Role::InputGradient(0)];
        let width = |role| if matches!(role, Role::Input(0) | Role::InputGradient(0)) { network.inputs() } else { network.outputs() };
        let strided = ends.into_iter().zip(strided).filter(|(_, strided)| *strided).map(|(role, _)| role);
        let given: Vec<Role> = strided.filter(|role| plan.find(*role).is_some()).collect();
        let plan = given.iter().fold(plan, |plan, &role| plan.strided(role, 5, width(role) + 3));
        let phases = plan.phases();
        prop_assert_eq!(phases.iter().map(|p| p.len()).sum::<usize>(), plan.step.len());
        // The backward phase reads what the app writes after the forward phase. The forward phase makes the output.
        let copies = |phase: usize, wanted: Role| plan.step[phases[phase].clone()].iter().any(|op| {
            let Op::CopyRows(copy) = op else { return false };
            [copy.input, copy.output].iter().any(|tensor| plan.buffer(tensor.buffer).role == wanted)
        });
        for &role in &given {
            // A network with all layers frozen need not read the gradient.
            let read = role != Role::OutputGradient(0) || wanted || !frozen;
            let phase = if matches!(role, Role::Input(0) | Role::Output(0)) { 0 } else { 1 };
            prop_assert!(copies(phase, role) || !read, "{:?} in\n{}", role, plan);
            prop_assert!((0..3).all(|other| other == phase || !copies(other, role)), "{:?} in\n{}", role, plan);
        }
        let mut lockstep = lockstep(gpu, plan);
        let mut random = Random(seed);
        for role in given {
            let id = lockstep.plan().find(role).unwrap();
            lockstep.set(id, &random.f32s((5 + batch * (width(role) + 3)) as usize)).unwrap();
        }
        let find = |role| lockstep.plan().find(role).unwrap();
        let (input, dy, data, parameters) =
            (find(Role::Input(0)), find(Role::OutputGradient(0)), find(Role::Data(0)), find(Role::Parameters));
        lockstep.set(input, &random.f32s((5 + batch * (network.inputs() + 3)) as usize)).unwrap();
        lockstep.set(dy, &random.f32s((5 + batch * (network.outputs() + 3)) as usize)).unwrap();
        lockstep.set(parameters, &network.initial_parameters(seed)).unwrap();
        lockstep.set(data, &[DataInfo { rows: batch * accumulate, ..DataInfo::default() }]).unwrap();
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step} of\n{}", network.summary()));
        }
    }
}

/// The gradient of the mean squared error, with the formula of `pointwise_loss.wgsl.in`.
const LOSS: &str = "
    @group(0) @binding(0) var<storage, read> y: array<f32>;
    @group(0) @binding(1) var<storage, read> t: array<f32>;
    @group(0) @binding(2) var<storage, read> rows: f32;
    @group(0) @binding(3) var<storage, read_write> dy: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < arrayLength(&dy) { dy[id.x] = 2.0 * (y[id.x] - t[id.x]) / (2.0 * rows); }
    }";

/// An app that computes wgrad's mean squared error itself gets the same bits as wgrad's own loss. A plan without shared
/// memory gets these bits too.
#[test]
fn an_outside_loss_trains_as_the_same_loss_inside() {
    let app = App::open();
    let network = Network::input(5).dense(16, Silu).residual(|x| x.layer_norm().dense(16, Tanh).dense(16, Identity));
    let network = network.batch_norm().dense(2, Tanh).build().unwrap();
    let rows = 16;
    let config = TrainerConfig { batch: rows, shuffle: false, keep_gradients: true, ..TrainerConfig::default() };
    let make = || Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config.clone()).unwrap();
    let mut random = Random(9);
    let [features, targets] = [5, 2].map(|width| random.f32s(16 * width));
    let [x, t] = [&features, &targets].map(|numbers| app.storage(numbers));
    let mut inside = make();
    let initial = inside.model().parameters().unwrap();
    let training = inside.prepare_buffers(&x, &t, rows).unwrap();

    let mut outside = make();
    let (y, dy, dx) = (app.storage(&[0f32; 32]), app.storage(&[f32::NAN; 32]), app.storage(&[f32::NAN; 80]));
    let ends = ChainRows {
        input: (&x).into(),
        output: (&y).into(),
        output_gradient: (&dy).into(),
        input_gradient: Some((&dx).into()),
    };
    let chain = outside.prepare_chain(ends, rows).unwrap();
    let rows_of_mean = app.storage(&[16f32]);
    let loss = app.pass(LOSS, &[&y, &t, &rows_of_mean, &dy]);
    for _ in 0..6 {
        app.frame(|encoder| {
            training.record_steps(encoder, 1);
            chain.record_forward(encoder);
            // The loss and the other phases run in one open pass.
            let mut pass = encoder.begin_compute_pass(&Default::default());
            loss.record(&mut pass, 1);
            chain.record_backward(&mut pass);
            chain.record_update(&mut pass);
        });
    }
    let gradients: Vec<f32> = app.read(training.gradient_buffer().expect("asked for"));
    assert_eq!(gradients, app.read::<f32>(chain.gradient_buffer()));
    assert!(gradients.iter().any(|&g| g != 0.0));
    assert_eq!(inside.model().parameters().unwrap(), outside.model().parameters().unwrap());
    assert!(app.read::<f32>(&dx).iter().all(|g| g.is_finite()));
    // A chain shares the optimizer and the cursor of its trainer: both count six updates.
    assert_eq!(app.gpu.traffic().submits, 3, "the models' own");

    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
    let find = |role| plan.find(role).unwrap();
    let [x, t, data, parameters] = [Role::Features(0), Role::Targets(0), Role::Data(0), Role::Parameters].map(find);
    // SAFETY: wgrad made the plan, and the data have the lengths that the plan states.
    let mut apart = unsafe { PlanRunner::new_unchecked(&app.gpu, without_sharing(plan)) }.unwrap();
    apart.set(x, &features).unwrap();
    apart.set(t, &targets).unwrap();
    let info = DataInfo { rows, values: 1, feature_stride: 5, target_stride: 2, ..DataInfo::default() };
    apart.set(data, &[info]).unwrap();
    apart.set(parameters, &initial).unwrap();
    apart.run(6).unwrap();
    assert_eq!(apart.get(parameters).unwrap(), outside.model().parameters().unwrap());
}

/// The gradients of the mean squared error and of the eikonal term, with the formulas of wgrad's shaders.
const EIKONAL: &str = "
    @group(0) @binding(0) var<storage, read> y: array<f32>;
    @group(0) @binding(1) var<storage, read> t: array<f32>;
    @group(0) @binding(2) var<storage, read> g: array<f32>;
    @group(0) @binding(3) var<storage, read> rows: f32;
    @group(0) @binding(4) var<storage, read_write> dy: array<f32>;
    @group(0) @binding(5) var<storage, read_write> dg: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        let row = id.x;
        if row >= arrayLength(&dy) { return; }
        dy[row] = 2.0 * (y[row] - t[row]) / rows;
        let largest = max(abs(g[2u * row]), abs(g[2u * row + 1u]));
        var squares = 0.0;
        for (var i = 0u; i < 2u; i++) {
            let share = g[2u * row + i] / largest;
            squares += share * share;
        }
        let length = sqrt(squares);
        let factor = 2.0 * 0.25 * (largest * length - 1.0) / (rows * length);
        for (var i = 0u; i < 2u; i++) {
            dg[2u * row + i] = factor * (g[2u * row + i] / largest);
        }
    }";

/// An app that computes the eikonal term itself gets the same bits as wgrad's own term.
#[test]
fn an_outside_eikonal_term_trains_as_the_same_term_inside() {
    let app = App::open();
    let grid = HashGrid { levels: 2, log2_hashmap_size: 8, base_resolution: 2, ..HashGrid::default() };
    let network = Network::input(2).encoding(grid).dense(16, Silu).dense(16, Tanh).dense(1, Identity).build().unwrap();
    let rows = 64;
    let config = TrainerConfig { batch: rows, shuffle: false, keep_gradients: true, ..TrainerConfig::default() };
    let losses = Losses::from(Loss::MeanSquaredError).eikonal(0.25);
    let make = || Trainer::new(&app.gpu, &network, losses.clone(), Sgd::default(), config.clone()).unwrap();
    let mut random = Random(9);
    let features: Vec<f32> = random.f32s(128).iter().map(|x| x.abs()).collect();
    let (x, t) = (app.storage(&features), app.storage(&random.f32s(64)));
    let mut inside = make();
    let training = inside.prepare_buffers(&x, &t, rows).unwrap();
    app.frame(|encoder| training.record_steps(encoder, 8));
    let weights = inside.model().parameters().unwrap();

    let outside = || {
        let mut outside = make();
        let (y, dy) = (app.storage(&[0f32; 64]), app.storage(&[f32::NAN; 64]));
        let (g, dg) = (app.storage(&[f32::NAN; 128]), app.storage(&[f32::NAN; 128]));
        let ends =
            ChainRows { input: (&x).into(), output: (&y).into(), output_gradient: (&dy).into(), input_gradient: None };
        let of_gradient = NetworkGradientRows { value: (&g).into(), gradient: (&dg).into(), output_weights: &[1.0] };
        let chain = outside.prepare_chain_with_gradient(ends, of_gradient, rows).unwrap();
        let loss = app.pass(EIKONAL, &[&y, &t, &g, &app.storage(&[64f32]), &dy, &dg]);
        for _ in 0..8 {
            app.frame(|encoder| {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                chain.record_forward(&mut pass);
                loss.record(&mut pass, 1);
                chain.record_backward(&mut pass);
                chain.record_update(&mut pass);
            });
        }
        assert_eq!(chain.out_of_order(), 0);
        outside.model().parameters().unwrap()
    };
    assert!(weights.iter().all(|w| w.is_finite()) && weights != make().model().parameters().unwrap());
    assert_eq!(outside(), weights);
}

/// The gradients of two half batches add up to the gradient of the whole batch.
#[test]
fn gradients_of_several_batches_add_up() {
    let app = App::open();
    let network = Network::input(3).dense(7, Tanh).dense(2, Identity).build().unwrap();
    let mut random = Random(19);
    let (x, dy) = (random.f32s(24 * 3), random.f32s(24 * 2));
    let sgd = Sgd { learning_rate: 0.1, ..Sgd::default() };
    let run = |batches: usize| {
        let config = TrainerConfig { accumulate: batches as u32, ..TrainerConfig::default() };
        let mut trainer = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, sgd, config).unwrap();
        let rows = 24 / batches;
        let (on_gpu, output) = (app.storage(&x[..rows * 3]), app.storage(&vec![0f32; rows * 2]));
        let gradient = app.storage(&dy[..rows * 2]);
        let ends = ChainRows {
            input: (&on_gpu).into(),
            output: (&output).into(),
            output_gradient: (&gradient).into(),
            input_gradient: None,
        };
        let chain = trainer.prepare_chain(ends, rows as u32).unwrap();
        let before = trainer.model().parameters().unwrap();
        for batch in 0..batches {
            // An update before the last batch changes nothing.
            assert_eq!(trainer.model().parameters().unwrap(), before);
            app.queue.write_buffer(&on_gpu, 0, bytemuck::cast_slice(&x[batch * rows * 3..][..rows * 3]));
            app.queue.write_buffer(&gradient, 0, bytemuck::cast_slice(&dy[batch * rows * 2..][..rows * 2]));
            app.frame(|encoder| {
                chain.record_forward(encoder);
                chain.record_backward(encoder);
                chain.record_update(encoder);
            });
        }
        (app.read::<f32>(chain.gradient_buffer()), trainer.model().parameters().unwrap())
    };
    let (whole, halves) = (run(1), run(2));
    // Each gradient is a sum of 24 products. The factors are up to about 1. The two sums differ in their order.
    let bound = 2.0 * 24.0 * f32::EPSILON * 4.0;
    for (a, b) in whole.0.iter().zip(&halves.0).chain(whole.1.iter().zip(&halves.1)) {
        assert!((a - b).abs() <= bound, "{a} {b}");
    }
    assert!(whole.0.iter().any(|g| g.abs() > 0.1));
}

#[test]
fn a_chain_refuses_buffers_that_are_written_and_used_otherwise() {
    let app = App::open();
    let network = Network::input(2).dense(2, Relu).build().unwrap();
    let config = TrainerConfig::default();
    let mut trainer = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap();
    let [a, b, c] = [0, 1, 2].map(|_| app.storage(&[0f32; 256]));
    let mut refused = |x: &wgrad::wgpu::Buffer, y, dy, dx: Option<&wgrad::wgpu::Buffer>, rows| {
        let input_gradient = dx.map(Into::into);
        let ends = ChainRows { input: x.into(), output: y, output_gradient: dy, input_gradient };
        trainer.prepare_chain(ends, rows).unwrap_err().to_string()
    };
    let error = refused(&a, (&a).into(), (&b).into(), None, 4);
    assert_eq!(
        error,
        "rows given as output: expected a range that no other rows use, because it is written, got an overlap with \
         input"
    );
    let error = refused(&a, (&b).into(), (&c).into(), Some(&c), 4);
    assert!(error.starts_with("rows given as input_gradient") && error.ends_with("output_gradient"), "{error}");
    // Rows of two words, at a stride of 3 words for one and 2 words for the other: they overlap in the last word.
    let error = refused(&a, Rows::from(&b).stride(12).into(), Rows::from(b.slice(40..)).stride(8).into(), None, 4);
    assert!(error.starts_with("rows given as output") && error.ends_with("output_gradient"), "{error}");
    let error = refused(&a, (&b).into(), c.slice(2..).into(), None, 4);
    assert!(error.starts_with("buffer of output_gradient for 4 rows: expected an offset"), "{error}");
    assert_eq!(refused(&a, (&b).into(), (&c).into(), None, 0), "batch: expected at least 1 row, got 0");
    let error = refused(&a, (&b).into(), (&c).into(), None, 1000);
    assert!(error.contains("at least 1 row and 8000 bytes"), "{error}");
    let weights = trainer.model();
    let (input, output, output_gradient) = ((&a).into(), (&b).into(), (&c).into());
    let input_gradient = Some(weights.parameter_buffer().unwrap().into());
    let ends = ChainRows { input, output, output_gradient, input_gradient };
    let error = trainer.prepare_chain(ends, 4).unwrap_err().to_string();
    assert!(error.starts_with("buffer given as input_gradient") && error.ends_with("buffer parameters"), "{error}");
    let rebuilt = trainer.snapshot().and_then(|()| trainer.rebuild(wgrad::Device::Cpu));
    assert!(rebuilt.is_ok());
    let (input, output) = ((&a).into(), (&b).into());
    let ends = ChainRows { input, output, output_gradient: (&c).into(), input_gradient: None };
    let error = trainer.prepare_chain(ends, 4).unwrap_err().to_string();
    assert!(error.starts_with("Trainer::prepare_chain needs a GPU"), "{error}");
}

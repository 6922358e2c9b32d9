//! Tests custom activations.

use crate::common::*;
use wgrad::lockstep::{Differences, check_layer, compare_gradient};
use wgrad::plan::{Op, Role};
use wgrad::{
    Activation::{self, Custom, Identity, Relu},
    Adam, CustomActivation, Dataset, Dense, Device, Error, Fit, Graph, Init, Layer, Loss, Model, Network,
    NetworkBuilder, Plan, Trainer, TrainerConfig,
};

/// WGSL allows sin and cos an error of 2⁻¹¹ within ±π. These expressions have two of them, multiplied by factors of
/// at most 2.
const OF_SINE: f64 = 4.0 / 2048.0;

pub static SNAKE: CustomActivation = CustomActivation::new(
    "snake",
    "z + sin(z) * sin(z)",
    "1.0 + 2.0 * sin(z) * cos(z)",
)
.twin(|z| z + z.sin().powi(2), |z| 1.0 + (2.0 * z).sin(), OF_SINE);

/// Two multiplications and an addition, with an error of 2⁻²⁴ each.
pub static BENT: CustomActivation = CustomActivation::new("bent", "z * (1.0 + 0.25 * z)", "1.0 + 0.5 * z").twin(
    |z| z * (1.0 + 0.25 * z),
    |z| 1.0 + 0.5 * z,
    4.0 / 16_777_216.0,
);

/// Another activation with the same name.
static OTHER_BENT: CustomActivation = CustomActivation::new("bent", "z - 0.25 * z * z", "1.0 - 0.5 * z").twin(
    |z| z - 0.25 * z * z,
    |z| 1.0 - 0.5 * z,
    4.0 / 16_777_216.0,
);

static RELU: CustomActivation = CustomActivation::new("own_relu", "max(z, 0.0)", "select(0.0, 1.0, z > 0.0)").twin(
    |z| z.max(0.0),
    |z| if z > 0.0 { 1.0 } else { 0.0 },
    0.0,
);

static WITHOUT_TWIN: CustomActivation = CustomActivation::new("untold", "z * abs(z)", "2.0 * abs(z)");

fn chain(activations: &[Activation]) -> NetworkBuilder {
    activations.iter().fold(Network::input(3), |net, &activation| net.dense(9, activation)).dense(2, Identity)
}

/// Networks with custom activations: fused into matmuls, alone, before dropout, on an image, and beside one of the
/// same name.
fn networks() -> Vec<Network> {
    let by_itself = chain(&[Custom(&SNAKE)]).layer_norm().activation(Custom(&BENT)).dropout(0.25);
    let mut graph = Graph::new();
    let image = graph.input("image", [4, 3]);
    let hidden = graph.layer(Dense::new(5, Custom(&SNAKE)), image).unwrap();
    let sum = graph.layer(Layer::ReduceMean(vec![0]), hidden).unwrap();
    let output = graph.layer(Dense::new(2, Custom(&BENT)), sum).unwrap();
    vec![
        chain(&[Custom(&SNAKE), Custom(&BENT), Custom(&OTHER_BENT)]).build().unwrap(),
        by_itself.dense(2, Custom(&SNAKE)).build().unwrap(),
        graph.build([("output", output)]).unwrap(),
    ]
}

/// Every op with a custom activation must agree with its CPU twin.
#[test]
fn every_op_agrees_with_the_twin() {
    for gpu in gpus() {
        for (seed, network) in (1..).zip(networks()) {
            for keep_gradients in [false, true] {
                // A driver takes long to compile a fused step on a CPU. One network has it.
                let config = TrainerConfig { keep_gradients, op_by_op: seed > 1, ..batches_of(8) };
                let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
                assert_agree(&mut lockstep_with_data(gpu, &network, plan, 7, seed), &network.summary().to_string());
            }
        }
    }
}

fn forward_agrees(gpu: &wgrad::Gpu, network: &Network) -> Plan {
    let plan = Plan::forward(network, 17).unwrap();
    let mut lockstep = lockstep(gpu, plan.clone());
    let [parameters, input] = [Role::Parameters, Role::Input(0)].map(|role| plan.find(role).unwrap());
    lockstep.set(parameters, &network.initial_parameters(3)).unwrap();
    lockstep.set(input, &Random(5).f32s(17 * network.inputs() as usize)).unwrap();
    assert_agree(&mut lockstep, &plan.to_string());
    plan
}

/// A narrow network with two activations of one name must work. Its WGSL must be valid.
#[test]
fn narrow_networks_have_two_of_one_name() {
    for gpu in gpus() {
        let network = chain(&[Custom(&BENT), Custom(&OTHER_BENT), Relu, Custom(&SNAKE)]).build().unwrap();
        let plan = forward_agrees(gpu, &network);
        assert!(matches!(plan.step[..], [Op::Narrow(_)]), "{plan}");

        let model = Model::new(gpu, &network, &network.initial_parameters(1)).unwrap();
        let text = model.wgsl("bends").unwrap().to_string();
        assert_eq!(text.matches("fn bends_activate_bent_").count(), 2, "{text}");
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
        let mut validator = naga::valid::Validator::new(Default::default(), naga::valid::Capabilities::empty());
        validator.validate(&module).unwrap();
    }
}

fn trained(device: impl Into<Device>, activation: Activation) -> Vec<u32> {
    let dense = || Dense::new(16, activation).weight_init(Init::HeUniform);
    let network = Network::input(3).layer(dense()).layer(dense()).dense(1, Identity).build().unwrap();
    let mut random = Random(9);
    let features = random.f32s(3 * 100);
    let targets = features.chunks(3).map(|x| x[0] * x[1] - x[2]).collect::<Vec<f32>>();
    let data = Dataset::from_f32_targets(features, 3, targets, 1).unwrap();
    let adam = Adam { learning_rate: 0.01, ..Adam::default() };
    // A driver takes long to compile a fused step on a CPU.
    let config = TrainerConfig { op_by_op: true, ..batches_of(16) };
    let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, adam, config).unwrap();
    let history = trainer.fit(&data, Fit { epochs: 5, ..Fit::default() }, |_| {}).unwrap();
    assert!(history.epochs[4].train.loss < history.epochs[0].train.loss, "{history:?}");
    trainer.model().parameters().unwrap().into_iter().map(f32::to_bits).collect()
}

/// A ReLU rounds nothing, so a custom ReLU must leave the same bits.
#[test]
fn an_expression_trains_as_the_built_in_activation_does() {
    for device in [Device::from(gpu()), Device::from(plain_gpu()), Device::Cpu] {
        assert_eq!(trained(device.clone(), Custom(&RELU)), trained(device, Relu));
    }
    assert_ne!(trained(gpu(), Custom(&SNAKE)), trained(gpu(), Relu));
}

/// The whole gradient must agree with differences of the loss in f64. The CPU twins, which agree with the kernels,
/// compute it.
#[test]
fn gradients_match_finite_differences() {
    let network = Network::input(2).dense(4, Custom(&SNAKE)).dense(1, Custom(&BENT)).build().unwrap();
    let config = TrainerConfig { keep_gradients: true, ..batches_of(8) };
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 8, 4);
    let find = |role| lockstep.plan().find(role).unwrap();
    let ids = [Role::Parameters, Role::Features(0), Role::Targets(0), Role::Gradients].map(find);
    let [weights, features] =
        [ids[0], ids[1]].map(|id| lockstep.get(id).into_iter().map(f64::from).collect::<Vec<_>>());
    let labels: Vec<u32> = lockstep.get(ids[2]).into_iter().map(f32::to_bits).collect();
    assert_agree(&mut lockstep, "gradients");
    let gradient = lockstep.get(ids[3]);
    let ranges: Vec<_> = network.parameters().iter().map(|p| p.range()).collect();
    let loss = |weights: &[f64]| {
        let [w, b, v, c] = [0, 1, 2, 3].map(|i| &weights[ranges[i].clone()]);
        let of_row = |(x, &label): (&[f64], &u32)| {
            let hidden = (0..4).map(|i| x[0] * w[i] + x[1] * w[4 + i] + b[i]).map(|z| z + z.sin().powi(2));
            let z = hidden.zip(v).map(|(y, v)| y * v).sum::<f64>() + c[0];
            (z * (1.0 + 0.25 * z) - f64::from(label)).powi(2)
        };
        features.chunks(2).zip(&labels).map(of_row).sum::<f64>() / 8.0
    };
    // Each of the chain's sums, forward and backward, has a relative error of 2⁻²⁴.
    let largest = gradient.iter().fold(1.0f32, |most, g| most.max(g.abs()));
    let bound = 2.0 * (2.0 + 4.0 + 8.0 + 8.0) * f64::from(largest) / 16_777_216.0;
    let how = Differences { bound, noise: 64.0 * f64::EPSILON, ..Differences::default() };
    let indices = ranges.iter().cloned().flatten();
    let comparison = compare_gradient(&weights, &gradient, indices, how, loss);
    assert_eq!((comparison.compared, comparison.fault), (17, None), "{comparison:?}");
}

/// The lockstep must find a derivative that differs from the twin's.
#[test]
fn a_derivative_that_differs_from_the_twins_is_found() {
    static WRONG: CustomActivation = CustomActivation::new("wrong", "z * z", "z").twin(|z| z * z, |z| 2.0 * z, 1e-6);
    let network = chain(&[Custom(&WRONG)]).build().unwrap();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(8)).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 8, 1);
    let comparisons = lockstep.run().unwrap();
    let diverged: Vec<_> = comparisons.into_iter().filter(|c| c.divergence.is_some()).map(|c| c.op).collect();
    assert!(matches!(&diverged[..], [op] if op.contains("derivative of wrong")), "{diverged:?}");
}

/// The lockstep must skip an activation without a twin. Central differences must find its wrong derivative.
#[test]
fn without_a_twin_the_lockstep_skips_and_differences_find_a_wrong_derivative() {
    let network = chain(&[Custom(&WITHOUT_TWIN)]).build().unwrap();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(8)).unwrap();
    let comparisons = lockstep_with_data(gpu(), &network, plan, 8, 1).run().unwrap();
    assert!(comparisons.iter().all(|op| op.divergence.is_none()), "{comparisons:?}");
    let skipped: Vec<&str> = comparisons.iter().filter_map(|op| op.skipped.as_deref()).collect();
    assert_eq!(skipped, ["activation untold (see CustomActivation::twin)"; 2], "value and derivative");

    let check = |activation| check_layer(gpu(), Dense::new(3, Custom(activation)), [4], 5);
    for right in [&BENT, &WITHOUT_TWIN] {
        check(right).unwrap_or_else(|error| panic!("{error}"));
    }
    let error = check(made("half", "z * z", "z")).unwrap_err().to_string();
    assert!(error.starts_with("layer dense_1: ") && error.contains("gradient"), "{error}");
}

fn refused(activation: &'static CustomActivation) -> String {
    let error = Network::input(1).dense(1, Custom(activation)).build().unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    error.to_string()
}

/// A description that lives as long as the program.
fn made(name: &'static str, value: &'static str, derivative: &'static str) -> &'static CustomActivation {
    Box::leak(Box::new(CustomActivation::new(name, value, derivative)))
}

#[test]
fn names_and_expressions_are_checked_when_a_network_is_built() {
    for (name, shown) in [("", "\"\""), ("2nd", "\"2nd\""), ("a b", "\"a b\""), ("_x", "\"_x\"")] {
        let expected = "a letter, then letters, digits and underscores";
        let message = format!("name of a custom activation: expected {expected}, got {shown}");
        assert_eq!(refused(made(name, "z", "1.0")), message);
    }
    let expected = "expected an expression of z, numbers, operators and WGSL functions of f32, got";
    let faults = [
        ("", "no expression in \"\""),
        ("  ", "no expression in \"  \""),
        ("a[1]", "'[' in \"a[1]\""),
        ("z; }", "';' in \"z; }\""),
        ("z + x", "x in \"z + x\""),
        ("load_a(9u)", "load_a in \"load_a(9u)\""),
        ("z.x", "z.x in \"z.x\""),
        ("z // y", "// in \"z // y\""),
        ("z /* y */", "/* in \"z /* y */\""),
        ("z\n", "'\\n' in \"z\\n\""),
    ];
    for (text, shown) in faults {
        assert_eq!(refused(made("faulty", text, "1.0")), format!("activation faulty: {expected} {shown}"));
        let of_derivative = format!("derivative of activation faulty: {expected} {shown}");
        assert_eq!(refused(made("faulty", "z", text)), of_derivative);
    }
    for text in ["1e-5 * z", ".5f * z", "select(z, 0x1p-3, z < 1.0 && !(z >= 2.0))", "f32(i32(z) % 2) - pow(z, 2.0)"] {
        Network::input(1).dense(1, Custom(made("right", text, text))).build().unwrap();
    }
}

/// A twin with a wrong derivative must return an error.
#[test]
fn a_twin_whose_derivative_is_wrong_is_refused() {
    static SIGN: CustomActivation =
        CustomActivation::new("sign", "z * z", "2.0 * z").twin(|z| z * z, |z| -2.0 * z, 1e-6);
    let message = "derivative in the CPU twin of activation sign at z = -4.65: expected -9.300000 (the slope of the \
                   CPU twin's value), got 9.300000";
    assert_eq!(refused(&SIGN), message);
    static NAN: CustomActivation = CustomActivation::new("nan", "z", "1.0").twin(|z| z, |_| f64::NAN, 0.0);
    assert!(refused(&NAN).ends_with("got NaN"), "{}", refused(&NAN));
    static SHARE: CustomActivation = CustomActivation::new("share", "z", "1.0").twin(|z| z, |_| 1.0, -1.0);
    assert_eq!(
        refused(&SHARE),
        "share of the CPU twin of activation share: expected a finite number of at least 0, got -1"
    );
    // Kinks and undefined points are no faults.
    static KINK: CustomActivation =
        CustomActivation::new("kink", "abs(z)", "sign(z)").twin(|z| z.abs(), |z| z.signum(), 0.0);
    static ROOT: CustomActivation =
        CustomActivation::new("root", "sqrt(z)", "0.5 / sqrt(z)").twin(|z| z.sqrt(), |z| 0.5 / z.sqrt(), 1e-6);
    for right in [&KINK, &ROOT] {
        Network::input(1).dense(1, Custom(right)).build().unwrap();
    }
}

/// The error must name an activation that does not compile.
#[test]
fn what_does_not_compile_is_named() {
    for (plan, gpu) in [("training", gpu()), ("training", plain_gpu()), ("forward", gpu()), ("forward", plain_gpu())] {
        let network = Network::input(2).dense(2, Custom(made("broken", "sin(z, z)", "1.0"))).build().unwrap();
        let error = match plan {
            "training" => Trainer::new(gpu, &network, Loss::MeanSquaredError, Adam::default(), batches_of(2)).err(),
            _ => {
                let model = Model::new(gpu, &network, &network.initial_parameters(1)).unwrap();
                model.forward(&[1.0, 2.0]).err()
            }
        };
        let error = error.expect("an error");
        assert!(matches!(&error, Error::Gpu { what, .. } if what.contains("broken")), "{plan}: {error}");
        assert!(error.to_string().contains("sin(z, z)"), "{error}");
    }
}

#[test]
fn an_activation_without_a_twin_needs_a_gpu() {
    let trained = trained(gpu(), Custom(&WITHOUT_TWIN));
    assert!(trained.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    let network = chain(&[Custom(&WITHOUT_TWIN)]).build().unwrap();
    let expected = "activation untold (see CustomActivation::twin): expected a CPU twin, because the CPU cannot run \
                    WGSL, got none";
    let error = Trainer::new(Device::Cpu, &network, Loss::MeanSquaredError, Adam::default(), batches_of(4)).err();
    assert_eq!(error.unwrap().to_string(), expected);
    let weights = network.initial_parameters(1);
    let forward = Model::new(Device::Cpu, &network, &weights).and_then(|model| model.forward(&[1.0, 2.0, 3.0]));
    assert_eq!(forward.unwrap_err().to_string(), expected);
}

/// Activations must be displayed by name and compared by their expressions.
#[test]
fn it_is_shown_by_its_name_and_equal_by_its_text() {
    let network = chain(&[Custom(&SNAKE)]).build().unwrap();
    assert!(network.summary().to_string().contains("snake"), "{}", network.summary());
    assert_eq!(Custom(&SNAKE).to_string(), "snake");
    assert_eq!(format!("{:?}", Custom(&SNAKE)), "Custom(snake)");
    assert_ne!(Custom(&BENT), Custom(&OTHER_BENT));
    assert_eq!(Custom(&BENT), Custom(made("bent", "z * (1.0 + 0.25 * z)", "1.0 + 0.5 * z")));
}

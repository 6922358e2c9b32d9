//! Compares losses that read the gradient of the network with PyTorch's double backward: the eikonal term of a training
//! step, and a chain whose app computes the loss.

use super::*;

/// The network of a case, with PyTorch's weights.
fn network(oracle: &Oracle, name: &str, options: &Value) -> Network {
    let inputs = oracle.shape(&format!("{name}.0.weight"))[1];
    let layer = |network: NetworkBuilder, (i, activation): (usize, &Value)| {
        let activation = match activation.as_str().unwrap() {
            "identity" => Activation::Identity,
            "softplus" => Activation::Softplus,
            "tanh" => Activation::Tanh,
            "sine" => Activation::Sine(options["frequency"].as_f64().unwrap() as f32),
            "silu" => Activation::Silu,
            "squareplus" => Activation::Squareplus(4.0),
            "exponential" => Activation::Exponential,
            other => panic!("an unknown activation: {other}"),
        };
        network.dense(oracle.shape(&format!("{name}.{i}.weight"))[0], activation)
    };
    let activations = options["activations"].as_array().unwrap();
    activations.iter().enumerate().fold(Network::input(inputs), layer).build().unwrap()
}

/// The roundings of a result, relative to the largest number of its kind, because the terms of a sum are of the order of
/// the largest result. Numbers pass the network four times: forward,
/// backward, as tangents, and back from both. Each time, a layer's sum of n terms errs by about √n roundings, and its
/// activation by about 10, because WGSL's exp has that error for the arguments here. The argument of a sine is up to
/// 10 here. Its rounding, and that of pi, move the result by 20 more.
fn roundings(network: &Network, options: &Value) -> f64 {
    let activations = options["activations"].as_array().unwrap();
    let of_sines = 20.0 * activations.iter().filter(|name| *name == "sine").count() as f64;
    let weights = network.parameters().iter().filter(|p| p.shape.len() == 2);
    let of_layers: f64 = weights.map(|p| f64::from(p.shape[0]).sqrt() + 10.0).sum();
    4.0 * (of_layers + of_sines)
}

#[test]
fn second_derivatives_of_networks() {
    let oracle = Oracle::open("second_derivatives");
    assert_eq!(oracle.cases().len(), 4);
    for (name, options) in oracle.cases() {
        let get = |what: &str| oracle.get(&format!("{name}.{what}"));
        let network = network(&oracle, &name, &options);
        let stored = |prefix: &str| {
            let of_layer = |i| ["weight", "bias"].map(|kind| format!("{name}.{prefix}{i}.{kind}"));
            let names: Vec<String> = (0..3).flat_map(of_layer).collect();
            oracle.parameters(&network, &names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (weights, of_weights) = (stored(""), stored("gradient."));
        let (x, rows) = (get("x"), oracle.shape(&format!("{name}.x"))[0]);
        let roundings = roundings(&network, &options);
        let compare = |what: &str, got: &[f32], expected: &[f32]| {
            let largest = expected.iter().map(|&x| f64::from(x).abs()).fold(0.0, f64::max);
            assert_close(&format!("{name}, {what}"), got, expected, |_| roundings * largest);
        };
        let config = TrainerConfig { batch: rows, keep_gradients: true, shuffle: false, ..TrainerConfig::default() };
        let adam = Adam::default().into();
        let losses = Losses::from(Loss::MeanSquaredError).eikonal(options["eikonal"].as_f64().unwrap() as f32);
        let training = Plan::training(&network, losses, &adam, &config).unwrap();
        let chain = Plan::chain_with_network_gradient(&network, &adam, &config, &[true], &[1.0]).unwrap();
        for gpu in gpus() {
            let filled = |plan: &Plan, numbers: &[(Role, &[f32])]| {
                let mut lockstep = lockstep(gpu, plan.clone());
                for &(role, numbers) in numbers.iter().chain(&[(Role::Parameters, &weights[..])]) {
                    lockstep.set(plan.find(role).unwrap(), numbers).unwrap();
                }
                let feature_stride = network.inputs();
                let info = DataInfo { rows, values: 1, feature_stride, target_stride: 1, ..DataInfo::default() };
                lockstep.set(plan.find(Role::Data(0)).unwrap(), &[info]).unwrap();
                run(&mut lockstep, &name);
                lockstep
            };
            let result = |lockstep: &mut Lockstep, role| {
                let id = lockstep.plan().find(role).unwrap();
                lockstep.get(id)
            };

            let targets = get("target");
            let mut trained = filled(&training, &[(Role::Features(0), &x), (Role::Targets(0), &targets)]);
            compare("weights, eikonal term", &result(&mut trained, Role::Gradients), &of_weights);

            let (dy, dg) = (get("dy"), get("dg"));
            let given =
                [(Role::Input(0), &x[..]), (Role::OutputGradient(0), &dy), (Role::NetworkGradientGradient, &dg)];
            let mut chained = filled(&chain, &given);
            compare("y", &result(&mut chained, Role::Output(0)), &get("y"));
            compare("gradient of the network", &result(&mut chained, Role::NetworkGradient), &get("g"));
            compare("weights, chain", &result(&mut chained, Role::Gradients), &of_weights);
            compare("input, chain", &result(&mut chained, Role::InputGradient(0)), &get("dx"));
        }
    }
}

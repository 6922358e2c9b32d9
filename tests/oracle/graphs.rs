//! Compares networks that are not chains, or have a loss per position, with PyTorch. Checks outputs, losses, the
//! gradients of weights and inputs, and the weights after five full-batch steps of two optimizers. `README.md` in this
//! folder describes the networks.

use super::*;
use wgrad::Activation::*;

struct Case {
    name: &'static str,
    /// Builds the network, with `last` as its last activation: Identity (logits, as in PyTorch), or one that the loss
    /// includes.
    network: fn(last: Activation) -> Network,
    /// Activations that the loss includes.
    links: &'static [Activation],
    /// Roundings of a number on its way through the network. A sum of n terms has about √n. The slope of a layer
    /// normalisation is below 2.
    roundings: f64,
}

const CASES: [Case; 4] = [
    // Sums of 60 or 3, 24 and 12 terms, and a tanh.
    Case { name: "two_ends", network: two_ends, links: &[Softmax], roundings: 20.0 },
    // A sum of 10 terms. Then, three times: a mean, a variance and two sums, all of 16 terms. Then a sum of 16 terms.
    Case { name: "residual", network: residual, links: &[Softmax], roundings: 8.0 + 3.0 * 2.0 * 16.0 },
    // Sums of 20 and 8 terms, a tanh and a sigmoid.
    Case { name: "tied", network: tied, links: &[], roundings: 12.0 },
    // Sums of 6 and 9 terms.
    Case { name: "positions", network: positions, links: &[Softmax], roundings: 8.0 },
];

/// Layers have the names of PyTorch's modules.
fn two_ends(last: Activation) -> Network {
    let build = || {
        let mut g = Graph::new();
        let image = g.input("image", [6, 5, 2]);
        let numbers = g.input("numbers", 3);
        let flat = g.layer(Layer::Flatten, image)?;
        let image = g.layer(Dense::new(16, Relu), flat)?;
        g.name("image", image)?;
        let numbers = g.layer(Dense::new(8, Tanh), numbers)?;
        g.name("numbers", numbers)?;
        let both = g.concat([image, numbers], -1)?;
        let joint = g.layer(Dense::new(12, Relu), both)?;
        g.name("joint", joint)?;
        let class = g.layer(Dense::new(4, last), joint)?;
        g.name("classes", class)?;
        let value = g.layer(Dense::new(2, Identity), joint)?;
        g.name("value", value)?;
        g.build([("class", class), ("value", value)])
    };
    build().unwrap()
}

fn residual(last: Activation) -> Network {
    let block = |x: NetworkBuilder, i: u32| {
        x.residual(|x| {
            let x = x.layer_norm().named(format!("norm{i}")).dense(16, Relu).named(format!("wide{i}"));
            x.dense(16, Identity).named(format!("back{i}"))
        })
    };
    let network = Network::input(10).dense(16, Relu).named("first");
    (0..3).fold(network, block).dense(5, last).named("last").build().unwrap()
}

fn tied(_: Activation) -> Network {
    let network = Network::input(20).dense(8, Tanh).named("encoder");
    network.layer(Tied::transpose_of("encoder", Sigmoid)).named("decoder").build().unwrap()
}

fn positions(last: Activation) -> Network {
    Network::input([7, 6]).dense(9, Relu).named("hidden").dense(4, last).named("classes").build().unwrap()
}

/// The stored tensors of a network, by the names of its inputs and outputs. The inputs and outputs of chains have no
/// names in PyTorch.
struct Stored<'a> {
    oracle: &'a Oracle,
    case: &'a Case,
    network: Network,
    options: Value,
}

impl<'a> Stored<'a> {
    fn of(oracle: &'a Oracle, case: &'a Case, last: Activation) -> Self {
        Self { oracle, case, network: (case.network)(last), options: oracle.cases()[case.name].clone() }
    }

    /// The weights in our order. In PyTorch, layer normalisations have a weight and a bias, and the decoder's bias
    /// belongs to no layer.
    fn weights(&self, what: &str) -> Vec<f32> {
        let name = |parameter: &Parameter| {
            let name = parameter.name.replace(".scale", ".weight").replace(".shift", ".bias");
            format!("{}.{what}.{}", self.case.name, name.replace("decoder.", "decoder_"))
        };
        let names: Vec<String> = self.network.parameters().iter().map(name).collect();
        self.oracle.parameters(&self.network, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn words(&self, what: &str, name: &str) -> Vec<u32> {
        let name = format!("{}.{what}.{name}", self.case.name);
        self.oracle.words(&name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn get(&self, what: &str, name: &str) -> Vec<f32> {
        bytemuck::cast_vec(self.words(what, name))
    }

    fn inputs(&self) -> Vec<Vec<f32>> {
        let name = |end: &TensorSpec| if end.name == "input" { "x".into() } else { end.name.clone() };
        self.network.input_specs().iter().map(|end| self.get("input", &name(end))).collect()
    }

    /// For each output: its name in PyTorch, its loss, and the weight of the loss.
    fn outputs(&self) -> Vec<(String, Loss, f32)> {
        let only = || self.options["losses"].as_object().unwrap().keys().next().unwrap().clone();
        let of = |end: &TensorSpec| {
            let name = if end.name == "output" { only() } else { end.name.clone() };
            let loss = match self.options["losses"][&name].as_str().unwrap() {
                "softmax_cross_entropy" => Loss::SoftmaxCrossEntropy,
                "mean_squared_error" => Loss::MeanSquaredError,
                other => panic!("an unknown loss: {other}"),
            };
            let weight = self.options["weights"][&name].as_f64().unwrap() as f32;
            (name, loss, weight)
        };
        self.network.output_specs().iter().map(of).collect()
    }

    fn losses(&self) -> Losses {
        let ends = self.network.output_specs().iter().zip(self.outputs());
        ends.fold(Losses::new(), |losses, (end, (_, loss, weight))| losses.weighted(&end.name, loss, weight))
    }

    fn rows(&self) -> u32 {
        self.inputs()[0].len() as u32 / self.network.inputs()
    }

    fn ignored(&self) -> Option<u32> {
        self.options["ignored"].as_u64().map(|label| label as u32)
    }

    /// A lockstep with a full batch of all rows and the stored initial weights.
    fn lockstep(&self, gpu: &Gpu, plan: Plan) -> Lockstep {
        let mut lockstep = lockstep(gpu, plan);
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let mut set = |role, words: &[u32]| {
            let id = lockstep.plan().find(role).unwrap();
            lockstep.set(id, words).unwrap();
        };
        for i in 0..inputs.len().max(outputs.len()) {
            let (number, features, output) = (i as u32, inputs.get(i), outputs.get(i));
            let mut info = DataInfo { rows: self.rows(), ..DataInfo::default() };
            if let Some(features) = features {
                set(Role::Features(number), bytemuck::cast_slice(features));
                info.feature_stride = features.len() as u32 / self.rows();
            }
            if let Some((name, loss, _)) = output {
                let targets = self.words("target", name);
                set(Role::Targets(number), &targets);
                info.target_stride = targets.len() as u32 / self.rows();
                info.values = u32::from(*loss == Loss::MeanSquaredError);
                info.ignored = self.ignored().map_or(0, |label| label + 1);
            }
            set(Role::Data(number), bytemuck::cast_slice(&[info]));
        }
        set(Role::Parameters, bytemuck::cast_slice(&self.weights("start")));
        lockstep
    }

    /// The gradient of the total loss with respect to each output, from formulas.
    fn output_gradients(&self) -> Vec<Vec<f32>> {
        let ends = self.network.output_specs().iter().zip(self.outputs());
        let of = |(end, (name, loss, weight)): (&TensorSpec, (String, Loss, f32))| -> Vec<f32> {
            let columns = *end.shape.last().unwrap() as usize;
            let (output, target) = (self.get("output", &name), self.words("target", &name));
            let share = f64::from(weight) / (output.len() / columns) as f64;
            let row = |(row, z): (usize, &[f32])| -> Vec<f32> {
                let z: Vec<f64> = z.iter().map(|&z| z.into()).collect();
                let sum: f64 = z.iter().map(|z| z.exp()).sum();
                let derivative = |i: usize| match loss {
                    Loss::MeanSquaredError => {
                        2.0 * (z[i] - f64::from(f32::from_bits(target[row * columns + i]))) / columns as f64
                    }
                    _ if self.ignored() == Some(target[row]) => 0.0,
                    _ => z[i].exp() / sum - f64::from(u8::from(i == target[row] as usize)),
                };
                (0..columns).map(|i| (share * derivative(i)) as f32).collect()
            };
            output.chunks(columns).enumerate().flat_map(row).collect()
        };
        ends.map(of).collect()
    }
}

fn find(lockstep: &Lockstep, role: Role) -> BufferId {
    lockstep.plan().find(role).unwrap()
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest)).into()
}

#[test]
fn outputs_and_input_gradients_of_graphs() {
    let oracle = Oracle::open("graphs");
    assert_eq!(oracle.cases().len(), CASES.len());
    for case in &CASES {
        let stored = Stored::of(&oracle, case, Identity);
        let config = TrainerConfig { batch: stored.rows(), ..TrainerConfig::default() };
        let all = vec![true; stored.network.input_specs().len()];
        let chain = Plan::chain(&stored.network, &Sgd::default().into(), &config, &all).unwrap();
        let forward = Plan::forward(&stored.network, stored.rows()).unwrap();
        for (gpu, plan) in gpus().iter().flat_map(|gpu| [(gpu, &chain), (gpu, &forward)]) {
            let what = format!("{}, {}", case.name, plan.name);
            let mut lockstep = lockstep(gpu, plan.clone());
            for (i, input) in (0..).zip(stored.inputs()) {
                let id = find(&lockstep, Role::Input(i));
                lockstep.set(id, &input).unwrap();
            }
            let id = find(&lockstep, Role::Parameters);
            lockstep.set(id, &stored.weights("start")).unwrap();
            for (o, gradient) in (0..).zip(stored.output_gradients()).filter(|_| plan.name == "chain") {
                let id = find(&lockstep, Role::OutputGradient(o));
                lockstep.set(id, &gradient).unwrap();
                let id = find(&lockstep, Role::Data(0));
                lockstep.set(id, &[DataInfo { rows: stored.rows(), ..DataInfo::default() }]).unwrap();
            }
            run(&mut lockstep, &what);
            for (o, (name, ..)) in (0..).zip(stored.outputs()) {
                let (got, expected) = (lockstep.get(find(&lockstep, Role::Output(o))), stored.get("output", &name));
                assert_close(&format!("{what}: {name}"), &got, &expected, |i| case.roundings * or_one(expected[i]));
            }
            for (i, end) in (0..).zip(stored.network.input_specs()).filter(|_| plan.name == "chain") {
                let name = if end.name == "input" { "x" } else { &end.name };
                let expected = stored.get("input_gradient", name);
                let got = lockstep.get(find(&lockstep, Role::InputGradient(i)));
                // Twice the roundings: forward and backward.
                let allowed = 2.0 * case.roundings * largest(&expected);
                assert_close(&format!("{what}: gradient of {name}"), &got, &expected, |_| allowed);
            }
        }
    }
}

#[test]
fn losses_and_gradients_of_graphs_and_their_weights_after_five_steps() {
    let oracle = Oracle::open("graphs");
    for case in &CASES {
        let lasts = std::iter::once(&Identity).chain(case.links);
        for (&last, optimizer) in lasts.flat_map(|last| [(last, "sgd"), (last, "adam")]) {
            let stored = Stored::of(&oracle, case, last);
            let options = &stored.options[optimizer];
            let number = |name: &str| options[name].as_f64().unwrap() as f32;
            let learning_rate = number("lr");
            let optimizer_of = || -> Optimizer {
                let beta = |i: usize| options["betas"][i].as_f64().unwrap() as f32;
                match optimizer {
                    "sgd" => Sgd { learning_rate, momentum: number("momentum"), ..Sgd::default() }.into(),
                    _ => Adam {
                        learning_rate,
                        beta1: beta(0),
                        beta2: beta(1),
                        epsilon: number("eps"),
                        ..Adam::default()
                    }
                    .into(),
                }
            };
            let gradients = stored.weights("gradient");
            let off = 2.0 * case.roundings * largest(&gradients);
            for keep_gradients in [true, false] {
                let config = TrainerConfig { batch: stored.rows(), keep_gradients, ..TrainerConfig::default() };
                let plan = Plan::training(&stored.network, stored.losses(), &optimizer_of(), &config).unwrap();
                for gpu in gpus() {
                    let mut lockstep = stored.lockstep(gpu, plan.clone());
                    let what = format!("{} of {last}, {optimizer}, keep_gradients {keep_gradients}", case.name);
                    for step in 0..5 {
                        // Resets the running losses.
                        let slots = find(&lockstep, Role::RowMetrics);
                        let zeros = vec![0u32; lockstep.get(slots).len()];
                        lockstep.set(slots, &zeros).unwrap();
                        run(&mut lockstep, &what);
                        let totals = lockstep.get(find(&lockstep, Role::Totals));
                        let mut total = 0.0;
                        for (o, (name, _, weight)) in stored.outputs().iter().enumerate() {
                            let all: RowMetrics = bytemuck::cast_slice(&totals[64 * o..64 * o + 4])[0];
                            let shape = stored.network.output_specs()[o].shape;
                            let rows = stored.rows() * shape[..shape.len() - 1].iter().product::<u32>();
                            let loss = all.loss / rows as f32;
                            total += weight * loss;
                            if step == 0 {
                                let expected = stored.get("loss", name);
                                let allowed = |_| case.roundings * or_one(expected[0]);
                                assert_close(&format!("{what}: loss {name}"), &[loss], &expected, allowed);
                            }
                        }
                        let expected = &stored.get(optimizer, "losses")[step..=step];
                        // Each step moves the weights, and carries over the errors of the steps before.
                        let allowed = (1.0 + step as f64) * case.roundings * or_one(expected[0]);
                        assert_close(&format!("{what}: loss before step {step}"), &[total], expected, |_| allowed);
                        if step == 0 && keep_gradients {
                            let got = lockstep.get(find(&lockstep, Role::Gradients));
                            assert_close(&format!("{what}: gradients"), &got, &gradients, |_| off);
                        }
                    }
                    let expected = stored.weights(optimizer);
                    let got = lockstep.get(find(&lockstep, Role::Parameters));
                    let rate = f64::from(learning_rate);
                    // Five updates round a weight and carry over the error of its gradient. SGD with momentum 0.9
                    // applies the first gradient 4.1 times, and all five gradients 13 times. Adam divides the error by
                    // the gradient.
                    let handed_on = |i: usize| match optimizer {
                        "sgd" => 13.0 * rate * off,
                        _ if gradients[i] == 0.0 => 0.0,
                        _ => 5.0 * rate * (20.0 + off / f64::from(gradients[i]).abs()),
                    };
                    let allowed = |i: usize| 6.0 * or_one(expected[i]) + handed_on(i);
                    assert_close(&format!("{what}: weights"), &got, &expected, allowed);
                }
            }
        }
    }
}

/// Trains and predicts through the public interface, with data named after the inputs and outputs.
#[test]
fn graphs_train_on_each_device() {
    let oracle = Oracle::open("graphs");
    for (case, device) in CASES.iter().flat_map(|case| devices().map(|device| (case, device))) {
        let stored = Stored::of(&oracle, case, Identity);
        let (inputs, outputs) = (stored.inputs(), stored.outputs());
        let ends = stored.network.input_specs().iter().zip(&inputs);
        let data = ends.fold(Dataset::of_rows(stored.rows() as usize), |data, (end, values)| {
            data.input(&end.name, values.clone(), end.shape)
        });
        let ends = stored.network.output_specs().iter().zip(&outputs);
        let data = ends.fold(data, |data, (end, (name, loss, _))| {
            let (words, classes) = (stored.words("target", name), *end.shape.last().unwrap());
            match (loss, end.shape.len()) {
                (Loss::MeanSquaredError, _) => data.targets(&end.name, bytemuck::cast_vec(words), end.shape),
                (_, 1) => data.labels(&end.name, words, classes),
                _ => data.positions(&end.name, words, end.shape[0], classes).ignoring(&end.name, 255),
            }
        });
        let data = data.build().unwrap();
        // Adds the error of a GPU's tanh, whose outputs are multiplied by weights below 1.
        let roundings = case.roundings + 2.0 * tanh_is_off(&device);
        let start = stored.weights("start");
        let kind = if matches!(device, Device::Cpu) { "CPU" } else { "GPU" };
        let what = format!("{} on a {kind}", case.name);

        let model = Model::new(device.clone(), &stored.network, &start).unwrap();
        let named = stored.network.input_specs().iter().zip(&inputs).map(|(end, values)| (&*end.name, values));
        for (got, (name, ..)) in model.forward_all(named.collect::<Vec<_>>()).unwrap().iter().zip(&outputs) {
            let expected = stored.get("output", name);
            assert_close(&format!("{what}: {name}"), got, &expected, |i| roundings * or_one(expected[i]));
        }

        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() };
        let config = TrainerConfig { batch: stored.rows(), shuffle: false, ..TrainerConfig::default() };
        let mut trainer =
            Trainer::from_parameters(device, &stored.network, stored.losses(), sgd, config, &start).unwrap();
        let history = trainer.fit(&data, Fit { epochs: 5, ..Fit::default() }, |_| {}).unwrap();
        let losses: Vec<f32> = history.epochs.iter().map(|epoch| epoch.train.loss as f32).collect();
        let expected = stored.get("sgd", "losses");
        let allowed = |step: usize| (1.0 + step as f64) * roundings * or_one(expected[step]);
        assert_close(&format!("{what}: losses"), &losses, &expected, allowed);
        let off = 2.0 * roundings * largest(&stored.weights("gradient"));
        let expected = stored.weights("sgd");
        let got = trainer.model().parameters().unwrap();
        assert_close(&format!("{what}: weights"), &got, &expected, |i| 6.0 * or_one(expected[i]) + 13.0 * 0.1 * off);
    }
}

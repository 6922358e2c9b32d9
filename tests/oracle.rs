//! Compares the engine with PyTorch: `oracle/README.md` describes the stored results. Single ops run in lockstep,
//! which compares the GPU with the CPU reference number by number. This file compares the reference with PyTorch.
//! Whole networks and trainings run on each device.
//!
//! Tolerances count roundings. Each rounding moves a number by at most u = 2⁻²⁴ of its size. The stored numbers were
//! rounded once too. So were options such as a slope of 0.1, which PyTorch takes as f64.

#[path = "oracle/batch_norm.rs"]
mod batch_norm;
#[path = "oracle/convolutions.rs"]
mod convolutions;
#[path = "oracle/graphs.rs"]
mod graphs;
#[path = "oracle/images.rs"]
mod images;
#[path = "oracle/norms.rs"]
mod norms;
#[path = "oracle/second_derivatives.rs"]
mod second_derivatives;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use safetensors::SafeTensors;
use serde_json::Value;
use wgrad::lockstep::Lockstep;
use wgrad::plan::*;
use wgrad::*;

const U: f64 = 1.0 / 16_777_216.0;

// Stored results -----------------------------------------------------------------------------------------------------

struct Oracle(Vec<u8>);

impl Oracle {
    fn open(name: &str) -> Self {
        let path = format!("{}/tests/oracle/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}")))
    }

    /// The cases with their options.
    fn cases(&self) -> BTreeMap<String, Value> {
        let (_, header) = SafeTensors::read_metadata(&self.0).unwrap();
        let plain = ["torch_version", "format"];
        let cases = header.metadata().clone().unwrap_or_default().into_iter();
        cases
            .filter(|(name, _)| !plain.contains(&name.as_str()))
            .map(|(name, options)| (name, serde_json::from_str(&options).unwrap()))
            .collect()
    }

    /// The words of a tensor, f32 or i32.
    fn words(&self, name: &str) -> Option<Vec<u32>> {
        let tensor = SafeTensors::deserialize(&self.0).unwrap().tensor(name).ok()?;
        Some(tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    fn shape(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(name).unwrap().shape().iter().map(|&length| length as u32).collect()
    }

    fn get(&self, name: &str) -> Vec<f32> {
        bytemuck::cast_vec(self.words(name).unwrap_or_else(|| panic!("no tensor {name}")))
    }

    /// The weights of a network. `names` are PyTorch's tensor names, one for each of [`Network::parameters`]. PyTorch
    /// stores weights as \[out, in\].
    fn parameters(&self, network: &Network, names: &[&str]) -> Vec<f32> {
        let mut all = vec![0.0; network.parameter_words() as usize];
        assert_eq!(names.len(), network.parameters().len());
        for (name, parameter) in names.iter().zip(network.parameters()) {
            let given = self.get(name);
            let into = &mut all[parameter.range()];
            match *parameter.shape {
                [inputs, units] => (0..into.len()).for_each(|i| {
                    let (input, unit) = (i / units as usize, i % units as usize);
                    into[i] = given[unit * inputs as usize + input];
                }),
                _ => into.copy_from_slice(&given),
            }
        }
        all
    }
}

// Comparison ---------------------------------------------------------------------------------------------------------

/// Asserts that every number is within `allowed(i)` roundings of 1 of the expected number. Subnormal numbers may be
/// flushed to zero.
fn assert_close(what: &str, got: &[f32], expected: &[f32], allowed: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let (mut worst, mut share) = (0f64, 0f64);
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        if got == expected {
            continue;
        }
        let (off, allowed) = ((f64::from(got) - f64::from(expected)).abs(), allowed(i) * U);
        let bound = allowed + f64::from(f32::MIN_POSITIVE);
        assert!(off <= bound, "{what} [{i}]: {got:e}, but PyTorch has {expected:e}: off by {off:e}, allowed {bound:e}");
        (worst, share) = (worst.max(off), share.max(off / bound));
    }
    println!("{what}: off by {worst:.1e} at most, {:.0}% of what is allowed", share * 100.0);
}

/// max(1, |x|).
fn or_one(x: f32) -> f64 {
    f64::from(x).abs().max(1.0)
}

/// Two GPUs: the adapter as wgrad opens it, and a device without optional features. Together they use every variant
/// of the kernels.
fn gpus() -> &'static [Gpu; 2] {
    static GPUS: OnceLock<[Gpu; 2]> = OnceLock::new();
    GPUS.get_or_init(|| {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        let adapter = pollster::block_on(instance.request_adapter(&options)).expect("an adapter: see scripts/setup.sh");
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
        [Gpu::request().unwrap(), Gpu::from_parts(device, queue)]
    })
}

fn devices() -> [Device; 3] {
    [Device::Cpu, Device::from(&gpus()[0]), Device::from(&gpus()[1])]
}

/// The error that WGSL allows for tanh, in roundings of 1. On the CPU tanh is rounded like any other number.
fn tanh_is_off(device: &Device) -> f64 {
    if matches!(device, Device::Cpu) { 0.0 } else { 1e-5 / U }
}

/// A lockstep of a test's plan with the kernels that training uses. The lengths in the plan must be right.
fn lockstep(gpu: &Gpu, plan: Plan) -> Lockstep {
    // SAFETY: every plan here has tensors of the lengths that its ops need. Its data sets have the stated number of
    // rows.
    unsafe { Lockstep::new_unchecked(gpu, plan) }.unwrap()
}

/// Runs a plan once. The GPU must agree with the reference.
fn run(lockstep: &mut Lockstep, what: &str) {
    for comparison in lockstep.run().unwrap() {
        assert!(comparison.divergence.is_none(), "{what}: {comparison}");
    }
}

/// A plan of ops over buffers of these lengths.
fn plan(lengths: &[usize], step: Vec<Op>) -> Plan {
    let buffer = |(i, len): (usize, &usize)| Buffer {
        name: format!("buffer {i}"),
        dtype: Dtype::F32,
        shape: Some((*len as u32).into()),
        role: Role::Activation,
        contents: vec![],
        memory: None,
    };
    Plan { name: "test", batch: 1, buffers: lengths.iter().enumerate().map(buffer).collect(), step, report: vec![] }
}

/// A tensor over the whole buffer.
fn tensor(buffer: usize, shape: impl Into<Shape>) -> Tensor {
    Tensor::new(BufferId(buffer), Dtype::F32, shape)
}

// Activations --------------------------------------------------------------------------------------------------------

/// The activations by their stored names. The flag says whether the derivative reads the input instead of the output.
fn activations() -> [(&'static str, Activation, bool); 13] {
    use Activation::*;
    [
        ("identity", Identity, false),
        ("relu", Relu, false),
        ("leaky_relu", LeakyRelu(0.1), false),
        ("elu", Elu(0.7), false),
        ("selu", Selu, false),
        ("gelu_erf", GeluErf, true),
        ("gelu_tanh", GeluTanh, true),
        ("silu", Silu, true),
        ("softplus", Softplus, true),
        ("sigmoid", Sigmoid, false),
        ("tanh", Tanh, false),
        ("hard_sigmoid", HardSigmoid, false),
        ("hard_swish", HardSwish, true),
    ]
}

/// Activations and their derivatives must agree with PyTorch. They run in the pointwise kernel and as the epilogue of
/// a matmul by 1.
#[test]
fn activations_and_their_derivatives() {
    let oracle = Oracle::open("activations");
    assert_eq!(oracle.cases().len(), activations().len() + 1, "softmax has a test of its own");
    for (name, activation, from_input) in activations() {
        let [x, dy, y, dx] = ["x", "dy", "y", "dx"].map(|part| oracle.get(&format!("{name}.{part}")));
        let n = x.len();
        let [in_x, in_dy, one, out_y, out_dx, product_y, product_dx] =
            [0, 1, 2, 3, 4, 5, 6].map(|i| tensor(i, n as u32));
        let one = tensor(one.buffer.0, 1);
        let saved = if from_input { in_x } else { out_y };
        let pointwise =
            |input, saved, output| Op::Pointwise(Pointwise { input, saved, output, activation, dropout: None });
        let product = |a, c, epilogue| Op::Matmul(Matmul { epilogue, ..Matmul::new(a, one, c, Layout::Nn) });
        let ops = vec![
            pointwise(in_x, None, out_y),
            pointwise(in_dy, Some(saved), out_dx),
            product(in_x, product_y, Epilogue::Bias { bias: None, activation }),
            product(in_dy, product_dx, Epilogue::Derivative { saved, activation }),
        ];
        for gpu in gpus() {
            let mut lockstep = lockstep(gpu, plan(&[n, n, 1, n, n, n, n], ops.clone()));
            lockstep.set(in_x.buffer, &x).unwrap();
            lockstep.set(in_dy.buffer, &dy).unwrap();
            lockstep.set(one.buffer, &[1.0f32]).unwrap();
            run(&mut lockstep, name);
            // Two roundings: one by PyTorch and one here. A slope or alpha adds half a rounding.
            for out in [out_y, product_y] {
                assert_close(&format!("{name}, forward"), &lockstep.get(out.buffer), &y, |i| 2.5 * or_one(y[i]));
            }
            // Slopes are at most 1.76. Four roundings count: the output, the slope, the product and the stored
            // number. The slope is computed from the output. For tanh that is of size 1 and counts twice.
            for out in [out_dx, product_dx] {
                let allowed = |i: usize| 4.0 * 1.76 * or_one(dy[i]);
                assert_close(&format!("{name}, backward"), &lockstep.get(out.buffer), &dx, allowed);
            }
        }
    }
}

/// At infinity activations must return their limits, even if PyTorch returns NaN.
#[test]
fn activations_at_infinity() {
    let oracle = Oracle::open("activations");
    for (name, activation, _) in activations() {
        let [x, y] = ["extreme_x", "extreme_y"].map(|part| oracle.get(&format!("{name}.{part}")));
        let (input, output) = (tensor(0, 4), tensor(1, 4));
        let op = Op::Pointwise(Pointwise { input, saved: None, output, activation, dropout: None });
        for gpu in gpus() {
            let mut lockstep = lockstep(gpu, plan(&[4, 4], vec![op.clone()]));
            lockstep.set(input.buffer, &x).unwrap();
            run(&mut lockstep, name);
            assert_close(&format!("{name} at its ends"), &lockstep.get(output.buffer), &y, |i| 2.5 * or_one(y[i]));
        }
    }
}

/// Softmax and its gradient must agree with PyTorch.
#[test]
fn softmax_and_its_gradient() {
    let oracle = Oracle::open("activations");
    let [x, dy, y, dx] = ["x", "dy", "y", "dx"].map(|part| oracle.get(&format!("softmax.{part}")));
    let [in_x, in_dy, out_y, out_dx] = [0, 1, 2, 3].map(|i| tensor(i, [6, 11]));
    let softmax = |input, saved, output| Op::Softmax(Softmax { input, saved, output });
    for gpu in gpus() {
        let ops = vec![softmax(in_x, None, out_y), softmax(in_dy, Some(out_y), out_dx)];
        let mut lockstep = lockstep(gpu, plan(&[x.len(); 4], ops));
        lockstep.set(in_x.buffer, &x).unwrap();
        lockstep.set(in_dy.buffer, &dy).unwrap();
        run(&mut lockstep, "softmax");
        // Roundings of z − max, e^, the quotient and the stored number. The sum has 11 positive terms, few of them
        // large.
        assert_close("softmax", &lockstep.get(out_y.buffer), &y, |_| 8.0);
        // y (dy − Σ dy y) has twice that error, for |dy| of at most 3.
        assert_close("softmax, backward", &lockstep.get(out_dx.buffer), &dx, |_| 2.0 * 3.0 * 8.0);
    }
}

// Losses -------------------------------------------------------------------------------------------------------------

/// Losses and their gradients must agree with PyTorch. Each case is a training step of a network that passes its
/// input on. A loss that includes an activation gets that activation. Each case runs as a full batch and as the
/// partial batch of a larger batch size.
#[test]
fn losses_and_their_gradients() {
    let oracle = Oracle::open("losses");
    const ROWS: usize = 7;
    for (case, options) in oracle.cases() {
        let number = |name: &str| options[name].as_f64().unwrap() as f32;
        let (loss, links): (Loss, &[Activation]) = match case.as_str() {
            c if c.starts_with("mean_squared_error") => (Loss::MeanSquaredError, &[]),
            c if c.starts_with("sum_of_squares") => (Loss::SumOfSquares, &[]),
            c if c.starts_with("mean_absolute_error") => (Loss::MeanAbsoluteError, &[]),
            c if c.starts_with("huber") => (Loss::Huber { delta: number("delta") }, &[]),
            c if c.starts_with("binary_cross_entropy") => (Loss::BinaryCrossEntropy, &[Activation::Sigmoid]),
            c if c.starts_with("softmax_cross_entropy") => (Loss::SoftmaxCrossEntropy, &[Activation::Softmax]),
            c if c.starts_with("smoothed_softmax_cross_entropy") => {
                (Loss::SmoothedSoftmaxCrossEntropy { smoothing: number("smoothing") }, &[Activation::Softmax])
            }
            _ => panic!("an unknown case: {case}"),
        };
        let get = |part: &str| oracle.get(&format!("{case}.{part}"));
        let words = |part: &str| oracle.words(&format!("{case}.{part}"));
        // wgrad computes a loss over probabilities from their logits.
        let input = words("logits").or_else(|| words("output")).unwrap();
        let (target, weight) = (words("target").unwrap(), words("weight"));
        let width = target.len() / ROWS;
        let targets: Vec<u32> = (0..ROWS)
            .flat_map(|row| target[row * width..][..width].iter().chain(weight.as_ref().map(|w| &w[row])))
            .copied()
            .collect();
        let info = DataInfo {
            rows: ROWS as u32,
            values: u32::from(width > 1),
            weighted: weight.is_some().into(),
            feature_stride: 5,
            target_stride: (targets.len() / ROWS) as u32,
            ..DataInfo::default()
        };
        let weights: Vec<f32> = weight.map_or(vec![1.0; ROWS], bytemuck::cast_vec);
        let row_losses: Vec<f32> = get("row_loss").iter().zip(&weights).map(|(loss, weight)| loss * weight).collect();
        let rows_of_mean = if options["reduction"] == "mean" { ROWS as f32 } else { 1.0 };

        for (&last, batch) in [Activation::Identity].iter().chain(links).flat_map(|last| [(last, 7), (last, 10)]) {
            let network = Network::input(5).activation(last).build().unwrap();
            let config = TrainerConfig { batch, keep_gradients: true, ..TrainerConfig::default() };
            let plan = Plan::training(&network, loss, &Sgd::default().into(), &config).unwrap();
            let id = |role| plan.find(role).unwrap();
            let (features, data, targets_id) = (id(Role::Features(0)), id(Role::Data(0)), id(Role::Targets(0)));
            let (gradient, metrics, totals) = (id(Role::ActivationGradient), id(Role::RowMetrics), id(Role::Totals));
            for gpu in gpus() {
                let what = format!("{case} of {last}, a batch of {batch}");
                let mut lockstep = lockstep(gpu, plan.clone());
                lockstep.set(features, &input).unwrap();
                lockstep.set(targets_id, &targets).unwrap();
                lockstep.set(data, &[info]).unwrap();
                run(&mut lockstep, &what);
                // All terms have one sign. Roundings: a difference, a function, a product, a sum of five, the mean,
                // the weight and the stored number.
                let slots: Vec<RowMetrics> = bytemuck::cast_vec(lockstep.get(metrics));
                let losses: Vec<f32> = slots.iter().filter(|slot| slot.rows > 0).map(|slot| slot.loss).collect();
                assert_close(&what, &losses, &row_losses, |i| 12.0 * or_one(row_losses[i]));
                let total = lockstep.get(totals)[0] / rows_of_mean;
                let expected = get("loss");
                assert_close(&format!("{what}, total"), &[total], &expected, |i| (12.0 + 7.0) * or_one(expected[i]));
                // The gradient has the same number of roundings. Softmax has the sum, the other losses have none.
                let (gradients, expected) = (lockstep.get(gradient), get("gradient"));
                let (there, lacking) = gradients.split_at(ROWS * 5);
                assert_close(&format!("{what}, gradient"), there, &expected, |i| 12.0 * or_one(expected[i]));
                assert!(lacking.iter().all(|&g| g == 0.0), "{what}: gradients of rows that are not there");
            }
        }
    }
}

// Optimizers ---------------------------------------------------------------------------------------------------------

/// The optimizer and the gradient clipping that a case's options describe. The options have PyTorch's names.
fn optimizer(options: &Value) -> (Optimizer, Option<Clip>) {
    let f32 = |value: &Value| value.as_f64().unwrap() as f32;
    let number = |name: &str| f32(&options[name]);
    let (learning_rate, weight_decay) = (number("lr"), number("weight_decay"));
    let beta = |i: usize| f32(&options["betas"][i]);
    let optimizer = match options["optimizer"].as_str().unwrap() {
        "sgd" => {
            let nesterov = options["nesterov"] == true;
            let (momentum, dampening) = (number("momentum"), number("dampening"));
            Sgd { learning_rate, momentum, dampening, nesterov, weight_decay }.into()
        }
        "rmsprop" => {
            let (alpha, epsilon, momentum) = (number("alpha"), number("eps"), number("momentum"));
            RmsProp { learning_rate, alpha, epsilon, momentum, weight_decay }.into()
        }
        "adagrad" => {
            let (rate_decay, epsilon) = (number("lr_decay"), number("eps"));
            let initial_accumulator = number("initial_accumulator_value");
            Adagrad { learning_rate, rate_decay, initial_accumulator, epsilon, weight_decay }.into()
        }
        "adam" => Adam {
            learning_rate,
            beta1: beta(0),
            beta2: beta(1),
            epsilon: number("eps"),
            weight_decay,
            ..Adam::default()
        }
        .into(),
        "adamw" => AdamW { learning_rate, beta1: beta(0), beta2: beta(1), epsilon: number("eps"), weight_decay }.into(),
        "lion" => Lion { learning_rate, beta1: beta(0), beta2: beta(1), weight_decay }.into(),
        other => panic!("an unknown optimizer: {other}"),
    };
    let limit = |name: &str| options.get(name).map(&f32);
    (optimizer, limit("clip_norm").map(Clip::Norm).or(limit("clip_value").map(Clip::Value)))
}

/// Ten updates of 64 weights must agree with PyTorch. The plan holds only the update of a training plan.
#[test]
fn optimizers_over_ten_updates() {
    let oracle = Oracle::open("optimizers");
    let (start, gradients) = (oracle.get("start"), oracle.get("gradients"));
    let network = Network::input(8).layer(Dense::new(8, Activation::Identity).without_bias()).build().unwrap();
    for (case, options) in oracle.cases() {
        let expected = oracle.get(&format!("{case}.parameters"));
        let (optimizer, clip) = optimizer(&options);
        let config = TrainerConfig { clip, keep_gradients: true, ..TrainerConfig::default() };
        let mut plan = Plan::training(&network, Loss::MeanSquaredError, &optimizer, &config).unwrap();
        plan.step.retain(|op| matches!(op, Op::SumSquares(_) | Op::Update(_)));
        plan.report.clear();
        let id = |role| plan.find(role).unwrap();
        let (parameters, given, step) = (id(Role::Parameters), id(Role::Gradients), id(Role::Step));
        for gpu in gpus() {
            let mut lockstep = lockstep(gpu, plan.clone());
            lockstep.set(parameters, &start).unwrap();
            // For each weight: the largest change so far, and the roundings so far.
            let mut largest = vec![0f64; start.len()];
            let mut allowed = largest.clone();
            let mut before = &start[..];
            for (update, (gradient, expected)) in (1..).zip(gradients.chunks(64).zip(expected.chunks(64))) {
                let learning_rate = optimizer.learning_rate();
                let state = StepState { step: update, update, due: 1, learning_rate, ..StepState::default() };
                lockstep.set(given, gradient).unwrap();
                lockstep.set(step, &[state]).unwrap();
                let what = format!("{case}, update {update}");
                run(&mut lockstep, &what);
                // An update rounds the weight, and so does its decay. The change of the weight takes about twelve
                // roundings, of operations and options. They count relative to the largest change so far, because
                // moments may cancel.
                for i in 0..start.len() {
                    let (w, before) = (f64::from(expected[i]), f64::from(before[i]));
                    largest[i] = largest[i].max((w - before).abs());
                    allowed[i] += 2.0 * before.abs().max(w.abs()) + 12.0 * largest[i];
                }
                let stored = |i: usize| f64::from(expected[i]).abs();
                assert_close(&what, &lockstep.get(parameters), expected, |i| allowed[i] + stored(i));
                before = expected;
            }
        }
    }
}

// Schedules ----------------------------------------------------------------------------------------------------------

const RATE: f32 = 0.1;

/// The schedules by their stored names and options. PyTorch's smallest rates are converted to fractions of the first
/// rate.
fn schedule(name: &str, options: &Value) -> Schedule {
    let number = |name: &str| options[name].as_f64().unwrap();
    let whole = |name: &str| options[name].as_u64().unwrap() as u32;
    let floor = |name: &str| (number(name) / number("rate")) as f32;
    match name {
        "constant" => Schedule::constant(),
        "step" => Schedule::step(whole("step_size"), number("gamma") as f32),
        "exponential" => Schedule::exponential(number("gamma") as f32),
        "cosine" => Schedule::cosine(whole("t_max"), floor("eta_min")),
        "warmup_cosine" => Schedule::cosine(whole("t_max"), floor("eta_min")).warm_up(whole("warmup")),
        "one_cycle" => Schedule::one_cycle(whole("total_steps")),
        "plateau" => Schedule::reduce_on_plateau(Plateau {
            factor: number("factor") as f32,
            patience: whole("patience"),
            min_delta: number("threshold"),
            floor: floor("min_lr"),
            ..Plateau::default()
        }),
        other => panic!("an unknown schedule: {other}"),
    }
}

/// The rate of each of 60 updates of one batch must agree with PyTorch, from [`Schedule::factor`] and from the
/// kernel.
#[test]
fn schedules_over_sixty_updates() {
    let oracle = Oracle::open("schedules");
    let network = Network::input(1).activation(Activation::Identity).build().unwrap();
    let optimizer = Sgd { learning_rate: RATE, ..Sgd::default() }.into();
    for (name, options) in oracle.cases().into_iter().filter(|(name, _)| name != "plateau") {
        let expected = oracle.get(&format!("{name}.rates"));
        let schedule = schedule(&name, &options);
        let on_host: Vec<f32> = (0..60).map(|n| RATE * schedule.factor(n)).collect();
        let config = TrainerConfig { batch: 1, schedule, ..TrainerConfig::default() };
        let mut plan = Plan::training(&network, Loss::MeanSquaredError, &optimizer, &config).unwrap();
        plan.step.retain(|op| matches!(op, Op::NextBatch(_)));
        plan.report.clear();
        let (data, step) = (plan.find(Role::Data(0)).unwrap(), plan.find(Role::Step).unwrap());
        // Errors are relative to the rate. Roundings: the first rate, the factor, the product, the stored number and
        // an option. A power adds half a rounding of its option for each update.
        let power = |n: usize| if name == "exponential" { n as f64 / 2.0 } else { 0.0 };
        assert_close(&name, &on_host, &expected, |n| f64::from(expected[n]) * (5.0 + power(n)));
        for gpu in gpus() {
            let mut lockstep = lockstep(gpu, plan.clone());
            lockstep.set(data, &[DataInfo { rows: 1, ..DataInfo::default() }]).unwrap();
            let rates: Vec<f32> = (1..=60)
                .map(|update| {
                    run(&mut lockstep, &name);
                    let state = bytemuck::cast_slice::<f32, StepState>(&lockstep.get(step))[0];
                    assert_eq!((state.update, state.due), (update, 1));
                    state.learning_rate
                })
                .collect();
            assert_eq!(rates, on_host, "{name}");
        }
    }
}

/// The rate must fall on a plateau as in PyTorch. With y = w the loss |y − t| can be set to any number. Its gradient
/// is 1, so each epoch subtracts the rate from w.
#[test]
fn the_rate_falls_on_a_plateau() {
    let oracle = Oracle::open("schedules");
    let schedule = schedule("plateau", &oracle.cases()["plateau"]);
    let (losses, rates) = (oracle.get("plateau.losses"), oracle.get("plateau.rates"));
    let network = Network::input(1).layer(Dense::new(1, Activation::Identity).without_bias()).build().unwrap();
    for device in devices() {
        let optimizer = Sgd { learning_rate: RATE, ..Sgd::default() };
        let config = TrainerConfig { batch: 1, schedule, ..TrainerConfig::default() };
        let mut trainer =
            Trainer::from_parameters(device, &network, Loss::MeanAbsoluteError, optimizer, config, &[0.0; 64]).unwrap();
        let mut taken = Vec::new();
        let mut w = 0.0;
        // A loss sets the rate of the next epoch.
        for loss in losses.iter().chain(&losses[..1]) {
            let data = Dataset::from_f32_targets(vec![1.0], 1, vec![w - loss], 1).unwrap();
            let history = trainer.fit(&data, Fit::default(), |_| {}).unwrap();
            let after = trainer.model().parameters().unwrap()[0];
            let epoch = history.epochs[0];
            // w and t are below 5. This allows two roundings of that size.
            assert!((epoch.train.loss - f64::from(*loss)).abs() <= 10.0 * U, "{epoch:?}");
            assert!((f64::from(w - after) - f64::from(epoch.learning_rate)).abs() <= 10.0 * U, "{epoch:?}");
            taken.push(epoch.learning_rate);
            w = after;
        }
        let all: Vec<f32> = std::iter::once(RATE).chain(rates.iter().copied()).collect();
        assert_close("plateau", &taken, &all, |i| f64::from(all[i]) * 5.0);
    }
}

// Layer normalisation ------------------------------------------------------------------------------------------------

/// Layer normalisation and its gradients must agree with PyTorch.
#[test]
fn layer_normalisation_and_its_gradients() {
    let oracle = Oracle::open("layer_norm");
    let n = 6 * 37;
    let epsilon = oracle.cases()["layer_norm"]["eps"].as_f64().unwrap() as f32;
    let lengths = [n, n, n, n, 37, 37, 37, 37, 12];
    let [x, gradient, y, dx] = [0, 1, 2, 3].map(|i| tensor(i, [6, 37]));
    let [scale, shift, scale_gradient, shift_gradient] = [4, 5, 6, 7].map(|i| tensor(i, 37));
    let statistics = tensor(8, [6, 2]);
    let ops = vec![
        Op::LayerNormForward(LayerNormForward { x, scale, shift: Some(shift), y, statistics, groups: 1, epsilon }),
        Op::LayerNormInput(LayerNormInput { gradient, x, scale, statistics, output: dx, groups: 1, centred: true }),
        Op::LayerNormParameters(LayerNormParameters {
            gradient,
            x,
            statistics,
            scale_gradient,
            shift_gradient: Some(shift_gradient),
            groups: 1,
        }),
    ];
    // A sum of n terms errs by about √n roundings. The mean is about 20, so its error outweighs that of any
    // deviation. In units of the standard deviation this is the error of x̂, plus a few roundings of its own.
    let [xs, dys, scales] = ["x", "dy", "gamma"].map(|name| oracle.get(name));
    let mut allowed = [vec![0.0; n], vec![0.0; n], vec![0.0; 37], vec![0.0; 37]];
    for (row, xs) in xs.chunks(37).enumerate() {
        let mean_of = |f: &dyn Fn(f64) -> f64| xs.iter().map(|&x| f(x.into())).sum::<f64>() / 37.0;
        let mean = mean_of(&|x| x);
        let inverse = 1.0 / (mean_of(&|x| (x - mean).powi(2)) + f64::from(epsilon)).sqrt();
        for (i, &x) in xs.iter().enumerate() {
            let (at, scale, dy) = (row * 37 + i, f64::from(scales[i]).abs(), f64::from(dys[row * 37 + i]).abs());
            let normalised = (f64::from(x) - mean).abs() * inverse;
            let off = 37f64.sqrt() * mean_of(&f64::abs) * inverse + 6.0 * normalised;
            allowed[0][at] = off * scale + 2.0;
            // dx comes from d − mean d − x̂ mean(d x̂). Both means are below 1.
            allowed[1][at] = (off + 6.0 * (dy * scale + 1.0 + normalised)) * inverse;
            allowed[2][i] += dy * off;
            allowed[3][i] += dy * 6.0;
        }
    }
    for gpu in gpus() {
        let mut lockstep = lockstep(gpu, plan(&lengths, ops.clone()));
        for (tensor, name) in [(x, "x"), (scale, "gamma"), (shift, "beta"), (gradient, "dy")] {
            lockstep.set(tensor.buffer, &oracle.get(name)).unwrap();
        }
        run(&mut lockstep, "layer_norm");
        let [of_y, of_dx, of_scale, of_shift] = &allowed;
        let results = [
            (y, "y", of_y),
            (dx, "dx", of_dx),
            (scale_gradient, "dgamma", of_scale),
            (shift_gradient, "dbeta", of_shift),
        ];
        for (tensor, name, allowed) in results {
            assert_close(name, &lockstep.get(tensor.buffer), &oracle.get(name), |i| allowed[i]);
        }
    }
}

// Networks -----------------------------------------------------------------------------------------------------------

/// A network with PyTorch's weights must give PyTorch's outputs.
#[test]
fn a_sequential_model_with_the_weights_of_pytorch() {
    let (oracle, io) = (Oracle::open("sequential"), Oracle::open("sequential_io"));
    let network = Network::input(7)
        .dense(9, Activation::Relu)
        .layer_norm()
        .layer(Dense::new(5, Activation::Tanh).without_bias())
        .dense(3, Activation::Identity)
        .build()
        .unwrap();
    let names = ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "5.weight", "5.bias"];
    let parameters = oracle.parameters(&network, &names);
    let expected = io.get("output");
    for device in devices() {
        // Sums of 7, 9, 9, 5 and 5 terms err by about √n roundings each. tanh counts five times, with weights below
        // 1/2.
        let allowed = 20.0 + 2.5 * tanh_is_off(&device);
        let model = Model::new(device, &network, &parameters).unwrap();
        assert_close("sequential", &model.forward(&io.get("input")).unwrap(), &expected, |i| {
            allowed * or_one(expected[i])
        });
    }
}

/// 30 steps of Adam over all rows must agree with PyTorch.
#[test]
fn a_training_run() {
    let oracle = Oracle::open("training");
    let options = &oracle.cases()["training"];
    let (optimizer, _) = optimizer(options);
    let network = Network::input(6)
        .dense(8, Activation::Tanh)
        .dense(5, Activation::Relu)
        .dense(3, Activation::Identity)
        .build()
        .unwrap();
    let names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"];
    let final_names = names.map(|name| format!("final.{name}"));
    let start = oracle.parameters(&network, &names);
    let end = oracle.parameters(&network, &final_names.each_ref().map(String::as_str));
    let data = Dataset::from_f32(oracle.get("x"), 6, oracle.words("labels").unwrap(), 3).unwrap();
    let config = TrainerConfig { batch: data.rows() as u32, shuffle: false, ..TrainerConfig::default() };
    for device in devices() {
        let off = tanh_is_off(&device);
        let loss = Loss::SoftmaxCrossEntropy;
        let mut trainer = Trainer::from_parameters(device, &network, loss, optimizer, config.clone(), &start).unwrap();
        let history = trainer.fit(&data, Fit { epochs: 30, ..Fit::default() }, |_| {}).unwrap();
        let losses: Vec<f32> = history.epochs.iter().map(|epoch| epoch.train.loss as f32).collect();
        let expected = oracle.get("losses");
        // Sums of 6, 8, 5, 3 and 20 terms err by about √n roundings each.
        assert_close("losses of the training", &losses, &expected, |i| (20.0 + off) * or_one(expected[i]));
        // Each of 30 updates rounds the weight once. It rounds the change, of size 0.01, in about twenty operations.
        let parameters = trainer.model().parameters().unwrap();
        assert_close("weights after the training", &parameters, &end, |i| (30.0 * 1.2 + off) * or_one(end[i]));
    }
}

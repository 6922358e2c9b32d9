//! Tests costs and timings of plans: operation counts against formulas, timestamps against the wall clock, traces
//! against their format.

mod common;

use std::time::Instant;

use common::*;
use wgrad::plan::{Role, StepState};
use wgrad::{Activation::*, Adam, Dataset, Device, Error, Gpu, Loss, Network, Plan, Sgd, Trainer, TrainerConfig, wgpu};

fn mnist_network() -> Network {
    Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build().unwrap()
}

/// Random rows of the network's width with random labels.
fn data(network: &Network, rows: usize) -> Dataset {
    let mut random = Random(7);
    let labels = (0..rows).map(|_| random.below(network.outputs())).collect();
    let features = random.f32s(rows * network.inputs() as usize);
    Dataset::from_f32(features, network.inputs() as usize, labels, network.outputs()).unwrap()
}

fn trainer(device: impl Into<Device>, network: &Network, batch: u32) -> Trainer {
    let loss = Loss::SoftmaxCrossEntropy;
    Trainer::new(device, network, loss, Adam::default(), batches_of(batch)).unwrap()
}

/// The cost of a small plan must equal a count by hand.
#[test]
fn the_cost_of_a_small_plan_by_hand() {
    // 3 rows, 5 features, 4 units, 2 classes.
    let network = Network::input(5).dense(4, Relu).dense(2, Identity).build().unwrap();
    let optimizer = Sgd::default().into();
    let config = TrainerConfig { keep_gradients: true, op_by_op: true, ..batches_of(3) };
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &optimizer, &config).unwrap();
    let cost = plan.cost();
    let of =
        |title: &str| cost.ops.iter().find(|(op, _)| op.contains(title)).unwrap_or_else(|| panic!("{title}\n{cost}")).1;
    // Operations: multiply-adds, biases and ReLUs. Bytes: features, weights, biases and the output.
    assert_eq!(of("Nn 3x4x5").flops, 2 * 3 * 4 * 5 + 3 * 4 + 3 * 4);
    assert_eq!(of("Nn 3x4x5").bytes, 4 * (3 * 5 + 5 * 4 + 4 + 3 * 4));
    // The weight gradient, and the bias gradient as column sums.
    assert_eq!(of("Tn 4x2x3").flops, 2 * 4 * 2 * 3 + 2 * 3);
    assert_eq!(of("Tn 4x2x3").bytes, 4 * (3 * 4 + 3 * 2 + 4 * 2 + 2));
    // The gradient of the hidden layer. ReLU's derivative is a comparison and a multiplication.
    assert_eq!(of("Nt 3x4x2").flops, 2 * 3 * 4 * 2 + 3 * 4 * 2);
    assert_eq!(of("softmax_cross_entropy").flops, 5 * 3 + 12 * 3 * 2);
    // Operations: rate · g and a subtraction. Bytes: the gradient and the weight are read, the weight is written, and
    // the cursor's fifteen words are read.
    let words = u64::from(network.parameter_words());
    assert_eq!(of("update").flops, 2 * words);
    assert_eq!(of("update").bytes, 4 * (3 * words + 15));
    // Bytes: the row numbers, the data set's description (33 words), the cursor, and the rows read and written.
    assert_eq!(of("gather").bytes, 4 * (3 + 33 + 15 + 2 * 3 * 5));
    assert_eq!(cost.total().flops, cost.ops.iter().map(|(_, work)| work.flops).sum::<u64>());
    assert!(plan.to_string().starts_with(&format!(
        "training of 3 rows: {} ops a step, {} flops",
        plan.step.len(),
        cost.total().flops
    )));
}

/// A separate update and an update fused into matmuls must cost the same operations. The fused update neither writes
/// nor reads gradients and leaves out the gaps between tensors.
#[test]
fn a_fused_update_saves_the_gradients() {
    let network = Network::input(64).dense(64, Relu).dense(64, Identity).build().unwrap();
    let cost = |keep_gradients| {
        let config = TrainerConfig { keep_gradients, op_by_op: true, ..batches_of(32) };
        Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config).unwrap().cost()
    };
    let (separate, fused) = (cost(true), cost(false));
    assert_eq!(separate.ops.len(), fused.ops.len() + 1);
    assert_eq!(separate.total().flops, fused.total().flops);
    // The fused update reads the cursor in each of two matmuls. The separate update reads it once.
    let gradients = u64::from(network.parameter_words()) * 4;
    assert_eq!(separate.total().bytes, fused.total().bytes + 2 * gradients - size_of::<StepState>() as u64);
    assert_eq!(separate.memory(), fused.memory() + gradients);
}

/// Memory without sharing must be the sum of all buffers.
#[test]
fn memory_without_sharing_is_that_of_every_buffer() {
    let network = mnist_network();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &batches_of(128)).unwrap();
    let cost = plan.cost();
    let size = |name: &str| cost.buffers.iter().find(|buffer| buffer.name == name).unwrap().bytes;
    let words = u64::from(network.parameter_words());
    assert_eq!([size("parameters"), size("moments")], [Some(words * 4), Some(words * 8)]);
    assert_eq!([size("features"), size("targets")], [None; 2], "given at run time");
    assert_eq!(size("input"), Some(128 * 784 * 4));
    assert_eq!(cost.memory_without_sharing(), cost.buffers.iter().filter_map(|b| b.bytes).sum::<u64>());
    // Gradients reuse the memory of values that no later op reads.
    assert!(cost.least_memory() <= cost.memory() && cost.memory() < cost.memory_without_sharing());
    let table = cost.to_string();
    assert!(table.lines().any(|line| line.starts_with("a step ") && line.contains(&thousands(cost.total().flops))));
    assert!(table.lines().last().unwrap().ends_with(&thousands(cost.memory())), "{table}");
    println!("{table}");
}

/// A deep residual network needs little more memory than it uses at once: parameters, moments, and the values and
/// gradients in use. The test counts these from the ops alone.
#[test]
fn a_deep_residual_network_trains_in_hardly_more_than_it_uses_at_once() {
    let (width, batch) = (1024, 1024);
    let block = |net: wgrad::NetworkBuilder| net.residual(|x| x.dense(width, Relu).dense(width, Identity));
    let network = (0..10).fold(Network::input(width), |net, _| block(net)).build().unwrap();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(batch)).unwrap();
    let mut lives = std::collections::BTreeMap::new();
    for (at, op) in plan.step.iter().enumerate() {
        for tensor in op.inputs().into_iter().chain(op.outputs().into_iter().map(|(tensor, _)| tensor)) {
            lives.entry(tensor.buffer).or_insert([at, at])[1] = at;
        }
    }
    let is_value = |role| matches!(role, Role::Activation | Role::ActivationGradient | Role::Statistics);
    lives.retain(|id, _| is_value(plan.buffer(*id).role));
    let alive = |at: usize| lives.iter().filter(move |(_, [first, last])| (*first..=*last).contains(&at));
    let bytes = |at: usize| alive(at).map(|(id, _)| plan.buffer(*id).bytes().unwrap()).sum::<u64>();
    let most = (0..plan.step.len()).map(bytes).max().unwrap();
    let moments = plan.find(Role::Moments).and_then(|id| plan.buffer(id).bytes()).unwrap();
    let needed = u64::from(network.parameter_words()) * 4 + moments + most;
    let cost = plan.cost();
    assert_eq!(cost.alive, most);
    let share = cost.memory() as f64 / needed as f64;
    let [memory, needed, without] = [cost.memory(), needed, cost.memory_without_sharing()].map(thousands);
    println!("{memory} bytes, {share:.4} of {needed}; without sharing {without}");
    assert!(share <= 1.1, "{cost}");
}

/// Formats a number with commas, for example 1,234,567.
fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}

/// Timestamps must be in order and agree with the wall clock.
#[test]
fn timestamps_agree_with_the_wall_clock() {
    let network = mnist_network();
    let train = data(&network, 512);
    let trainer = trainer(gpu(), &network, 128);
    let profile = trainer.profile(&train, 10).unwrap();
    println!("{profile}");
    assert_eq!(profile.ops.len(), trainer.plan().step.len());
    for op in &profile.ops {
        assert_eq!(op.runs.len(), 10);
        assert!(op.runs.iter().all(|[begin, end]| begin <= end), "{op:?}");
    }
    // Ops run in sequence: no op begins before the previous op ends.
    for pair in profile.ops.windows(2) {
        for (before, after) in pair[0].runs.iter().zip(&pair[1].runs) {
            assert!(before[1] <= after[0], "{pair:?}");
        }
    }
    let shares: f64 = profile.ops.iter().map(|op| profile.share(op)).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");

    // Compares with the wall clock. The GPU times lie within the call. The call also runs each step in one pass and
    // does little else, so the ops take about half of it. Ticks taken for nanoseconds would be far off.
    let steps = 15;
    let start = Instant::now();
    let profile = trainer.profile(&train, steps).unwrap();
    let wall = start.elapsed().as_secs_f64();
    let in_ops: f64 = profile.ops.iter().flat_map(|op| &op.runs).map(|[begin, end]| end - begin).sum();
    let in_steps = profile.step_seconds * f64::from(steps);
    println!("of {wall:.3} s: {in_ops:.3} s in ops, {in_steps:.3} s in steps of one pass");
    assert!((0.1..1.0).contains(&(in_ops / wall)), "{in_ops} s of {wall} s");
}

/// Profiling must not change the training.
#[test]
fn a_profile_leaves_the_training_as_it_is() {
    let network = Network::input(12).dense(33, Tanh).dropout(0.2).dense(3, Softmax).build().unwrap();
    let train = data(&network, 50);
    let weights = |profiled: bool| {
        let mut trainer = trainer(gpu(), &network, 16);
        for _ in 0..2 {
            trainer.fit(&train, wgrad::Fit::default(), |_| {}).unwrap();
            if profiled {
                trainer.profile(&train, 3).unwrap();
            }
        }
        let weights = trainer.model().parameters().unwrap();
        weights.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(weights(false), weights(true));
}

/// A trace must follow the trace event format.
#[test]
fn a_trace_is_in_the_trace_event_format() {
    let network = mnist_network();
    let profile = trainer(gpu(), &network, 32).profile(&data(&network, 64), 3).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&profile.to_chrome_trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    // Two events name the process and the thread. Three steps follow, each with its ops inside.
    assert_eq!(events.len(), 2 + 3 * (1 + profile.ops.len()));
    let (names, runs) = events.split_at(2);
    for name in names {
        assert!(name["ph"] == "M" && name["args"]["name"].is_string(), "{name}");
    }
    let mut step = [0.0, 0.0];
    for event in runs {
        // A complete event: name, category, process, thread, start and duration in microseconds.
        assert!(event["ph"] == "X" && event["name"].is_string() && event["cat"].is_string(), "{event}");
        assert!(event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        let [start, length] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
        assert!(length >= 0.0, "{event}");
        if event["cat"] == "step" {
            // A tolerance of a nanosecond covers the sum of the previous steps.
            assert!(start >= step[1] - 1e-3, "{event}");
            step = [start, start + length];
        } else {
            assert!(start >= step[0] - 1e-3 && start + length <= step[1] + 1e-3, "{event} in {step:?}");
        }
    }
}

/// Calls that cannot be profiled must return an error with the reason.
#[test]
fn what_cannot_be_profiled_is_told() {
    let network = Network::input(2).dense(2, Softmax).build().unwrap();
    let train = data(&network, 4);
    // A device without the timestamp feature.
    let error = trainer(plain_gpu(), &network, 2).profile(&train, 1).unwrap_err();
    assert!(matches!(error, Error::MissingFeature { feature: "TIMESTAMP_QUERY", .. }), "{error}");
    assert!(error.to_string().starts_with("profiling needs the wgpu feature TIMESTAMP_QUERY"), "{error}");
    let error = trainer(Device::Cpu, &network, 2).profile(&train, 1).unwrap_err();
    assert!(matches!(error, Error::NeedsGpu { call: "Trainer::profile" }), "{error}");
    let error = trainer(gpu(), &network, 2).profile(&train, 0).unwrap_err();
    assert_eq!(error.to_string(), "steps must be at least 1, got 0");
    let other = Network::input(3).dense(2, Softmax).build().unwrap();
    assert!(matches!(trainer(gpu(), &other, 2).profile(&train, 1), Err(Error::Shape { .. })));
}

/// A plan with more passes than a query set has timestamps must still be timed.
#[test]
fn a_plan_of_thousands_of_ops_is_timed() {
    let network = Network::input(4).dense(4, Relu).build().unwrap();
    let mut plan = Plan::forward(&network, 3).unwrap();
    plan.step = vec![plan.step[0].clone(); 2500];
    let (input, output) = (plan.find(Role::Input(0)).unwrap(), plan.find(Role::Output(0)).unwrap());
    // SAFETY: the plan is one of wgrad's with one op repeated.
    let runner = unsafe { wgrad::plan_runner::PlanRunner::new_unchecked(gpu(), plan) }.unwrap();
    let profile = runner.profile(1).unwrap();
    assert_eq!(profile.ops.len(), 2500);
    assert!(profile.ops.windows(2).all(|pair| pair[0].runs[0][1] <= pair[1].runs[0][0]));
    assert!(runner.get(input).is_ok() && runner.get(output).is_ok());
}

#[test]
fn a_gpu_is_opened_from_an_adapter() {
    let adapters = pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        instance.enumerate_adapters(wgpu::Backends::all()).await
    });
    let gpu = pollster::block_on(Gpu::from_adapter(&adapters[0])).unwrap();
    assert_eq!(gpu.adapter_info().name, adapters[0].get_info().name);
}

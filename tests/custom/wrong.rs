//! Tests the check of custom layers before training. Correct layers must pass. Wrong layers must give an error that
//! names layer, kernel and place.

use wgrad::lockstep::{Lockstep, check_layer};
use wgrad::plan::Role;
use wgrad::*;

use crate::common::*;
use crate::sine::Sine;

/// y = tanh(w · a + b) of two inputs, and a running sum of y. A test may put a fault into a kernel's text or into the
/// CPU twin.
#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    /// The text to replace in a kernel, and its replacement.
    wrong: Option<[&'static str; 2]>,
    has_twin: bool,
    wrong_twin: bool,
}

/// Features of each input.
const FEATURES: u32 = 6;
const ROWS: u32 = 4;

impl Gate {
    fn kernel(&self, name: &str, text: &str) -> CustomOp {
        let [from, to] = self.wrong.unwrap_or_default();
        CustomOp::new(name, if text.contains(from) && !from.is_empty() { text.replace(from, to) } else { text.into() })
    }
}

impl CustomLayer for Gate {
    fn kind(&self) -> &str {
        "gate"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![inputs[0]])
    }

    fn parameters(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        vec![CustomParameter::new("w", inputs[0], Init::Constant(1.0))]
    }

    fn states(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        vec![CustomParameter::new("seen", inputs[0], Init::Zeros)]
    }

    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (a, b, w, y) = (ops.inputs[0], ops.inputs[1], ops.parameters[0], ops.outputs[0]);
        let text = "fn run(i: u32) {\n    let z = w[i % w_length] * a[i] + b[i];\n    y[i] = tanh(z);\n}";
        let kernel = self.kernel("forward", text).read("a", a).read("b", b).read("w", w).write("y", y);
        let wrong = if self.wrong_twin { 0.9 } else { 1.0 };
        let kernel = match self.has_twin {
            true => kernel.twin(1e-5, move |at| {
                let (a, b, w) = (at.read("a"), at.read("b"), at.read("w"));
                let y = at.write("y").iter_mut().enumerate();
                y.for_each(|(i, y)| *y = (w[i % w.len()] * a[i] + wrong * b[i]).tanh());
            }),
            false => kernel,
        };
        ops.run(kernel.invocations(y.len()))?;
        let text = "fn run(i: u32) { for (var k = i; k < y_length; k += seen_length) { seen[i] += y[k]; } }";
        let seen = ops.states[0];
        match ops.is_training {
            true => ops.run(self.kernel("see", text).read("y", y).change("seen", seen).invocations(seen.len())),
            false => Ok(()),
        }
    }

    fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (a, w, y, dy) = (ops.inputs[0], ops.parameters[0], ops.outputs[0], ops.output_gradient(0)?);
        let dz = ops.tensor("dz", y.shape)?;
        let text = "fn run(i: u32) { dz[i] = dy[i] * (1.0 - y[i] * y[i]); }";
        ops.run(self.kernel("dz", text).read("y", y).read("dy", dy).write("dz", dz).invocations(dz.len()))?;
        if let Some(da) = ops.input_gradients[0] {
            let text = "fn run(i: u32) { da[i] = dz[i] * w[i % w_length]; }";
            ops.run(self.kernel("da", text).read("dz", dz).read("w", w).write("da", da).invocations(da.len()))?;
        }
        if let Some(db) = ops.input_gradients[1] {
            let text = "fn run(i: u32) { db[i] = dz[i]; }";
            ops.run(self.kernel("db", text).read("dz", dz).write("db", db).invocations(db.len()))?;
        }
        if let Some(dw) = ops.parameter_gradients[0] {
            let text = "fn run(i: u32) {
                var sum = 0.0;
                for (var k = i; k < dz_length; k += dw_length) { sum += dz[k] * a[k]; }
                dw[i] = sum;
            }";
            ops.run(self.kernel("dw", text).read("dz", dz).read("a", a).write("dw", dw).invocations(dw.len()))?;
        }
        Ok(())
    }
}

fn check(gate: Gate) -> Result<lockstep::LayerReport> {
    check_layer(gpu(), gate, [FEATURES, FEATURES], ROWS)
}

/// The weights of a small network after some steps, on the device that the tests share.
fn trained() -> Vec<u32> {
    let network = Network::input(3).dense(8, Activation::Tanh).dense(2, Activation::Identity).build().unwrap();
    let x: Vec<f32> = (0..48).map(|i| (i * 7 % 13) as f32 / 13.0).collect();
    let data = Dataset::from_f32(x, 3, (0..16).map(|row| row % 2).collect(), 2).unwrap();
    let config = TrainerConfig { batch: 8, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(gpu(), &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    trainer.model().parameters().unwrap().into_iter().map(f32::to_bits).collect()
}

/// The check must report this fault in these words. The device must train as before.
fn is_told(gate: Gate, words: &[&str]) {
    let before = trained();
    let error = check(gate).expect_err(&format!("{gate:?} is wrong"));
    assert_eq!(error.code(), "Layer", "{error}");
    let message = error.to_string();
    assert!(message.starts_with("layer gate_1: "), "{gate:?}: {message}");
    for words in words {
        assert!(message.contains(words), "{gate:?}: {words:?} is not in: {message}");
    }
    assert_eq!(trained(), before, "after {gate:?}");
}

fn wrong(from: &'static str, to: &'static str) -> Gate {
    Gate { wrong: Some([from, to]), ..Gate::default() }
}

/// A correct layer with two inputs, a parameter and a state must pass.
#[test]
fn an_own_layer_of_two_inputs_a_parameter_and_a_state_is_right() {
    let report = check(Gate { has_twin: true, ..Gate::default() }).unwrap();
    let names: Vec<&str> = report.gradients.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["input_1", "input_2", "gate_1.w"]);
    let numbers = (ROWS * FEATURES) as usize;
    let compared: Vec<usize> = report.gradients.iter().map(|(_, gradient)| gradient.compared).collect();
    assert_eq!(compared, [numbers, numbers, FEATURES as usize], "{report}");
    // The ops without a CPU twin are skipped. The lockstep compares the others.
    let skipped: Vec<&str> = report.ops.iter().filter_map(|op| op.skipped.as_deref()).collect();
    assert_eq!(skipped, ["see", "dz", "da", "db", "dw"].map(|kernel| format!("kernel gate_1.{kernel}")), "{report}");
    let text = report.to_string();
    assert!(
        text.contains("gate_1.see") && text.contains("not compared, as kernel gate_1.see has no CPU twin"),
        "{text}"
    );
    assert!(check(Gate::default()).unwrap().ops[0].skipped.is_some());
}

/// A correct layer of matmuls and own kernels must pass.
#[test]
fn a_layer_of_products_and_own_kernels_is_right() {
    for (omega, inputs, units) in [(1.0, 2, 5), (30.0, 2, 32), (30.0, 32, 32)] {
        let report = check_layer(gpu(), Sine { units, omega, is_first: false }, [inputs], 3)
            .unwrap_or_else(|e| panic!("{omega}: {e}"));
        assert_eq!(report.gradients.len(), 3, "{report}");
    }
}

/// The error must contain the kernel and the line that does not compile.
#[test]
fn a_kernel_that_does_not_compile_is_told_with_its_line() {
    // Every attempt must give the error.
    for _ in 0..2 {
        is_told(wrong("tanh(z)", "tanhh(z)"), &["kernel gate_1.forward", "tanhh", ":3:"]);
    }
    is_told(wrong("dz[i] = dy[i]", "dz[i] = 1u * dy[i]"), &["kernel gate_1.dz", "dz[i] = 1u * dy[i]"]);
    // A tensor that is only read cannot be written.
    is_told(wrong("y[i] = tanh(z);", "y[i] = tanh(z); a[i] = 0.0;"), &["kernel gate_1.forward", "a[i] = 0.0"]);
}

/// The check must report a write out of bounds with its index.
#[test]
fn a_write_out_of_bounds_is_told() {
    let at = |index: u32| format!("writes y[{index}], but y has 24 numbers");
    is_told(wrong("y[i] = ", "y[i + 1] = "), &["kernel gate_1.forward", &at(24)]);
    is_told(wrong("tanh(z);", "tanh(z); y[1000000] = 1.0;"), &["kernel gate_1.forward", &at(1_000_000)]);
    is_told(wrong("seen[i] +=", "seen[i + 70] +="), &["kernel gate_1.see", "writes seen[70], but seen has 6 numbers"]);
}

/// The check must report an output number that no invocation writes.
#[test]
fn an_output_that_is_not_written_is_told() {
    let but_one = wrong("y[i] = tanh(z);", "if i != 7 { y[i] = tanh(z); }");
    is_told(but_one, &["kernel gate_1.forward", "output_1[7] is not written"]);
    is_told(Gate { has_twin: true, ..but_one }, &["kernel gate_1.forward", "output_1[7] is not written"]);
    is_told(wrong("dw[i] = sum;", ""), &["kernel gate_1.dw", "gradients[0] is not written"]);
}

/// The check must report a wrong gradient.
#[test]
fn a_wrong_gradient_is_told() {
    let of = |what: &str| format!("gradient of {what}: number");
    is_told(wrong("dw[i] = sum", "dw[i] = -sum"), &["kernel gate_1.dw", &of("gate_1.w"), "central differences"]);
    is_told(
        wrong("da[i] = dz[i] * w[i % w_length]", "da[i] = dz[i] * w[i / w_length]"),
        &["kernel gate_1.da", &of("input_1")],
    );
    is_told(wrong("db[i] = dz[i]", "db[i] = 2.0 * dz[i]"), &["kernel gate_1.db", &of("input_2")]);
    is_told(wrong("db[i] = dz[i]", "db[i] = 1.01 * dz[i]"), &["kernel gate_1.db", &of("input_2")]);
    is_told(wrong("db[i] = dz[i]", "db[i] = 0.0"), &["kernel gate_1.db", &of("input_2")]);
    is_told(wrong("db[i] = dz[i]", "db[i] = sqrt(-1.0 - dz[i] * dz[i])"), &["kernel gate_1.db", &of("input_2")]);
}

/// Central differences alone must find a wrong derivative, without a CPU twin.
#[test]
fn a_wrong_derivative_of_an_expression_is_told() {
    static CUBE: CustomActivation = CustomActivation::new("cube", "z * z * z", "3.0 * z * z");
    static WRONG: CustomActivation = CustomActivation::new("cube", "z * z * z", "2.0 * z * z");
    let report = check_layer(gpu(), Activation::Custom(&CUBE), [9], 2).unwrap();
    assert!(report.ops.iter().all(|op| op.skipped.as_ref().is_some_and(|what| what.contains("cube"))), "{report}");
    let error = check_layer(gpu(), Activation::Custom(&WRONG), [9], 2).unwrap_err().to_string();
    assert!(
        error.starts_with("layer activation_1: kernel pointwise, gradient of input_1: number 0: expected "),
        "{error}"
    );
}

/// The check must report a kernel that differs from its twin.
#[test]
fn a_twin_that_disagrees_is_told() {
    let gate = Gate { has_twin: true, wrong_twin: true, ..Gate::default() };
    is_told(gate, &["kernel gate_1.forward", "(CPU twin)"]);
}

/// The check must report a kernel whose numbers change when it runs again.
#[test]
fn a_kernel_that_gives_other_numbers_when_it_runs_again_is_told() {
    let gate = wrong("y[i] = tanh(z);", "let before = abs(y[i]); y[i] = tanh(z) + select(0.0, 2.0, before < 1.0);");
    is_told(gate, &["kernel gate_1.forward", ": output_1[0] is ", "when it runs again"]);
}

/// An unchecked layer that writes out of bounds must change no other tensor. The write is lost, or it changes the
/// last number of the same tensor.
#[test]
fn a_write_out_of_bounds_changes_no_other_tensor() {
    let before = trained();
    let numbers = Random(7).f32s((2 * ROWS * FEATURES) as usize);
    let (a, b) = numbers.split_at((ROWS * FEATURES) as usize);
    let outputs = |gate: Gate| {
        let mut graph = Graph::new();
        let inputs = ["a", "b"].map(|name| graph.input(name, FEATURES));
        let y = graph.layer(gate, inputs).unwrap();
        let network = graph.build([("y", y)]).unwrap();
        let model = Model::new(gpu(), &network, &network.initial_parameters(1)).unwrap();
        model.forward([("a", a), ("b", b)]).unwrap()
    };
    let right = outputs(Gate::default());
    let outside = wrong("tanh(z);", "tanh(z); y[i + 24] = 1.0; y[i + 4000] = 2.0; y[1000000] = 3.0;");
    assert_eq!(outputs(outside)[..right.len() - 1], right[..right.len() - 1]);
    assert_eq!(trained(), before);
}

/// The check must report a race. Invocations that add to one number at the same time lose additions. If they happen
/// to run in sequence, the gradient still does not match the output.
#[test]
fn invocations_that_race_are_told() {
    let race = "if i == 0 { y[0] = 0.0; } for (var k = 0; k < 20000; k++) { y[0] += 1e-3 * z; } if i > 0 { y[i] = z; }";
    let racing = Gate { wrong: Some(["y[i] = tanh(z);", race]), ..Gate::default() };
    let error = check_layer(gpu(), racing, [4096, 4096], 1).unwrap_err().to_string();
    assert!(error.starts_with("layer gate_1: kernel gate_1."), "{error}");
}

/// The check must report tensors that no kernel writes, before anything runs.
#[test]
fn what_no_kernel_writes_is_told_before_anything_runs() {
    /// A layer whose only kernel reads one tensor and may change another.
    #[derive(Debug)]
    struct Idle {
        changes: bool,
    }
    impl CustomLayer for Idle {
        fn kind(&self) -> &str {
            "idle"
        }
        fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
            Ok(inputs.to_vec())
        }
        fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
            let sums = ops.tensor("sums", 3)?;
            let kernel = CustomOp::new("idle", "fn run(i: u32) {}").read("x", ops.inputs[0]);
            ops.run(if self.changes { kernel.change("sums", sums) } else { kernel })
        }
        fn backward(&self, _: &mut LayerOps<'_>) -> Result<()> {
            Ok(())
        }
    }
    let fault = |changes| check_layer(gpu(), Idle { changes }, [3], 2).unwrap_err().to_string();
    assert_eq!(fault(false), "layer idle_1: no kernel of its forward pass writes output 0");
    assert_eq!(fault(true), "layer idle_1: kernel idle_1.idle reads sums, which no earlier kernel writes");
}

/// The lockstep must continue behind an op without a CPU twin, with the GPU's results.
#[test]
fn the_lockstep_goes_on_behind_an_op_without_a_twin() {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", FEATURES), graph.input("b", FEATURES));
    let y = graph.layer(Gate::default(), [a, b]).unwrap();
    let z = graph.layer(Dense::new(3, Activation::Relu), y).unwrap();
    let network = graph.build([("z", z)]).unwrap();
    let plan = Plan::forward(&network, ROWS).unwrap();
    let mut lockstep = Lockstep::new(gpu(), plan).unwrap();
    let mut random = Random(9);
    let mut set = |lockstep: &mut Lockstep, role, len| {
        let id = lockstep.plan().find(role).unwrap();
        let numbers = random.f32s(len as usize);
        lockstep.set(id, &numbers).unwrap();
        numbers
    };
    let a = set(&mut lockstep, Role::Input(0), ROWS * FEATURES);
    let b = set(&mut lockstep, Role::Input(1), ROWS * FEATURES);
    let weights = network.initial_parameters(3);
    let parameters = lockstep.plan().find(Role::Parameters).unwrap();
    lockstep.set(parameters, &weights).unwrap();
    assert!(lockstep.start().is_err(), "nothing would go on from the GPU's numbers");
    let comparisons = lockstep.run().unwrap();
    let skipped: Vec<bool> = comparisons.iter().map(|comparison| comparison.skipped.is_some()).collect();
    assert_eq!(skipped, [true, false], "{comparisons:?}");
    assert!(comparisons.iter().all(|comparison| comparison.divergence.is_none()), "{comparisons:?}");
    let made = lockstep.get(lockstep.plan().find(Role::Output(0)).unwrap());
    let [w, bias] = [1, 2].map(|p| &weights[network.parameters()[p].range()]);
    for (row, made) in made.chunks(3).enumerate() {
        for (unit, made) in made.iter().enumerate() {
            let of = |j: usize| {
                let i = row * FEATURES as usize + j;
                (f64::from(a[i]) + f64::from(b[i])).tanh() * f64::from(w[j * 3 + unit])
            };
            let expected = ((0..FEATURES as usize).map(of).sum::<f64>() + f64::from(bias[unit])).max(0.0);
            // WGSL allows tanh an error of 1e-5.
            assert!((f64::from(*made) - expected).abs() < 1e-4, "{made} is not {expected}");
        }
    }
}

/// Built-in layers must pass the check.
#[test]
fn built_in_layers_are_right() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 6, base_resolution: 3, ..HashGrid::default() };
    let one = |layer: Layer, shape: &[u32]| (layer, vec![Shape::try_from(shape).unwrap()]);
    let layers = [
        one(Dense::new(7, Activation::Relu).into(), &[9]),
        one(Dense::new(5, Activation::Softmax).into(), &[3, 4]),
        one(LayerNorm::default().into(), &[12]),
        one(BatchNorm::default().into(), &[3, 5]),
        one(GroupNorm::new(2).into(), &[3, 2, 6]),
        one(InstanceNorm::default().into(), &[7, 3]),
        one(RmsNorm::default().into(), &[3, 9]),
        one(Activation::Softmax.into(), &[10]),
        one(Encoding::from(grid).into(), &[2]),
        one(Encoding::Frequency { frequencies: 10 }.into(), &[2]),
        one(Layer::Split { axis: -1, parts: 3 }, &[6]),
        one(Layer::ReduceMax(vec![0]), &[6, 3]),
        one(Pool::max(3).stride(2).padding(1).into(), &[5, 6, 4]),
        one(Pool::average(2).into(), &[7, 3]),
        one(Upsample::bilinear(2).into(), &[3, 4, 2]),
        one(Pad::reflect(1).into(), &[4, 3, 4]),
        (Layer::Multiply, vec![[3, 5].into(), [5].into()]),
    ];
    for (layer, inputs) in layers {
        let what = format!("{layer:?}");
        let report = check_layer(gpu(), layer, inputs, 2).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let unclear: usize = report.gradients.iter().map(|(_, gradient)| gradient.unclear).sum();
        assert!(unclear == 0 && !report.gradients.is_empty(), "{what}: {report}");
    }
}

//! Tests custom layers with faults of many kinds. Each must give an error that names the layer and the place. Nothing
//! may panic.

use std::sync::{Arc, Mutex};

use wgrad::lockstep::check_layer;
use wgrad::plan::{BufferId, Dtype, Layout, Tensor};
use wgrad::*;

use crate::common::*;
use crate::custom_layer::*;

/// Changes a tensor into another.
type Change = Box<dyn Fn(Tensor) -> Tensor + Send + Sync>;

fn forward(forward: impl Fn(&mut LayerOps<'_>) -> Result<()> + Send + Sync + 'static) -> Made {
    Made { forward: pass(forward), ..Made::default() }
}

/// A forward pass of one kernel from x to y. `with` may change the kernel.
fn kernel(text: &'static str, with: impl Fn(CustomOp) -> CustomOp + Send + Sync + 'static) -> Made {
    forward(move |ops| {
        let (x, y) = (ops.inputs[0], ops.outputs[0]);
        ops.run(with(CustomOp::new("made kernel", text).read("x", x).write("y", y).invocations(y.len())))
    })
}

fn fault(layer: Made) -> String {
    match check_layer(gpu(), layer, [FEATURES], 4) {
        Ok(report) => panic!("it has a fault, but {report}"),
        Err(error) => error.to_string(),
    }
}

/// The layer without a fault must pass, since all faulty layers derive from it.
#[test]
fn the_layer_that_the_others_are_made_of_is_right() {
    check_layer(gpu(), Made::default(), [FEATURES], 4).unwrap();
}

/// Invalid or too large shapes must return an error.
#[test]
fn outputs_and_tensors_that_nothing_could_hold_are_refused() {
    let outputs = |outputs: Vec<Shape>| fault(Made { outputs, ..Made::default() });
    let expected = "outputs of layer made_1 (from input_1 [8]): expected at least one output, each with 1 to 4 \
                    dimensions and no length of 0, got";
    assert_eq!(outputs(vec![]), format!("{expected} []"));
    assert_eq!(outputs(vec![0.into()]), format!("{expected} [[0]]"));
    assert_eq!(outputs(vec![8.into(), [4, 0].into()]), format!("{expected} [[8], [4, 0]]"));
    assert_eq!(outputs(vec![[].into()]), format!("{expected} [[]]"));
    assert_eq!(outputs(vec![[1; 5].into()]), format!("{expected} [[1, 1, 1, 1, 1]]"));
    let huge = outputs(vec![[u32::MAX; 4].into()]);
    assert!(
        huge.starts_with("output of layer made_1 (from input_1 [8]): needs 18446744073709551615 numbers"),
        "{huge}"
    );

    for kind in ["", "a.b", "a\nb", "a\0b"] {
        let error = fault(Made { kind, ..Made::default() });
        let expected = format!("expected a non-empty text without dots and control characters, got {kind:?}");
        assert!(error.starts_with("kind of layer ") && error.ends_with(&expected), "{error}");
    }
    let of = |name: &str, shape: Shape, init| CustomParameter::new(name, shape, init);
    let w = || of("w", 3.into(), Init::Zeros);
    let tensors = |parameters: Vec<CustomParameter>, states| fault(Made { parameters, states, ..Made::default() });
    for (parameters, states, name) in [
        (vec![w(), w()], vec![], "w"),
        (vec![w()], vec![w()], "w"),
        (vec![of("", 3.into(), Init::Zeros)], vec![], ""),
        (vec![], vec![of("a.b", 3.into(), Init::Zeros)], "a.b"),
    ] {
        let error = tensors(parameters, states);
        let expected = format!("without dots and control characters, got {name:?}");
        assert!(
            error.starts_with("name of a parameter or state of layer made_1") && error.ends_with(&expected),
            "{error}"
        );
    }
    let expected =
        "tensor w of layer made_1 (from input_1 [8]): expected at least 1 dimension, and no length or fan of 0, got";
    assert_eq!(
        tensors(vec![of("w", [3, 0].into(), Init::Zeros)], vec![]),
        format!("{expected} [3, 0] with fans [3, 0]")
    );
    assert_eq!(tensors(vec![], vec![of("w", [].into(), Init::Zeros)]), format!("{expected} [] with fans [1, 1]"));
    let no_fan = CustomParameter { fans: [0, 2], ..of("w", 2.into(), Init::HeNormal) };
    assert_eq!(tensors(vec![no_fan], vec![]), format!("{expected} [2] with fans [0, 2]"));
    let error = tensors(vec![of("w", 2.into(), Init::Uniform { bound: f32::NAN })], vec![]);
    assert!(error.contains("bound of Init::Uniform") && error.contains("NaN in layer made_1"), "{error}");
    let error = tensors(vec![of("w", [u32::MAX; 5].into(), Init::Zeros)], vec![]);
    assert!(error.starts_with("weights up to made_1.w: "), "{error}");
}

/// The error of a layer's `shapes` must follow the layer's name and inputs.
#[test]
fn an_error_of_the_layer_s_shapes_names_it() {
    let sine = crate::sine::Sine { units: 3, omega: 1.0, is_first: false };
    let error = Network::input([2, 3]).layer(sine).build().unwrap_err().to_string();
    assert!(error.starts_with("layer sine_1 (from input [2, 3]): sine layer: expected one input"), "{error}");
}

/// The engine's kernels check no indices. They must accept only tensors of the layer, whatever the description says.
#[test]
fn only_tensors_of_the_pass_go_into_kernels() {
    static OTHERS: Mutex<Option<Tensor>> = Mutex::new(None);
    let stash = forward(|ops| {
        let own = ops.tensor("own", [3, 5])?;
        *OTHERS.lock().unwrap() = Some(own);
        copy(ops, ops.inputs[0], ops.outputs[0])?;
        copy(ops, ops.inputs[0], own)
    });
    Network::input(FEATURES).layer(stash).build().map(|network| Plan::forward(&network, 4)).unwrap().unwrap();
    let others = OTHERS.lock().unwrap().unwrap();
    let wrong: Vec<(&str, Change)> = vec![
        ("another layer's", Box::new(move |_| others)),
        ("the parameters' buffer", Box::new(|_| Tensor::new(BufferId(0), Dtype::F32, 64))),
        ("no buffer", Box::new(|_| Tensor::new(BufferId(usize::MAX), Dtype::F32, 32))),
        ("behind its start", Box::new(|x| Tensor { offset: 64, ..x })),
        ("longer", Box::new(|x| Tensor::new(x.buffer, x.dtype, [5, FEATURES]))),
        ("2³² numbers longer", Box::new(|x| Tensor::new(x.buffer, x.dtype, [(1 << 27) + 1, 32]))),
        ("empty", Box::new(|x| Tensor::new(x.buffer, x.dtype, [4, 0]))),
        ("of bytes", Box::new(|x| Tensor::new(x.buffer, Dtype::U8, x.shape))),
        ("transposed", Box::new(|x| x.permuted(&[1, 0]))),
        ("repeated", Box::new(|x| Tensor { strides: [0, 1].into(), ..x })),
        ("huge", Box::new(|x| Tensor::new(x.buffer, x.dtype, [u32::MAX; 5]))),
    ];
    for (what, wrong) in wrong {
        let wrong = Arc::new(wrong);
        for way in 0..6 {
            let wrong = wrong.clone();
            let error = fault(forward(move |ops| {
                let (x, y) = (ops.inputs[0], ops.outputs[0]);
                match way {
                    0 => copy(ops, wrong(x), y),
                    1 => copy(ops, x, wrong(y)),
                    2 => ops.add(wrong(x), x, y),
                    3 => ops.add(x, x, wrong(y)),
                    4 => ops.sum_rows(wrong(x), y),
                    _ => ops.matmul(wrong(x), wrong(x), Layout::Nt, y),
                }
            }));
            let is_told = error.starts_with("layer made_1: ") && error.contains("a tensor that this pass must not ");
            assert!(is_told, "{what}, {way}: {error}");
        }
    }
    // Other shapes of the same length are allowed, but they must fit each other.
    let error = fault(forward(|ops| ops.matmul(ops.inputs[0], ops.inputs[0], Layout::Nn, ops.outputs[0])));
    assert!(error.starts_with("layer made_1: matmul: expected"), "{error}");
}

/// A pass must read and write only the tensors it may, in the right order.
#[test]
fn tensors_are_used_as_their_pass_may_use_them() {
    let with = |forward: Option<Pass>, backward: Option<Pass>| {
        let right = Made::default();
        let parameters = vec![CustomParameter::new("w", 32, Init::Zeros)];
        let states = vec![CustomParameter::new("s", 32, Init::Zeros)];
        let (forward, backward) =
            (forward.unwrap_or(right.forward.clone()), backward.unwrap_or(right.backward.clone()));
        fault(Made { forward, backward, parameters, states, ..right })
    };
    let forward = |f: fn(&mut LayerOps<'_>) -> Result<()>| with(Some(pass(f)), None);
    let backward = |f: fn(&mut LayerOps<'_>) -> Result<()>| with(None, Some(pass(f)));
    let no_tensor = "a tensor that this pass must not write";
    for error in [
        forward(|ops| copy(ops, ops.inputs[0], ops.parameters[0])),
        forward(|ops| copy(ops, ops.parameters[0], ops.inputs[0])),
        backward(|ops| copy(ops, ops.inputs[0], ops.outputs[0])),
        backward(|ops| copy(ops, ops.inputs[0], ops.states[0])),
        backward(|ops| copy(ops, ops.inputs[0], ops.parameters[0])),
        backward(|ops| copy(ops, ops.inputs[0], ops.output_gradient(0)?)),
    ] {
        assert!(
            error.starts_with("layer made_1: kernel made_1.copy writes y") && error.ends_with(no_tensor),
            "{error}"
        );
    }
    // A pass must write each of its tensors once, before any read.
    let error = forward(|ops| copy(ops, ops.outputs[0], ops.states[0]));
    assert_eq!(error, "layer made_1: kernel made_1.copy reads x, which no earlier kernel writes");
    let error = backward(|ops| copy(ops, ops.input_gradients[0].unwrap(), ops.parameter_gradients[0].unwrap()));
    assert_eq!(error, "layer made_1: kernel made_1.copy reads x, which no earlier kernel writes");
    let error = backward(|ops| {
        ops.add(ops.parameter_gradients[0].unwrap(), ops.parameters[0], ops.input_gradients[0].unwrap())
    });
    assert_eq!(error, "layer made_1: add reads a, which no earlier kernel writes");
    let error = forward(|ops| {
        copy(ops, ops.inputs[0], ops.outputs[0])?;
        copy(ops, ops.inputs[0], ops.outputs[0])
    });
    assert!(
        error.contains("writes y, which an earlier kernel writes; use a new tensor, or CustomOp::change"),
        "{error}"
    );
    let error = backward(|ops| ops.output_gradient(1).map(drop));
    assert_eq!(
        error,
        "layer made_1: output 1: no gradient, because this is the forward pass or no loss reads the output"
    );
    let error = forward(|ops| ops.made("none").map(drop));
    assert_eq!(error, "layer made_1: tensor none: expected a tensor made by LayerOps::tensor, got none of this name");
    let error = backward(|_| Ok(()));
    assert_eq!(error, "layer made_1: no kernel of its backward pass writes the gradient of input 0");
    let error = forward(|ops| {
        ops.tensor("own", 3)?;
        copy(ops, ops.inputs[0], ops.outputs[0])
    });
    assert_eq!(error, "layer made_1: no kernel of its forward pass writes tensor own");
    for (error, words) in [
        (
            forward(|ops| ops.tensor("own", [2, 0]).map(drop)),
            "tensor own: expected 1 to 1073741824 numbers, got [2, 0]",
        ),
        (forward(|ops| ops.tensor("own", [u32::MAX; 5]).map(drop)), "expected 1 to 1073741824 numbers"),
        (
            forward(|ops| ops.tensor("own", 2).and_then(|_| ops.tensor("own", 2)).map(drop)),
            "tensor own: expected a name that no other tensor of the layer has",
        ),
    ] {
        assert!(error.starts_with("layer made_1: ") && error.contains(words), "{error}");
    }
}

/// Kernels that make no valid shader must return an error.
#[test]
fn kernels_that_make_no_shader_are_told() {
    const COPY: &str = "fn run(i: u32) { y[i] = x[i]; }";
    let name = |name: &'static str| kernel(COPY, move |op| op.constant(name, 1u32));
    for layer in [name(""), name("a b"), name("x"), name("1a"), name("é"), name("a;")] {
        let error = fault(layer);
        assert!(error.starts_with("kernel made_1.made kernel: expected a unique WGSL identifier"), "{error}");
    }
    for (layer, words) in [
        (kernel(COPY, |op| op.constant("A", f32::NAN)), "expected finite constants, got A = "),
        (kernel(COPY, |op| op.invocations(0)), "expected 1 to 2³¹ invocations, got 0"),
        (kernel(COPY, |op| op.invocations(u32::MAX)), "expected 1 to 2³¹ invocations, got 4294967295"),
        (
            kernel(COPY, |op| op.twin(f32::NAN, |_| {})),
            "expected a tolerance (share) of the CPU twin that is finite and at least 0, got NaN",
        ),
        (kernel("fn run(i: u32) { y[i] = f32(arrayLength(&x)); }", |op| op), "expected `<name>_length`"),
    ] {
        let error = fault(layer);
        assert!(error.starts_with("kernel made_1.made kernel: ") && error.contains(words), "{error}");
    }
    // Only a compiler finds these faults. A kernel's text must not reach other bindings.
    for (text, count) in [
        ("", None),
        (COPY, Some(1)),
        ("fn run(i: u32) { y[i] = x[i]; } @compute @workgroup_size(1) fn main() {}", None),
        ("fn run(i: u32, j: u32) {}", None),
        ("@group(0) @binding(5) var<storage, read_write> z: array<f32>; fn run(i: u32) { y[i] = z[i]; }", None),
        ("@group(1) @binding(0) var<storage> z: array<f32>; fn run(i: u32) { y[i] = z[i]; }", None),
        (
            "@group(0) @binding(1) var<storage, read_write> z: array<f32>; fn run(i: u32) { z[i] = 1.0; y[i] = 1.0; }",
            None,
        ),
        ("@group(0) @binding(1) var<uniform> z: vec4f; fn run(i: u32) { y[i] = z.x; }", None),
        ("override k: f32; fn run(i: u32) { y[i] = k * x[i]; }", None),
        ("@compute @workgroup_size(1000000) fn main() { y[0] = x[0]; }", Some(1)),
        ("fn run(i: u32) { run(i); }", None),
        ("}}}}", None),
        ("\0", None),
    ] {
        let layer = kernel(text, move |op| if let Some(count) = count { op.workgroups(count) } else { op });
        let error = fault(layer);
        assert!(error.starts_with("layer made_1: kernel made_1.made kernel"), "{text:?}: {error}");
    }
}

/// Workgroup memory must start as zeros, as WGSL promises.
#[test]
fn workgroup_memory_starts_as_zeros() {
    let text = "
        var<workgroup> sums: array<f32, 64>;
        @compute @workgroup_size(64)
        fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) lane: u32) {
            let group = id.y * n.x + id.x;
            if group * 64u + lane < y_length { y[group * 64u + lane] = x[group * 64u + lane] + sums[63u - lane]; }
            workgroupBarrier();
            sums[lane] = 1e9;
        }";
    let layer = kernel(text, |op| op.workgroups(1024));
    let outputs = vec![Shape::from(64)];
    let network = Network::input(64).layer(Made { outputs, ..layer }).build().unwrap();
    let x: Vec<f32> = (0..64 * 1024).map(|i| i as f32).collect();
    let model = Model::new(gpu(), &network, &network.initial_parameters(1)).unwrap();
    assert_eq!(model.forward(&x).unwrap(), x);
}

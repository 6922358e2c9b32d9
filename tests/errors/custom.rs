//! Errors of an app's custom layers, kernels and expressions.

use std::sync::Arc;

use wgrad::Activation::{Identity, Relu};
use wgrad::lockstep::check_layer;
use wgrad::plan::Layout;
use wgrad::*;

use super::page::{Section, line};
use crate::common::gpu;
use crate::custom_layer::*;

/// A layer with one kernel that has this source.
fn kernel(text: &'static str, change: fn(CustomOp) -> CustomOp) -> Made {
    let forward: Pass = Arc::new(move |ops| {
        let (x, y) = (ops.inputs[0], ops.outputs[0]);
        ops.run(change(CustomOp::new("copy", text).read("x", x).write("y", y).invocations(y.len())))
    });
    Made { forward, ..Made::default() }
}

fn check(layer: Made) -> Result<lockstep::LayerReport> {
    check_layer(gpu(), layer, [FEATURES], 4)
}

pub fn layers() -> Section {
    let made = Made::default;
    let forward = |pass: fn(&mut LayerOps<'_>) -> Result<()>| check(Made { forward: Arc::new(pass), ..made() });
    let backward = |pass: fn(&mut LayerOps<'_>) -> Result<()>| check(Made { backward: Arc::new(pass), ..made() });
    let parameter = |name: &str, shape: u32| {
        check(Made { parameters: vec![CustomParameter::new(name, shape, Init::Zeros)], ..made() })
    };
    let lines = vec![
        line("kind with a dot", check(Made { kind: "a.b", ..made() })),
        line("no outputs", check(Made { outputs: vec![], ..made() })),
        line("output of length 0", check(Made { outputs: vec![0.into()], ..made() })),
        line("parameter without a name", parameter("", 3)),
        line("parameter without numbers", parameter("w", 0)),
        line("kernel that reads before it is written", forward(|ops| copy(ops, ops.outputs[0], ops.outputs[0]))),
        line("kernel that writes the input", forward(|ops| copy(ops, ops.inputs[0], ops.inputs[0]))),
        line(
            "kernel that writes an output again",
            forward(|ops| {
                copy(ops, ops.inputs[0], ops.outputs[0])?;
                copy(ops, ops.inputs[0], ops.outputs[0])
            }),
        ),
        line("output that no kernel writes", forward(|_| Ok(()))),
        line("gradient that no kernel writes", backward(|_| Ok(()))),
        line("gradient in the forward pass", forward(|ops| ops.output_gradient(0).map(drop))),
        line("tensor without numbers", forward(|ops| ops.tensor("own", [2, 0]).map(drop))),
        line(
            "two tensors of one name",
            forward(|ops| {
                ops.tensor("own", 2)?;
                ops.tensor("own", 2).map(drop)
            }),
        ),
        line("made of an unknown name", forward(|ops| ops.made("own").map(drop))),
        line(
            "matmul of other shapes",
            forward(|ops| ops.matmul(ops.inputs[0], ops.inputs[0], Layout::Nn, ops.outputs[0])),
        ),
        line(
            "add of other shapes",
            forward(|ops| {
                let sum = ops.tensor("sum", 3)?;
                ops.add(ops.inputs[0], ops.inputs[0], sum)
            }),
        ),
        line("sum_rows of other shapes", forward(|ops| ops.sum_rows(ops.inputs[0], ops.outputs[0]))),
    ];
    Section { title: "Custom layers", lines }
}

pub fn kernels() -> Section {
    let of = |text: &'static str, change: fn(CustomOp) -> CustomOp| check(kernel(text, change));
    let lines = vec![
        line("constant that is no identifier", of(COPY, |op| op.constant("a b", 1u32))),
        line("constant that is NaN", of(COPY, |op| op.constant("A", f32::NAN))),
        line("no invocations", of(COPY, |op| op.invocations(0))),
        line("CPU twin, tolerance that is NaN", of(COPY, |op| op.twin(f32::NAN, |_| {}))),
        line("arrayLength", of("fn run(i: u32) { y[i] = f32(arrayLength(&x)); }", |op| op)),
        line("kernel that does not compile", of("fn run(i: u32) { y[i] = sine(x[i]); }", |op| op)),
        line("kernel that writes out of bounds", of("fn run(i: u32) { y[i + 1] = x[i]; }", |op| op)),
        line("kernel that leaves out a number", of("fn run(i: u32) { if i != 7 { y[i] = x[i]; } }", |op| op)),
        line("gradient that is wrong", of("fn run(i: u32) { y[i] = 2.0 * x[i]; }", |op| op)),
        line("CPU twin that is wrong", {
            of(COPY, |op| op.twin(0.0, |at| at.write("y").iter_mut().for_each(|y| *y = 2.0)))
        }),
        line("layer without a CPU twin on the CPU", {
            let network = Network::input(FEATURES).layer(Made::default()).dense(1, Identity).build().unwrap();
            Model::new(Device::Cpu, &network, &network.initial_parameters(1)).and_then(|model| model.forward(&[0.0; 8]))
        }),
    ];
    Section { title: "Custom kernels, and what check_layer finds", lines }
}

pub fn expressions() -> Section {
    let activation = |activation: CustomActivation| {
        let activation: &'static CustomActivation = Box::leak(Box::new(activation));
        Network::input(3).dense(2, Activation::Custom(activation)).build()
    };
    let new = CustomActivation::new;
    let loss = |loss: CustomLoss| {
        let network = Network::input(3).dense(2, Relu).build()?;
        let loss = Loss::Custom(Box::leak(Box::new(loss)));
        Trainer::new(Device::Cpu, &network, loss, Adam::default(), TrainerConfig::default())
    };
    let square = || CustomLoss::new("square", "(y - t) * (y - t)", "2.0 * (y - t)");
    let lines = vec![
        line("name with a space", activation(new("a b", "z", "1.0"))),
        line("no expression", activation(new("cube", "", "1.0"))),
        line("unknown variable", activation(new("cube", "x", "1.0"))),
        line("character that is not allowed", activation(new("cube", "z", "{"))),
        line("CPU twin, negative tolerance", activation(new("cube", "z", "1.0").twin(|z| z, |_| 1.0, -1.0))),
        line("CPU twin, wrong derivative", activation(new("cube", "z", "1.0").twin(|z| z, |_| 2.0, 0.0))),
        line("loss with an unknown variable", loss(CustomLoss::new("square", "x - t", "1.0"))),
        line("loss, CPU twin with a wrong derivative", {
            loss(square().twin(|y, t| (y - t) * (y - t), |y, t| y - t, 0.0))
        }),
        line("loss without a CPU twin on the CPU", loss(square())),
    ];
    Section { title: "Custom activations and losses", lines }
}

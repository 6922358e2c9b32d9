//! Tests the gradient of the inputs that `Wgsl::with_gradient` adds.

use wgrad::lockstep::{Differences, compare_gradient};
use wgrad::{Activation, ChainRows, CustomActivation, Loss, Sgd, Trainer, TrainerConfig};

use super::common::reference::{self, Corners, Sample};
use super::*;

/// The network's outputs for a row, in f64.
fn outputs(network: &Network, weights: &[f64], row: &[f64]) -> Vec<f64> {
    let mut x = Sample::new(&[row.len() as u32], row.to_vec());
    for (name, layer) in network.layers() {
        let own = network.parameters().iter().filter(|p| p.layer() == name);
        let own: Vec<&[f64]> = own.map(|p| &weights[p.range()]).collect();
        x = reference::outputs(layer, &own, &[&x], &mut Corners::default()).remove(0);
        x = reference::activated(layer.activation(), &x, &mut Corners::default());
    }
    x.values
}

/// Weights, biases and tables whose entries are about 1, so that a wrong slope shows.
fn weights(network: &Network) -> Vec<f32> {
    let mut weights = network.initial_parameters(4);
    let mut random = Random(5);
    let rows = network.parameters().iter().filter(|p| p.shape.len() == 1 || p.name.ends_with(".table"));
    rows.for_each(|p| weights[p.range()].fill_with(|| random.f32()));
    weights
}

/// `f_gradient` for ROWS rows, each with the gradient of its outputs.
fn of_function(gpu: &Gpu, model: &Model, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let [inputs, outputs] = [model.network().inputs(), model.network().outputs()];
    let row = |name: &str, numbers: u32| {
        let ty = match numbers {
            1 => "f32".to_owned(),
            2..=4 => format!("vec{numbers}f"),
            _ => format!("array<f32, {numbers}>"),
        };
        let each: Vec<String> = (0..numbers).map(|i| format!("{name}[row * {numbers}u + {i}u]")).collect();
        format!("{ty}({})", each.join(", "))
    };
    let call = match outputs {
        1 => format!("f_gradient({})", row("x", inputs)),
        _ => format!("f_gradient({}, {})", row("x", inputs), row("dy", outputs)),
    };
    let dx = |i: u32| if inputs == 1 { "g".into() } else { format!("g[{i}]") };
    let stores: String = (0..inputs).map(|i| format!("dx[row * {inputs}u + {i}u] = {};\n", dx(i))).collect();
    let source = format!(
        "{}
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read> dy: array<f32>;
        @group(0) @binding(3) var<storage, read_write> dx: array<f32>;
        @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {{
            let row = id.x;
            _ = dy[0]; // keeps the binding
            if row >= {ROWS}u {{ return; }}
            let g = {call};
            {stores}
        }}",
        model.wgsl("f").unwrap().with_gradient()
    );
    let dx = storage(gpu, &vec![f32::NAN; (ROWS * inputs) as usize]);
    let pass = common::pass::Pass::new(
        gpu.device(),
        &source,
        &[model.parameter_buffer().unwrap(), &storage(gpu, x), &storage(gpu, dy), &dx],
    );
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    pass.record(&mut encoder.begin_compute_pass(&Default::default()), ROWS.div_ceil(32));
    read(gpu, encoder, &dx)
}

/// The gradient of a chain's input, computed by the kernels of training.
fn of_chain(gpu: &Gpu, network: &Network, weights: &[f32], x: &[f32], dy: &[f32]) -> Vec<f32> {
    // Its kernels serve many networks, so that a driver compiles each once.
    let config = TrainerConfig { op_by_op: true, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(gpu, network, Loss::MeanSquaredError, Sgd::default(), config).unwrap();
    trainer.model().set_parameters(weights).unwrap();
    let [x, y, dx] = [x.to_vec(), vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]].map(|row| storage(gpu, &row));
    let dy = storage(gpu, dy);
    let rows = ChainRows {
        input: (&x).into(),
        output: (&y).into(),
        output_gradient: (&dy).into(),
        input_gradient: Some((&dx).into()),
    };
    let chain = trainer.prepare_chain(rows, ROWS).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    chain.record_forward(&mut encoder);
    chain.record_backward(&mut encoder);
    read(gpu, encoder, &dx)
}

/// Compares the function with central differences in f64, and with a chain.
fn check(network: &Network) {
    let (gpu, [inputs, outputs]) = (gpu(), [network.inputs() as usize, network.outputs() as usize]);
    let weights = weights(network);
    let model = Model::new(gpu, network, &weights).unwrap();
    let mut random = Random(9);
    // Inside the unit cube, where a hash grid is, and around it.
    let x: Vec<f32> = random.f32s(ROWS as usize * inputs).iter().map(|x| 0.5 + 0.6 * x).collect();
    let dy = if outputs == 1 { vec![1.0; ROWS as usize] } else { random.f32s(ROWS as usize * outputs) };
    let dx = of_function(gpu, &model, &x, &dy);

    // A sum has a relative error of its length times the rounding unit 2⁻²⁴, forward and backward. So does an
    // activation or an encoding with its derivative: their formulas have at most 64 roundings (`src/activation`).
    let lengths: usize = network.parameters().iter().filter(|p| p.shape.len() == 2).map(|p| p.shape[0] as usize).sum();
    let lengths = lengths.min(1 << 10) + 64 * network.layers().count();
    let largest = dx.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
    let bound = 2.0 * lengths as f64 * f64::from(largest) / 16_777_216.0;
    let chain = of_chain(gpu, network, &weights, &x, &dy);
    for (i, (a, b)) in dx.iter().zip(&chain).enumerate() {
        assert!(f64::from((a - b).abs()) <= 2.0 * bound, "{}, {i}: {a}, by the chain {b}", network.summary());
    }

    let has_formula = |layer: &wgrad::Layer| !matches!(layer.activation(), Activation::Custom(_));
    if !network.layers().all(|(_, layer)| has_formula(layer)) {
        return;
    }
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    let (mut compared, mut steep) = (0, 0);
    for (row, (x, dy)) in x.chunks(inputs).zip(dy.chunks(outputs)).enumerate() {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let weighted = |x: &[f64]| {
            let y = self::outputs(network, &weights, x);
            y.iter().zip(dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
        };
        let dx = &dx[row * inputs..][..inputs];
        let how = Differences { bound, noise: lengths as f64 * f64::EPSILON, ..Differences::default() };
        let comparison = compare_gradient(&x, dx, 0..inputs, how, weighted);
        assert!(comparison.fault.is_none(), "{}, row {row}: {}", network.summary(), comparison.fault.unwrap());
        compared += comparison.compared;
        steep += dx.iter().filter(|g| g.abs() > 0.01 * largest).count();
    }
    // A step across a corner of the grid or of a wave cannot be compared. There are few of them.
    assert!(compared * 10 >= dx.len() * 9 && steep * 4 > dx.len(), "{}: {compared} {steep}", network.summary());
}

fn dense(inputs: u32, units: &[(u32, Activation)]) -> Network {
    units.iter().fold(Network::input(inputs), |net, &(units, f)| net.dense(units, f)).build().unwrap()
}

/// Every activation, in the middle and at the end, in layers of whole vectors and of others.
#[test]
fn gradients_match_through_every_activation() {
    for activation in Activation::ALL {
        // Exponentials of exponentials would overflow.
        let middle = if activation == Exponential { Tanh } else { activation };
        check(&dense(3, &[(8, activation), (7, middle), (5, activation)]));
    }
}

/// One input, one output, rows as vectors and as arrays, and loops over the rows of wide layers.
#[test]
fn gradients_match_for_every_shape() {
    check(&dense(1, &[(1, Tanh)]));
    check(&dense(2, &[(1, Identity)]));
    check(&dense(4, &[(16, Silu), (1, Identity)]));
    check(&dense(5, &[(6, Tanh)]));
    check(&dense(33, &[(20, Tanh), (34, Silu), (64, Tanh), (9, Identity)]));
    check(&dense(18, &[(32, Silu), (32, Tanh), (3, Identity)]));
    check(&Network::input(2).layer(wgrad::Dense::new(6, Tanh).without_bias()).dense(2, Sigmoid).build().unwrap());
}

/// Equal layers are a loop. Their derivatives are kept in an array.
#[test]
fn gradients_match_through_a_loop_over_layers() {
    for activation in [Tanh, Silu, Relu, Identity, Softmax] {
        check(&dense(3, &[(12, activation), (12, activation), (12, activation), (12, activation), (2, Identity)]));
    }
    check(&dense(7, &[(7, Tanh), (7, Tanh), (7, Tanh)]));
}

static BENT: CustomActivation =
    CustomActivation::new("bent", "z + 0.5 * sqrt(z * z + 1.0)", "1.0 + 0.5 * z / sqrt(z * z + 1.0)");

#[test]
fn gradients_match_through_an_activation_of_the_app() {
    check(&dense(3, &[(6, Activation::Custom(&BENT)), (2, Activation::Custom(&BENT))]));
}

/// Layers of whole vectors (8 units) and of others (7 units) take an encoding's numbers in different ways.
fn check_encoded(inputs: u32, encodings: &[Encoding], units: u32) {
    let network = encodings.iter().fold(Network::input(inputs), |network, &encoding| network.encoding(encoding));
    check(&network.dense(units, Tanh).dense(units, Silu).dense(units / 4, Identity).build().unwrap());
}

#[test]
fn gradients_match_through_every_encoding() {
    let grid = HashGrid { levels: 5, log2_hashmap_size: 8, base_resolution: 4, ..HashGrid::default() };
    check_encoded(3, &[Encoding::Identity { scale: -0.5, offset: 0.25 }], 7);
    check_encoded(1, &[Encoding::Frequency { frequencies: 5 }], 8);
    check_encoded(2, &[Encoding::TriangleWave { frequencies: 4 }], 8);
    check_encoded(5, &[Encoding::OneBlob { bins: 7 }], 7);
    for (dimensions, features_per_level, units) in
        [(1, 2, 7), (2, 1, 8), (2, 1, 7), (2, 2, 8), (3, 2, 7), (3, 4, 8), (4, 1, 7)]
    {
        check_encoded(dimensions, &[HashGrid { features_per_level, ..grid }.into()], units);
    }
}

/// An encoding passes the gradient on to the encoding before it.
#[test]
fn gradients_match_through_encodings_in_sequence() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 8, base_resolution: 4, ..HashGrid::default() };
    let half = Encoding::Identity { scale: 0.5, offset: 0.5 };
    check_encoded(3, &[half, grid.into()], 8);
    check_encoded(1, &[Encoding::Frequency { frequencies: 2 }, half, grid.into()], 7);
    check_encoded(2, &[grid.into(), Encoding::OneBlob { bins: 3 }], 8);
    check_encoded(6, &[half, Encoding::Frequency { frequencies: 3 }], 8);
}

/// The function of the gradient is written only if it is asked for. The rest of the text stays the same.
#[test]
fn the_gradient_is_written_only_on_request() {
    let network = Network::input(2).encoding(Encoding::Frequency { frequencies: 3 }).dense(8, Tanh).dense(3, Tanh);
    let model = model(Device::Cpu, &network.build().unwrap());
    let plain = model.wgsl("f").unwrap();
    assert!(!plain.to_string().contains("gradient") && !plain.to_string().contains("slope"));
    let both = plain.clone().with_gradient().to_string();
    assert!(both.contains("fn f_gradient(input: vec2f, output_gradient: vec3f) -> vec2f {"), "{both}");
    let function = |text: &str| text.split("fn f(").nth(1).unwrap().split("\n}\n").next().unwrap().to_owned();
    assert_eq!(function(&plain.to_string()), function(&both));
    assert_eq!(plain.binding_type(), plain.clone().with_gradient().binding_type());
}

//! Compares convolutions with PyTorch: plain, transposed, grouped, and of sequences. Checks the outputs, and the
//! gradients of inputs, weights and biases.

use super::*;
use wgrad::Conv;

fn layer(case: &Value) -> Conv {
    let number = |value: &Value| value.as_u64().unwrap() as u32;
    let pair = |value: &Value| [0, 1].map(|i| number(&value[i]));
    let channels = number(&case["channels"]);
    let kernel = pair(&case["kernel"]);
    let conv = match case.get("output_padding") {
        Some(more) => Conv::transposed(channels, kernel).output_padding(pair(more)),
        None => Conv::new(channels, kernel),
    };
    conv.stride(pair(&case["stride"]))
        .dilation(pair(&case["dilation"]))
        .padding_of(pair(&case["padding"][0]), pair(&case["padding"][1]))
        .groups(number(&case["groups"]))
}

/// The index in PyTorch's weight tensor for each of our weights. PyTorch's shape is \[outputs, inputs / groups,
/// kernel\], or \[inputs, outputs / groups, kernel\] for a transposed convolution. Our shape is \[kernel, inputs /
/// groups, outputs\].
fn places(conv: &Conv, taps: usize, inputs: usize) -> Vec<usize> {
    let (outputs, groups) = (conv.channels as usize, conv.groups as usize);
    let (inputs_of_group, outputs_of_group) = (inputs / groups, outputs / groups);
    let place = |i: usize| {
        let (output, input, tap) = (i % outputs, i / outputs % inputs_of_group, i / outputs / inputs_of_group);
        let (first, second) = match conv.transposed {
            Some(_) => (output / outputs_of_group * inputs_of_group + input, output % outputs_of_group),
            None => (output, input),
        };
        let seconds = if conv.transposed.is_some() { outputs_of_group } else { inputs_of_group };
        (first * seconds + second) * taps + tap
    };
    (0..taps * inputs_of_group * outputs).map(place).collect()
}

#[test]
fn convolutions_and_their_gradients() {
    let oracle = Oracle::open("convolutions");
    assert_eq!(oracle.cases().len(), 18);
    for (name, case) in oracle.cases() {
        let get = |of: &str| oracle.get(&format!("{name}.{of}"));
        let (shape, conv) = (oracle.shape(&format!("{name}.x")), layer(&case));
        let network = Network::input(Shape::try_from(&shape[1..]).unwrap()).layer(conv).build().unwrap();
        let config = TrainerConfig { batch: shape[0], keep_gradients: true, ..TrainerConfig::default() };
        let plan = Plan::chain(&network, &Adam::default().into(), &config, &[true]).unwrap();
        let taps: u32 = oracle.shape(&format!("{name}.weight"))[2..].iter().product();
        let inputs = *shape.last().unwrap() as usize;
        let places = places(&conv, taps as usize, inputs);

        let mut lockstep = lockstep(&gpus()[0], plan);
        let id = |lockstep: &Lockstep, role| lockstep.plan().find(role).unwrap();
        let mut weights = vec![0.0; network.parameter_words() as usize];
        let (kernel, bias) = (network.parameters()[0].range(), network.parameters()[1].range());
        let theirs = get("weight");
        places.iter().zip(&mut weights[kernel.clone()]).for_each(|(&place, weight)| *weight = theirs[place]);
        weights[bias.clone()].copy_from_slice(&get("bias"));
        let given = [(Role::Input(0), get("x")), (Role::OutputGradient(0), get("dy")), (Role::Parameters, weights)];
        for (role, numbers) in given {
            let id = id(&lockstep, role);
            lockstep.set(id, &numbers).unwrap();
        }
        let data = id(&lockstep, Role::Data(0));
        lockstep.set(data, &[DataInfo { rows: shape[0], ..DataInfo::default() }]).unwrap();
        run(&mut lockstep, &name);

        // In any order, a sum of n products has an error of at most n roundings of the sum of the absolute products.
        // The reference sums in f64 and rounds its result once.
        let largest = |of: &str| get(of).iter().fold(0f32, |max, x| max.max(x.abs())) as f64;
        let (taps, groups, channels) = (taps as usize, conv.groups as usize, conv.channels as usize);
        let positions = get("y").len() / channels;
        let sum = |terms: usize, sizes: f64| (terms as f64 + 1.0) * terms as f64 * sizes + 1.0;
        let of_y = sum(taps * inputs / groups, largest("x") * largest("weight")) + largest("bias");
        let of_dx = sum(taps * channels / groups, largest("dy") * largest("weight"));
        let of_kernel = sum(positions.max(get("x").len() / inputs), largest("dy") * largest("x"));
        let of_bias = sum(positions, largest("dy"));

        let y = lockstep.get(id(&lockstep, Role::Output(0)));
        assert_close(&format!("{name}.y"), &y, &get("y"), |_| of_y);
        let dx = lockstep.get(id(&lockstep, Role::InputGradient(0)));
        assert_close(&format!("{name}.dx"), &dx, &get("dx"), |_| of_dx);
        let gradients = lockstep.get(id(&lockstep, Role::Gradients));
        let theirs = get("dweight");
        let expected: Vec<f32> = places.iter().map(|&place| theirs[place]).collect();
        assert_close(&format!("{name}.dweight"), &gradients[kernel], &expected, |_| of_kernel);
        assert_close(&format!("{name}.dbias"), &gradients[bias], &get("dbias"), |_| of_bias);
    }
}

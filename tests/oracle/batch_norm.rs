//! Compares batch normalisation with PyTorch: the layer alone, in a training, and loaded from a file.

use super::*;

/// 5 samples of 4 positions, with 7 channels.
const ROWS: usize = 20;
const CHANNELS: usize = 7;

#[test]
fn batch_normalisation_its_gradients_and_its_running_statistics() {
    let (oracle, activation) = (Oracle::open("batch_norm"), Activation::Identity);
    let options = &oracle.cases()["batch_norm"];
    let [epsilon, momentum] = ["eps", "momentum"].map(|name| options[name].as_f64().unwrap() as f32);
    let (n, step) = (ROWS * CHANNELS, (size_of::<StepState>() / 4));
    let lengths = [n, n, n, n, n, 7, 7, 7, 7, 128, 128, 14, step];
    let [x, gradient, y, dx, evaluated] = [0, 1, 2, 3, 4].map(|i| tensor(i, [ROWS as u32, CHANNELS as u32]));
    let [scale, shift, scale_gradient, shift_gradient] = [5, 6, 7, 8].map(|i| tensor(i, 7));
    let [statistics, running] = [9, 10].map(|i| tensor(i, [2, 64]));
    let (sums, step) = (tensor(11, [2, 7]), tensor(12, step as u32));
    let (rows, positions, channels) = (ROWS as u32, 4, CHANNELS as u32);
    let ops: Vec<Op> = vec![
        BatchNormForward { x, scale, shift, statistics: running, y: evaluated, epsilon, activation }.into(),
        ChannelStatistics { x, step, positions, statistics }.into(),
        RunningStatistics { statistics, step, rows, positions, channels, running, momentum, of_update: false }.into(),
        BatchNormForward { x, scale, shift, statistics, y, epsilon, activation }.into(),
        BatchNormParameters { gradient, x, statistics, scale_gradient, shift_gradient, sums, epsilon }.into(),
        BatchNormInput { gradient, x, scale, statistics, sums: Some(sums), step, positions, output: dx, epsilon }
            .into(),
    ];
    let [xs, dys, scales, means, variances] = ["x", "dy", "gamma", "mean", "variance"].map(|name| oracle.get(name));
    // `off` is the error of x̂. It has two parts: the rounding of the mean to f32, divided by the deviation, and a few
    // roundings of x̂ itself. A sum of n numbers has an error of about √n roundings of the numbers.
    let root = (ROWS as f64).sqrt();
    let mut allowed = [vec![0.0; n], vec![0.0; n], vec![0.0; n], vec![0.0; CHANNELS], vec![0.0; CHANNELS]];
    let mut of_running = [[0.0; CHANNELS]; 2];
    for c in 0..CHANNELS {
        let of_channel = || xs[c..].iter().step_by(CHANNELS).map(|&x| f64::from(x));
        let mean_of = |f: &dyn Fn(f64) -> f64| of_channel().map(f).sum::<f64>() / ROWS as f64;
        let mean = mean_of(&|x| x);
        let variance = mean_of(&|x| (x - mean).powi(2));
        let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let given = 1.0 / (f64::from(variances[c]) + f64::from(epsilon)).sqrt();
        let of_mean = mean.abs() + root * mean_of(&|x| (x - f64::from(xs[c])).abs());
        of_running[0][c] = of_mean + 3.0 * (mean.abs() + f64::from(means[c]).abs());
        of_running[1][c] = (2.0 * root + 6.0) * (variance + f64::from(variances[c]));
        for (i, x) in of_channel().enumerate() {
            let at = i * CHANNELS + c;
            let (scale, dy) = (f64::from(scales[c]).abs(), f64::from(dys[at]).abs());
            let normalised = (x - mean).abs() * inverse;
            let off = of_mean * inverse + (root + 6.0) * normalised;
            let of_given = 8.0 * (x - f64::from(means[c])).abs() * given;
            allowed[0][at] = off * scale + 2.0;
            // The formula is dy − mean dy − x̂ mean(dy x̂). The means are below 1.
            allowed[1][at] = (off + (root + 8.0) * (dy + 1.0 + normalised)) * inverse * scale;
            allowed[2][at] = of_given * scale + 2.0;
            allowed[3][c] += dy * (off + root * normalised);
            allowed[4][c] += dy * root;
        }
    }
    for gpu in gpus() {
        let mut lockstep = lockstep(gpu, plan(&lengths, ops.clone()));
        for (tensor, name) in [(x, "x"), (scale, "gamma"), (shift, "beta"), (gradient, "dy")] {
            lockstep.set(tensor.buffer, &oracle.get(name)).unwrap();
        }
        let mut start = vec![0.0; 128];
        start[..CHANNELS].copy_from_slice(&means);
        start[64..][..CHANNELS].copy_from_slice(&variances);
        lockstep.set(running.buffer, &start).unwrap();
        lockstep.set(step.buffer, &[StepState { step: 1, rows: 5, ..StepState::default() }]).unwrap();
        run(&mut lockstep, "batch_norm");
        let tensors = [y, dx, evaluated, scale_gradient, shift_gradient];
        let names = ["y", "dx", "evaluated", "dgamma", "dbeta"];
        for ((tensor, name), allowed) in tensors.into_iter().zip(names).zip(&allowed) {
            assert_close(name, &lockstep.get(tensor.buffer), &oracle.get(name), |i| allowed[i]);
        }
        let after = lockstep.get(running.buffer);
        for (k, name) in ["after.mean", "after.variance"].into_iter().enumerate() {
            assert_close(name, &after[64 * k..][..CHANNELS], &oracle.get(name), |c| of_running[k][c]);
        }
    }
}

fn network() -> Network {
    Network::input(6)
        .layer(Dense::new(8, Activation::Identity).without_bias())
        .batch_norm()
        .activation(Activation::Relu)
        .dense(3, Activation::Identity)
        .build()
        .unwrap()
}

/// Weights and running statistics, by PyTorch's names after a prefix.
fn state(oracle: &Oracle, network: &Network, prefix: &str) -> Vec<f32> {
    let names = ["0.weight", "1.weight", "1.bias", "3.weight", "3.bias"].map(|name| format!("{prefix}{name}"));
    let mut all = oracle.parameters(network, &names.each_ref().map(String::as_str));
    for (state, name) in network.states().iter().zip(["1.running_mean", "1.running_var"]) {
        all[state.range()].copy_from_slice(&oracle.get(&format!("{prefix}{name}")));
    }
    all
}

#[test]
fn a_training_with_batch_normalisation() {
    let oracle = Oracle::open("batch_norm");
    let network = network();
    let [start, end] = ["net.start.", "net.final."].map(|prefix| state(&oracle, &network, prefix));
    let data = Dataset::from_f32(oracle.get("net.x"), 6, oracle.words("net.labels").unwrap(), 3).unwrap();
    let config = TrainerConfig { batch: 12, shuffle: false, ..TrainerConfig::default() };
    let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() };
    for device in devices() {
        let loss = Loss::SoftmaxCrossEntropy;
        let mut trainer = Trainer::from_parameters(device, &network, loss, sgd, config.clone(), &start).unwrap();
        let history = trainer.fit(&data, Fit { epochs: 5, ..Fit::default() }, |_| {}).unwrap();
        let losses: Vec<f32> = history.epochs.iter().map(|epoch| epoch.train.loss as f32).collect();
        let expected = oracle.get("net.losses");
        // The sums have 6, 12, 8, 3 and 12 terms, with about √n roundings each. The first sum has numbers up to 7,
        // divided by deviations above 0.5.
        assert_close("losses", &losses, &expected, |i| 50.0 * or_one(expected[i]));
        let parameters = trainer.model().parameters().unwrap();
        assert_close("state after the training", &parameters, &end, |i| 50.0 * or_one(end[i]));
    }
}

#[test]
fn a_file_of_pytorchs_with_running_statistics() {
    let (oracle, file) = (Oracle::open("batch_norm"), Oracle::open("batch_norm_state"));
    let network = network();
    for device in devices() {
        let model = Model::weights_from_bytes(device, &network, &file.0).unwrap();
        let parameters = model.parameters().unwrap();
        assert_eq!(parameters, state(&file, &network, ""), "each tensor is where it belongs");
        let expected = oracle.get("net.evaluated");
        // The sums have 6 and 8 terms. The first has numbers up to 7, divided by deviations above 0.5.
        let got = model.forward(&oracle.get("net.x")).unwrap();
        assert_close("evaluated", &got, &expected, |i| 40.0 * or_one(expected[i]));
    }
}

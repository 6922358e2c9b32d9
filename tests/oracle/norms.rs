//! Compares group, instance and RMS normalisation with PyTorch: outputs, and the gradients of inputs and weights.

use super::*;
use wgrad::{GroupNorm, InstanceNorm, RmsNorm};

#[test]
fn group_instance_and_rms_normalisation() {
    let oracle = Oracle::open("norms");
    assert_eq!(oracle.cases().len(), 4);
    for (name, case) in oracle.cases() {
        let get = |of: &str| oracle.get(&format!("{name}.{of}"));
        let shape = oracle.shape(&format!("{name}.x"));
        let (groups, epsilon) = (case["groups"].as_u64().unwrap() as u32, case["eps"].as_f64().unwrap() as f32);
        let is_rms = case["layer"] == "rms";
        let layer: Layer = match case["layer"].as_str().unwrap() {
            "group" => GroupNorm { groups, epsilon }.into(),
            "instance" => InstanceNorm { epsilon }.into(),
            _ => RmsNorm { epsilon }.into(),
        };
        let network = Network::input(Shape::try_from(&shape[1..]).unwrap()).layer(layer).build().unwrap();
        let config = TrainerConfig { batch: shape[0], ..TrainerConfig::default() };
        let plan = Plan::chain(&network, &Adam::default().into(), &config, &[true]).unwrap();
        let mut lockstep = lockstep(&gpus()[0], plan);
        let id = |lockstep: &Lockstep, role| lockstep.plan().find(role).unwrap();
        let mut weights = vec![0.0; network.parameter_words() as usize];
        for (parameter, of) in network.parameters().iter().zip(["gamma", "beta"]) {
            weights[parameter.range()].copy_from_slice(&get(of));
        }
        let given = [(Role::Input(0), get("x")), (Role::OutputGradient(0), get("dy")), (Role::Parameters, weights)];
        for (role, numbers) in given {
            let id = id(&lockstep, role);
            lockstep.set(id, &numbers).unwrap();
        }
        let data = id(&lockstep, Role::Data(0));
        lockstep.set(data, &[DataInfo { rows: shape[0], ..DataInfo::default() }]).unwrap();
        run(&mut lockstep, &name);

        // The bound is that of layer normalisation. A mean has an error of about √n roundings of the numbers. x̂ has a
        // few roundings of its own.
        let (xs, dys, scales) = (get("x"), get("dy"), get("gamma"));
        let (channels, sample) = (shape[3] as usize, network.inputs() as usize);
        let group = |i: usize| match is_rms {
            true => i / channels,
            false => i / sample * groups as usize + i % channels / (channels / groups as usize),
        };
        let mut allowed = [vec![0.0; xs.len()], vec![0.0; xs.len()], vec![0.0; channels], vec![0.0; channels]];
        for i in 0..xs.len() {
            let members: Vec<f64> = (0..xs.len()).filter(|&j| group(j) == group(i)).map(|j| f64::from(xs[j])).collect();
            let mean_of = |f: &dyn Fn(f64) -> f64| members.iter().map(|&x| f(x)).sum::<f64>() / members.len() as f64;
            let mean = if is_rms { 0.0 } else { mean_of(&|x| x) };
            let inverse = 1.0 / (mean_of(&|x| (x - mean).powi(2)) + f64::from(epsilon)).sqrt();
            let (c, dy) = (i % channels, f64::from(dys[i]).abs());
            let (scale, normalised) = (f64::from(scales[c]).abs(), (f64::from(xs[i]) - mean).abs() * inverse);
            let off = (members.len() as f64).sqrt() * mean_of(&f64::abs) * inverse + 6.0 * normalised;
            allowed[0][i] = off * scale + 2.0;
            allowed[1][i] = (off + 6.0 * (dy * scale + 1.0 + normalised)) * inverse;
            allowed[2][c] += dy * off;
            allowed[3][c] += dy * 6.0;
        }
        let [of_y, of_dx, of_scale, of_shift] = &allowed;
        for (role, of, allowed) in [(Role::Output(0), "y", of_y), (Role::InputGradient(0), "dx", of_dx)] {
            let expected = get(of);
            assert_close(&format!("{name}.{of}"), &lockstep.get(id(&lockstep, role)), &expected, |i| allowed[i]);
        }
        let gradients = lockstep.get(id(&lockstep, Role::Gradients));
        let of_weights = network.parameters().iter().zip([("dgamma", of_scale), ("dbeta", of_shift)]);
        for (parameter, (of, allowed)) in of_weights {
            assert_close(&format!("{name}.{of}"), &gradients[parameter.range()], &get(of), |i| allowed[i]);
        }
    }
}

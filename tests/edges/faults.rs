//! Edge cases through trainers and models: small losses, and layer normalisation of equal numbers.

use wgrad::*;

use crate::common::gpu;

fn devices() -> [Device; 2] {
    [gpu().into(), Device::Cpu]
}

/// The mean loss of rows. The network passes them on unchanged.
fn loss_of(device: &Device, loss: Loss, rows: &[f32], outputs: u32, targets: Vec<f32>) -> f64 {
    let network = Network::input(outputs).activation(Activation::Identity).build().unwrap();
    let mut trainer = Trainer::new(device.clone(), &network, loss, Sgd::default(), TrainerConfig::default()).unwrap();
    let data = Dataset::from_f32_targets(rows.to_vec(), outputs as usize, targets, outputs).unwrap();
    trainer.evaluate(&data).unwrap().loss
}

/// Losses of correct predictions are about e^-|z|, for both targets.
#[test]
fn binary_cross_entropy_keeps_the_small_losses_of_both_targets() {
    for device in devices() {
        for (z, t, expected) in [
            (20.0, 1.0, 2.061153620314381e-9),
            (-20.0, 0.0, 2.061153620314381e-9),
            (16.0, 1.0, 1.1253516838480948e-7),
            (-16.0, 0.0, 1.1253516838480948e-7),
            (30.0, 1.0, 9.357622968839299e-14),
            (80.0, 1.0, 1.8048513878454153e-35),
            (20.0, 0.5, 10.000000002061153),
            (80.0, 0.0, 80.0),
        ] {
            let loss = loss_of(&device, Loss::BinaryCrossEntropy, &[z], 1, vec![t]);
            // WGSL allows exp an error of 3 + 2 |z| ulp.
            let share = (16.0 + 2.0 * f64::from(z.abs())) / 8_388_608.0;
            assert!((loss - expected).abs() <= share * expected, "{device:?}: z {z}, t {t}: {loss:e}");
        }
    }
}

/// The learning rate is the inverse of the small gradient, so a step moves the weight from 1 to 2.
#[test]
fn binary_cross_entropy_keeps_the_small_gradients_of_both_targets() {
    for device in devices() {
        for (x, t) in [(20.0, 1.0), (-20.0, 0.0)] {
            let network = Network::input(1).layer(Dense::new(1, Activation::Identity).without_bias()).build().unwrap();
            // The gradient of the weight is x (sigmoid(x) - t), -20 times this.
            let sgd = Sgd { learning_rate: (1.0 / (20.0 * 2.0611536181902037e-9)) as f32, ..Sgd::default() };
            let (loss, config) = (Loss::BinaryCrossEntropy, TrainerConfig::default());
            let mut weights = vec![0.0; network.parameter_words() as usize];
            weights[0] = 1.0;
            let mut trainer = Trainer::from_parameters(device.clone(), &network, loss, sgd, config, &weights).unwrap();
            let data = Dataset::from_f32_targets(vec![x], 1, vec![t], 1).unwrap();
            trainer.fit(&data, Fit::default(), |_| {}).unwrap();
            let weight = trainer.model().parameters().unwrap()[0];
            assert!((weight - 2.0).abs() < 1e-4, "{device:?}: x {x}, t {t}: {weight}");
        }
    }
}

/// The term 1 of the largest logit does not absorb the other terms.
#[test]
fn softmax_cross_entropy_keeps_small_losses() {
    for device in devices() {
        for (z, expected) in
            [(20.0f32, 4.122307236391383e-9), (40.0, 8.49670851048319e-18), (80.0, 3.609702775690831e-35)]
        {
            let rows = [z, 0.0, 0.0];
            let loss = loss_of(&device, Loss::SoftmaxCrossEntropy, &rows, 3, vec![1.0, 0.0, 0.0]);
            let share = (24.0 + 2.0 * f64::from(z)) / 8_388_608.0;
            assert!((loss - expected).abs() <= share * expected, "{device:?}: z {z}: {loss:e}");
        }
    }
}

/// The output is exactly 0, because no number differs from the mean.
#[test]
fn layer_normalisation_of_a_constant_row_is_0() {
    for device in devices() {
        for columns in [1u32, 3, 64, 300, 8192, 10_000] {
            let network = Network::input(columns).layer_norm().build().unwrap();
            let model = Model::new(device.clone(), &network, &network.initial_parameters(1)).unwrap();
            for value in [123_456.7f32, 1234.567, 1e20, -1e-20, 3e38] {
                let y = model.forward(&vec![value; columns as usize]).unwrap();
                assert!(y.iter().all(|y| *y == 0.0), "{device:?}: {columns} times {value}: {:?}", &y[..1]);
            }
        }
    }
}

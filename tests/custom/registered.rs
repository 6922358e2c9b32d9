//! Files of networks with an app's own activations and losses.

use crate::activations::{BENT, SNAKE};
use crate::common::*;
use crate::losses::LOG_COSH;
use wgrad::{
    Activation::{self, Custom, Identity, Tanh},
    Adam, CustomActivation, CustomLoss, Dataset, Device, Fit, Loss, Model, Network, Trainer, custom,
};

fn trainer(activation: Activation, loss: Loss) -> Trainer {
    let network = Network::input(2).dense(4, activation).activation(Tanh).dense(1, Identity).build().unwrap();
    Trainer::new(Device::Cpu, &network, loss, Adam::default(), batches_of(4)).unwrap()
}

fn fit(trainer: &mut Trainer) -> Vec<f32> {
    let mut random = Random(7);
    let data = Dataset::from_f32_targets(random.f32s(20), 2, random.f32s(10), 1).unwrap();
    trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    trainer.model().parameters().unwrap()
}

#[test]
fn a_run_with_registered_parts_goes_on_to_the_same_bits() {
    custom::register_activation(&SNAKE).unwrap();
    custom::register_activation(&SNAKE).unwrap();
    custom::register_loss(&LOG_COSH).unwrap();
    let mut first = trainer(Custom(&SNAKE), Loss::Custom(&LOG_COSH));
    fit(&mut first);
    let bytes = first.to_bytes().unwrap();
    let mut resumed = Trainer::resume_from_bytes(Device::Cpu, &bytes).unwrap();
    assert_eq!(resumed.model().network(), first.model().network());
    assert_eq!(fit(&mut resumed), fit(&mut first));
    let model = Model::from_bytes(Device::Cpu, &bytes).unwrap();
    assert_eq!(model.network(), first.model().network());
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#"{\"Custom\":\"snake\"}"#) && text.contains(r#"{\"Custom\":\"log_cosh\"}"#), "{text}");
}

#[test]
fn a_file_names_all_that_is_not_registered() {
    static FIRST: CustomActivation = CustomActivation::new("first_unknown", "z", "1.0").twin(|z| z, |_| 1.0, 0.0);
    static SECOND: CustomActivation = CustomActivation::new("second_unknown", "z", "1.0").twin(|z| z, |_| 1.0, 0.0);
    static THIRD: CustomLoss = CustomLoss::new("third_unknown", "y", "1.0").twin(|y, _| y, |_, _| 1.0, 0.0);
    let network = Network::input(2).dense(4, Custom(&SECOND)).named("a").activation(Custom(&FIRST)).dense(1, Identity);
    let network = network.build().unwrap();
    let trainer =
        Trainer::new(Device::Cpu, &network, Loss::Custom(&THIRD), Adam::default(), batches_of(4)).unwrap();
    let bytes = trainer.to_bytes().unwrap();
    let activations = "the custom activation first_unknown, the custom activation second_unknown";
    let calls = "before reading it, call wgrad::custom::register_activation";
    assert_eq!(
        Trainer::resume_from_bytes(Device::Cpu, &bytes).unwrap_err().to_string(),
        format!("the bytes given: needs {activations}, the custom loss third_unknown: {calls} and wgrad::custom::register_loss")
    );
    // A model has no use for the loss.
    let of_model = || Model::from_bytes(Device::Cpu, &bytes).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(of_model(), Err(format!("the bytes given: needs {activations}: {calls}")));
    custom::register_activation(&FIRST).unwrap();
    assert_eq!(of_model(), Err(format!("the bytes given: needs the custom activation second_unknown: {calls}")));
    custom::register_activation(&SECOND).unwrap();
    assert_eq!(of_model(), Ok(()));
    custom::register_loss(&THIRD).unwrap();
    Trainer::resume_from_bytes(Device::Cpu, &bytes).unwrap();
}

#[test]
fn a_name_stands_for_one_description() {
    static OTHER: CustomActivation = CustomActivation::new("bent", "z", "1.0");
    static FAULTY: CustomActivation = CustomActivation::new("faulty", "x", "1.0");
    custom::register_activation(&BENT).unwrap();
    let error = custom::register_activation(&OTHER).unwrap_err().to_string();
    let expected = "a name that no other activation is registered under";
    assert_eq!(error, format!("registering a custom activation: expected {expected}, got \"bent\""));
    assert!(custom::register_activation(&FAULTY).unwrap_err().to_string().contains("x in \"x\""));
    // An activation and a loss may share one.
    static BENT_LOSS: CustomLoss = CustomLoss::new("bent", "y", "1.0");
    custom::register_loss(&BENT_LOSS).unwrap();
}

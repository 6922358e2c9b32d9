//! Tests files of networks with custom activations, losses and layers.

use crate::activations::{BENT, SNAKE};
use crate::common::*;
use crate::losses::LOG_COSH;
use wgrad::{
    Activation::{self, Custom, Identity, Tanh},
    Adam, CustomActivation, CustomLayer, CustomLoss, CustomOp, Dataset, Device, Error, Fit, LayerOps, Loss, Model,
    Network, Result, Shape, Trainer, custom,
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

/// A resumed run with registered activations and losses must leave the same bits.
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

/// The error must list everything in a file that is not registered.
#[test]
fn a_file_names_all_that_is_not_registered() {
    static FIRST: CustomActivation = CustomActivation::new("first_unknown", "z", "1.0").twin(|z| z, |_| 1.0, 0.0);
    static SECOND: CustomActivation = CustomActivation::new("second_unknown", "z", "1.0").twin(|z| z, |_| 1.0, 0.0);
    static THIRD: CustomLoss = CustomLoss::new("third_unknown", "y", "1.0").twin(|y, _| y, |_, _| 1.0, 0.0);
    let network = Network::input(2).dense(4, Custom(&SECOND)).named("a").activation(Custom(&FIRST)).dense(1, Identity);
    let network = network.build().unwrap();
    let trainer = Trainer::new(Device::Cpu, &network, Loss::Custom(&THIRD), Adam::default(), batches_of(4)).unwrap();
    let bytes = trainer.to_bytes().unwrap();
    let activations = "the custom activation first_unknown, the custom activation second_unknown";
    let calls = "call wgrad::custom::register_activation";
    assert_eq!(
        Trainer::resume_from_bytes(Device::Cpu, &bytes).unwrap_err().to_string(),
        format!(
            "the bytes given: not registered: {activations}, the custom loss third_unknown; {calls} and \
             wgrad::custom::register_loss before reading the file"
        )
    );
    // A model does not need the loss.
    let of_model = || Model::from_bytes(Device::Cpu, &bytes).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(
        of_model(),
        Err(format!("the bytes given: not registered: {activations}; {calls} before reading the file"))
    );
    custom::register_activation(&FIRST).unwrap();
    assert_eq!(
        of_model(),
        Err(format!(
            "the bytes given: not registered: the custom activation second_unknown; {calls} before reading the file"
        ))
    );
    custom::register_activation(&SECOND).unwrap();
    assert_eq!(of_model(), Ok(()));
    custom::register_loss(&THIRD).unwrap();
    Trainer::resume_from_bytes(Device::Cpu, &bytes).unwrap();
}

/// A layer y = factor · x.
#[derive(Debug)]
struct Times<const KIND: u32> {
    factor: f32,
}

impl<const KIND: u32> CustomLayer for Times<KIND> {
    fn kind(&self) -> &str {
        ["times", "times_unknown"][KIND as usize]
    }

    fn options(&self) -> String {
        format!(r#"{{"Custom":{}}}"#, self.factor)
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![inputs[0]])
    }

    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (x, y, factor) = (ops.inputs[0], ops.outputs[0], self.factor);
        let kernel = CustomOp::new("forward", "fn run(i: u32) { y[i] = FACTOR * x[i]; }").constant("FACTOR", factor);
        let kernel = kernel.read("x", x).write("y", y).invocations(y.len());
        ops.run(kernel.twin(0.0, move |at| {
            let x = at.read("x");
            at.write("y").iter_mut().zip(x).for_each(|(y, x)| *y = factor * x);
        }))
    }

    fn backward(&self, _: &mut LayerOps<'_>) -> Result<()> {
        Ok(())
    }
}

/// Makes the layer from its options.
fn times<const KIND: u32>(options: &str) -> Result<Times<KIND>> {
    let factor = options.trim_start_matches(r#"{"Custom":"#).trim_end_matches('}').parse();
    factor.map(|factor| Times { factor }).map_err(|_| Error::shape("options of times", "a number", options))
}

/// A file must keep a custom layer's kind and options.
#[test]
fn a_file_has_layers_by_kind_and_options() {
    custom::register_layer("times", times::<0>).unwrap();
    custom::register_layer("times", times::<0>).unwrap();
    let error = custom::register_layer("times", times::<1>).unwrap_err().to_string();
    assert!(error.starts_with("registration of a custom layer: expected a name that no other layer has"), "{error}");

    let network = Network::input(2).layer(Times::<0> { factor: -2.5 }).dense(1, Identity).build().unwrap();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    let loaded = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    assert_eq!(loaded.network(), &network);
    assert_eq!(loaded.forward(&[1.0, 2.0]).unwrap(), model.forward(&[1.0, 2.0]).unwrap());

    let network = Network::input(2).layer(Times::<1> { factor: 2.0 }).dense(1, Identity).build().unwrap();
    let bytes = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap().to_bytes().unwrap();
    let message = "the bytes given: not registered: the custom layer times_unknown; call wgrad::custom::register_layer \
                   before reading the file";
    assert_eq!(Model::from_bytes(Device::Cpu, &bytes).unwrap_err().to_string(), message);
    // The app's own error for wrong options must be returned.
    custom::register_layer("times_unknown", |_| times::<1>("x")).unwrap();
    let error = Model::from_bytes(Device::Cpu, &bytes).unwrap_err().to_string();
    assert!(error.contains("options of times: expected a number, got x"), "{error}");
}

/// A name may be registered for one description only.
#[test]
fn a_name_stands_for_one_description() {
    static OTHER: CustomActivation = CustomActivation::new("bent", "z", "1.0");
    static FAULTY: CustomActivation = CustomActivation::new("faulty", "x", "1.0");
    custom::register_activation(&BENT).unwrap();
    let error = custom::register_activation(&OTHER).unwrap_err().to_string();
    let expected = "a name that no other activation has";
    assert_eq!(error, format!("registration of a custom activation: expected {expected}, got \"bent\""));
    assert!(custom::register_activation(&FAULTY).unwrap_err().to_string().contains("x in \"x\""));
    // An activation and a loss may share a name.
    static BENT_LOSS: CustomLoss = CustomLoss::new("bent", "y", "1.0");
    custom::register_loss(&BENT_LOSS).unwrap();
}

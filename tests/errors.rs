//! Tests errors: bad input gives an error that names the item, the expected and the given value. Nothing panics.

mod common;
#[path = "common/custom_layer.rs"]
mod custom_layer;

#[path = "errors/custom.rs"]
mod custom;
#[path = "errors/data.rs"]
mod data_sets;
#[path = "errors/devices.rs"]
mod devices;
#[path = "errors/files.rs"]
mod files;
#[path = "errors/networks.rs"]
mod networks;
#[path = "errors/page.rs"]
mod page;
#[path = "errors/training.rs"]
mod training;

use common::*;
use wgrad::Activation::{Identity, Relu, Sigmoid};
use wgrad::{
    Adam, Dataset, Device, Error, Fit, Gpu, Loss, Model, Network, Optimizer, Plan, Sgd, Trainer, TrainerConfig, wgpu,
};

/// The sections of `docs/errors.md`, in order, match the library's errors. `WGRAD_WRITE_ERRORS=1 cargo test --release
/// --all-features --test errors` writes the page.
#[cfg_attr(not(target_os = "linux"), ignore = "other systems have other words")]
#[test]
fn the_page_says_what_the_library_says() {
    let sections: [fn() -> page::Section; 20] = [
        networks::layers,
        networks::graphs,
        networks::options,
        training::options,
        training::ranks,
        training::losses,
        data_sets::building,
        data_sets::images,
        data_sets::matching,
        training::calls,
        training::functions,
        custom::layers,
        custom::kernels,
        custom::expressions,
        files::models,
        files::weights,
        files::mnist,
        devices::devices,
        devices::buffers,
        devices::textures,
    ];
    let sections = sections.map(|section| section());
    page::assert_every_kind(&sections);
    page::check(&page::render(&sections));
}

fn network() -> Network {
    Network::input(4).dense(3, Relu).dense(2, Identity).build().unwrap()
}

fn data(features: usize, classes: u32) -> Dataset {
    Dataset::from_f32(vec![0.5; features * 3], features, vec![classes - 1; 3], classes).unwrap()
}

fn new(
    device: impl Into<Device>,
    network: &Network,
    optimizer: impl Into<Optimizer>,
    batch: u32,
) -> Result<Trainer, Error> {
    Trainer::new(device, network, Loss::SoftmaxCrossEntropy, optimizer, TrainerConfig { batch, ..Default::default() })
}

/// `Trainer::new` checks network, optimizer, batch size and loss.
#[test]
fn what_a_trainer_is_made_of_is_checked() {
    let sigmoid_output = Network::input(4).dense(2, Sigmoid).build().unwrap();
    let one_class = Network::input(4).dense(1, Identity).build().unwrap();
    let cases: [(Result<Trainer, Error>, &str); 6] = [
        (
            new(gpu(), &one_class, Adam::default(), 1),
            "softmax cross-entropy: expected at least 2 outputs, got 1; for two classes with one output use \
             Loss::BinaryCrossEntropy",
        ),
        (new(gpu(), &network(), Adam::default(), 0), "batch: expected at least 1 row, got 0"),
        (
            new(gpu(), &network(), Sgd { momentum: 2.0, ..Sgd::default() }, 1),
            "momentum must be at least 0 and below 1, got 2",
        ),
        (
            new(gpu(), &sigmoid_output, Adam::default(), 1),
            "the last layer's activation must be Softmax or Identity for softmax cross-entropy (with Identity, the \
             outputs are logits), got Sigmoid",
        ),
        (new(gpu(), &network(), Adam::default(), u32::MAX), "batch: needs 4294967295 rows, but the limit is 1048576"),
        (
            new(gpu(), &network(), Adam { epsilon: 0.0, ..Adam::default() }, 1),
            "epsilon must be finite and above 0, got 0",
        ),
    ];
    for (result, message) in cases {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
}

/// A training batch is limited to 2²⁰ rows, because one workgroup numbers them. A forward pass is limited only by the
/// device.
#[test]
fn a_forward_pass_has_as_many_rows_as_a_large_picture() {
    let rows = 3840 * 2160;
    assert_eq!(Plan::forward(&network(), rows).unwrap().batch, rows);
    let model = Model::new(gpu(), &network(), &network().initial_parameters(0)).unwrap();
    let rows = (1 << 20) + 3;
    let features: Vec<f32> = (0..rows * 4).map(|i| (i % 97) as f32 / 97.0).collect();
    let outputs = model.forward(&features).unwrap();
    assert_eq!(outputs[(rows - 3) * 2..], model.forward(&features[(rows - 3) * 4..]).unwrap());
}

/// Data that do not fit the network are an error on the GPU and on the CPU.
#[test]
fn data_that_do_not_fit_the_network_are_refused_on_every_device() {
    for device in [Device::from(gpu()), Device::Cpu] {
        let mut trainer = new(device, &network(), Adam::default(), 2).unwrap();
        let narrow = trainer.fit(data(5, 2), Fit::default(), |_| {}).unwrap_err().to_string();
        assert_eq!(narrow, "features of the data set: expected 4 (the network's input), got 5");
        let scored = trainer.model().score(&data(2, 2)).unwrap_err().to_string();
        assert_eq!(scored, "features of the data set: expected 4 (the network's input), got 2");
        let classes = trainer.evaluate(&data(4, 3)).unwrap_err().to_string();
        assert_eq!(classes, "classes of the data set: expected at most 2 (the network's output), got 3");
        let validation = data(4, 7);
        let fit = Fit { validation: Some(&validation), ..Fit::default() };
        assert!(trainer.fit(data(4, 2), fit, |_| {}).unwrap_err().to_string().starts_with("classes of the data set"));
        let ragged = trainer.predict(&[0.0; 7]).unwrap_err().to_string();
        assert_eq!(ragged, "features: expected whole rows of 4 numbers, got 7 numbers");
        // After these errors, the trainer still trains.
        trainer.fit(data(4, 2), Fit::default(), |_| {}).unwrap();
        assert_eq!(trainer.predict(&[]).unwrap(), Vec::<u32>::new());
    }
}

/// A request above a device limit is an error with the needed size and the limit. Nothing is allocated.
#[test]
fn what_the_device_cannot_hold_is_refused_with_the_numbers_before_allocation() {
    let limit = 1 << 20;
    let limits = wgpu::Limits { max_storage_buffer_binding_size: limit, ..Default::default() };
    let (device, queue) = own_device_with(limits);
    // Fails the test if a request above the limits reaches the device.
    device.on_uncaptured_error(std::sync::Arc::new(|error| panic!("reached the device: {error}")));
    let gpu = Gpu::from_parts(device, queue);
    let refused = |error: Error, what: &str, bytes: u64| match error {
        Error::LimitExceeded { what: actual, needed, limit: 1_048_576, unit: "bytes" } => {
            assert_eq!((actual.as_str(), needed), (what, bytes));
        }
        other => panic!("{other}"),
    };
    // The weights of each layer have their own binding.
    let wide = Network::input(600).dense(600, Relu).dense(2, Identity).build().unwrap();
    refused(
        new(&gpu, &wide, Adam::default(), 1).unwrap_err(),
        "GPU buffer for parameters (max_storage_buffer_binding_size)",
        600 * 600 * 4,
    );
    refused(
        new(&gpu, &network(), Adam::default(), 100_000).unwrap_err(),
        "GPU buffer for narrow (max_storage_buffer_binding_size)",
        5_600_256,
    );
    let mut trainer = new(&gpu, &network(), Adam::default(), 8).unwrap();
    let large = Dataset::from_u8(vec![0; 400_000 * 4], 4, vec![0; 400_000], 2).unwrap();
    let features = "GPU buffer for the data set's features (max_storage_buffer_binding_size)";
    refused(trainer.prepare(&large).unwrap_err(), features, 1_600_000);
    let told = trainer.prepare(&large).unwrap_err().to_string();
    assert!(told.contains("limit is 1048576. Trainer::fit and Trainer::evaluate upload long data"), "{told}");
    // `fit` cannot divide the data into windows if all rows form one update.
    let config = TrainerConfig { batch: 8, accumulate: 50_000, ..TrainerConfig::default() };
    let mut whole = Trainer::new(&gpu, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    refused(whole.fit(&large, Fit::default(), |_| {}).unwrap_err(), features, 1_600_000);
    // Data within the limits train.
    trainer.fit(data(4, 2), Fit::default(), |_| {}).unwrap();
}

/// Data too large for one binding are trained and evaluated in windows.
#[test]
fn data_longer_than_a_binding_train_window_by_window() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..Default::default() };
    let (device, queue) = own_device_with(limits);
    let gpu = Gpu::from_parts(device, queue);
    let rows = 400_000;
    let labels: Vec<u32> = (0..rows).map(|i| i / 7 % 2).collect();
    let pixels = labels.iter().flat_map(|label| [40 + 160 * *label as u8; 4]).collect();
    let large = Dataset::from_u8(pixels, 4, labels, 2).unwrap();
    let tells = Network::input(4).dense(2, Identity).build().unwrap();
    let mut trainer = new(&gpu, &tells, Adam { learning_rate: 0.02, ..Adam::default() }, 2048).unwrap();
    let fit = Fit { epochs: 2, validation: Some(&large), ..Fit::default() };
    let history = trainer.fit(&large, fit, |_| {}).unwrap();
    let last = history.epochs[1];
    assert_eq!((last.train.rows, last.steps, last.validation.unwrap().rows), (rows, 196, rows));
    assert!(last.validation.unwrap().accuracy > 0.99, "{last:?}");
    assert_eq!(trainer.evaluate(&large).unwrap(), last.validation.unwrap());
}

/// Evaluation and prediction divide the data into batches that fit the device.
#[test]
fn evaluation_and_prediction_make_do_with_what_fits() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..Default::default() };
    let (device, queue) = own_device_with(limits);
    let gpu = Gpu::from_parts(device, queue);
    // One row of the hidden layer takes 80 kB, so 13 rows fit.
    let wide = Network::input(4).dense(20_000, Relu).dense(2, Identity).build().unwrap();
    let mut trainer = new(&gpu, &wide, Sgd::default(), 4).unwrap();
    let rows = 100;
    let data = Dataset::from_f32(Random(5).f32s(rows * 4), 4, vec![1; rows], 2).unwrap();
    trainer.fit(&data, Fit { validation: Some(&data), ..Fit::default() }, |_| {}).unwrap();
    assert_eq!(trainer.evaluate(&data).unwrap().rows, 100);
    assert_eq!(trainer.predict(&data.features_of(0..rows)).unwrap().len(), rows);
}

/// A device with too few storage bindings is an error with the needed number and the limit.
#[test]
fn a_device_with_fewer_bindings_than_a_kernel_needs_is_refused_with_the_numbers() {
    let (device, queue) = own_device_with(wgpu::Limits::downlevel_defaults());
    let gpu = Gpu::from_parts(device, queue);
    for _ in 0..2 {
        let error = new(&gpu, &network(), Adam::default(), 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "kernel narrow_rows (max_storage_buffers_per_shader_stage): needs 8 storage buffers, but the limit is 4"
        );
    }
}

/// A data set above the default binding limit of 128 MiB trains.
#[test]
fn a_data_set_over_128_mib_works() {
    let rows = 140 << 20;
    let labels: Vec<u32> = (0..rows as u32 / 1024).map(|i| i % 2).collect();
    let large = Dataset::from_u8(vec![200; rows], 1024, labels, 2).unwrap();
    let network = Network::input(1024).dense(2, Identity).build().unwrap();
    let mut trainer = new(gpu(), &network, Sgd::default(), 8192).unwrap();
    let history = trainer.fit(&large, Fit::default(), |_| {}).unwrap();
    assert_eq!(history.epochs[0].train.rows, rows as u32 / 1024);
}

/// The error for an unknown adapter name lists the available adapters.
#[test]
fn an_adapter_that_is_not_there_is_named_beside_those_that_are() {
    let error = Gpu::request_named("no such adapter").unwrap_err().to_string();
    assert!(error.starts_with("no GPU adapter found named \"no such adapter\": there are "), "{error}");
    assert!(error.contains(&gpu().adapter_info().name) && error.contains("mesa-vulkan-drivers"), "{error}");
    let name = gpu().adapter_info().name.to_uppercase();
    assert!(Gpu::request_named(&name[..5]).is_ok());
}

/// A lost device is an error, both for a device that wgrad made and for an app's device. The device's owner is
/// notified.
#[test]
fn a_lost_device_is_an_error() {
    let (device, queue) = own_device();
    lost_device_is_an_error(Gpu::request().unwrap());
    lost_device_is_an_error(Gpu::from_parts(device, queue));
}

fn lost_device_is_an_error(gpu: Gpu) {
    let mut trainer = new(&gpu, &network(), Adam::default(), 2).unwrap();
    trainer.fit(data(4, 2), Fit::default(), |_| {}).unwrap();
    gpu.device().destroy();
    let _ = gpu.device().poll(wgpu::PollType::wait_indefinitely());
    let error = trainer.fit(data(4, 2), Fit::default(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    assert!(matches!(trainer.model().parameters().unwrap_err(), Error::DeviceLost { .. }));
    assert!(matches!(new(&gpu, &network(), Adam::default(), 2).unwrap_err(), Error::DeviceLost { .. }));
}

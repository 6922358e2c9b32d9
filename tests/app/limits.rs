//! Tests the limits that a device needs, and the errors for a device below them.

use wgrad::Activation::{Identity, Relu};
use wgrad::{
    Adam, ChainRows, Dataset, Error, Fit, Gpu, Loss, Model, Network, Plan, Rows, Sgd, Trainer, TrainerConfig, wgpu,
};

use super::common::{assert_agree, lockstep_with_data};
use super::{App, Random, own_device_with};

/// A device that the app requests with its own descriptor.
pub fn device_of<'a>(
    request: impl FnOnce(&wgpu::Adapter) -> wgpu::DeviceDescriptor<'a>,
) -> (wgpu::Device, wgpu::Queue) {
    pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        let adapter = instance.request_adapter(&options).await.expect("an adapter: see scripts/setup.sh");
        adapter.request_device(&request(&adapter)).await.expect("a device")
    })
}

fn network() -> Network {
    Network::input(20).dense(64, Relu).dropout(0.1).layer_norm().dense(3, Identity).build().unwrap()
}

fn data() -> Dataset {
    let mut random = Random(5);
    let (features, labels) = (random.f32s(100 * 20), (0..100).map(|_| random.below(3)).collect());
    Dataset::from_f32(features, 20, labels, 3).unwrap()
}

/// The limits from `required_limits` suffice, both alone and merged with the limits that an app requests.
#[test]
fn the_required_limits_of_a_plan_are_enough_for_it() {
    let config = TrainerConfig { clip: Some(wgrad::Clip::Norm(1.0)), accumulate: 2, ..TrainerConfig::default() };
    let network = network();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config).unwrap();
    let needed = wgrad::required_limits(&plan);
    let default = wgpu::Limits::default();
    assert!(needed.check_limits(&default), "the default limits are enough for a small network");
    let merged = default.clone().or_better_values_from(&needed);
    assert_eq!(merged, default);
    // The plan does not cover the data set's buffers or the buffers of an evaluation, which has a larger batch.
    let needed = wgpu::Limits { max_buffer_size: 1 << 17, max_storage_buffer_binding_size: 1 << 17, ..needed };
    let run = |limits: wgpu::Limits| {
        let (device, queue) = own_device_with(limits);
        let app = App::on(device, queue);
        let mut trainer =
            Trainer::new(&app.gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config.clone()).unwrap();
        trainer.fit(data(), Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
        trainer.model().parameters().unwrap()
    };
    assert_eq!(run(needed), run(merged));
}

#[test]
fn a_long_buffer_raises_the_required_limits() {
    let network = Network::input(8192).dense(8192, Identity).build().unwrap();
    let plan = Plan::forward(&network, 1).unwrap();
    let needed = wgrad::required_limits(&plan);
    // The weights are 8192² numbers with a binding of their own. The 8192 biases follow.
    let (weights, biases) = (4 * 8192 * 8192, 4 * 8192);
    assert_eq!((needed.max_storage_buffer_binding_size, needed.max_buffer_size), (weights, weights + biases));
    assert!(!needed.check_limits(&wgpu::Limits::default()));
}

/// At the default limits, a buffer that is too long gives an error that names it. Nothing is allocated before the
/// error.
#[test]
fn what_exceeds_the_default_limits_is_refused_before_it_is_allocated() {
    let (device, queue) = own_device_with(wgpu::Limits::default());
    let app = App::on(device, queue);
    let before = app.device.generate_allocator_report();
    // The first is too long for a buffer, the second for the binding of one layer. Two moments would take twice the
    // length.
    for (width, limit) in
        [(8192, "max_buffer_size): needs 268468224"), (6000, "max_storage_buffer_binding_size): needs 144000000")]
    {
        let network = Network::input(width).dense(width, Identity).build().unwrap();
        let config = TrainerConfig { batch: 1, ..TrainerConfig::default() };
        let error = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Sgd::default(), config).unwrap_err();
        assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
        let message = error.to_string();
        assert!(message.starts_with(&format!("GPU buffer for parameters ({limit} bytes")), "{message}");
        let error = Model::new(&app.gpu, &network, &vec![0.0; network.parameter_words() as usize]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(app.gpu.kernels_compiled(), 0);
    let after = app.device.generate_allocator_report();
    assert_eq!(before.map(|r| r.total_allocated_bytes), after.map(|r| r.total_allocated_bytes));
}

/// The gaps between rows count too, because they are part of the binding. Copied rows need a packed copy within the
/// limits.
#[test]
fn rows_that_reach_too_far_are_refused_before_anything_is_allocated() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 17, ..wgpu::Limits::default() };
    let (device, queue) = own_device_with(limits);
    let app = App::on(device, queue);
    let network = Network::input(8).dense(8, Identity).build().unwrap();
    let mut trainer =
        Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), TrainerConfig::default()).unwrap();
    let (far, near) = (app.storage(&vec![0f32; 1 << 16]), app.storage(&vec![0f32; 1 << 15]));
    let allocated = || app.device.generate_allocator_report().map(|report| report.total_allocated_bytes);
    let before = (app.gpu.kernels_compiled(), allocated());
    // The rows span 128 strides of 1,028 bytes and one row of 32 bytes.
    let rows = Rows::from(&far).stride(1028);
    let refused = trainer.model().prepare_forward(rows, &near, 129).unwrap_err();
    assert!(matches!(refused, Error::LimitExceeded { needed: 131_616, limit: 131_072, .. }), "{refused}");
    assert!(refused.to_string().contains("input for 129 rows (max_storage_buffer_binding_size"), "{refused}");
    let refused = trainer.model().prepare_forward(&near, rows, 129).unwrap_err();
    assert!(refused.to_string().contains("output for 129 rows (max_storage_buffer_binding_size"), "{refused}");
    let ends =
        ChainRows { input: (&near).into(), output: (&near).into(), output_gradient: rows.into(), input_gradient: None };
    let refused = trainer.prepare_chain(ends, 129).unwrap_err();
    assert!(refused.to_string().contains("output_gradient for 129 rows (max_storage_buffer"), "{refused}");
    // The rows of a layer take 2^17 + 32 bytes.
    let refused = trainer.model().prepare_forward(&far, &far, (1 << 12) + 1).unwrap_err();
    assert!(matches!(refused, Error::LimitExceeded { needed: 131_104, .. }), "{refused}");
    assert_eq!((app.gpu.kernels_compiled(), allocated()), before);
    // With one stride less, the rows fit.
    assert!(trainer.model().prepare_forward(rows, &near, 128).is_ok());
}

/// If a device is below one of WebGPU's default limits, the error names that limit.
#[test]
fn what_a_lesser_device_lacks_is_named() {
    let defaults = wgpu::Limits::default();
    let lesser = [
        (
            "max_storage_buffers_per_shader_stage",
            wgpu::Limits { max_storage_buffers_per_shader_stage: 3, ..defaults.clone() },
        ),
        (
            "max_compute_workgroup_storage_size",
            wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..defaults.clone() },
        ),
        (
            "max_compute_invocations_per_workgroup",
            wgpu::Limits { max_compute_invocations_per_workgroup: 128, ..defaults },
        ),
    ];
    for (limit, limits) in lesser {
        let (device, queue) = own_device_with(limits);
        let app = App::on(device, queue);
        let network = network();
        let before = app.device.generate_allocator_report();
        let trainer =
            Trainer::new(&app.gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default());
        let model = Model::new(&app.gpu, &network, &network.initial_parameters(0));
        for error in [trainer.unwrap_err(), model.unwrap_err()] {
            assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
            assert!(error.to_string().contains(limit), "{error}");
        }
        assert_eq!(app.gpu.kernels_compiled(), 0);
        let after = app.device.generate_allocator_report();
        assert_eq!(before.map(|r| r.total_allocated_bytes), after.map(|r| r.total_allocated_bytes));
    }
}

/// Each op binds only the range of a buffer that it needs. The weights may therefore be longer than the longest
/// binding.
#[test]
fn a_network_longer_than_a_binding_trains_at_the_default_limits() {
    let (device, queue) = own_device_with(wgpu::Limits::default());
    let gpu = Gpu::from_parts(device, queue);
    let network = Network::input(4200).dense(4200, Identity).dense(4200, Identity).build().unwrap();
    assert!(u64::from(network.parameter_words()) * 4 > wgpu::Limits::default().max_storage_buffer_binding_size);
    for keep_gradients in [false, true] {
        let config = TrainerConfig { batch: 1, keep_gradients, ..TrainerConfig::default() };
        let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Sgd::default().into(), &config).unwrap();
        let mut lockstep = lockstep_with_data(&gpu, &network, plan, 3, 1);
        assert_agree(&mut lockstep, "a long network");
    }
}

/// A second trainer or model on a clone of the same `Gpu` compiles no kernels.
#[test]
fn trainers_on_one_device_share_what_is_compiled() {
    let app = App::open();
    let make = || {
        let config = TrainerConfig::default();
        Trainer::new(app.gpu.clone(), &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap()
    };
    let first = make();
    let compiled = app.gpu.kernels_compiled();
    assert!(compiled >= 8, "{compiled}");
    let (input, output) = (app.storage(&[0f32; 640]), app.storage(&[0f32; 96]));
    let model = first.model();
    let _forward = model.prepare_forward(&input, &output, 32).unwrap();
    let with_forward = app.gpu.kernels_compiled();
    let mut second = make();
    let training = second.prepare(data()).unwrap();
    let _also = second.model().prepare_forward(&input, &output, 32).unwrap();
    assert_eq!(app.gpu.kernels_compiled(), with_forward);
    app.frame(|encoder| training.record_steps(encoder, 1));
    app.wait();
    // Another optimizer compiles only its own update kernels.
    let sgd = wgrad::Sgd::default();
    let third = Trainer::new(&app.gpu, &network(), Loss::SoftmaxCrossEntropy, sgd, TrainerConfig::default());
    assert!(third.is_ok());
    assert_eq!(app.gpu.kernels_compiled(), with_forward + 3);
}

/// If a binding of the whole texture buffer is too long, the error names the limit of bindings.
#[test]
fn a_texture_of_more_texels_than_can_be_bound_is_refused() {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 17, ..wgpu::Limits::default() };
    let (device, queue) = own_device_with(limits);
    let app = App::on(device, queue);
    let fault = |side: u32| {
        let texture = app.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::TEXTURE_BINDING,
            view_formats: &[],
        });
        wgrad::TextureSamples::new(&app.gpu, &texture, 3).unwrap_err().to_string()
    };
    for (side, what) in [(128, "colours"), (256, "features")] {
        let fault = fault(side);
        assert!(fault.contains(what) && fault.contains("max_storage_buffer_binding_size"), "{fault}");
    }
}

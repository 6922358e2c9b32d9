//! Tests warm-ups: they change nothing, wait for nothing and never call the app's error handler.

use wgrad::Activation::{Identity, Relu};
use wgrad::{
    Adam, ChainRows, Dataset, Error, Loss, Network, Result, TextureOutput, TextureSamples, Trainer, TrainerConfig, wgpu,
};

use super::App;

#[test]
fn a_warm_up_is_one_submission_that_changes_nothing() {
    let app = App::open();
    app.device.on_uncaptured_error(std::sync::Arc::new(|error| panic!("{error}")));
    let network = Network::input(2).dense(8, Relu).dense(3, Identity).build().unwrap();
    let config = TrainerConfig { batch: 16, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap();
    let texture = app.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: 4, height: 4, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::STORAGE_BINDING,
        view_formats: &[],
    });
    let samples = TextureSamples::new(&app.gpu, &texture, 3).unwrap();
    let training = trainer.prepare_buffers(samples.features(), samples.targets(), 16).unwrap();
    let [x, y, dy, dx] = [2, 3, 3, 2].map(|columns| app.storage(&vec![7f32; 16 * columns]));
    let rows = ChainRows {
        input: (&x).into(),
        output: (&y).into(),
        output_gradient: (&dy).into(),
        input_gradient: Some((&dx).into()),
    };
    let chain = trainer.prepare_chain(rows, 16).unwrap();
    let forward = trainer.model().prepare_forward(&x, &y, 16).unwrap();
    let output = TextureOutput::new(&app.gpu, &y, 3, &texture).unwrap();

    // A warm-up of an evaluation uses the trainer's own buffers. It changes no later evaluation.
    let data = Dataset::from_f32_targets(vec![0.5; 40], 2, vec![0.25; 60], 3).unwrap();
    trainer.warm_up_evaluation(20).unwrap();
    let loss = trainer.evaluate(&data).unwrap();
    trainer.warm_up_evaluation(20).unwrap();
    assert_eq!(trainer.evaluate(&data).unwrap(), loss);
    let none = trainer.warm_up_evaluation(0).unwrap_err().to_string();
    assert_eq!(none, "rows to evaluate: expected 1 to 4,294,967,295, got 0");

    let predictor = trainer.model().predictor(16).unwrap();
    let weights = app.read::<u32>(training.parameter_buffer());
    let warm_ups: [(&str, &dyn Fn() -> Result<()>); 7] = [
        ("trainer", &|| trainer.warm_up()),
        ("training", &|| training.warm_up()),
        ("forward", &|| forward.warm_up()),
        ("chain", &|| chain.warm_up()),
        ("samples", &|| samples.warm_up()),
        ("output", &|| output.warm_up()),
        ("predictor", &|| predictor.warm_up()),
    ];
    let before = app.gpu.traffic();
    for (_, warm_up) in &warm_ups {
        warm_up().unwrap();
    }
    let mut expected = before;
    expected.submits += 8; // a predictor makes two: one for the outputs, one for the classes
    assert_eq!(app.gpu.traffic(), expected, "nothing is waited for");
    app.frame(|encoder| {
        training.record_warm_up(encoder);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        chain.record_warm_up(&mut pass);
        forward.record_warm_up(&mut pass);
        samples.record_warm_up(&mut pass);
        output.record_warm_up(&mut pass);
    });
    assert_eq!(app.gpu.traffic(), expected, "the app's own submission");
    assert_eq!(app.read::<u32>(training.parameter_buffer()), weights);
    for buffer in [&y, &dx] {
        assert!(app.read::<f32>(buffer).iter().all(|&number| number == 7.0));
    }

    // A plan's warm-up does not use the app's buffers. A warm-up with a texture needs the texture.
    x.destroy();
    texture.destroy();
    for (name, warm_up) in &warm_ups {
        match (*name, warm_up()) {
            ("samples" | "output", Err(Error::Gpu { what, .. })) => assert_eq!(what, "the warm-up"),
            (_, Ok(())) => {}
            (name, result) => panic!("{name}: {result:?}"),
        }
    }
    app.device.destroy();
    for (name, warm_up) in &warm_ups {
        assert!(matches!(warm_up(), Err(Error::DeviceLost { .. })), "{name}");
    }
}

use wgrad::{Activation::*, Adam, Dataset, Fit, Gpu, Loss, Model, Network, Trainer, TrainerConfig};

fn main() -> wgrad::Result<()> {
    // 1,024 points of a grid. The label of a point says whether it lies inside a circle.
    let points = (0..1024).flat_map(|i| [i % 32, i / 32]).map(|n| n as f32 / 15.5 - 1.0).collect::<Vec<_>>();
    let labels = points.chunks(2).map(|p| u32::from(p[0].hypot(p[1]) < 0.7)).collect();
    let (train, test) = Dataset::from_f32(points, 2, labels, 2)?.shuffled(0).hold_out(0.2)?;

    let gpu = Gpu::request()?;
    let network = Network::input(2)
        .dense(64, Relu).dropout(0.1).dense(32, Relu).dense(2, Softmax)
        .build()?;                                    // a wrong shape is an error that names the layer
    println!("{}", network.summary());

    let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default())?;
    let fit = Fit { epochs: 30, validation: Some(&test), ..Fit::default() };
    trainer.fit(&train, fit, |event| println!("{event:?}"))?;
    println!("{:?}", trainer.model().score(&test)?.confusion_matrix());
    trainer.model().save("circle.safetensors")?;      // the file also describes the network

    let model = Model::load(&gpu, "circle.safetensors")?;
    assert_eq!(model.predict(&[0.1, 0.2, 0.9, -0.9])?, [1, 0]);
    Ok(())
}

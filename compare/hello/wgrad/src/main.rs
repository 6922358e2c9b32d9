use wgrad::{Activation::*, Adam, Dataset, Fit, Gpu, Loss, Network, Trainer, TrainerConfig};

fn main() -> wgrad::Result<()> {
    let xor = Dataset::from_f32(vec![0., 0., 0., 1., 1., 0., 1., 1.], 2, vec![0, 1, 1, 0], 2)?;
    let network = Network::input(2).dense(16, Relu).dense(2, Identity).build()?;
    let (adam, config) =
        (Adam { learning_rate: 0.01, ..Adam::default() }, TrainerConfig { batch: 4, ..Default::default() });
    let mut trainer = Trainer::new(&Gpu::request()?, &network, Loss::SoftmaxCrossEntropy, adam, config)?;
    trainer.fit(&xor, Fit { epochs: 500, ..Fit::default() }, |_| ())?;
    println!("{:?}", trainer.evaluate(&xor)?);
    Ok(())
}

use burn::backend::{Autodiff, Wgpu};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::{Int, Tensor, activation::relu, backend::Backend};

#[derive(Module, Debug)]
struct Network<B: Backend> {
    hidden: Linear<B>,
    output: Linear<B>,
}

fn main() {
    type B = Autodiff<Wgpu>;
    let device = Default::default();
    let input = Tensor::<B, 2>::from_floats([[0., 0.], [0., 1.], [1., 0.], [1., 1.]], &device);
    let labels = Tensor::<B, 1, Int>::from_ints([0, 1, 1, 0], &device);
    let mut network =
        Network { hidden: LinearConfig::new(2, 16).init(&device), output: LinearConfig::new(16, 2).init(&device) };
    let mut adam = AdamConfig::new().init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let mut last = None;
    for _ in 0..500 {
        let logits = network.output.forward(relu(network.hidden.forward(input.clone())));
        let loss = cross_entropy.forward(logits, labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = adam.step(0.01, network, gradients);
        last = Some(loss);
    }
    println!("{:?}", last.map(Tensor::into_scalar));
}

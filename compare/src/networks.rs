//! The networks as wgrad networks.

#[path = "../../examples/common/networks.rs"]
mod described;

use wgrad::Activation::{Identity, Relu};
use wgrad::{Network, Result};

/// The name and the constructor of each network.
pub const NETWORKS: [(&str, fn() -> Result<Network>); 5] = [
    ("dense", dense),
    ("keras-convnet", keras_convnet),
    ("lenet-5", described::lenet_5),
    ("resnet-20", described::resnet_20),
    ("unet-16", described::unet_16),
];

fn dense() -> Result<Network> {
    Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build()
}

/// Without dropout, because engines draw different random numbers.
fn keras_convnet() -> Result<Network> {
    let features = Network::input([28, 28, 1]).conv(32, 3, Relu).max_pool(2).conv(64, 3, Relu).max_pool(2);
    features.flatten().dense(10, Identity).build()
}

//! Convolutional networks for benchmarks.
#![allow(dead_code)] // each benchmark uses some of the networks

use wgrad::Activation::{Identity, Relu};
use wgrad::{Conv, Graph, Network, Pool, Result, Value};

/// Keras' convnet for MNIST; 34,826 parameters.
pub fn keras_convnet() -> Result<Network> {
    let features = Network::input([28, 28, 1]).conv(32, 3, Relu).max_pool(2).conv(64, 3, Relu).max_pool(2);
    features.flatten().dropout(0.5).dense(10, Identity).build()
}

/// LeNet-5 (LeCun et al., 1998) with ReLU and max pooling; 61,706 parameters.
pub fn lenet_5() -> Result<Network> {
    let first = Network::input([28, 28, 1]).layer(Conv::new(6, 5).same().activation(Relu)).max_pool(2);
    let features = first.conv(16, 5, Relu).max_pool(2).flatten();
    features.dense(120, Relu).dense(84, Relu).dense(10, Identity).build()
}

/// ResNet-20 for CIFAR-10 (He et al., 2015), with 1x1 convolutions as shortcuts; 272,474 parameters.
pub fn resnet_20() -> Result<Network> {
    let mut graph = Graph::new();
    let normalised = |graph: &mut Graph, x: Value, conv: Conv| {
        let x = graph.layer(conv.without_bias(), [x])?;
        graph.layer(wgrad::BatchNorm::default(), [x])
    };
    let image = graph.input("image", [32, 32, 3]);
    let x = normalised(&mut graph, image, Conv::new(16, 3).same())?;
    let mut x = graph.layer(Relu, [x])?;
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            // Padding of 1 on both sides, as in PyTorch: "same" pads differently if the stride is 2.
            let inner = normalised(&mut graph, x, Conv::new(channels, 3).stride(stride).padding(1))?;
            let inner = graph.layer(Relu, [inner])?;
            let inner = normalised(&mut graph, inner, Conv::new(channels, 3).same())?;
            let shortcut =
                if stride == 1 { x } else { normalised(&mut graph, x, Conv::new(channels, 1).stride(stride))? };
            let sum = graph.add([inner, shortcut])?;
            x = graph.layer(Relu, [sum])?;
        }
    }
    let pooled = graph.layer(wgrad::Layer::ReduceMean(vec![0, 1]), [x])?;
    let logits = graph.layer(wgrad::Dense::new(10, Identity), [pooled])?;
    graph.build([("class", logits)])
}

/// A U-Net (Ronneberger et al., 2015) with 16, 32 and 64 channels; its output is an image; 117,075 parameters.
pub fn unet_16() -> Result<Network> {
    let mut graph = Graph::new();
    let pair = |graph: &mut Graph, x: Value, channels| {
        let conv = Conv::new(channels, 3).same().activation(Relu);
        let x = graph.layer(conv, [x])?;
        graph.layer(conv, [x])
    };
    let image = graph.input("image", [64, 64, 3]);
    let fine = pair(&mut graph, image, 16)?;
    let x = graph.layer(Pool::max(2), [fine])?;
    let middle = pair(&mut graph, x, 32)?;
    let x = graph.layer(Pool::max(2), [middle])?;
    let mut x = pair(&mut graph, x, 64)?;
    for (channels, skipped) in [(32, middle), (16, fine)] {
        let larger = graph.layer(Conv::transposed(channels, 2).stride(2), [x])?;
        let both = graph.concat([skipped, larger], -1)?;
        x = pair(&mut graph, both, channels)?;
    }
    let image = graph.layer(Conv::new(3, 1), [x])?;
    graph.build([("image", image)])
}

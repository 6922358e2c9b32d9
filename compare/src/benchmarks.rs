//! The benchmarks: each network, its data, its batch sizes, and its list of steps for all engines except wgrad.

use serde::{Deserialize, Serialize};

use crate::Result;

/// A network and its training data.
pub struct Benchmark {
    pub name: &'static str,
    /// The layers, as shown in the report.
    pub layers: &'static str,
    pub data: Data,
    /// Shape of one sample, channels last.
    pub input: &'static [usize],
    /// Rows of the training set: a multiple of each batch size, so there is no partial batch.
    pub rows: usize,
    pub test_rows: usize,
    /// Batch sizes of training.
    pub batches: &'static [usize],
    /// Batch size for start times and memory.
    pub standard: usize,
    /// Batch size of the forward pass.
    pub forward: usize,
    pub steps: fn() -> Vec<Step>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Data {
    Mnist,
    /// Synthetic images of ten classes.
    Classes,
    /// Synthetic images with noise; the targets are the same images without noise.
    Denoising,
}

/// A layer, or several parallel layers. Its weights follow those of the previous step; their shapes give its size.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Weight \[inputs, outputs\], bias \[outputs\]. For an image, this is its shape \[height, width, channels\], which
    /// is flattened.
    Dense {
        image: Option<[usize; 3]>,
        relu: bool,
    },
    /// Weight \[height, width, inputs, outputs\]; the padding is equal on all four sides.
    Conv {
        stride: usize,
        padding: usize,
        bias: bool,
        relu: bool,
    },
    /// Transposed convolution without overlap: kernel and stride are 2. Weight as in `Conv`, with a bias.
    Transposed,
    /// Scale and shift \[channels\]; epsilon 1e-5, momentum 0.1 as PyTorch defines it.
    BatchNorm,
    Relu,
    /// 2×2 pooling.
    MaxPool,
    /// Mean over height and width.
    Mean,
    /// Sum of two paths.
    Residual {
        inner: Vec<Step>,
        shortcut: Vec<Step>,
    },
    /// The input, concatenated with the path's output along the channels.
    Skip {
        inner: Vec<Step>,
    },
}

const MNIST_ROWS: usize = 58 * 1024;

pub const BENCHMARKS: [Benchmark; 5] = [
    Benchmark {
        name: "dense",
        layers: "784-512-256-128-10",
        data: Data::Mnist,
        input: &[784],
        rows: MNIST_ROWS,
        test_rows: 10_000,
        batches: &[32, 128, 1024],
        standard: 128,
        forward: 4096,
        steps: || (0..4).map(|i| Step::Dense { image: None, relu: i < 3 }).collect(),
    },
    Benchmark {
        name: "keras-convnet",
        layers: "Keras' convnet for MNIST without its dropout: 3×3 convolutions of 32 and 64 channels, each with 2×2 max \
                 pooling, a dense layer",
        data: Data::Mnist,
        input: &[28, 28, 1],
        rows: MNIST_ROWS,
        test_rows: 10_000,
        batches: &[128],
        standard: 128,
        forward: 128,
        steps: || {
            let head = Step::Dense { image: Some([5, 5, 64]), relu: false };
            vec![conv(0), Step::MaxPool, conv(0), Step::MaxPool, head]
        },
    },
    Benchmark {
        name: "lenet-5",
        layers: "LeNet-5 with ReLU and max pooling: 5×5 convolutions of 6 and 16 channels, dense layers of 120, 84 and 10",
        data: Data::Mnist,
        input: &[28, 28, 1],
        rows: MNIST_ROWS,
        test_rows: 10_000,
        batches: &[128],
        standard: 128,
        forward: 128,
        steps: || {
            let dense = |image, relu| Step::Dense { image, relu };
            let heads = [dense(Some([5, 5, 16]), true), dense(None, true), dense(None, false)];
            [conv(2), Step::MaxPool, conv(0), Step::MaxPool].into_iter().chain(heads).collect()
        },
    },
    Benchmark {
        name: "resnet-20",
        layers: "ResNet-20 for CIFAR-10, with batch normalisation, and projections as shortcuts",
        data: Data::Classes,
        input: &[32, 32, 3],
        rows: 1024,
        test_rows: 256,
        batches: &[32],
        standard: 32,
        forward: 32,
        steps: resnet_20,
    },
    Benchmark {
        name: "unet-16",
        layers: "U-Net of 16, 32 and 64 channels, with 2×2 max pooling, transposed convolutions and skip connections; mean \
                 squared error",
        data: Data::Denoising,
        input: &[64, 64, 3],
        rows: 256,
        test_rows: 64,
        batches: &[8],
        standard: 8,
        forward: 8,
        steps: unet_16,
    },
];

/// A convolution with stride 1, bias and ReLU.
fn conv(padding: usize) -> Step {
    Step::Conv { stride: 1, padding, bias: true, relu: true }
}

fn resnet_20() -> Vec<Step> {
    let normalised = |stride, padding| [Step::Conv { stride, padding, bias: false, relu: false }, Step::BatchNorm];
    let mut steps: Vec<Step> = normalised(1, 1).into_iter().chain([Step::Relu]).collect();
    for stage in 0..3 {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let inner = normalised(stride, 1).into_iter().chain([Step::Relu]).chain(normalised(1, 1)).collect();
            let shortcut = if stride == 2 { normalised(2, 0).to_vec() } else { Vec::new() };
            steps.extend([Step::Residual { inner, shortcut }, Step::Relu]);
        }
    }
    steps.extend([Step::Mean, Step::Dense { image: None, relu: false }]);
    steps
}

fn unet_16() -> Vec<Step> {
    let coarse = vec![Step::MaxPool, conv(1), conv(1), Step::Transposed];
    let middle = Step::Skip { inner: coarse };
    let middle = vec![Step::MaxPool, conv(1), conv(1), middle, conv(1), conv(1), Step::Transposed];
    let last = Step::Conv { stride: 1, padding: 0, bias: true, relu: false };
    vec![conv(1), conv(1), Step::Skip { inner: middle }, conv(1), conv(1), last]
}

/// The steps with weights, in order.
pub fn weighted(steps: &[Step]) -> Vec<&Step> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Residual { inner, shortcut } => all.extend([weighted(inner), weighted(shortcut)].concat()),
            Step::Skip { inner } => all.extend(weighted(inner)),
            Step::Relu | Step::MaxPool | Step::Mean => (),
            Step::Dense { .. } | Step::Conv { .. } | Step::Transposed | Step::BatchNorm => all.push(step),
        }
    }
    all
}

pub fn find(name: &str) -> Result<&'static Benchmark> {
    let names = || BENCHMARKS.each_ref().map(|b| b.name).join(", ");
    let found = BENCHMARKS.iter().find(|b| b.name == name);
    found.ok_or_else(|| format!("no network {name}: there are {}", names()).into())
}

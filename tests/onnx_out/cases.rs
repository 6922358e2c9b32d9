//! Networks that together have every kind of layer that ONNX has operators for.

use wgrad::Activation::*;
use wgrad::{
    Activation, BatchNorm, Conv, Crop, Dense, Encoding, Graph, GroupNorm, InstanceNorm, Layer, LayerNorm, Network, Pad,
    Pool, Result, RmsNorm, ScaleShift, Tied, Upsample,
};

/// A network, and whether a copy from its file computes the same bits: then no layer becomes other arithmetic.
pub struct Case {
    pub name: String,
    pub network: Network,
    pub is_exact: bool,
}

fn mlp() -> Result<Network> {
    Network::input(6)
        .dense(9, Relu)
        .layer(Dense::new(5, Tanh).without_bias())
        .layer_norm()
        .dropout(0.3)
        .dense(4, Identity)
        .named("head")
        .activation(Softmax)
        .build()
}

fn cnn() -> Result<Network> {
    Network::input([12, 10, 3])
        .layer(Conv::new(4, 3).same().stride(2).activation(Relu))
        .batch_norm()
        .layer(Layer::SpatialDropout(0.2))
        .layer(Conv::new(6, [3, 2]).groups(2).dilation([1, 2]).padding_of([1, 0], [0, 2]).without_bias())
        .layer(BatchNorm { epsilon: 1e-3, momentum: 0.01 })
        .activation(HardSwish)
        .max_pool(2)
        .layer(Pool::average(2).stride(1).same())
        .flatten()
        .dense(3, Sigmoid)
        .build()
}

fn sequence() -> Result<Network> {
    Network::input([12, 3])
        .layer(Conv::new(6, 3).padding(1).activation(LeakyRelu(0.1)))
        .layer(GroupNorm::new(3))
        .layer(Pool::max(3).stride(2).padding(1))
        .layer(InstanceNorm::default())
        .layer(Upsample::nearest(2))
        .layer(Conv::transposed(4, 3).stride(2).output_padding(1))
        .layer(Pad::replicate(2))
        .layer(Upsample::bilinear([1, 2]))
        .layer(Crop::new(1))
        .layer(Layer::ReduceMax(vec![0]))
        .build()
}

fn transposed() -> Result<Network> {
    Network::input([4, 5, 4])
        .layer(Conv::transposed(6, 3).stride(2).same().activation(Elu(0.7)))
        .layer(Conv::transposed(4, [2, 3]).stride([3, 2]).padding_of([0, 1], [1, 0]).groups(2).output_padding([1, 0]))
        .layer(Conv::transposed(2, 2).stride(3).same())
        .layer(Conv::transposed(2, 3).dilation(2).padding(1).without_bias())
        .build()
}

fn resizing() -> Result<Network> {
    Network::input([5, 4, 2])
        .layer(Pad::reflect(2).sides([1, 2], [2, 0]))
        .layer(Upsample::nearest([2, 3]))
        .layer(Upsample::nearest(1).to([11, 7]))
        .layer(Upsample::bilinear(1).to([9, 10]))
        .layer(Pad::zeros(1))
        .layer(Pad::replicate(1))
        .layer(Crop::new(1).sides([1, 2], [0, 2]))
        .build()
}

fn blocks() -> Result<Network> {
    Network::input([2, 3, 8])
        .layer(Layer::DepthToSpace(2))
        .layer(Conv::new(3, 1).activation(Silu))
        .layer(Layer::SpaceToDepth(2))
        .layer(Layer::ReduceMean(vec![0, -2]))
        .build()
}

/// Every activation, also of a convolution, and softmax in both orders of the channels.
fn activations() -> Result<Network> {
    let mut g = Graph::new();
    let image = g.input("image", [4, 3, 5]);
    let seen = g.layer(Conv::new(4, 1), image)?;
    let others = [LeakyRelu(0.0), Squareplus(0.04), Sine(30.0)];
    let mut outputs = Vec::new();
    for (i, activation) in Activation::ALL.into_iter().chain(others).enumerate() {
        outputs.push((format!("image_{i}"), g.layer(activation, image)?));
        outputs.push((format!("seen_{i}"), g.layer(Layer::Activation(activation), seen)?));
        outputs.push((format!("dense_{i}"), g.layer(Dense::new(2, activation), image)?));
    }
    g.build(outputs)
}

fn encodings() -> Result<Network> {
    let parts = [
        (1, Encoding::Identity { scale: 2.0, offset: -0.5 }),
        (2, Encoding::Frequency { frequencies: 12 }),
        (2, Encoding::TriangleWave { frequencies: 5 }),
        (2, Encoding::OneBlob { bins: 16 }),
        (6, Encoding::SphericalHarmonics { degree: 8 }),
        (1, Encoding::Identity { scale: 1.0, offset: 0.0 }),
    ];
    let mut g = Graph::new();
    let x = g.input("x", 14);
    let features = g.layer(Layer::CompositeEncoding(parts.to_vec()), x)?;
    let first = g.slice(x, 0, 0..3)?;
    let harmonics = g.layer(Layer::Encoding(Encoding::SphericalHarmonics { degree: 1 }), first)?;
    let waves = g.layer(Layer::Encoding(Encoding::Frequency { frequencies: 1 }), first)?;
    g.build([("features", features), ("harmonics", harmonics), ("waves", waves)])
}

/// Joins, broadcasts, constants and reductions, of values with the channels last and first.
fn graph() -> Result<Network> {
    let mut g = Graph::new();
    let (image, age) = (g.input("image", [6, 4, 3]), g.input("age", 4));
    let seen = g.layer(Conv::new(4, 3).same(), image)?;
    let seen = g.name("seen", seen)?;
    let scaled = g.layer(ScaleShift::Trained, seen)?;
    let gated = g.multiply([scaled, age])?;
    let residual = g.add([gated, seen, scaled])?;
    let both = g.concat([residual, image], -1)?;
    let shifted = g.layer(ScaleShift::Fixed { scale: 0.5, shift: 2.0 }, both)?;
    let parts = g.split(shifted, 0, 2)?;
    let products = g.multiply([parts[0], parts[1], parts[0]])?;
    let part = g.slice(products, 2, 1..6)?;
    let turned = g.transpose(part, [2, 0, 1])?;
    let flat = g.reshape(turned, [5, 12])?;
    let trained = g.layer(Layer::Constant { shape: [5, 12].into(), trained: true }, [])?;
    let fixed = g.layer(Layer::Constant { shape: [1].into(), trained: false }, [])?;
    let moved = g.add([flat, trained, fixed])?;
    let rows = g.layer(ScaleShift::Trained, moved)?;
    let learned = g.layer(Layer::ReduceMean(vec![0]), trained)?;
    let mean = g.layer(Layer::ReduceMean(vec![0, 1]), rows)?;
    let columns = g.layer(Layer::ReduceMax(vec![-1]), seen)?;
    let heights = g.layer(Layer::ReduceMean(vec![1]), seen)?;
    g.build([
        ("rows", rows),
        ("learned", learned),
        ("mean", mean),
        ("columns", columns),
        ("heights", heights),
        ("seen_again", seen),
        ("seen_too", seen),
        ("age_too", age),
        ("constant", trained),
    ])
}

/// Layers that share weights: dense layers for vectors and rows, transposed too, and convolutions.
fn tied() -> Result<Network> {
    let mut g = Graph::new();
    let (x, rows, image) = (g.input("x", 6), g.input("rows", [3, 6]), g.input("image", [4, 4, 2]));
    let code = g.layer(Dense::new(4, Tanh), x)?;
    let code = g.name("encoder", code)?;
    let decoded = g.layer(Tied::transpose_of("encoder", Sigmoid), code)?;
    let codes = g.layer(Tied::to("encoder"), rows)?;
    let decoded_rows = g.layer(Tied::transpose_of("encoder", Identity), codes)?;
    let seen = g.layer(Conv::new(2, 3).same().activation(Relu), image)?;
    let seen = g.name("conv", seen)?;
    let seen = g.layer(Tied::to("conv"), seen)?;
    g.build([("decoded", decoded), ("decoded_rows", decoded_rows), ("seen", seen)])
}

fn norms() -> Result<Network> {
    let mut g = Graph::new();
    let (x, image) = (g.input("x", 6), g.input("image", [3, 4, 6]));
    let seen = g.layer(Conv::new(6, 1), image)?;
    let mut outputs = Vec::new();
    let norms: [Layer; 5] = [
        LayerNorm { epsilon: 1e-3 }.into(),
        RmsNorm::default().into(),
        GroupNorm::new(2).into(),
        BatchNorm::default().into(),
        InstanceNorm::default().into(),
    ];
    for (i, norm) in norms.into_iter().enumerate() {
        if i < 4 {
            outputs.push((format!("x_{i}"), g.layer(norm.clone(), x)?));
        }
        outputs.push((format!("image_{i}"), g.layer(norm.clone(), image)?));
        outputs.push((format!("seen_{i}"), g.layer(norm, seen)?));
    }
    g.build(outputs)
}

/// A dense layer for each pixel, and samples of four dimensions.
fn pixels() -> Result<Network> {
    let mut g = Graph::new();
    let (image, volume) = (g.input("image", [4, 3, 2]), g.input("volume", [2, 3, 2, 4]));
    let hidden = g.layer(Dense::new(5, GeluErf), image)?;
    let mask = g.layer(Dense::new(1, Sigmoid).without_bias(), hidden)?;
    let normed = g.layer(BatchNorm::default(), volume)?;
    let normed = g.layer(Dense::new(3, GeluTanh), normed)?;
    g.build([("mask", mask), ("normed", normed)])
}

/// The files of other programs that `tests/onnx.rs` reads.
const READ: [&str; 10] =
    ["mlp", "lenet", "resnet", "shuffle", "unet", "resizing", "encoder", "sequence", "squeeze", "elementary"];

fn read(name: &str) -> Result<Network> {
    let path = format!("{}/tests/onnx/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    Ok(Network::from_onnx(&std::fs::read(path).unwrap())?.0)
}

pub fn all() -> Vec<Case> {
    let case = |name: &str, is_exact, network: Result<Network>| {
        let network = network.unwrap_or_else(|error| panic!("{name}: {error}"));
        Case { name: name.into(), is_exact, network }
    };
    let own = [
        case("mlp", true, mlp()),
        case("cnn", true, cnn()),
        case("sequence", true, sequence()),
        case("transposed", true, transposed()),
        case("resizing", true, resizing()),
        case("blocks", true, blocks()),
        case("activations", false, activations()),
        case("encodings", false, encodings()),
        case("graph", false, graph()),
        case("tied", true, tied()),
        case("norms", true, norms()),
        case("pixels", true, pixels()),
    ];
    let of_pytorch = READ.map(|name| case(&format!("pytorch_{name}"), false, read(name)));
    own.into_iter().chain(of_pytorch).collect()
}

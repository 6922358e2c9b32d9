//! Errors of networks: the inputs of each layer, and the construction of graphs.

use wgrad::Activation::{Elu, Identity, LeakyRelu, Relu, Sine, Squareplus};
use wgrad::*;

use super::page::{Line, Section, line};

fn layer(input: impl Into<Shape>, layer: impl Into<Layer>) -> Result<Network> {
    Network::input(input).layer(layer).build()
}

pub fn layers() -> Section {
    let conv = |conv: Conv| layer([4, 4, 6], conv);
    let image = [4, 5, 6];
    let grid = HashGrid::default();
    let lines = vec![
        line("dense layer without units", layer(3, Dense::new(0, Relu))),
        line("convolution of a row", layer(9, Conv::new(8, 3))),
        line("convolution without channels", conv(Conv::new(0, 3))),
        line("convolution without groups", conv(Conv::new(8, 3).groups(0))),
        line("convolution, 6 channels in 4 groups", conv(Conv::new(8, 3).groups(4))),
        line("convolution, kernel of length 0", conv(Conv::new(8, [0, 3]))),
        line("convolution, stride 0", conv(Conv::new(8, 3).stride(0))),
        line("convolution, dilation 0", conv(Conv::new(8, 3).dilation(0))),
        line("convolution, very wide padding", conv(Conv::new(8, 3).padding(9999))),
        line("convolution, kernel larger than the image", conv(Conv::new(8, 5))),
        line("convolution of a sequence, kernel of two lengths", layer([9, 4], Conv::new(8, [3, 2]))),
        line("transposed convolution, large output padding", conv(Conv::transposed(8, 2).stride(2).output_padding(2))),
        line("pool of a row", layer(9, Pool::max(2))),
        line("pool, window larger than the image", layer(image, Pool::max(5))),
        line("pool, wide padding", layer(image, Pool::average(3).padding(2))),
        line("pool, very large window", layer([70, 70, 1], Pool::max(70))),
        line("global pool of a row", Network::input(5).global_max_pool().build()),
        line("upsampling of a row", layer(9, Upsample::nearest(2))),
        line("upsampling by 0", layer(image, Upsample::nearest([1, 0]))),
        line("upsampling by a very large factor", layer([1, 1, 3], Upsample::nearest(256))),
        line("crop of all rows", layer(image, Crop::new([2, 0]))),
        line("reflecting margin as wide as the image", layer(image, Pad::reflect(4))),
        line("depth to space of a sequence", layer([6, 4], Layer::DepthToSpace(2))),
        line("depth to space, blocks of 0 pixels", layer(image, Layer::DepthToSpace(0))),
        line("depth to space of 6 channels", layer(image, Layer::DepthToSpace(2))),
        line("space to depth of 5 columns", layer(image, Layer::SpaceToDepth(2))),
        line("encoding of an image", layer(image, Layer::Encoding(Encoding::Frequency { frequencies: 4 }))),
        line("hash grid over 5 coordinates", layer(5, Layer::Encoding(grid.into()))),
        line("group normalisation, 6 channels in 4 groups", layer(image, GroupNorm::new(4))),
        line("instance normalisation of a row", layer(4, InstanceNorm::default())),
        line("dropout as the last layer", Network::input(4).dense(2, Relu).dropout(0.5).build()),
        line("slice beyond the axis", layer([5, 3], Layer::Slice { axis: 0, start: 2, end: 6 })),
        line("slice along a missing axis", layer([5, 3], Layer::Slice { axis: 2, start: 0, end: 1 })),
        line("split in a chain", layer(6, Layer::Split { axis: 0, parts: 2 })),
        line("split of 6 in 4 parts", layer(6, Layer::Split { axis: 0, parts: 4 })),
        line("split in very many parts", layer(1 << 20, Layer::Split { axis: 0, parts: 1 << 20 })),
        line("reshape to another size", layer([5, 3], Layer::Reshape([4, 4].into()))),
        line("transpose without an axis", layer([5, 3], Layer::Transpose(vec![1]))),
        line("mean over an axis twice", layer([5, 3], Layer::ReduceMean(vec![1, -1]))),
        line("sum of one value", layer(5, Layer::Add)),
        line("branches of different shapes", Network::input([4, 3]).branch(|x| x, |x| x.flatten()).build()),
        line("residual layers that change the shape", Network::input(4).residual(|x| x.dense(3, Relu)).build()),
        line("very large output", layer([1 << 16, 3], Dense::new(1 << 15, Relu))),
        line("very many weights", layer(1 << 20, Dense::new(1 << 20, Relu))),
    ];
    Section { title: "Layers and shapes", lines }
}

/// A graph of an image and a row. `end` adds the layer with the error.
fn graph<T>(end: impl FnOnce(Graph, Value, Value) -> Result<T>) -> Result<T> {
    let mut graph = Graph::new();
    let (image, row) = (graph.input("image", [4, 6, 8]), graph.input("row", 12));
    let code = graph.layer(Dense::new(5, Relu), row)?;
    graph.name("code", code)?;
    end(graph, image, code)
}

pub fn graphs() -> Section {
    let tied = |tied: Tied| graph(|mut g, image, _| g.layer(tied, image));
    let small = || Network::input([4, 4, 2]).flatten().dense(3, Relu).build().unwrap();
    let many = |mut g: Graph, image: Value, code: Value| {
        let flat = g.layer(Layer::Flatten, image)?;
        g.build([("image", flat), ("code", code)])
    };
    let lines: Vec<Line> = vec![
        line("empty input", Network::input([3, 0]).dense(2, Relu).build()),
        line("input of 5 dimensions", layer([1, 1, 1, 1, 3], Dense::new(2, Relu))),
        line("shape of 6 dimensions", Shape::try_from(&[1u32; 6][..])),
        line("network without layers", Network::input(3).build()),
        line("graph without outputs", graph(|g, _, _| g.build([] as [(&str, Value); 0]))),
        line(
            "two inputs of one name",
            graph(|mut g, image, _| {
                g.input("row", 3);
                g.layer(Layer::Flatten, image)
            }),
        ),
        line("two outputs of one name", graph(|g, image, code| g.build([("y", image), ("y", code)]))),
        line("value of another graph", graph(|_, image, _| Graph::new().layer(Layer::Flatten, image))),
        line("name for an input", graph(|mut g, image, _| g.name("picture", image))),
        line("name with a dot", graph(|mut g, _, code| g.name("a.b", code))),
        line(
            "name of another layer",
            graph(|mut g, image, _| {
                let flat = g.layer(Layer::Flatten, image)?;
                g.name("code", flat)
            }),
        ),
        line("name before the first layer", Network::input(3).named("first").dense(2, Relu).build()),
        line(
            "layer that leads nowhere",
            graph(|mut g, image, code| {
                g.layer(Layer::Flatten, image)?;
                g.build([("y", code)])
            }),
        ),
        line("input that leads nowhere", graph(|g, _, code| g.build([("y", code)]))),
        line(
            "layer with two inputs instead of one",
            graph(|mut g, image, code| g.layer(Layer::Flatten, [image, code])),
        ),
        line("sum of different shapes", graph(|mut g, image, code| g.add([image, code]))),
        line("concatenation of different ranks", graph(|mut g, image, code| g.concat([image, code], -1))),
        line(
            "concatenation of different lengths",
            graph(|mut g, image, _| {
                let half = g.slice(image, 0, 0..2)?;
                g.concat([image, half], 1)
            }),
        ),
        line("Graph::layer of a split", graph(|mut g, image, _| g.layer(Layer::Split { axis: 0, parts: 2 }, image))),
        line("tied to an unknown layer", tied(Tied::to("cod"))),
        line(
            "tied to a layer without weights",
            graph(|mut g, image, _| {
                let flat = g.layer(Layer::Flatten, image)?;
                g.layer(Tied::to("flatten_2"), flat)
            }),
        ),
        line(
            "tied to a tied layer",
            graph(|mut g, _, code| {
                let code = g.layer(Dense::new(5, Relu), code)?;
                let code = g.layer(Tied::to("dense_2"), code)?;
                g.layer(Tied::to("tied_3"), code)
            }),
        ),
        line("tied to a layer of another width", tied(Tied::to("code"))),
        line("transpose of a layer of another width", tied(Tied::transpose_of("code", Relu))),
        line(
            "transpose of a normalisation",
            graph(|mut g, _, code| {
                let normal = g.layer(LayerNorm::default(), code)?;
                g.layer(Tied::transpose_of("layer_norm_2", Relu), normal)
            }),
        ),
        line("at_input with other weights", small().at_input([6, 4, 2])),
        line("at_input of two inputs", graph(many).and_then(|network| network.at_input(3))),
        line("at_inputs of an unknown input", small().at_inputs([("picture", [6, 4, 2].into())])),
    ];
    Section { title: "Graphs", lines }
}

pub fn options() -> Section {
    let of = |activation: Activation| layer(3, Dense::new(2, activation));
    let init = |init: Init| layer(3, Dense::new(2, Relu).weight_init(init));
    let encoding = |encoding: Encoding| layer(2, Layer::Encoding(encoding));
    let grid = HashGrid::default();
    let identity = Encoding::Identity { scale: 1.0, offset: 0.0 };
    let composite = |counts: [u32; 2]| Layer::CompositeEncoding(counts.map(|n| (n, identity)).to_vec());
    let dense = HashGrid { levels: 12, storage: GridStorage::Dense, ..grid };
    let lines = vec![
        line("negative slope", of(LeakyRelu(-0.1))),
        line("sine of frequency 0", of(Sine(0.0))),
        line("squareplus with b 0", of(Squareplus(0.0))),
        line("alpha that is NaN", of(Elu(f32::NAN))),
        line("dropout of everything", Network::input(3).dropout(1.0).dense(2, Identity).build()),
        line("epsilon of 0", layer(3, LayerNorm { epsilon: 0.0 })),
        line("momentum above 1", layer(3, BatchNorm { momentum: 1.5, ..BatchNorm::default() })),
        line("infinite scale", layer(3, ScaleShift::Fixed { scale: f32::INFINITY, shift: 0.0 })),
        line("weights from an infinite range", init(Init::Uniform { bound: f32::INFINITY })),
        line("weights of infinite deviation", init(Init::Normal { std: f32::INFINITY })),
        line("weights that are NaN", init(Init::Constant(f32::NAN))),
        line("no frequencies", encoding(Encoding::Frequency { frequencies: 0 })),
        line("too many bins", encoding(Encoding::OneBlob { bins: 2000 })),
        line("harmonics of degree 9", layer(3, Layer::Encoding(Encoding::SphericalHarmonics { degree: 9 }))),
        line("harmonics of 4 coordinates", layer(4, Layer::Encoding(Encoding::SphericalHarmonics { degree: 4 }))),
        line("composite of too few coordinates", layer(4, composite([2, 1]))),
        line("composite with an empty part", layer(4, composite([4, 0]))),
        line("offset that is NaN", encoding(Encoding::Identity { scale: 1.0, offset: f32::NAN })),
        line("hash grid, 3 features per level", encoding(HashGrid { features_per_level: 3, ..grid }.into())),
        line("hash grid, 33 levels", encoding(HashGrid { levels: 33, ..grid }.into())),
        line("hash grid, levels that shrink", encoding(HashGrid { per_level_scale: 0.5, ..grid }.into())),
        line("hash grid, dense and fine", layer(3, Layer::Encoding(dense.into()))),
        line("hash grid, very fine", encoding(HashGrid { base_resolution: 1 << 24, ..grid }.into())),
    ];
    Section { title: "Options of layers", lines }
}

//! Errors in the middle of a graph of 20 layers. The message alone must name the layer, its inputs and their shapes.

use wgrad::{
    Activation::*, Dense, Encoding, Graph, GroupNorm, HashGrid, Layer, LayerNorm, Result, ScaleShift, Shape, Tied,
    Value,
};

/// The first eleven layers. They combine an image and some numbers into a row, and also make an image of half the
/// height.
struct Half {
    g: Graph,
    /// The shapes are: image [4, 6, 8], row [12], mask [4, 6, 1].
    image: Value,
    row: Value,
    mask: Value,
}

fn half() -> Result<Half> {
    let mut g = Graph::new();
    let picture = g.input("picture", [8, 6, 3]);
    let numbers = g.input("numbers", 5);
    let features = g.layer(Dense::new(8, Relu), picture)?;
    g.name("features", features)?;
    let top = g.slice(features, 0, 0..4)?;
    let bottom = g.slice(features, 0, 4..8)?;
    let image = g.add([top, bottom])?;
    g.name("image", image)?;
    let normal = g.layer(LayerNorm::default(), image)?;
    let mask = g.layer(Dense::new(1, Sigmoid), normal)?;
    g.name("mask", mask)?;
    let seen = g.multiply([image, mask])?;
    let mean = g.layer(Layer::ReduceMean(vec![0, 1]), seen)?;
    let hidden = g.layer(Dense::new(4, Tanh), numbers)?;
    let row = g.concat([mean, hidden], -1)?;
    g.name("row", row)?;
    let row = g.layer(Dense::new(12, Relu), row)?;
    g.name("code", row)?;
    Ok(Half { g, image, row, mask })
}

/// Builds a graph of 20 layers. The test adds the twelfth layer, and eight more follow.
fn whole(twelfth: impl FnOnce(&mut Half) -> Result<Value>) -> Result<usize> {
    let mut half = half()?;
    let x = twelfth(&mut half)?;
    let Half { mut g, row, .. } = half;
    let flat = g.layer(Layer::Flatten, x)?;
    let other = g.layer(Dense::new(12, Relu), flat)?;
    let sum = g.add([row, other])?;
    let normal = g.layer(LayerNorm::default(), sum)?;
    let inner = g.layer(Dense::new(12, Silu), normal)?;
    let sum = g.add([sum, inner])?;
    let last = g.layer(Dense::new(9, Relu), sum)?;
    let class = g.layer(Dense::new(3, Softmax), last)?;
    g.build([("class", class)]).map(|network| network.layers().len())
}

fn message(layer: impl FnOnce(&mut Half) -> Result<Value>) -> String {
    whole(layer).expect_err("a fault").to_string()
}

/// An error of one layer names the layer, its inputs and their shapes.
#[test]
fn a_fault_names_the_layer_its_inputs_and_their_shapes() {
    assert_eq!(whole(|half| half.g.layer(Tanh, half.image)).unwrap(), 20);
    let of = |layer: Layer| message(|half| half.g.layer(layer, half.image));
    let of_row = |layer: Layer| message(|half| half.g.layer(layer, half.row));
    let cases = [
        (of(Dense::new(0, Relu).into()), "layer dense_12 (from image [4, 6, 8]): expected at least 1 unit, got 0"),
        (
            of(Layer::Activation(LeakyRelu(f32::NAN))),
            "slope of LeakyRelu must be finite and at least 0, got NaN in layer activation_12 (from image [4, 6, 8])",
        ),
        (
            of(Layer::Dropout(1.0)),
            "dropout rate must be at least 0 and below 1, got 1 in layer dropout_12 (from image [4, 6, 8])",
        ),
        (
            of(GroupNorm::new(5).into()),
            "layer group_norm_12 (from image [4, 6, 8]): expected a number of groups that divides the 8 channels, got \
             5",
        ),
        (
            of(LayerNorm { epsilon: 0.0 }.into()),
            "epsilon of layer_norm must be finite and above 0, got 0 in layer layer_norm_12 (from image [4, 6, 8])",
        ),
        (
            of(Layer::Encoding(Encoding::Frequency { frequencies: 4 })),
            "layer frequency_12 (from image [4, 6, 8]): expected samples of shape [features], got [4, 6, 8]; add a \
             flatten layer before it",
        ),
        (
            of_row(Encoding::from(HashGrid::default()).into()),
            "layer hash_grid_12 (from code [12]): expected 1 to 4 coordinates, got 12",
        ),
        (
            of(Tied::to("feature").into()),
            "layer tied_12 (from image [4, 6, 8]): expected the name of an earlier layer with weights (one of \
             features, layer_norm_5, mask, dense_9, code), got feature",
        ),
        (
            of(Tied::to("code").into()),
            "layer tied_12 (from image [4, 6, 8]): expected 12 features, the inputs of layer code, got 8",
        ),
        (
            of(Tied::to("image").into()),
            "layer tied_12 (from image [4, 6, 8]): expected a layer with weights, got image, which has none",
        ),
        (
            of(Tied::transpose_of("code", Relu).into()),
            "layer tied_12 (from image [4, 6, 8]): expected 12 features, the outputs of layer code, got 8",
        ),
        (
            of(Tied::transpose_of("layer_norm_5", Relu).into()),
            "layer tied_12 (from image [4, 6, 8]): expected a dense layer, the only kind whose weights can be \
             transposed, got layer_norm_5, a layer_norm layer",
        ),
        (
            message(|half| half.g.add([half.image, half.row])),
            "layer add_12 (from image [4, 6, 8], code [12]): expected shapes that broadcast (lengths that are equal or \
             1, compared from the last axis), got [4, 6, 8] and [12]",
        ),
        (
            message(|half| half.g.add([half.image])),
            "layer add_12 (from image [4, 6, 8]): expected at least 2 inputs, got 1",
        ),
        (
            message(|half| half.g.multiply([half.row, half.mask, half.image])),
            "layer multiply_12 (from code [12], mask [4, 6, 1], image [4, 6, 8]): expected shapes that broadcast \
             (lengths that are equal or 1, compared from the last axis), got [12] and [4, 6, 1] and [4, 6, 8]",
        ),
        (
            message(|half| half.g.concat([half.image, half.mask], 1)),
            "layer concat_12 (from image [4, 6, 8], mask [4, 6, 1]): expected shapes that are equal except along axis \
             1, got [4, 6, 8] and [4, 6, 1]",
        ),
        (
            message(|half| half.g.concat([half.image, half.row], -1)),
            "layer concat_12 (from image [4, 6, 8], code [12]): expected shapes with the same number of dimensions, \
             got [4, 6, 8] and [12]; add a flatten or reshape layer before it",
        ),
        (
            message(|half| half.g.concat([half.image, half.mask], 3)),
            "layer concat_12 (from image [4, 6, 8], mask [4, 6, 1]): expected an axis from -3 to 2, got 3",
        ),
        (
            message(|half| half.g.slice(half.image, 0, 2..6)),
            "layer slice_12 (from image [4, 6, 8]): expected a start below the end, and an end of at most 4 (the \
             length of axis 0), got 2 to 6",
        ),
        (
            message(|half| half.g.slice(half.image, 3, 0..1)),
            "layer slice_12 (from image [4, 6, 8]): expected an axis from -3 to 2, got 3",
        ),
        (
            message(|half| half.g.split(half.image, 1, 4).map(|parts| parts[0])),
            "layer split_12 (from image [4, 6, 8]): expected a number of parts that divides 6 (the length of axis 1), \
             got 4",
        ),
        (
            message(|half| half.g.reshape(half.image, [4, 50])),
            "layer reshape_12 (from image [4, 6, 8]): expected a shape with 192 numbers in 1 to 4 dimensions, got [4, \
             50]",
        ),
        (
            message(|half| half.g.transpose(half.image, [0, 2])),
            "layer transpose_12 (from image [4, 6, 8]): expected each of the 3 axes once, got [0, 2]",
        ),
        (
            message(|half| half.g.transpose(half.image, [0, 1, 1])),
            "layer transpose_12 (from image [4, 6, 8]): expected each of the 3 axes once, got [0, 1, 1]",
        ),
        (
            of(ScaleShift::Fixed { scale: f32::INFINITY, shift: 0.0 }.into()),
            "scale of ScaleShift::Fixed must be finite, got inf in layer scale_shift_12 (from image [4, 6, 8])",
        ),
        (
            of(Layer::ReduceMean(vec![3])),
            "layer reduce_mean_12 (from image [4, 6, 8]): expected an axis from -3 to 2, got 3",
        ),
        (
            of(Layer::ReduceMax(vec![1, -2])),
            "layer reduce_max_12 (from image [4, 6, 8]): expected at least one axis, and no axis twice, got [1, -2]",
        ),
        (
            of(Layer::ReduceMean(vec![])),
            "layer reduce_mean_12 (from image [4, 6, 8]): expected at least one axis, and no axis twice, got []",
        ),
        (
            message(|half| half.g.layer(Layer::Flatten, [half.image, half.row])),
            "layer flatten_12 (from image [4, 6, 8], code [12]): expected 1 input, got 2",
        ),
        (message(|half| half.g.layer(Layer::Flatten, [])), "layer flatten_12 (no input): expected 1 input, got 0"),
        (
            message(|half| half.g.reshape(half.image, Shape::try_from(&[2, 2, 2, 3, 8][..]).unwrap())),
            "layer reshape_12 (from image [4, 6, 8]): expected a shape with 192 numbers in 1 to 4 dimensions, got [2, \
             2, 2, 3, 8]",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}

/// An error of the whole graph names the layer or the input that causes it.
#[test]
fn a_fault_of_the_whole_graph_names_what_it_is_about() {
    let other = |half: &mut Half| {
        half.g.layer(Dense::new(2, Relu), half.image)?;
        half.g.layer(Tanh, half.row)
    };
    let unread = |half: &mut Half| {
        half.g.input("more", 3);
        Ok(half.row)
    };
    let cases = [
        (
            message(other),
            "layer dense_12: expected a path to an output of the network, got none; connect it or remove it",
        ),
        (
            message(unread),
            "input \"more\": expected a path to an output of the network, got none; connect it or remove it",
        ),
        (
            message(|half| Graph::new().layer(Layer::Flatten, half.row)),
            "input of layer flatten_1: expected a value of this graph, got a value of another graph",
        ),
        (
            message(|half| half.g.layer(Layer::Split { axis: 0, parts: 4 }, half.row)),
            "layer split_12: expected one output, got 4; use Graph::layer_outputs for a layer with several outputs",
        ),
        (
            message(|half| half.g.name("image", half.row)),
            "name of a layer: expected a name that no other layer has, got \"image\"",
        ),
        (
            message(|half| half.g.name("a.b", half.row)),
            "name of a layer: expected a non-empty name without dots, got \"a.b\"",
        ),
        (
            message(|half| {
                half.g.input("picture", 3);
                half.g.layer(Tanh, half.row)
            }),
            "name of an input: expected a non-empty name that no other input has, got \"picture\"",
        ),
        (
            message(|half| {
                half.g.input("empty", [3, 0]);
                half.g.layer(Tanh, half.row)
            }),
            "shape of the input empty: expected 1 to 2³⁰ features, got [3, 0]",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}

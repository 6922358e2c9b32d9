//! Random graphs. A draw is four numbers, and each choice maps a number to one of its valid options. So every draw
//! gives a valid graph, and fewer draws give a smaller graph.

use std::fmt;

use proptest::prelude::*;
use wgrad::{
    Activation, BatchNorm, Conv, Crop, Dense, Graph, GroupNorm, InstanceNorm, Layer, LayerNorm, Loss, Network, Pad,
    Pool, RmsNorm, ScaleShift, Shape, Tied, Upsample, Value,
};

/// A layer in the form that the f64 reference needs. Values are numbered: first the inputs, then the outputs of each
/// layer.
#[derive(Debug, Clone)]
pub struct Step {
    pub name: String,
    pub layer: Layer,
    /// Index of the step that this layer is tied to.
    pub tied: Option<usize>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct Output {
    pub value: usize,
    pub loss: Loss,
    pub weight: f32,
    /// True if targets are numbers, false if they are labels.
    pub values: bool,
    /// True if samples have weights.
    pub weighted: bool,
    /// True if the label 0 is ignored.
    pub ignores: bool,
}

#[derive(Clone)]
pub struct Drawn {
    pub network: Network,
    pub steps: Vec<Step>,
    pub outputs: Vec<Output>,
}

impl fmt::Debug for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for end in self.network.input_specs() {
            writeln!(f, "{} {:?}", end.name, end.shape)?;
        }
        for step in &self.steps {
            writeln!(f, "{} {:?} of {:?} -> {:?}", step.name, step.layer, step.inputs, step.outputs)?;
        }
        self.outputs.iter().try_for_each(|output| writeln!(f, "{output:?}"))
    }
}

type Draw = [u16; 4];

/// Graphs of at most `layers` draws of layers, plus the layers that lead to the outputs.
pub fn graphs(layers: usize) -> impl Strategy<Value = Drawn> {
    let draws = |least, most| prop::collection::vec(any::<Draw>(), least..=most);
    (draws(1, 3), draws(1, layers), prop::array::uniform5(any::<Draw>()))
        .prop_map(|(inputs, layers, outputs)| draw(&inputs, &layers, &outputs))
}

/// The maximum number of elements of a value. Values that are concatenated for the outputs may exceed it.
pub const LARGEST_VALUE: u64 = 36;

struct Under {
    graph: Graph,
    values: Vec<Value>,
    /// For each value: true if a layer reads it or it is an output.
    read: Vec<bool>,
    steps: Vec<Step>,
}

fn draw(inputs: &[Draw], layers: &[Draw], outputs: &[Draw; 5]) -> Drawn {
    let mut under = Under { graph: Graph::new(), values: Vec::new(), read: Vec::new(), steps: Vec::new() };
    for (i, draw) in inputs.iter().enumerate() {
        let [a, b, c] = [1, 2, 3].map(|i| 1 + u32::from(draw[i] % 3));
        let shape: Shape = match draw[0] % 4 {
            0 => [a * b].into(),
            1 => [a, b * c].into(),
            2 => [a, b, c].into(),
            _ => [1, b, a, c].into(),
        };
        let value = under.graph.input(format!("in_{i}"), shape);
        under.values.push(value);
        under.read.push(false);
    }
    layers.iter().for_each(|draw| under.layer(*draw));
    under.outputs(outputs)
}

fn activation(draw: u16) -> Activation {
    use Activation::*;
    [Identity, Relu, Tanh, Sigmoid, GeluTanh, Softmax, Silu, LeakyRelu(0.25)][usize::from(draw % 8)]
}

impl Under {
    fn shape(&self, value: usize) -> Shape {
        self.graph.shape(self.values[value]).unwrap()
    }

    fn last(&self, value: usize) -> u32 {
        *self.shape(value).last().unwrap()
    }

    /// Adds a layer and returns the index of its first output.
    fn push(&mut self, layer: impl Into<Layer>, inputs: &[usize]) -> usize {
        let layer = layer.into();
        let given: Vec<Value> = inputs.iter().map(|&input| self.values[input]).collect();
        let made = match layer {
            Layer::Split { axis, parts } => self.graph.split(given[0], axis, parts),
            _ => self.graph.layer(layer.clone(), given).map(|value| vec![value]),
        };
        let made = made.unwrap_or_else(|error| panic!("{error}"));
        let name = format!("layer_{}", self.steps.len());
        self.graph.name(&name, made[0]).unwrap();
        let tied = match &layer {
            Layer::Tied(tied) => self.steps.iter().position(|step| step.name == tied.layer()),
            _ => None,
        };
        let first = self.values.len();
        inputs.iter().for_each(|&input| self.read[input] = true);
        self.read.resize(first + made.len(), false);
        self.values.extend(&made);
        let outputs = (first..self.values.len()).collect();
        self.steps.push(Step { name, layer, tied, inputs: inputs.to_vec(), outputs });
        first
    }

    /// A value that can be combined with `x`, which may be `x` itself.
    fn partner(&self, x: usize, draw: u16, goes: impl Fn(Shape, Shape) -> Option<Shape>) -> usize {
        let fits =
            |y: &usize| goes(self.shape(x), self.shape(*y)).is_some_and(|shape| shape.elements() <= LARGEST_VALUE);
        let all: Vec<usize> = (0..self.values.len()).filter(fits).collect();
        if all.is_empty() { x } else { all[usize::from(draw) % all.len()] }
    }

    /// The name of a layer with weights that `fits` accepts, if there is one.
    fn tied_to(&self, draw: u16, fits: impl Fn(&Step) -> bool) -> Option<String> {
        let all: Vec<&Step> = self.steps.iter().filter(|step| step.tied.is_none() && fits(step)).collect();
        (!all.is_empty()).then(|| all[usize::from(draw) % all.len()].name.clone())
    }

    fn dense(&mut self, x: usize, units: u32, draw: u16, activation: Activation) -> usize {
        let positions = (self.shape(x).elements() / u64::from(self.last(x))) as u32;
        let dense = Dense::new(units.min(LARGEST_VALUE as u32 / positions).max(1), activation);
        self.push(if draw.is_multiple_of(4) { dense.without_bias() } else { dense }, &[x])
    }

    /// The drawn convolution, if it fits the sample and its output is not too large.
    fn conv(&self, shape: Shape, a: u16, b: u16) -> Option<Conv> {
        let one_of = |draw: u16, most: u16| 1 + u32::from(draw % most);
        let size = |i: u16| match shape.len() {
            2 => [one_of(a / i, 3); 2],
            _ => [one_of(a / i, 3), one_of(a / i / 3, 3)],
        };
        let (channels, kernel) = (one_of(a, 3), size(5));
        let conv = if a.is_multiple_of(3) { Conv::transposed(channels, kernel) } else { Conv::new(channels, kernel) };
        let conv = conv.stride(one_of(b, 3)).dilation(one_of(b / 3, 2)).activation(activation(b / 4));
        let channels_in = shape.last().copied().unwrap_or(1);
        let divides = |groups: &u32| channels.is_multiple_of(*groups) && channels_in.is_multiple_of(*groups);
        let groups = [2, 3].into_iter().find(divides).filter(|_| (b / 16).is_multiple_of(2));
        let conv = conv.groups(groups.unwrap_or(1));
        let conv = match b % 4 {
            0 => conv.same(),
            1 => conv.padding(1),
            2 => conv.padding_of([1, 0], [0, 2]),
            _ => conv.padding(2).without_bias(),
        };
        let network = Network::input(shape).layer(conv).build().ok()?;
        (network.output_specs()[0].shape.elements() <= LARGEST_VALUE).then_some(conv)
    }

    /// The drawn pooling layer, if it fits the sample.
    fn pool(&self, shape: Shape, a: u16, b: u16) -> Option<Pool> {
        let one_of = |draw: u16| 1 + u32::from(draw % 3);
        let sizes = |draw: u16| [one_of(draw), if shape.len() == 2 { one_of(draw) } else { one_of(draw / 3) }];
        let size = sizes(a);
        let pool = if (a / 9).is_multiple_of(2) { Pool::max(size) } else { Pool::average(size) };
        let pool = match b % 4 {
            0 => pool,
            1 => pool.stride(sizes(b / 4)).same(),
            _ => pool.stride(sizes(b / 4)).padding(size.map(|size| size / 2)),
        };
        let network = Network::input(shape).layer(pool).build().ok()?;
        (network.output_specs()[0].shape.elements() <= LARGEST_VALUE).then_some(pool)
    }

    /// The drawn layer that changes height and width, if the sample can have the new size.
    fn resizing(&self, shape: Shape, a: u16, b: u16) -> Option<Layer> {
        let [rows, columns] = [[b, b / 3], [b / 9, b / 27]].map(|sides| sides.map(|side| u32::from(side % 3)));
        let size = [rows[0] + 1, columns[0] + 1];
        let layer: Layer = match a % 9 {
            0 => Upsample::nearest(size).into(),
            1 => Upsample::bilinear(size).into(),
            2 => Upsample::nearest(1).to([rows[0] + 2, columns[1] + 1]).into(),
            3 => Upsample::bilinear(1).to([rows[1] + 1, columns[0] + 2]).into(),
            4 => Pad::zeros(0).sides(rows, columns).into(),
            5 => Pad::reflect(0).sides(rows, columns).into(),
            6 => Pad::replicate(0).sides(rows, columns).into(),
            7 => Crop::new(0).sides(rows, columns).into(),
            _ if b.is_multiple_of(2) => Layer::DepthToSpace(1 + u32::from(b / 2 % 2)),
            _ => Layer::SpaceToDepth(1 + u32::from(b / 2 % 2)),
        };
        let network = Network::input(shape).layer(layer.clone()).build().ok()?;
        (network.output_specs()[0].shape.elements() <= LARGEST_VALUE).then_some(layer)
    }

    fn layer(&mut self, [kind, from, a, b]: Draw) {
        let x = self.values.len() - 1 - usize::from(from) % self.values.len().min(5);
        let shape = self.shape(x);
        let rank = shape.len();
        let axis = usize::from(a) % rank;
        // Counted from the first axis or from the last.
        let named = axis as i32 - if b.is_multiple_of(2) { 0 } else { rank as i32 };
        let axes = || {
            let chosen = |i: &usize| a >> i & 1 == 1;
            let axes: Vec<i32> = (0..rank).filter(chosen).map(|i| i as i32).collect();
            if axes.is_empty() { vec![named] } else { axes }
        };
        match kind % 23 {
            0..=2 => _ = self.dense(x, 1 + u32::from(a % 5), b, activation(b / 4)),
            3 | 4 => {
                let mut inputs = vec![x, self.partner(x, a, |a, b| a.broadcast(&b))];
                // A third input, which repeats the first or the second.
                if b.is_multiple_of(4) {
                    inputs.push(inputs[usize::from(b / 4) % 2]);
                }
                self.push(if kind % 23 == 3 { Layer::Add } else { Layer::Multiply }, &inputs);
            }
            5 => {
                let joined = |a: Shape, b: Shape| {
                    let alike = a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i]);
                    let mut lengths = a.to_vec();
                    alike.then(|| lengths[axis] += b[axis]);
                    alike.then(|| Shape::try_from(&lengths[..]).unwrap())
                };
                let y = self.partner(x, b / 2, joined);
                // The partner may be `x` itself, and the concatenation may be too large.
                match joined(shape, self.shape(y)).is_some_and(|shape| shape.elements() <= LARGEST_VALUE) {
                    true => self.push(Layer::Concat { axis: named }, &[x, y]),
                    false => self.push(Layer::ReduceMean(vec![named]), &[x]),
                };
            }
            6 => {
                let start = u32::from(b / 2) % shape[axis];
                let end = start + 1 + u32::from(b / 16) % (shape[axis] - start);
                self.push(Layer::Slice { axis: named, start, end }, &[x]);
            }
            7 => {
                let parts: Vec<u32> = (1..=shape[axis]).filter(|&parts| shape[axis].is_multiple_of(parts)).collect();
                let parts = parts[parts.len() - 1 - usize::from(b / 2) % parts.len()];
                self.push(Layer::Split { axis: named, parts }, &[x]);
            }
            8 => _ = self.reshape(x, a, b),
            9 => {
                let mut order: Vec<i32> = (0..rank as i32).collect();
                order.rotate_left(usize::from(a) % rank);
                order.swap(0, usize::from(b) % rank);
                self.push(Layer::Transpose(order), &[x]);
            }
            10 => _ = self.push(ScaleShift::Trained, &[x]),
            11 => {
                let [scale, shift] = [a, b].map(|draw| f32::from(draw % 9) / 4.0 - 1.0);
                self.push(ScaleShift::Fixed { scale, shift }, &[x]);
            }
            12 => _ = self.push(Layer::ReduceMean(axes()), &[x]),
            13 => _ = self.push(Layer::ReduceMax(axes()), &[x]),
            14 => {
                let fits = |step: &Step| match &step.layer {
                    Layer::Dense(_)
                    | Layer::LayerNorm(_)
                    | Layer::RmsNorm(_)
                    | Layer::BatchNorm(_)
                    | Layer::ScaleShift(ScaleShift::Trained) => self.last(step.inputs[0]) == self.last(x),
                    _ => false,
                };
                match self.tied_to(a, fits) {
                    Some(name) => _ = self.push(Tied::to(name), &[x]),
                    None => _ = self.dense(x, 1 + u32::from(a % 5), b, activation(b / 4)),
                }
            }
            15 => {
                let fits = |step: &Step| matches!(&step.layer, Layer::Dense(dense) if dense.units() == self.last(x));
                match self.tied_to(a, fits) {
                    Some(name) => _ = self.push(Tied::transpose_of(name, activation(b)), &[x]),
                    None => _ = self.push(activation(b), &[x]),
                }
            }
            16 => _ = self.norm(x, a),
            17 if a.is_multiple_of(2) => _ = self.push(Layer::SpatialDropout(0.375), &[x]),
            17 => _ = self.push(Layer::Dropout(0.375), &[x]),
            18 => _ = self.push(BatchNorm { epsilon: 0.0625, ..BatchNorm::default() }, &[x]),
            19 => match self.conv(shape, a, b) {
                Some(conv) => _ = self.push(conv, &[x]),
                None => _ = self.dense(x, 1 + u32::from(a % 5), b, activation(b / 4)),
            },
            20 => match self.pool(shape, a, b) {
                Some(pool) => _ = self.push(pool, &[x]),
                None => _ = self.push(Layer::ReduceMax(axes()), &[x]),
            },
            21 => match self.resizing(shape, a, b) {
                Some(layer) => _ = self.push(layer, &[x]),
                None => _ = self.push(Layer::ReduceMean(axes()), &[x]),
            },
            // A residual block.
            _ => {
                let inner = if a.is_multiple_of(2) { self.norm(x, b) } else { x };
                let inner = self.dense(inner, 1 + u32::from(a % 5), 1, activation(b));
                let back = Dense::new(self.last(x), activation(if b.is_multiple_of(3) { 1 } else { 0 }));
                let inner = self.push(if (b / 8).is_multiple_of(4) { back.without_bias() } else { back }, &[inner]);
                let sum = self.push(Layer::Add, &[x, inner]);
                if b.is_multiple_of(5) {
                    self.push(activation(a / 8), &[sum]);
                }
            }
        }
    }

    /// Adds a normalisation layer. Its epsilon keeps its derivatives below 4.
    fn norm(&mut self, x: usize, draw: u16) -> usize {
        let (epsilon, channels, numbers) = (0.0625, self.last(x), self.shape(x).elements());
        let groups: Vec<u32> =
            (1..=channels).filter(|n| channels.is_multiple_of(*n) && u64::from(*n) < numbers).collect();
        match draw / 2 % 4 {
            0 => self.push(RmsNorm { epsilon }, &[x]),
            1 if u64::from(channels) < numbers => self.push(InstanceNorm { epsilon }, &[x]),
            2 if !groups.is_empty() => {
                let groups = groups[usize::from(draw / 8) % groups.len()];
                self.push(GroupNorm { groups, epsilon }, &[x])
            }
            _ => self.push(LayerNorm { epsilon }, &[x]),
        }
    }

    fn reshape(&mut self, x: usize, a: u16, b: u16) -> usize {
        let all = self.shape(x).elements() as u32;
        let divisor = |of: u32, draw: u16| {
            let all: Vec<u32> = (1..=of).filter(|&part| of.is_multiple_of(part)).collect();
            all[usize::from(draw) % all.len()]
        };
        let first = divisor(all, a);
        let second = divisor(all / first, b);
        let shape: Shape = match b / 4 % 4 {
            0 => [all].into(),
            1 => [first, all / first].into(),
            2 => [first, second, all / first / second].into(),
            _ => [1, second, first, all / first / second].into(),
        };
        self.push(if (b / 4).is_multiple_of(4) { Layer::Flatten } else { Layer::Reshape(shape) }, &[x])
    }

    /// True if a value is a dropout layer's output, possibly reshaped. Outside training such a layer does nothing.
    fn ends_with_dropout(&self, value: usize) -> bool {
        match self.steps.iter().find(|step| step.outputs.contains(&value)) {
            Some(Step { layer: Layer::Dropout(_) | Layer::SpatialDropout(_), .. }) => true,
            Some(step) => match step.layer {
                Layer::Flatten | Layer::Reshape(_) | Layer::Activation(Activation::Identity) => {
                    self.ends_with_dropout(step.inputs[0])
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Combines all unread values into at most three outputs.
    fn outputs(mut self, draws: &[Draw; 5]) -> Drawn {
        // For half of the draws, some outputs of a layer stay unread although another one is read.
        let mut leaves: Vec<usize> = (0..self.values.len()).filter(|&value| !self.read[value]).collect();
        if draws[4][0].is_multiple_of(2) {
            leaves.retain(|leaf| {
                let maker = self.steps.iter().find(|step| step.outputs.contains(leaf));
                maker.is_none_or(|step| step.outputs.iter().all(|&output| !self.read[output]) || leaf % 2 == 0)
            });
        }
        while leaves.len() > 3 {
            let parts = [0, 1].map(|_| {
                let leaf = leaves.remove(0);
                let flat = self.push(Layer::Flatten, &[leaf]);
                self.dense(flat, 2, 1, Activation::Tanh)
            });
            let joined = self.push(Layer::Concat { axis: -1 }, &parts);
            leaves.push(joined);
        }
        let mut outputs: Vec<Output> =
            leaves.into_iter().zip(draws).map(|(leaf, &draw)| self.head(leaf, draw)).collect();
        // An extra output. Layers may read it too, and it may be another output already.
        let [extra, weight, kind, _] = draws[3];
        let value = usize::from(extra) % self.values.len();
        if weight.is_multiple_of(2) && !self.ends_with_dropout(value) {
            let loss = if kind.is_multiple_of(2) { Loss::MeanSquaredError } else { Loss::Huber { delta: 0.25 } };
            outputs.push(Output { value, loss, weight: 0.5, values: true, weighted: false, ignores: false });
        }
        let named = outputs.iter().enumerate().map(|(i, output)| (format!("out_{i}"), self.values[output.value]));
        let network = self.graph.build(named.collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error}"));
        Drawn { network, steps: self.steps, outputs }
    }

    /// Adds the layers that the drawn loss requires. Returns the output with its loss.
    fn head(&mut self, x: usize, [kind, how, a, b]: Draw) -> Output {
        let smoothed = Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.125 };
        let loss = match kind % 7 {
            0 => Loss::MeanSquaredError,
            1 => Loss::SumOfSquares,
            2 => Loss::Huber { delta: 0.25 },
            3 => Loss::MeanAbsoluteError,
            4 => Loss::BinaryCrossEntropy,
            5 => Loss::SoftmaxCrossEntropy,
            _ => smoothed,
        };
        let exclusive = loss == Loss::SoftmaxCrossEntropy || loss == smoothed;
        let link = if exclusive { Activation::Softmax } else { Activation::Sigmoid };
        let units = u32::from(a % 3) + if exclusive { 2 } else { 1 };
        let value = match how % 3 {
            _ if kind % 7 < 4 && (how % 3 == 0 || self.ends_with_dropout(x)) => self.dense(x, units, b, activation(a)),
            _ if kind % 7 < 4 => x,
            0 if !exclusive || self.last(x) > 1 => self.push(link, &[x]),
            of => {
                let positions = (self.shape(x).elements() / u64::from(self.last(x))) as u32;
                let x = if exclusive && units * positions > LARGEST_VALUE as u32 {
                    self.push(Layer::Flatten, &[x])
                } else {
                    x
                };
                self.dense(x, units, b, if of == 1 { link } else { Activation::Identity })
            }
        };
        let value = match a / 4 % 4 {
            0 if exclusive && self.shape(value).len() < 4 => {
                let shape = [&[1], &self.shape(value)[..]].concat();
                self.push(Layer::Reshape(Shape::try_from(&shape[..]).unwrap()), &[value])
            }
            1 if !exclusive => self.reshape(value, a / 16, b),
            _ => value,
        };
        self.read[value] = true;
        let weight = [1.0, 1.0, 0.5, 2.0, 0.25, 0.0][usize::from(b / 4 % 6)];
        let (values, weighted) = ((b / 32).is_multiple_of(2), (b / 64).is_multiple_of(3));
        Output { value, loss, weight, values, weighted, ignores: !values && (b / 256).is_multiple_of(2) }
    }
}

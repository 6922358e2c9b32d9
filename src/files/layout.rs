//! The order of a tensor's numbers in files of other programs. Each order is a permutation of wgrad's dimensions.

use std::collections::BTreeMap;

use super::naming::Naming;
use crate::error::{Error, Result};
use crate::network::{Layer, Network, Node, Parameter, Source};
use crate::ops::element_offsets;

/// The order of weights in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Dense \[inputs, units\]. Convolutions and transposed convolutions \[height, width, inputs, outputs\].
    Wgrad,
    /// As `Wgrad`, but transposed convolutions \[height, width, outputs, inputs\].
    Keras,
    /// Dense \[units, inputs\]. Convolutions \[outputs, inputs, height, width\], transposed ones \[inputs, outputs,
    /// height, width\]. Images are \[channels, height, width\]; a flattened image is a row in that order.
    PyTorch,
    /// Dense \[units, inputs\]. Convolutions and transposed convolutions \[outputs, height, width, inputs\].
    Mlx,
}

impl Layout {
    pub fn of(naming: Naming) -> Self {
        match naming {
            Naming::Wgrad => Self::Wgrad,
            Naming::Keras => Self::Keras,
            Naming::PyTorch => Self::PyTorch,
        }
    }

    /// Whether dense weights are \[units, inputs\].
    pub fn units_first(self) -> bool {
        matches!(self, Self::PyTorch | Self::Mlx)
    }

    /// The order of wgrad's dimensions of a weight. The last two are inputs and outputs.
    fn dimensions(self, rank: usize, transposed: bool) -> Vec<usize> {
        let (taps, inputs, outputs) = (0..rank - 2, rank - 2, rank - 1);
        match (self, transposed) {
            (Self::Wgrad, _) | (Self::Keras, false) => (0..rank).collect(),
            (Self::Keras, true) => taps.chain([outputs, inputs]).collect(),
            (Self::PyTorch, false) => [outputs, inputs].into_iter().chain(taps).collect(),
            (Self::PyTorch, true) => [inputs, outputs].into_iter().chain(taps).collect(),
            (Self::Mlx, _) => [outputs].into_iter().chain(taps).chain([inputs]).collect(),
        }
    }
}

/// The order of a tensor in a file: wgrad's tensor with some dimensions split, then permuted.
#[derive(Debug)]
pub(super) struct Order {
    seen: Vec<u32>,
    axes: Vec<usize>,
    /// The shape in the file.
    pub shape: Vec<u32>,
}

impl Order {
    /// For each number of the file, its index in wgrad's tensor.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let stride = |i: usize| self.seen[i + 1..].iter().product();
        let shape: Vec<u32> = self.axes.iter().map(|&i| self.seen[i]).collect();
        element_offsets(&shape, &self.axes.iter().map(|&i| stride(i)).collect::<Vec<u32>>())
    }

    /// wgrad's numbers in the file's order.
    pub fn theirs<T: Copy>(&self, ours: &[T]) -> Vec<T> {
        self.places().map(|place| ours[place]).collect()
    }

    /// The file's numbers in wgrad's order.
    pub fn ours(&self, theirs: Vec<f32>) -> Vec<f32> {
        if self.axes.is_sorted() {
            return theirs;
        }
        let mut ours = vec![0.0; theirs.len()];
        self.places().zip(theirs).for_each(|(place, value)| ours[place] = value);
        ours
    }
}

/// The order of each tensor of a network, by wgrad's names.
pub(super) struct Orders<'a> {
    pub layout: Layout,
    orders: BTreeMap<&'a str, Order>,
}

impl<'a> Orders<'a> {
    pub fn of(layout: Layout, network: &'a Network) -> Self {
        let (rows, images) = match layout {
            Layout::PyTorch => (marks(network), blocks(network)),
            _ => Default::default(),
        };
        let nodes: BTreeMap<&str, (usize, &Node)> =
            network.nodes().iter().enumerate().map(|(i, node)| (&*node.name, (i, node))).collect();
        let order = |parameter: &'a Parameter| {
            let found = nodes.get(parameter.layer());
            let mark = |source: Source| match network.shape(source).len() {
                1 => rows.get(&source).copied(),
                _ => images.get(&source).copied(),
            };
            let input = found.and_then(|(_, node)| mark(*node.inputs.first()?));
            let output = found.and_then(|(i, _)| mark(Source::Node { node: *i, output: 0 }));
            let layer = found.map(|(_, node)| &node.layer);
            (&*parameter.name, order(layout, layer, parameter, [input, output]))
        };
        Self { layout, orders: network.tensors().map(order).collect() }
    }

    pub fn get(&self, parameter: &str) -> &Order {
        &self.orders[parameter]
    }

    /// Whether a tensor of a file has the shape of a parameter.
    pub fn fits(&self, parameter: &Parameter, found: &[usize]) -> bool {
        found.iter().map(|&d| d as u32).eq(self.get(&parameter.name).shape.iter().copied())
    }

    /// Returns an error if the network is ambiguous in this layout.
    pub fn check(&self, network: &Network) -> Result<()> {
        let fault = |node: &Node, expected: &str| {
            let what = format!("layer {} in a file of another program", node.name);
            Err(Error::shape(what, expected, format!("a {} layer", node.layer.kind())))
        };
        for (i, node) in network.nodes().iter().enumerate() {
            if matches!(node.layer, Layer::Custom(_)) && !network.own_parameters(i).is_empty() {
                return fault(node, "Naming::Wgrad, because no other program has this layer");
            }
            if self.layout != Layout::Wgrad
                && matches!(&node.layer, Layer::Conv(conv) if conv.groups > 1 && conv.transposed.is_some())
            {
                return fault(node, "Naming::Wgrad, because other programs order the weights of groups differently");
            }
        }
        if self.layout != Layout::PyTorch {
            return Ok(());
        }
        let (marks, images) = (marks(network), blocks(network));
        for (i, node) in network.nodes().iter().enumerate() {
            let mut values = node.inputs.iter().copied().chain([Source::Node { node: i, output: 0 }]);
            // In PyTorch, blocks of pixels are divided into other groups.
            let is_block = matches!(&node.layer, Layer::Conv(conv) if conv.groups == 1)
                || matches!(node.layer, Layer::DepthToSpace(_) | Layer::SpaceToDepth(_));
            if !is_block && !keeps_channels(&node.layer) && values.any(|value| images.contains_key(&value)) {
                return fault(
                    node,
                    "a convolution beside blocks of pixels, because PyTorch orders their channels differently",
                );
            }
            // With one position or one channel, both orders are equal.
            let is_row = |source: &Source| {
                let split = marks.get(source).is_some_and(|[positions, channels]| *positions > 1 && *channels > 1);
                split && network.shape(*source).len() == 1
            };
            let known = matches!(node.layer, Layer::Dense(_) | Layer::Tied(_) | Layer::Flatten | Layer::Reshape(_));
            if !known && !is_elementwise(&node.layer) && node.inputs.iter().any(is_row) {
                return fault(
                    node,
                    "a dense layer after a flattened image, because PyTorch orders its numbers differently",
                );
            }
        }
        Ok(())
    }
}

/// The order of a tensor. `marks` are set if PyTorch orders the layer's input or output features differently:
/// flattened images (positions and channels), or blocks of pixels in channels (pixels and channels).
fn order(layout: Layout, layer: Option<&Layer>, parameter: &Parameter, marks: [Option<[u32; 2]>; 2]) -> Order {
    let (rank, [input, output]) = (parameter.shape.len(), marks);
    let (dimensions, splits) = match layer {
        Some(Layer::Dense(_)) if rank == 2 => (layout.dimensions(2, false), vec![input, output]),
        Some(Layer::Conv(conv)) if rank > 2 => {
            let taps = vec![None; rank - 2];
            (layout.dimensions(rank, conv.transposed.is_some()), [taps, vec![input, output]].concat())
        }
        _ => ((0..rank).collect(), vec![output.filter(|_| rank == 1); rank]),
    };
    let (mut seen, mut parts) = (Vec::new(), Vec::new());
    for (length, split) in parameter.shape.iter().zip(splits) {
        let first = seen.len();
        match split.filter(|[positions, channels]| positions * channels == *length) {
            Some([positions, channels]) => seen.extend([positions, channels]),
            None => seen.push(*length),
        }
        // In PyTorch, channels come first.
        parts.push((first..seen.len()).rev());
    }
    let shape = dimensions.iter().map(|&i| parameter.shape[i]).collect();
    let axes = dimensions.iter().flat_map(|&i| parts[i].clone()).collect();
    Order { seen, axes, shape }
}

/// Whether the layer does the same to each number or channel, in any order.
fn is_elementwise(layer: &Layer) -> bool {
    use Layer::*;
    let is_norm = matches!(layer, LayerNorm(_) | InstanceNorm(_) | RmsNorm(_) | BatchNorm(_));
    is_norm || matches!(layer, Activation(_) | Dropout(_) | SpatialDropout(_) | ScaleShift(_) | Add | Multiply)
}

/// Values that are images, or rows of flattened images: positions and channels. Convolutions have images as inputs
/// and outputs. Most layers keep an image an image.
fn marks(network: &Network) -> BTreeMap<Source, [u32; 2]> {
    let of_image = |source: Source| {
        let shape = network.shape(source);
        let channels = shape[shape.len() - 1];
        [(shape.elements() / u64::from(channels)) as u32, channels]
    };
    let mut marks = BTreeMap::new();
    loop {
        let before = marks.len();
        for (i, node) in network.nodes().iter().enumerate() {
            let outputs = (0..node.shapes.len()).map(|output| Source::Node { node: i, output });
            let values: Vec<Source> = node.inputs.iter().copied().chain(outputs).collect();
            let is_row = |source: &Source| network.shape(*source).len() == 1;
            let mark = values.iter().find_map(|source| Some((marks.get(source).copied()?, is_row(source))));
            match (&node.layer, mark) {
                (Layer::Conv(_), _) => marks.extend(values.iter().map(|&value| (value, of_image(value)))),
                (Layer::Flatten | Layer::Reshape(_), Some((mark, _))) => {
                    let fits = |value: &&Source| is_row(value) || of_image(**value) == mark;
                    marks.extend(values.iter().filter(fits).map(|&value| (value, mark)));
                }
                (layer, Some((mark, true))) if is_elementwise(layer) => {
                    marks.extend(values.iter().filter(|value| is_row(value)).map(|&value| (value, mark)));
                }
                (layer, Some((_, false))) if keeps_images(layer) => {
                    marks.extend(values.iter().filter(|value| !is_row(value)).map(|&value| (value, of_image(value))));
                }
                _ => {}
            }
        }
        if marks.len() == before {
            return marks;
        }
    }
}

/// Images whose channels are blocks of pixels: the number of pixels, and of channels of each. PyTorch orders their
/// channels first.
fn blocks(network: &Network) -> BTreeMap<Source, [u32; 2]> {
    let mut marks = BTreeMap::new();
    loop {
        let before = marks.len();
        for (i, node) in network.nodes().iter().enumerate() {
            let output = Source::Node { node: i, output: 0 };
            let values = || node.inputs.iter().copied().chain([output]);
            let found = match node.layer {
                Layer::DepthToSpace(r) => Some((node.inputs[0], r * r)),
                Layer::SpaceToDepth(r) => Some((output, r * r)),
                _ => None,
            };
            if let Some((value, pixels)) = found {
                let channels = network.shape(value).last().map_or(1, |channels| channels / pixels);
                // With one pixel or one channel, both orders are equal.
                if pixels > 1 && channels > 1 {
                    marks.entry(value).or_insert([pixels, channels]);
                }
            } else if keeps_channels(&node.layer)
                && let Some(mark) = values().find_map(|value| marks.get(&value).copied())
            {
                values().for_each(|value| _ = marks.entry(value).or_insert(mark));
            }
        }
        if marks.len() == before {
            return marks;
        }
    }
}

/// Whether the layer keeps the channels.
fn keeps_channels(layer: &Layer) -> bool {
    is_elementwise(layer) || matches!(layer, Layer::Pool(_) | Layer::Upsample(_) | Layer::Pad(_) | Layer::Crop(_))
}

/// Whether the layer keeps images, with the same channel dimension.
fn keeps_images(layer: &Layer) -> bool {
    use Layer::*;
    !matches!(
        layer,
        Dense(_)
            | Tied(_)
            | Transpose(_)
            | Encoding(_)
            | CompositeEncoding(_)
            | Custom(_)
            | ReduceMean(_)
            | ReduceMax(_)
    )
}

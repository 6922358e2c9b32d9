//! From an ONNX graph to a network: walks the nodes in order, folds constants, and calls a function for each operator.

mod arithmetic;
mod build;
mod conv;
mod dense;
mod ends;
mod functions;
mod logic;
mod moving;
mod norm;
mod pad;
mod pool;
mod reduce;
mod resize;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::fold::{self, Given};
use super::layout::{Factors, View};
use super::messages::{Model, Node};
use super::options::Options;
use super::tensor::{Data, Int, MOST_DIMENSIONS, MOST_ELEMENTS, Tensor};
use super::{Result, fault};
use crate::error;
use crate::imported;
use crate::network::{Graph, Network, Source, Value};

/// A value of the ONNX graph.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Constant(Tensor),
    View(View),
}

/// The state of an import.
pub(super) struct Importer<'a> {
    pub options: &'a Options,
    pub opset: i64,
    /// The number of leading dimensions that are the batch: 1 or 0.
    pub batch: usize,
    /// The batch size that the file itself gives.
    pub rows: Option<i64>,
    pub graph: Graph,
    pub layers: usize,
    /// The numbers of each parameter and state, by its name.
    pub numbers: BTreeMap<String, Vec<f32>>,
    pub factors: Factors,
    values: HashMap<&'a str, Option<Entry>>,
    /// The number of readers of each value, and the last of them.
    pub readers: HashMap<&'a str, (usize, Option<&'a Node>)>,
    /// The names of sums that are the biases of layers before them.
    pub biased: HashSet<String>,
    /// The names of the layers.
    pub names: HashSet<String>,
    /// The name of the last layer.
    pub last: String,
    /// The names of the outputs.
    outputs: HashSet<&'a str>,
    /// The layer with weights that computes a value, and nothing after it.
    pub foldable: HashMap<Source, String>,
    /// For the name of a sigmoid's output, its input.
    pub sigmoids: HashMap<String, Value>,
    /// Elements of constants and weights that may still be stored.
    budget: u64,
}

/// A node and its inputs.
pub(super) struct Op<'a> {
    pub node: &'a Node,
    pub inputs: Vec<Option<Entry>>,
}

impl Op<'_> {
    pub fn entry(&self, i: usize) -> Result<&Entry> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("input {i} is missing"))
    }

    /// An input that must not be constant.
    pub fn view(&self, i: usize) -> Result<View> {
        match self.entry(i)? {
            Entry::View(view) => Ok(view.clone()),
            Entry::Constant(_) => Err(format!("input {i}: a constant is not supported")),
        }
    }

    pub fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// An input that must be constant.
    pub fn constant(&self, i: usize) -> Result<&Tensor> {
        match self.entry(i)? {
            Entry::Constant(tensor) => Ok(tensor),
            Entry::View(_) => {
                let name = self.node.inputs.get(i).map_or("", String::as_str);
                Err(format!("input {i} ({name}) is computed while the model runs; only a constant is supported"))
            }
        }
    }

    pub fn optional(&self, i: usize) -> Result<Option<&Tensor>> {
        if self.has(i) { self.constant(i).map(Some) } else { Ok(None) }
    }

    /// The same node for the evaluator of constants. The first input may be computed; the others must be constant.
    pub fn given(&self) -> Result<Given<'_>> {
        let first = match self.inputs.first() {
            Some(Some(Entry::Constant(tensor))) => Some(tensor),
            _ => None,
        };
        let mut inputs = vec![first];
        for i in 1..self.inputs.len() {
            inputs.push(self.optional(i)?);
        }
        Ok(Given { node: self.node, inputs })
    }
}

/// The only output of an operator.
fn one(view: View) -> Result<Vec<Entry>> {
    Ok(vec![Entry::View(view)])
}

/// Imports an operator.
type Import = fn(&mut Importer, &Op) -> Result<Vec<Entry>>;

/// The operators that become layers: their names, their function and their attributes.
const FAMILIES: &[(&str, Import, &str)] = &[
    ("Gemm", dense::gemm, "alpha beta transA transB broadcast"),
    ("MatMul", dense::matmul, ""),
    ("Conv", conv::conv, "auto_pad dilations group kernel_shape pads strides"),
    ("ConvTranspose", conv::conv, "auto_pad dilations group kernel_shape output_padding output_shape pads strides"),
    ("MaxPool", pool::pool, "auto_pad ceil_mode dilations kernel_shape pads storage_order strides"),
    ("AveragePool", pool::pool, "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides"),
    ("GlobalAveragePool GlobalMaxPool", pool::global, ""),
    ("LRN", pool::lrn, "alpha beta bias size"),
    ("BatchNormalization", norm::batch, "epsilon is_test momentum spatial training_mode"),
    ("InstanceNormalization", norm::instance, "epsilon"),
    ("GroupNormalization", norm::group, "epsilon num_groups stash_type"),
    ("LayerNormalization", norm::layer, "axis epsilon stash_type"),
    ("RMSNormalization", norm::rms, "axis epsilon stash_type"),
    ("Softmax LogSoftmax", reduce::softmax, "axis"),
    ("Add Sub Mul Div", arithmetic::binary, "axis broadcast"),
    ("Sum Mean Max Min", arithmetic::several, ""),
    ("Pow", arithmetic::pow, ""),
    ("Less LessOrEqual Greater GreaterOrEqual Equal", logic::compare, ""),
    ("Not And Or", logic::logic, ""),
    ("Where", logic::select, ""),
    ("Tile", logic::tile, ""),
    ("PRelu", arithmetic::prelu, ""),
    ("Expand", arithmetic::expand, ""),
    ("Clip", functions::clip, "min max"),
    ("Relu Sigmoid Tanh Softplus Erf Exp Log Sqrt Reciprocal Abs Neg", functions::plain, ""),
    ("Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh", functions::plain, ""),
    ("Softsign HardSwish Mish Floor Ceil Round Sign", functions::plain, ""),
    ("LeakyRelu Elu Celu ThresholdedRelu", functions::with_alpha, "alpha"),
    ("Swish", functions::with_alpha, "alpha"),
    ("Selu", functions::selu, "alpha gamma"),
    ("HardSigmoid", functions::hard_sigmoid, "alpha beta"),
    ("Gelu", functions::gelu, "approximate"),
    ("Identity", moving::identity, ""),
    ("Cast", moving::cast, "to saturate round_mode"),
    ("CastLike", moving::cast_like, "saturate round_mode"),
    ("Dropout", moving::dropout, "ratio seed is_test"),
    ("Reshape", moving::reshape, "allowzero"),
    ("Flatten", moving::flatten, "axis"),
    ("Squeeze", moving::squeeze, "axes"),
    ("Unsqueeze", moving::unsqueeze, "axes"),
    ("Transpose", moving::transpose, "perm"),
    ("Concat", moving::concat, "axis"),
    ("Slice", moving::slice, "axes starts ends"),
    ("Split", moving::split, "axis split num_outputs"),
    ("Gather", moving::gather, "axis"),
    ("Pad", pad::pad, "mode pads value"),
    (
        "Resize Upsample",
        resize::resize,
        "mode coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value \
     nearest_mode antialias axes keep_aspect_ratio_policy scales",
    ),
    ("DepthToSpace SpaceToDepth", pad::blocks, "blocksize mode"),
    (
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum \
     ReduceLogSumExp ReduceProd",
        reduce::reduce,
        "axes keepdims noop_with_empty_axes",
    ),
];

/// Whether a list of words has this word.
fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|other| other == word)
}

/// The most nodes that are neither constant nor unused. The checks of a network take quadratic time.
const MOST_NODES: usize = 1 << 14;

impl<'a> Importer<'a> {
    pub fn new(model: &'a Model, options: &'a Options) -> Self {
        let mut readers = HashMap::new();
        let read = model.graph.nodes.iter().flat_map(|node| node.inputs.iter().map(move |name| (&**name, Some(node))));
        let ends = options.output_names(model).into_iter().map(|name| (name, None));
        for (name, node) in read.chain(ends) {
            let (count, last) = readers.entry(name).or_insert((0, None));
            (*count, *last) = (*count + 1, node);
        }
        Self {
            options,
            opset: model.opset,
            batch: usize::from(options.batched),
            rows: None,
            graph: Graph::new(),
            layers: 0,
            numbers: BTreeMap::new(),
            factors: Factors::default(),
            values: HashMap::new(),
            readers,
            names: HashSet::new(),
            biased: HashSet::new(),
            last: String::new(),
            outputs: options.output_names(model).into_iter().collect(),
            foldable: HashMap::new(),
            sigmoids: HashMap::new(),
            budget: MOST_ELEMENTS,
        }
    }

    /// The network, and the numbers of its parameters and states.
    pub fn import(mut self, model: &'a Model) -> error::Result<(Network, Vec<f32>)> {
        let nodes = self.needed(model).map_err(fault)?;
        // A file with operators of other domains only has no version of the standard ones.
        if !(6..=28).contains(&model.opset) && nodes.iter().any(|node| node.domain.is_empty()) {
            return Err(fault(format!("its operators have version {}; expected 6 to 28", model.opset)));
        }
        for (name, tensor) in &model.graph.initializers {
            let tensor = Tensor { is_weight: matches!(tensor.data, Data::F32(_)), ..tensor.clone() };
            self.values.insert(name, Some(Entry::Constant(tensor)));
        }
        for (name, tensor) in &self.options.constants {
            self.values.insert(name, Some(Entry::Constant(tensor.clone())));
        }
        self.inputs(model, &nodes).map_err(fault)?;
        let mut faults = Vec::new();
        for node in nodes {
            if let Err(reason) = self.node(node) {
                let of = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
                faults.push(format!("{} {:?}: {reason}", node.op, of.map_or("", String::as_str)));
            }
            if self.layers > MOST_NODES {
                return Err(fault(format!("its graph needs more than {MOST_NODES} layers")));
            }
        }
        match faults.len() {
            0 => self.finish(model),
            count => Err(fault(imported::unsupported("node", &faults, count))),
        }
    }

    /// The nodes that lead to an output, in the order of the file.
    fn needed(&self, model: &'a Model) -> Result<Vec<&'a Node>> {
        let nodes = &model.graph.nodes;
        let mut makers = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if makers.insert(&**output, i).is_some() {
                    return Err(format!("two nodes compute the value {output:?}"));
                }
            }
        }
        let mut needed = vec![false; nodes.len()];
        let mut wanted: Vec<&str> = self.options.output_names(model);
        if wanted.is_empty() {
            return Err("its graph has no output".into());
        }
        while let Some(name) = wanted.pop() {
            if let Some(&i) = makers.get(name)
                && !std::mem::replace(&mut needed[i], true)
            {
                wanted.extend(nodes[i].inputs.iter().map(String::as_str));
            }
        }
        Ok(nodes.iter().zip(needed).filter(|(_, needed)| *needed).map(|(node, _)| node).collect())
    }

    /// Imports a node. Its outputs are unknown after a fault.
    fn node(&mut self, node: &'a Node) -> Result<()> {
        let inputs = self.entries(node);
        for output in &node.outputs {
            self.values.insert(output, None);
        }
        let is_known = has(fold::KNOWN, &node.op);
        let family = FAMILIES.iter().find(|(ops, ..)| node.domain.is_empty() && has(ops, &node.op));
        if family.is_none() && (!is_known || !node.domain.is_empty()) {
            let domain = if node.domain.is_empty() { String::new() } else { format!(" of the domain {}", node.domain) };
            return Err(format!("the operator{domain} is not supported"));
        }
        let Some(inputs) = inputs? else { return Ok(()) };
        let op = Op { node, inputs };
        let outputs = match self.folded(&op)? {
            Some(tensors) => tensors.into_iter().map(Entry::Constant).collect(),
            None => {
                let is_moved = |entry: &Entry| matches!(entry, Entry::View(view) if view.batch_at != 0);
                if op.inputs.iter().flatten().any(is_moved) && !has("Transpose Gather Slice Split Squeeze", &node.op) {
                    return Err("the batch must be the first dimension of its input".into());
                }
                let Some((_, import, attributes)) = family else {
                    return Err("the operator is supported only on constants".into());
                };
                let unknown = node.attributes.iter().find(|(name, _)| !has(attributes, name));
                if let Some((name, _)) = unknown {
                    return Err(format!("the attribute {name} is not supported"));
                }
                import(self, &op)?
            }
        };
        for (name, entry) in node.outputs.iter().zip(outputs) {
            let rank = match &entry {
                Entry::View(view) => view.dims.len(),
                Entry::Constant(tensor) => tensor.dims.len(),
            };
            if rank > MOST_DIMENSIONS {
                return Err(format!("a result of {rank} dimensions, where at most {MOST_DIMENSIONS} are supported"));
            }
            self.values.insert(name, Some(entry));
        }
        match node.outputs.iter().find(|name| self.values[&***name].is_none() && self.is_read(name)) {
            Some(name) => Err(format!("its output {name:?} is not supported")),
            None => Ok(()),
        }
    }

    /// The inputs of a node. `None` if one is unknown, because the node that computes it had a fault.
    fn entries(&self, node: &Node) -> Result<Option<Vec<Option<Entry>>>> {
        let mut inputs = Vec::new();
        for name in &node.inputs {
            inputs.push(match self.values.get(&**name) {
                _ if name.is_empty() => None,
                Some(Some(entry)) => Some(entry.clone()),
                Some(None) => return Ok(None),
                None => {
                    let reason = "is no input and computed by no earlier node: the graph has a cycle or is damaged";
                    return Err(format!("its input {name:?} {reason}"));
                }
            });
        }
        Ok(Some(inputs))
    }

    /// The outputs of a node that can be computed now.
    fn folded(&mut self, op: &Op) -> Result<Option<Vec<Tensor>>> {
        let outputs = match (&*op.node.op, op.inputs.first()) {
            ("Shape", Some(Some(Entry::View(view)))) => {
                let mut dims: Vec<Int> = view.lengths().into_iter().map(|length| Int::from(length as i64)).collect();
                if self.batch == 1 {
                    dims.insert(view.batch_at, Int::ROWS);
                }
                Some(vec![fold::shape(op.node, dims)?])
            }
            ("Size", Some(Some(Entry::View(view)))) => {
                let size = view.lengths().into_iter().product::<u64>() as i64;
                let size = if self.batch == 0 { Int::from(size) } else { Int { at: 0, rows: size } };
                Some(vec![Tensor { dims: vec![], ..Tensor::ints([size]) }])
            }
            _ if op.inputs.iter().flatten().any(|entry| matches!(entry, Entry::View(_))) => None,
            _ => fold::fold(&op.given()?)?,
        };
        for tensor in outputs.iter().flatten().filter(|tensor| tensor.stored() > 1) {
            self.spend(tensor.stored() as u64)?;
        }
        Ok(outputs)
    }

    /// Checks that these elements may be stored, before memory for them is allocated.
    pub fn affords(&self, elements: u64) -> Result<u64> {
        let left = self.budget.checked_sub(elements);
        left.ok_or_else(|| format!("its constants and weights have more than {MOST_ELEMENTS} elements"))
    }

    /// Counts stored elements.
    pub fn spend(&mut self, elements: u64) -> Result<()> {
        self.budget = self.affords(elements)?;
        Ok(())
    }

    /// Whether a node reads a value, or the network gives it out.
    pub fn is_read(&self, name: &str) -> bool {
        self.readers.contains_key(name)
    }

    /// A value by its name.
    pub fn value(&self, name: &str) -> Option<&Entry> {
        self.values.get(name)?.as_ref()
    }

    pub fn set(&mut self, name: &'a str, entry: Entry) {
        self.values.insert(name, Some(entry));
    }
}

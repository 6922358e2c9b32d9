//! From Keras' layers to a network: walks the models, and calls a function for each class of layers.

mod build;
mod conv;
mod dense;
mod functions;
mod merge;
mod moving;
mod norm;
mod pool;
mod walk;

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use self::build::{Names, sample};
use super::config::{Config, LayerSpec, ModelSpec, is_model, whole};
use super::weights::{Place, Weights};
use super::{Result, fault};
use crate::error;
use crate::imported::{self, MOST_FAULTS};
use crate::network::{Graph, Network, Value};

/// The most layers of the network. The checks of a network take quadratic time.
const MOST_LAYERS: usize = 1 << 14;

/// The most numbers of weights that the file does not have: 2^28 bytes.
const MOST_FILLED: u32 = 1 << 26;

/// Imports a layer.
type Import = fn(&mut Importer, &Call) -> Result<Value>;

/// The classes of layers, and their functions.
const CLASSES: &[(&str, Import)] = &[
    ("Dense", dense::dense),
    ("Conv1D Conv2D Convolution1D Convolution2D", conv::conv),
    ("Conv1DTranspose Conv2DTranspose Convolution2DTranspose", conv::transposed),
    ("DepthwiseConv1D DepthwiseConv2D", conv::depthwise),
    ("SeparableConv1D SeparableConv2D", conv::separable),
    ("MaxPooling1D MaxPooling2D AveragePooling1D AveragePooling2D", pool::pool),
    ("GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D", pool::global),
    ("BatchNormalization", norm::batch),
    ("LayerNormalization", norm::layer),
    ("GroupNormalization", norm::group),
    ("RMSNormalization", norm::rms),
    ("Normalization", norm::normalization),
    ("Rescaling", norm::rescaling),
    ("Activation", functions::activation),
    ("ReLU LeakyReLU ELU Softmax", functions::with_options),
    ("PReLU", functions::prelu),
    ("Dropout SpatialDropout1D SpatialDropout2D", moving::dropout),
    ("Flatten", moving::flatten),
    ("Reshape", moving::reshape),
    ("Permute", moving::permute),
    ("Identity", moving::identity),
    ("UpSampling1D UpSampling2D", moving::upsample),
    ("ZeroPadding1D ZeroPadding2D", moving::pad),
    ("Cropping1D Cropping2D", moving::crop),
    ("Add Subtract Multiply Divide TrueDivide Average Maximum Minimum", merge::merge),
    ("Concatenate", merge::concat),
];

/// The classes in `CLASSES` that are operations of `keras.ops` too: `x + 1` is an `Add`.
const OPERATIONS: [&str; 7] = ["Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"];

/// The state of an import.
struct Importer<'a> {
    weights: &'a Weights<'a>,
    shapes: &'a BTreeMap<String, Vec<u32>>,
    /// Whether the file is of Keras 2.
    is_keras_2: bool,
    graph: Graph,
    /// The number of layers, and of calls of Keras' layers.
    layers: usize,
    /// The numbers of each parameter and state, by its name.
    numbers: BTreeMap<String, Vec<f32>>,
    names: Names,
    /// The numbers of weights that the file does not have and that may still be made.
    left_to_fill: u32,
    /// The inputs of the network.
    inputs: Vec<String>,
    /// The constants of each Normalization, by its path: negative means, and scales.
    normalizations: HashMap<String, [Value; 2]>,
    /// The layers with weights that each Keras layer has made, by its path. Its later calls share them.
    made: HashMap<String, Vec<String>>,
    faults: Vec<String>,
    /// The number of faults that the error does not list.
    more_faults: usize,
}

/// A call of a layer.
struct Call<'a> {
    layer: &'a LayerSpec<'a>,
    config: Config<'a>,
    /// Its name, after the names of the models that it is in.
    path: &'a str,
    inputs: Vec<Value>,
    /// All arguments: inputs, and numbers.
    arguments: Vec<Given>,
    weights: Place<'a>,
    /// The names of the layers that the first call has made; those that are not yet shared.
    shared: std::cell::RefCell<Option<std::vec::IntoIter<String>>>,
}

#[derive(Clone, Copy)]
enum Given {
    Value(Value),
    Number(f32),
}

impl Call<'_> {
    fn input(&self) -> Result<Value> {
        match self.inputs[..] {
            [input] => Ok(input),
            _ => Err(format!("{} inputs; expected 1", self.inputs.len())),
        }
    }

    /// Whether the layer has not been called before.
    fn is_first(&self) -> bool {
        self.shared.borrow().is_none()
    }

    fn class_has(&self, part: &str) -> bool {
        self.layer.class.contains(part)
    }
}

pub fn import(
    config: &Json,
    weights: &Weights<'_>,
    shapes: &BTreeMap<String, Vec<u32>>,
    is_keras_2: bool,
) -> error::Result<(Network, Vec<f32>)> {
    let model = ModelSpec::read(config).map_err(fault)?;
    let mut importer = Importer {
        weights,
        shapes,
        is_keras_2,
        graph: Graph::new(),
        layers: 0,
        numbers: BTreeMap::new(),
        names: Names::default(),
        left_to_fill: MOST_FILLED,
        inputs: Vec::new(),
        normalizations: HashMap::new(),
        made: HashMap::new(),
        faults: Vec::new(),
        more_faults: 0,
    };
    let outputs = importer.model(&model, "", weights.place(), None).map_err(fault)?;
    importer.check_shapes().map_err(fault)?;
    let count = importer.faults.len() + importer.more_faults;
    match count {
        0 => importer.finish(outputs),
        count => Err(fault(imported::unsupported("layer", &importer.faults, count))),
    }
}

impl<'a> Importer<'a> {
    /// Adds a call of a layer or of an inner model. `None` after a fault, which is kept.
    fn call(
        &mut self,
        layer: &LayerSpec<'_>,
        path: &str,
        weights: Place<'a>,
        arguments: Vec<Given>,
    ) -> Option<Vec<(String, Value)>> {
        let path = within(path, layer.name);
        if inputs_only(layer) && arguments.iter().any(|given| matches!(given, Given::Number(_))) {
            self.fault(layer, &path, "a number as an argument is not supported");
            return None;
        }
        let inputs: Vec<Value> = arguments
            .iter()
            .filter_map(|given| match given {
                Given::Value(value) => Some(*value),
                Given::Number(_) => None,
            })
            .collect();
        let before = (self.faults.len(), self.more_faults);
        self.layers += 1;
        let outputs = match self.layers > MOST_LAYERS {
            true => Err(format!("the model has more than {MOST_LAYERS} layers")),
            false if is_model(layer.class) => ModelSpec::read(layer.json).and_then(|model| {
                self.layers += model.size();
                self.model(&model, &path, weights, Some(&inputs))
            }),
            false => {
                self.layer(layer, &path, weights, inputs, arguments).map(|value| vec![(layer.name.to_owned(), value)])
            }
        };
        match outputs {
            Ok(outputs) if (self.faults.len(), self.more_faults) == before => Some(outputs),
            Ok(_) => None,
            Err(reason) => {
                self.fault(layer, &path, &reason);
                None
            }
        }
    }

    fn fault(&mut self, layer: &LayerSpec<'_>, path: &str, reason: &str) {
        // One line for a layer that is called several times.
        let line = format!("{} {path:?}: {reason}", layer.class);
        if self.faults.len() >= MOST_FAULTS {
            self.more_faults += 1;
        } else if !self.faults.contains(&line) {
            self.faults.push(line);
        }
    }

    /// Keeps a fault if no function imports the class.
    fn check_class(&mut self, layer: &LayerSpec<'_>, path: &str) {
        if let (false, Err(reason)) = (is_model(layer.class) || layer.class == "InputLayer", import_of(layer)) {
            self.fault(layer, &within(path, layer.name), &reason);
        }
    }

    fn layer(
        &mut self,
        layer: &LayerSpec<'_>,
        path: &str,
        weights: Place<'a>,
        inputs: Vec<Value>,
        arguments: Vec<Given>,
    ) -> Result<Value> {
        let import = import_of(layer)?;
        layer.config.only("data_format", &["channels_last".into()])?;
        let shared = self.made.get(path).cloned().map(Vec::into_iter);
        let is_first = shared.is_none();
        let shared = std::cell::RefCell::new(shared);
        let call = Call { layer, config: layer.config, path, inputs, arguments, weights, shared };
        let value = import(self, &call)?;
        if is_first {
            self.made.entry(path.to_owned()).or_default();
        }
        Ok(value)
    }

    /// An input of the network. `only`: its shape may be given by any name.
    fn input(&mut self, name: &str, shape: Option<&Json>, only: bool) -> Result<Value> {
        let given = self.shapes.get(name).or_else(|| self.shapes.values().next().filter(|_| only));
        let lengths = match (given, shape) {
            (Some(given), _) => given.clone(),
            (None, Some(Json::Array(dims))) if !dims.is_empty() => {
                let lengths = dims[1..].iter().map(|length| whole(length).filter(|&length| length > 0));
                lengths.collect::<Option<Vec<u32>>>().ok_or_else(|| {
                    let dims: Vec<String> = dims[1..].iter().map(Json::to_string).collect();
                    format!(
                        "input {name:?} has the shape [{}], with open dimensions: set it with Keras::input_shape",
                        dims.join(", ")
                    )
                })?
            }
            _ => return Err(format!("the shape of input {name:?} is unknown: set it with Keras::input_shape")),
        };
        let shape = sample(&lengths).map_err(|reason| format!("input {name:?} has {reason}"))?;
        self.inputs.push(name.to_owned());
        Ok(self.graph.input(name, shape))
    }

    /// Returns an error for a shape that was set for an unknown input. A model with one input takes any name.
    fn check_shapes(&self) -> Result<()> {
        let unknown = self.shapes.keys().find(|name| !self.inputs.contains(name));
        match unknown {
            Some(name) if self.inputs.len() != 1 || self.shapes.len() != 1 => {
                let inputs: Vec<String> = self.inputs.iter().map(|name| format!("{name:?}")).collect();
                Err(format!(
                    "no input has the name {name:?} of Keras::input_shape; the inputs are {}",
                    inputs.join(", ")
                ))
            }
            _ => Ok(()),
        }
    }

    fn finish(self, outputs: Vec<(String, Value)>) -> error::Result<(Network, Vec<f32>)> {
        let mut names = Names::default();
        let named = outputs.into_iter().map(|(name, value)| (names.free(&name), value)).collect();
        imported::network(self.graph, named, &self.numbers, fault)
    }
}

/// The path of a layer within a model.
fn within(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Whether the layer takes values alone, and no numbers.
fn inputs_only(layer: &LayerSpec<'_>) -> bool {
    !OPERATIONS.contains(&layer.class)
}

/// The function that imports a layer.
fn import_of(layer: &LayerSpec<'_>) -> Result<Import> {
    let has = |classes: &str| classes.split_whitespace().any(|class| class == layer.class);
    let package = layer.module.split('.').next().unwrap_or_default();
    let own = matches!(package, "" | "keras" | "tensorflow" | "tf_keras");
    // Operations of `keras.ops` have names of layers too, and other attributes.
    let is_known = !layer.module.contains(".ops.") || OPERATIONS.contains(&layer.class);
    let found = CLASSES.iter().find(|(classes, _)| own && is_known && has(classes));
    let from = if own { String::new() } else { format!(" of the module {}", layer.module) };
    found.map(|(_, import)| *import).ok_or_else(|| format!("the class{from} is not supported"))
}

/// The shape that a layer says its input has, with the batch.
fn shape_of(config: Config<'_>) -> Option<&Json> {
    config.get("batch_shape").or_else(|| config.get("batch_input_shape"))
}

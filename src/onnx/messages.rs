//! The messages of an ONNX file as plain structs, with what this module needs of them.
//!
//! Source: `onnx.proto`, <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. A message is read once, without
//! recursion: graphs inside attributes are kept as bytes.

use super::Result;
use super::tensor::Tensor;
use super::wire::{Contents, Fields};

/// A model file.
#[derive(Debug, Default, Clone)]
pub(super) struct Model {
    /// The version of the operators of the standard domain.
    pub opset: i64,
    pub producer: String,
    pub graph: Graph,
    /// Names of the model's own functions.
    pub functions: Vec<String>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub initializers: Vec<(String, Tensor)>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Node {
    pub name: String,
    pub op: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(String, Attribute)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Tensor),
    /// A graph, a type or another kind that no supported operator has.
    Other,
}

/// The name and the shape of an input or an output.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct ValueInfo {
    pub name: String,
    /// ONNX's number of the element type; 0 if it has none.
    pub dtype: i64,
    /// `None`: no shape is given.
    pub dims: Option<Vec<Dim>>,
    /// The dimension whose denotation says that it holds the channels.
    pub channels: Option<usize>,
}

/// A dimension: a length, or a name for a length that is known when the model runs. The name may be empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dim {
    Known(i64),
    Named(String),
}

/// The most nodes, tensors and attributes of a file together: each needs memory of its own.
const MOST_PARTS: usize = 1 << 21;

/// The denotation of a dimension with channels.
pub(super) const DATA_CHANNEL: &str = "DATA_CHANNEL";

/// Calls `read` for each field of a message.
fn each<'a>(bytes: &'a [u8], mut read: impl FnMut(u32, Contents<'a>) -> Result<()>) -> Result<()> {
    Fields::of(bytes).try_for_each(|field| field.and_then(|field| read(field.number, field.contents)))
}

impl Model {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut model = Self::default();
        let mut has_graph = false;
        each(bytes, |number, contents| {
            match number {
                2 => model.producer = contents.text()?,
                7 => {
                    model.graph = Graph::read(contents.bytes()?)?;
                    has_graph = true;
                }
                8 => {
                    let (domain, version) = opset(contents.bytes()?)?;
                    if domain.is_empty() || domain == "ai.onnx" {
                        model.opset = version;
                    }
                }
                25 => each(contents.bytes()?, |number, contents| {
                    if number == 1 {
                        model.functions.push(contents.text()?);
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        match has_graph {
            true => Ok(model),
            false => Err("it has no graph: the file is empty, truncated or no ONNX file".into()),
        }
    }
}

fn opset(bytes: &[u8]) -> Result<(String, i64)> {
    let (mut domain, mut version) = (String::new(), 0);
    each(bytes, |number, contents| {
        match number {
            1 => domain = contents.text()?,
            2 => version = contents.int()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((domain, version))
}

impl Graph {
    fn read(bytes: &[u8]) -> Result<Self> {
        let (mut graph, mut parts) = (Self::default(), 0);
        each(bytes, |number, contents| {
            match number {
                1 => {
                    let node = Node::read(contents.bytes()?)?;
                    parts += node.inputs.len() + node.outputs.len() + node.attributes.len();
                    graph.nodes.push(node);
                }
                5 => graph.initializers.push(Tensor::read(contents.bytes()?)?),
                11 => graph.inputs.push(ValueInfo::read(contents.bytes()?)?),
                12 => graph.outputs.push(ValueInfo::read(contents.bytes()?)?),
                15 => return Err("it has sparse initializers, which are not supported: store them densely".into()),
                _ => return Ok(()),
            }
            parts += 1;
            match parts <= MOST_PARTS {
                true => Ok(()),
                false => Err(format!("its graph has more than {MOST_PARTS} nodes, tensors and attributes")),
            }
        })?;
        Ok(graph)
    }
}

impl Node {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut node = Self::default();
        each(bytes, |number, contents| {
            match number {
                1 => node.inputs.push(contents.text()?),
                2 => node.outputs.push(contents.text()?),
                3 => node.name = contents.text()?,
                4 => node.op = contents.text()?,
                5 => node.attributes.push(attribute(contents.bytes()?)?),
                7 => node.domain = contents.text()?,
                _ => {}
            }
            Ok(())
        })?;
        if node.domain == "ai.onnx" {
            node.domain.clear();
        }
        Ok(node)
    }
}

fn attribute(bytes: &[u8]) -> Result<(String, Attribute)> {
    let (mut name, mut kind) = (String::new(), 0);
    let (mut int, mut float, mut text, mut tensor) = (None, None, None, None);
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    each(bytes, |number, contents| {
        match number {
            1 => name = contents.text()?,
            2 => float = Some(contents.float()?),
            3 => int = Some(contents.int()?),
            4 => text = Some(String::from_utf8_lossy(contents.bytes()?).into_owned()),
            5 => tensor = Some(Tensor::read(contents.bytes()?)?.1),
            7 => contents.floats(&mut floats)?,
            8 => contents.ints(&mut ints)?,
            20 => kind = contents.int()?,
            _ => {}
        }
        Ok(())
    })?;
    // Files of version 1 may lack the type.
    let value = match (kind, int, float, text, tensor) {
        (6, ..) => Attribute::Floats(floats),
        (7, ..) => Attribute::Ints(ints),
        (0 | 4, _, _, _, Some(tensor)) => Attribute::Tensor(tensor),
        (0 | 3, _, _, Some(text), _) => Attribute::Text(text),
        (3, ..) => Attribute::Text(String::new()),
        (0 | 2, Some(int), ..) => Attribute::Int(int),
        (2, ..) => Attribute::Int(0),
        (0 | 1, _, Some(float), ..) => Attribute::Float(float),
        (1, ..) => Attribute::Float(0.0),
        (0, ..) if !floats.is_empty() => Attribute::Floats(floats),
        (0, ..) if !ints.is_empty() => Attribute::Ints(ints),
        _ => Attribute::Other,
    };
    Ok((name, value))
}

impl ValueInfo {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut info = Self::default();
        each(bytes, |number, contents| {
            match number {
                1 => info.name = contents.text()?,
                2 => each(contents.bytes()?, |number, contents| match number {
                    1 => each(contents.bytes()?, |number, contents| {
                        match number {
                            1 => info.dtype = contents.int()?,
                            2 => info.shape(contents.bytes()?)?,
                            _ => {}
                        }
                        Ok(())
                    }),
                    _ => Ok(()),
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(info)
    }

    fn shape(&mut self, bytes: &[u8]) -> Result<()> {
        let mut dims = Vec::new();
        each(bytes, |number, contents| {
            if number == 1 {
                let mut dim = Dim::Named(String::new());
                each(contents.bytes()?, |number, contents| {
                    match number {
                        1 => dim = Dim::Known(contents.int()?),
                        2 => dim = Dim::Named(contents.text()?),
                        3 if contents.bytes()? == DATA_CHANNEL.as_bytes() => self.channels = Some(dims.len()),
                        _ => {}
                    }
                    Ok(())
                })?;
                dims.push(dim);
            }
            Ok(())
        })?;
        self.dims = Some(dims);
        Ok(())
    }
}

impl Node {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(format!("attribute {name}: expected a whole number")),
        }
    }

    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(_) => Err(format!("attribute {name}: expected a number")),
        }
    }

    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => Ok(value),
            Some(_) => Err(format!("attribute {name}: expected a text")),
        }
    }

    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(format!("attribute {name}: expected whole numbers")),
        }
    }
}

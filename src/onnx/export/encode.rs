//! Writes an ONNX file as protocol buffers. The numbers of the fields are those that `messages` and `tensor` read.

use std::borrow::Cow;

use crate::onnx::Result;
use crate::onnx::messages::{Attribute, DATA_CHANNEL, Dim, Node, ValueInfo};
use crate::onnx::tensor::{Data, Tensor};

/// The contents of a file.
#[derive(Default)]
pub(super) struct File<'a> {
    /// The version of the operators.
    pub opset: i64,
    pub nodes: Vec<Node>,
    pub weights: Vec<Weight<'a>>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
}

/// A weight, an initializer of the graph. It borrows numbers that keep their order.
pub(super) struct Weight<'a> {
    pub name: String,
    pub dims: Vec<u64>,
    pub values: Cow<'a, [f32]>,
}

/// ONNX's numbers of the element types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// Programs with protocol buffers refuse larger files.
const MOST_BYTES: usize = (1 << 31) - 1;

/// The bytes of a message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, number: u32, value: i64) {
        self.varint(u64::from(number) << 3);
        self.varint(value as u64);
    }

    fn float(&mut self, number: u32, value: f32) {
        self.varint(u64::from(number) << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    /// Begins a field of this length. The caller writes the bytes after it.
    fn begin(&mut self, number: u32, length: usize) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(length as u64);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.begin(number, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let mut message = Self::default();
        write(&mut message);
        self.bytes(number, &message.0);
    }

    /// Everything of a tensor but its numbers, which are the last field and have this number of bytes.
    fn tensor(&mut self, name: &str, dims: &[u64], element: i64, bytes: usize) {
        for &dim in dims {
            self.int(1, dim as i64);
        }
        self.int(2, element);
        if !name.is_empty() {
            self.text(8, name);
        }
        self.begin(9, bytes);
    }

    fn floats(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
    }

    fn constant(&mut self, tensor: &Tensor) {
        match &tensor.data {
            Data::F32(values) => {
                self.tensor("", &tensor.dims, FLOAT, 4 * values.len());
                self.floats(values);
            }
            Data::Int(values) => {
                self.tensor("", &tensor.dims, INT64, 8 * values.len());
                values.iter().for_each(|value| self.0.extend(value.at.to_le_bytes()));
            }
            Data::Bool(_) => unreachable!("the writer makes no such constants"),
        }
    }

    fn attribute(&mut self, name: &str, value: &Attribute) {
        self.text(1, name);
        let kind = match value {
            Attribute::Float(value) => {
                self.float(2, *value);
                1
            }
            Attribute::Int(value) => {
                self.int(3, *value);
                2
            }
            Attribute::Text(value) => {
                self.text(4, value);
                3
            }
            Attribute::Tensor(tensor) => {
                self.message(5, |message| message.constant(tensor));
                4
            }
            Attribute::Floats(values) => {
                values.iter().for_each(|value| self.float(7, *value));
                6
            }
            Attribute::Ints(values) => {
                values.iter().for_each(|value| self.int(8, *value));
                7
            }
            Attribute::Other => unreachable!("the writer makes no such attributes"),
        };
        self.int(20, kind);
    }

    fn node(&mut self, node: &Node) {
        node.inputs.iter().for_each(|input| self.text(1, input));
        node.outputs.iter().for_each(|output| self.text(2, output));
        self.text(3, &node.name);
        self.text(4, &node.op);
        for (name, value) in &node.attributes {
            self.message(5, |message| message.attribute(name, value));
        }
    }

    /// An input or an output. ONNX's denotations say which dimensions are the batch and the channels.
    fn value_info(&mut self, info: &ValueInfo) {
        self.text(1, &info.name);
        self.message(2, |kind| {
            kind.message(1, |tensor| {
                tensor.int(1, FLOAT);
                tensor.message(2, |shape| {
                    for (i, dim) in info.dims.iter().flatten().enumerate() {
                        shape.message(1, |message| {
                            match dim {
                                Dim::Known(length) => message.int(1, *length),
                                Dim::Named(name) => message.text(2, name),
                            }
                            match info.channels {
                                _ if i == 0 => message.text(3, "DATA_BATCH"),
                                Some(channels) if channels == i => message.text(3, DATA_CHANNEL),
                                _ => message.text(3, "DATA_FEATURE"),
                            }
                        });
                    }
                });
            });
        });
    }
}

impl File<'_> {
    /// The bytes of the file. The numbers of the weights are copied once.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut graph = Message::default();
        self.nodes.iter().for_each(|node| graph.message(1, |message| message.node(node)));
        graph.text(2, "network");
        self.inputs.iter().for_each(|info| graph.message(11, |message| message.value_info(info)));
        self.outputs.iter().for_each(|info| graph.message(12, |message| message.value_info(info)));
        // The head of each weight's field, before its numbers.
        let heads: Vec<Vec<u8>> = self
            .weights
            .iter()
            .map(|weight| {
                let bytes = 4 * weight.values.len();
                let mut tensor = Message::default();
                tensor.tensor(&weight.name, &weight.dims, FLOAT, bytes);
                let mut field = Message::default();
                field.begin(5, tensor.0.len() + bytes);
                [field.0, tensor.0].concat()
            })
            .collect();
        let numbers: usize = self.weights.iter().map(|weight| 4 * weight.values.len()).sum();
        let length = graph.0.len() + numbers + heads.iter().map(Vec::len).sum::<usize>();
        let mut file = Message::default();
        // The versions of the format that came with the versions of the operators.
        file.int(1, if self.opset > 22 { 11 } else { 10 });
        file.text(2, "wgrad");
        file.text(3, env!("CARGO_PKG_VERSION"));
        file.message(8, |opset| {
            opset.text(1, "");
            opset.int(2, self.opset);
        });
        file.begin(7, length);
        let whole = file.0.len() + length;
        if whole > MOST_BYTES {
            return Err(format!("its file would have {whole} bytes; ONNX files have at most {MOST_BYTES}"));
        }
        file.0.reserve_exact(length);
        file.0.extend(graph.0);
        for (weight, head) in self.weights.iter().zip(heads) {
            file.0.extend(head);
            file.floats(&weight.values);
        }
        Ok(file.0)
    }
}

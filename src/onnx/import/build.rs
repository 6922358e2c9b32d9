//! Adds layers, and brings values into the memory order that a layer needs.

use super::{Entry, Importer, Op};
use crate::activation::Activation;
use crate::network::{Layer, ScaleShift, Value};
use crate::onnx::Result;
use crate::onnx::layout::{Factor, View, count, runs};
use crate::onnx::tensor::Tensor;
use crate::shape::Shape;

/// A shape of one sample. It has at most four dimensions, and at least one.
pub(super) fn sample(dims: &[u64]) -> Result<Shape> {
    let dims = if dims.is_empty() { &[1] } else { dims };
    let lengths = dims.iter().map(|&d| u32::try_from(d).ok()).collect::<Option<Vec<u32>>>();
    match lengths {
        Some(lengths) if lengths.len() <= 4 && !lengths.contains(&0) => Ok(Shape::of(&lengths)),
        _ => Err(format!("a tensor of the shape {dims:?}; expected 1 to 4 dimensions of 1 to 2³² - 1")),
    }
}

impl Importer<'_> {
    /// Adds a layer. `numbers` are those of its parameters and states, in order of their roles.
    pub fn layers(
        &mut self,
        layer: impl Into<Layer>,
        inputs: &[Value],
        name: Option<String>,
        numbers: Vec<(&str, Vec<f32>)>,
    ) -> Result<Vec<Value>> {
        let layer = layer.into();
        let stored: u64 = numbers.iter().map(|(_, numbers)| numbers.len() as u64).sum();
        self.spend(stored)?;
        let name = name.and_then(|name| self.free_name(&name));
        let name = name.unwrap_or_else(|| {
            let by_place = format!("{}_{}", layer.kind(), self.layers + 1);
            self.free_name(&by_place).unwrap_or(by_place)
        });
        self.names.insert(name.clone());
        self.last = name.clone();
        let outputs = self.graph.push(layer, inputs, Some(name.clone())).map_err(|error| error.to_string())?;
        self.layers += 1;
        for (role, numbers) in numbers {
            self.numbers.insert(format!("{name}.{role}"), numbers);
        }
        Ok(outputs)
    }

    /// A name for a layer that no other layer has.
    fn free_name(&self, name: &str) -> Option<String> {
        let name: String = name.chars().map(|c| if c == '.' || c.is_control() { '/' } else { c }).take(200).collect();
        let name = name.trim_matches('/').to_owned();
        if name.is_empty() {
            return None;
        }
        let others = (2..100).map(|i| format!("{name}_{i}"));
        std::iter::once(name.clone()).chain(others).find(|name| !self.names.contains(name))
    }

    /// Allows a batch normalisation to be folded into the last layer, if nothing else reads its result.
    pub fn may_fold(&mut self, op: &Op, value: Value) {
        let only =
            op.node.outputs.first().is_some_and(|name| self.readers.get(&**name).is_some_and(|(count, _)| *count == 1));
        if only {
            self.foldable.insert(value.source, self.last.clone());
        }
    }

    pub fn layer(&mut self, layer: impl Into<Layer>, inputs: &[Value]) -> Result<Value> {
        Ok(self.layers(layer, inputs, None, vec![])?[0])
    }

    pub fn activation(&mut self, activation: Activation, x: Value) -> Result<Value> {
        self.layer(activation, &[x])
    }

    pub fn scale_shift(&mut self, scale: f32, shift: f32, x: Value) -> Result<Value> {
        if scale == 1.0 && shift == 0.0 {
            return Ok(x);
        }
        // A product and the sum after it are one layer. The product alone is left out if nothing else reads it.
        if scale == 1.0
            && let Some((&Layer::ScaleShift(ScaleShift::Fixed { scale, shift: 0.0 }), from)) = self.graph.layer_of(x)
        {
            return self.layer(ScaleShift::Fixed { scale, shift }, &[from]);
        }
        self.layer(ScaleShift::Fixed { scale, shift }, &[x])
    }

    /// The shape of a value as the network has it.
    pub fn shape(&self, value: Value) -> Result<Shape> {
        self.graph.shape(value).map_err(|error| error.to_string())
    }

    /// The value with this shape. Its elements stay where they are.
    pub fn shaped(&mut self, value: Value, dims: &[u64]) -> Result<Value> {
        let shape = sample(dims)?;
        match self.shape(value)? == shape {
            true => Ok(value),
            false => self.layer(Layer::Reshape(shape), &[value]),
        }
    }

    /// The value with its factors in this memory order: a transpose, if they have another one.
    pub fn arranged(&mut self, view: &View, order: Vec<Factor>) -> Result<View> {
        if view.order == order {
            return Ok(view.clone());
        }
        let (places, lengths) = runs(&view.order, &order);
        if places.len() > 4 {
            // A transpose has at most 4 dimensions: move the first run that is out of place, then the others.
            let same = view.order.iter().zip(&order).take_while(|(from, to)| from == to).count();
            let rest = &view.order[same..];
            let first = rest.iter().position(|factor| *factor == order[same]).ok_or("a factor that is missing")?;
            let length = rest[first..].iter().zip(&order[same..]).take_while(|(from, to)| from == to).count();
            let (before, run) = rest[..first + length].split_at(first);
            let moved = [&view.order[..same], run, before, &rest[first + length..]].concat();
            let view = self.arranged(view, moved)?;
            return self.arranged(&view, order);
        }
        let mut value = view.value;
        if places.len() > 1 {
            value = self.shaped(value, &lengths)?;
            let places: Vec<i32> = places.into_iter().map(|place| place as i32).collect();
            value = self.layer(Layer::Transpose(places), &[value])?;
        }
        Ok(View { value, order, ..view.clone() })
    }

    /// The value in ONNX's own order.
    pub fn in_order(&mut self, view: &View) -> Result<View> {
        self.arranged(view, view.logical())
    }

    /// The value with some factors last in memory: in their present order if they are last already, else in the given
    /// one. Returns the value of shape \[others, last\] too.
    pub fn with_last(&mut self, view: &View, last: &[Factor]) -> Result<(View, Value)> {
        let others = view.others(last);
        let present = [&others[..], &view.in_memory_order(last)].concat();
        let wanted = if view.order == present { present } else { [&others[..], last].concat() };
        let view = self.arranged(view, wanted)?;
        let dims = [count(&others), count(last)];
        let dims = if others.is_empty() { &dims[1..] } else { &dims[..] };
        let value = self.shaped(view.value, dims)?;
        Ok((View { value, ..view.clone() }, value))
    }

    /// A view of a value whose memory order is that of these dimensions.
    pub fn view(&mut self, value: Value, dims: &[u64]) -> Result<View> {
        let dims = dims.iter().map(|&d| self.factors.of(d)).collect::<Result<Vec<_>>>()?;
        Ok(View { value, order: dims.concat(), dims, batch_at: 0, channels: None })
    }

    /// A constant as a value: the same for each sample.
    pub fn constant(&mut self, tensor: &Tensor, name: Option<String>) -> Result<View> {
        self.affords(tensor.len())?;
        let merged = [tensor.len()];
        let dims = if tensor.dims.len() > 4 { &merged[..] } else { &tensor.dims };
        let layer = Layer::Constant { shape: sample(dims)?, trained: tensor.is_weight };
        let value = self.layers(layer, &[], name, vec![("value", tensor.finite().to_f32()?)])?[0];
        self.view(value, &tensor.dims)
    }

    /// An entry as a value.
    pub fn viewed(&mut self, entry: &Entry) -> Result<View> {
        match entry {
            Entry::View(view) => Ok(view.clone()),
            Entry::Constant(tensor) => {
                // A constant has no batch: its first dimension must be 1.
                let mut tensor = tensor.clone();
                if self.batch == 1 {
                    match tensor.dims.first() {
                        Some(1) => tensor.dims.remove(0),
                        _ => return Err("a constant with another first dimension than 1 beside a batch".into()),
                    };
                }
                self.constant(&tensor, None)
            }
        }
    }

    /// The index of an axis of a value without its batch.
    pub fn axis(&self, view: &View, axis: i64) -> Result<usize> {
        let found = crate::onnx::fold::axis(axis, view.dims.len() + self.batch)?;
        match self.batch {
            0 => Ok(found),
            _ if found == view.batch_at => Err("it works along the batch; only each sample alone is supported".into()),
            _ => Ok(found - usize::from(found > view.batch_at)),
        }
    }
}

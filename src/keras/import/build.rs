//! Building blocks for the functions of the classes.

use std::collections::{HashMap, HashSet};

use super::{Call, Importer};
use crate::activation::Activation;
use crate::keras::Result;
use crate::keras::weights::Weight;
use crate::network::{Layer, ScaleShift, Tied, Value};
use crate::shape::{LONGEST_TENSOR, Shape};

/// Names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The last number after each name that several layers want.
    numbers: HashMap<String, u32>,
}

impl Names {
    /// This name, or a similar one that is not taken. It is taken then.
    pub fn free(&mut self, name: &str) -> String {
        let name: String = name.chars().map(|c| if c == '.' || c.is_control() { '_' } else { c }).take(200).collect();
        let name = if name.is_empty() { "layer".into() } else { name };
        let mut free = name.clone();
        while self.taken.contains(&free) {
            let number = self.numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            free = format!("{name}_{number}");
        }
        self.taken.insert(free.clone());
        free
    }
}

/// A shape of one sample. It has at most four dimensions, and at least one.
pub(super) fn sample(lengths: &[u32]) -> Result<Shape> {
    match lengths {
        [] => Ok(Shape::of(&[1])),
        lengths if lengths.len() <= 4 && !lengths.contains(&0) => {
            let count = lengths.iter().try_fold(1u64, |count, &length| count.checked_mul(length.into()));
            match count.is_some_and(|count| count <= LONGEST_TENSOR) {
                true => Ok(Shape::of(lengths)),
                false => Err(format!("the shape {lengths:?}; expected at most {LONGEST_TENSOR} elements")),
            }
        }
        _ => Err(format!("the shape {lengths:?}; expected 1 to 4 dimensions of at least 1")),
    }
}

impl Importer<'_> {
    pub(super) fn shape(&self, value: Value) -> Result<Shape> {
        self.graph.shape(value).map_err(|error| error.to_string())
    }

    pub(super) fn channels(&self, value: Value) -> Result<u32> {
        Ok(self.shape(value)?.last().copied().unwrap_or(1))
    }

    /// The weights of a call's layer. `roles`: their names, for errors; the file must have as many.
    pub(super) fn weights(&self, call: &Call, roles: &[&str]) -> Result<Vec<Weight>> {
        let weights = self.weights.layer(call.weights, call.layer.name, call.is_first())?;
        if weights.len() == roles.len() {
            return Ok(weights);
        }
        let found: Vec<String> = weights.iter().map(|weight| format!("{} {:?}", weight.name, weight.shape)).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        Err(format!("expected the weights {}, got {found}", roles.join(", ")))
    }

    pub(super) fn push(&mut self, layer: Layer, inputs: &[Value], name: String) -> Result<Value> {
        self.layers += 1;
        let outputs = self.graph.push(layer, inputs, Some(name)).map_err(|error| error.to_string())?;
        outputs.first().copied().ok_or_else(|| "a layer without outputs".into())
    }

    /// Adds a layer with the call's name, or with a similar name.
    pub(super) fn add(&mut self, call: &Call, layer: impl Into<Layer>, inputs: &[Value]) -> Result<Value> {
        let name = self.names.free(call.path);
        self.push(layer.into(), inputs, name)
    }

    /// Adds a layer with weights. The later calls of a Keras layer share the weights of the first. `numbers` are those
    /// of its parameters and states, in order of their roles.
    pub(super) fn add_weighted(
        &mut self,
        call: &Call,
        name: &str,
        layer: impl Into<Layer>,
        input: Value,
        numbers: Vec<(&str, Vec<f32>)>,
    ) -> Result<Value> {
        if let Some(shared) = &mut *call.shared.borrow_mut() {
            let first = shared.next().ok_or("a shared layer that differs between its calls")?;
            let name = self.names.free(name);
            return self.push(Tied::to(first).into(), &[input], name);
        }
        let name = self.names.free(name);
        let value = self.push(layer.into(), &[input], name.clone())?;
        for (role, numbers) in numbers {
            self.numbers.insert(format!("{name}.{role}"), numbers);
        }
        self.made.entry(call.path.to_owned()).or_default().push(name);
        Ok(value)
    }

    /// As many equal numbers, for a weight that the file does not have. All of them together are limited: a small
    /// file may ask for any number.
    pub(super) fn filled(&mut self, number: f32, count: u32) -> Result<Vec<f32>> {
        let left =
            self.left_to_fill.checked_sub(count).ok_or("too many scales and shifts that the file does not have")?;
        self.left_to_fill = left;
        Ok(vec![number; count as usize])
    }

    /// A tensor that is the same for each sample.
    pub(super) fn constant(
        &mut self,
        call: &Call,
        name: &str,
        shape: &[u32],
        numbers: Vec<f32>,
        trained: bool,
    ) -> Result<Value> {
        let shape = sample(shape)?;
        if shape.elements() != numbers.len() as u64 {
            return Err(format!("{} numbers for the shape {shape:?}", numbers.len()));
        }
        if trained && !call.is_first() {
            return Err("several calls share its weights".into());
        }
        let name = self.names.free(name);
        let value = self.push(Layer::Constant { shape, trained }, &[], name.clone())?;
        self.numbers.insert(format!("{name}.value"), numbers);
        Ok(value)
    }

    pub(super) fn scale_shift(&mut self, call: &Call, scale: f32, shift: f32, x: Value) -> Result<Value> {
        match (scale, shift) {
            (1.0, 0.0) => Ok(x),
            _ => self.add(call, ScaleShift::Fixed { scale, shift }, &[x]),
        }
    }

    pub(super) fn activated(&mut self, call: &Call, activation: Activation, x: Value) -> Result<Value> {
        match activation {
            Activation::Identity => Ok(x),
            activation => self.add(call, activation, &[x]),
        }
    }
}

//! Walks the layers of a model: a chain, or a graph.

use std::collections::{BTreeSet, HashMap};

use super::{Given, Importer, shape_of, within};
use crate::keras::Result;
use crate::keras::config::{Argument, LayerSpec, ModelSpec};
use crate::keras::weights::Place;
use crate::network::Value;

/// The outputs of each call of a layer, by the layer's name and the number of the call. `None` after a fault.
type Values<'a> = HashMap<(&'a str, u64), Option<Vec<(String, Value)>>>;

impl<'a> Importer<'a> {
    /// Adds the layers of a model. `inputs` are given for an inner model. Returns the names and values of its outputs.
    pub(super) fn model(
        &mut self,
        model: &ModelSpec<'_>,
        path: &str,
        place: Place<'a>,
        inputs: Option<&[Value]>,
    ) -> Result<Vec<(String, Value)>> {
        let groups = self.weights.groups(place, model)?;
        let group = |name: &str| groups.get(name).copied().unwrap_or(Place::Missing);
        match model.is_chain {
            true => self.chain(model, path, &group, inputs),
            false => self.functional(model, path, &group, inputs),
        }
    }

    fn chain(
        &mut self,
        model: &ModelSpec<'_>,
        path: &str,
        group: &dyn Fn(&str) -> Place<'a>,
        inputs: Option<&[Value]>,
    ) -> Result<Vec<(String, Value)>> {
        let mut value = match inputs {
            Some([value]) => Some(*value),
            Some(inputs) => return Err(format!("model {path:?}: expected 1 input, got {}", inputs.len())),
            None => None,
        };
        let mut last = model.name;
        for (i, layer) in model.layers.iter().enumerate() {
            if layer.class == "InputLayer" {
                value = match value {
                    Some(value) => Some(value),
                    None => Some(self.input(layer.name, shape_of(layer.config), true)?),
                };
                continue;
            }
            let before = match value {
                Some(value) => value,
                None => self.input("input", shape_of(layer.config).or(model.built_for), true)?,
            };
            let arguments = vec![Given::Value(before)];
            match self.call(layer, path, group(layer.name), arguments).as_deref() {
                Some([(_, after)]) => value = Some(*after),
                Some(outputs) => {
                    return Err(format!("layer {:?}: expected 1 output, got {}", layer.name, outputs.len()));
                }
                // The layers after an unsupported one cannot be checked without its shape; list their classes.
                None => {
                    model.layers[i + 1..].iter().for_each(|layer| self.check_class(layer, path));
                    return Ok(vec![]);
                }
            }
            last = layer.name;
        }
        value.map(|value| vec![(last.to_owned(), value)]).ok_or_else(|| format!("model {path:?} has no layers"))
    }

    fn functional(
        &mut self,
        model: &ModelSpec<'_>,
        path: &str,
        group: &dyn Fn(&str) -> Place<'a>,
        inputs: Option<&[Value]>,
    ) -> Result<Vec<(String, Value)>> {
        let only = model.inputs.len() == 1;
        let mut values = Values::new();
        if let Some(given) = inputs {
            if given.len() != model.inputs.len() {
                return Err(format!("model {path:?}: expected {} inputs, got {}", model.inputs.len(), given.len()));
            }
            for (input, &value) in model.inputs.iter().zip(given) {
                if let Argument::Value(name, call, _) = *input {
                    values.insert((name, call), Some(vec![(name.to_owned(), value)]));
                }
            }
        }
        let mut calls: Vec<(&LayerSpec<'_>, usize)> = Vec::new();
        for layer in &model.layers {
            match layer.class {
                "InputLayer" if inputs.is_some() => {}
                "InputLayer" => {
                    let value = self.input(layer.name, shape_of(layer.config), only)?;
                    values.insert((layer.name, 0), Some(vec![(layer.name.to_owned(), value)]));
                }
                _ => calls.extend((0..layer.calls.len()).map(|call| (layer, call))),
            }
        }
        // Files list layers in any order. A call is ready when the calls that it waits for are done; of those that are
        // ready, the first in the file is next.
        let mut waiting: HashMap<(&str, u64), Vec<usize>> = HashMap::new();
        let mut missing = vec![0; calls.len()];
        for (i, (layer, call)) in calls.iter().enumerate() {
            for argument in &layer.calls[*call] {
                if let Argument::Value(name, call, _) = *argument
                    && !values.contains_key(&(name, call))
                {
                    waiting.entry((name, call)).or_default().push(i);
                    missing[i] += 1;
                }
            }
        }
        let mut ready: BTreeSet<usize> = (0..calls.len()).filter(|&i| missing[i] == 0).collect();
        let mut done = 0;
        while let Some(i) = ready.pop_first() {
            let (layer, call) = calls[i];
            let outputs = self.call_with(layer, path, group(layer.name), &layer.calls[call], &values);
            values.insert((layer.name, call as u64), outputs);
            done += 1;
            for later in waiting.remove(&(layer.name, call as u64)).unwrap_or_default() {
                missing[later] -= 1;
                if missing[later] == 0 {
                    ready.insert(later);
                }
            }
        }
        if done < calls.len() {
            let stuck = (0..calls.len()).find(|&i| missing[i] > 0).map_or("", |i| calls[i].0.name);
            return Err(format!("layer {stuck:?}: an input is missing, or it is part of a cycle"));
        }
        let mut outputs = Vec::new();
        for output in &model.outputs {
            let Argument::Value(name, call, output) = *output else { return Err("an output that is no value".into()) };
            match values.get(&(name, call)) {
                None => return Err(format!("output {name:?} is computed by no layer")),
                Some(None) => {}
                Some(Some(found)) => {
                    let found = usize::try_from(output).ok().and_then(|output| found.get(output));
                    let (_, value) = found.ok_or_else(|| format!("output {name:?} does not exist"))?;
                    outputs.push((name.to_owned(), *value));
                }
            }
        }
        match outputs.is_empty() && self.faults.is_empty() {
            true => Err(format!("model {path:?} has no outputs")),
            false => Ok(outputs),
        }
    }

    /// Adds a call of a layer with these arguments. `None` after a fault, of this layer or of one before it.
    fn call_with(
        &mut self,
        layer: &LayerSpec<'_>,
        path: &str,
        weights: Place<'a>,
        arguments: &[Argument<'_>],
        values: &Values<'_>,
    ) -> Option<Vec<(String, Value)>> {
        let given = |argument: &Argument<'_>| match *argument {
            Argument::Number(number) => Ok(Some(Given::Number(number as f32))),
            Argument::Value(name, call, output) => match values.get(&(name, call)) {
                Some(Some(outputs)) => match usize::try_from(output).ok().and_then(|output| outputs.get(output)) {
                    Some((_, value)) => Ok(Some(Given::Value(*value))),
                    None => Err(format!("its input {name:?} has no output {output}")),
                },
                _ => Ok(None),
            },
            Argument::Refused(ref reason) => Err(reason.clone()),
        };
        match arguments.iter().map(given).collect::<Result<Option<Vec<Given>>>>() {
            Ok(Some(arguments)) => self.call(layer, path, weights, arguments),
            Ok(None) => {
                self.check_class(layer, path);
                None
            }
            Err(reason) => {
                self.fault(layer, &within(path, layer.name), &reason);
                None
            }
        }
    }
}

//! The description of a model in JSON: its layers, their attributes, and which values they take.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::Result;

/// The length of the longest name of a layer, in bytes.
const LONGEST_NAME: usize = 1024;

/// The attributes of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a>(Option<&'a Map<String, Json>>);

fn expected(name: &str, what: &str, got: &Json) -> String {
    format!("attribute {name}: expected {what}, got {}", shown(got))
}

/// The start of a value, for errors.
pub fn shown(value: &Json) -> String {
    value.to_string().chars().take(80).collect()
}

impl<'a> Config<'a> {
    /// The attribute, if it is there and not null.
    pub fn get(self, name: &str) -> Option<&'a Json> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    pub fn number(self, name: &str, default: f64) -> Result<f32> {
        match self.get(name) {
            None => Ok(default as f32),
            Some(value) => {
                let number = value.as_f64().filter(|number| (*number as f32).is_finite());
                number.map(|number| number as f32).ok_or_else(|| expected(name, "a number", value))
            }
        }
    }

    pub fn whole(self, name: &str) -> Result<u32> {
        let value = self.get(name).ok_or_else(|| format!("attribute {name}: missing"))?;
        whole(value).ok_or_else(|| expected(name, "a number of at least 0", value))
    }

    pub fn whole_or(self, name: &str, default: u32) -> Result<u32> {
        if self.get(name).is_some() { self.whole(name) } else { Ok(default) }
    }

    pub fn flag(self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| expected(name, "true or false", value)),
        }
    }

    pub fn text(self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| expected(name, "text", value)),
        }
    }

    /// One number for both height and width, or one for each. A sequence has one.
    pub fn pair(self, name: &str, default: [u32; 2]) -> Result<[u32; 2]> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let numbers = match value {
            Json::Array(list) => list.iter().map(whole).collect::<Option<Vec<u32>>>(),
            one => whole(one).map(|number| vec![number]),
        };
        match numbers.as_deref() {
            Some([both]) => Ok([*both; 2]),
            Some([height, width]) => Ok([*height, *width]),
            _ => Err(expected(name, "1 or 2 numbers of at least 0", value)),
        }
    }

    /// Numbers of rows and columns at each side: one number, one for each dimension, or two for each. A sequence has
    /// one number or two.
    pub fn sides(self, name: &str, is_sequence: bool) -> Result<[[u32; 2]; 2]> {
        let value = self.get(name).ok_or_else(|| format!("attribute {name}: missing"))?;
        let both = |value: &Json| match value {
            Json::Array(list) => match list.iter().map(whole).collect::<Option<Vec<u32>>>()?[..] {
                [before, after] => Some([before, after]),
                _ => None,
            },
            one => whole(one).map(|side| [side; 2]),
        };
        let sides = match value {
            Json::Array(list) if !is_sequence && list.len() == 2 => both(&list[0]).zip(both(&list[1])),
            Json::Array(_) if !is_sequence => None,
            one => both(one).map(|side| (side, side)),
        };
        sides.map(|(rows, columns)| [rows, columns]).ok_or_else(|| expected(name, "numbers of at least 0", value))
    }

    /// Returns an error unless the attribute is missing, null, or one of these values.
    pub fn only(self, name: &str, values: &[Json]) -> Result<()> {
        match self.get(name) {
            Some(value) if !values.contains(value) => {
                let values: Vec<String> = values.iter().map(Json::to_string).collect();
                let values = if values.is_empty() { "null".into() } else { values.join(" or ") };
                Err(expected(name, &values, value))
            }
            _ => Ok(()),
        }
    }

    /// Returns an error unless the axis, counted with the batch, is the last of a sample's.
    pub fn last_axis(self, name: &str, rank: usize) -> Result<()> {
        let value = self.get(name);
        let axis = match value {
            Some(Json::Array(list)) if list.len() == 1 => list[0].as_i64(),
            Some(value) => value.as_i64(),
            None => Some(-1),
        };
        match (axis, value) {
            (Some(axis), _) if axis == -1 || axis == rank as i64 => Ok(()),
            (_, Some(value)) => Err(expected(name, "the last axis (-1)", value)),
            _ => Ok(()),
        }
    }
}

pub fn whole(value: &Json) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// Class and attributes of a layer, or of an activation that is described like one.
pub fn class(described: &Json) -> Option<(&str, Config<'_>)> {
    Some((described.get("class_name")?.as_str()?, Config(Some(described.get("config")?.as_object()?))))
}

/// A value that a layer takes.
#[derive(Debug, Clone)]
pub enum Argument<'a> {
    /// The output of a layer: its name, the number of the call, and the number of the output.
    Value(&'a str, u64, u64),
    Number(f64),
    /// Another one: the reason why it is not supported.
    Refused(String),
}

/// A layer of a model.
pub struct LayerSpec<'a> {
    pub class: &'a str,
    pub name: &'a str,
    /// The module that defines the class, if the file says so.
    pub module: &'a str,
    pub json: &'a Json,
    pub config: Config<'a>,
    /// The arguments of each call.
    pub calls: Vec<Vec<Argument<'a>>>,
}

/// A model: a chain of layers, or a graph.
pub struct ModelSpec<'a> {
    pub name: &'a str,
    pub layers: Vec<LayerSpec<'a>>,
    pub is_chain: bool,
    /// The inputs and outputs of a graph.
    pub inputs: Vec<Argument<'a>>,
    pub outputs: Vec<Argument<'a>>,
    /// The shape that a chain without an input layer was built for, with the batch.
    pub built_for: Option<&'a Json>,
}

/// Whether a class is a model of layers.
pub fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

impl<'a> ModelSpec<'a> {
    pub fn read(described: &'a Json) -> Result<Self> {
        let class = described.get("class_name").and_then(Json::as_str).unwrap_or_default();
        let config = described.get("config").unwrap_or(&Json::Null);
        if !is_model(class) {
            return Err(format!("a model of the class {class:?}; expected Sequential or Functional"));
        }
        let is_chain = class == "Sequential";
        let layers = config.get("layers").or(Some(config).filter(|_| is_chain)).and_then(Json::as_array);
        let layers = layers.ok_or(match is_chain {
            true => "its config has no layers",
            false => "its config has no layers: only Sequential and functional models have a description",
        })?;
        let listed = |name: &str| config.get(name).map_or(vec![], references);
        let layers = layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let mut names = HashSet::new();
        if let Some(layer) = layers.iter().find(|layer| !names.insert(layer.name)) {
            return Err(format!("two layers have the name {:?}", layer.name));
        }
        Ok(Self {
            name: config.get("name").and_then(Json::as_str).unwrap_or("model"),
            layers,
            is_chain,
            inputs: listed("input_layers"),
            outputs: listed("output_layers"),
            built_for: config.get("build_input_shape").filter(|shape| shape.is_array()),
        })
    }
}

impl ModelSpec<'_> {
    /// The number of layers and of the arguments of their calls.
    pub fn size(&self) -> usize {
        let arguments = self.layers.iter().flat_map(|layer| &layer.calls).map(Vec::len).sum::<usize>();
        self.layers.len() + arguments
    }
}

fn layer(json: &Json) -> Result<LayerSpec<'_>> {
    let class = json.get("class_name").and_then(Json::as_str).ok_or("a layer without class_name")?;
    let config = json.get("config").and_then(Json::as_object);
    let text = |value: Option<&'_ Json>| value.and_then(Json::as_str).unwrap_or_default().to_owned();
    let name = config.and_then(|config| config.get("name")).or(json.get("name")).and_then(Json::as_str);
    let name = name.ok_or_else(|| format!("a layer {} without a name", text(json.get("class_name"))))?;
    if name.len() > LONGEST_NAME {
        let start: String = name.chars().take(40).collect();
        return Err(format!(
            "the layer {start:?}... has a name of {} bytes; expected at most {LONGEST_NAME}",
            name.len()
        ));
    }
    let calls = json.get("inbound_nodes").and_then(Json::as_array);
    let calls = calls.map_or(vec![], |calls| calls.iter().map(references).collect());
    let module = json.get("module").and_then(Json::as_str).unwrap_or_default();
    Ok(LayerSpec { class, name, module, json, config: Config(config), calls })
}

/// All values and numbers in a call, or in a list of inputs or outputs, in their order. Keras 3 describes a value as
/// `{"class_name": "__keras_tensor__", "config": {"keras_history": ["name", 0, 0]}}`, Keras 2 as `["name", 0, 0, {}]`.
fn references(json: &Json) -> Vec<Argument<'_>> {
    let mut found = Vec::new();
    let mut open = vec![json];
    while let Some(json) = open.pop() {
        match json {
            Json::Array(list) => match &list[..] {
                [Json::String(name), call, output, rest @ ..] if call.is_u64() && output.is_u64() => {
                    found.push(Argument::Value(name, call.as_u64().unwrap_or(0), output.as_u64().unwrap_or(0)));
                    found.extend(rest.iter().filter_map(named));
                }
                list => open.extend(list.iter().rev()),
            },
            Json::Object(map) => match map.get("config").and_then(|config| config.get("keras_history")) {
                Some(history) => open.push(history),
                None if map.contains_key("args") => {
                    found.extend(map.get("kwargs").and_then(named));
                    open.extend(map.get("args"));
                }
                None if map.contains_key("class_name") => found.push(unnamed(json)),
                // The inputs of a model may be a dictionary.
                None => open.extend(map.values().rev()),
            },
            Json::Number(number) => found.extend(number.as_f64().map(Argument::Number)),
            Json::Null | Json::Bool(false) => {}
            Json::Bool(true) | Json::String(_) => found.push(unnamed(json)),
        }
    }
    found
}

fn unnamed(value: &Json) -> Argument<'_> {
    Argument::Refused(format!("the argument {} is not supported", shown(value)))
}

/// The first of a call's named arguments that changes the call. They are not supported. Null and `false` change
/// nothing, and masks are not read.
fn named(arguments: &Json) -> Option<Argument<'_>> {
    let changes =
        |(name, value): &(&String, &Json)| *name != "mask" && !matches!(value, Json::Null | Json::Bool(false));
    match arguments {
        Json::Object(map) => map.iter().find(changes).map(|(name, _)| {
            let name: String = name.chars().take(80).collect();
            Argument::Refused(format!("the argument {name:?} is not supported"))
        }),
        Json::Null => None,
        other => Some(unnamed(other)),
    }
}

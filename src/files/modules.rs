//! The layers of a file of another program, found by the names of its tensors.

use std::collections::BTreeMap;

use super::format::Contents;
use super::naming::{Kind, Naming};

/// The tensors of one layer of a file.
#[derive(Debug)]
pub(super) struct Module {
    /// Prefixes of their names before the role, without and with the middle part.
    pub name: String,
    pub prefix: String,
    pub kind: Kind,
    /// Name and shape of each tensor, by role.
    pub tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Offset of the first of them in the file.
    pub place: usize,
}

impl Module {
    /// The tensor for one of wgrad's roles, by any of its usual names.
    pub fn find(&self, kind: Kind, role: &str) -> Option<&(String, Vec<usize>)> {
        let names: &[&str] = match (kind, role) {
            (Kind::Dense | Kind::Conv, "weight") => &["weight", "kernel", "w"],
            (_, "scale") => &["scale", "gamma", "weight"],
            (_, "shift") => &["shift", "beta", "bias"],
            (_, "bias") => &["bias", "b"],
            (_, "mean") => &MEANS,
            (_, "variance") => &["variance", "running_var", "moving_variance"],
            _ => return self.tensors.get(role),
        };
        names.iter().find_map(|name| self.tensors.get(*name))
    }

    /// The file's name of the tensor with this role. If it is missing, its expected name.
    pub fn source(&self, kind: Kind, role: &str, keras: bool) -> String {
        let ours = ["scale", "shift"].iter().any(|role| self.tensors.contains_key(*role));
        match (self.find(kind, role), keras) {
            (Some((name, _)), _) => name.clone(),
            (None, _) if ours => self.prefix.clone() + role,
            (None, true) => self.prefix.clone() + Naming::Keras.role(role),
            (None, false) => self.prefix.clone() + Naming::PyTorch.role(role),
        }
    }

    pub fn is_keras(&self) -> bool {
        let named = |role: &str| self.tensors.contains_key(role);
        named("kernel") || (named("gamma") || named("beta") || named("table")) && self.prefix.ends_with('/')
    }
}

/// Names of a batch normalisation's running mean.
const MEANS: [&str; 3] = ["mean", "running_mean", "moving_mean"];

/// PyTorch's number of batches that a batch normalisation has seen. Not used.
pub(super) const BATCHES: &str = "num_batches_tracked";

/// The layer, the middle part and the role in a tensor's name.
fn split(name: &str) -> (&str, &str, &str) {
    let whole = name.strip_suffix(":0").unwrap_or(name);
    match whole.rfind(['/', '.']) {
        Some(at) => (&whole[..at], &whole[at..=at], &whole[at + 1..]),
        None => ("", "", whole),
    }
}

/// The name of a layer of `nn.Sequential`, and its numbers: `net` and 0 of `net.0`.
pub(super) fn position(layer: &str) -> (String, Vec<u64>) {
    let mut numbers: Vec<u64> = layer.rsplit('.').map_while(|part| part.parse().ok()).collect();
    numbers.reverse();
    let parts: Vec<&str> = layer.split('.').collect();
    let stem = &parts[..parts.len() - numbers.len()];
    // A name without a number is returned whole.
    if numbers.is_empty() { (layer.into(), numbers) } else { (stem.join("."), numbers) }
}

/// The name of a Keras layer, and its number: `dense` and 1 of `dense_1`. The first layer has no number.
pub(super) fn keras_number(layer: &str) -> (String, Vec<u64>) {
    let layer = layer.rsplit(['/', '.']).next().unwrap_or_default();
    let stem = layer.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.trim_end_matches('_').into(), layer[stem.len()..].parse().into_iter().collect())
}

/// As [`keras_number`], for layers with the same path.
pub(super) fn suffixed(layer: &str) -> (String, Vec<u64>) {
    let (stem, number) = keras_number(layer);
    let parent = layer.rfind(['/', '.']).map_or("", |at| &layer[..at]);
    (format!("{parent}.{stem}"), number)
}

/// A name with `#` for each of its numbers, and the numbers: `fc#` and 1 of `fc1`.
pub(super) fn digits(layer: &str) -> (String, Vec<u64>) {
    let (mut stem, mut numbers) = (String::new(), Vec::<u64>::new());
    for c in layer.chars() {
        match (c.to_digit(10), stem.ends_with('#'), numbers.last_mut()) {
            (Some(digit), true, Some(number)) => *number = number.saturating_mul(10).saturating_add(digit.into()),
            (Some(digit), ..) => {
                stem.push('#');
                numbers.push(digit.into());
            }
            (None, ..) => stem.push(c),
        }
    }
    (stem, numbers)
}

/// All layers of a file.
pub(super) fn gather(file: &Contents<'_>) -> Vec<Module> {
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for (name, shape, place) in file.tensors() {
        let (layer, between, role) = split(name);
        if role == BATCHES {
            continue;
        }
        let module = modules.entry(layer).or_insert_with(|| Module {
            name: layer.into(),
            prefix: format!("{layer}{between}"),
            kind: Kind::LayerNorm,
            tensors: BTreeMap::new(),
            place,
        });
        match role {
            role if role.starts_with("table") => module.kind = Kind::HashGrid,
            role if MEANS.contains(&role) => module.kind = Kind::BatchNorm,
            _ if shape.len() == 2 && module.kind == Kind::LayerNorm => module.kind = Kind::Dense,
            _ if matches!(shape.len(), 3 | 4) => module.kind = Kind::Conv,
            _ => {}
        }
        module.place = module.place.min(place);
        module.tensors.insert(role.into(), (name.into(), shape.to_vec()));
    }
    modules.into_values().collect()
}

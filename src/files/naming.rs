//! How programs name and lay out the weights of dense layers and layer normalisations; what hash grids are called beside them.

use std::collections::{BTreeMap, VecDeque};

use super::format::{Contents, Tensor};
use crate::activation::Activation;
use crate::error::Result;
use crate::network::{Layer, Network, Parameter};

/// How a file of weights names and lays out its tensors. All are safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As [`Network::parameters`]: `dense_1.weight` \[inputs, units\], `dense_1.bias`, `layer_norm_2.scale`,
    /// `layer_norm_2.shift`.
    Wgrad,
    /// As the `state_dict` of a PyTorch `nn.Sequential`: `0.weight` \[units, inputs\], `0.bias`, and for a layer
    /// normalisation `2.weight` and `2.bias`; before the number there may be a name, as in `net.0.weight`. A layer's
    /// number counts modules: a dense layer with an activation is two, `Linear` and the activation's, any other layer one.
    PyTorch,
    /// As Keras names variables: `dense/kernel` \[inputs, units\], `dense/bias`, `dense_1/kernel` and so on, and for a
    /// layer normalisation `layer_normalization/gamma` and `layer_normalization/beta`; read with a `.` for the `/`, or with
    /// a `:0` at the end, too. The kinds of layers are numbered each on their own.
    Keras,
}

/// Layers that have weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LayerNorm,
    Dense,
    HashGrid,
}

impl Kind {
    fn of(layer: &Layer) -> Self {
        match layer {
            Layer::Dense(_) => Kind::Dense,
            Layer::Encoding(_) => Kind::HashGrid,
            _ => Kind::LayerNorm,
        }
    }

    /// What Keras calls it, or would.
    fn keras(self) -> &'static str {
        ["layer_normalization", "dense", "hash_grid"][self as usize]
    }

    /// What of its tensors tells it from the others.
    fn mark(self) -> &'static str {
        ["vectors only", "a matrix", "a table"][self as usize]
    }
}

impl Naming {
    /// What it calls a tensor that is called `role` here.
    fn role(self, role: &str) -> &str {
        match (self, role) {
            (Naming::PyTorch, "scale") => "weight",
            (Naming::PyTorch, "shift") => "bias",
            (Naming::Keras, "weight") => "kernel",
            (Naming::Keras, "scale") => "gamma",
            (Naming::Keras, "shift") => "beta",
            _ => role,
        }
    }

    /// Whether it has this tensor the other way round.
    fn transposes(self, name: &str, shape: &[u32]) -> bool {
        self == Naming::PyTorch && shape.len() == 2 && name.ends_with(".weight")
    }

    pub(super) fn metadata(self) -> BTreeMap<&'static str, String> {
        match self {
            // What PyTorch's programs look for.
            Naming::PyTorch => BTreeMap::from([("format", "pt".into())]),
            _ => BTreeMap::new(),
        }
    }

    /// The network's tensors, named and laid out so.
    pub(super) fn tensors<'a>(self, network: &Network, tensors: Vec<Tensor<'a>>) -> Vec<Tensor<'a>> {
        let names = self.layers(network);
        let rename = |tensor: Tensor<'a>| {
            let (layer, role) = tensor.name.split_once('.').expect("the name of a layer and a role");
            let name = names[layer].clone() + self.role(role);
            match tensor.shape[..] {
                [rows, columns] if self.transposes(&tensor.name, &tensor.shape) => {
                    let words = transposed(&tensor.words, columns as usize).into();
                    Tensor { name, words, shape: vec![columns, rows], ..tensor }
                }
                _ => Tensor { name, ..tensor },
            }
        };
        tensors.into_iter().map(rename).collect()
    }

    /// What the tensors of each layer are called, up to their role.
    fn layers(self, network: &Network) -> BTreeMap<&str, String> {
        let (mut modules, mut of_kind) = (0, [0; 3]);
        let mut names = BTreeMap::new();
        for ((name, layer), (_, own)) in network.layers().zip(network.placed()) {
            let has_weights = !own.is_empty();
            let theirs = match self {
                Naming::Wgrad => format!("{name}."),
                Naming::PyTorch => format!("{modules}."),
                Naming::Keras => {
                    let kind = Kind::of(layer);
                    match of_kind[kind as usize] {
                        0 => format!("{}/", kind.keras()),
                        n => format!("{}_{n}/", kind.keras()),
                    }
                }
            };
            names.insert(name, theirs);
            of_kind[Kind::of(layer) as usize] += usize::from(has_weights);
            match layer {
                Layer::Dense(dense) if dense.activation() != Activation::Identity => modules += 2,
                _ => modules += 1,
            }
        }
        names
    }
}

/// The columns of a matrix as rows.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns)).copied().collect()
}

/// The weights of a network from a file that has them in any naming, laid out as its parameter buffer.
pub(super) fn parameters(network: &Network, file: &mut Contents<'_>) -> Result<Vec<f32>> {
    let (naming, sources) = sources(network, file)?;
    let take = |(parameter, source): (&Parameter, String)| {
        if !naming.transposes(&parameter.name, &parameter.shape) {
            return file.take_numbers(&source, &parameter.shape);
        }
        let shape: Vec<u32> = parameter.shape.iter().rev().copied().collect();
        Ok(transposed(&file.take_numbers(&source, &shape)?, shape[1] as usize))
    };
    let tensors = network.parameters().iter().zip(sources).map(take).collect::<Result<Vec<_>>>()?;
    Ok(assemble(network, &tensors))
}

/// A network's parameter buffer, out of its tensors.
pub(super) fn assemble(network: &Network, tensors: &[Vec<f32>]) -> Vec<f32> {
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    for (parameter, tensor) in network.parameters().iter().zip(tensors) {
        parameters[parameter.range()].copy_from_slice(tensor);
    }
    parameters
}

/// The tensors of one layer of a file.
struct Module {
    /// Their names up to the role.
    prefix: String,
    /// `dense` and 1 of `dense_1`, `net` and 0 of `net.0`. A name without a number comes first.
    stem: String,
    numbers: Vec<u64>,
    /// A hash grid where it has a table, a dense layer where it has a matrix, else a layer normalisation.
    kind: Kind,
    /// What the tensor of each role is called.
    tensors: BTreeMap<String, String>,
}

/// The naming of a file, and the tensor that it has for each of the network's parameters. Where it has none, the name is
/// the one that is missed.
fn sources(network: &Network, file: &Contents<'_>) -> Result<(Naming, Vec<String>)> {
    let naming = naming(file);
    if naming == Naming::Wgrad {
        return Ok((naming, network.parameters().iter().map(|p| p.name.clone()).collect()));
    }
    // Keras numbers each kind of layers on its own.
    let series = |kind: Kind| if naming == Naming::Keras { kind as usize } else { 0 };
    let mut modules: [VecDeque<Module>; 3] = Default::default();
    for module in gather(naming, file) {
        modules[series(module.kind)].push_back(module);
    }
    for modules in &mut modules {
        let modules = modules.make_contiguous();
        modules.sort_by(|a, b| a.numbers.cmp(&b.numbers));
        let unclear = |pair: &&[Module]| pair[0].stem != pair[1].stem || pair[0].numbers == pair[1].numbers;
        if let Some([a, b]) = modules.windows(2).find(unclear) {
            return Err(file.fault(format!("does not tell in which order {} and {} come", a.prefix, b.prefix)));
        }
    }
    let mut sources = Vec::new();
    for ((name, layer), (_, own)) in network.layers().zip(network.placed()).filter(|(_, (_, own))| !own.is_empty()) {
        let kind = Kind::of(layer);
        let Some(mut module) = modules[series(kind)].pop_front() else {
            return Err(file.fault(format!("has too few layers: there is none for {name}")));
        };
        if module.kind != kind {
            let [expected, got] = [kind, module.kind].map(Kind::mark);
            return Err(file.fault(format!("layer {name}: expected {expected}, got {got} in {}", module.prefix)));
        }
        for parameter in &network.parameters()[own] {
            let (_, role) = parameter.name.split_once('.').expect("the name of a layer and a role");
            let role = naming.role(role);
            let there = module.tensors.remove(role);
            sources.push(there.unwrap_or_else(|| format!("{}{role}", module.prefix)));
        }
    }
    Ok((naming, sources))
}

/// The naming that the names of a file's tensors speak for.
fn naming(file: &Contents<'_>) -> Naming {
    let mut numbered = file.tensors().next().is_some();
    for (name, _) in file.tensors() {
        let Some((layer, role)) = split(name) else { return Naming::Wgrad };
        if matches!(role, "kernel" | "gamma" | "beta") || (role == "table" && name.contains('/')) {
            return Naming::Keras;
        }
        numbered &= !numbers(Naming::PyTorch, layer).1.is_empty();
    }
    if numbered { Naming::PyTorch } else { Naming::Wgrad }
}

/// The layer and the role that a name is made of.
fn split(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let at = name.rfind(['/', '.'])?;
    Some((&name[..at], &name[at + 1..]))
}

/// What a layer is called without its numbers, and its numbers.
fn numbers(naming: Naming, layer: &str) -> (String, Vec<u64>) {
    if naming == Naming::Keras {
        let layer = layer.rsplit(['/', '.']).next().unwrap_or_default();
        let stem = layer.trim_end_matches(|c: char| c.is_ascii_digit());
        return (stem.trim_end_matches('_').into(), layer[stem.len()..].parse().into_iter().collect());
    }
    let mut numbers: Vec<u64> = layer.rsplit('.').map_while(|part| part.parse().ok()).collect();
    numbers.reverse();
    let parts: Vec<&str> = layer.split('.').collect();
    (parts[..parts.len() - numbers.len()].join("."), numbers)
}

fn gather(naming: Naming, file: &Contents<'_>) -> impl Iterator<Item = Module> {
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for (name, shape) in file.tensors() {
        let Some((layer, role)) = split(name) else { continue };
        let module = modules.entry(layer).or_insert_with(|| {
            let (stem, numbers) = numbers(naming, layer);
            let prefix = name[..layer.len() + 1].into();
            Module { prefix, stem, numbers, kind: Kind::LayerNorm, tensors: BTreeMap::new() }
        });
        match role {
            "table" => module.kind = Kind::HashGrid,
            _ if shape.len() == 2 => module.kind = Kind::Dense,
            _ => {}
        }
        module.tensors.insert(role.into(), name.into());
    }
    modules.into_values()
}

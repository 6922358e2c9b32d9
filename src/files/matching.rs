//! Which tensor of a file is which of the network's, and which way round a matrix lies in it.
//!
//! The layout of matrices is told by the file's metadata, else by shapes, else by names. Layers are matched by a map that
//! the caller gives, else by our own names, else by numbers in the names, else by shapes. What fits in two ways is refused.

use std::collections::BTreeMap;

use super::format::Contents;
use super::load::LoadWeights;
use super::naming::{Kind, Naming, assemble, transposed};
use crate::error::{Error, Result};
use crate::network::{Network, Parameter};

/// How a file has the weight of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// \[inputs, units\], as here and in Keras.
    InputsFirst,
    /// \[units, inputs\], as in PyTorch.
    UnitsFirst,
}

impl Layout {
    /// The shape that a file has of a parameter.
    fn shape(self, parameter: &Parameter) -> Vec<u32> {
        let mut shape = parameter.shape.clone();
        if self.transposes(parameter) {
            shape.reverse();
        }
        shape
    }

    fn transposes(self, parameter: &Parameter) -> bool {
        self == Layout::UnitsFirst && parameter.shape.len() == 2 && role_of(parameter) == "weight"
    }
}

/// A layer of the network that has weights.
struct Wanted<'a> {
    name: &'a str,
    kind: Kind,
    parameters: &'a [Parameter],
}

/// The tensors of one layer of a file.
#[derive(Debug)]
struct Module {
    /// Their names up to the role, without and with what stands between.
    name: String,
    prefix: String,
    kind: Kind,
    /// By role: what the tensor is called, and its shape.
    tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Where in the file the first of them stands.
    place: usize,
}

/// The weights of a network from a file that has them in any naming, laid out as its parameter buffer.
pub(super) fn parameters(network: &Network, file: &mut Contents<'_>, options: &LoadWeights) -> Result<Vec<f32>> {
    file.allow_non_finite = options.allow_non_finite;
    let (layout, sources) = sources(network, file, options)?;
    let listing = listing(network, file);
    let take = |(parameter, source): (&Parameter, String)| {
        let is_there = file.shape(&source).is_some();
        let numbers = file.take_numbers(&source, &layout.shape(parameter)).map_err(|error| match error {
            Error::File { path, reason } if !is_there => Error::File { path, reason: format!("{reason}. {listing}") },
            error => error,
        })?;
        Ok(match layout.transposes(parameter) {
            true => transposed(&numbers, parameter.shape[0] as usize),
            false => numbers,
        })
    };
    let tensors = network.parameters().iter().zip(sources).map(take).collect::<Result<Vec<_>>>()?;
    Ok(assemble(network, &tensors))
}

/// The layout of a file, and the tensor that it has for each of the network's parameters. Where it has none, the name is
/// the one that is missed.
fn sources(network: &Network, file: &Contents<'_>, options: &LoadWeights) -> Result<(Layout, Vec<String>)> {
    let wanted: Vec<Wanted> = (network.layers().zip(network.placed()))
        .filter(|(_, (_, own))| !own.is_empty())
        .map(|((name, layer), (_, own))| Wanted { name, kind: Kind::of(layer), parameters: &network.parameters()[own] })
        .collect();
    let mut modules = gather(file);
    let keras = modules.iter().any(Module::is_keras);
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut matched: Vec<Option<usize>> = vec![None; wanted.len()];
    mapped(network, file, options, &wanted, &mut modules, &mut found, &mut matched)?;

    let choices = layouts(file, options)?;
    let open: Vec<usize> = (0..wanted.len())
        .filter(|&w| matched[w].is_none() && !wanted[w].parameters.iter().all(|p| found.contains_key(&*p.name)))
        .collect();
    let is_free = |m: &usize| !matched.contains(&Some(*m)) && !modules[*m].tensors.is_empty();
    let free: Vec<usize> = (0..modules.len()).filter(is_free).collect();
    let matching = Matching { network, file, wanted: &wanted, modules: &modules, open: &open, free: &free, keras };
    let own_names = matching.by_own_names();
    // What an assignment finds for each parameter.
    let complete = |assigned: &[usize]| {
        let mut matched = matched.clone();
        open.iter().zip(assigned).for_each(|(&w, &m)| matched[w] = Some(m));
        let of_layer = |(wanted, matched): (&Wanted, Option<usize>)| {
            let name = |parameter: &Parameter| match (found.get(&*parameter.name), matched) {
                (Some(source), _) => source.clone(),
                (None, Some(m)) => modules[m].source(wanted.kind, role_of(parameter), keras),
                (None, None) => parameter.name.clone(),
            };
            wanted.parameters.iter().map(name).collect::<Vec<_>>()
        };
        wanted.iter().zip(matched).flat_map(of_layer).collect::<Vec<String>>()
    };
    let fits = |layout: Layout, sources: &[String]| {
        let fit = |(p, source): (&Parameter, &String)| {
            file.shape(source).is_some_and(|shape| shape.iter().map(|&d| d as u32).eq(layout.shape(p)))
        };
        network.parameters().iter().zip(sources).all(fit)
    };
    let assign = |layout| -> Result<Vec<String>> {
        Ok(complete(&match &own_names {
            Some(own) => own.clone(),
            None => matching.assign(layout)?,
        }))
    };
    let [inputs, units] = [Layout::InputsFirst, Layout::UnitsFirst].map(|layout| (layout, assign(layout)));
    let fit = |(layout, sources): &(Layout, Result<Vec<String>>)| match sources {
        Ok(sources) => fits(*layout, sources),
        Err(_) => false,
    };
    // Without metadata and where all fits both ways, names decide: ours, and Keras' kernel, are [inputs, units].
    let ours = own_names.is_some() && network.parameters().iter().all(|p| file.shape(&p.name).is_some());
    let by_name = if ours || keras { Layout::InputsFirst } else { Layout::UnitsFirst };
    let layout = match (choices, fit(&inputs), fit(&units)) {
        (Some((told, told_by)), inputs, units) => match (told, inputs, units) {
            (Layout::InputsFirst, false, true) | (Layout::UnitsFirst, true, false)
                if told_by == KERNELS_ASIDE && keras =>
            {
                Layout::InputsFirst
            }
            (Layout::InputsFirst, false, true) | (Layout::UnitsFirst, true, false) => {
                return Err(contradiction(file, told, told_by));
            }
            _ => told,
        },
        (None, true, true) => match (&inputs.1, &units.1) {
            (Ok(a), Ok(b)) if a != b => return Err(matching.unclear_layout()),
            _ => by_name,
        },
        (None, true, false) => Layout::InputsFirst,
        (None, false, true) => Layout::UnitsFirst,
        (None, false, false) => by_name,
    };
    let sources = if layout == Layout::InputsFirst { inputs.1 } else { units.1 };
    Ok((layout, sources?))
}

/// Whose word on the layout gives way to names of Keras' where shapes say so.
const KERNELS_ASIDE: &str = "its metadata";

/// The layout that the caller or the file's metadata tells, and which of the two.
fn layouts(file: &Contents<'_>, options: &LoadWeights) -> Result<Option<(Layout, &'static str)>> {
    if let Some(naming) = options.layout {
        let layout = if naming == Naming::PyTorch { Layout::UnitsFirst } else { Layout::InputsFirst };
        return Ok(Some((layout, "the layout asked for")));
    }
    let layout = match file.metadata("format") {
        Some("pt" | "mlx") => Layout::UnitsFirst,
        Some("wgrad" | "tf" | "keras" | "flax" | "jax") => Layout::InputsFirst,
        _ => return Ok(None),
    };
    Ok(Some((layout, KERNELS_ASIDE)))
}

fn contradiction(file: &Contents<'_>, told: Layout, told_by: &str) -> Error {
    let (told, fits) = match told {
        Layout::InputsFirst => ("[inputs, units]", "[units, inputs], as Naming::PyTorch has them"),
        Layout::UnitsFirst => ("[units, inputs], as Naming::PyTorch has them", "[inputs, units]"),
    };
    file.fault(format!(
        "{told_by} says that dense weights are {told}, but their shapes fit the network as {fits}: say which with \
         LoadWeights::layout"
    ))
}

/// Finds what the caller's map names: tensors go to `found`, layers to `matched`.
fn mapped<'a>(
    network: &'a Network,
    file: &Contents<'_>,
    options: &LoadWeights,
    wanted: &[Wanted<'a>],
    modules: &mut [Module],
    found: &mut BTreeMap<&'a str, String>,
    matched: &mut [Option<usize>],
) -> Result<()> {
    for (theirs, ours) in &options.names {
        let theirs = theirs.trim_end_matches(['.', '/']);
        let layer = wanted.iter().position(|w| w.name == ours.trim_end_matches('.'));
        if let Some(parameter) = network.parameters().iter().find(|p| p.name == *ours) {
            if file.shape(theirs).is_none() {
                return Err(unknown(
                    network,
                    file,
                    &format!("the map names the tensor {theirs}, which the file lacks"),
                ));
            }
            if found.insert(&parameter.name, theirs.into()).is_some() {
                return Err(file.fault(format!("the map names two tensors for {ours}")));
            }
        } else if let Some(w) = layer {
            let Some(m) = modules.iter().position(|module| module.name == theirs) else {
                return Err(unknown(network, file, &format!("the map names the layer {theirs}, which the file lacks")));
            };
            if matched[w].is_some() || matched.contains(&Some(m)) {
                return Err(file.fault(format!("the map names {theirs} or {ours} twice")));
            }
            matched[w] = Some(m);
        } else {
            return Err(unknown(network, file, &format!("the map names {ours}, which the network lacks")));
        }
    }
    // Tensors that the map names one by one are taken out of their modules.
    let taken: Vec<&String> = found.values().collect();
    for module in modules.iter_mut() {
        module.tensors.retain(|_, (name, _)| !taken.contains(&&*name));
    }
    Ok(())
}

/// An error with what was wanted beside what was found.
fn unknown(network: &Network, file: &Contents<'_>, what: &str) -> Error {
    file.fault(format!("{what}. {}", listing(network, file)))
}

/// What the network wants and what the file has, and what to do about it.
pub(super) fn listing(network: &Network, file: &Contents<'_>) -> String {
    const MOST: usize = 16;
    let list = |mut names: Vec<String>| {
        let more = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if names.is_empty() { "nothing".into() } else { names.join(", ") + &more }
    };
    let wanted = network.parameters().iter().map(|p| format!("{} {:?}", p.name, p.shape)).collect();
    let found = file.tensors().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    format!(
        "Wanted: {}. Found: {}. Name the layers with Model::load_weights_with and LoadWeights::map",
        list(wanted),
        list(found)
    )
}

/// The layers that no map names, and the modules that are left for them.
struct Matching<'a> {
    network: &'a Network,
    file: &'a Contents<'a>,
    wanted: &'a [Wanted<'a>],
    modules: &'a [Module],
    open: &'a [usize],
    free: &'a [usize],
    keras: bool,
}

/// The layers and the modules of the same shapes.
type Group = (Vec<usize>, Vec<usize>);

impl Matching<'_> {
    /// The module of each layer, where each layer's own name is in the file.
    fn by_own_names(&self) -> Option<Vec<usize>> {
        let own = |&w: &usize| self.free.iter().copied().find(|&m| self.modules[m].name == self.wanted[w].name);
        self.open.iter().map(own).collect()
    }

    /// The module of each layer: by numbers in their names, or by shapes where there is one way alone.
    fn assign(&self, layout: Layout) -> Result<Vec<usize>> {
        if !self.keras
            && let Some(order) = self.numbered(self.free, position)
        {
            return self.in_order(&order);
        }
        let mut assigned = vec![usize::MAX; self.open.len()];
        for kind in [Kind::Dense, Kind::LayerNorm, Kind::HashGrid] {
            let layers: Vec<usize> = (0..self.open.len()).filter(|&i| self.wanted[self.open[i]].kind == kind).collect();
            let free: Vec<usize> = self.free.iter().copied().filter(|&m| self.modules[m].kind == kind).collect();
            if free.len() < layers.len() {
                let name = self.wanted[self.open[layers[free.len()]]].name;
                return Err(self.too_few(name));
            }
            let order = match self.keras {
                true => self.numbered(&free, keras_number),
                false => (self.numbered(&free, position).or_else(|| self.numbered(&free, digits)))
                    .or_else(|| self.numbered(&free, suffixed)),
            };
            match order {
                Some(order) => layers.iter().zip(order).for_each(|(&i, m)| assigned[i] = m),
                None => self.by_shape(layout, &layers, &free, &mut assigned)?,
            }
        }
        Ok(assigned)
    }

    /// Modules whose names differ in their numbers alone, in the order of these; none where there are other differences.
    fn numbered(&self, modules: &[usize], key: fn(&str) -> (String, Vec<u64>)) -> Option<Vec<usize>> {
        let mut keyed: Vec<_> = modules.iter().map(|&m| (key(&self.modules[m].name), m)).collect();
        keyed.sort();
        let clear = |pair: &[((String, Vec<u64>), usize)]| pair[0].0.0 == pair[1].0.0 && pair[0].0.1 != pair[1].0.1;
        keyed.windows(2).all(clear).then(|| keyed.into_iter().map(|(_, m)| m).collect())
    }

    /// Modules of all kinds in one series, as `nn.Sequential` has them.
    fn in_order(&self, order: &[usize]) -> Result<Vec<usize>> {
        for (i, &w) in self.open.iter().enumerate() {
            let wanted = &self.wanted[w];
            let Some(&m) = order.get(i) else { return Err(self.too_few(wanted.name)) };
            let module = &self.modules[m];
            if module.kind != wanted.kind {
                let [expected, got] = [wanted.kind, module.kind].map(Kind::mark);
                let at = &module.prefix;
                return Err(self.file.fault(format!("layer {}: expected {expected}, got {got} in {at}", wanted.name)));
            }
        }
        Ok(order[..self.open.len()].to_vec())
    }

    /// Each layer gets the module that alone has its shapes; of several, those whose names differ in a number alone go by
    /// that, and else by their order in the file, where the file keeps one.
    fn by_shape(&self, layout: Layout, layers: &[usize], free: &[usize], assigned: &mut [usize]) -> Result<()> {
        let mut groups: BTreeMap<Vec<Vec<u32>>, Group> = BTreeMap::new();
        for &i in layers {
            let shapes = self.wanted[self.open[i]].parameters.iter().map(|p| layout.shape(p)).collect();
            groups.entry(shapes).or_default().0.push(i);
        }
        for &m in free {
            let module = &self.modules[m];
            let same = |shapes: &&Vec<Vec<u32>>| {
                let layer = groups[*shapes].0[0];
                let parameters = self.wanted[self.open[layer]].parameters;
                let fits = |(p, shape): (&Parameter, &Vec<u32>)| {
                    let found = module.find(self.wanted[self.open[layer]].kind, role_of(p));
                    found.is_some_and(|(_, found)| found.iter().map(|&d| d as u32).eq(shape.iter().copied()))
                };
                module.tensors.len() == parameters.len() && parameters.iter().zip(*shapes).all(fits)
            };
            let group = groups.keys().find(same).cloned();
            if let Some(modules) = group.and_then(|group| groups.get_mut(&group)) {
                modules.1.push(m);
            }
        }
        for (layers, modules) in groups.values() {
            if modules.len() < layers.len() {
                let name = self.wanted[self.open[layers[modules.len()]]].name;
                let what = format!("has no tensors of the shapes of layer {name}, or not by names that tell its place");
                return Err(unknown(self.network, self.file, &what));
            }
            let order = match modules.len() {
                1 => modules.clone(),
                _ => self.numbered(modules, digits).or_else(|| self.as_written(modules)).ok_or_else(|| {
                    let [a, b] = [modules[0], modules[1]].map(|m| &self.modules[m].prefix);
                    unknown(self.network, self.file, &format!("does not tell in which order {a} and {b} come"))
                })?,
            };
            layers.iter().zip(order).for_each(|(&i, m)| assigned[i] = m);
        }
        Ok(())
    }

    /// Modules in the order in which the file has them, unless that is by name, as the library `safetensors` sorts them, or by
    /// chance, as MLX writes them.
    fn as_written(&self, modules: &[usize]) -> Option<Vec<usize>> {
        if self.file.is_sorted() || self.file.metadata("format") == Some("mlx") {
            return None;
        }
        let mut order = modules.to_vec();
        order.sort_by_key(|&m| self.modules[m].place);
        Some(order)
    }

    fn too_few(&self, layer: &str) -> Error {
        unknown(self.network, self.file, &format!("has too few layers: there is none for {layer}"))
    }

    fn unclear_layout(&self) -> Error {
        let what = "fits in two ways: with dense weights as [inputs, units], or as [units, inputs] and the layers in \
                    another order. Say which with LoadWeights::layout, or name the layers";
        unknown(self.network, self.file, what)
    }
}

impl Module {
    /// The tensor of a role of ours, by any of its usual names.
    fn find(&self, kind: Kind, role: &str) -> Option<&(String, Vec<usize>)> {
        let names: &[&str] = match (kind, role) {
            (Kind::Dense, "weight") => &["weight", "kernel", "w"],
            (_, "scale") => &["scale", "gamma", "weight"],
            (_, "shift") => &["shift", "beta", "bias"],
            (_, "bias") => &["bias", "b"],
            _ => return self.tensors.get(role),
        };
        names.iter().find_map(|name| self.tensors.get(*name))
    }

    /// The file's name of the tensor with this role, or the name that it would have if it is missing.
    fn source(&self, kind: Kind, role: &str, keras: bool) -> String {
        let ours = ["scale", "shift"].iter().any(|role| self.tensors.contains_key(*role));
        match (self.find(kind, role), keras) {
            (Some((name, _)), _) => name.clone(),
            (None, _) if ours => self.prefix.clone() + role,
            (None, true) => self.prefix.clone() + Naming::Keras.role(role),
            (None, false) => self.prefix.clone() + Naming::PyTorch.role(role),
        }
    }

    fn is_keras(&self) -> bool {
        let named = |role: &str| self.tensors.contains_key(role);
        named("kernel") || (named("gamma") || named("beta") || named("table")) && self.prefix.ends_with('/')
    }
}

/// `weight` of `dense_1.weight`.
fn role_of(parameter: &Parameter) -> &str {
    parameter.name.split_once('.').map_or("", |(_, role)| role)
}

/// The layer, what stands between, and the role that a name is made of.
fn split(name: &str) -> (&str, &str, &str) {
    let whole = name.strip_suffix(":0").unwrap_or(name);
    match whole.rfind(['/', '.']) {
        Some(at) => (&whole[..at], &whole[at..=at], &whole[at + 1..]),
        None => ("", "", whole),
    }
}

/// The name of a layer of `nn.Sequential`, and its numbers: `net` and 0 of `net.0`.
fn position(layer: &str) -> (String, Vec<u64>) {
    let mut numbers: Vec<u64> = layer.rsplit('.').map_while(|part| part.parse().ok()).collect();
    numbers.reverse();
    let parts: Vec<&str> = layer.split('.').collect();
    let stem = &parts[..parts.len() - numbers.len()];
    // A name without a number is one of a kind.
    if numbers.is_empty() { (layer.into(), numbers) } else { (stem.join("."), numbers) }
}

/// The name of a layer of Keras', and its number: `dense` and 1 of `dense_1`. The first has none.
fn keras_number(layer: &str) -> (String, Vec<u64>) {
    let layer = layer.rsplit(['/', '.']).next().unwrap_or_default();
    let stem = layer.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.trim_end_matches('_').into(), layer[stem.len()..].parse().into_iter().collect())
}

/// As [`keras_number`], of layers in one place.
fn suffixed(layer: &str) -> (String, Vec<u64>) {
    let (stem, number) = keras_number(layer);
    let parent = layer.rfind(['/', '.']).map_or("", |at| &layer[..at]);
    (format!("{parent}.{stem}"), number)
}

/// A name with `#` for each number in it, and the numbers: `fc#` and 1 of `fc1`.
fn digits(layer: &str) -> (String, Vec<u64>) {
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

fn gather(file: &Contents<'_>) -> Vec<Module> {
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for (name, shape, place) in file.placed() {
        let (layer, between, role) = split(name);
        let module = modules.entry(layer).or_insert_with(|| Module {
            name: layer.into(),
            prefix: format!("{layer}{between}"),
            kind: Kind::LayerNorm,
            tensors: BTreeMap::new(),
            place,
        });
        match role {
            "table" => module.kind = Kind::HashGrid,
            _ if shape.len() == 2 && module.kind == Kind::LayerNorm => module.kind = Kind::Dense,
            _ => {}
        }
        module.place = module.place.min(place);
        module.tensors.insert(role.into(), (name.into(), shape.to_vec()));
    }
    modules.into_values().collect()
}

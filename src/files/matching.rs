//! Matches the tensors of a file with those of a network, and finds the layout of its matrices.
//!
//! A module is the tensors of one layer in the file. The layout comes from the first of these that states it: the
//! caller, the file's metadata, the shapes, the names. Layers are matched with modules in this order: by the caller's
//! map, by wgrad's names, by numbers in the names, by shapes. An ambiguous match is an error.

use std::collections::BTreeMap;

use super::format::Contents;
use super::layout::{Layout, Orders};
use super::load::LoadWeights;
use super::modules::{BATCHES, Module, digits, gather, keras_number, position, suffixed};
use super::naming::{Kind, assemble, keras_name};
use crate::error::{Error, Result};
use crate::network::{Layer, Network, Parameter};

/// A layer of the network with weights. States (values that are not trained) count as weights.
struct Wanted<'a> {
    name: &'a str,
    kind: Kind,
    /// Name of the layer in Keras' numbering.
    keras: &'static str,
    parameters: Vec<&'a Parameter>,
}

/// The weights of a network from a file with any naming, in the layout of the parameter buffer.
pub(super) fn parameters(network: &Network, file: &mut Contents<'_>, options: &LoadWeights) -> Result<Vec<f32>> {
    file.allow_non_finite = options.allow_non_finite;
    let (orders, sources) = sources(network, file, options)?;
    if orders.layout != Layout::Wgrad || !network.tensors().map(|tensor| &tensor.name).eq(&sources) {
        orders.check(network)?;
    }
    let listing = listing(network, file);
    for source in &sources {
        if let Some(module) = source.strip_suffix("running_mean") {
            file.leave_out(&format!("{module}{BATCHES}"));
        }
    }
    let take = |(parameter, source): (&Parameter, String)| {
        let is_there = file.shape(&source).is_some();
        let order = orders.get(&parameter.name);
        let numbers = file.take_numbers(&source, &order.shape).map_err(|error| match error {
            Error::File { path, reason } if !is_there => Error::File { path, reason: format!("{reason}. {listing}") },
            error => error,
        })?;
        Ok(order.ours(numbers))
    };
    let tensors = network.tensors().zip(sources).map(take).collect::<Result<Vec<_>>>()?;
    Ok(assemble(network, &tensors))
}

/// The layout of a file, and the name of the file's tensor for each of the network's parameters and states. If the
/// file lacks a tensor, this is the name that it should have.
fn sources<'a>(network: &'a Network, file: &Contents<'_>, options: &LoadWeights) -> Result<(Orders<'a>, Vec<String>)> {
    let wanted: Vec<Wanted> = (network.layers().enumerate())
        .map(|(i, (name, layer))| (name, layer, network.own_parameters(i)))
        .filter(|(_, _, own)| !own.is_empty())
        .map(|(name, layer, own)| {
            let states = network.states().iter().filter(|state| state.layer() == name);
            let keras = keras_name(layer, network.parameters()[own.start].shape.len());
            let parameters = network.parameters()[own].iter().chain(states).collect();
            Wanted { name, kind: Kind::of(layer), keras, parameters }
        })
        .collect();
    let mut modules = gather(file);
    let keras = modules.iter().any(Module::is_keras);
    let (found, matched) = mapped(network, file, options, &wanted, &modules)?;
    // Tensors that the map names one by one are removed from their modules.
    for module in &mut modules {
        module.tensors.retain(|_, (name, _)| !found.values().any(|taken| taken == name));
    }

    let is_open = |w: usize| matched[w].is_none() && wanted[w].parameters.iter().any(|p| !found.contains_key(&*p.name));
    let is_free = |m: &usize| !matched.contains(&Some(*m)) && !modules[*m].tensors.is_empty();
    let open = (0..wanted.len()).filter(|&w| is_open(w)).map(|w| &wanted[w]).collect();
    let free = (0..modules.len()).filter(is_free).map(|m| &modules[m]).collect();
    let matching = Matching { network, file, open, free, keras };
    let own_names = matching.by_own_names();
    // The tensor of each parameter in the modules of the open layers.
    let complete = |assigned: Vec<&Module>| {
        let mut assigned = assigned.into_iter();
        let mut sources = BTreeMap::new();
        for (w, Wanted { kind, parameters, .. }) in wanted.iter().enumerate() {
            let module = if is_open(w) { assigned.next() } else { matched[w].map(|m| &modules[m]) };
            sources.extend(parameters.iter().map(|parameter| {
                let source = match (found.get(&*parameter.name), module) {
                    (Some(source), _) => source.to_string(),
                    (None, Some(module)) => module.source(*kind, role_of(parameter), keras),
                    (None, None) => parameter.name.clone(),
                };
                (&*parameter.name, source)
            }));
        }
        network.tensors().map(|tensor| sources.remove(&*tensor.name).unwrap_or_default()).collect::<Vec<_>>()
    };
    check_flax(network, file, options)?;
    let stated = stated(file, options);
    let like =
        |units_first: bool| stated.map(|(stated, _)| stated).filter(|stated| stated.units_first() == units_first);
    let inputs_first = like(false).unwrap_or(if keras { Layout::Keras } else { Layout::Wgrad });
    let layouts = [inputs_first, like(true).unwrap_or(Layout::PyTorch)];
    let [inputs_first, units_first] = layouts.map(|layout| Orders::of(layout, network));
    let [inputs, units] = [&inputs_first, &units_first]
        .map(|orders| own_names.clone().map_or_else(|| matching.assign(orders), Ok).map(complete));
    let fits = |orders: &Orders<'_>, sources: &Result<Vec<String>>| {
        let fit = |(p, source): (&Parameter, &String)| file.shape(source).is_some_and(|shape| orders.fits(p, shape));
        sources.as_ref().is_ok_and(|sources| network.tensors().zip(sources).all(fit))
    };
    // Without metadata and if both layouts fit, names decide: wgrad's names and Keras' `kernel` are [inputs, units].
    let ours = own_names.is_some() && network.tensors().all(|p| file.shape(&p.name).is_some());
    let (fit_inputs, fit_units) = (fits(&inputs_first, &inputs), fits(&units_first, &units));
    let units_come_first = match (stated, fit_inputs, fit_units) {
        (Some((stated, stated_by)), inputs, units) if inputs != units && inputs == stated.units_first() => {
            // Keras' names take precedence over metadata if shapes confirm them.
            match stated_by == METADATA && keras {
                true => false,
                false => return Err(contradiction(file, stated, stated_by)),
            }
        }
        (Some((stated, _)), ..) => stated.units_first(),
        (None, true, true) if inputs.as_ref().ok() != units.as_ref().ok() => return Err(matching.unclear_layout()),
        (None, fit_inputs, fit_units) if fit_inputs != fit_units => fit_units,
        (None, ..) => !ours && !keras,
    };
    Ok(if units_come_first { (units_first, units?) } else { (inputs_first, inputs?) })
}

const METADATA: &str = "the metadata";

/// The layout that the caller or the file's metadata states, and which of the two states it.
fn stated(file: &Contents<'_>, options: &LoadWeights) -> Option<(Layout, &'static str)> {
    match (options.layout, file.metadata("format")) {
        (Some(naming), _) => Some((Layout::of(naming), "LoadWeights::layout")),
        (None, Some("pt")) => Some((Layout::PyTorch, METADATA)),
        (None, Some("mlx")) => Some((Layout::Mlx, METADATA)),
        (None, Some("wgrad")) => Some((Layout::Wgrad, METADATA)),
        (None, Some("tf" | "keras" | "flax" | "jax")) => Some((Layout::Keras, METADATA)),
        _ => None,
    }
}

/// Returns an error for a file of Flax and a network with transposed convolutions, unless the caller gives the layout.
/// Flax flips their kernels unless `transpose_kernel` is set, and files do not store this option.
fn check_flax(network: &Network, file: &Contents<'_>, options: &LoadWeights) -> Result<()> {
    let is_flax = matches!(file.metadata("format"), Some("flax" | "jax")) && options.layout.is_none();
    let is_transposed = |layer: &Layer| matches!(layer, Layer::Conv(conv) if conv.transposed.is_some());
    match network.nodes().iter().find(|node| is_flax && is_transposed(&node.layer)) {
        None => Ok(()),
        Some(node) => Err(file.fault(format!(
            "layer {}: the metadata say Flax, which has two orders for the weights of a transposed convolution. Use \
             LoadWeights::layout with Naming::Keras. Without transpose_kernel=True, first flip the kernels along \
             height and width and swap their last two dimensions",
            node.name
        ))),
    }
}

fn contradiction(file: &Contents<'_>, stated: Layout, stated_by: &str) -> Error {
    let (stated, fits) = match stated.units_first() {
        false => ("[inputs, units]", "[units, inputs] (Naming::PyTorch)"),
        true => ("[units, inputs] (Naming::PyTorch)", "[inputs, units]"),
    };
    file.fault(format!(
        "order of dense weights: expected {stated} ({stated_by}), got shapes that fit the network as {fits}; set the order \
         with LoadWeights::layout"
    ))
}

/// What the caller's map gives: the file's tensor for each tensor that it names, and the module of each layer, if any.
type Mapped<'a> = (BTreeMap<&'a str, &'a str>, Vec<Option<usize>>);

/// The tensors and modules that the caller's map names.
fn mapped<'a>(
    network: &'a Network,
    file: &Contents<'_>,
    options: &'a LoadWeights,
    wanted: &[Wanted<'_>],
    modules: &[Module],
) -> Result<Mapped<'a>> {
    let (mut found, mut matched) = (BTreeMap::new(), vec![None; wanted.len()]);
    if !options.order.is_empty() && options.order.len() != wanted.len() {
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name).collect();
        let (expected, got) = (wanted.len(), options.order.len());
        let names = names.join(", ");
        return Err(file.fault(format!("LoadWeights::order: expected {expected} layers (for {names}), got {got}")));
    }
    for (w, theirs) in options.order.iter().enumerate() {
        let theirs = theirs.trim_end_matches(['.', '/']);
        let m = modules.iter().position(|module| module.name == theirs);
        let m =
            m.ok_or_else(|| unknown(network, file, &format!("LoadWeights::order: the file has no layer {theirs}")))?;
        if matched.contains(&Some(m)) {
            return Err(file.fault(format!("LoadWeights::order: {theirs} occurs twice")));
        }
        matched[w] = Some(m);
    }
    for (theirs, ours) in &options.names {
        let theirs = theirs.trim_end_matches(['.', '/']);
        let lacks = |what: &str| unknown(network, file, &format!("LoadWeights::map: the file has no {what} {theirs}"));
        if let Some(parameter) = network.tensors().find(|p| p.name == *ours) {
            if file.shape(theirs).is_none() {
                return Err(lacks("tensor"));
            }
            if found.insert(&*parameter.name, theirs).is_some() {
                return Err(file.fault(format!("LoadWeights::map: two tensors for {ours}")));
            }
        } else if let Some(w) = wanted.iter().position(|w| w.name == ours.trim_end_matches('.')) {
            let Some(m) = modules.iter().position(|module| module.name == theirs) else { return Err(lacks("layer")) };
            if matched[w].is_some() || matched.contains(&Some(m)) {
                return Err(file.fault(format!("LoadWeights::map: {theirs} or {ours} occurs twice")));
            }
            matched[w] = Some(m);
        } else {
            return Err(unknown(network, file, &format!("LoadWeights::map: the network has no {ours}")));
        }
    }
    Ok((found, matched))
}

/// An error that lists the network's and the file's tensors.
fn unknown(network: &Network, file: &Contents<'_>, what: &str) -> Error {
    file.fault(format!("{what}. {}", listing(network, file)))
}

/// A list of the network's and the file's tensors, and what to do.
pub(super) fn listing(network: &Network, file: &Contents<'_>) -> String {
    const MOST_NAMES: usize = 16;
    let list = |mut names: Vec<String>| {
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if names.is_empty() { "nothing".into() } else { names.join(", ") + &more }
    };
    let wanted = network.tensors().map(|p| format!("{} {:?}", p.name, p.shape)).collect();
    let found = file.tensors().map(|(name, shape, _)| format!("{name} {shape:?}")).collect();
    format!(
        "Expected: {}. Found: {}. Name the layers with Model::load_weights_with and LoadWeights::map",
        list(wanted),
        list(found)
    )
}

/// The layers that no map names, and the remaining modules.
struct Matching<'a> {
    network: &'a Network,
    file: &'a Contents<'a>,
    open: Vec<&'a Wanted<'a>>,
    free: Vec<&'a Module>,
    keras: bool,
}

impl<'a> Matching<'a> {
    /// The module of each layer, if the file has every layer's own name.
    fn by_own_names(&self) -> Option<Vec<&'a Module>> {
        self.open.iter().map(|wanted| self.free.iter().copied().find(|m| m.name == wanted.name)).collect()
    }

    /// The module of each layer: by numbers in the names, or by shapes if there is only one way.
    fn assign(&self, orders: &Orders<'_>) -> Result<Vec<&'a Module>> {
        if self.keras
            && let Some(assigned) = self.by_keras_names()
        {
            return Ok(assigned);
        }
        if !self.keras
            && let Some(order) = numbered(&self.free, position)
        {
            return self.in_order(order);
        }
        let mut assigned = vec![None; self.open.len()];
        for kind in [Kind::Dense, Kind::Conv, Kind::LayerNorm, Kind::BatchNorm, Kind::HashGrid] {
            let layers: Vec<usize> = (0..self.open.len()).filter(|&i| self.open[i].kind == kind).collect();
            let free: Vec<&Module> = self.free.iter().copied().filter(|m| m.kind == kind).collect();
            if free.len() < layers.len() {
                return Err(self.too_few(self.open[layers[free.len()]].name));
            }
            let order = match self.keras {
                true => numbered(&free, keras_number),
                false => [position, digits, suffixed].iter().find_map(|key| numbered(&free, *key)),
            };
            match order {
                Some(order) => layers.iter().zip(order).for_each(|(&i, m)| assigned[i] = Some(m)),
                None => self.by_shape(orders, &layers, &free, &mut assigned)?,
            }
        }
        Ok(assigned.into_iter().flatten().collect())
    }

    /// The module of each layer, if all have Keras' names, numbered for each kind of layer.
    fn by_keras_names(&self) -> Option<Vec<&'a Module>> {
        let mut assigned = vec![None; self.open.len()];
        for Wanted { keras, .. } in &self.open {
            let modules: Vec<&Module> =
                self.free.iter().copied().filter(|m| keras_number(&m.name).0 == *keras).collect();
            let places = (0..self.open.len()).filter(|&i| self.open[i].keras == *keras);
            let order = numbered(&modules, keras_number).filter(|order| order.len() == places.clone().count())?;
            places.zip(order).for_each(|(i, module)| assigned[i] = Some(module));
        }
        assigned.into_iter().collect()
    }

    /// The modules in one numbered series, as in `nn.Sequential`.
    fn in_order(&self, mut order: Vec<&'a Module>) -> Result<Vec<&'a Module>> {
        for (i, wanted) in self.open.iter().enumerate() {
            let Some(module) = order.get(i) else { return Err(self.too_few(wanted.name)) };
            if module.kind != wanted.kind {
                let [expected, got] = [wanted.kind, module.kind].map(Kind::mark);
                let at = match module.name.as_str() {
                    "" => "the tensors without a layer".into(),
                    name => format!("layer {name} of the file"),
                };
                return Err(self.file.fault(format!("layer {}: expected {expected}, got {got} in {at}", wanted.name)));
            }
        }
        order.truncate(self.open.len());
        Ok(order)
    }

    /// Gives each layer a module with its shapes. Several modules with equal shapes are ordered by the numbers in their
    /// names, if the names differ only in numbers. Otherwise they have the order of the file, if that has a meaning.
    fn by_shape(
        &self,
        orders: &Orders<'_>,
        layers: &[usize],
        free: &[&'a Module],
        assigned: &mut [Option<&'a Module>],
    ) -> Result<()> {
        let shapes =
            |i: &usize| self.open[*i].parameters.iter().map(|p| &orders.get(&p.name).shape).collect::<Vec<_>>();
        let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        layers.iter().for_each(|i| groups.entry(shapes(i)).or_default().push(*i));
        for layers in groups.values() {
            let Wanted { kind, parameters, .. } = &self.open[layers[0]];
            let fits = |m: &&&Module| {
                let fit = |p: &&Parameter| m.find(*kind, role_of(p)).is_some_and(|(_, found)| orders.fits(p, found));
                m.tensors.len() == parameters.len() && parameters.iter().all(fit)
            };
            let modules: Vec<&Module> = free.iter().filter(fits).copied().collect();
            if modules.len() < layers.len() {
                let name = self.open[layers[modules.len()]].name;
                let what = format!("layer {name}: no tensors with its shapes and with names that give their place");
                return Err(unknown(self.network, self.file, &what));
            }
            let order = match modules.len() {
                1 => modules,
                _ => numbered(&modules, digits).or_else(|| self.as_written(&modules)).ok_or_else(|| {
                    let [a, b] = [modules[0], modules[1]].map(|m| &m.name);
                    unknown(
                        self.network,
                        self.file,
                        &format!("order of layers {a} and {b}: unknown, because their names do not give it"),
                    )
                })?,
            };
            layers.iter().zip(order).for_each(|(&i, m)| assigned[i] = Some(m));
        }
        Ok(())
    }

    /// The modules in the file's order. `None` if this order has no meaning: sorted by name, as the crate
    /// `safetensors` does, or arbitrary, as in MLX.
    fn as_written(&self, modules: &[&'a Module]) -> Option<Vec<&'a Module>> {
        if self.file.is_sorted() || self.file.metadata("format") == Some("mlx") {
            return None;
        }
        let mut order = modules.to_vec();
        order.sort_by_key(|m| m.place);
        Some(order)
    }

    fn too_few(&self, layer: &str) -> Error {
        unknown(self.network, self.file, &format!("layer {layer}: not found, because the file has too few layers"))
    }

    fn unclear_layout(&self) -> Error {
        let what = "order of dense weights: unknown, because both [inputs, units] and [units, inputs] fit, with the \
                    layers in another order. Set it with LoadWeights::layout, or name the layers";
        unknown(self.network, self.file, what)
    }
}

/// Modules in the order of their numbers, if their names differ only in numbers; otherwise `None`.
fn numbered<'a>(modules: &[&'a Module], key: fn(&str) -> (String, Vec<u64>)) -> Option<Vec<&'a Module>> {
    let mut keyed: Vec<_> = modules.iter().map(|m| (key(&m.name), *m)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let clear = |pair: &[((String, Vec<u64>), &Module)]| pair[0].0.0 == pair[1].0.0 && pair[0].0.1 != pair[1].0.1;
    keyed.windows(2).all(clear).then(|| keyed.into_iter().map(|(_, m)| m).collect())
}

/// The role: `weight` of `dense_1.weight`.
fn role_of(parameter: &Parameter) -> &str {
    parameter.name.split_once('.').map_or("", |(_, role)| role)
}

//! The kernel for software adapters, whose subgroups have 8 lanes: a workgroup is one subgroup. `phases.rs` groups the
//! parts, and this file writes their text.

use super::phases::{Layer, Phase, Thin, ThinSource, WIDEST_THIN, phases};
use super::*;
use crate::activation::Activation;
use crate::ops::octets::{OCTETS, Octets, has_whole_octets};
use crate::ops::template::expand;
use crate::ops::writer::constants;

/// Fewest and most rows of a workgroup. Many rows should share a panel of weights, and a small batch should occupy all
/// threads.
const ROWS: [u32; 2] = [16, 256];

impl NarrowRows {
    pub(super) fn launch_by_lanes(&self, adapter: &Adapter) -> Launch {
        let batch = self.batch();
        let rows = batch.div_ceil(adapter.threads.max(1)).next_multiple_of(8).clamp(ROWS[0], ROWS[1]);
        Launch {
            shader: shader(format!("{}.lanes", self.kernel_name()), self.source_by_lanes(rows), []),
            uniforms: Vec::new(),
            bindings: self.buffers.iter().map(|&(tensor, access)| Operand { access, ..read(tensor) }).collect(),
            workgroups: batch.div_ceil(rows).into(),
        }
    }

    fn source_by_lanes(&self, rows: u32) -> String {
        let phases = phases(&self.parts);
        let mut writer = Writer::new(self, &phases);
        writer.buffers(&phases);
        let calls: Vec<Call> = phases.iter().enumerate().map(|(i, phase)| writer.phase(i, phase)).collect();
        let table = writer.layers.join(",\n    ");
        let layers = format!("const LAYERS = array<Layer, {}>(\n    {table}\n);\n", writer.layers.len());
        let sizes = constants(&[("ROWS", rows), ("BATCH", self.batch()), ("THIN_QUADS", WIDEST_THIN / 4)]);
        let layers = if writer.layers.is_empty() { String::new() } else { layers };
        let functions = writer.functions_of_activations();
        let data = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/row_metrics.wgsl");
        let heading = [OCTETS, data, text!("software/narrow_rows.wgsl.in")].concat();
        [heading, sizes, layers, writer.shared.concat(), functions, writer.text, main(&calls)].concat()
    }

    /// Names of the buffers.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.buffers.len()).map(|i| format!("rows_{i}")).collect();
        let mut name = |tensor: Tensor, name: &str| names[self.place(tensor).0] = name.into();
        for part in &self.parts {
            match part {
                Op::Gather(op) => {
                    let Gather { features, data, step, indices, .. } = *op;
                    let all = [(features, "features"), (data, "data"), (step, "state"), (indices, "indices")];
                    all.into_iter().for_each(|(tensor, own)| name(tensor, own));
                }
                Op::LossOp(op) => {
                    let LossOp { targets, data, step, indices, metrics, .. } = *op;
                    let all = [
                        (targets, "targets"),
                        (data, "data"),
                        (step, "state"),
                        (indices, "indices"),
                        (metrics, "metrics"),
                    ];
                    all.into_iter().for_each(|(tensor, own)| name(tensor, own));
                }
                Op::Matmul(op) => name(op.b, "parameters"),
                _ => {}
            }
        }
        names
    }
}

/// A call of a phase's function in `main`.
enum Call {
    /// Layers of the table, and the function that runs them.
    Layers {
        function: String,
        from: usize,
        to: usize,
    },
    Phase(String),
}

/// The entry point. If two groups of layers have the same function, it is called in a loop, because the driver would
/// compile it twice.
fn main(calls: &[Call]) -> String {
    let mut groups: Vec<Call> = Vec::new();
    for call in calls {
        match (call, groups.last_mut()) {
            (Call::Layers { function, to, .. }, Some(Call::Layers { function: before, to: end, .. }))
                if function == before =>
            {
                *end = *to;
            }
            (Call::Layers { function, from, to }, _) => {
                groups.push(Call::Layers { function: function.clone(), from: *from, to: *to });
            }
            (Call::Phase(function), _) => groups.push(Call::Phase(function.clone())),
        }
    }
    let rows = "first_row, end_row, lane";
    let at: Vec<usize> = (0..groups.len()).filter(|&i| matches!(groups[i], Call::Layers { .. })).collect();
    let pair = match at[..] {
        [first, second] => match (&groups[first], &groups[second]) {
            (Call::Layers { function, from, to }, Call::Layers { function: other, from: again, to: end })
                if function == other =>
            {
                let loops = format!(
                    "    for (var turn = 0u; turn < 2u; turn++) {{
        let is_first = turn == 0u;
        {function}(select({again}u, {from}u, is_first), select({end}u, {to}u, is_first), {rows});
        let end_of_first = select(first_row, end_row, is_first);\n"
                );
                Some((first, second, loops))
            }
            _ => None,
        },
        _ => None,
    };
    let mut text = text!("software/narrow_rows.main.wgsl.in").to_owned();
    for (i, call) in groups.iter().enumerate() {
        match (call, &pair) {
            (_, Some((first, _, loops))) if i == *first => text += loops,
            (_, Some((_, second, _))) if i == *second => text += "    }\n",
            (Call::Phase(function), Some((first, second, _))) if (*first..*second).contains(&i) => {
                text += &format!("        {function}(first_row, end_of_first, lane);\n");
            }
            (Call::Phase(function), _) => text += &format!("    {function}({rows});\n"),
            (Call::Layers { function, from, to }, _) => text += &format!("    {function}({from}u, {to}u, {rows});\n"),
        }
    }
    text + "}\n"
}

/// Writes the texts of phases.
struct Writer<'a> {
    op: &'a NarrowRows,
    names: Vec<String>,
    text: String,
    /// Functions copied from other kernels, each once.
    shared: Vec<String>,
    /// The table of layers.
    layers: Vec<String>,
    activations: Vec<Activation>,
    /// Whether a layer stores its sums before the activation.
    keeps: bool,
}

impl<'a> Writer<'a> {
    fn new(op: &'a NarrowRows, phases: &[Phase<'_>]) -> Self {
        let (text, shared, layers, activations) = Default::default();
        let keeps = phases.iter().any(Phase::keeps);
        Self { op, names: op.names(), text, shared, layers, activations, keeps }
    }

    /// Declares the buffers.
    fn buffers(&mut self, phases: &[Phase<'_>]) {
        let octets: Vec<Tensor> = phases.iter().flat_map(Phase::octets).collect();
        for (i, &(whole, access)) in self.op.buffers.iter().enumerate() {
            let name = &self.names[i];
            let of_words = match name.as_str() {
                "features" | "targets" | "indices" => "array<u32>",
                "data" => "DataInfo",
                "state" => "StepState",
                "metrics" => "array<RowMetrics>",
                _ => "",
            };
            let (binding, written) = (i + 1, access != Access::Read);
            if of_words.is_empty() {
                let own = octets.iter().filter(|tensor| tensor.buffer == whole.buffer);
                let wide = whole.len().is_multiple_of(8) && own.clone().all(has_whole_octets);
                self.text += &Octets { name, binding, written, wide, thin: true }.text();
                continue;
            }
            let access = if written { "read_write" } else { "read" };
            self.text += &format!("@group(0) @binding({binding}) var<storage, {access}> {name}: {of_words};\n");
        }
    }

    fn name(&self, tensor: Tensor) -> &str {
        &self.names[self.op.place(tensor).0]
    }

    fn word(&self, tensor: Tensor) -> String {
        format!("{}u", self.op.place(tensor).1)
    }

    fn optional_word(&self, tensor: Option<Tensor>) -> String {
        tensor.map_or("NONE".into(), |tensor| self.word(tensor))
    }

    fn activation(&mut self, activation: Activation) -> usize {
        self.activations.iter().position(|&own| own == activation).unwrap_or_else(|| {
            self.activations.push(activation);
            self.activations.len() - 1
        })
    }

    /// `activate(z, activation)` and `derivative(saved, activation)`, for all activations of the layers.
    fn functions_of_activations(&mut self) -> String {
        let mut text = String::new();
        for function in ["activate", "derivative"] {
            activation_functions(&mut self.shared, "", function, &self.activations);
            text += &format!("\nfn {function}(z: vec4f, activation: u32) -> vec4f {{\n    var y = z;\n");
            for (i, &activation) in self.activations.iter().enumerate() {
                let name = activation_name("", function, activation);
                text += &match i {
                    0 => format!("    y = {name}(z);\n"),
                    _ => format!("    y = select(y, {name}(z), activation == {i}u);\n"),
                };
            }
            text += "    return y;\n}\n";
        }
        text
    }

    /// A layer's entry in the table.
    fn layer(&mut self, layer: &Layer) -> String {
        let activation = self.activation(layer.activation);
        let [a, b, c] = [layer.a, layer.b, layer.c].map(|tensor| self.word(tensor));
        let [bias, saved, kept] = [layer.bias, layer.saved, layer.kept].map(|tensor| self.optional_word(tensor));
        let (k, n, transposed) = (layer.a.columns(), layer.c.columns(), layer.b_is_transposed);
        format!("Layer({a}, {k}u, {b}, {n}u, {c}, {transposed}, {bias}, {saved}, {kept}, {activation}u)")
    }

    /// Adds a text once, with the buffers of a layer in place of their letters. Returns the letters' replacement.
    fn of_layer(&mut self, text: &str, layer: &Layer) -> String {
        let c = self.name(layer.c).to_owned();
        let [s, k] = [layer.saved, layer.kept].map(|tensor| tensor.map_or(c.clone(), |t| self.name(t).to_owned()));
        let buffers = format!("{}_{c}_{s}_{k}", self.name(layer.a));
        let text = text.replace("_BUFFERS", &format!("_{buffers}"));
        let text = text.replace("_A(", &format!("_{}(", self.name(layer.a))).replace("_C(", &format!("_{c}("));
        let text = text.replace("_S(", &format!("_{s}(")).replace("_K(", &format!("_{k}("));
        if !self.text.contains(&text) {
            self.text += &text;
        }
        buffers
    }

    /// The function that ends a layer.
    fn finish(&mut self, layer: &Layer) -> String {
        let text = expand(text!("software/narrow_rows.finish.wgsl.in"), &[], &[("sums are kept", self.keeps)]);
        self.of_layer(&text, layer)
    }

    fn phase(&mut self, i: usize, phase: &Phase<'_>) -> Call {
        let names = match phase {
            Phase::Layer(layer) => {
                self.finish(layer);
                let entry = self.layer(layer);
                self.layers.push(entry);
                let counts = [
                    ("step", 64),
                    ("couple", 32),
                    ("pair", 4),
                    ("earlier step", 56),
                    ("earlier steps", 56),
                    ("new step", 8),
                ];
                let text = expand(text!("software/narrow_rows.layers.wgsl.in"), &counts, &[]);
                let function = format!("run_layers_{}", self.of_layer(&text, layer));
                return Call::Layers { function, from: self.layers.len() - 1, to: self.layers.len() };
            }
            Phase::Pointwise(layer) => {
                let buffers = self.finish(layer);
                let entry = self.layer(layer);
                let text = text!("software/narrow_rows.pointwise.wgsl.in").replace("_BUFFERS", &format!("_{buffers}"));
                self.of_layer(&text.replace("LAYER_PHASE", &entry).replace("PHASE", &i.to_string()), layer);
                return Call::Phase(format!("phase_{i}"));
            }
            Phase::Gather(op) => {
                load_columns(&mut self.shared);
                let columns = format!("{}u", op.x.columns());
                let text =
                    text!("software/narrow_rows.gather.wgsl.in").replace("_T(", &format!("_{}(", self.name(op.x)));
                text.replace("COLUMNS_PHASE", &columns).replace("X_PHASE", &self.word(op.x))
            }
            Phase::Encode(op) => {
                let encoding = op.parts[0].encoding;
                let features = encoding.features();
                feature(&mut self.shared, encoding, "feature", &format!("feature_{i}"), "encoding_");
                self.text += &format!(
                    "\nfn number_{i}(x: u32, column: u32) -> f32 {{
    return feature_{i}(word_of_{}(x + column / {features}u), column % {features}u);
}}

fn pair_{i}(x: u32, column: u32) -> vec2f {{
    return vec2f(number_{i}(x, column), number_{i}(x, min(column + 1u, {}u)));
}}\n",
                    self.name(op.x),
                    op.output.columns() - 1,
                );
                self.encoding(op.x, op.output, None)
            }
            Phase::Grid(op) => {
                self.grid(i, op);
                self.encoding(op.x, op.y, Some(op.y.columns() / op.levels.rows()))
            }
            Phase::Thin(thin) => self.thin(thin),
            Phase::Loss(op) => {
                let gradient = op.gradient.unwrap_or(op.output);
                let outputs = op.output.columns();
                let y = format!("word_of_{}({} + row * {outputs}u + i)", self.name(op.output), self.word(op.output));
                let (of_gradient, first) = (self.name(gradient), self.word(gradient));
                let dy = format!("store_word_of_{of_gradient}({first} + row * {outputs}u + i, value);");
                self.loss(op, [&y, &dy]);
                text!("software/narrow_rows.loss.wgsl.in").to_owned()
            }
        };
        self.text += &names.replace("PHASE", &i.to_string());
        Call::Phase(format!("phase_{i}"))
    }

    /// `features`: those of an entry, if it is a grid.
    fn encoding(&self, x: Tensor, y: Tensor, features: Option<u32>) -> String {
        let text = expand(text!("software/narrow_rows.encode.wgsl.in"), &[], &[("a grid encodes", features.is_some())]);
        let text = text.replace("_T(", &format!("_{}(", self.name(y)));
        let text = text.replace("LEVELS_PHASE", if features.is_some() { ", level, next_level" } else { "" });
        let text = text.replace("FEATURES_PHASE", &format!("{}u", features.unwrap_or(1)));
        let text = text.replace("INPUTS_PHASE", &format!("{}u", x.columns()));
        let text = text.replace("COLUMNS_PHASE", &format!("{}u", y.columns()));
        text.replace("X_PHASE", &self.word(x)).replace("Y_PHASE", &self.word(y))
    }

    fn grid(&mut self, i: usize, op: &HashGridForward) {
        let (levels, dimensions) = (op.levels.rows(), op.x.columns());
        let features = op.y.columns() / levels;
        let mut texts = Vec::new();
        let table = ("PARAMETERS", self.op.place(op.table).1);
        let (options, prefix) = ((op.options, dimensions), format!("grid_{i}_"));
        interpolation(&mut texts, options, table, &format!("level_{i}"), &prefix);
        let pair = format!("return pair_of_{}({}u + i);", self.name(op.table), table.1 / 2);
        for text in texts {
            let text = if features == 2 { text.replace(&grid_entry(table.0, table.1, 2), &pair) } else { text };
            // Quads of parameters are read by a function.
            let mut parts = text.split("PARAMETERS[");
            let mut text = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                text += &format!("quad_of_{}({}", self.name(op.table), part.replacen(']', ")", 1));
            }
            if !self.shared.contains(&text) {
                self.shared.push(text);
            }
        }
        let words = self.op.levels.iter().find(|(tensor, _)| *tensor == op.levels);
        let words = words.map(|(_, words)| &words[..]).unwrap_or_default();
        let rows: Vec<String> =
            words.chunks_exact(4).map(|w| format!("vec4u({}u, {}u, {}u, {}u)", w[0], w[1], w[2], w[3])).collect();
        let axes = (0..4).map(|axis| match axis < dimensions {
            true => format!("word_of_{}(x + {axis}u)", self.name(op.x)),
            false => "0.0".into(),
        });
        let point = axes.collect::<Vec<_>>().join(", ");
        let pair = match features {
            1 => format!("vec2f(level_{i}(point, level), level_{i}(point, next_level))"),
            2 => format!("level_{i}(point, level)"),
            _ => format!("select({0}.xy, {0}.zw, column % 4u == 2u)", format!("level_{i}(point, level)")),
        };
        self.text += &format!(
            "\nconst levels_{i} = array<vec4u, {levels}>({});

fn pair_{i}(x: u32, column: u32, level: vec4u, next_level: vec4u) -> vec2f {{
    let point = vec4f({point});
    return {pair};
}}\n",
            rows.join(", ")
        );
    }

    /// `add_row` with its outputs and gradients in other places.
    fn loss(&mut self, op: &LossOp, places: [&str; 2]) {
        op.excerpt(&mut self.shared, "add_row", "loss_", places);
    }

    fn thin(&mut self, thin: &Thin<'_>) -> String {
        let columns = thin.tensor.columns();
        let before = if let ThinSource::Layer(layer) = &thin.source { Some(layer) } else { None };
        let conditions = [
            ("there are weights", thin.weights().is_some()),
            ("a layer follows", thin.after.is_some()),
            ("the thin tensor is gathered", matches!(thin.source, ThinSource::Gather)),
            ("the thin tensor is loaded", matches!(thin.source, ThinSource::Memory)),
            ("the thin tensor is a layer", before.is_some()),
            ("the layer has a bias", before.is_some_and(|layer| layer.bias.is_some())),
            ("the layer has an activation", before.is_some_and(|layer| layer.saved.is_none())),
            ("the layer has a derivative", before.is_some_and(|layer| layer.saved.is_some())),
            ("sums are kept", before.is_some_and(|layer| layer.kept.is_some())),
            ("there is a loss", thin.loss.is_some()),
        ];
        let counts = [("thin", columns), ("quad", columns.div_ceil(4)), ("eight", 8), ("earlier", 7), ("pair", 4)];
        let mut text = expand(text!("software/narrow_rows.thin.wgsl.in"), &counts, &conditions);
        let mut set = |name: &str, value: String| text = text.replace(name, &value);
        if let ThinSource::Gather = thin.source {
            load_columns(&mut self.shared);
        }
        if let Some(layer) = &thin.after {
            let buffers = self.finish(layer);
            set("finish_BUFFERS", format!("finish_{buffers}"));
            set("AFTER_PHASE", self.layer(layer));
        }
        if let Some(layer) = before {
            let activation = self.activation(layer.activation);
            set("ACTIVATION_PHASE", format!("{activation}u"));
            set("BEFORE_PHASE", self.word(layer.a));
            set("_A(", format!("_{}(", self.name(layer.a)));
            set("BIAS_PHASE", self.optional_word(layer.bias));
            set("KEPT_PHASE", self.optional_word(layer.kept));
            set("SAVED_PHASE", self.optional_word(layer.saved));
            set("_S(", format!("_{}(", self.name(layer.saved.unwrap_or(layer.c))));
            set("_K(", format!("_{}(", self.name(layer.kept.unwrap_or(layer.c))));
        }
        if let Some((weights, [wide_stride, thin_stride])) = thin.weights() {
            let wide = before.map(|layer| layer.a).or(thin.after.map(|layer| layer.c)).map_or(0, |t| t.columns());
            set("WEIGHT_PHASE", self.word(weights));
            set("WIDE_STRIDE_PHASE", format!("{wide_stride}u"));
            set("THIN_STRIDE_PHASE", format!("{thin_stride}u"));
            set("WIDE_PHASE", format!("{wide}u"));
        }
        set("THIN_PHASE", self.word(thin.tensor));
        set("_T(", format!("_{}(", self.name(thin.tensor)));
        if let Some(op) = thin.loss {
            let gradient = thin.last();
            set("GRADIENT_PHASE", self.word(gradient));
            set("_G(", format!("_{}(", self.name(gradient)));
            self.loss(op, ["outputs[i / 4u][i % 4u]", "thin[i / 4u][i % 4u] = value;"]);
        }
        text
    }
}

//! WGSL that evaluates a network of narrow layers, for one row in one invocation: the kernel `narrow`, and the function of
//! [`Wgsl`] for an app's own shaders. Sums have names, four to a vector: `sum_0` has the outputs 0 to 3.

use std::fmt::{self, Write};
use std::num::NonZeroU64;

use super::kernels::activations;
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::plan::NarrowLayer;

/// A WGSL function that evaluates a network inside an app's own shader, of any stage: from
/// [`Model::wgsl`](crate::Model::wgsl). It prints as text to be put in front of that shader: the declaration of the
/// parameter buffer, helpers, whose names begin with the function's, and the function,
///
/// ```wgsl
/// fn network(input: vec3f) -> f32
/// ```
///
/// where 1 input or output is an `f32`, 2 to 4 are a vector, and more are an `array<f32, N>`.
///
/// Weights are read from a uniform buffer where they take at most 64 KiB, which every device can bind, and else from
/// read-only storage. All lines are straight, a multiply-add for each weight: layers of 16 or 32 suit a shader that calls
/// it often. Layers alike are one loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Wgsl {
    name: String,
    group: u32,
    binding: u32,
    layers: Vec<NarrowLayer>,
    /// Length of the parameter buffer, in numbers.
    words: u32,
}

/// What the text may be written with, beside functions that it calls.
const TYPES: [&str; 5] = ["f32", "vec2f", "vec3f", "vec4f", "array"];

/// The largest uniform binding that every device allows, in bytes.
const LARGEST_UNIFORM: u32 = 1 << 16;

impl Wgsl {
    pub(crate) fn new(name: &str, layers: Vec<NarrowLayer>, words: u32) -> Result<Self> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fault = |expected| {
            let actual = format!("{name:?}");
            Err(Error::InvalidOption { name: "name of a WGSL function", expected, actual })
        };
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(letters) {
            return fault("letters, digits and underscores, a letter first");
        }
        let wgsl = Self { name: name.into(), group: 0, binding: 0, layers, words };
        // The function would hide the built-in one: the text may have its name in one place, the declaration.
        let text = wgsl.to_string();
        let called = text.split('(').filter_map(|before| before.rsplit(|c| !letters(c)).next());
        if TYPES.contains(&name) || called.filter(|called| *called == name).count() > 1 {
            return fault("none of the WGSL functions and types that the network is written with");
        }
        Ok(wgsl)
    }

    /// Where the parameter buffer is bound; group 0, binding 0 unless said otherwise.
    pub fn bound_at(self, group: u32, binding: u32) -> Self {
        Self { group, binding, ..self }
    }

    /// What an app's bind group layout says of the parameter buffer.
    pub fn binding_type(&self) -> wgpu::BindingType {
        let ty = match self.is_uniform() {
            true => wgpu::BufferBindingType::Uniform,
            false => wgpu::BufferBindingType::Storage { read_only: true },
        };
        let min_binding_size = NonZeroU64::new(u64::from(self.words) * 4);
        wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size }
    }

    fn is_uniform(&self) -> bool {
        self.words <= LARGEST_UNIFORM / 4
    }
}

/// The text.
impl fmt::Display for Wgsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, group, binding, layers, words } = self;
        let (Some(first), Some(last)) = (layers.first(), layers.last()) else { return Ok(()) };
        let (inputs, outputs) = (first.inputs, last.units);
        let space = if self.is_uniform() { "uniform" } else { "storage, read" };
        let (prefix, parameters) = (format!("{name}_"), format!("{name}_parameters"));
        let vectors = words / 4;
        writeln!(f, "@group({group}) @binding({binding}) var<{space}> {parameters}: array<vec4f, {vectors}>;\n")?;
        let mut writer =
            Writer { text: String::new(), parameters: &parameters, prefix: &prefix, place: Place::Vectors };
        writer.functions(layers);
        push(&mut writer.text, format_args!("fn {name}(input: {}) -> {} {{", of_type(inputs), of_type(outputs)));
        let widest = layers.iter().map(|layer| layer.inputs).max().unwrap_or(inputs);
        for q in 0..quads(widest) {
            let of = |i| if i < inputs { part("input", i, inputs) } else { "0.0".into() };
            let start = [0, 1, 2, 3].map(|i| of(q * 4 + i)).join(", ");
            let start = if q * 4 < inputs { format!(" = vec4f({start})") } else { String::new() };
            writer.line(&format!("var x_{q}: vec4f{start};"));
        }
        writer.layers(layers);
        let values: Vec<String> = (0..outputs).map(|i| element("y", i)).collect();
        writer.line(&format!("return {}({});", of_type(outputs), values.join(", ")));
        writer.text.push('}');
        writeln!(f, "{}", writer.text)
    }
}

/// The type of a row of numbers, and one of them.
fn of_type(numbers: u32) -> String {
    match numbers {
        1 => "f32".into(),
        2..=4 => format!("vec{numbers}f"),
        _ => format!("array<f32, {numbers}>"),
    }
}

fn part(name: &str, i: u32, numbers: u32) -> String {
    match numbers {
        1 => name.into(),
        2..=4 => format!("{name}.{}", ["x", "y", "z", "w"][i as usize]),
        _ => format!("{name}[{i}]"),
    }
}

/// Layers alike, one after the other: one loop.
pub(super) struct Run {
    pub layer: NarrowLayer,
    pub count: u32,
    /// From the weights of one to those of the next, in numbers; of the biases too.
    pub stride: u32,
}

/// The layers as runs; the last layer is by itself, as its outputs go elsewhere.
pub(super) fn runs(layers: &[NarrowLayer]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, &layer) in layers.iter().enumerate() {
        if let Some(run) = runs.last_mut().filter(|_| i + 1 < layers.len() && layer.inputs == layer.units) {
            let stride = if run.count == 1 { layer.weight.wrapping_sub(run.layer.weight) } else { run.stride };
            let shift = stride.wrapping_mul(run.count);
            let next = NarrowLayer {
                weight: run.layer.weight.wrapping_add(shift),
                bias: run.layer.bias.map(|bias| bias.wrapping_add(shift)),
                ..run.layer
            };
            if next == layer && layer.weight > run.layer.weight {
                (run.count, run.stride) = (run.count + 1, stride);
                continue;
            }
        }
        runs.push(Run { layer, count: 1, stride: 0 });
    }
    runs
}

/// How many vectors of four hold these numbers.
pub(super) fn quads(numbers: u32) -> u32 {
    numbers.div_ceil(4)
}

/// Number `i` of vectors `name_0`, `name_1` and so on.
pub(super) fn element(name: &str, i: u32) -> String {
    format!("{name}_{}.{}", i / 4, ["x", "y", "z", "w"][i as usize % 4])
}

/// Where a row lies between two layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// In vectors `x_0`, `x_1` and so on: every product is a line of its own.
    Vectors,
    /// In workgroup memory, `tile[i * LANES + lane]`: products are a loop.
    Tile,
}

/// What a layer's text is written with.
pub(super) struct Writer<'a> {
    pub text: String,
    /// Of the parameters: an array of vec4f.
    pub parameters: &'a str,
    /// Before the names of the functions that are called.
    pub prefix: &'a str,
    pub place: Place,
}

impl Writer<'_> {
    /// The activations that the layers call, each once.
    pub fn functions(&mut self, layers: &[NarrowLayer]) {
        let mut called: Vec<Activation> = Vec::new();
        for layer in layers {
            if !matches!(layer.activation, Activation::Identity | Activation::Softmax)
                && !called.contains(&layer.activation)
            {
                called.push(layer.activation);
            }
        }
        self.text += &activations(self.prefix, &called);
    }

    /// All layers. The row goes in where `place` says, and comes out as `y_0`, `y_1` and so on.
    pub fn layers(&mut self, layers: &[NarrowLayer]) {
        let outputs = layers.last().map_or(0, |layer| layer.units);
        for q in 0..quads(outputs) {
            self.line(&format!("var y_{q}: vec4f;"));
        }
        let runs = runs(layers);
        for (i, run) in runs.iter().enumerate() {
            self.run(run, i + 1 == runs.len());
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str("    ");
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn run(&mut self, run: &Run, last: bool) {
        let Run { layer, count, stride } = run;
        let NarrowLayer { bias, inputs, units, activation, .. } = *layer;
        let layers = if *count > 1 { format!("{count} layers") } else { "a layer".into() };
        self.line(&format!("// {layers} of {inputs} x {units}, {activation}"));
        // Indices of vectors; tensors start at multiples of 64 numbers.
        let shift = match count {
            1 => {
                self.line("{");
                String::new()
            }
            _ => {
                self.line(&format!("for (var layer = 0u; layer < {count}u; layer++) {{"));
                format!(" + layer * {}u", stride / 4)
            }
        };
        for q in 0..quads(units) {
            let start = match bias {
                Some(bias) => format!("{}[{}u{shift}]", self.parameters, bias / 4 + q),
                None => "vec4f(0.0)".into(),
            };
            self.line(&format!("var sum_{q} = {start};"));
        }
        self.products(run, &shift);
        self.activation(activation, units);
        match (last, self.place) {
            (true, _) => (0..quads(units)).for_each(|q| self.line(&format!("y_{q} = sum_{q};"))),
            (_, Place::Vectors) => (0..quads(units)).for_each(|q| self.line(&format!("x_{q} = sum_{q};"))),
            (_, Place::Tile) => {
                (0..units).for_each(|i| self.line(&format!("tile[{i}u * LANES + lane] = {};", element("sum", i))));
            }
        }
        self.line("}");
    }

    /// sum += x · W. Rows of W that are no whole vectors are taken four at a time, which are.
    fn products(&mut self, run: &Run, shift: &str) {
        let Run { layer: NarrowLayer { weight, inputs, units, .. }, count, stride } = *run;
        let step = if units.is_multiple_of(4) { 1 } else { 4 };
        let looped = if self.place == Place::Tile { inputs / step } else { 0 };
        if looped > 0 {
            self.line(&format!("for (var i = 0u; i < {}u; i += {step}u) {{", looped * step));
            // The bound, which is never reached, tells compilers that sums with it do not wrap around: they become
            // offsets of the loads.
            let vectors = if step == 1 { format!("i * {}u", units / 4) } else { format!("i / 4u * {units}u") };
            let last = weight + stride * (count - 1) + inputs * units;
            self.line(&format!("let at = min({}u{shift} + {vectors}, {}u);", weight / 4, last / 4));
            let values: Vec<String> = (0..step).map(|k| format!("tile[(i + {k}u) * LANES + lane]")).collect();
            self.rows(units, "at", &values);
            self.line("}");
        }
        for first in (looped * step..inputs).step_by(step as usize) {
            let values = first..inputs.min(first + step);
            let values = values.map(|k| match self.place {
                Place::Vectors => element("x", k),
                Place::Tile => format!("tile[{k}u * LANES + lane]"),
            });
            let at = format!("{}u{shift}", (weight + first * units) / 4);
            self.rows(units, &at, &values.collect::<Vec<_>>());
        }
    }

    /// Adds `values` times as many rows of W, which start at a whole vector.
    fn rows(&mut self, units: u32, at: &str, values: &[String]) {
        let aligned = units.is_multiple_of(4);
        let numbers = values.len() as u32 * units;
        self.line("{");
        for i in 0..quads(numbers) {
            self.line(&format!("let w_{i} = {}[{at} + {i}u];", self.parameters));
        }
        for (k, value) in (0..).zip(values) {
            self.line(&format!("let value_{k} = vec4f({value});"));
            for q in 0..quads(units) {
                let first = k * units + q * 4;
                let weights = match aligned {
                    true => format!("w_{}", first / 4),
                    false => {
                        let of = |i| if q * 4 + i < units { element("w", first + i) } else { "0.0".into() };
                        format!("vec4f({}, {}, {}, {})", of(0), of(1), of(2), of(3))
                    }
                };
                self.line(&format!("sum_{q} = fma(value_{k}, {weights}, sum_{q});"));
            }
        }
        self.line("}");
    }

    fn activation(&mut self, activation: Activation, units: u32) {
        match activation {
            Activation::Identity => {}
            Activation::Softmax => {
                let sums: Vec<String> = (0..units).map(|i| element("sum", i)).collect();
                // Subtracting the largest keeps exp from overflowing.
                let largest = sums[1..].iter().fold(sums[0].clone(), |most, sum| format!("max({most}, {sum})"));
                self.line(&format!("let largest = {largest};"));
                for q in 0..quads(units) {
                    self.line(&format!("sum_{q} = exp(sum_{q} - largest);"));
                }
                self.line(&format!("let total = {};", sums.join(" + ")));
                for q in 0..quads(units) {
                    self.line(&format!("sum_{q} /= total;"));
                }
            }
            activation => {
                let function = super::kernels::activation_name(self.prefix, activation);
                for q in 0..quads(units) {
                    self.line(&format!("sum_{q} = {function}(sum_{q});"));
                }
            }
        }
    }
}

/// Appends formatted text.
pub(super) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(line);
    text.push('\n');
}

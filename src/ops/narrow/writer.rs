//! Writes dense layers as WGSL, for [`Narrow`] and for an application's own shaders. Sums are named vectors of four:
//! `sum_0` holds the outputs 0 to 3.

use std::fmt::{Arguments, Write};

use super::activations::{activation_name, activations};
use super::*;

/// Consecutive layers of the same form, which become one loop.
pub struct Run {
    pub layer: NarrowLayer,
    pub count: u32,
    /// Distance between the weights of two layers, in numbers. The biases have the same distance.
    pub stride: u32,
}

impl Run {
    /// The WGSL text that adds the offset of layer `layer`, in vectors. Tensors begin at multiples of 64 numbers.
    pub(super) fn shift(&self) -> String {
        if self.count == 1 { String::new() } else { format!(" + layer * {}u", self.stride / 4) }
    }
}

/// Groups layers into runs. The last layer is a run of its own, because its outputs are stored elsewhere.
pub fn runs(layers: &[NarrowLayer]) -> Vec<Run> {
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

/// Number of vec4s that hold this many numbers.
pub fn quads(numbers: u32) -> u32 {
    numbers.div_ceil(4)
}

/// Number `i` of the vectors `name_0`, `name_1` and so on.
pub fn element(name: &str, i: u32) -> String {
    format!("{name}_{}.{}", i / 4, ["x", "y", "z", "w"][i as usize % 4])
}

/// Number `i` of a row with this many numbers: a scalar, a vector or an array.
pub fn part(name: &str, i: u32, numbers: u32) -> String {
    match numbers {
        1 => name.into(),
        2..=4 => format!("{name}.{}", ["x", "y", "z", "w"][i as usize]),
        _ => format!("{name}[{i}]"),
    }
}

/// Appends formatted text.
pub fn push(text: &mut String, line: Arguments<'_>) {
    let _ = text.write_fmt(line);
    text.push('\n');
}

/// Declarations of constants.
pub fn constants(constants: &[(&str, u32)]) -> String {
    constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect()
}

/// Place of a row between two layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// In the vectors `x_0`, `x_1` and so on.
    Vectors,
    /// In workgroup memory, `tile[i * LANES + lane]`. The multiply-adds are a loop.
    Tile,
    /// Not stored: before the first layer, a function `encoded(input, i)` returns this many numbers: 4, or those of a
    /// hash grid's level if the layer has whole vectors of outputs. The multiply-adds are a loop.
    Encoded(u32),
}

/// Writes the text of a network's layers.
pub struct Writer<'a> {
    pub text: String,
    /// Name of the parameters: an array of vec4f.
    pub parameters: &'a str,
    /// Prefix of the names of the functions that are called.
    pub prefix: &'a str,
    pub place: Place,
    /// Whether the layers keep the derivatives of their activations, for [`gradient`](Self::gradient).
    pub keeps_derivatives: bool,
}

/// Most inputs of a layer whose multiply-adds are unrolled. With more inputs they are a loop. Unrolled in a fragment
/// shader, 32 inputs take lavapipe eight times as long to compile, and 64 take minutes.
pub(super) const MOST_UNROLLED: u32 = 16;

/// Inputs per iteration of that loop: few, for a short text, but at most 32 iterations. RADV unrolls up to 32 and makes
/// the same code as without a loop. Layers without whole vectors of outputs read four rows of W at a time.
fn loop_inputs(inputs: u32, units: u32) -> u32 {
    if units.is_multiple_of(4) && inputs <= 32 { 1 } else { 4 }
}

impl<'a> Writer<'a> {
    pub fn new(text: String, parameters: &'a str, prefix: &'a str, place: Place) -> Self {
        Self { text, parameters, prefix, place, keeps_derivatives: false }
    }

    /// Writes the activation functions of the layers, each once. `wanted` is "activate", "derivative" or both.
    pub fn functions(&mut self, layers: &[NarrowLayer], wanted: &[&str]) {
        let mut called: Vec<Activation> = Vec::new();
        for layer in layers {
            if !matches!(layer.activation, Activation::Identity | Activation::Softmax)
                && !called.contains(&layer.activation)
            {
                called.push(layer.activation);
            }
        }
        let mut texts = Vec::new();
        wanted.iter().for_each(|function| activations(&mut texts, self.prefix, function, &called));
        self.text += &texts.concat();
    }

    /// Writes all layers. The input row is in `place`, and the outputs are `y_0`, `y_1` and so on.
    pub fn layers(&mut self, layers: &[NarrowLayer]) {
        let outputs = layers.last().map_or(0, |layer| layer.units);
        self.each(outputs, |q| format!("var y_{q}: vec4f;"));
        let runs = self.runs(layers);
        for (i, run) in runs.iter().enumerate() {
            self.run(i, run, i + 1 == runs.len());
        }
    }

    /// Layers as runs. The layer after an encoding differs from all others.
    pub(super) fn runs(&self, layers: &[NarrowLayer]) -> Vec<Run> {
        let (first, rest) = layers.split_at(usize::from(matches!(self.place, Place::Encoded(_))));
        runs(first).into_iter().chain(runs(rest)).collect()
    }

    pub fn line(&mut self, line: &str) {
        self.text.push_str("    ");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Writes a line for each vector of this many numbers.
    pub(super) fn each(&mut self, numbers: u32, line: impl Fn(u32) -> String) {
        (0..quads(numbers)).for_each(|q| self.line(&line(q)));
    }

    /// Writes run `i`. The last run leaves its outputs in `y_0`, `y_1` and so on.
    pub(super) fn run(&mut self, i: usize, run: &Run, last: bool) {
        let Run { layer, count, .. } = run;
        let NarrowLayer { bias, inputs, units, activation, .. } = *layer;
        let layers = if *count > 1 { format!("{count} layers") } else { "a layer".into() };
        self.line(&format!("// {layers} of {inputs} x {units}, {activation}"));
        self.declare_derivatives(i, run);
        match count {
            1 => self.line("{"),
            _ => self.line(&format!("for (var layer = 0u; layer < {count}u; layer++) {{")),
        }
        let shift = run.shift();
        let parameters = self.parameters;
        self.each(units, |q| match bias {
            Some(bias) => format!("var sum_{q} = {parameters}[{}u{shift}];", bias / 4 + q),
            None => format!("var sum_{q} = vec4f(0.0);"),
        });
        self.multiply_adds(run, &shift);
        self.keep_derivatives(i, run, false);
        self.activation(activation, units);
        self.keep_derivatives(i, run, true);
        match (last, self.place) {
            (true, _) if self.keeps_derivatives => {}
            (true, _) => self.each(units, |q| format!("y_{q} = sum_{q};")),
            (_, Place::Tile) => {
                (0..units).for_each(|i| self.line(&format!("tile[{i}u * LANES + lane] = {};", element("sum", i))));
            }
            _ => {
                self.each(units, |q| format!("x_{q} = sum_{q};"));
                self.place = Place::Vectors;
            }
        }
        self.line("}");
    }

    /// sum += x · W. If rows of W are not whole vectors, they are read four at a time, which are whole vectors.
    fn multiply_adds(&mut self, run: &Run, shift: &str) {
        let NarrowLayer { weight, inputs, units, .. } = run.layer;
        let step = if units.is_multiple_of(4) { 1 } else { 4 };
        // Inputs per iteration of the loop, and inputs of the whole loop.
        let loop_inputs = match self.place {
            Place::Vectors => loop_inputs(inputs, units),
            Place::Tile => step,
            Place::Encoded(numbers) => numbers,
        };
        let unrolled = self.place == Place::Vectors && inputs <= MOST_UNROLLED;
        let looped = if unrolled { 0 } else { inputs / loop_inputs * loop_inputs };
        if looped > 0 {
            self.loop_over_rows(run, shift, looped, loop_inputs);
            self.encoded(&format!("i / {loop_inputs}u"));
            for k in (0..loop_inputs).step_by(step as usize) {
                let values: Vec<String> = (k..k + step).map(|k| self.value(&format!("(i + {k}u)"), k)).collect();
                self.rows(units, &format!("at + {}u", k * units / 4), &values);
            }
            if self.place == Place::Vectors {
                // Vectors have no index, so the row moves on instead.
                let last = quads(inputs) - 1;
                let next = |q| if q < last { format!("x_{}", q + 1) } else { "vec4f(0.0)".into() };
                for q in 0..=last {
                    let moved = if loop_inputs == 4 { next(q) } else { format!("vec4f(x_{q}.yzw, {}.x)", next(q)) };
                    self.line(&format!("x_{q} = {moved};"));
                }
            }
            self.line("}");
        }
        if looped < inputs {
            self.encoded(&format!("{}u", looped / loop_inputs));
        }
        for first in (looped..inputs).step_by(step as usize) {
            let values = first..inputs.min(first + step);
            let values: Vec<String> = values.map(|k| self.value(&format!("{k}u"), k - looped)).collect();
            self.rows(units, &format!("{}u{shift}", (weight + first * units) / 4), &values);
        }
    }

    /// Begins a loop over rows of W. `at` is the vector at which row `i` begins.
    pub(super) fn loop_over_rows(&mut self, run: &Run, shift: &str, looped: u32, step: u32) {
        let Run { layer: NarrowLayer { weight, inputs, units, .. }, count, stride } = *run;
        self.line(&format!("for (var i = 0u; i < {looped}u; i += {step}u) {{"));
        // The bound is never reached. It tells compilers that sums with `at` do not wrap around, so that they become
        // offsets of the loads.
        let vectors =
            if units.is_multiple_of(4) { format!("i * {}u", units / 4) } else { format!("i / 4u * {units}u") };
        let last = weight + stride * (count - 1) + inputs * units;
        self.line(&format!("let at = min({}u{shift} + {vectors}, {}u);", weight / 4, last / 4));
    }

    /// Requests the numbers `i` of an encoded row.
    fn encoded(&mut self, i: &str) {
        if matches!(self.place, Place::Encoded(_)) {
            self.line(&format!("let encoded = {}encoded(input, {i});", self.prefix));
        }
    }

    /// A number of the row, by its index in the text and by its position in an iteration.
    fn value(&self, index: &str, k: u32) -> String {
        match self.place {
            Place::Vectors => element("x", k),
            Place::Tile => format!("tile[{index} * LANES + lane]"),
            Place::Encoded(numbers) => part("encoded", k % numbers, numbers),
        }
    }

    /// Adds each of the `values` times a row of W. The rows begin at a whole vector.
    fn rows(&mut self, units: u32, at: &str, values: &[String]) {
        let aligned = units.is_multiple_of(4);
        let numbers = values.len() as u32 * units;
        self.line("{");
        let parameters = self.parameters;
        self.each(numbers, |i| format!("let w_{i} = {parameters}[{at} + {i}u];"));
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
                self.each(units, |q| format!("sum_{q} = exp(sum_{q} - largest);"));
                self.line(&format!("let total = {};", sums.join(" + ")));
                self.each(units, |q| format!("sum_{q} /= total;"));
            }
            activation => {
                let function = activation_name(self.prefix, "activate", activation);
                self.each(units, |q| format!("sum_{q} = {function}(sum_{q});"));
            }
        }
    }
}

//! Dense layers as text, for [`Narrow`] and for an app's own shaders. Sums have names, four to a vector: `sum_0` has
//! the outputs 0 to 3.

use std::fmt::{Arguments, Write};

use super::activations::{activation_name, activations};
use super::*;

/// Layers alike, one after the other: one loop.
pub struct Run {
    pub layer: NarrowLayer,
    pub count: u32,
    /// From the weights of one to those of the next, in numbers; of the biases too.
    pub stride: u32,
}

/// The layers as runs; the last layer is by itself, as its outputs go elsewhere.
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

/// How many vectors of four hold these numbers.
pub fn quads(numbers: u32) -> u32 {
    numbers.div_ceil(4)
}

/// Number `i` of vectors `name_0`, `name_1` and so on.
pub fn element(name: &str, i: u32) -> String {
    format!("{name}_{}.{}", i / 4, ["x", "y", "z", "w"][i as usize % 4])
}

/// Number `i` of a row of so many: a scalar, a vector or an array.
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

/// Where a row lies between two layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// In vectors `x_0`, `x_1` and so on.
    Vectors,
    /// In workgroup memory, `tile[i * LANES + lane]`: products are a loop.
    Tile,
    /// Nowhere: before the first layer, a function `encoded(input, i)` gives four numbers of it, and products are a
    /// loop.
    Encoded,
}

/// What a layer's text is written with.
pub struct Writer<'a> {
    pub text: String,
    /// Of the parameters: an array of vec4f.
    pub parameters: &'a str,
    /// Before the names of the functions that are called.
    pub prefix: &'a str,
    pub place: Place,
}

/// The most inputs of a layer whose products are written out, a line each. With more inputs they are a loop of `TURN`
/// inputs a turn. Written out, 32 inputs take lavapipe four times as long to compile in a fragment shader, and 64 take
/// minutes. RADV unrolls the loop of 32 and makes the same code of both.
const STRAIGHT: u32 = 16;
const TURN: u32 = 4;

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
        self.each(outputs, |q| format!("var y_{q}: vec4f;"));
        // The layer after an encoding is like no other.
        let (first, rest) = layers.split_at(usize::from(self.place == Place::Encoded));
        let runs: Vec<Run> = runs(first).into_iter().chain(runs(rest)).collect();
        for (i, run) in runs.iter().enumerate() {
            self.run(run, i + 1 == runs.len());
        }
    }

    pub fn line(&mut self, line: &str) {
        self.text.push_str("    ");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line for each vector of so many numbers.
    fn each(&mut self, numbers: u32, line: impl Fn(u32) -> String) {
        (0..quads(numbers)).for_each(|q| self.line(&line(q)));
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
        let parameters = self.parameters;
        self.each(units, |q| match bias {
            Some(bias) => format!("var sum_{q} = {parameters}[{}u{shift}];", bias / 4 + q),
            None => format!("var sum_{q} = vec4f(0.0);"),
        });
        self.products(run, &shift);
        self.activation(activation, units);
        match (last, self.place) {
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

    /// sum += x · W. Rows of W that are no whole vectors are taken four at a time, which are.
    fn products(&mut self, run: &Run, shift: &str) {
        let Run { layer: NarrowLayer { weight, inputs, units, .. }, count, stride } = *run;
        let step = if units.is_multiple_of(4) { 1 } else { 4 };
        // Inputs of a turn of the loop, and of all turns.
        let turn = match self.place {
            Place::Vectors => TURN,
            Place::Tile => step,
            Place::Encoded => 4,
        };
        let straight = self.place == Place::Vectors && inputs <= STRAIGHT;
        let looped = if straight { 0 } else { inputs / turn * turn };
        if looped > 0 {
            self.line(&format!("for (var i = 0u; i < {looped}u; i += {turn}u) {{"));
            // The bound, which is never reached, tells compilers that sums with it do not wrap around: they become
            // offsets of the loads.
            let vectors =
                if units.is_multiple_of(4) { format!("i * {}u", units / 4) } else { format!("i / 4u * {units}u") };
            let last = weight + stride * (count - 1) + inputs * units;
            self.line(&format!("let at = min({}u{shift} + {vectors}, {}u);", weight / 4, last / 4));
            self.encoded("i / 4u");
            for k in (0..turn).step_by(step as usize) {
                let values: Vec<String> = (k..k + step).map(|k| self.value(&format!("(i + {k}u)"), k)).collect();
                self.rows(units, &format!("at + {}u", k * units / 4), &values);
            }
            if self.place == Place::Vectors {
                // Vectors have no index: the row moves on instead.
                (TURN / 4..quads(inputs)).for_each(|q| self.line(&format!("x_{} = x_{q};", q - TURN / 4)));
            }
            self.line("}");
        }
        if looped < inputs {
            self.encoded(&format!("{}u", looped / 4));
        }
        for first in (looped..inputs).step_by(step as usize) {
            let values = first..inputs.min(first + step);
            let values: Vec<String> = values.map(|k| self.value(&format!("{k}u"), k - looped)).collect();
            self.rows(units, &format!("{}u{shift}", (weight + first * units) / 4), &values);
        }
    }

    /// Asks for the four numbers `i` of an encoded row.
    fn encoded(&mut self, i: &str) {
        if self.place == Place::Encoded {
            self.line(&format!("let encoded = {}encoded(input, {i});", self.prefix));
        }
    }

    /// A number of the row, by its index in the text, and by its place in what a turn of the loop has.
    fn value(&self, index: &str, k: u32) -> String {
        match self.place {
            Place::Vectors => element("x", k),
            Place::Tile => format!("tile[{index} * LANES + lane]"),
            Place::Encoded => part("encoded", k % 4, 4),
        }
    }

    /// Adds `values` times as many rows of W, which start at a whole vector.
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
                let function = activation_name(self.prefix, activation);
                self.each(units, |q| format!("sum_{q} = {function}(sum_{q});"));
            }
        }
    }
}

//! Writes the gradient of a network's input as WGSL: reverse mode, inside one function. The forward pass keeps the
//! derivatives of the activations. Then the layers follow from the last to the first.

use super::activations::activation_name;
use super::writer::{MOST_UNROLLED, Place, Run, Writer, element, part, quads};
use super::*;

impl Writer<'_> {
    /// Writes the gradient of the input row. Before it, the row is in `place`, and `g_0`, `g_1` and so on hold the
    /// gradient of the outputs. After it, they hold the gradient of the row. An encoded row has no gradient of its own:
    /// its parts are given to the function `encoded_gradient`.
    pub fn gradient(&mut self, layers: &[NarrowLayer]) {
        let (runs, place) = (self.runs(layers), self.place);
        let last = runs.len() - 1;
        self.keeps_derivatives = true;
        for (i, run) in runs.iter().enumerate() {
            // The last sums matter only to the derivative of their activation.
            if i < last || run.layer.activation != Activation::Identity {
                self.run(i, run, i == last);
            }
        }
        self.keeps_derivatives = false;
        for (i, run) in runs.iter().enumerate().rev() {
            self.place = if i == 0 { place } else { Place::Vectors };
            self.run_gradient(i, run);
        }
    }

    /// Declares what [`keep_derivatives`](Self::keep_derivatives) writes. A run of several layers needs an array.
    pub(super) fn declare_derivatives(&mut self, i: usize, run: &Run) {
        let NarrowLayer { units, activation, .. } = run.layer;
        match run.count {
            _ if !self.keeps_derivatives || activation == Activation::Identity => {}
            1 => self.each(units, |q| format!("var {}: vec4f;", kept(i, run, q))),
            count => self.line(&format!("var d_{i}: array<vec4f, {}>;", count * quads(units))),
        }
    }

    /// Keeps the derivatives of a run's activations, before or `after` the activation: they depend on its input or on
    /// its output. Softmax keeps its output.
    pub(super) fn keep_derivatives(&mut self, i: usize, run: &Run, after: bool) {
        let NarrowLayer { units, activation, .. } = run.layer;
        if !self.keeps_derivatives || after != activation.differentiates_from_output() {
            return;
        }
        match activation {
            Activation::Identity => {}
            Activation::Softmax => self.each(units, |q| format!("{} = sum_{q};", kept(i, run, q))),
            _ => {
                let function = activation_name(self.prefix, "derivative", activation);
                self.each(units, |q| format!("{} = {function}(sum_{q});", kept(i, run, q)));
            }
        }
    }

    /// g = (g · derivative) · Wᵀ, for the layers of a run from the last to the first.
    fn run_gradient(&mut self, i: usize, run: &Run) {
        let NarrowLayer { inputs, units, activation, .. } = run.layer;
        self.line(&format!("// gradient of {} x {}, {activation}", inputs, units));
        match run.count {
            1 => self.line("{"),
            count => {
                self.line(&format!("for (var back = 1u; back <= {count}u; back++) {{"));
                self.line(&format!("let layer = {count}u - back;"));
            }
        }
        match activation {
            Activation::Identity => {}
            // dz = y · (dy − Σ y dy).
            Activation::Softmax => {
                let y = |k: u32| format!("{}.{}", kept(i, run, k / 4), ["x", "y", "z", "w"][k as usize % 4]);
                let terms: Vec<String> = (0..units).map(|k| format!("{} * {}", y(k), element("g", k))).collect();
                self.line(&format!("let mean = {};", terms.join(" + ")));
                self.each(units, |q| format!("g_{q} = {} * (g_{q} - mean);", kept(i, run, q)));
            }
            _ => self.each(units, |q| format!("g_{q} *= {};", kept(i, run, q))),
        }
        self.transposed(run);
        self.line("}");
    }

    /// g · Wᵀ, for up to four rows of W at a time. Their results are `h`.
    fn transposed(&mut self, run: &Run) {
        let NarrowLayer { weight, inputs, units, .. } = run.layer;
        let shift = run.shift();
        let encoded = if let Place::Encoded(numbers) = self.place { Some(numbers) } else { None };
        let step = encoded.unwrap_or(4);
        let looped = if encoded.is_none() && inputs <= MOST_UNROLLED { 0 } else { inputs / step * step };
        if encoded.is_none() {
            self.each(inputs, |q| format!("var h_{q}: vec4f;"));
        }
        if looped > 0 {
            self.loop_over_rows(run, &shift, looped, step);
            self.dot_products(units, "at", step, step);
            match encoded {
                Some(_) => self.line(&format!("{}encoded_gradient(input, i / {step}u, h, &gradient);", self.prefix)),
                // Vectors have no index, so the row moves on instead.
                None => {
                    let last = quads(looped) - 1;
                    (0..last).for_each(|q| self.line(&format!("h_{q} = h_{};", q + 1)));
                    self.line(&format!("h_{last} = h;"));
                }
            }
            self.line("}");
        }
        for first in (looped..inputs).step_by(step as usize) {
            self.line("{");
            let at = format!("{}u{shift}", (weight + first * units) / 4);
            self.dot_products(units, &at, step.min(inputs - first), step);
            match encoded {
                Some(_) => {
                    let i = first / step;
                    self.line(&format!("{}encoded_gradient(input, {i}u, h, &gradient);", self.prefix));
                }
                None => self.line(&format!("h_{} = h;", first / 4)),
            }
            self.line("}");
        }
        if encoded.is_none() {
            self.each(inputs, |q| format!("g_{q} = h_{q};"));
        }
    }

    /// `h`, of this many `numbers`: the dot products of g and rows of W, which begin at the vector `at`.
    fn dot_products(&mut self, units: u32, at: &str, rows: u32, numbers: u32) {
        let (parameters, aligned) = (self.parameters, units.is_multiple_of(4));
        self.line(match numbers {
            1 => "var h: f32;",
            2 => "var h: vec2f;",
            _ => "var h: vec4f;",
        });
        // Rows of whole vectors are loaded one after the other. They need fewer registers at a time.
        let step = if aligned { 1 } else { rows };
        for first in (0..rows).step_by(step as usize) {
            self.line("{");
            self.each(step * units, |i| format!("let w_{i} = {parameters}[{at} + {}u];", first * units / 4 + i));
            for k in 0..step {
                let terms: Vec<String> = (0..quads(units)).map(|q| term(k * units, q, units)).collect();
                self.line(&format!("{} = {};", part("h", first + k, numbers), terms.join(" + ")));
            }
            self.line("}");
        }
    }
}

/// The dot product of `g_q` and a row of W from number `row` of the loaded vectors. Numbers past the row's end are
/// left out.
fn term(row: u32, q: u32, units: u32) -> String {
    let weight = |k| element("w", row + q * 4 + k);
    match units - q * 4 {
        1 => format!("{} * g_{q}.x", weight(0)),
        2 => format!("dot(vec2f({}, {}), g_{q}.xy)", weight(0), weight(1)),
        3 => format!("dot(vec3f({}, {}, {}), g_{q}.xyz)", weight(0), weight(1), weight(2)),
        _ if units.is_multiple_of(4) => format!("dot(w_{}, g_{q})", row / 4 + q),
        _ => format!("dot(vec4f({}, {}, {}, {}), g_{q})", weight(0), weight(1), weight(2), weight(3)),
    }
}

/// Vector `q` of a run's kept derivatives. In a run of several layers it depends on the variable `layer`.
fn kept(i: usize, run: &Run, q: u32) -> String {
    match run.count {
        1 => format!("d_{i}_{q}"),
        _ => format!("d_{i}[layer * {}u + {q}u]", quads(run.layer.units)),
    }
}

//! Text of a narrow network for software adapters. The rows of a workgroup are in vectors, with four columns per
//! lane.

use super::activations::activation_name;
use super::writer::{Place, Run, Writer, constants, quads, runs};
use super::*;

impl Narrow {
    /// Text for software adapters.
    pub(crate) fn subgroup_source(&self, rows: u32, lanes: u32) -> String {
        let mut writer = Writer::new(String::new(), "parameters", "", Place::Vectors);
        writer.functions(&self.layers, &["activate"]);
        let (inputs, outputs) = (self.input.columns(), self.output.columns());
        writer.text += &constants(&[("INPUTS", inputs), ("OUTPUTS", outputs), ("ROWS", rows), ("LANES", lanes)]);
        writer.text += "fn evaluate(first_row: u32, lane: u32) {\n    let column = lane * 4u;\n";
        let mut layers = Subgroup { text: writer.text, rows, lanes, columns: 4 * lanes };
        let widest = self.layers[1..].iter().map(|layer| layer.inputs).max().unwrap_or(0).max(outputs);
        layers.each(widest, |g, r| format!("var x_{g}_{r}: vec4f;"));
        // The first layer reads its rows from memory, so it belongs to no run.
        let (first, rest) = self.layers.split_at(1);
        runs(first).iter().for_each(|run| layers.run(run, true));
        runs(rest).iter().for_each(|run| layers.run(run, false));
        layers.stores(outputs);
        layers.text + "}\n" + text!("narrow.memory.wgsl", "software/narrow.subgroup.wgsl.in")
    }
}

struct Subgroup {
    text: String,
    /// Rows per workgroup.
    rows: u32,
    lanes: u32,
    /// Columns that one vector of each lane holds.
    columns: u32,
}

impl Subgroup {
    fn line(&mut self, line: String) {
        self.text += &format!("    {line}\n");
    }

    /// Vectors per lane that hold a row.
    fn groups(&self, units: u32) -> u32 {
        units.div_ceil(self.columns)
    }

    /// Writes a line for each vector of each row.
    fn each(&mut self, units: u32, line: impl Fn(u32, u32) -> String) {
        for g in 0..self.groups(units) {
            (0..self.rows).for_each(|r| self.line(line(g, r)));
        }
    }

    fn run(&mut self, run: &Run, first: bool) {
        let Run { layer, count, stride } = run;
        let NarrowLayer { bias, inputs, units, activation, .. } = *layer;
        self.line(format!("// {count} of {inputs} x {units}, {activation}"));
        self.line(format!("for (var layer = 0u; layer < {count}u; layer++) {{"));
        for g in 0..self.groups(units) {
            let bias = match bias {
                Some(bias) => self.weights(&format!("{bias}u + layer * {stride}u"), g, units),
                None => "ZERO".into(),
            };
            self.line(format!("let bias_{g} = {bias};"));
        }
        self.each(units, |g, r| format!("var sum_{g}_{r} = bias_{g};"));
        let columns = if first { inputs.max(1) } else { self.columns };
        for from in (0..inputs).step_by(columns as usize) {
            self.multiply_adds(layer, *stride, from, inputs.min(from + columns), first);
        }
        self.activation(activation, units);
        self.each(units, |g, r| format!("x_{g}_{r} = sum_{g}_{r};"));
        self.line("}".into());
    }

    /// Weights of a lane for group `g`, in the row that begins at `start`.
    fn weights(&self, start: &str, g: u32, units: u32) -> String {
        let function = if units.is_multiple_of(4) { "whole_weights" } else { "weights" };
        format!("{function}({start}, {}u + column, {units}u)", g * self.columns)
    }

    /// Multiply-adds of the inputs `from..to`, four inputs at a time.
    fn multiply_adds(&mut self, layer: &NarrowLayer, stride: u32, from: u32, to: u32, first: bool) {
        let whole = (to - from) / 4;
        if whole > 0 {
            self.line(format!("for (var i = 0u; i < {whole}u; i++) {{"));
            self.block(layer, stride, from, 4, "i", first);
            self.line("}".into());
        }
        if !to.is_multiple_of(4) {
            self.line("{".into());
            self.block(layer, stride, from, to % 4, &format!("{whole}u"), first);
            self.line("}".into());
        }
    }

    /// Multiply-adds of `count` inputs, which begin at `from + 4 * i`. In the first layer, a lane loads a row. In the
    /// others, lane i holds four inputs.
    fn block(&mut self, layer: &NarrowLayer, stride: u32, from: u32, count: u32, i: &str, first: bool) {
        let NarrowLayer { weight, units, .. } = *layer;
        for k in 0..count {
            let start = format!("{weight}u + layer * {stride}u + ({}u + {i} * 4u) * {units}u", from + k);
            for g in 0..self.groups(units) {
                self.line(format!("let w_{k}_{g} = {};", self.weights(&start, g, units)));
            }
        }
        if first {
            for rows in 0..self.rows.div_ceil(self.lanes) {
                self.line(format!("let input_{rows} = load(first_row + {}u + lane, {i} * 4u);", rows * self.lanes));
            }
        }
        for r in 0..self.rows {
            let value = match first {
                true => format!("subgroupBroadcast(input_{}, {}u)", r / self.lanes, r % self.lanes),
                false => format!("subgroupShuffle(x_{}_{r}, {i})", from / self.columns),
            };
            self.line(format!("let value_{r} = {value};"));
            for (k, axis) in (0..count).zip(["x", "y", "z", "w"]) {
                for g in 0..self.groups(units) {
                    let sum = format!("sum_{g}_{r}");
                    self.line(format!("{sum} = fma(vec4f(value_{r}.{axis}), w_{k}_{g}, {sum});"));
                }
            }
        }
    }

    fn activation(&mut self, activation: Activation, units: u32) {
        let groups = self.groups(units);
        match activation {
            Activation::Identity => {}
            Activation::Softmax => {
                for g in 0..groups {
                    let columns = format!("{}u + column + vec4u(0u, 1u, 2u, 3u)", g * self.columns);
                    self.line(format!("let inside_{g} = {columns} < vec4u({units}u);"));
                }
                for r in 0..self.rows {
                    self.text += "    {\n    var most = vec4f(-3.4028234e38);\n    var total = ZERO;\n";
                    for g in 0..groups {
                        self.line(format!("most = max(most, select(most, sum_{g}_{r}, inside_{g}));"));
                    }
                    self.text += "    let largest = largest_of_lanes(max(max(most.x, most.y), max(most.z, most.w)));\n";
                    for g in 0..groups {
                        self.line(format!("sum_{g}_{r} = exp(sum_{g}_{r} - largest);"));
                        self.line(format!("total += select(ZERO, sum_{g}_{r}, inside_{g});"));
                    }
                    self.text += "    let sum = sum_of_lanes((total.x + total.y) + (total.z + total.w));\n";
                    (0..groups).for_each(|g| self.line(format!("sum_{g}_{r} /= sum;")));
                    self.line("}".into());
                }
            }
            activation => {
                let function = activation_name("", "activate", activation);
                self.each(units, |g, r| format!("sum_{g}_{r} = {function}(sum_{g}_{r});"));
            }
        }
    }

    /// Stores the rows, one row per lane. Each lane receives four columns at a time from lane i.
    fn stores(&mut self, outputs: u32) {
        let all = self.rows.div_ceil(self.lanes);
        for from in (0..outputs).step_by(self.columns as usize) {
            let (g, count) = (from / self.columns, quads(outputs.min(from + self.columns) - from));
            self.line(format!("for (var i = 0u; i < {count}u; i++) {{"));
            (0..all).for_each(|rows| self.line(format!("var row_{rows} = ZERO;")));
            for r in 0..self.rows {
                let (rows, lane) = (r / self.lanes, r % self.lanes);
                let value = format!("subgroupShuffle(x_{g}_{r}, i)");
                self.line(format!("row_{rows} = select(row_{rows}, {value}, lane == {lane}u);"));
            }
            for rows in 0..all {
                let row = rows * self.lanes;
                self.line(format!("store(first_row + {row}u + lane, {from}u + i * 4u, row_{rows});"));
            }
            self.line("}".into());
        }
    }
}

//! Host side of `shaders/narrow.wgsl` and of its variant for software adapters, `shaders/software/narrow.subgroup.wgsl`: `evaluate`
//! is written for the network.

use crate::activation::Activation;
use crate::gpu::wgsl::{Place, Run, Writer, activation_name, element, push, quads, runs};
use crate::ops::*;

/// Rows of a workgroup.
const LANES: u32 = 64;
/// Rows of a workgroup of the subgroup variant, at least one for each lane: many, so that each load of a weight serves many; but few where all rows
/// take less time than the driver's compiler would take over more. With 32 it would take twice as long again.
const SUBGROUP_ROWS: [u32; 2] = [8, 16];
/// Multiply-adds from which the larger is worth it.
const SMALL_NETWORK: u64 = 1 << 24;

pub(crate) fn launch(op: &Narrow, variants: Adapter) -> Launch {
    let (kind, source, rows) = match variants.matmul_subgroup {
        None => ("narrow", source(op), LANES),
        Some(lanes) => {
            let weights: u64 = op.layers.iter().map(|layer| u64::from(layer.inputs * layer.units)).sum();
            let rows = SUBGROUP_ROWS[usize::from(weights * u64::from(op.rows) > SMALL_NETWORK)].max(lanes);
            ("narrow.subgroup", subgroup_source(op, rows, lanes), rows)
        }
    };
    let name = format!("{kind} {}-{}", op.inputs(), op.outputs());
    Launch {
        shader: Shader { name: name.into(), source: source.into(), constants: Vec::new() },
        uniforms: uniforms![ rows: op.rows ],
        bindings: vec![read(op.parameters), read(op.input), write(op.output)],
        workgroups: op.rows.div_ceil(rows).into(),
    }
}

/// The text for real GPUs.
pub(crate) fn source(op: &Narrow) -> String {
    let mut writer = Writer { text: String::new(), parameters: "parameters", prefix: "", place: Place::Tile };
    writer.functions(&op.layers);
    let widest = op.layers.iter().map(|layer| layer.inputs).max().unwrap_or(1);
    constants(&mut writer.text, &[("INPUTS", op.inputs()), ("OUTPUTS", op.outputs()), ("WIDEST", widest)]);
    writer.text += "fn evaluate(row: u32, lane: u32) {\n";
    writer.layers(&op.layers);
    for i in 0..op.outputs() {
        push(&mut writer.text, format_args!("    output[row * OUTPUTS + {i}u] = {};", element("y", i)));
    }
    writer.text + "}\n" + text!("narrow.memory.wgsl", "narrow.wgsl")
}

fn constants(text: &mut String, constants: &[(&str, u32)]) {
    constants.iter().for_each(|(name, value)| push(text, format_args!("const {name}: u32 = {value}u;")));
}

/// The text for software adapters.
pub(crate) fn subgroup_source(op: &Narrow, rows: u32, lanes: u32) -> String {
    let mut writer = Writer { text: String::new(), parameters: "parameters", prefix: "", place: Place::Vectors };
    writer.functions(&op.layers);
    let sizes = [("INPUTS", op.inputs()), ("OUTPUTS", op.outputs()), ("ROWS", rows), ("LANES", lanes)];
    constants(&mut writer.text, &sizes);
    writer.text += "fn evaluate(first_row: u32, lane: u32) {\n    let column = lane * 4u;\n";
    let mut layers = Subgroup { text: writer.text, rows, lanes, columns: 4 * lanes };
    let widest = op.layers[1..].iter().map(|layer| layer.inputs).max().unwrap_or(0).max(op.outputs());
    for g in 0..widest.div_ceil(layers.columns) {
        (0..rows).for_each(|r| push(&mut layers.text, format_args!("    var x_{g}_{r}: vec4f;")));
    }
    // The first layer takes its rows from elsewhere, so it is in no run.
    let (first, rest) = op.layers.split_at(1);
    runs(first).iter().for_each(|run| layers.run(run, true));
    runs(rest).iter().for_each(|run| layers.run(run, false));
    layers.stores(op.outputs());
    layers.text + "}\n" + text!("narrow.memory.wgsl", "software/narrow.subgroup.wgsl")
}

struct Subgroup {
    text: String,
    /// Of a workgroup.
    rows: u32,
    lanes: u32,
    /// That one vector of each lane holds.
    columns: u32,
}

impl Subgroup {
    fn run(&mut self, run: &Run, first: bool) {
        let Run { layer, count, stride } = run;
        let NarrowLayer { bias, inputs, units, activation, .. } = *layer;
        let groups = units.div_ceil(self.columns);
        let text = &mut self.text;
        push(text, format_args!("    // {count} of {inputs} x {units}, {activation}"));
        push(text, format_args!("    for (var layer = 0u; layer < {count}u; layer++) {{"));
        let whole = if units.is_multiple_of(4) { "whole_weights" } else { "weights" };
        for g in 0..groups {
            let column = g * self.columns;
            match bias {
                Some(bias) => {
                    let start = format!("{bias}u + layer * {stride}u");
                    push(text, format_args!("    let bias_{g} = {whole}({start}, {column}u + column, {units}u);"));
                }
                None => push(text, format_args!("    let bias_{g} = ZERO;")),
            }
            (0..self.rows).for_each(|r| push(text, format_args!("    var sum_{g}_{r} = bias_{g};")));
        }
        if first {
            self.products(layer, *stride, 0, inputs, true);
        } else {
            for from in (0..inputs).step_by(self.columns as usize) {
                self.products(layer, *stride, from, inputs.min(from + self.columns), false);
            }
        }
        self.activation(activation, units);
        for g in 0..groups {
            (0..self.rows).for_each(|r| push(&mut self.text, format_args!("    x_{g}_{r} = sum_{g}_{r};")));
        }
        self.text += "    }\n";
    }

    /// The products of the inputs `from..to`, four at a time.
    fn products(&mut self, layer: &NarrowLayer, stride: u32, from: u32, to: u32, first: bool) {
        let whole = (to - from) / 4;
        if whole > 0 {
            push(&mut self.text, format_args!("    for (var i = 0u; i < {whole}u; i++) {{"));
            self.block(layer, stride, from, 4, "i", first);
            self.text += "    }\n";
        }
        if !to.is_multiple_of(4) {
            self.text += "    {\n";
            self.block(layer, stride, from, to % 4, &format!("{whole}u"), first);
            self.text += "    }\n";
        }
    }

    /// The products of `count` inputs from `from + 4 * i` on. Of the first layer's, a lane loads a row; of another's, the
    /// lane i holds four.
    fn block(&mut self, layer: &NarrowLayer, stride: u32, from: u32, count: u32, i: &str, first: bool) {
        let NarrowLayer { weight, units, .. } = *layer;
        let text = &mut self.text;
        let groups = units.div_ceil(self.columns);
        let whole = if units.is_multiple_of(4) { "whole_weights" } else { "weights" };
        for k in 0..count {
            let start = format!("{weight}u + layer * {stride}u + ({}u + {i} * 4u) * {units}u", from + k);
            for g in 0..groups {
                let column = g * self.columns;
                push(text, format_args!("    let w_{k}_{g} = {whole}({start}, {column}u + column, {units}u);"));
            }
        }
        if first {
            for rows in 0..self.rows.div_ceil(self.lanes) {
                let row = rows * self.lanes;
                push(text, format_args!("    let input_{rows} = load(first_row + {row}u + lane, {i} * 4u);"));
            }
        }
        for r in 0..self.rows {
            match first {
                true => {
                    let (rows, lane) = (r / self.lanes, r % self.lanes);
                    push(text, format_args!("    let value_{r} = subgroupBroadcast(input_{rows}, {lane}u);"));
                }
                false => {
                    let g = from / self.columns;
                    push(text, format_args!("    let value_{r} = subgroupShuffle(x_{g}_{r}, {i});"));
                }
            }
            for (k, axis) in (0..count).zip(["x", "y", "z", "w"]) {
                for g in 0..groups {
                    let sum = format!("sum_{g}_{r}");
                    push(text, format_args!("    {sum} = fma(vec4f(value_{r}.{axis}), w_{k}_{g}, {sum});"));
                }
            }
        }
    }

    fn activation(&mut self, activation: Activation, units: u32) {
        let groups = units.div_ceil(self.columns);
        let text = &mut self.text;
        match activation {
            Activation::Identity => {}
            Activation::Softmax => {
                for g in 0..groups {
                    let columns = format!("{}u + column + vec4u(0u, 1u, 2u, 3u)", g * self.columns);
                    push(text, format_args!("    let inside_{g} = {columns} < vec4u({units}u);"));
                }
                for r in 0..self.rows {
                    text.push_str("    {\n    var most = vec4f(-3.4028234e38);\n    var total = ZERO;\n");
                    for g in 0..groups {
                        push(text, format_args!("    most = max(most, select(most, sum_{g}_{r}, inside_{g}));"));
                    }
                    text.push_str(
                        "    let largest = largest_of_lanes(max(max(most.x, most.y), max(most.z, most.w)));\n",
                    );
                    for g in 0..groups {
                        push(text, format_args!("    sum_{g}_{r} = exp(sum_{g}_{r} - largest);"));
                        push(text, format_args!("    total += select(ZERO, sum_{g}_{r}, inside_{g});"));
                    }
                    text.push_str("    let sum = sum_of_lanes((total.x + total.y) + (total.z + total.w));\n");
                    (0..groups).for_each(|g| push(text, format_args!("    sum_{g}_{r} /= sum;")));
                    text.push_str("    }\n");
                }
            }
            activation => {
                let function = activation_name("", activation);
                for g in 0..groups {
                    for r in 0..self.rows {
                        push(text, format_args!("    sum_{g}_{r} = {function}(sum_{g}_{r});"));
                    }
                }
            }
        }
    }

    /// Rows leave with a lane for each: four of their columns at a time come to it from lane i.
    fn stores(&mut self, outputs: u32) {
        for from in (0..outputs).step_by(self.columns as usize) {
            let g = from / self.columns;
            let count = quads(outputs.min(from + self.columns) - from);
            push(&mut self.text, format_args!("    for (var i = 0u; i < {count}u; i++) {{"));
            for rows in 0..self.rows.div_ceil(self.lanes) {
                push(&mut self.text, format_args!("    var row_{rows} = ZERO;"));
            }
            for r in 0..self.rows {
                let (rows, lane) = (r / self.lanes, r % self.lanes);
                let value = format!("subgroupShuffle(x_{g}_{r}, i)");
                push(&mut self.text, format_args!("    row_{rows} = select(row_{rows}, {value}, lane == {lane}u);"));
            }
            for rows in 0..self.rows.div_ceil(self.lanes) {
                let row = rows * self.lanes;
                push(
                    &mut self.text,
                    format_args!("    store(first_row + {row}u + lane, {from}u + i * 4u, row_{rows});"),
                );
            }
            self.text += "    }\n";
        }
    }
}

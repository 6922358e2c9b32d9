//! Text of the kernel for GPUs: `shaders/narrow_rows.wgsl.in`, a table of the layers, and functions of other kernels.

use super::*;
use crate::activation::Activation;

/// Invocations of a workgroup. Each computes 4x4 values. A multiple of 128 computes whole rows of up to 64 columns.
/// More invocations would share no more loads, and small batches would make fewer workgroups.
const LANES: u32 = 128;

/// Terms of a sum that are added without a test, in layers whose weights are whole vectors.
const STEPS: u32 = 8;

/// No tensor, in the table of layers.
const NONE: u32 = u32::MAX;

/// The kernel for GPUs.
pub(super) fn launch(op: &NarrowRows) -> Launch {
    let text = Text::of(op);
    let row_quads = LANES / text.column_quads;
    let bindings = op.buffers.iter().map(|&(tensor, access)| Operand { access, ..read(tensor) }).collect();
    let workgroups = op.batch().div_ceil(4 * row_quads).into();
    Launch { shader: shader(op.kernel_name(), text.source(row_quads), []), uniforms: vec![], bindings, workgroups }
}

/// Number of vectors in the rows of a block: the least power of two for the longest row, at least 4.
fn column_quads(op: &NarrowRows) -> u32 {
    let columns = op.parts.iter().flat_map(|part| match part {
        Op::Gather(Gather { x, .. }) => vec![x.columns()],
        Op::Encode(Encode { x, output, .. }) => vec![x.columns(), output.columns()],
        Op::HashGridForward(HashGridForward { x, y, .. }) => vec![x.columns(), y.columns()],
        Op::Matmul(matmul) => vec![matmul.a.columns(), matmul.c.columns()],
        Op::Pointwise(Pointwise { output, .. }) => vec![output.columns()],
        _ => vec![],
    });
    columns.max().unwrap_or(1).div_ceil(4).next_power_of_two().max(4)
}

/// A part of `evaluate`.
enum Stage {
    Line(String),
    /// Layers of the table that follow each other.
    Layers {
        function: &'static str,
        first: usize,
        end: usize,
    },
}

/// The text while it is written.
struct Text<'a> {
    op: &'a NarrowRows,
    /// Functions copied from other kernels.
    functions: Vec<String>,
    stages: Vec<Stage>,
    layers: Vec<[u32; 8]>,
    /// Activations whose values and whose derivatives are computed, without the identity.
    activations: [Vec<Activation>; 2],
    /// The tensor whose block is in workgroup memory.
    current: Option<Tensor>,
    /// Vectors in the rows of a block.
    column_quads: u32,
}

impl<'a> Text<'a> {
    fn of(op: &'a NarrowRows) -> Self {
        let mut text = Self {
            op,
            functions: Vec::new(),
            stages: Vec::new(),
            layers: Vec::new(),
            activations: Default::default(),
            current: None,
            column_quads: column_quads(op),
        };
        let mut parts = op.parts.iter().enumerate().peekable();
        while let Some((i, part)) = parts.next() {
            match part {
                Op::Gather(gather) => text.gather(gather),
                Op::Encode(encode) => text.encode(i, encode),
                Op::HashGridForward(grid) => text.hash_grid(i, grid),
                Op::LossOp(loss) => text.loss(loss),
                Op::Pointwise(pointwise) => text.pointwise(pointwise),
                Op::Matmul(matmul) => {
                    let is_plain = matches!(
                        matmul.epilogue,
                        Epilogue::None | Epilogue::Bias { activation: Activation::Identity, .. }
                    );
                    let follows = |part: &Op| is_plain && matches!(part, Op::Pointwise(next) if next.input == matmul.c);
                    let next = parts.next_if(|(_, part)| follows(part)).map(|(_, part)| part);
                    text.layer(matmul, if let Some(Op::Pointwise(next)) = next { Some(next) } else { None });
                }
                other => unreachable!("{other} is no part of {}", op.stem()),
            }
        }
        text
    }

    fn source(mut self, row_quads: u32) -> String {
        let op = self.op;
        let [activated, differentiated] = &self.activations;
        activation_functions(&mut self.functions, "", "activate", activated);
        activation_functions(&mut self.functions, "", "derivative", differentiated);
        let constants = [
            ("BATCH", op.batch()),
            ("ROW_QUADS", row_quads),
            ("COLUMN_QUADS", self.column_quads),
            ("PARAMETERS", op.parameter_words()),
        ];
        let constants: String =
            constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
        let quads = |layer: &[u32; 8]| {
            let [a, b, c, d, e, f, g, h] = layer;
            format!("    vec4u({a}u, {b}u, {c}u, {d}u), vec4u({e}u, {f}u, {g}u, {h}u),\n")
        };
        let table: String = self.layers.iter().map(quads).collect();
        let table = format!("const LAYERS = array<vec4u, {}>(\n{table});\n", 2 * self.layers.len());
        let line = |stage: &Stage| match stage {
            Stage::Line(line) => format!("    {line}\n"),
            Stage::Layers { function, first, end } => format!("    {function}(own, vec2u({first}u, {end}u));\n"),
        };
        let evaluate: String = self.stages.iter().map(line).collect();
        let contents = op.contents();
        let is_value = |holds: &&Holds| matches!(holds, Holds::Values(_));
        let written = contents.iter().zip(&op.buffers).filter(|(_, (_, access))| *access != Access::Read);
        let counts = [
            ("row", 4),
            ("column", 4),
            ("half", 2),
            ("step", STEPS),
            ("steps", STEPS),
            ("buffer", contents.iter().filter(is_value).count() as u32),
            ("written", written.map(|(holds, _)| holds).filter(is_value).count() as u32),
        ];
        let whole = |numbers: u32| move |layer: &[u32; 8]| layer[3].is_multiple_of(numbers);
        let conditions = [
            ("some rows of W are whole vectors", self.layers.iter().any(whole(4))),
            ("some rows of W are no whole vectors", !self.layers.iter().all(whole(4))),
            ("some rows of W are whole octets", self.layers.iter().any(whole(8))),
            ("some rows of W are no whole octets", !self.layers.iter().all(whole(8))),
            ("some sums are stored", self.layers.iter().any(|layer| layer[4] != NONE)),
        ];
        let kernel = text!("narrow_rows.buffers.wgsl.in", "narrow_rows.wgsl.in");
        [
            op.declarations("f32", "vec4f"),
            constants,
            table,
            self.functions.concat(),
            choice("activated", "activate", activated),
            choice("differentiated", "derivative", differentiated),
            template::expand(kernel, &counts, &conditions),
            format!("fn evaluate(own: Own, row: u32, lane: u32) {{\n{evaluate}}}\n"),
        ]
        .concat()
    }

    fn line(&mut self, line: String) {
        self.stages.push(Stage::Line(line));
    }

    /// A tensor in the tables and calls: its first word plus the number of its buffer.
    fn tensor(&self, tensor: Tensor) -> u32 {
        let (buffer, offset) = self.op.values(tensor);
        offset + buffer as u32
    }

    /// Makes sure that workgroup memory holds the block of a tensor.
    fn load(&mut self, tensor: Tensor) {
        if self.current != Some(tensor) {
            self.line(format!("load_block(own, {}u, {}u);", self.tensor(tensor), tensor.columns()));
            self.current = Some(tensor);
        }
    }

    /// Stores values, and makes them the block in workgroup memory.
    fn store(&mut self, values: String, tensor: Tensor) {
        self.line(format!("keep_and_store(own, {}u, {}u, {values});", self.tensor(tensor), tensor.columns()));
        self.current = Some(tensor);
    }

    fn gather(&mut self, gather: &Gather) {
        load_columns(&mut self.functions);
        let text = template::expand(text!("narrow_rows.gather.wgsl.in"), &[("row", 4)], &[]);
        self.functions.push(text);
        self.store(format!("gathered(own, {}u)", gather.x.columns()), gather.x);
    }

    fn encode(&mut self, i: usize, encode: &Encode) {
        self.load(encode.x);
        let name = format!("feature_{i}");
        let encoding = encode.parts[0].encoding;
        feature(&mut self.functions, encoding, "feature", &name, "encoding_");
        let text = template::expand(text!("narrow_rows.encode.wgsl.in"), &[("column", 4)], &[]);
        let text = text.replace("encoded", &format!("encoded_{i}")).replace("feature", &name);
        self.functions.push(text.replace("FEATURES", &format!("{}u", encoding.features())));
        self.store(format!("encoded_{i}(own, {}u)", encode.output.columns()), encode.output);
    }

    fn hash_grid(&mut self, i: usize, grid: &HashGridForward) {
        self.load(grid.x);
        let (levels, columns) = (grid.levels.rows(), grid.y.columns());
        let (dimensions, features) = (grid.x.columns(), columns / levels);
        let words = self.op.levels.iter().find(|(tensor, _)| *tensor == grid.levels).map(|(_, words)| &words[..]);
        let (table, name) = (self.op.parameter(grid.table), format!("level_{i}"));
        let (options, prefix) = ((grid.options, dimensions), format!("grid_{i}_"));
        interpolation(&mut self.functions, options, ("parameters", table), &name, &prefix);
        let rows: Vec<String> = words.unwrap_or_default().chunks_exact(4).map(of_level).collect();
        self.functions.push(format!("const levels_{i} = array<vec4u, {levels}>({});\n", rows.join(", ")));
        let counts = [("row", 4), ("dimension", dimensions), ("level", 4 / features), ("features", features)];
        let text = template::expand(text!("narrow_rows.hash_grid.wgsl.in"), &counts, &[]);
        let text = text.replace("interpolated", &format!("interpolated_{i}")).replace("level_of", &name);
        self.functions.push(text.replace("levels_at", &format!("levels_{i}")));
        self.store(format!("interpolated_{i}(own, {columns}u)"), grid.y);
    }

    fn layer(&mut self, matmul: &Matmul, next: Option<&Pointwise>) {
        self.load(matmul.a);
        let backward = matmul.layout == Layout::Nt;
        let (bias, saved, own) = match matmul.epilogue {
            Epilogue::Bias { bias, activation } => (bias, None, activation),
            Epilogue::Derivative { saved, activation } => (None, Some(saved), activation),
            _ => (None, None, Activation::Identity),
        };
        // The matmul's own activation is the identity if an op follows.
        debug_assert!(next.is_none() || (own == Activation::Identity && saved.is_none()), "{matmul:?}, {next:?}");
        let (saved, activation) = next.map_or((saved, own), |next| (next.saved, next.activation));
        let output = next.map_or(matmul.c, |next| next.output);
        let [inputs, units] = [matmul.b.rows(), matmul.b.columns()];
        let second = match backward {
            true => saved.map(|saved| self.tensor(saved)),
            false => bias.map(|bias| self.op.parameter(bias)),
        };
        let sums = next.map(|_| self.tensor(matmul.c));
        let layer = [
            self.op.parameter(matmul.b),
            second.unwrap_or(NONE),
            inputs,
            units,
            sums.unwrap_or(NONE),
            self.tensor(output),
            self.function(backward, activation),
            self.shares(output.columns()),
        ];
        let (function, at) = (if backward { "backward" } else { "forward" }, self.layers.len());
        self.layers.push(layer);
        match self.stages.last_mut() {
            Some(Stage::Layers { function: last, end, .. }) if *last == function => *end += 1,
            _ => self.stages.push(Stage::Layers { function, first: at, end: at + 1 }),
        }
        self.current = Some(output);
    }

    fn pointwise(&mut self, pointwise: &Pointwise) {
        self.load(pointwise.input);
        let function = self.function(pointwise.saved.is_some(), pointwise.activation);
        let columns = pointwise.output.columns();
        let values = match pointwise.saved {
            Some(saved) => {
                let saved = format!("load(own, {}u, {columns}u)", self.tensor(saved));
                format!("differentiated_rows({function}u, kept(own), {saved})")
            }
            None => format!("activated_rows({function}u, kept(own))"),
        };
        self.store(values, pointwise.output);
    }

    /// The gradient is in memory afterwards, and a layer loads it from there.
    fn loss(&mut self, loss: &LossOp) {
        let at = |tensor| {
            let (buffer, offset) = self.op.values(tensor);
            format!("values_{buffer}[{offset}u + row * u.outputs + i]")
        };
        let (output, gradient) = (at(loss.output), loss.gradient.map(at));
        let store = gradient.map_or(String::new(), |gradient| format!("{gradient} = value;"));
        loss.excerpt(&mut self.functions, "add_row", "loss_", [&output, &store]);
        self.line("storageBarrier();".into());
        self.line("if lane < ROWS { add_row(row); }".into());
        self.current = None;
    }

    /// Number of invocations that share the terms of a sum, if a layer has this many columns.
    fn shares(&self, columns: u32) -> u32 {
        self.column_quads / columns.div_ceil(4).next_power_of_two()
    }

    /// Number of an activation or a derivative in the text. 0 is the identity.
    fn function(&mut self, derivative: bool, activation: Activation) -> u32 {
        if activation == Activation::Identity {
            return 0;
        }
        let known = &mut self.activations[usize::from(derivative)];
        let at = known.iter().position(|known| *known == activation).unwrap_or_else(|| {
            known.push(activation);
            known.len() - 1
        });
        at as u32 + 1
    }
}

/// A level of a hash grid as a constant.
fn of_level(words: &[u32]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word}u")).collect();
    format!("vec4u({})", words.join(", "))
}

/// The function `name`, which calls the function with the given number.
fn choice(name: &str, function: &str, activations: &[Activation]) -> String {
    let case = |(i, &activation): (usize, &Activation)| {
        let called = activation_name("", function, activation);
        format!("        case {}u: {{ return {called}(z); }}\n", i + 1)
    };
    let cases: String = activations.iter().enumerate().map(case).collect();
    let identity = if function == "activate" { "z" } else { "vec4f(1.0)" };
    let default = format!("        default: {{ return {identity}; }}\n");
    format!("\nfn {name}(function: u32, z: vec4f) -> vec4f {{\n    switch function {{\n{cases}{default}    }}\n}}\n")
}

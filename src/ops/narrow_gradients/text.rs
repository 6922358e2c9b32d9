//! Kernels for GPUs: `shaders/narrow_gradients.wgsl.in`, and `shaders/narrow_gradients.parts.wgsl.in`, which adds the
//! sums of the slices.

use super::*;

/// Most slices. Each writes one sum for every weight.
const MOST_SLICES: u32 = 128;
/// Rows in workgroup memory at a time. Slices are multiples of it.
const ROWS: u32 = 32;
/// Least rows of a slice, if there are several.
const LEAST_ROWS: u32 = 64;
/// Longest batch with one slice. It saves the second dispatch.
const LONGEST_WHOLE: u32 = 256;
/// Vectors of sums that a workgroup of the second dispatch adds.
const QUADS: u32 = 64;

/// Invocations of a workgroup of the first dispatch. Each sums 4x4 elements.
const LANES: u32 = 256;
/// Rows that an invocation adds without a test.
const STEPS: u32 = 4;

/// No biases, in the table of layers.
const NONE: u32 = u32::MAX;

/// Bindings of the optimizer's step and of the gradients: see `update.functions.wgsl.in`.
const FIRST_WRITTEN: usize = 2;
const WRITTEN: usize = 4;

/// What becomes of the sums of a dispatch.
#[derive(Clone, Copy, PartialEq)]
enum Sums {
    /// They are parts of the sums.
    Parts,
    Stored,
    Update,
}

/// The dispatches on GPUs.
pub(super) fn launches(op: &NarrowGradients) -> Vec<Launch> {
    let (slices, rows) = slices(op.batch());
    let written = op.written_operands();
    let end = if op.step.is_some() { Sums::Update } else { Sums::Stored };
    let constants = op.step.as_ref().map_or(vec![], |step| step.constants());
    let workgroups = u64::from(slices) * op.matmuls().count() as u64;
    let row_operands: Vec<Operand> = op.rows.iter().map(|&tensor| read(tensor)).collect();
    if slices == 1 && row_operands.len() <= 2 * FIRST_WRITTEN {
        // The rows are bound before and after the operands of the step.
        let mut bindings = row_operands;
        bindings.resize(bindings.len().max(FIRST_WRITTEN), read(None));
        bindings.splice(FIRST_WRITTEN..FIRST_WRITTEN, written);
        let shader = shader(op.stem(), source(op, slices, rows, end), constants);
        return vec![Launch { shader, uniforms: vec![], bindings, workgroups }];
    }
    let words = u64::from(slices) * u64::from(op.words());
    let first = Launch {
        shader: shader(op.stem(), source(op, slices, rows, Sums::Parts), []),
        uniforms: vec![],
        bindings: [row_operands, vec![write_scratch(words)]].concat(),
        workgroups,
    };
    let second = Launch {
        shader: shader("narrow_gradients.parts", source_of_sum(op, slices, end), constants),
        uniforms: vec![],
        bindings: [vec![read_scratch(words), read(None)], written].concat(),
        workgroups: (op.words() / 4).div_ceil(QUADS).into(),
    };
    vec![first, second]
}

/// Number of slices of a batch, and the rows of each.
fn slices(batch: u32) -> (u32, u32) {
    let most = if batch <= LONGEST_WHOLE { 1 } else { batch.div_ceil(LEAST_ROWS).min(MOST_SLICES) };
    let rows = batch.div_ceil(most).next_multiple_of(ROWS);
    (batch.div_ceil(rows), rows)
}

/// Number of invocations that share an element's rows: the largest power of two for which there are invocations, and
/// rows in workgroup memory.
fn shares(inputs: u32, units: u32) -> u32 {
    let most = (LANES / (inputs.div_ceil(4) * units.div_ceil(4))).min(ROWS / STEPS);
    1 << most.ilog2()
}

/// Text of the dispatch that reads the rows.
fn source(op: &NarrowGradients, slices: u32, rows: u32, sums: Sums) -> String {
    let numbers = 0..op.rows.len();
    let binding = |i: usize| match sums {
        Sums::Parts => i + 1,
        _ if i < FIRST_WRITTEN => i + 1,
        _ => i + 1 + WRITTEN,
    };
    let mut text: String =
        numbers.clone().map(|i| declaration(binding(i), "read", &format!("values_{i}"), "f32")).collect();
    if sums == Sums::Parts {
        text += &declaration(op.rows.len() + 1, "read_write", "parts", "vec4f");
    }
    let tensor = |tensor: Tensor| {
        let at = op.rows.iter().position(|whole| whole.buffer == tensor.buffer).expect("a buffer of the op");
        tensor.offset - op.rows[at].offset + at as u32
    };
    let layers = op.matmuls().map(|matmul| {
        let (a, b) = (matmul.a, matmul.b);
        let (weights, biases) = op.places(matmul);
        let [x, z, inputs, units] = [tensor(a), tensor(b), a.columns(), b.columns()];
        let (biases, shares) = (biases.unwrap_or(NONE), shares(inputs, units));
        format!("    vec4u({x}u, {z}u, {inputs}u, {units}u), vec4u({weights}u, {biases}u, {shares}u, 0u),\n")
    });
    let table: String = layers.collect();
    let count = op.matmuls().count() as u32;
    text += &format!("const LAYERS = array<vec4u, {}>(\n{table});\n", 2 * count);
    let constants =
        [("BATCH", op.batch()), ("SLICE", rows), ("SLICES", slices), ("LAYER_COUNT", count), ("NONE", NONE)];
    text += &op.rest(&constants, sums);
    let counts = [("row", 4), ("load", 4), ("step", STEPS), ("steps", STEPS), ("buffer", op.rows.len() as u32)];
    text + &template::expand(text!("narrow_gradients.wgsl.in"), &counts, &conditions(sums))
}

/// Text of the dispatch that adds the sums of the slices.
fn source_of_sum(op: &NarrowGradients, slices: u32, sums: Sums) -> String {
    let mut text = declaration(1, "read", "parts", "vec4f");
    let tensors = op.matmuls().flat_map(|matmul| {
        let (weights, biases) = op.places(matmul);
        [(weights, matmul.c.len())].into_iter().chain(biases.map(|biases| (biases, matmul.b.columns())))
    });
    let tensors: Vec<String> = tensors.map(|(first, len)| format!("vec2u({first}u, {len}u)")).collect();
    let count = tensors.len();
    text += &format!("const TENSORS = array<vec2u, {count}>({});\n", tensors.join(", "));
    text += &op.rest(&[("SLICES", slices), ("TENSOR_COUNT", count as u32)], sums);
    text + &template::expand(text!("narrow_gradients.parts.wgsl.in"), &[("quarter", 4)], &conditions(sums))
}

fn conditions(sums: Sums) -> [(&'static str, bool); 5] {
    [
        ("the weights are updated", sums == Sums::Update),
        ("the weights are not updated", sums != Sums::Update),
        ("the sums are parts", sums == Sums::Parts),
        ("the sums are stored", sums == Sums::Stored),
        ("the sums update weights", sums == Sums::Update),
    ]
}

fn declaration(binding: usize, access: &str, name: &str, element: &str) -> String {
    format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n")
}

impl NarrowGradients {
    fn batch(&self) -> u32 {
        self.matmuls().next().map_or(0, |matmul| matmul.b.rows())
    }

    /// Number of gradients, with the gaps between tensors.
    fn words(&self) -> u32 {
        self.written().map_or(0, |written| written.len())
    }

    /// Operands of the step or the gradients, from binding 3.
    fn written_operands(&self) -> Vec<Operand> {
        match &self.step {
            Some(step) => step.operands(),
            None => {
                let mut operands = vec![change(self.gradients)];
                operands.resize(WRITTEN, read(None));
                operands
            }
        }
    }

    /// First words of a layer's weights and biases among the gradients.
    fn places(&self, matmul: &Matmul) -> (u32, Option<u32>) {
        let first = self.written().map_or(0, |written| written.offset);
        (matmul.c.offset - first, matmul.bias_gradient.map(|bias| bias.offset - first))
    }

    /// Constants and the function `emit`.
    fn rest(&self, constants: &[(&str, u32)], sums: Sums) -> String {
        let all = constants.iter().copied().chain([("WORDS", self.words())]);
        let constants: String = all.map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
        let bindings = match sums {
            Sums::Parts => String::new(),
            Sums::Stored => declaration(FIRST_WRITTEN + 1, "read_write", "gradients", "vec4f"),
            Sums::Update => {
                let [parameters, moments] = [("parameters", 2), ("moments", 3)]
                    .map(|(name, after)| declaration(FIRST_WRITTEN + after, "read_write", name, "vec4f"));
                [OptimizerStep::TEXT, &parameters, &moments].concat()
            }
        };
        let emit = template::expand(text!("narrow_gradients.emit.wgsl.in"), &[], &conditions(sums));
        [constants, bindings, emit].concat()
    }
}

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

/// Own bindings of a dispatch before those of the optimizer's step, whose places are fixed: see
/// `update.functions.wgsl.in`. The other own bindings follow.
const BEFORE_STEP: usize = 2;
/// Bindings of the step.
const OF_STEP: usize = 4;

/// Storage bindings of a kernel on every device.
const MOST_BINDINGS: usize = 8;

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
    let end = if op.step.is_some() { Sums::Update } else { Sums::Stored };
    let words = u64::from(slices) * u64::from(op.words());
    let first = |sums| {
        let own = op.rows.iter().map(|&tensor| read(tensor)).collect();
        let workgroups = u64::from(slices) * op.matmuls().count() as u64;
        op.launch(op.stem(), source(op, slices, rows, sums), own, sums, words, workgroups)
    };
    let whole = first(end);
    if slices == 1 && whole.bindings.len() <= MOST_BINDINGS {
        return vec![whole];
    }
    let workgroups = (op.words() / 4).div_ceil(QUADS).into();
    let source = source_of_sum(op, slices, end);
    let second = op.launch("narrow_gradients.parts", source, vec![read_scratch(words)], end, words, workgroups);
    vec![first(Sums::Parts), second]
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
    let own: Vec<String> = (0..op.rows.len()).map(|i| format!("values_{i}: array<f32>")).collect();
    let mut text = declarations(&own, sums) + &format!("const LAYERS = array<vec4u, {}>(\n{table});\n", 2 * count);
    let constants =
        [("BATCH", op.batch()), ("SLICE", rows), ("SLICES", slices), ("LAYER_COUNT", count), ("NONE", NONE)];
    text += &op.rest(&constants, sums);
    let counts = [("row", 4), ("load", 4), ("step", STEPS), ("steps", STEPS), ("buffer", op.rows.len() as u32)];
    text + &template::expand(text!("narrow_gradients.wgsl.in"), &counts, &conditions(sums))
}

/// Text of the dispatch that adds the sums of the slices.
fn source_of_sum(op: &NarrowGradients, slices: u32, sums: Sums) -> String {
    let tensors = op.matmuls().flat_map(|matmul| {
        let (weights, biases) = op.places(matmul);
        [(weights, matmul.c.len())].into_iter().chain(biases.map(|biases| (biases, matmul.b.columns())))
    });
    let tensors: Vec<String> = tensors.map(|(first, len)| format!("vec2u({first}u, {len}u)")).collect();
    let count = tensors.len();
    let mut text = declarations(&["parts: array<vec4f>".into()], sums);
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

/// Declarations of the bindings: see [`NarrowGradients::launch`].
fn declarations(own: &[String], sums: Sums) -> String {
    let binding =
        |at: usize, access: &str, name: &str| format!("@group(0) @binding({at}) var<storage, {access}> {name};\n");
    let place = |i: usize| if sums == Sums::Update && i >= BEFORE_STEP { i + 1 + OF_STEP } else { i + 1 };
    let text: String = own.iter().enumerate().map(|(i, name)| binding(place(i), "read", name)).collect();
    match sums {
        Sums::Parts => text + &binding(own.len() + 1, "read_write", "parts: array<vec4f>"),
        Sums::Stored => text + &binding(own.len() + 1, "read_write", "gradients: array<vec4f>"),
        Sums::Update => {
            let unused = (own.len()..BEFORE_STEP).map(|i| binding(i + 1, "read", &format!("unused_{i}: array<f32>")));
            let parameters = binding(BEFORE_STEP + 2, "read_write", "parameters: array<vec4f>");
            let moments = binding(BEFORE_STEP + 3, "read_write", "moments: array<vec4f>");
            text + &unused.collect::<String>() + OptimizerStep::TEXT + &parameters + &moments
        }
    }
}

impl NarrowGradients {
    pub(super) fn batch(&self) -> u32 {
        self.matmuls().next().map_or(0, |matmul| matmul.b.rows())
    }

    /// Number of gradients, with the gaps between tensors.
    fn words(&self) -> u32 {
        self.written().map_or(0, |written| written.len())
    }

    /// A dispatch that reads its own operands. `words` is the number of words of all parts.
    fn launch(
        &self,
        name: &'static str,
        source: String,
        own: Vec<Operand>,
        sums: Sums,
        words: u64,
        workgroups: u64,
    ) -> Launch {
        let (mut bindings, mut constants) = (own, Vec::new());
        match (sums, &self.step) {
            (Sums::Parts, _) => bindings.push(write_scratch(words)),
            (Sums::Update, Some(step)) => {
                bindings.resize(bindings.len().max(BEFORE_STEP), read(None));
                bindings.splice(BEFORE_STEP..BEFORE_STEP, step.operands());
                constants = step.constants();
            }
            _ => bindings.push(change(self.gradients)),
        }
        Launch { shader: shader(name, source, constants), uniforms: vec![], bindings, workgroups }
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
        let emit = template::expand(text!("narrow_gradients.emit.wgsl.in"), &[], &conditions(sums));
        constants + &emit
    }
}

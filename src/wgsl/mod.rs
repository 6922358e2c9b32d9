//! WGSL that evaluates a network of narrow layers, for one row in one invocation of an app's own shader.

mod encodings;
mod names;

use std::fmt;
use std::num::NonZeroU64;

use crate::error::{Error, Result};
use crate::ops::writer::{Place, Writer, element, part, push, quads};
use crate::plan::NarrowNetwork;

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
/// read-only storage. Dense layers of up to 16 inputs are straight lines, a multiply-add for each weight. Longer ones
/// are loops, as are layers alike and the features of encodings, which are stored nowhere. Layers of 16 or 32 suit a
/// shader that calls the function often.
///
/// Many drivers compile a shader when it is first drawn or dispatched. Draw once while the app starts, with a scissor
/// of one pixel, so that no frame waits for it. Software Vulkan (lavapipe) takes 1.8 s of CPU time to compile a
/// fragment shader with the network 2-32-32-3, and 3.4 s with 2-64-64-3.
#[derive(Debug, Clone, PartialEq)]
pub struct Wgsl {
    name: String,
    group: u32,
    binding: u32,
    network: NarrowNetwork,
    /// Length of the parameter buffer, in numbers.
    words: u32,
}

/// The largest uniform binding that every device allows, in bytes.
const LARGEST_UNIFORM: u32 = 1 << 16;

impl Wgsl {
    pub(crate) fn new(name: &str, network: NarrowNetwork, words: u32) -> Result<Self> {
        let fault = |expected| {
            let actual = format!("{name:?}");
            Err(Error::InvalidOption { name: "name of a WGSL function", expected, actual })
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(letters) {
            return fault("letters, digits and underscores, a letter first");
        }
        if names::is_taken(name) {
            return fault("no keyword, reserved word, or name of a built-in function, type or value of WGSL");
        }
        Ok(Self { name: name.into(), group: 0, binding: 0, network, words })
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
        let Self { name, group, binding, network, words } = self;
        let NarrowNetwork { encodings, layers } = network;
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let space = if self.is_uniform() { "uniform" } else { "storage, read" };
        let (prefix, parameters) = (format!("{name}_"), format!("{name}_parameters"));
        let vectors = words / 4;
        writeln!(f, "@group({group}) @binding({binding}) var<{space}> {parameters}: array<vec4f, {vectors}>;\n")?;
        let place = if encodings.is_empty() { Place::Vectors } else { Place::Encoded };
        let text = encodings::functions(encodings, &prefix, &parameters);
        let mut writer = Writer { text, parameters: &parameters, prefix: &prefix, place };
        writer.functions(layers);
        push(&mut writer.text, format_args!("fn {name}(input: {}) -> {} {{", of_type(inputs), of_type(outputs)));
        // What an encoding is given is no row of a layer.
        let (given, layers_in_vectors) = match place {
            Place::Encoded => (0, &layers[1..]),
            _ => (inputs, &layers[..]),
        };
        let widest = layers_in_vectors.iter().map(|layer| layer.inputs).max().unwrap_or(0);
        for q in 0..quads(widest) {
            let of = |i| if i < given { part("input", i, inputs) } else { "0.0".into() };
            let start = [0, 1, 2, 3].map(|i| of(q * 4 + i)).join(", ");
            let start = if q * 4 < given { format!(" = vec4f({start})") } else { String::new() };
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

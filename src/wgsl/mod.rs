//! WGSL text that evaluates a network of narrow layers. One invocation of an app's shader computes one row.

mod encodings;
mod names;

use std::fmt;
use std::num::NonZeroU64;

use crate::error::{Error, Result};
use crate::ops::writer::{Place, Writer, element, part, push, quads};
use crate::plan::NarrowNetwork;

/// A WGSL function that evaluates a network inside an app's own shader. [`Model::wgsl`](crate::Model::wgsl) makes it.
///
/// It works in every shader stage. It prints as text; put that text in front of the shader. The text declares the
/// parameter buffer, helper functions and the function itself. The names of the helpers begin with the function's name.
/// For example:
///
/// ```wgsl
/// fn network(input: vec3f) -> f32
/// ```
///
/// The type of one input or output is `f32`. For 2 to 4 it is a vector, and for more an `array<f32, N>`.
///
/// Weights of up to 64 KiB are in a uniform buffer, which every device can bind. More weights are in read-only storage.
/// Dense layers with up to 16 inputs become straight-line code with a multiply-add for each weight. Larger layers,
/// equal layers and features of encodings become loops. If a shader calls the function often, use layers with 16 or 32
/// units.
///
/// Many drivers compile a shader when it is first drawn or dispatched. To avoid a slow frame, draw once with a scissor
/// of one pixel while the app starts. Software Vulkan (lavapipe) compiles a fragment shader with the network 2-32-32-3
/// in 1.8 s of CPU time. It takes 3.4 s for 2-64-64-3.
#[derive(Debug, Clone, PartialEq)]
pub struct Wgsl {
    name: String,
    group: u32,
    binding: u32,
    network: NarrowNetwork,
    /// Length of the parameter buffer in f32.
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
            return fault("a letter, then letters, digits and underscores");
        }
        if names::is_taken(name) {
            return fault("other than a keyword, reserved word or built-in of WGSL");
        }
        Ok(Self { name: name.into(), group: 0, binding: 0, network, words })
    }

    /// Sets the group and the binding of the parameter buffer. Default: group 0, binding 0.
    pub fn bound_at(self, group: u32, binding: u32) -> Self {
        Self { group, binding, ..self }
    }

    /// The binding type of the parameter buffer, for the app's bind group layout.
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

/// Prints the WGSL text.
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
        // The input of an encoding is not stored as a layer's row.
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

/// The WGSL type of a row with this number of elements.
fn of_type(numbers: u32) -> String {
    match numbers {
        1 => "f32".into(),
        2..=4 => format!("vec{numbers}f"),
        _ => format!("array<f32, {numbers}>"),
    }
}

//! WGSL text that evaluates a network of narrow layers. One invocation of an app's shader computes one row.

mod composite;
mod encodings;
mod gradients;
mod names;

use std::fmt;
use std::num::NonZeroU64;

use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::ops::writer::{Place, Writer, element, part, push, quads};
use crate::plan::{NarrowEncoding, NarrowLayer, NarrowNetwork};

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
/// in 0.6 s of CPU time. It takes 2 s for 2-64-64-3. The example `first_frame` measures it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wgsl {
    name: String,
    group: u32,
    binding: u32,
    network: NarrowNetwork,
    /// Length of the parameter buffer in f32.
    words: u32,
    /// Whether the text has the function of the gradient too.
    gradient: bool,
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
        Ok(Self { name: name.into(), group: 0, binding: 0, network, words, gradient: false })
    }

    /// Sets the group and the binding of the parameter buffer. Default: group 0, binding 0.
    pub fn bound_at(self, group: u32, binding: u32) -> Self {
        Self { group, binding, ..self }
    }

    /// Adds a second function to the text: the gradient of the outputs with respect to the inputs. Its name ends in
    /// `_gradient`. Default: the text has no such function.
    ///
    /// If the network has one output, the function takes the input only. For example, the normal of a surface where a
    /// network of distances is 0 is `normalize(network_gradient(p))`:
    ///
    /// ```wgsl
    /// fn network_gradient(input: vec3f) -> vec3f
    /// ```
    ///
    /// If it has several outputs, the function also takes a weight for each output. It returns the gradient of the
    /// weighted sum Σⱼ output_gradient\[j\] · output\[j\], a vector-Jacobian product. The weight of one output is 1 and
    /// the others are 0 for a row of the Jacobian. The weights are the gradient of the app's own loss to continue a
    /// backward pass:
    ///
    /// ```wgsl
    /// fn network_gradient(input: vec2f, output_gradient: vec3f) -> vec2f
    /// ```
    ///
    /// The gradient is computed by reverse mode, without finite differences. It is the gradient that a
    /// [`Chain`](crate::Chain) computes, up to rounding. It needs two to three times the operations of the
    /// network. At a kink, such as 0 of ReLU, it is the derivative that training uses.
    pub fn with_gradient(self) -> Self {
        Self { gradient: true, ..self }
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
        let Self { name, group, binding, network, words, gradient } = self;
        let NarrowNetwork { encodings, layers } = network;
        let space = if self.is_uniform() { "uniform" } else { "storage, read" };
        let (prefix, parameters) = (format!("{name}_"), format!("{name}_parameters"));
        let vectors = words / 4;
        writeln!(f, "@group({group}) @binding({binding}) var<{space}> {parameters}: array<vec4f, {vectors}>;\n")?;
        let text = encodings::functions(encodings, self.numbers(), &prefix, &parameters, *gradient);
        let mut writer = Writer::new(text, &parameters, &prefix, self.place());
        writer.functions(layers, if *gradient { &["activate", "derivative"] } else { &["activate"] });
        self.network(&mut writer);
        if *gradient {
            writer.place = self.place();
            self.gradient(&mut writer);
        }
        f.write_str(&writer.text)
    }
}

impl Wgsl {
    /// Where the row before the first layer is. The input of an encoding is not stored.
    fn place(&self) -> Place {
        if self.network.encodings.is_empty() { Place::Vectors } else { Place::Encoded(self.numbers()) }
    }

    /// How many numbers of an encoded row are computed at a time. The text of a hash grid's level is long, so it is in
    /// the text only once.
    fn numbers(&self) -> u32 {
        match self.network.encodings.last().map(Vec::as_slice) {
            Some([NarrowEncoding { encoding: Encoding::HashGrid(grid), .. }])
                if self.network.layers[0].units.is_multiple_of(4) =>
            {
                grid.features_per_level.min(4)
            }
            _ => 4,
        }
    }

    /// The layers whose inputs are rows in vectors.
    fn layers_in_vectors(&self) -> &[NarrowLayer] {
        &self.network.layers[usize::from(!self.network.encodings.is_empty())..]
    }

    /// Writes the function that evaluates the network.
    fn network(&self, writer: &mut Writer<'_>) {
        let [inputs, outputs] = [self.network.inputs(), self.network.outputs()].map(of_type);
        push(&mut writer.text, format_args!("fn {}(input: {inputs}) -> {outputs} {{", self.name));
        self.row(writer);
        writer.layers(&self.network.layers);
        let values: Vec<String> = (0..self.network.outputs()).map(|i| element("y", i)).collect();
        writer.line(&format!("return {outputs}({});", values.join(", ")));
        writer.text.push_str("}\n");
    }

    /// Writes the function of the gradient.
    fn gradient(&self, writer: &mut Writer<'_>) {
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let (name, ty) = (&self.name, of_type(inputs));
        let given = if outputs == 1 { String::new() } else { format!(", output_gradient: {}", of_type(outputs)) };
        push(&mut writer.text, format_args!("fn {name}_gradient(input: {ty}{given}) -> {ty} {{"));
        self.row(writer);
        let rows = self.layers_in_vectors().iter().map(|layer| layer.inputs);
        for q in 0..quads(rows.chain(self.network.layers.iter().map(|layer| layer.units)).max().unwrap_or(0)) {
            let of = |i| match outputs {
                1 if i == 0 => "1.0".into(),
                _ if i < outputs => part("output_gradient", i, outputs),
                _ => "0.0".into(),
            };
            writer.line(&format!("var g_{q} = vec4f({});", [0, 1, 2, 3].map(|i| of(q * 4 + i)).join(", ")));
        }
        match self.place() {
            Place::Encoded(_) => {
                writer.line(&format!("var gradient: {ty};"));
                writer.gradient(&self.network.layers);
                writer.line("return gradient;");
            }
            _ => {
                writer.gradient(&self.network.layers);
                let values: Vec<String> = (0..inputs).map(|i| element("g", i)).collect();
                writer.line(&format!("return {ty}({});", values.join(", ")));
            }
        }
        writer.text.push_str("}\n");
    }

    /// Writes the vectors of the rows between the layers. The first row is the input, unless it is encoded.
    fn row(&self, writer: &mut Writer<'_>) {
        let inputs = self.network.inputs();
        let given = if self.network.encodings.is_empty() { inputs } else { 0 };
        for q in 0..quads(self.layers_in_vectors().iter().map(|layer| layer.inputs).max().unwrap_or(0)) {
            let of = |i| if i < given { part("input", i, inputs) } else { "0.0".into() };
            let start = [0, 1, 2, 3].map(|i| of(q * 4 + i)).join(", ");
            let start = if q * 4 < given { format!(" = vec4f({start})") } else { String::new() };
            writer.line(&format!("var x_{q}: vec4f{start};"));
        }
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

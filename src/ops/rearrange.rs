//! Copies with another layout: transpose, slice, concatenate, repeat.

use super::template::expand;
use super::*;

/// Element-wise output = scale · input between tensors of one shape, with any strides and any first element. A
/// [`permuted`](Tensor::permuted) tensor makes it a transpose. A [`range`](Tensor::range) makes it a slice or a part
/// of a concatenation. A [`repeated`](Tensor::repeated) tensor makes it a broadcast. With a scale of 1, 32-bit
/// elements of any type are copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Rearrange {
    /// Any view of a buffer, broadcast or not.
    pub input: Tensor,
    /// Same shape as the input, written. Its elements must not overlap, and it must not share a buffer with the
    /// input. The rest of its buffer stays unchanged.
    pub output: Tensor,
    /// Factor of the numbers.
    pub scale: f32,
}

const LANES: u32 = 64;

impl Rearrange {
    fn is_scaled(&self) -> bool {
        self.scale != 1.0
    }

    /// Whether the output fills its binding.
    fn fills(&self) -> bool {
        self.output.bound().0.len() == self.output.len()
    }
}

impl Kernel for Rearrange {
    fn stem(&self) -> &'static str {
        "rearrange"
    }

    fn detail(&self) -> String {
        let scale = if self.is_scaled() { format!(" * {}", self.scale) } else { String::new() };
        format!(" {:?}{scale}", self.output.shape)
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.input, &mut self.output]
    }

    fn operands(&self) -> Vec<Operand> {
        let output = self.output.bound().0;
        vec![read(self.input.bound().0), if self.fills() { write(output) } else { change(output) }]
    }

    fn flops(&self) -> u64 {
        if self.is_scaled() { self.output.len().into() } else { 0 }
    }

    fn bytes(&self) -> u64 {
        // Repeated elements are read at least once.
        self.input.bytes().min(4 * self.input.words().len() as u64) + self.output.bytes()
    }

    /// Follows the memory order of the output. An invocation computes four numbers if both tensors consist of whole
    /// vectors.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let (input, output) = (self.input, self.output);
        let mut dimensions: Vec<_> =
            (0..output.shape.len()).map(|i| (output.shape[i], [input.strides[i], output.strides[i]])).collect();
        dimensions.sort_by_key(|(_, [_, of_output])| std::cmp::Reverse(*of_output));
        let (loops, firsts) = (Loops::new(&dimensions), [input.bound().1, output.bound().1]);
        let scaled = self.is_scaled();
        // Software adapters load eight words for the cost of four.
        let eights = loops.in_vectors(8, firsts).filter(|_| adapter.wide_access && !scaled);
        let (in_eights, vectors) = (eights.is_some(), eights.or_else(|| loops.in_fours(firsts)));
        let in_fours = vectors.is_some() && !in_eights;
        let conditions = [
            ("vectors of numbers", scaled && in_fours),
            ("numbers", scaled && !in_fours),
            ("vectors of words", !scaled && in_fours),
            ("words", !scaled && !in_fours && !in_eights),
            ("eight words", in_eights),
            ("scaled", scaled),
            ("copied", !scaled),
        ];
        let (loops, [input_first, output_first]) = vectors.unwrap_or((loops, firsts));
        let counts = [("loop", loops.count()), ("inner", loops.count() - 1)];
        let source = expand(text!("rearrange.wgsl.in"), &counts, &conditions);
        let mut uniforms = uniforms![count: loops.iterations(), scale: self.scale, input_first, output_first];
        let strides = [for_each_loop!("input_stride"), for_each_loop!("output_stride")];
        uniforms.extend(loops.uniforms(for_each_loop!("length"), strides));
        let name = if in_eights { "rearrange.wide" } else { "rearrange" };
        vec![Launch::of(self, shader(name, source, []), uniforms, loops.iterations().div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, output) = (at.words(self.input.bound().0), at.out::<u32>(self.output.bound().0));
        for (from, to) in binding_offsets(self.input).zip(binding_offsets(self.output)) {
            output[to] = match self.is_scaled() {
                true => (f32::from_bits(input[from]) * self.scale).to_bits(),
                false => input[from],
            };
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        if !self.is_scaled() {
            return vec![Bounds::Exact];
        }
        let (input, output) = (at.f32s(self.input.bound().0), self.output.bound().0);
        let scale = f64::from(self.scale);
        let mut bounds = vec![0.0; output.len() as usize];
        for (from, to) in binding_offsets(self.input).zip(binding_offsets(self.output)) {
            // Both sides round once.
            bounds[to] = 2.0 * U * (f64::from(input[from]) * scale).abs() + flushed(input[from]) * scale.abs();
        }
        vec![Bounds::Each(bounds)]
    }
}

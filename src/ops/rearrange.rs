//! Numbers from one place to another: transpose, slice, concatenate, repeat.

use super::template::expand;
use super::*;

/// output = scale · input, number by number. Both have the same shape, any strides, and begin at any element: a
/// transpose where [`permuted`](Tensor::permuted), a slice or a part of a concatenation where a
/// [`range`](Tensor::range), a broadcast where [`repeated`](Tensor::repeated). With a scale of 1 elements of 32 bits
/// are copied, whatever they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Rearrange {
    /// Any part of a buffer, repeated or not.
    pub input: Tensor,
    /// Of the input's shape, written; no two of its elements in the same place. The rest of its buffer stays as it is.
    /// In another buffer than the input.
    pub output: Tensor,
    /// The factor.
    pub scale: f32,
}

const LANES: u32 = 64;

impl Rearrange {
    fn is_scaled(&self) -> bool {
        self.scale != 1.0
    }

    /// Whether the output is all that is bound of its buffer.
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
        // What is repeated is read once at least.
        self.input.bytes().min(4 * self.input.words().len() as u64) + self.output.bytes()
    }

    /// In the order in which the output lies in memory. Four numbers to an invocation where both tensors consist of
    /// whole vectors.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (input, output) = (self.input, self.output);
        let mut dimensions: Vec<_> =
            (0..output.shape.len()).map(|i| (output.shape[i], [input.strides[i], output.strides[i]])).collect();
        dimensions.sort_by_key(|(_, [_, of_output])| std::cmp::Reverse(*of_output));
        let (loops, firsts) = (Loops::new(&dimensions), [input.bound().1, output.bound().1]);
        let fours = loops.in_fours(firsts);
        let (scaled, in_fours) = (self.is_scaled(), fours.is_some());
        let conditions = [
            ("fours of numbers", scaled && in_fours),
            ("numbers", scaled && !in_fours),
            ("fours of words", !scaled && in_fours),
            ("words", !scaled && !in_fours),
            ("scaled", scaled),
            ("copied", !scaled),
        ];
        let (loops, [input_first, output_first]) = fours.unwrap_or((loops, firsts));
        let counts = [("loop", loops.count()), ("inner", loops.count() - 1)];
        let source = expand(text!("rearrange.wgsl.in"), &counts, &conditions);
        let mut uniforms = uniforms![count: loops.turns(), scale: self.scale, input_first, output_first];
        let strides = [for_each_loop!("input_stride"), for_each_loop!("output_stride")];
        uniforms.extend(loops.uniforms(for_each_loop!("length"), strides));
        vec![Launch::of(self, shader("rearrange", source, []), uniforms, loops.turns().div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, output) = (at.words(self.input.bound().0), at.out::<u32>(self.output.bound().0));
        for (from, to) in places_of(self.input).zip(places_of(self.output)) {
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
        for (from, to) in places_of(self.input).zip(places_of(self.output)) {
            // Rounded once, on both sides.
            bounds[to] = 2.0 * U * (f64::from(input[from]) * scale).abs() + flushed(input[from]) * scale.abs();
        }
        vec![Bounds::Each(bounds)]
    }
}

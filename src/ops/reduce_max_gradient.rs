//! Gradient of the maximum along dimensions.

use super::reduce::{Results, ordered_bits, results_of};
use super::template::expand;
use super::*;

/// Gradient of [`Reduction::Max`]. The first number, row-major, that equals the maximum receives the gradient. The
/// others receive 0. If there are NaNs, the first one receives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceMaxGradient {
    /// Input of the reduction: any strides and any first element.
    pub input: Tensor,
    /// Output of [`Reduce`], packed.
    pub output: Tensor,
    /// Gradient of the output, packed, of the same shape.
    pub gradient: Tensor,
    /// Packed, of the input's shape, written.
    pub input_gradient: Tensor,
}

const LANES: u32 = 64;

impl Kernel for ReduceMaxGradient {
    binds! { "reduce_max_gradient": read_bound input, read output, read gradient, write input_gradient }

    fn detail(&self) -> String {
        format!(" {:?} to {:?}", self.output.shape, self.input.shape)
    }

    fn flops(&self) -> u64 {
        self.input.len().into()
    }

    fn bytes(&self) -> u64 {
        self.input.bytes() + self.output.bytes() + self.gradient.bytes() + self.input_gradient.bytes()
    }

    /// The first launch finds the first number that equals the maximum. The second launch writes the gradient.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let results = Results::new(&self.input, &self.output, adapter);
        let (input, words) = (self.input.bound().0, results.words());
        let functions = text!("reduce_max_gradient.first.wgsl.in", "shared/order.wgsl");
        let bindings = vec![read(input), write_scratch(words), read(self.output)];
        let find = results.launch("reduce_max_gradient.first", functions, 1.0, bindings);

        let of_output = strides_of_kept(&self.output);
        // Positions among the numbers of a result.
        let mut places = vec![0; self.input.shape.len()];
        let mut stride = 1;
        for (i, place) in places.iter_mut().enumerate().rev() {
            if self.input.shape[i] != self.output.shape[i] {
                *place = stride;
                stride *= self.input.shape[i];
            }
        }
        let dimension = |i: usize| (self.input.shape[i], [self.input.strides[i], of_output[i], places[i]]);
        let loops = Loops::new(&(0..self.input.shape.len()).map(dimension).collect::<Vec<_>>());
        let counts = [("loop", loops.count()), ("inner", loops.count() - 1)];
        let source = expand(text!("shared/order.wgsl", "reduce_max_gradient.wgsl.in"), &counts, &[]);
        let (count, outputs, chunk_count) = (loops.iterations(), results.outputs(), results.chunk_count);
        let mut uniforms = uniforms![count, outputs, part_count: chunk_count, input_first: self.input.bound().1];
        let strides = [for_each_loop!("input_stride"), for_each_loop!("output_stride"), for_each_loop!("place_stride")];
        uniforms.extend(loops.uniforms(for_each_loop!("length"), strides));
        let [largest, gradient] = [self.output, self.gradient].map(read);
        let fill = Launch {
            shader: shader("reduce_max_gradient", source, []),
            uniforms,
            bindings: vec![read(input), largest, gradient, read_scratch(words), write(self.input_gradient)],
            workgroups: count.div_ceil(LANES).into(),
        };
        vec![find, fill]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let input = at.words(self.input.bound().0);
        let (largest, gradient) = (at.words(self.output), at.words(self.gradient));
        let mut taken = vec![false; largest.len()];
        let numbers = binding_offsets(self.input).zip(results_of(&self.input, &self.output));
        for (dx, (from, to)) in at.out::<u32>(self.input_gradient).iter_mut().zip(numbers) {
            let is_first = !taken[to] && ordered_bits(input[from]) == ordered_bits(largest[to]);
            taken[to] |= is_first;
            *dx = if is_first { gradient[to] } else { 0 };
        }
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

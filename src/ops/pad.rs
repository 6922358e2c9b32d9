//! Padding of a tensor with zeros.

use super::template::expand;
use super::*;

/// Copies the input into a larger tensor of zeros: the gradient of a slice. Elements have 32 bits and are copied
/// unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// Any strides and any first element.
    pub input: Tensor,
    /// Packed, with the same number of dimensions, written.
    pub output: Tensor,
    /// Along each dimension: element of the output at which the input begins.
    pub start: Shape,
}

/// A loop over a dimension of the output, or over several dimensions that one stride of the input covers.
#[derive(Debug, Clone, Copy)]
struct Window {
    length: u32,
    start: u32,
    inside: u32,
    stride: u32,
}

const LANES: u32 = 64;

impl Pad {
    /// Loops, the innermost first. A dimension is merged with the inner ones if the input covers these completely.
    fn windows(&self) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        for i in (0..self.output.shape.len()).rev() {
            let (length, start) = (self.output.shape[i], self.start[i]);
            let (inside, stride) = (self.input.shape[i], self.input.strides[i]);
            if length == 1 {
                continue;
            }
            match windows.last_mut() {
                Some(inner)
                    if inner.inside == inner.length && (inside == 1 || stride == inner.stride * inner.length) =>
                {
                    let each = inner.length;
                    let [length, start, inside] = [length, start, inside].map(|elements| elements * each);
                    *inner = Window { length, start, inside, ..*inner };
                }
                _ => windows.push(Window { length, start, inside, stride }),
            }
        }
        if windows.is_empty() {
            windows.push(Window { length: 1, start: 0, inside: 1, stride: 1 });
        }
        windows
    }

    /// The same loops over vectors of four elements, and the input's first vector. `None` unless both tensors consist
    /// of whole vectors.
    fn in_fours(&self, first: u32) -> Option<(Vec<Window>, u32)> {
        let mut windows = self.windows();
        let (innermost, others) = windows.split_first_mut()?;
        let Window { length, start, inside, stride } = *innermost;
        let strides = others.iter().map(|window| window.stride);
        if stride != 1 || !strides.chain([length, start, inside, first]).all(|number| number.is_multiple_of(4)) {
            return None;
        }
        *innermost = Window { length: length / 4, start: start / 4, inside: inside / 4, stride };
        others.iter_mut().for_each(|window| window.stride /= 4);
        Some((windows, first / 4))
    }
}

impl Kernel for Pad {
    binds! { "pad": read_bound input, write output }

    fn detail(&self) -> String {
        format!(" {:?} at {:?} of {:?}", self.input.shape, self.start, self.output.shape)
    }

    fn flops(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        self.input.bytes() + self.output.bytes()
    }

    /// An invocation computes four numbers if both tensors consist of whole vectors.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let first = self.input.bound().1;
        let fours = self.in_fours(first);
        let conditions = [("vectors", fours.is_some()), ("scalars", fours.is_none())];
        let (windows, input_first) = fours.unwrap_or_else(|| (self.windows(), first));
        let count: u32 = windows.iter().map(|window| window.length).product();
        let loops = windows.len() as u32;
        let source = expand(text!("pad.wgsl.in"), &[("loop", loops), ("inner", loops - 1)], &conditions);
        let mut uniforms = uniforms![count, input_first];
        let names = [
            for_each_loop!("length"),
            for_each_loop!("start"),
            for_each_loop!("inside"),
            for_each_loop!("input_stride"),
        ];
        for (i, Window { length, start, inside, stride }) in windows.into_iter().enumerate() {
            let values = [length, start, inside, stride];
            uniforms.extend(names.iter().zip(values).map(|(names, value)| (names[i], value.into())));
        }
        vec![Launch::of(self, shader("pad", source, []), uniforms, count.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, output) = (at.words(self.input.bound().0), at.out::<u32>(self.output));
        output.fill(0);
        let first: u32 = self.start.iter().zip(self.output.strides.iter()).map(|(start, stride)| start * stride).sum();
        let inside = element_offsets(&self.input.shape, &self.output.strides);
        for (from, to) in binding_offsets(self.input).zip(inside) {
            output[first as usize + to] = input[from];
        }
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

//! Copies rows between an application's buffers and a plan's buffers.

use super::*;

const LANES: u32 = 64;

/// Copies rows word for word between an application's buffer, where rows may have gaps, and packed rows. Writes
/// nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRows {
    /// \[rows, columns\]. There may be gaps before and between the rows.
    pub input: Tensor,
    /// \[rows, columns\], written.
    pub output: Tensor,
}

impl Kernel for CopyRows {
    fn stem(&self) -> &'static str {
        "copy_rows"
    }

    fn detail(&self) -> String {
        format!(" {}x{}", self.input.rows(), self.input.columns())
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.input, &mut self.output]
    }

    fn operands(&self) -> Vec<Operand> {
        // Without gaps, the whole output is overwritten.
        let gaps = self.output.words().len() > self.output.len() as usize;
        vec![read(self.input), if gaps { change(self.output) } else { write(self.output) }]
    }

    fn flops(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        2 * self.input.bytes()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let Self { input, output } = self;
        let shader = shader("copy_rows", text!("copy_rows.wgsl"), []);
        let uniforms = uniforms![
            columns: input.columns(),
            words: input.len(),
            input_first: input.offset,
            input_stride: input.strides[0],
            output_first: output.offset,
            output_stride: output.strides[0],
        ];
        vec![Launch::of(self, shader, uniforms, input.len().div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, output) = (at.words(self.input), at.out::<u32>(self.output));
        // Without gaps, the slice begins with the first row. With gaps, it is the application's whole buffer.
        let first = |t: Tensor, words: usize| if words == t.words().len() { 0 } else { t.offset as usize };
        let (from, to) = (first(self.input, input.len()), first(self.output, output.len()));
        let columns = self.input.columns() as usize;
        let [input_stride, output_stride] = [self.input, self.output].map(|t| t.strides[0] as usize);
        for row in 0..self.input.rows() as usize {
            output[to + row * output_stride..][..columns]
                .copy_from_slice(&input[from + row * input_stride..][..columns]);
        }
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

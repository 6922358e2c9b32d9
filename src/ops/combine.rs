//! Sum or product of two tensors, element by element.

use super::template::expand;
use super::*;

/// Element-wise output = a + b or output = a · b. The shapes of a and b are [broadcast](Shape::broadcast). Both may
/// have any strides and any first element, and they may be the same tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Combine {
    /// First operand.
    pub a: Tensor,
    /// Second operand.
    pub b: Tensor,
    /// Packed, of the broadcast shape, written.
    pub output: Tensor,
    /// Operation: sum or product.
    pub how: Combination,
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    /// Sum.
    Add,
    /// Product.
    Multiply,
}

const LANES: u32 = 64;

impl Combine {
    /// a and b, broadcast to the output's shape.
    fn repeated(&self) -> [Tensor; 2] {
        [self.a, self.b].map(|tensor| tensor.repeated(self.output.shape))
    }

    fn of(&self, a: f32, b: f32) -> f32 {
        match self.how {
            Combination::Add => a + b,
            Combination::Multiply => a * b,
        }
    }

    /// Pairs of numbers, in the order of the output.
    fn pairs<'a>(&self, at: &Operands<'a>) -> impl Iterator<Item = (f32, f32)> + use<'a> {
        let [a, b] = [self.a, self.b].map(|tensor| at.f32s(tensor.bound().0));
        let [of_a, of_b] = self.repeated().map(|t| element_offsets(&t.shape, &t.strides));
        let [first_a, first_b] = [self.a, self.b].map(|tensor| tensor.bound().1 as usize);
        of_a.zip(of_b).map(move |(i, j)| (a[first_a + i], b[first_b + j]))
    }
}

impl Kernel for Combine {
    binds! { "combine": read_bound a, read_bound b, write output }

    fn detail(&self) -> String {
        let how = match self.how {
            Combination::Add => "add",
            Combination::Multiply => "multiply",
        };
        format!(" {how} {:?}", self.output.shape)
    }

    fn flops(&self) -> u64 {
        self.output.len().into()
    }

    fn bytes(&self) -> u64 {
        self.a.bytes() + self.b.bytes() + self.output.bytes()
    }

    /// An invocation computes four numbers if all three tensors consist of whole vectors.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let [a, b] = self.repeated();
        let dimensions: Vec<_> = (0..a.shape.len()).map(|i| (a.shape[i], [a.strides[i], b.strides[i]])).collect();
        let (loops, firsts) = (Loops::new(&dimensions), [self.a.bound().1, self.b.bound().1]);
        let fours = loops.in_fours(firsts);
        let conditions = [("vectors", fours.is_some()), ("scalars", fours.is_none())];
        let (loops, [a_first, b_first]) = fours.unwrap_or((loops, firsts));
        let counts = [("loop", loops.count()), ("inner", loops.count() - 1)];
        let source = expand(text!("combine.wgsl.in"), &counts, &conditions);
        let mut uniforms = uniforms![count: loops.iterations(), a_first, b_first];
        uniforms
            .extend(loops.uniforms(for_each_loop!("length"), [for_each_loop!("a_stride"), for_each_loop!("b_stride")]));
        let shader = shader("combine", source, [("MULTIPLY", (self.how == Combination::Multiply).into())]);
        vec![Launch::of(self, shader, uniforms, loops.iterations().div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let pairs = self.pairs(at);
        at.out::<f32>(self.output).iter_mut().zip(pairs).for_each(|(c, (a, b))| *c = self.of(a, b));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        // Both sides round once. Both can also flush inputs to zero.
        let bound = |(a, b): (f32, f32)| {
            let flushed = match self.how {
                Combination::Add => flushed(a) + flushed(b),
                Combination::Multiply => flushed(a) * f64::from(b).abs() + flushed(b) * f64::from(a).abs(),
            };
            2.0 * U * f64::from(self.of(a, b)).abs() + flushed
        };
        vec![Bounds::Each(self.pairs(at).map(bound).collect())]
    }
}

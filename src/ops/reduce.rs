//! Sums, means and maxima along dimensions.

use super::template::expand;
use super::*;

/// Sum, mean or maximum along any dimensions. Sums are added in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    /// Any strides and any first element.
    pub input: Tensor,
    /// Packed, written. It has the input's shape, with length 1 along each reduced dimension.
    pub output: Tensor,
    /// Sum, mean or maximum.
    pub how: Reduction,
}

/// Reduction of several numbers to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Sum divided by the number of numbers.
    Mean,
    /// Maximum. NaN if any number is NaN; 0 is larger than −0.
    Max,
}

/// Invocations per sum and sums per workgroup, if neighbouring sums read neighbouring numbers.
const ACROSS: (u32, u32) = (32, 8);
/// Up to this many numbers, a sum costs a software adapter less than the barrier of several invocations.
const SHORT_SUM: u32 = 1024;
/// Fewest numbers of a sum per chunk, most chunks, and enough workgroups.
const COUNT_OF_CHUNK: u32 = 2048;
const MOST_CHUNKS: u32 = 64;
const ENOUGH: u32 = 256;
/// Results per workgroup of the kernel that joins the chunks.
const LANES: u32 = 64;

/// How the results of a reduction are divided among invocations.
pub(super) struct Results {
    /// Loops over the kept dimensions, and over the reduced dimensions.
    kept: Loops<1>,
    reduced: Loops<1>,
    /// Index of the input's first element in its binding.
    first: u32,
    /// Invocations per result, and results per workgroup.
    lanes: u32,
    columns: u32,
    /// Chunks per result, and numbers per chunk.
    pub chunks: u32,
    pub chunk_count: u32,
}

impl Results {
    pub fn new(input: &Tensor, output: &Tensor, adapter: &Adapter) -> Self {
        let dimensions = |reduced: bool| {
            let all = (0..input.shape.len()).filter(|&i| reduced == (input.shape[i] != output.shape[i]));
            Loops::new(&all.map(|i| (input.shape[i], [input.strides[i]])).collect::<Vec<_>>())
        };
        let (kept, reduced) = (dimensions(false), dimensions(true));
        let (outputs, count) = (kept.iterations(), reduced.iterations());
        let nearest = |loops: &Loops<1>| loops.strides.iter().map(|[stride]| *stride).min().unwrap_or(0);
        let (lanes, columns) = match lanes_and_rows(count, adapter) {
            (1, columns) => (1, columns),
            _ if adapter.software && count <= SHORT_SUM => (1, 16),
            _ if outputs > 1 && nearest(&kept) < nearest(&reduced) => ACROSS,
            several => several,
        };
        let wanted = ENOUGH.div_ceil(outputs.div_ceil(columns));
        let chunks = wanted.min(count / COUNT_OF_CHUNK).clamp(1, MOST_CHUNKS).max(count.div_ceil(LONGEST_LOOP * lanes));
        let chunk_count = count.div_ceil(chunks);
        Self { kept, reduced, first: input.bound().1, lanes, columns, chunks: count.div_ceil(chunk_count), chunk_count }
    }

    /// Reduction that joins the chunks, \[chunks, outputs\].
    fn of_chunks(&self) -> Self {
        let (outputs, chunks) = (self.kept.iterations(), self.chunks);
        let [kept, reduced] = [(outputs, [1]), (chunks, [outputs])].map(|dimension| Loops::new(&[dimension]));
        Self { kept, reduced, first: 0, lanes: 1, columns: LANES, chunks: 1, chunk_count: chunks }
    }

    /// Number of results.
    pub fn outputs(&self) -> u32 {
        self.kept.iterations()
    }

    /// Words that one launch writes for the next one.
    pub fn words(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.outputs())
    }

    /// A launch. `functions` is text that defines the reduction. A mean is divided by `divisor`.
    pub fn launch(&self, name: &'static str, functions: &str, divisor: f32, bindings: Vec<Operand>) -> Launch {
        let (kept, reduced) = (self.kept.count(), self.reduced.count());
        let counts = [("kept", kept), ("inner_kept", kept - 1), ("reduced", reduced), ("inner_reduced", reduced - 1)];
        let (outputs, count, &Self { chunks, chunk_count, first, .. }) =
            (self.outputs(), self.reduced.iterations(), self);
        let mut uniforms =
            uniforms![outputs, count, parts: chunks, part_count: chunk_count, divisor, input_first: first];
        uniforms.extend(self.kept.uniforms(for_each_loop!("kept_length"), [for_each_loop!("kept_stride")]));
        uniforms.extend(self.reduced.uniforms(for_each_loop!("reduced_length"), [for_each_loop!("reduced_stride")]));
        let constants = [("LANES", self.lanes.into()), ("COLUMNS", self.columns.into())];
        Launch {
            shader: shader(name, expand(text!("reduce.wgsl.in"), &counts, &[]) + functions, constants),
            uniforms,
            bindings,
            workgroups: u64::from(outputs.div_ceil(self.columns)) * u64::from(self.chunks),
        }
    }
}

/// For each number of a tensor, row-major: index of the result that it contributes to.
pub(super) fn results_of(input: &Tensor, output: &Tensor) -> impl Iterator<Item = usize> + use<> {
    element_offsets(&input.shape, &strides_of_kept(output))
}

/// Maps the bits of an f32 to an integer with the same order, as in `shaders/shared/order.wgsl`.
pub(super) fn ordered_bits(bits: u32) -> i32 {
    if f32::from_bits(bits).is_nan() { i32::MAX } else { flip_negative(bits as i32) }
}

/// Flips all bits but the sign of a negative number. The function is its own inverse.
pub(super) fn flip_negative(bits: i32) -> i32 {
    bits ^ (bits >> 31 & i32::MAX)
}

impl Reduce {
    /// Numbers per result.
    fn count(&self) -> u32 {
        self.input.len() / self.output.len()
    }
}

impl Kernel for Reduce {
    binds! { "reduce": read_bound input, write output }

    fn detail(&self) -> String {
        let how = match self.how {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Max => "max",
        };
        format!(" {how} {:?} to {:?}", self.input.shape, self.output.shape)
    }

    fn flops(&self) -> u64 {
        let quotients = if self.how == Reduction::Mean { self.output.len() } else { 0 };
        u64::from(self.input.len()) + u64::from(quotients)
    }

    fn bytes(&self) -> u64 {
        self.input.bytes() + self.output.bytes()
    }

    /// If there are few results of many numbers, workgroups share them, and a second launch joins the chunks.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let results = Results::new(&self.input, &self.output, adapter);
        let launch = |results: &Results, is_last: bool, bindings| match self.how {
            Reduction::Max => results.launch("reduce", text!("reduce.max.wgsl.in", "shared/order.wgsl"), 1.0, bindings),
            how => {
                let mut launch = results.launch("reduce", text!("reduce.sum.wgsl.in"), self.count() as f32, bindings);
                launch.shader.constants.push(("MEAN", (is_last && how == Reduction::Mean).into()));
                launch
            }
        };
        if results.chunks == 1 {
            return vec![launch(&results, true, self.operands())];
        }
        let words = results.words();
        let partial = launch(&results, false, vec![read(self.input.bound().0), write_scratch(words)]);
        vec![partial, launch(&results.of_chunks(), true, vec![read_scratch(words), write(self.output)])]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let input = at.words(self.input.bound().0);
        let numbers = binding_offsets(self.input).zip(results_of(&self.input, &self.output));
        let output = at.out::<u32>(self.output);
        if self.how == Reduction::Max {
            let mut largest = vec![i32::MIN; output.len()];
            numbers.for_each(|(from, to)| largest[to] = largest[to].max(ordered_bits(input[from])));
            output.iter_mut().zip(largest).for_each(|(y, largest)| *y = flip_negative(largest) as u32);
            return;
        }
        // In f64, because there may be many numbers.
        let mut sums = vec![0.0; output.len()];
        numbers.for_each(|(from, to)| sums[to] += f64::from(f32::from_bits(input[from])));
        let divisor = if self.how == Reduction::Mean { f64::from(self.count()) } else { 1.0 };
        output.iter_mut().zip(sums).for_each(|(y, sum)| *y = ((sum / divisor) as f32).to_bits());
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        if self.how == Reduction::Max {
            return vec![Bounds::Exact];
        }
        let input = at.f32s(self.input.bound().0);
        // A mean also rounds the number of numbers.
        let count = f64::from(self.count());
        let (mean_error, divisor) = if self.how == Reduction::Mean { (DIVISION + U, count) } else { (0.0, 1.0) };
        let mut bounds = vec![0.0; self.output.len() as usize];
        for (from, to) in binding_offsets(self.input).zip(results_of(&self.input, &self.output)) {
            let x = input[from];
            bounds[to] += (2.0 * ((count + 1.0) * U + mean_error) * f64::from(x).abs() + flushed(x)) / divisor;
        }
        vec![Bounds::Each(bounds)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lane_loops_for_longer_than_drivers_do() {
        let adapter = Adapter::of_class("software").unwrap();
        for (count, outputs) in [(1, 1), (64, 9), (65, 70_000), (5000, 1), (3_000_000, 2500), (u32::MAX, 1)] {
            let most = LONGEST_LOOP.min(count);
            for shape in [[count, outputs], [outputs, count]] {
                let kept = shape.map(|length| if length == count { 1 } else { length });
                // Broadcast, because no buffer has this many numbers.
                let input = Tensor::new(BufferId(0), Dtype::F32, 1).repeated(shape);
                let results = Results::new(&input, &Tensor::new(BufferId(1), Dtype::F32, kept), &adapter);
                let Results { chunks, chunk_count, lanes, .. } = results;
                assert!(
                    chunk_count.div_ceil(lanes) <= most && chunks <= LONGEST_LOOP,
                    "{count} to {outputs}: {chunks}"
                );
                assert!(u64::from(chunks) * u64::from(chunk_count) >= count.into(), "{count} to {outputs}: {chunks}");
            }
        }
    }

    #[test]
    fn bits_in_order_are_numbers_in_order_and_come_back() {
        let numbers = [f32::NEG_INFINITY, f32::MIN, -1.0, -1e-42, -0.0, 0.0, 1e-42, 1.0, f32::MAX, f32::INFINITY];
        let ordered = numbers.map(|x| ordered_bits(x.to_bits()));
        assert!(ordered.is_sorted_by(|a, b| a < b), "{ordered:?}");
        assert_eq!(ordered.map(|x| f32::from_bits(flip_negative(x) as u32).to_bits()), numbers.map(f32::to_bits));
        assert_eq!([f32::NAN, -f32::NAN].map(|x| ordered_bits(x.to_bits())), [i32::MAX; 2]);
        assert!(f32::from_bits(flip_negative(i32::MAX) as u32).is_nan());
    }
}

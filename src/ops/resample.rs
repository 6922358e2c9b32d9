//! Weighted sums along rows and columns: interpolation, padding, and their gradients.

use super::template::expand;
use super::*;

/// For each position along an axis of the output: the positions of the input that it sums, with their weights.
pub type Terms = Vec<Vec<(u32, f32)>>;

/// A linear map along height and width, separately for each channel. The gradient is the same op with the transposed
/// map.
#[derive(Debug, Clone, PartialEq)]
pub struct Resample {
    /// \[batch, height, width, channels\], packed.
    pub input: Tensor,
    /// u32: table from [`table`](Self::table).
    pub table: Tensor,
    /// \[batch, height, width, channels\], packed, written.
    pub output: Tensor,
    /// Most terms of a row and of a column of the output.
    pub terms: [u32; 2],
}

const LANES: u32 = 64;

/// Marks a missing term.
const NOTHING: u32 = u32::MAX;

/// Transposed map: for each position of the input, the positions of the output that it contributes to.
pub(crate) fn transposed(terms: &Terms, input: u32) -> Terms {
    let mut back = vec![Vec::new(); input as usize];
    for (to, terms) in (0..).zip(terms) {
        terms.iter().for_each(|&(from, weight)| back[from as usize].push((to, weight)));
    }
    back
}

/// Most terms of a position.
pub(crate) fn most(terms: &Terms) -> u32 {
    terms.iter().map(Vec::len).max().unwrap_or(0) as u32
}

impl Resample {
    /// Contents of the table for the rows and columns of the output, and the most terms of each.
    pub fn table(axes: &[Terms; 2]) -> (Vec<u32>, [u32; 2]) {
        let most = axes.each_ref().map(|terms| most(terms).max(1));
        let words = |(terms, most): (&Terms, u32)| {
            let nothing = (NOTHING, 0.0);
            let place = move |terms: &Vec<(u32, f32)>| {
                let all = terms.clone().into_iter().chain(std::iter::repeat(nothing)).take(most as usize);
                all.flat_map(|(place, weight)| [place, weight.to_bits()]).collect::<Vec<_>>()
            };
            terms.iter().flat_map(place).collect::<Vec<_>>()
        };
        (axes.iter().zip(most).flat_map(words).collect(), most)
    }

    /// Calls `add` for each output and each number that it sums, with both indices and the weight.
    fn for_each(&self, table: &[u32], mut add: impl FnMut(usize, usize, f64)) {
        let [_, height, width, channels] = self.input.shape[..] else { return };
        let [samples, rows, columns, _] = self.output.shape[..] else { return };
        let [row_terms, column_terms] = self.terms;
        let taken = |first: u32, most: u32| {
            let terms = table[2 * first as usize..][..2 * most as usize].chunks_exact(2);
            let terms = terms.take_while(|term| term[0] != NOTHING);
            terms.map(|term| (term[0], f64::from(f32::from_bits(term[1])))).collect::<Vec<_>>()
        };
        let of_row: Vec<_> = (0..rows).map(|row| taken(row * row_terms, row_terms)).collect();
        let first = rows * row_terms;
        let of_column: Vec<_> = (0..columns).map(|column| taken(first + column * column_terms, column_terms)).collect();
        let mut output = 0;
        for (sample, of_row) in (0..samples).flat_map(|sample| of_row.iter().map(move |of_row| (sample, of_row))) {
            for of_column in &of_column {
                for &(row, weight) in of_row {
                    for &(column, other) in of_column {
                        let place = ((sample * height + row) * width + column) * channels;
                        (0..channels as usize).for_each(|c| add(output + c, place as usize + c, weight * other));
                    }
                }
                output += channels as usize;
            }
        }
    }
}

impl Kernel for Resample {
    binds! { "resample": read input, read table, write output }

    fn detail(&self) -> String {
        format!(" {:?} to {:?}", self.input.shape, self.output.shape)
    }

    fn flops(&self) -> u64 {
        let [rows, columns] = self.terms.map(u64::from);
        2 * u64::from(self.output.len()) * rows * (columns + 1)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let sizes = |tensor: &Tensor| [1, 2].map(|axis| f64::from(tensor.shape[axis]));
        let channels = self.output.shape[3];
        let lanes = if channels.is_multiple_of(4) { 4 } else { 1 };
        let ([in_rows, in_columns], [out_rows, out_columns]) = (sizes(&self.input), sizes(&self.output));
        let constants = [
            ("CHANNELS", f64::from(channels / lanes)),
            ("IN_ROWS", in_rows),
            ("IN_COLUMNS", in_columns),
            ("OUT_ROWS", out_rows),
            ("OUT_COLUMNS", out_columns),
            ("ROW_TERMS", self.terms[0].into()),
            ("COLUMN_TERMS", self.terms[1].into()),
        ];
        let source = expand(text!("resample.wgsl.in"), &[], &[("vectors", lanes == 4), ("scalars", lanes == 1)]);
        let count = self.output.len() / lanes;
        vec![Launch::of(self, shader("resample", source, constants), uniforms![count], count.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, table) = (at.f32s(self.input), at.words(self.table));
        let mut sums = vec![0.0; self.output.len() as usize];
        self.for_each(table, |output, from, weight| sums[output] += weight * f64::from(input[from]));
        at.out::<f32>(self.output).iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (input, table) = (at.f32s(self.input), at.words(self.table));
        // A sum over columns and a sum over rows, both of products. The sum of a row may be flushed to zero.
        let [rows, columns] = self.terms.map(f64::from);
        let mut bounds = vec![rows * FLUSHED; self.output.len() as usize];
        self.for_each(table, |output, from, weight| {
            let x = input[from];
            bounds[output] += weight.abs() * (2.0 * (rows + columns + 2.0) * U * f64::from(x).abs() + flushed(x));
        });
        vec![Bounds::Each(bounds)]
    }
}

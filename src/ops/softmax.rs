//! Softmax of rows, and its gradient.

use super::*;

/// Softmax of each row. With `saved`, its gradient: dz = y ⊙ (dy − Σ dy ⊙ y).
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// \[rows, columns\]: logits z, or dy.
    pub input: Tensor,
    /// For the gradient: y, the output of the softmax.
    pub saved: Option<Tensor>,
    /// \[rows, columns\], written: y, or dz.
    pub output: Tensor,
}

impl Kernel for Softmax {
    binds! { "softmax": read input, read saved, write output }

    fn detail(&self) -> String {
        if self.saved.is_some() { " gradient".into() } else { String::new() }
    }

    fn flops(&self) -> u64 {
        // Softmax: largest, difference, exponential, sum, quotient. Gradient: product, sum, difference, product.
        u64::from(self.input.len()) * if self.saved.is_some() { 4 } else { 5 }
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let (rows, columns) = (self.input.rows(), self.input.columns());
        let (lanes, each) = lanes_and_rows(columns, adapter);
        let constants = [("LANES", lanes.into()), ("ROWS", each.into()), ("GRADIENT", self.saved.is_some().into())];
        let shader = shader("softmax", text!("softmax.wgsl"), constants);
        vec![Launch::of(self, shader, uniforms![rows, columns], rows.div_ceil(each))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let columns = self.input.columns() as usize;
        let rows = at.f32s(self.input).chunks_exact(columns).zip(at.out(self.output).chunks_exact_mut(columns));
        let Some(saved) = self.saved else {
            return rows.for_each(|(z, y)| softmax_of(z, y));
        };
        for ((dy, dz), y) in rows.zip(at.f32s(saved).chunks_exact(columns)) {
            let along: f64 = dy.iter().zip(y).map(|(dy, y)| f64::from(*dy) * f64::from(*y)).sum();
            for (dz, (dy, y)) in dz.iter_mut().zip(dy.iter().zip(y)) {
                *dz = (f64::from(*y) * (f64::from(*dy) - along)) as f32;
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (columns, input) = (self.input.columns() as usize, at.f64s(self.input));
        let rows = input.chunks_exact(columns);
        let Some(saved) = self.saved else {
            return vec![Bounds::Each(rows.flat_map(softmax_with_bounds).map(|(_, bound)| bound).collect())];
        };
        let mut bounds = Vec::with_capacity(input.len());
        for (dy, y) in rows.zip(at.f64s(saved).chunks_exact(columns)) {
            let along: f64 = dy.iter().zip(y).map(|(dy, y)| (dy * y).abs()).sum();
            let along_error = 2.0 * (columns as f64 + 1.0) * U * along;
            bounds.extend(dy.iter().zip(y).map(|(dy, y)| y.abs() * (along_error + 4.0 * U * (dy.abs() + along))));
        }
        vec![Bounds::Each(bounds)]
    }
}

/// Softmax of one row.
pub(crate) fn softmax_of(z: &[f32], y: &mut [f32]) {
    let largest = z[argmax(z)];
    // In f64, because rows may be long.
    let exp = |z: f32| (f64::from(z) - f64::from(largest)).exp();
    let sum: f64 = z.iter().map(|z| exp(*z)).sum();
    y.iter_mut().zip(z).for_each(|(y, z)| *y = (exp(*z) / sum) as f32);
}

/// Relative error bound of e^d, where d = z − max is rounded (error u |d|). exp's table counts twice, once for each
/// side.
pub(crate) fn distance_error(d: f64) -> f64 {
    2.0 * of_exp(d, U * d.abs())
}

/// Parts of the softmax of a row: distances to the largest logit, sum of the exponentials, relative error of the sum.
pub(crate) fn softmax(z: &[f64]) -> (Vec<f64>, f64, f64) {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let distances: Vec<f64> = z.iter().map(|z| z - largest).collect();
    let sum: f64 = distances.iter().map(|d| d.exp()).sum();
    let off = distances.iter().filter(|d| d.is_finite()).map(|d| d.exp() * distance_error(*d)).sum::<f64>();
    (distances, sum, off / sum + 2.0 * z.len() as f64 * U)
}

/// Softmax of a row, with error bounds.
pub(crate) fn softmax_with_bounds(z: &[f64]) -> impl Iterator<Item = (f64, f64)> + use<> {
    let (distances, sum, sum_error) = softmax(z);
    distances.into_iter().map(move |d| match d.is_finite() {
        true => (d.exp() / sum, d.exp() / sum * (distance_error(d) + sum_error + 2.0 * DIVISION)),
        false => (0.0, 0.0),
    })
}

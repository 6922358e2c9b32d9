//! Gradient of the eikonal term.

use super::*;

/// Gradient of the eikonal term of a loss: weight · mean of (|g| − 1)² over the valid rows of the batch. g is the
/// network gradient, a row of it for each row of the batch. A row with |g| below 10⁻³⁰ has the gradient 0, and so
/// has a row that a partial batch lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Eikonal {
    /// g, \[rows, columns\].
    pub input: Tensor,
    /// The cursor, which has the number of valid rows.
    pub step: Tensor,
    /// \[rows, columns\], written.
    pub gradient: Tensor,
    /// Weight of the term, at least 0.
    pub weight: f32,
}

/// The longest row. An invocation passes over it four times.
pub(crate) const LONGEST_POINT: u32 = LONGEST_LOOP / 4;

const LANES: u32 = 64;
const SHORTEST: f32 = 1e-30;

impl Kernel for Eikonal {
    binds! { "eikonal": read input, read step, write gradient }

    fn detail(&self) -> String {
        format!(" term * {}", self.weight)
    }

    fn flops(&self) -> u64 {
        u64::from(self.input.rows()) * (6 + 6 * u64::from(self.input.columns()))
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let [rows, columns] = [self.input.rows(), self.input.columns()];
        let source = text!("shared/step_state.wgsl", "eikonal.wgsl.in");
        let shader = shader("eikonal", source, [("WEIGHT", self.weight.into())]);
        vec![Launch::of(self, shader, uniforms![rows, columns], rows.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (g, rows) = (at.f32s(self.input), at.step(self.step).rows);
        let columns = self.input.columns() as usize;
        for (row, (dg, g)) in
            at.out::<f32>(self.gradient).chunks_exact_mut(columns).zip(g.chunks_exact(columns)).enumerate()
        {
            let slope = Slope::of(g).filter(|_| row < rows as usize);
            for (dg, g) in dg.iter_mut().zip(g) {
                let of =
                    |slope: &Slope| 2.0 * f64::from(self.weight) / f64::from(rows) * slope.excess() * slope.share(*g);
                *dg = slope.as_ref().map_or(0.0, of) as f32;
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (g, rows) = (at.f32s(self.input), at.step(self.step).rows);
        let columns = self.input.columns() as usize;
        let mut bounds = Vec::new();
        for (row, g) in g.chunks_exact(columns).enumerate() {
            let slope = Slope::of(g).filter(|_| row < rows as usize);
            let bound = |g: &f32| {
                let Some(slope) = &slope else { return 0.0 };
                let (scale, share) = (2.0 * f64::from(self.weight) / f64::from(rows), slope.share(*g).abs());
                // The quotients' errors count twice in the squares, and half of that in the root. The division by the
                // length repeats the root's error.
                let root = DIVISION + (columns as f64 + 1.0) * U / 2.0 + ROOT;
                let excess = slope.length * (root + U) + 4.0 * U * slope.excess().abs();
                // A quotient may be flushed to zero, and so may a number of g below the smallest normal one.
                let flushed = FLUSHED + FLUSHED / f64::from(SHORTEST);
                let divided = share * (2.0 * DIVISION + root + 4.0 * U) + flushed;
                scale * (excess * share + (excess + slope.excess().abs()) * divided) + FLUSHED
            };
            bounds.extend(g.iter().map(bound));
        }
        vec![Bounds::Each(bounds)]
    }
}

/// A row of g that has a direction.
struct Slope {
    length: f64,
}

impl Slope {
    fn of(g: &[f32]) -> Option<Self> {
        let largest = g.iter().fold(0.0f32, |largest, g| if g.abs() > largest { g.abs() } else { largest });
        let length = g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        (largest >= SHORTEST).then_some(Self { length })
    }

    /// |g| − 1.
    fn excess(&self) -> f64 {
        self.length - 1.0
    }

    /// A number of g / |g|.
    fn share(&self, g: f32) -> f64 {
        f64::from(g) / self.length
    }
}

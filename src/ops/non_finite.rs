//! A look for numbers that are not finite.

use super::*;

/// As many as fill a GPU: a lane of 2²⁵ numbers passes over 128 vec4s.
const MOST_WORKGROUPS: u32 = 256;
const LANES: u32 = 256;

/// Marks the totals of the metrics as not finite where weights or moments hold NaN or an infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// What is looked over; a whole number of vec4s.
    pub input: Tensor,
    /// One [`StepState`].
    pub step: Tensor,
    /// One [`RowMetrics`](super::RowMetrics), whose `non_finite_step` becomes the step's unless it is set already.
    pub totals: Tensor,
}

impl Kernel for NonFinite {
    binds! { "non_finite": read input, read step, change totals }

    fn flops(&self) -> u64 {
        // Looks at bits.
        0
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.input.len() / 4;
        let shader = shader("non_finite", text!("shared/step_state.wgsl", "non_finite.wgsl.in"), []);
        vec![Launch::of(self, shader, uniforms![quads], quads.div_ceil(LANES).clamp(1, MOST_WORKGROUPS))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let totals: &mut RowMetrics = &mut at.out(self.totals)[0];
        if totals.non_finite_step == 0 && at.f32s(self.input).iter().any(|number| !number.is_finite()) {
            totals.non_finite_step = at.step(self.step).step.max(1);
        }
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

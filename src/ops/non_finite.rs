//! Check for numbers that are not finite.

use super::*;

/// Workgroups that fill a GPU. With 2²⁵ numbers, each lane checks 128 vec4s.
const MOST_WORKGROUPS: u32 = 256;
const LANES: u32 = 256;

/// Marks the totals of the metrics as not finite if weights or moments contain NaN or an infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// Numbers to check; a whole number of vec4s.
    pub input: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// One [`RowMetrics`](super::RowMetrics). Its `non_finite_step` is set to this step, unless it is already set.
    pub totals: Tensor,
}

impl Kernel for NonFinite {
    binds! { "non_finite": read input, read step, change totals }

    fn flops(&self) -> u64 {
        // The kernel only tests bits.
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

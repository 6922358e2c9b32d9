//! Fusion of the training of a narrow network: the ops that treat each row by itself become one op, and the gradients
//! of the weights another.

use super::*;

/// Replaces the ops of narrow dense layers by [`NarrowRows`] and [`NarrowGradients`]. In a chain, the forward phase and
/// the backward phase each become one op.
pub(super) fn fuse(plan: &mut Plan) {
    let step = std::mem::take(&mut plan.step);
    let mut narrow = Narrowed { plan, step: Vec::new(), rows: Vec::new(), gradients: Vec::new() };
    for op in step {
        narrow.add(op);
    }
    narrow.close();
    plan.step = std::mem::take(&mut narrow.step);
}

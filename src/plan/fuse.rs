//! Optimizes the ops of a plan: fuses ops into the epilogue of the matmul before them, and removes ops whose results
//! are unused.
//!
//! In an unfused plan, each op writes its own tensors. A rule looks for an op with a single reader. It replaces both by
//! one op that computes the same numbers. The new op takes the position of the first one. If an input is written later,
//! it takes the position of the second one.

mod narrow;
mod pools;
mod rules;
#[cfg(test)]
mod tests;

use super::*;

/// One op that replaces two.
struct Fused {
    first: usize,
    second: usize,
    /// The position of the new op: `first` or `second`.
    at: usize,
    op: Op,
}

/// Fuses the op at a position with another one, if possible.
type Rule = fn(&Ops, usize) -> Option<Fused>;

/// The order matters: later rules match the results of earlier ones.
const RULES: [Rule; 8] = [
    rules::bias,
    rules::addend,
    rules::activation,
    rules::norm_activation,
    rules::masked_derivative,
    rules::derivative,
    rules::loss_derivative,
    rules::bias_gradient,
];

/// Fuses the ops of a plan. With `keep_gradients`, no matmul passes gradients directly to the optimizer. With `narrow`,
/// the training of a narrow network becomes few ops.
pub(super) fn fuse(plan: &mut Plan, keep_gradients: bool, narrow: bool) {
    prune(plan);
    pools::differentiate_first(plan);
    let mut ops = Ops::new(plan);
    RULES.into_iter().for_each(|rule| ops.apply(rule));
    if !keep_gradients {
        ops.apply(rules::update);
        ops.apply(rules::grid_update);
    }
    plan.step = ops.into_step();
    merge_updates(plan);
    if narrow {
        narrow::fuse(plan);
    }
    drop_unused(plan, keep_gradients);
}

/// The ops of a plan during fusion, with the readers and writers of each buffer. A removed op is `None`.
struct Ops<'a> {
    plan: &'a Plan,
    ops: Vec<Option<Op>>,
    /// The inputs and outputs of each op.
    tensors: Vec<Vec<Tensor>>,
    readers: Vec<Vec<usize>>,
    writers: Vec<Vec<usize>>,
}

impl<'a> Ops<'a> {
    fn new(plan: &'a Plan) -> Self {
        let none = vec![Vec::new(); plan.buffers.len()];
        let (ops, tensors) = (vec![None; plan.step.len()], vec![Vec::new(); plan.step.len()]);
        let mut ops = Self { plan, ops, tensors, readers: none.clone(), writers: none };
        for (at, op) in plan.step.iter().enumerate() {
            ops.put(at, op.clone());
        }
        ops
    }

    fn into_step(self) -> Vec<Op> {
        self.ops.into_iter().flatten().collect()
    }

    /// Goes from the last op to the first. So a sum of two matmuls is fused into the later one, when the other result
    /// exists.
    fn apply(&mut self, rule: Rule) {
        for at in (0..self.ops.len()).rev() {
            while let Some(Fused { first, second, at, op }) = rule(self, at) {
                self.take(first);
                self.take(second);
                self.put(at, op);
            }
        }
    }

    fn put(&mut self, at: usize, op: Op) {
        self.tensors[at] = op.inputs();
        for tensor in &self.tensors[at] {
            self.readers[tensor.buffer.0].push(at);
        }
        for (tensor, access) in op.outputs() {
            self.tensors[at].push(tensor);
            self.writers[tensor.buffer.0].push(at);
            if access == Access::ReadWrite {
                self.readers[tensor.buffer.0].push(at);
            }
        }
        self.ops[at] = Some(op);
    }

    fn take(&mut self, at: usize) {
        self.ops[at] = None;
        for tensor in std::mem::take(&mut self.tensors[at]) {
            self.readers[tensor.buffer.0].retain(|other| *other != at);
            self.writers[tensor.buffer.0].retain(|other| *other != at);
        }
    }

    /// The only reader of a tensor that has one writer and is not needed after the step.
    fn sole_reader(&self, tensor: Tensor) -> Option<usize> {
        let at = tensor.buffer;
        match (self.plan.buffer(at).role.is_transient(), &self.writers[at.0][..], &self.readers[at.0][..]) {
            (true, [_], [reader]) => Some(*reader),
            _ => None,
        }
    }

    /// The position of an op that replaces two and also reads `others`. Kernels of custom layers may change tensors in
    /// between. Returns `None` if tensors of both ops change.
    fn place(&self, first: usize, second: usize, others: &[Tensor]) -> Option<usize> {
        let stays = |tensor: &Tensor| (first + 1..second).all(|at| !self.writes(at, tensor));
        match others.iter().all(stays) {
            true => Some(first),
            false => self.tensors[first].iter().all(stays).then_some(second),
        }
    }

    /// Whether the op at this position writes a part of a tensor.
    fn writes(&self, at: usize, tensor: &Tensor) -> bool {
        self.ops[at].iter().flat_map(Op::outputs).any(|(written, _)| written.overlaps(tensor))
    }

    /// Whether the op at this position reads or writes a part of a tensor.
    fn touches(&self, at: usize, tensor: &Tensor) -> bool {
        self.tensors[at].iter().any(|used| used.overlaps(tensor))
    }

    fn role(&self, tensor: Tensor) -> Role {
        self.plan.buffer(tensor.buffer).role
    }
}

/// Removes ops whose results are unused.
fn prune(plan: &mut Plan) {
    let mut read = vec![false; plan.buffers.len()];
    let mut kept = Vec::new();
    for op in std::mem::take(&mut plan.step).into_iter().rev() {
        let counts = |tensor: Tensor| read[tensor.buffer.0] || !plan.buffers[tensor.buffer.0].role.is_transient();
        if op.outputs().into_iter().any(|(tensor, _)| counts(tensor)) {
            op.inputs().into_iter().for_each(|tensor| read[tensor.buffer.0] = true);
            kept.push(op);
        }
    }
    kept.reverse();
    plan.step = kept;
}

/// Merges consecutive updates of adjacent weights.
fn merge_updates(plan: &mut Plan) {
    let mut merged: Vec<Op> = Vec::new();
    for op in std::mem::take(&mut plan.step) {
        match (merged.last_mut(), op) {
            (Some(Op::Update(before)), Op::Update(after)) if goes_on(before, &after) => append(plan, before, after),
            (_, op) => merged.push(op),
        }
    }
    plan.step = merged;
}

fn goes_on(before: &Update, after: &Update) -> bool {
    let (a, b) = (&before.step, &after.step);
    let len = a.parameters.len() + b.parameters.len();
    let same = |other: &OptimizerStep| OptimizerStep {
        parameters: a.parameters,
        moments: a.moments,
        multipliers: None,
        ..other.clone()
    };
    a.parameters.offset + a.parameters.len() == b.parameters.offset
        && before.gradients.buffer == after.gradients.buffer
        && before.scale == after.scale
        && same(a) == same(b)
        && len <= a.longest()
}

fn append(plan: &mut Plan, before: &mut Update, after: Update) {
    let longer =
        |a: Tensor, b: Tensor| Tensor { offset: a.offset, ..Tensor::new(a.buffer, a.dtype, a.len() + b.len()) };
    before.step.multipliers = multipliers(plan, &before.step, &after.step);
    before.gradients = longer(before.gradients, after.gradients);
    before.step.parameters = longer(before.step.parameters, after.step.parameters);
    before.step.moments = before.step.moments.zip(after.step.moments).map(|(a, b)| longer(a, b));
}

/// Merges the multiplier tables of two updates, if one has a table.
fn multipliers(plan: &mut Plan, a: &OptimizerStep, b: &OptimizerStep) -> Option<Tensor> {
    a.multipliers.or(b.multipliers)?;
    let of = |step: &OptimizerStep| match step.multipliers {
        Some(table) => plan.buffer(table.buffer).contents.clone(),
        None => vec![1f32.to_bits(); step.parameters.len().div_ceil(PARAMETER_ALIGNMENT) as usize * 2],
    };
    let contents = [of(a), of(b)].concat();
    let (id, len) = (BufferId(plan.buffers.len()), contents.len() as u32);
    let (name, role) = ("multipliers".into(), Role::Multipliers);
    plan.buffers.push(Buffer { name, dtype: role.dtype(), shape: Some(len.into()), role, contents, memory: None });
    Some(Tensor::new(id, role.dtype(), len))
}

/// Removes buffers that no op uses.
fn drop_unused(plan: &mut Plan, keep_gradients: bool) {
    let mut used = vec![false; plan.buffers.len()];
    for op in plan.ops() {
        let outputs = op.outputs().into_iter().map(|(tensor, _)| tensor);
        op.inputs().into_iter().chain(outputs).for_each(|tensor| used[tensor.buffer.0] = true);
    }
    let can_go =
        |role: Role| role.is_transient() || role == Role::Multipliers || role == Role::Gradients && !keep_gradients;
    let (mut left, mut renamed) = (Vec::new(), Vec::new());
    for (buffer, used) in std::mem::take(&mut plan.buffers).into_iter().zip(used) {
        renamed.push(BufferId(left.len()));
        if used || !can_go(buffer.role) {
            left.push(buffer);
        }
    }
    plan.buffers = left;
    for op in plan.step.iter_mut().chain(&mut plan.report) {
        op.tensors_mut().into_iter().for_each(|tensor| tensor.buffer = renamed[tensor.buffer.0]);
    }
}

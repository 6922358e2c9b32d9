//! Fusion of the training of a narrow network. The ops that treat each row by itself become one op, and the gradients
//! of the weights another.

use std::ops::Range;

use super::*;

/// Most storage bindings of a kernel on every device. [`NarrowRows`] has no uniforms, so it can use all of them.
const MOST_BINDINGS: usize = 8;

/// Longest binding of every device, in words: 128 MiB.
const LONGEST_BINDING: u64 = 1 << 25;

/// Replaces the ops of a narrow network by [`NarrowRows`] and [`NarrowGradients`]: in training, and in the forward and
/// the backward phase of a chain. An evaluation keeps its separate ops, so that it sums like the forward passes of
/// other models.
pub(super) fn fuse(plan: &mut Plan) {
    let mut start = 0;
    while start < plan.step.len() {
        let kinds = group(plan, start);
        let fused = fused(plan, start, &kinds);
        let end = start + kinds.len().max(1);
        start = match fused {
            Some(ops) => {
                let len = ops.len();
                plan.step.splice(start..end, ops);
                start + len
            }
            None => end,
        };
    }
}

/// What an op may become a part of.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rows,
    Gradients,
}

/// The kinds of consecutive ops that may be fused, from this op of the step on. The fused gradients run after the
/// fused rows, so they must not change what a later row op reads.
fn group(plan: &Plan, start: usize) -> Vec<Kind> {
    // A chain records its phases separately.
    let end = match plan.phases()[0].end {
        forward if plan.name == "chain" && start < forward => forward,
        _ => plan.step.len(),
    };
    let (mut kinds, mut written) = (Vec::new(), Vec::<Tensor>::new());
    for op in &plan.step[start..end] {
        let is_free = |read: &Tensor| written.iter().all(|tensor| !tensor.overlaps(read));
        match kind(plan, op) {
            Some(Kind::Rows) if op.inputs().iter().all(is_free) => kinds.push(Kind::Rows),
            Some(Kind::Gradients) => {
                kinds.push(Kind::Gradients);
                written.extend(op.outputs().into_iter().map(|(tensor, _)| tensor));
            }
            _ => break,
        }
    }
    kinds
}

fn kind(plan: &Plan, op: &Op) -> Option<Kind> {
    let is_narrow = |tensor: &&Tensor| tensor.shape.len() == 2 && tensor.columns() <= WIDEST_NARROW;
    let is_batch = |tensor: &&Tensor| is_narrow(tensor) && tensor.rows() == plan.batch;
    let rows = |tensors: &[&Tensor]| tensors.iter().all(is_batch).then_some(Kind::Rows);
    match op {
        Op::Gather(gather) => rows(&[&gather.x]),
        Op::Encode(Encode { parts, x, gradient: None, tangent: None, output }) => match parts[..] {
            [EncodePart { encoding, .. }] if encoding.group() == 1 => rows(&[x, output]),
            _ => None,
        },
        Op::HashGridForward(HashGridForward { options, x, y, .. }) if options.features_per_level <= 4 => rows(&[x, y]),
        Op::Pointwise(Pointwise { input, saved: None, output, dropout: None, .. }) => rows(&[input, output]),
        Op::Pointwise(Pointwise { input, saved: Some(saved), output, dropout: None, .. }) => {
            rows(&[input, saved, output])
        }
        Op::LossOp(LossOp { output, gradient: Some(_), positions: 1, .. }) => rows(&[output]),
        Op::Matmul(matmul) if matmul.window.is_some() || matmul.addend.is_some() => None,
        Op::Matmul(Matmul { a, b, c, layout: Layout::Tn, .. }) => {
            ([a, b].iter().all(is_batch) && is_narrow(&c)).then_some(Kind::Gradients)
        }
        Op::Matmul(Matmul { bias_gradient: None, a, b, c, layout, epilogue, .. })
            if plan.buffer(b.buffer).role == Role::Parameters && is_narrow(&b) =>
        {
            let fits = match layout {
                Layout::Nn => matches!(epilogue, Epilogue::None | Epilogue::Bias { .. }),
                _ => matches!(epilogue, Epilogue::None | Epilogue::Derivative { .. }),
            };
            rows(&[a, c]).filter(|_| fits)
        }
        _ => None,
    }
}

/// The fused ops of a group. `None` if it has no layer, or a kernel cannot bind all buffers. On success, the values
/// that the rows write are in one buffer, because a kernel has few bindings.
fn fused(plan: &mut Plan, start: usize, kinds: &[Kind]) -> Option<Vec<Op>> {
    let ops = start..start + kinds.len();
    let of_kind = |plan: &Plan, kind: Kind| -> Vec<Op> {
        plan.step[ops.clone()].iter().zip(kinds).filter(|(_, own)| **own == kind).map(|(op, _)| op.clone()).collect()
    };
    let rows = of_kind(plan, Kind::Rows);
    if !is_whole(plan, &rows) {
        return None;
    }
    let (mut words, mut moves) = (0, Vec::new());
    for (tensor, _) in rows.iter().flat_map(Op::outputs) {
        let is_new = moves.iter().all(|(buffer, _)| *buffer != tensor.buffer);
        if is_new && plan.buffer(tensor.buffer).role.is_transient() {
            moves.push((tensor.buffer, words as u32));
            words += u64::from(tensor.len().next_multiple_of(PARAMETER_ALIGNMENT));
        }
    }
    let parameters = plan.buffer(plan.find(Role::Parameters)?).words()?;
    let others = outer_buffers(plan, &rows).filter(|id| moves.iter().all(|(buffer, _)| buffer != id));
    if words.max(parameters) > LONGEST_BINDING || others.count() + 1 > MOST_BINDINGS {
        return None;
    }
    move_together(plan, &moves, words as u32);
    let rows = narrow_rows(plan, of_kind(plan, Kind::Rows));
    let gradients = of_kind(plan, Kind::Gradients);
    let gradients = narrow_gradients(plan, &gradients).map_or(gradients, |op| vec![op.into()]);
    Some([vec![rows.into()], gradients].concat())
}

/// Whether the ops are a whole narrow network: from the gathered batch to the gradient of its only loss. In a chain:
/// from the input to the output, and then from the gradient of the output on.
fn is_whole(plan: &Plan, rows: &[Op]) -> bool {
    let Some(first) = rows.first().filter(|_| rows.iter().any(|op| matches!(op, Op::Matmul(_)))) else { return false };
    let role = |tensor: Tensor| plan.buffer(tensor.buffer).role;
    let reads = |wanted: fn(Role) -> bool| first.inputs().into_iter().any(|tensor| wanted(role(tensor)));
    let makes_output = || rows.iter().flat_map(Op::outputs).any(|(tensor, _)| matches!(role(tensor), Role::Output(_)));
    let is_forward_fused = || plan.step.iter().any(|op| matches!(op, Op::NarrowRows(_)));
    match first {
        Op::Gather(_) => rows.iter().filter(|op| matches!(op, Op::LossOp(_))).count() == 1,
        _ if reads(|role| matches!(role, Role::OutputGradient(_))) => is_forward_fused(),
        _ => reads(|role| matches!(role, Role::Input(_))) && makes_output(),
    }
}

/// The distinct buffers that a kernel of these ops binds. It has the levels of hash grids as constants.
fn outer_buffers(plan: &Plan, ops: &[Op]) -> impl Iterator<Item = BufferId> {
    let mut buffers: Vec<BufferId> = Vec::new();
    let tensors = ops.iter().flat_map(|op| op.inputs().into_iter().chain(op.outputs().into_iter().map(|(t, _)| t)));
    for BufferId(i) in tensors.map(|tensor| tensor.buffer) {
        if plan.buffers[i].role != Role::GridLevels && !buffers.contains(&BufferId(i)) {
            buffers.push(BufferId(i));
        }
    }
    buffers.into_iter()
}

/// Moves buffers into one new buffer of this length, each to its offset.
fn move_together(plan: &mut Plan, moves: &[(BufferId, u32)], words: u32) {
    let id = BufferId(plan.buffers.len());
    let others = plan.buffers.iter().filter(|buffer| buffer.name.starts_with("narrow")).count();
    plan.buffers.push(Buffer {
        name: builder::numbered("narrow", others as u32),
        dtype: Dtype::F32,
        shape: Some(words.into()),
        role: Role::Activation,
        contents: Vec::new(),
        memory: None,
    });
    for tensor in plan.step.iter_mut().chain(&mut plan.report).flat_map(Op::tensors_mut) {
        if let Some((_, offset)) = moves.iter().find(|(buffer, _)| *buffer == tensor.buffer) {
            (tensor.buffer, tensor.offset) = (id, tensor.offset + offset);
        }
    }
}

/// All of a buffer as one tensor. For a buffer of unknown length: the tensor of its user.
fn whole(plan: &Plan, tensor: Tensor) -> Tensor {
    let buffer = plan.buffer(tensor.buffer);
    buffer.shape.map_or(tensor, |shape| Tensor::new(tensor.buffer, buffer.dtype, shape.elements() as u32))
}

fn narrow_rows(plan: &Plan, parts: Vec<Op>) -> NarrowRows {
    let mut written: Vec<(Tensor, Access)> = Vec::new();
    let mut read: Vec<Tensor> = Vec::new();
    for op in &parts {
        for (tensor, access) in op.outputs() {
            if written.iter().all(|(other, _)| other.buffer != tensor.buffer) {
                written.push((whole(plan, tensor), access));
            }
        }
        read.extend(op.inputs());
    }
    let mut buffers: Vec<(Tensor, Access)> = Vec::new();
    let mut levels: Vec<(Tensor, Vec<u32>)> = Vec::new();
    for tensor in read {
        let buffer = plan.buffer(tensor.buffer);
        if buffer.role == Role::GridLevels {
            levels.push((tensor, buffer.contents.clone()));
        } else if buffers.iter().chain(&written).all(|(other, _)| other.buffer != tensor.buffer) {
            buffers.push((whole(plan, tensor), Access::Read));
        }
    }
    buffers.extend(written);
    NarrowRows { parts, buffers, levels }
}

/// The fused gradients of weights. `None` if the weights are not adjacent, or their updates differ.
fn narrow_gradients(plan: &Plan, parts: &[Op]) -> Option<NarrowGradients> {
    let matmuls: Option<Vec<&Matmul>> =
        parts.iter().map(|op| if let Op::Matmul(matmul) = op { Some(matmul) } else { None }).collect();
    let mut matmuls = matmuls.filter(|matmuls| !matmuls.is_empty())?;
    matmuls.sort_by_key(|matmul| matmul.c.offset);
    let range = |matmul: &Matmul| -> Range<u32> {
        let last = matmul.bias_gradient.unwrap_or(matmul.c);
        matmul.c.offset..(last.offset + last.len()).next_multiple_of(PARAMETER_ALIGNMENT)
    };
    let (first, last) = (*matmuls.first()?, *matmuls.last()?);
    let are_adjacent = matmuls
        .windows(2)
        .all(|pair| range(pair[0]).end == range(pair[1]).start && pair[0].c.buffer == pair[1].c.buffer);
    let own_biases = |matmul: &&Matmul| matmul.bias_gradient.is_none_or(|bias| bias.buffer == matmul.c.buffer);
    if !are_adjacent || !matmuls.iter().all(own_biases) {
        return None;
    }
    let len = range(last).end - first.c.offset;
    let mut rows: Vec<Tensor> = Vec::new();
    for tensor in matmuls.iter().flat_map(|matmul| [matmul.a, matmul.b]) {
        if rows.iter().all(|other| other.buffer != tensor.buffer) {
            rows.push(whole(plan, tensor));
        }
    }
    let (gradients, step) = match &first.epilogue {
        Epilogue::None if matmuls.iter().all(|matmul| matmul.epilogue == Epilogue::None) => {
            (Some(Tensor { offset: first.c.offset, ..Tensor::new(first.c.buffer, first.c.dtype, len) }), None)
        }
        Epilogue::Update(step) => (None, Some(Box::new(joined(step, &matmuls, len)?))),
        _ => return None,
    };
    // The second dispatch binds one buffer of sums and those of the update.
    (rows.len() < MOST_BINDINGS - 1).then(|| NarrowGradients { parts: parts.to_vec(), rows, gradients, step })
}

/// One optimizer step for `len` weights from those of `first` on. `None` if the steps differ.
fn joined(first: &OptimizerStep, matmuls: &[&Matmul], len: u32) -> Option<OptimizerStep> {
    let longer =
        |tensor: Tensor, len: u32| Tensor { offset: tensor.offset, ..Tensor::new(tensor.buffer, tensor.dtype, len) };
    let all = OptimizerStep {
        parameters: longer(first.parameters, len),
        moments: first.moments.map(|moments| longer(moments, len * first.states())),
        ..first.clone()
    };
    let is_part = |matmul: &&Matmul| match &matmul.epilogue {
        Epilogue::Update(step) => {
            **step == all.part(step.parameters.offset - first.parameters.offset, step.parameters.len())
        }
        _ => false,
    };
    (first.multipliers.is_none() && matmuls.iter().all(is_part)).then_some(all)
}

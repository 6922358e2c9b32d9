//! Checks the tensor ops of graphs: elementwise, rearranged, and reduced along dimensions.

use super::*;

/// A plan of ops on f32 buffers of these lengths, filled with random numbers.
fn on_buffers(check: &Check<'_>, lengths: &[u32], ops: Vec<Op>) -> Result<Lockstep> {
    let names: Vec<String> = (0..lengths.len()).map(|i| format!("buffer{i}")).collect();
    let buffers: Vec<_> =
        names.iter().zip(lengths).map(|(name, &len)| (name.as_str(), len, Role::Activation)).collect();
    let mut plan = single(&buffers, ops[0].clone());
    plan.step = ops;
    let mut lockstep = check.lockstep(plan)?;
    let mut random = Random(lengths.iter().map(|&len| u64::from(len)).sum());
    for (i, &len) in lengths.iter().enumerate() {
        lockstep.set(BufferId(i), &random.f32s(len as usize))?;
    }
    Ok(lockstep)
}

/// The length that a tensor's buffer needs, in elements.
fn reach(tensor: &Tensor) -> u32 {
    let last: u32 = tensor.shape.iter().zip(tensor.strides.iter()).map(|(n, stride)| (n - 1) * stride).sum();
    tensor.offset + last + 1
}

/// The same tensor at an offset in its buffer.
fn at(offset: u32, tensor: Tensor) -> Tensor {
    Tensor { offset, ..tensor }
}

pub fn two_tensors_number_by_number(check: &mut Check) -> Result<()> {
    let t = |buffer, shape: &[u32]| tensor(buffer, of(shape));
    let pairs = [
        (t(0, &[1]), t(1, &[1])),
        (t(0, &[65, 7]), t(1, &[65, 7])),
        (t(0, &[64, 12]), t(1, &[64, 12])),
        // A bias, with and without a length divisible by four; a column; both repeated; tensors of different rank; a
        // scalar.
        (t(0, &[33, 12]), t(1, &[12])),
        (t(0, &[33, 7]), t(1, &[7])),
        (t(1, &[33, 1]), t(0, &[33, 8])),
        (t(0, &[5, 1, 8]), t(1, &[9, 1])),
        (t(0, &[2, 3, 1, 5, 4]), t(1, &[3, 7, 1, 4])),
        (t(0, &[300, 5]), t(1, &[1])),
        // Transposed tensors, at any offset in a buffer, and a part of a larger tensor.
        (t(0, &[7, 12]), t(1, &[12, 7]).permuted(&[1, 0])),
        (at(77, t(0, &[9, 8])), at(68, t(1, &[9, 8]))),
        (t(0, &[9, 20]).range(1, 8..16), t(1, &[9, 20]).range(1, 3..11)),
        // The same tensor twice, and two tensors in one buffer.
        (t(0, &[65, 7]), t(0, &[65, 7])),
        (t(0, &[6, 4]), t(0, &[6, 4]).range(0, 3..4)),
        (t(0, &[6, 6]), t(0, &[6, 6]).permuted(&[1, 0])),
        // The 81,920 workgroups form a two-dimensional grid.
        (t(0, &[LARGEST_BATCH, 5]), t(1, &[5])),
    ];
    for (a, b) in pairs {
        for how in [Combination::Add, Combination::Multiply] {
            let output = tensor(2, a.shape.broadcast(&b.shape).expect("shapes that fit"));
            let op = Combine { a, b, output, how };
            let lengths = [a, b].map(|t| reach(&t)).into_iter().max().unwrap_or(0);
            let mut lockstep = on_buffers(check, &[lengths, lengths, output.len()], vec![op.into()])?;
            check.agree(&mut lockstep, &format!("{how:?} of {a:?} and {b:?}"))?;
        }
    }
    Ok(())
}

pub fn numbers_times_a_constant_plus_another(check: &mut Check) -> Result<()> {
    for (len, scale, shift) in [(1, 2.0, 0.5), (63, -0.3, 1.0), (65, 1e20, -1e-20), (1757, 1.0 / 3.0, 0.0)] {
        let op = ScaleShift { input: tensor(0, len), output: tensor(1, len), scale, shift };
        let mut lockstep = on_buffers(check, &[len, len], vec![op.into()])?;
        let mut numbers = Random(len.into()).f32s(len as usize);
        let edges = [1e-42, f32::MAX, f32::INFINITY, f32::NAN];
        numbers.iter_mut().rev().take(len as usize / 4).zip(edges).for_each(|(x, edge)| *x = edge);
        lockstep.set(BufferId(0), &numbers)?;
        check.agree(&mut lockstep, &format!("{len} numbers * {scale} + {shift}"))?;
    }
    Ok(())
}

pub fn rearranged_from_any_strides_to_any(check: &mut Check) -> Result<()> {
    let t = |buffer, shape: &[u32]| tensor(buffer, of(shape));
    let moves = [
        (t(0, &[1]), t(1, &[1])),
        (t(0, &[65, 7]), t(1, &[65, 7])),
        // The input or the output is transposed.
        (t(0, &[12, 65]).permuted(&[1, 0]), t(1, &[65, 12])),
        (t(0, &[65, 12]), t(1, &[12, 65]).permuted(&[1, 0])),
        (t(0, &[2, 3, 4, 5, 6]).permuted(&[4, 2, 0, 3, 1]), t(1, &[6, 4, 2, 5, 3])),
        (t(0, &[3, 5, 8]).permuted(&[1, 0, 2]), t(1, &[5, 3, 8])),
        // Slices and parts of a concatenation, with and without lengths divisible by four.
        (t(0, &[9, 20]).range(1, 8..16), t(1, &[9, 8])),
        (t(0, &[9, 20]).range(1, 7..16), t(1, &[9, 9])),
        (t(0, &[9, 8]), t(1, &[9, 20]).range(1, 4..12)),
        (t(0, &[9, 8]), t(1, &[9, 21]).range(1, 13..21)),
        (t(0, &[3, 4]), t(1, &[50, 4]).range(0, 17..20)),
        (t(0, &[70, 9, 3]).range(1, 2..7), t(1, &[70, 5, 8]).range(2, 5..8)),
        // A repeated input.
        (t(0, &[7]).repeated([65, 7]), t(1, &[65, 7])),
        (t(0, &[5, 1, 8]).repeated([5, 9, 8]), t(1, &[5, 9, 8])),
        (t(0, &[33, 1]).repeated([33, 12]), t(1, &[33, 30]).range(1, 9..21)),
        (at(5, t(0, &[1])).repeated([300]), at(130, t(1, &[300]))),
        // The 81,920 workgroups form a two-dimensional grid.
        (t(0, &[LARGEST_BATCH, 5]).permuted(&[1, 0]), t(1, &[5, LARGEST_BATCH])),
    ];
    for (input, output) in moves {
        for scale in [1.0, 0.3] {
            let op = Rearrange { input, output, scale };
            // The buffer holds three more numbers after the output. The op must keep them.
            let mut lockstep = on_buffers(check, &[reach(&input), reach(&output) + 3], vec![op.into()])?;
            let before = lockstep.get(BufferId(1));
            check.agree(&mut lockstep, &format!("{input:?} to {output:?} * {scale}"))?;
            check.expect(lockstep.get(BufferId(1))[before.len() - 3..] == before[before.len() - 3..], || {
                format!("{output:?}: what is behind it has changed")
            });
        }
    }
    // The op copies the bits of words that are not numbers.
    let op = Rearrange { input: tensor(0, [2, 8]), output: tensor(1, [8, 2]).permuted(&[1, 0]), scale: 1.0 };
    let mut lockstep = on_buffers(check, &[16, 16], vec![op.into()])?;
    lockstep.set(BufferId(0), &std::array::from_fn::<u32, 16, _>(|i| 0x7f80_0001 + i as u32))?;
    check.exact(&mut lockstep, "words")
}

pub fn zeros_around_a_tensor(check: &mut Check) -> Result<()> {
    let t = |shape: &[u32]| tensor(0, of(shape));
    let windows: [(Tensor, &[u32], &[u32]); 12] = [
        (t(&[1]), &[1], &[0]),
        (t(&[5]), &[12], &[7]),
        (t(&[9, 8]), &[9, 20], &[0, 4]),
        (t(&[9, 8]), &[9, 21], &[0, 13]),
        (t(&[3, 8]), &[50, 8], &[17, 0]),
        (t(&[65, 7]), &[65, 7], &[0, 0]),
        (t(&[5, 3, 8]), &[9, 3, 8], &[4, 0, 0]),
        (t(&[5, 3, 8]), &[9, 7, 16], &[0, 4, 8]),
        (t(&[2, 3, 1, 5, 2]), &[4, 3, 1, 7, 3], &[1, 0, 0, 2, 0]),
        (t(&[8, 9]).permuted(&[1, 0]), &[11, 12], &[2, 4]),
        (at(7, t(&[4, 20])).range(1, 4..12), &[4, 16], &[0, 8]),
        // The 81,920 workgroups form a two-dimensional grid.
        (t(&[1000, 5]), &[LARGEST_BATCH, 5], &[LARGEST_BATCH - 1000, 0]),
    ];
    for (input, shape, start) in windows {
        let op = Pad { input, output: tensor(1, of(shape)), start: of(start) };
        let mut lockstep = on_buffers(check, &[reach(&input), op.output.len()], vec![op.into()])?;
        check.exact(&mut lockstep, &format!("{input:?} at {start:?} of {shape:?}"))?;
    }
    Ok(())
}

/// Inputs, and the dimensions to reduce.
fn reductions() -> Vec<(Tensor, Vec<usize>)> {
    let t = |shape: &[u32]| tensor(0, of(shape));
    vec![
        (t(&[1]), vec![0]),
        (t(&[7]), vec![]),
        (t(&[3, 5]), vec![1]),
        (t(&[3, 5]), vec![0]),
        (t(&[65, 64]), vec![1]),
        (t(&[7, 300]), vec![1]),
        (t(&[300, 7]), vec![0]),
        (t(&[300, 65]), vec![0]),
        (t(&[9, 70, 5]), vec![1]),
        (t(&[9, 70, 5]), vec![0, 2]),
        (t(&[9, 70, 5]), vec![0, 1, 2]),
        (t(&[2, 3, 40, 5, 6]), vec![0, 2, 4]),
        (t(&[2, 3, 40, 5, 6]), vec![1, 3]),
        (t(&[65, 300]).permuted(&[1, 0]), vec![1]),
        (t(&[65, 300]).permuted(&[1, 0]), vec![0]),
        (at(77, t(&[40, 90])).range(1, 5..75), vec![0]),
        (t(&[1, 9]).repeated([70, 9]), vec![0]),
        // A reduction that several workgroups share.
        (t(&[70_001, 3]), vec![0]),
        (t(&[3, 70_001]), vec![1]),
        (t(&[5000]), vec![0]),
        (t(&[9001, 2, 3]), vec![0, 2]),
    ]
}

/// The shape of a tensor after a reduction of these dimensions.
fn reduced(tensor: &Tensor, dimensions: &[usize]) -> Shape {
    let shape: Vec<u32> =
        tensor.shape.iter().enumerate().map(|(i, &length)| if dimensions.contains(&i) { 1 } else { length }).collect();
    of(&shape)
}

/// A shape of at most five dimensions.
fn of(shape: &[u32]) -> Shape {
    shape.try_into().expect("few dimensions")
}

pub fn sums_and_means_along_any_dimensions(check: &mut Check) -> Result<()> {
    for (input, dimensions) in reductions() {
        for how in [Reduction::Sum, Reduction::Mean] {
            let op = Reduce { input, output: tensor(1, reduced(&input, &dimensions)), how };
            let mut lockstep = on_buffers(check, &[reach(&input), op.output.len()], vec![op.into()])?;
            check.agree(&mut lockstep, &format!("{how:?} of {input:?} along {dimensions:?}"))?;
        }
    }
    // More workgroups than one dimension of a dispatch may have.
    let op = Reduce { input: tensor(0, [65_600, 65]), output: tensor(1, [65_600, 1]), how: Reduction::Sum };
    let mut lockstep = on_buffers(check, &[op.input.len(), op.output.len()], vec![op.into()])?;
    check.agree(&mut lockstep, "sums of many rows")
}

pub fn largest_numbers_and_their_gradient(check: &mut Check) -> Result<()> {
    for (input, dimensions) in reductions() {
        let shape = reduced(&input, &dimensions);
        let [output, gradient] = [1, 2].map(|buffer| tensor(buffer, shape));
        let largest = Reduce { input, output, how: Reduction::Max };
        let backward = ReduceMaxGradient { input, output, gradient, input_gradient: tensor(3, input.shape) };
        let lengths = [reach(&input), output.len(), output.len(), input.len()];
        for ties in [false, true] {
            let mut lockstep = on_buffers(check, &lengths, vec![largest.clone().into(), backward.clone().into()])?;
            // Few distinct numbers. Only the order of the bits distinguishes some of them.
            let edges = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 1e-42, -1e-42, f32::NAN, -f32::NAN];
            let mut random = Random(u64::from(input.len()));
            let number = |i: u32| {
                if !ties {
                    return random.f32() - 2.0;
                }
                // Few of the results are NaN.
                let most = if random.below(50) == 0 { 8 } else { 6 };
                let few = if i.is_multiple_of(5) { &edges[..most] } else { &[-1.0, -2.0, -0.0] };
                few[random.below(few.len() as u32) as usize]
            };
            let numbers: Vec<f32> = (0..lengths[0]).map(number).collect();
            lockstep.set(BufferId(0), &numbers)?;
            check.exact(&mut lockstep, &format!("largest of {input:?} along {dimensions:?}, ties {ties}"))?;
            let taken = lockstep.get(BufferId(3)).iter().filter(|dx| **dx != 0.0).count();
            let given = lockstep.get(BufferId(2)).iter().filter(|dy| **dy != 0.0).count();
            check.expect(taken == given, || format!("{input:?}: {given} gradients, {taken} taken"));
        }
    }
    Ok(())
}

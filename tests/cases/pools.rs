//! Checks max and average pooling and their gradients.

use super::*;

/// Each case: samples, then size, stride and padding along each dimension. Windows overlap, touch or lie apart.
/// Channels fill whole vectors or not. Some windows have more taps than a byte can number.
fn windows() -> Vec<(u32, Window)> {
    let axis = |length: u32, [taps, down, padding]: [u32; 3]| {
        let positions = (length + 2 * padding - taps) / down + 1;
        Axis { length, positions, taps, down, step: 1, first: -(padding as i32), up: 1 }
    };
    let window = |[height, width, channels]: [u32; 3], rows, columns| Window {
        channels,
        groups: 1,
        rows: axis(height, rows),
        columns: axis(width, columns),
    };
    let one = [1, 1, 0];
    vec![
        (1, window([1, 1, 1], one, one)),
        (3, window([26, 26, 32], [2, 2, 0], [2, 2, 0])),
        (2, window([11, 9, 8], [3, 2, 1], [3, 2, 1])),
        (2, window([7, 12, 3], [3, 1, 1], [2, 3, 1])),
        (4, window([1, 33, 5], one, [3, 2, 1])),
        (2, window([9, 10, 4], [2, 5, 0], [3, 4, 1])),
        (1, window([7, 7, 33], [7, 7, 3], [7, 7, 3])),
        (2, window([5, 1, 4], [4, 1, 2], one)),
        (2, window([6, 5, 4], [3, 1, 1], [5, 2, 2])),
        (1, window([20, 19, 4], [17, 2, 8], [18, 3, 9])),
    ]
}

pub fn pools_and_their_gradients(check: &mut Check) -> Result<()> {
    for (samples, window) in windows() {
        let Window { channels, rows, columns, .. } = window;
        let input = tensor(0, [samples, rows.length, columns.length, channels]);
        let output = tensor(1, [samples, rows.positions, columns.positions, channels]);
        let words = window.choices(output.len());
        let kept = Some(Tensor::new(BufferId(4), Dtype::U32, words));
        let [gradient, input_gradient] = [tensor(2, output.shape), tensor(3, input.shape)];
        let backward = |chosen, how| PoolGradient { gradient, chosen, input_gradient, window, how };
        let forward = |chosen, how| Op::from(PoolForward { input, output, chosen, window, how });
        let ops = [
            vec![forward(None, Pooling::Max)],
            vec![forward(kept, Pooling::Max), backward(kept, Pooling::Max).into()],
            vec![forward(None, Pooling::Average), backward(None, Pooling::Average).into()],
        ];
        for ops in ops {
            let lengths = [input, output, output, input].map(|tensor| tensor.len());
            let names = ["input", "output", "gradient", "input_gradient"];
            let buffers = names.into_iter().zip(lengths).map(|(name, len)| (name, len, Role::Activation));
            let buffers: Vec<_> = buffers.chain([("chosen", words, Role::Choices)]).collect();
            let mut plan = single(&buffers, ops[0].clone());
            let what = plan.describe(&ops[0]);
            plan.step = ops;
            let is_max = what.contains(" max ");
            for ties in [false, true].into_iter().filter(|ties| is_max || !ties) {
                let mut lockstep = check.lockstep(plan.clone())?;
                let mut random = Random(u64::from(input.len()) + 9);
                // Few distinct numbers, so that there are ties. Only the order of the bits distinguishes some of them.
                let edges = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 1e-42, -1e-42, f32::INFINITY, f32::NAN, -f32::NAN];
                let number = |_| match (ties, random.below(40)) {
                    (false, _) => random.f32(),
                    (_, 0) => edges[random.below(9) as usize],
                    _ => [-1.0, -2.0, -0.0][random.below(3) as usize],
                };
                let numbers: Vec<f32> = (0..input.len()).map(number).collect();
                lockstep.set(BufferId(0), &numbers)?;
                lockstep.set(BufferId(2), &random.f32s(output.len() as usize))?;
                check.agree(&mut lockstep, &format!("{what}, ties {ties}"))?;
                let sum = |buffer| lockstep.get(BufferId(buffer)).into_iter().map(f64::from).sum::<f64>();
                // At most one rounding for each number in each window.
                let (given, taken) = (sum(2), sum(3));
                let bound = f64::from(output.len() * window.rows.taps * window.columns.taps) / 16_777_216.0;
                let is_right = plan.step.len() == 1 || (given - taken).abs() <= bound;
                check.expect(is_right, || format!("{what}: gradients of {given} in all, {taken} taken"));
            }
        }
    }
    Ok(())
}

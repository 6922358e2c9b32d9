//! Checks optimizers, and the accumulation and clipping of gradients before an update.

use super::*;

/// An update of `len` parameters. The update is due unless `accumulates` is set.
struct UpdateCase {
    optimizer: Optimizer,
    len: u32,
    update: u32,
    multipliers: bool,
    scale: bool,
    clip: Option<f32>,
    accumulates: bool,
    absolute_decay: f32,
    averages: Averages,
}

impl UpdateCase {
    fn new(optimizer: impl Into<Optimizer>, len: u32, update: u32) -> Self {
        let optimizer = optimizer.into();
        Self {
            optimizer,
            len,
            update,
            multipliers: false,
            scale: false,
            clip: None,
            accumulates: false,
            absolute_decay: 0.0,
            averages: Averages::default(),
        }
    }

    fn run(self, check: &mut Check) -> Result<()> {
        let Self { optimizer, len, update, .. } = self;
        let mut lockstep = self.lockstep(check)?;
        for _ in 0..2 {
            check.agree(&mut lockstep, &format!("{optimizer:?} of {len} at update {update}"))?;
        }
        Ok(())
    }

    /// A lockstep with random numbers.
    fn lockstep(self, check: &Check) -> Result<Lockstep> {
        let Self { optimizer, len, update, .. } = self;
        let blocks = len / 64 * 2;
        let moments = len * (optimizer.moments() + self.averages.count());
        let step = OptimizerStep {
            optimizer,
            parameters: tensor(0, len),
            moments: (moments > 0).then(|| tensor(2, moments)),
            cursor: tensor(3, STEP),
            multipliers: self.multipliers.then(|| tensor(4, blocks)),
            absolute_decay: self.absolute_decay,
            averages: self.averages,
            clip: self.clip,
            accumulates: self.accumulates,
        };
        let op = Update { step, gradients: tensor(1, len), scale: self.scale.then(|| tensor(5, 1)) };
        let buffers = [
            ("w", len, Role::Parameters),
            ("g", len, Role::Gradients),
            ("moments", moments.max(1), Role::Moments),
            ("step", STEP, Role::Step),
            ("multipliers", blocks, Role::Multipliers),
            ("scale", 1, Role::GradientScale),
        ];
        let mut random = Random(u64::from(len + update));
        let mut lockstep = check.lockstep(single(&buffers, Op::Update(op)))?;
        lockstep.set(BufferId(0), &random.f32s(len as usize))?;
        let mut gradients = random.f32s(len as usize);
        gradients.iter_mut().step_by(7).for_each(|g| *g = 0.0);
        lockstep.set(BufferId(1), &gradients)?;
        // Means of squares are not negative.
        let squares: Vec<f32> = random.f32s(moments.max(1) as usize).into_iter().map(|x| x * x).collect();
        lockstep.set(BufferId(2), &squares)?;
        let multipliers: Vec<f32> = random.f32s(blocks as usize).into_iter().map(f32::abs).collect();
        lockstep.set(BufferId(4), &multipliers)?;
        lockstep.set(BufferId(5), &[0.37f32])?;
        let due = u32::from(!self.accumulates);
        let state = StepState { step: update, update, due, learning_rate: 0.05, ..StepState::default() };
        lockstep.set(BufferId(3), &[state])?;
        Ok(lockstep)
    }
}

fn optimizers() -> Vec<Optimizer> {
    vec![
        Sgd::default().into(),
        Sgd { momentum: 0.9, weight_decay: 0.1, ..Sgd::default() }.into(),
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        Sgd { momentum: 0.5, dampening: 0.3, ..Sgd::default() }.into(),
        RmsProp::default().into(),
        RmsProp { momentum: 0.9, weight_decay: 0.1, ..RmsProp::default() }.into(),
        Adagrad::default().into(),
        Adagrad { rate_decay: 0.1, initial_accumulator: 0.1, ..Adagrad::default() }.into(),
        Adam::default().into(),
        Adam { beta1: 0.0, weight_decay: 0.1, ..Adam::default() }.into(),
        Adam { skip_zero_gradients: true, weight_decay: 0.1, ..Adam::default() }.into(),
        AdamW::default().into(),
        Lion { weight_decay: 0.1, ..Lion::default() }.into(),
        AdaBound::default().into(),
        AdaBound { beta1: 0.0, gamma: 0.5, weight_decay: 0.1, ..AdaBound::default() }.into(),
    ]
}

pub fn every_optimizer_updates_at_awkward_lengths(check: &mut Check) -> Result<()> {
    for optimizer in optimizers() {
        for (len, update) in [(64, 1), (320, 2), (1757 * 64, 10)] {
            UpdateCase::new(optimizer, len, update).run(check)?;
        }
    }
    Ok(())
}

pub fn adam_updates_at_early_and_late_steps(check: &mut Check) -> Result<()> {
    for (update, beta1) in [(1, 0.9), (2, 0.0), (10, 0.9), (500, 0.9), (1_000_000, 0.9)] {
        UpdateCase::new(Adam { beta1, ..Adam::default() }, 320, update).run(check)?;
    }
    Ok(())
}

pub fn updates_with_groups_limits_and_accumulation(check: &mut Check) -> Result<()> {
    for optimizer in optimizers() {
        UpdateCase { multipliers: true, ..UpdateCase::new(optimizer, 640, 3) }.run(check)?;
        UpdateCase { scale: true, ..UpdateCase::new(optimizer, 320, 3) }.run(check)?;
        UpdateCase { clip: Some(0.2), ..UpdateCase::new(optimizer, 320, 1) }.run(check)?;
        UpdateCase { accumulates: true, ..UpdateCase::new(optimizer, 320, 3) }.run(check)?;
    }
    Ok(())
}

/// Lookahead, the EMA and both, at updates with and without a step of the slow weights.
pub fn updates_average_weights(check: &mut Check) -> Result<()> {
    let (lookahead, ema) = (Lookahead { alpha: 0.3, updates: 3 }, Ema { decay: 0.9 });
    let each = [(Some(lookahead), None), (None, Some(ema)), (Some(lookahead), Some(ema))];
    for (lookahead, ema) in each {
        let averages = Averages { lookahead, ema };
        for optimizer in optimizers() {
            for (len, update) in [(64, 1), (320, 3), (320, 4)] {
                UpdateCase { averages, ..UpdateCase::new(optimizer, len, update) }.run(check)?;
            }
        }
        for (len, update) in [(1757 * 64, 3), (64, 1_000_000)] {
            UpdateCase { averages, ..UpdateCase::new(Adam::default(), len, update) }.run(check)?;
        }
        let case = || UpdateCase { averages, ..UpdateCase::new(Adam::default(), 640, 3) };
        UpdateCase { multipliers: true, scale: true, ..case() }.run(check)?;
        UpdateCase { accumulates: true, ..case() }.run(check)?;
    }
    for decay in [0.0, 0.5, 0.999_999] {
        let averages = Averages { ema: Some(Ema { decay }), lookahead: None };
        for update in [1, 2, 50, 5000] {
            UpdateCase { averages, ..UpdateCase::new(Sgd::default(), 64, update) }.run(check)?;
        }
    }
    Ok(())
}

pub fn updates_decay_weights_by_an_amount(check: &mut Check) -> Result<()> {
    for optimizer in optimizers() {
        // Steps of 0.1, so that some of the weights become 0.
        let case = || UpdateCase { absolute_decay: 2.0, ..UpdateCase::new(optimizer, 640, 2) };
        case().run(check)?;
        UpdateCase { multipliers: true, ..case() }.run(check)?;
        let mut lockstep = case().lockstep(check)?;
        lockstep.set(BufferId(1), &[0.0f32; 640])?;
        lockstep.set(BufferId(2), &[0.0f32; 1280])?;
        let before = lockstep.get(BufferId(0));
        check.agree(&mut lockstep, &format!("{optimizer:?} with absolute decay and without gradient"))?;
        if optimizer == Sgd::default().into() {
            // The rate is 0.05. Both factors are rounded.
            let exact = |w: f32| f64::from(w.signum()) * (f64::from(w.abs()) - f64::from(0.05f32) * 2.0).max(0.0);
            for (before, after) in before.iter().zip(lockstep.get(BufferId(0))) {
                let near = (f64::from(after) - exact(*before)).abs() <= 2.0 / 16_777_216.0;
                check.expect(near, || format!("{before} decays to {after}"));
            }
            let zeros = lockstep.get(BufferId(0)).iter().filter(|w| **w == 0.0).count();
            check.expect(zeros > 0 && zeros < 640, || format!("{zeros} of 640 weights are 0"));
        }
    }
    Ok(())
}

/// An update keeps the bits of a weight and its moments if the gradient is 0, and changes all others.
pub fn adam_skips_zero_gradients(check: &mut Check) -> Result<()> {
    let adam = Adam { skip_zero_gradients: true, weight_decay: 0.1, ..Adam::default() };
    for case in [UpdateCase::new(adam, 320, 5), UpdateCase { scale: true, ..UpdateCase::new(adam, 320, 5) }] {
        let mut lockstep = case.lockstep(check)?;
        let gradients: Vec<f32> = (0..320).map(|i| [0.0, 0.5, -0.0, 1e-30][i % 4]).collect();
        lockstep.set(BufferId(1), &gradients)?;
        let before = [0, 2].map(|buffer| lockstep.get(BufferId(buffer)));
        check.agree(&mut lockstep, "skipped weights")?;
        let after = [0, 2].map(|buffer| lockstep.get(BufferId(buffer)));
        for (before, after) in before.iter().zip(&after) {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                // Blocks of moments consist of 64 elements, so the pattern of the gradients repeats in them.
                check.expect((before.to_bits() == after.to_bits()) == (i % 2 == 0), || {
                    format!("number {i}: {before} became {after}")
                });
            }
        }
    }
    Ok(())
}

pub fn gradients_of_several_batches_accumulate(check: &mut Check) -> Result<()> {
    for (mean, batches, due) in [(true, 1, 0), (true, 1, 1), (true, 3, 0), (true, 3, 1), (false, 1, 1), (false, 2, 1)] {
        for len in [64, 1757 * 64] {
            let (gradients, sum, step) = (tensor(0, len), tensor(1, len), tensor(2, STEP));
            let op = Op::Accumulate(Accumulate { gradients, sum, step, mean });
            let buffers =
                [("g", len, Role::Gradients), ("sum", len, Role::AccumulatedGradients), ("step", STEP, Role::Step)];
            let mut random = Random(u64::from(len));
            let mut lockstep = check.lockstep(single(&buffers, op))?;
            lockstep.set(BufferId(0), &random.f32s(len as usize))?;
            lockstep.set(BufferId(1), &random.f32s(len as usize))?;
            let state = StepState { rows: 7, update_rows: 19, batches, due, ..StepState::default() };
            lockstep.set(BufferId(2), &[state])?;
            check.agree(&mut lockstep, &format!("batch {batches} of {len}, due {due}, mean {mean}"))?;
        }
    }
    Ok(())
}

/// The slices of a whole batch, and those of a rank. Sums that another rank needs stay apart.
pub fn slices_are_summed_in_their_order(check: &mut Check) -> Result<()> {
    let shares = [(0, 1, 1), (0, 12, 12), (6, 6, 12), (4, 4, 12), (3, 3, 12), (5, 1, 6), (0, 5, 5)];
    for (first, own, all) in shares {
        let share = Share { first, own, all };
        for (len, batches, due, mean) in [(64, 1, 1, true), (320, 3, 0, true), (64 * 65, 2, 1, false)] {
            let (gradients, sums, step) = (tensor(0, len), tensor(1, [own, len]), tensor(2, STEP));
            let buffers =
                [("g", len, Role::Gradients), ("sums", own * len, Role::SliceSums), ("step", STEP, Role::Step)];
            let mut plan = single(&buffers, SumSlices { gradients, step, sums, share, mean }.into());
            let half = sums.range(1, 0..len / 2);
            plan.step.push(CombineSlices { step, sums: half, share, mean: false }.into());
            let total = sums.range(0, 0..1);
            plan.step.push(CombineSlices { step, sums: total, share: Share::default(), mean: true }.into());
            let mut lockstep = check.lockstep(plan)?;
            let mut random = Random(u64::from(len + own));
            lockstep.set(BufferId(0), &random.f32s(len as usize))?;
            lockstep.set(BufferId(1), &random.f32s((own * len) as usize))?;
            for rows in [0, 7] {
                let step = 5 * all + first + own;
                let state = StepState { step, rows, update_rows: 19, batches, due, ..StepState::default() };
                lockstep.set(BufferId(2), &[state])?;
                check.agree(&mut lockstep, &format!("{share:?} of {len}, batch {batches}, {rows} rows, due {due}"))?;
            }
        }
    }
    Ok(())
}

pub fn a_norm_has_a_limit(check: &mut Check) -> Result<()> {
    for (len, limit) in [(64, 1.0), (320, 100.0), (1757 * 64, 1.0)] {
        let (sums, scale) = (tensor(1, SUM_PARTS), tensor(2, 1));
        let mut plan = single(
            &[("g", len, Role::Gradients), ("sums", SUM_PARTS, Role::SquareSums), ("scale", 1, Role::GradientScale)],
            Op::SumSquares(SumSquares { input: tensor(0, len), output: sums, limit: None }),
        );
        plan.step.push(Op::SumSquares(SumSquares { input: sums, output: scale, limit: Some(limit) }));
        let mut lockstep = check.lockstep(plan)?;
        let gradients = Random(9).f32s(len as usize);
        lockstep.set(BufferId(0), &gradients)?;
        check.agree(&mut lockstep, &format!("norm of {len}"))?;
        let norm = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let expected = (f64::from(limit) / (norm + 1e-6)).min(1.0);
        let actual = f64::from(lockstep.get(BufferId(2))[0]);
        // The longest sum adds 1757 x 64 / 256 squares, then 256 partial sums. The square root halves their relative
        // error.
        let near = (actual - expected).abs() <= expected * 700.0 / 16_777_216.0;
        check.expect(near, || format!("norm of {len}: scale {actual} is not {expected}"));
    }
    Ok(())
}

pub fn updates_at_the_edges_of_the_numbers(check: &mut Check) -> Result<()> {
    // The squares of some gradients overflow or underflow; others are not finite. A factor below f32's range is stored
    // as -factor * 2^96.
    let gradients = [0.0, 1.0, -1e10, 1e19, 1e20, -1e30, 3e38, f32::INFINITY, f32::NAN, 1e-20, -1e-30, 1e-38];
    let len = 64;
    for optimizer in optimizers() {
        for (update, scale) in [(1, 1.0f32), (3, 1.0), (2, -1.5e-10), (2, f32::NAN)] {
            let case = UpdateCase { scale: scale != 1.0, ..UpdateCase::new(optimizer, len, update) };
            let mut lockstep = case.lockstep(check)?;
            let g: Vec<f32> = (0..len as usize).map(|i| gradients[i % gradients.len()]).collect();
            lockstep.set(BufferId(0), &vec![0.5f32; len as usize])?;
            lockstep.set(BufferId(1), &g)?;
            lockstep.set(BufferId(5), &[scale])?;
            lockstep.set(BufferId(2), &[0.0f32; 2 * 64])?;
            check.agree(&mut lockstep, &format!("{optimizer:?} at the edges, update {update}, scale {scale}"))?;
            // A parameter may stay unchanged only if its gradient is negligible.
            for (g, w) in g.iter().zip(lockstep.get(BufferId(0))) {
                // The negative factor makes every gradient small.
                let stands = w.is_finite() && (w - 0.5).abs() < 1e-9;
                check.expect(!stands || g.abs() < 1e-6 || scale < 0.0, || {
                    format!("{optimizer:?}: {w} after a gradient of {g}")
                });
            }
        }
    }
    Ok(())
}

pub fn a_norm_beyond_f32_has_a_limit(check: &mut Check) -> Result<()> {
    let len = 64 * 257;
    let (sums, scale) = (tensor(1, SUM_PARTS), tensor(2, 1));
    let buffers =
        [("g", len, Role::Gradients), ("sums", SUM_PARTS, Role::SquareSums), ("scale", 1, Role::GradientScale)];
    // Either all numbers or one in 500 have this size. The other numbers have size 1.
    for limit in [1.0f32, 1e30] {
        let op = SumSquares { input: tensor(0, len), output: sums, limit: None };
        let mut plan = single(&buffers, Op::SumSquares(op));
        plan.step.push(Op::SumSquares(SumSquares { input: sums, output: scale, limit: Some(limit) }));
        let mut lockstep = check.lockstep(plan)?;
        for (size, every) in
            [(1e18f32, 1), (1e18, 500), (2e19, 1), (2e19, 500), (1e30, 500), (3.4e38, 1), (3.4e38, 500), (1e-30, 1)]
        {
            let mut gradients = Random(11).f32s(len as usize);
            gradients.iter_mut().step_by(every).for_each(|g| *g *= size);
            lockstep.set(BufferId(0), &gradients)?;
            check.agree(&mut lockstep, &format!("norm of {size:e}, limit {limit:e}"))?;
            let norm = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let expected = (f64::from(limit) / (norm + 1e-6)).min(1.0);
            let actual = match f64::from(lockstep.get(BufferId(2))[0]) {
                factor if factor < 0.0 => -factor / (1u128 << 96) as f64,
                factor => factor,
            };
            // The bound of the test above, for a sum of 65 + 256 additions.
            let near = (actual - expected).abs() <= expected * 330.0 / 16_777_216.0;
            check.expect(near, || format!("norm of {size:e}, limit {limit:e}: {actual:e} is not {expected:e}"));
        }
        for odd in [f32::INFINITY, f32::NAN] {
            lockstep.set(BufferId(0), &[vec![3e38; 700], vec![odd], vec![1.0; len as usize - 701]].concat())?;
            check.agree(&mut lockstep, &format!("norm of {odd}"))?;
            let factor = lockstep.get(BufferId(2))[0];
            check.expect(factor.is_nan(), || format!("norm of {odd}: {factor}"));
        }
    }
    Ok(())
}

//! Checks matmuls.

use super::*;

/// The tensors A, B and C for [m, n, k], in buffers 0, 1 and 3.
fn operands([m, n, k]: [u32; 3], layout: Layout) -> [Tensor; 3] {
    let a = if layout == Layout::Tn { [k, m] } else { [m, k] };
    let b = if layout == Layout::Nt { [n, k] } else { [k, n] };
    [tensor(0, a), tensor(1, b), tensor(3, [m, n])]
}

/// Added to an epilogue's number (0 to 2) to give the matmul an addend.
pub(super) const ADD: u32 = 4;

/// Checks a matmul. `epilogue`: 0 none, 1 bias and activation, 2 derivative, 3 update; plus [`ADD`] with an addend.
fn check_matmul(check: &mut Check, shape: [u32; 3], layout: Layout, epilogue: u32, bias_gradient: bool) -> Result<()> {
    let [a, b, c] = operands(shape, layout);
    check_product(check, Matmul::new(a, b, c, layout), epilogue, bias_gradient)
}

/// Checks a matmul that may have a window.
pub(super) fn check_product(check: &mut Check, product: Matmul, epilogue: u32, bias_gradient: bool) -> Result<()> {
    let [m, n, k] = product.shape();
    let [of_a, of_b] = [product.a.len(), product.b.len()];
    // One that is simple and one that is not. The pointwise cases check every activation, in the same text.
    let activation = [Activation::Relu, Activation::GeluTanh][(m + n) as usize % 2];
    let extra_len = if epilogue % ADD == 2 { m * n } else { n };
    let addend = (epilogue >= ADD).then(|| tensor(5, [m, n]));
    let plan_epilogue = match epilogue % ADD {
        0 => Epilogue::None,
        3 => return check_update(check, product, bias_gradient),
        1 => Epilogue::Bias { bias: (n % 7 != 0).then(|| tensor(2, n)), activation },
        _ => Epilogue::Derivative { saved: tensor(2, m * n), activation },
    };
    let buffers = [
        ("a", of_a, Role::Activation),
        ("b", of_b, Role::Activation),
        ("extra", extra_len, Role::Activation),
        ("c", m * n, Role::Activation),
        ("sums", n, Role::Activation),
        ("addend", m * n, Role::Activation),
    ];
    let bias_gradient = bias_gradient.then(|| tensor(4, n));
    let what = format!("{m}x{n}x{k} {:?} epilogue {epilogue} {:?}", product.layout, product.window);
    let op = Op::Matmul(Matmul { epilogue: plan_epilogue, addend, bias_gradient, ..product });
    let mut random = Random(u64::from(m * 31 + n * 17 + k));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    // Long sums add products of 1, 2 and 3. No sum is rounded, so a single missing term shows.
    let long = k > 10_000;
    let number = |x: f32| if long { (x.abs() * 2.99).floor() + 1.0 } else { x };
    let mut numbers = |len: u32| random.f32s(len as usize).into_iter().map(number).collect::<Vec<_>>();
    lockstep.set(BufferId(0), &numbers(of_a))?;
    lockstep.set(BufferId(1), &numbers(of_b))?;
    lockstep.set(BufferId(2), &numbers(extra_len))?;
    lockstep.set(BufferId(5), &numbers(m * n))?;
    if long { check.exact(&mut lockstep, &what) } else { check.agree(&mut lockstep, &what) }
}

/// Checks a matmul with an optimizer update as its epilogue. The optimizer depends on the shape.
fn check_update(check: &mut Check, product: Matmul, biases: bool) -> Result<()> {
    let [m, n, k] = product.shape();
    let optimizer: Optimizer = match (m + n + k) % 3 {
        0 => Adam { weight_decay: 0.01, ..Adam::default() }.into(),
        1 => Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        _ => Sgd::default().into(),
    };
    let bias_at = (m * n).next_multiple_of(64);
    let len = if biases { bias_at + n } else { m * n };
    let moments = len.next_multiple_of(64) * optimizer.moments();
    let step = OptimizerStep {
        optimizer,
        parameters: tensor(3, len),
        moments: (moments > 0).then(|| tensor(4, moments)),
        cursor: tensor(2, STEP),
        multipliers: None,
        absolute_decay: 0.0,
        averages: Averages::default(),
        clip: (n % 2 == 0).then_some(0.5),
        accumulates: false,
    };
    let bias = Tensor { offset: bias_at, ..tensor(3, n) };
    let (epilogue, bias_gradient) = (Epilogue::Update(Box::new(step)), biases.then_some(bias));
    let [of_a, of_b] = [product.a.len(), product.b.len()];
    let what = format!("{optimizer:?} {m}x{n}x{k} {:?} {:?}, biases {biases}", product.layout, product.window);
    let op = Op::Matmul(Matmul { epilogue, bias_gradient, ..product });
    let buffers = [
        ("a", of_a, Role::Activation),
        ("b", of_b, Role::Activation),
        ("step", STEP, Role::Step),
        ("parameters", len, Role::Parameters),
        ("moments", moments.max(1), Role::Moments),
    ];
    let mut random = Random(u64::from(m * 31 + n * 17 + k));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    for (i, len) in [(0, of_a), (1, of_b), (3, len)] {
        lockstep.set(BufferId(i), &random.f32s(len as usize))?;
    }
    let squares: Vec<f32> = random.f32s(moments.max(1) as usize).into_iter().map(f32::abs).collect();
    lockstep.set(BufferId(4), &squares)?;
    let state = StepState { update: 3, learning_rate: 0.01, ..step_state(3, k) };
    lockstep.set(BufferId(2), &[state])?;
    check.agree(&mut lockstep, &what)
}

pub(super) const LAYOUTS: [Layout; 3] = [Layout::Nn, Layout::Nt, Layout::Tn];

const SIZES: [u32; 7] = [1, 3, 4, 63, 64, 65, 257];

/// The shape of a pair of sizes, and the layout that goes with it.
fn awkward([i, j]: [usize; 2]) -> ([u32; 3], Layout) {
    ([i, j, (i + j) % SIZES.len()].map(|place| SIZES[place]), LAYOUTS[(i + 2 * j) % 3])
}

/// Each size is combined with three others, in both orders: with an epilogue, and with an addend and another epilogue.
pub fn matmul_at_awkward_sizes(check: &mut Check) -> Result<()> {
    let of_row = |i: usize| [i, 3 * i + 1, 5 * i + 2].map(|j| [i, j % SIZES.len()]);
    (0..SIZES.len()).flat_map(of_row).try_for_each(|[i, j]| {
        let ((shape, layout), epilogue, sums) = (awkward([i, j]), (i + j) as u32 % 4, (i * j) % 2 == 0);
        check_matmul(check, shape, layout, epilogue, sums)?;
        check_matmul(check, shape, layout, epilogue % 3 + ADD, sums)
    })
}

/// Each size is combined with each size.
pub fn matmul_at_all_awkward_sizes(check: &mut Check) -> Result<()> {
    let of_row = |i: usize| (0..SIZES.len()).map(move |j| [i, j]);
    (0..SIZES.len()).flat_map(of_row).try_for_each(|pair| {
        let (shape, layout) = awkward(pair);
        check_matmul(check, shape, layout, 0, layout == Layout::Tn)
    })
}

pub fn matmul_in_every_layout_with_every_epilogue(check: &mut Check) -> Result<()> {
    for layout in LAYOUTS {
        for epilogue in [0, 1, 2, 3, ADD, ADD + 1, ADD + 2] {
            // Shapes are aligned to vectors or not, for small and large tiles.
            check_matmul(check, [36, 44, 18], layout, epilogue, true)?;
            check_matmul(check, [33, 10, 18], layout, epilogue, true)?;
            check_matmul(check, [128, 96, 72], layout, epilogue, true)?;
            check_matmul(check, [68, 1, 300], layout, epilogue, true)?;
            check_matmul(check, [1, 68, 300], layout, epilogue, false)?;
        }
        check_matmul(check, [300, 1, 520], layout, 1, true)?;
        check_matmul(check, [1757, 33, 1], layout, 1, false)?;
        check_matmul(check, [5, 1757, 257], layout, 2, true)?;
        check_matmul(check, [130, 70, 1757], layout, 0, true)?;
        check_matmul(check, [5, 1757, 257], layout, ADD, false)?;
    }
    Ok(())
}

/// The addend may also be another input of the matmul: A in x + x · W, or the tensor that the derivative reads.
pub fn matmul_with_an_addend_that_is_read_twice(check: &mut Check) -> Result<()> {
    for (m, n) in [(40, 24), (33, 7)] {
        let square = tensor(0, [m, n]);
        let saved = tensor(2, [m, n]);
        let ends = [
            (Epilogue::None, square),
            (Epilogue::Derivative { saved, activation: Activation::Tanh }, saved),
            (Epilogue::Derivative { saved, activation: Activation::Tanh }, square),
        ];
        for (epilogue, addend) in ends {
            let what = format!("{m}x{n}x{n}, {epilogue:?}, adds buffer {}", addend.buffer.0);
            let [a, b, c] = operands([m, n, n], Layout::Nn);
            let op = Matmul { epilogue, addend: Some(addend), ..Matmul::new(a, b, c, Layout::Nn) };
            let buffers = [
                ("x", m * n, Role::Activation),
                ("w", n * n, Role::Activation),
                ("saved", m * n, Role::Activation),
                ("c", m * n, Role::Activation),
            ];
            let mut random = Random(u64::from(m + n));
            let mut lockstep = check.lockstep(single(&buffers, op.into()))?;
            for (i, len) in [m * n, n * n, m * n].into_iter().enumerate() {
                lockstep.set(BufferId(i), &random.f32s(len as usize))?;
            }
            check.agree(&mut lockstep, &what)?;
        }
    }
    Ok(())
}

pub fn matmul_in_parts_of_k(check: &mut Check) -> Result<()> {
    for layout in LAYOUTS {
        check_matmul(check, [33, 35, 130], layout, 1, true)?;
        check_matmul(check, [65, 64, 257], layout, 2, true)?;
        check_matmul(check, [33, 35, 130], layout, ADD + 1, false)?;
        check_matmul(check, [65, 64, 257], layout, ADD + 2, false)?;
    }
    Ok(())
}

/// Rows and columns are not multiples of a tile. Sums take one or several panels of B, and the last panel is
/// incomplete.
pub fn matmul_by_panels(check: &mut Check) -> Result<()> {
    for epilogue in [0, 1, 2, 3, ADD, ADD + 1, ADD + 2] {
        for k in [1, 8, 20, 64] {
            check_matmul(check, [132, 72, k], Layout::Tn, epilogue, k != 8)?;
        }
    }
    for layout in [Layout::Nn, Layout::Nt] {
        for epilogue in [0, 1, 2, ADD, ADD + 1, ADD + 2] {
            check_matmul(check, [37, 72, 136], layout, epilogue, false)?;
        }
        check_matmul(check, [37, 56, 136], layout, 1, false)?; // an activation without a bias
        check_matmul(check, [37, 56, 136], layout, ADD + 1, false)?;
        check_matmul(check, [130, 520, 64], layout, 1, false)?;
        check_matmul(check, [3, 8, 272], layout, 1, false)?;
    }
    // The maximum number of rows and panels of one workgroup.
    check_matmul(check, [2048, 8, 8192], Layout::Nn, 0, false)
}

/// If the operands exceed the caches, workgroups take C in blocks: here a block of four rows of tiles, then the rest.
pub fn matmul_in_blocks(check: &mut Check) -> Result<()> {
    check_matmul(check, [136, 520, 4096], Layout::Tn, 0, true)
}

/// Sums reach the iteration limit of a software adapter's loops, and longer sums are split there. Beyond the limit,
/// lavapipe would silently end the loop.
pub fn matmul_near_the_iteration_limit(check: &mut Check) -> Result<()> {
    for layout in LAYOUTS {
        check_matmul(check, [2, 5, 1 << 15], layout, 0, true)?;
        check_matmul(check, [2, 5, (1 << 15) + 1], layout, 1, true)?;
        check_matmul(check, [2, 5, (1 << 15) + 1], layout, ADD, false)?;
    }
    check_matmul(check, [3, 4, (2 << 15) + 12], Layout::Tn, 0, true)?;
    check_matmul(check, [3, 4, (1 << 15) + 3], Layout::Tn, 3, true)
}

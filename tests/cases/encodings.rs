//! Checks encodings and their gradients.

use super::*;
use wgrad::{Encoding, GridInterpolation, GridStorage, HashGrid, Network, TrainerConfig};

/// Coordinates inside the unit cube, outside it, and on the edges of cells and of the cube.
fn points(random: &mut Random, n: usize) -> Vec<f32> {
    let odd = [0.0, -0.0, 1.0, 0.5, 0.25, 1.0 / 3.0, -0.1, 1.5, -1e20, 1e20, 1e-40, 0.999_999_94, 1.000_000_1];
    let mut draw = |i: usize| if i.is_multiple_of(5) { odd[i / 5 % odd.len()] } else { random.f32().abs() };
    (0..n).map(&mut draw).collect()
}

/// Directions of length 1, axes included.
fn directions(random: &mut Random, n: usize) -> Vec<f32> {
    let mut draw = |i: usize| {
        let axis = i / 5 % 3;
        let drawn = if i.is_multiple_of(5) {
            [0, 1, 2].map(|a| f32::from(u8::from(a == axis)))
        } else {
            [(); 3].map(|()| random.f32())
        };
        let length = drawn.iter().map(|x| x * x).sum::<f32>().sqrt();
        drawn.map(|x| x / length)
    };
    (0..n / 3).flat_map(&mut draw).collect()
}

fn inputs(random: &mut Random, encoding: Encoding, n: usize) -> Vec<f32> {
    match encoding {
        Encoding::SphericalHarmonics { .. } => directions(random, n),
        _ => points(random, n),
    }
}

/// Takes the encoding's ops from the plan of a training step and runs them on random inputs. The layer before the
/// encoding is trained too, so the encoding must return an input gradient.
fn check_encoding(check: &mut Check, coordinates: u32, encoding: Encoding, rows: u32) -> Result<()> {
    let before = Network::input(coordinates).dense(coordinates, Activation::Identity);
    let network = before.encoding(encoding).dense(3, Activation::Tanh).build()?;
    let config = TrainerConfig { batch: rows, op_by_op: true, ..TrainerConfig::default() };
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config)?;
    let encodes = |op: &&Op| op.kernel() == "encode" || op.kernel().starts_with("hash_grid");
    let step: Vec<Op> = plan.step.iter().filter(encodes).cloned().collect();
    let (x, gradient) = match &step[..] {
        [Op::Encode(forward), Op::Encode(Encode { gradient: Some(gradient), .. })] => (forward.x, *gradient),
        [Op::HashGridForward(forward), .., Op::HashGridInput(backward)] => (forward.x, backward.gradient),
        _ => {
            check.expect(false, || format!("{encoding:?} has ops of its own: {step:?}"));
            return Ok(());
        }
    };
    // Only linear interpolation has tangents.
    if !matches!(encoding, Encoding::HashGrid(grid) if grid.interpolation != GridInterpolation::Linear) {
        check_tangents(check, coordinates, encoding, rows)?;
    }
    let mut random = Random(u64::from(rows * 31 + coordinates) | 1);
    let parameters = plan.find(Role::Parameters);
    let mut lockstep = check.lockstep(Plan { step, report: vec![], ..plan })?;
    lockstep.set(x.buffer, &inputs(&mut random, encoding, x.len() as usize))?;
    lockstep.set(gradient.buffer, &random.f32s(gradient.len() as usize))?;
    if let Some(id) = parameters {
        lockstep.set(id, &random.f32s(network.parameter_words() as usize))?;
    }
    // Runs twice: the sums of a hash grid's gradient must return to zero.
    for _ in 0..2 {
        check.agree(&mut lockstep, &format!("{rows} rows of {coordinates}, {encoding:?}"))?;
    }
    Ok(())
}

/// As above for the ops of a network gradient: the gradient of the input, the tangents and the table's gradient.
fn check_tangents(check: &mut Check, coordinates: u32, encoding: Encoding, rows: u32) -> Result<()> {
    let network = Network::input(coordinates).encoding(encoding).dense(1, Activation::Tanh).build()?;
    let config = TrainerConfig { batch: rows, op_by_op: true, ..TrainerConfig::default() };
    let plan = Plan::chain_with_network_gradient(&network, &Adam::default().into(), &config, &[], &[1.0])?;
    let encodes = |op: &&Op| op.kernel() == "encode" || op.kernel().starts_with("hash_grid");
    let step: Vec<Op> = plan.step.iter().filter(encodes).cloned().collect();
    let mut random = Random(u64::from(rows * 37 + coordinates) | 1);
    let x = plan.find(Role::Input(0)).filter(|x| plan.buffer(*x).words() == Some(u64::from(rows * coordinates)));
    // The other ops of the plan would write the gradients of the features, and their tangents.
    let is_given = |role: Role| role.dtype() == Dtype::F32 && role != Role::GridScales;
    let given: Vec<BufferId> =
        (0..plan.buffers.len()).map(BufferId).filter(|id| is_given(plan.buffer(*id).role)).collect();
    let mut lockstep = check.lockstep(Plan { step, report: vec![], ..plan })?;
    for id in given {
        let words = lockstep.plan().buffer(id).words().unwrap_or(0) as usize;
        lockstep.set(id, &random.f32s(words))?;
    }
    if let Some(x) = x {
        lockstep.set(x, &inputs(&mut random, encoding, (rows * coordinates) as usize))?;
    }
    for _ in 0..2 {
        check.agree(&mut lockstep, &format!("tangents of {rows} rows of {coordinates}, {encoding:?}"))?;
    }
    Ok(())
}

/// Rows of every length: of length 1, which has no gradient, without a direction, and beyond the squares of f32.
pub fn eikonal_terms_of_long_and_short_rows(check: &mut Check) -> Result<()> {
    for (rows, columns, valid) in [(1, 3, 1), (65, 3, 60), (257, 2, 257), (7, 1, 7), (5, 100, 4)] {
        let len = rows * columns;
        let [input, gradient] = [0, 2].map(|buffer| tensor(buffer, [rows, columns]));
        let op = Op::Eikonal(Eikonal { input, step: tensor(1, STEP), gradient, weight: 0.25 });
        let buffers = [("g", len, Role::Activation), ("step", STEP, Role::Step), ("dg", len, Role::ActivationGradient)];
        let mut lockstep = check.lockstep(single(&buffers, op))?;
        let mut g = Random(u64::from(len) + 3).f32s(len as usize);
        let scales = [1.0, 0.5, 3.0, 1e-20, 1e25, 0.0, 1e-35];
        for (row, g) in g.chunks_mut(columns as usize).enumerate() {
            let scale = scales[row % scales.len()];
            g.iter_mut().for_each(|g| *g *= scale);
        }
        g[0] = 1.0;
        lockstep.set(BufferId(0), &g)?;
        lockstep.set(BufferId(1), &[StepState { rows: valid, ..step_state(12, 1) }])?;
        check.agree(&mut lockstep, &format!("eikonal term of {rows} rows of {columns}"))?;
    }
    Ok(())
}

pub fn encodings_at_awkward_sizes(check: &mut Check) -> Result<()> {
    let encodings = [
        Encoding::Identity { scale: -0.75, offset: 0.3 },
        Encoding::Frequency { frequencies: 12 },
        Encoding::Frequency { frequencies: 32 },
        Encoding::TriangleWave { frequencies: 32 },
        Encoding::OneBlob { bins: 16 },
        Encoding::OneBlob { bins: 1 },
    ];
    for (i, encoding) in encodings.into_iter().enumerate() {
        for rows in [1, 3, 63, 65, 257] {
            check_encoding(check, [1, 2, 5][i % 3], encoding, rows)?;
        }
    }
    for (degree, coordinates) in (1..=8).zip([3, 6].into_iter().cycle()) {
        for rows in [1, 3, 63, 65, 257] {
            check_encoding(check, coordinates, Encoding::SphericalHarmonics { degree }, rows)?;
        }
    }
    Ok(())
}

pub fn hash_grids_at_awkward_sizes(check: &mut Check) -> Result<()> {
    for (i, rows) in [1, 3, 63, 64, 65, 257, 1757].into_iter().enumerate() {
        for dimensions in 1..=4 {
            // The grid has dense and hashed levels.
            let grid = HashGrid {
                levels: 5,
                features_per_level: [1, 2, 4][(i + dimensions as usize) % 3],
                log2_hashmap_size: 9,
                base_resolution: [300, 9, 3, 2][dimensions as usize - 1],
                per_level_scale: 1.7,
                ..HashGrid::default()
            };
            check_encoding(check, dimensions, grid.into(), rows)?;
            let storage = [GridStorage::Dense, GridStorage::Tiled, GridStorage::Hash][i % 3];
            let interpolation =
                [GridInterpolation::Smoothstep, GridInterpolation::Nearest][(i + dimensions as usize) % 2];
            let features_per_level = [8, 2, 4, 1][(i + dimensions as usize) % 4];
            let grid = HashGrid { features_per_level, levels: 3, storage, interpolation, ..grid };
            check_encoding(check, dimensions, grid.into(), rows)?;
        }
    }
    // A table of two entries, so that nearly all cells collide. The last check has the finest grid allowed.
    let grid = HashGrid { levels: 1, log2_hashmap_size: 1, ..HashGrid::default() };
    check_encoding(check, 3, grid.into(), 500)?;
    // The rows have the maximum number of features. There are more rows than one workgroup sums.
    let widest = HashGrid { levels: 32, features_per_level: 8, log2_hashmap_size: 6, per_level_scale: 1.1, ..grid };
    check_encoding(check, 2, widest.into(), 3001)?;
    check_encoding(check, 2, HashGrid { base_resolution: 1 << 23, ..grid }.into(), 100)
}

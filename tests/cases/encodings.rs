//! Checks encodings and their gradients.

use super::*;
use wgrad::{Encoding, HashGrid, Network, TrainerConfig};

/// Coordinates inside the unit cube, outside it, and on the edges of cells and of the cube.
fn points(random: &mut Random, n: usize) -> Vec<f32> {
    let odd = [0.0, -0.0, 1.0, 0.5, 0.25, 1.0 / 3.0, -0.1, 1.5, -1e20, 1e20, 1e-40, 0.999_999_94, 1.000_000_1];
    let mut draw = |i: usize| if i.is_multiple_of(5) { odd[i / 5 % odd.len()] } else { random.f32().abs() };
    (0..n).map(&mut draw).collect()
}

/// Takes the encoding's ops from the plan of a training step and runs them on random inputs. The layer before the
/// encoding is trained too, so the encoding must return an input gradient.
fn check_encoding(check: &mut Check, coordinates: u32, encoding: Encoding, rows: u32) -> Result<()> {
    let before = Network::input(coordinates).dense(coordinates, Activation::Identity);
    let network = before.encoding(encoding).dense(3, Activation::Tanh).build()?;
    let config = TrainerConfig { batch: rows, ..TrainerConfig::default() };
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
    let mut random = Random(u64::from(rows * 31 + coordinates) | 1);
    let parameters = plan.find(Role::Parameters);
    let mut lockstep = check.lockstep(Plan { step, report: vec![], ..plan })?;
    lockstep.set(x.buffer, &points(&mut random, x.len() as usize))?;
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
            };
            check_encoding(check, dimensions, grid.into(), rows)?;
        }
    }
    // A table of two entries, so that nearly all cells collide. The last check has the finest grid allowed.
    let grid = HashGrid { levels: 1, log2_hashmap_size: 1, ..HashGrid::default() };
    check_encoding(check, 3, grid.into(), 500)?;
    // The rows have the maximum number of features. There are more rows than one workgroup sums.
    let widest = HashGrid { levels: 32, features_per_level: 4, log2_hashmap_size: 6, per_level_scale: 1.1, ..grid };
    check_encoding(check, 2, widest.into(), 3001)?;
    check_encoding(check, 2, HashGrid { base_resolution: 1 << 23, ..grid }.into(), 100)
}

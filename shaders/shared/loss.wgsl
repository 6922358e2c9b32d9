// What the kernels of losses share: bindings from 2 on, constants, and how a row is added to the running metrics. LANES
// invocations share a row; each sums the lanes' partial results in the same order, so all agree to the bit. With one lane a
// row there is nothing to share, and no barrier.

@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> data: DataInfo;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read> indices: array<u32>;
@group(0) @binding(6) var<storage, read_write> metrics: array<RowMetrics>;
@group(0) @binding(7) var<storage, read_write> gradient: array<f32>;

override LANES: u32 = 64; // invocations of a row: 1 or 64
override ROWS: u32 = 1;   // rows of a workgroup; LANES * ROWS is 64 at most
override GRADIENT: bool = true;
override LEVELS: u32 = 1; // of slots: see LossOp::metrics

const LOWEST: f32 = -3.4028234e38;
const NO_CLASS: u32 = 0xffffffffu; // of a row with a NaN output, or with a target that the loss does not take

// How many words of targets a row has before its weight: a label, or a number for each output.
fn width_of_targets(outputs: u32) -> u32 {
    return select(1u, outputs, data.values != 0u);
}

// Where the targets of a row begin.
fn first_target(row: u32, exists: bool) -> u32 {
    return data.first_target + select(0u, indices[min(row, u.batch - 1u)], exists) * data.target_stride;
}

// Adds a row to its slot.
fn count_row(row: u32, loss: f32, correct: bool) {
    let slot = state.step % u.turns * u.batch + row;
    let rows = metrics[slot].rows + 1u;
    metrics[slot].rows = rows;
    // Every 8th row the sum moves up a level, every 64th the next one too: no sum has many terms, so none loses much.
    var sum = metrics[slot].loss + loss;
    var at = slot;
    var mask = 7u;
    for (var level = 1u; level < LEVELS && (rows & mask) == 0u; level++) {
        metrics[at].loss = 0.0;
        at += u.turns * u.batch;
        sum += metrics[at].loss;
        mask = (mask << 3u) | 7u;
    }
    metrics[at].loss = sum;
    if correct {
        metrics[slot].correct += 1u;
    }
    if !is_finite(loss) && metrics[slot].non_finite_step == 0u {
        metrics[slot].non_finite_step = state.step;
    }
}

// Moves the cursor to the next batch and sets the learning rate; numbers the batch's rows. For both, one workgroup, so that
// every invocation reads the cursor before the first one moves it. Large batches are numbered by a dispatch of their own.

struct NextBatchUniforms {
    batch: u32,
    accumulate: u32, // batches of an update
    learning_rate: f32,
}

@group(0) @binding(0) var<storage, read> u: NextBatchUniforms;
@group(0) @binding(1) var<storage, read> data: DataInfo;
@group(0) @binding(2) var<storage, read_write> state: StepState;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;

// The schedule, by the formulas of src/schedule.rs: constants, so that nothing is compiled for one that is none.
override SCHEDULE: u32 = 0; // 0 constant, 1 step or exponential, 2 cosine, 3 one-cycle
override WARM_UP: u32 = 0;
override UPDATES: u32 = 1; // its length; of 1, updates between steps
override LOG_FACTOR: f32 = 0.0;
override FLOOR: f32 = 0.0;
override RISE: f32 = 0.5; // of 3: the first share, its start and its end
override START: f32 = 1.0;
override END: f32 = 0.0;

override CURSOR: bool = true;  // what is done here
override NUMBERS: bool = true;

const LANES: u32 = 256u;

// Two rounds of a Feistel network: each half is mixed with a hash of the other, which any hash makes invertible.
fn feistel(halves: vec2u, masks: vec2u, round: u32, seed: vec2u) -> vec2u {
    var h = halves;
    h.x ^= pcg4d(vec4u(h.y, round, seed)).x & masks.x;
    h.y ^= pcg4d(vec4u(h.x, round + 1u, seed)).x & masks.y;
    return h;
}

// Where row `index` of the epoch's order stands in the data set: a permutation computed, not stored. A Feistel
// network permutes the next power of two; numbers beyond the data set are permuted again until they fall inside
// (Mitchell et al., "Bandwidth-Optimal Random Shuffling for GPUs", 2021).
fn shuffled(index: u32, epoch: u32, rows: u32, seed: vec2u) -> u32 {
    let bits = max(32u - countLeadingZeros(rows - 1u), 2u);
    let low_bits = bits / 2u;
    let masks = (vec2u(1u) << vec2u(bits - low_bits, low_bits)) - 1u;
    var x = index;
    loop {
        var halves = vec2u(x >> low_bits, x & masks.y);
        // Unrolled by hand: loop iterations are scarce on lavapipe.
        halves = feistel(halves, masks, epoch * 8u, seed);
        halves = feistel(halves, masks, epoch * 8u + 2u, seed);
        halves = feistel(halves, masks, epoch * 8u + 4u, seed);
        halves = feistel(halves, masks, epoch * 8u + 6u, seed);
        x = (halves.x << low_bits) | halves.y;
        if x < rows {
            break;
        }
    }
    return x;
}

// Of this many rows or fewer the order is that of random keys, as the network above does not reach all orders evenly.
const FEW: u32 = 32u;

var<workgroup> keys: array<u32, FEW>;

// The place of row `index`: how many rows have smaller keys, or the same and come before it.
fn place(index: u32, rows: u32) -> u32 {
    let key = keys[index];
    var smaller = 0u;
    for (var i = 0u; i < rows; i++) {
        smaller += select(0u, 1u, keys[i] < key || (keys[i] == key && i < index));
    }
    return smaller;
}

// sin(x) for 0 <= x <= pi/8, by its series: WGSL's own may be off by 2^-11.
fn sine(x: f32) -> f32 {
    let q = x * x;
    return x * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0)))));
}

// From `a` to `b` along half a cosine, where `done` of `span` has passed: b + (a - b) (1 + cos(pi t)) / 2, and
// (1 + cos(pi t)) / 2 = 1 - sin(pi t / 2)^2 = sin(pi (1 - t) / 2)^2, whichever has the smaller sine.
fn anneal(a: f32, b: f32, done: f32, span: f32) -> f32 {
    const QUARTER = 0.78539816; // pi / 4
    let left = span - done;
    // sin(2x) = 2 sin x cos x keeps the series within pi/8.
    let s = sine(QUARTER * min(done, left) / span);
    let square = 4.0 * s * s * (1.0 - s * s);
    return b + (a - b) * select(square, 1.0 - square, done < left);
}

// What the learning rate is multiplied by at update n, from 0.
fn scheduled(update: u32) -> f32 {
    if update < WARM_UP {
        return f32(update + 1u) / f32(WARM_UP);
    }
    let n = update - WARM_UP;
    switch SCHEDULE {
        case 1u: { return exp(f32(n / UPDATES) * LOG_FACTOR); }
        case 2u: { return anneal(1.0, FLOOR, f32(min(n, UPDATES)), f32(UPDATES)); }
        case 3u: {
            let last = f32(UPDATES) - 1.0;
            let top = RISE * f32(UPDATES) - 1.0;
            let now = min(f32(n), last);
            if now <= top {
                return anneal(START, 1.0, now, top);
            }
            return anneal(1.0, END, now - top, last - top);
        }
        default: { return 1.0; }
    }
}

// A chain's batch has gone back (1), or its update has been made (2): told by the number that was recorded, as the pass before
// it may never have run.
fn mark(before: StepState, known: DataInfo) {
    let own = before.chain == known.chain;
    if known.chain_pass == 1u {
        state.gradients_of = known.chain;
        if own {
            state.passes = max(before.passes, 1u);
        }
    } else if own && before.gradients_of == known.chain {
        state.passes = 2u;
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let before = state;
    let known = data;
    if known.chain_pass != 0u {
        if lane == 0u {
            mark(before, known);
        }
        return;
    }
    // Of this batch: by itself, what numbers the rows finds the cursor behind them already.
    var rows = before.rows;
    var position = select(before.position, known.rows, before.position == 0u) - rows;
    var epoch = before.epoch - select(0u, 1u, before.position == 0u);
    if CURSOR {
        // Where data of another length left the cursor is no place in these.
        let goes_on = before.data_rows == known.rows;
        // A chain's batch whose backward pass never ran is not counted: this one takes its place.
        let lost = goes_on && known.chain != 0u && before.chain > 1u && before.passes == 0u;
        if !lost {
            position = select(0u, before.position, goes_on);
            // An epoch of other data that was left ends here: else two data sets in turn would see the same first rows for ever.
            epoch = before.epoch + select(0u, 1u, !goes_on && before.position != 0u);
        }
        rows = min(u.batch, known.rows - position);
        storageBarrier();
        if lane == 0u {
            let ends = position + rows == known.rows;
            state.step = before.step + 1u;
            state.rows = rows;
            state.epoch = select(epoch, epoch + 1u, ends);
            state.position = select(position + rows, 0u, ends);
            let begins_update = !goes_on || (before.due != 0u && !lost);
            let batches = select(before.batches, 0u, begins_update) + select(1u, 0u, lost);
            // One that was left before its last batch, or that a chain never made, was none: its number is the next one's.
            let counts = begins_update && ((before.due != 0u && (before.chain < 2u || before.passes > 1u)) || before.update == 0u);
            let update = before.update + select(0u, 1u, counts);
            state.update = update;
            state.batches = batches;
            state.update_rows = select(before.update_rows, 0u, begins_update) + rows - select(0u, before.rows, lost);
            state.due = select(0u, 1u, ends || batches >= u.accumulate);
            state.learning_rate = u.learning_rate * before.rate_scale * scheduled(update - 1u);
            state.data_rows = known.rows;
            state.chain = known.chain;
            state.gradients_of = 0u;
            state.passes = 0u;
        }
    }
    if NUMBERS && known.shuffle != 0u && known.rows <= FEW {
        if lane < known.rows {
            keys[lane] = pcg4d(vec4u(lane, epoch, known.seed_low, known.seed_high)).x;
        }
        workgroupBarrier();
        // Every workgroup finds the same places; the first writes them.
        if lane < known.rows && workgroup.x + workgroup.y == 0u {
            let at = place(lane, known.rows) - position;
            if at < rows {
                indices[at] = lane;
            }
        }
    } else if NUMBERS {
        let all = grid.x * grid.y * LANES;
        for (var i = (workgroup.y * grid.x + workgroup.x) * LANES + lane; i < rows; i += all) {
            var index = position + i;
            if known.shuffle != 0u {
                index = shuffled(index, epoch, known.rows, vec2u(known.seed_low, known.seed_high));
            }
            indices[i] = index;
        }
    }
}

// Moves the cursor to the next batch and numbers its rows. One workgroup, so that every invocation reads the cursor
// before the first one moves it.

struct NextBatchUniforms {
    batch: u32,
}

struct DataInfo {
    rows: u32,
    shuffle: u32,
    seed_low: u32,
    seed_high: u32,
    bytes: u32,
}

struct StepState {
    step: u32,
    rows: u32,
    epoch: u32,
    position: u32,
}

@group(0) @binding(0) var<storage, read> u: NextBatchUniforms;
@group(0) @binding(1) var<storage, read> data: DataInfo;
@group(0) @binding(2) var<storage, read_write> state: StepState;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;

const LANES: u32 = 256u;

// Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020.
fn pcg4d(key: vec4u) -> vec4u {
    var v = key * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4u(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}

// Two rounds of a Feistel network: each half is mixed with a hash of the other, which any hash makes invertible.
fn feistel(halves: vec2u, masks: vec2u, round: u32) -> vec2u {
    var h = halves;
    h.x ^= pcg4d(vec4u(h.y, round, data.seed_low, data.seed_high)).x & masks.x;
    h.y ^= pcg4d(vec4u(h.x, round + 1u, data.seed_low, data.seed_high)).x & masks.y;
    return h;
}

// Where row `index` of the epoch's order stands in the data set: a permutation computed, not stored. A Feistel
// network permutes the next power of two; numbers beyond the data set are permuted again until they fall inside
// (Mitchell et al., "Bandwidth-Optimal Random Shuffling for GPUs", 2021).
fn shuffled(index: u32, epoch: u32) -> u32 {
    let bits = max(32u - countLeadingZeros(data.rows - 1u), 2u);
    let low_bits = bits / 2u;
    let masks = (vec2u(1u) << vec2u(bits - low_bits, low_bits)) - 1u;
    var x = index;
    loop {
        var halves = vec2u(x >> low_bits, x & masks.y);
        // Unrolled by hand: loop iterations are scarce on lavapipe.
        halves = feistel(halves, masks, epoch * 8u);
        halves = feistel(halves, masks, epoch * 8u + 2u);
        halves = feistel(halves, masks, epoch * 8u + 4u);
        halves = feistel(halves, masks, epoch * 8u + 6u);
        x = (halves.x << low_bits) | halves.y;
        if x < data.rows {
            break;
        }
    }
    return x;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    let epoch = state.epoch;
    // The cursor may stand where another, longer data set left it.
    let position = select(0u, state.position, state.position < data.rows);
    let step = state.step;
    let rows = min(u.batch, data.rows - position);
    storageBarrier();
    if lane == 0u {
        let ends = position + rows == data.rows;
        state.step = step + 1u;
        state.rows = rows;
        state.epoch = select(epoch, epoch + 1u, ends);
        state.position = select(position + rows, 0u, ends);
    }
    for (var i = lane; i < rows; i += LANES) {
        var index = position + i;
        if data.shuffle != 0u {
            index = shuffled(index, epoch);
        }
        indices[i] = index;
    }
}

// Sum of squares of a long tensor, for gradient clipping by norm, in two dispatches. The first writes one partial
// sum for each workgroup. The second, with LIMIT, is one workgroup. It writes the factor for clipping.

// A sum too large for f32 is stored as minus the sum of squares of x * 2^-96. Infinities and NaN give the factor NaN,
// so that the weights become NaN.

struct SumSquaresUniforms {
    quads: u32, // elements / 4
    limit: f32,
}

@group(0) @binding(0) var<storage, read> u: SumSquaresUniforms;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

override LIMIT: bool = false;

const LANES: u32 = 64u;
const LARGEST: f32 = 3e38; // larger sums are stored scaled
const EXPONENT: u32 = 0x7f800000u;
const SQUARED_SCALE: u32 = 192u << 23u; // 2^-192, as a difference of exponents

var<workgroup> lane_sum: array<f32, LANES>;

// Converts a sum to the scaled unit. It works on bits because compilers may merge two factors into one that underflows.
fn scaled(sum: f32) -> f32 {
    let bits = bitcast<u32>(sum);
    let size = bits & 0x7fffffffu;
    if (bits >> 31u) != 0u || size >= EXPONENT {
        return bitcast<f32>(size);
    }
    return bitcast<f32>(select(0u, bits - SQUARED_SCALE, bits > SQUARED_SCALE + 0x00800000u));
}

fn add(a: f32, b: f32) -> f32 {
    let sum = a + b;
    if a < 0.0 || b < 0.0 || sum > LARGEST {
        return -(scaled(a) + scaled(b));
    }
    return sum;
}

// Factor for a tensor with this sum of squares. Below the range of f32 it is -factor * 2^96: see
// update.functions.wgsl.in.
fn factor(sum: f32) -> f32 {
    let bits = bitcast<u32>(sum);
    if (bits & EXPONENT) == EXPONENT {
        return bitcast<f32>(bits | 0x7fc00000u);
    }
    if sum < 0.0 {
        let f = u.limit * 0x1p-32 / sqrt(-sum); // factor * 2^64
        return select(-f * 0x1p32, min(1.0, f * 0x1p-64), f >= 0x1p-52);
    }
    return min(1.0, u.limit / (sqrt(sum) + 1e-6));
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = workgroup.x * LANES + lane;
    let stride = grid.x * LANES;
    var sum = 0.0;
    for (var i = first; i < u.quads; i += stride) {
        let values = input[i];
        if LIMIT {
            sum = add(sum, add(add(values.x, values.y), add(values.z, values.w)));
        } else {
            sum += dot(values, values);
        }
    }
    if !LIMIT && sum > LARGEST {
        sum = 0.0;
        for (var i = first; i < u.quads; i += stride) {
            let values = input[i] * 0x1p-96;
            sum += dot(values, values);
        }
        sum = -sum;
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    if lane == 0u {
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum = add(sum, lane_sum[i]);
        }
        output[workgroup.x] = sum;
        if LIMIT {
            output[workgroup.x] = factor(sum);
        }
    }
}

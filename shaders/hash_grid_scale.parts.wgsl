// Scale of a hash grid's integer gradients: for each level the power of two 2^k with 2^29 <= 2^k * S < 2^30. S is the
// sum of |dy| over the level's features and all rows.
// Grid: one workgroup for each level. It adds the partial sums of S.

// The corner weights of a point add up to 1. So no entry's sum exceeds S, and the integers do not overflow: see
// docs/hash-grid.md.

struct HashGridScalePartsUniforms {
    levels: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> u: HashGridScalePartsUniforms;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // [parts, levels]
@group(0) @binding(2) var<storage, read_write> scales: array<vec2f>; // for each level: scale, 1 / scale

const LANES: u32 = 64u;
const NAN: u32 = 0x7fc00000u;

var<workgroup> lane_sum: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let l = workgroup.y * grid.x + workgroup.x;
    // No early return because a barrier follows: a level that does not exist has no partial sums.
    let end = select(0u, u.parts, l < u.levels);
    var sum = 0.0;
    for (var part = lane; part < end; part += LANES) {
        sum += parts[part * u.levels + l];
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    if lane != 0u || l >= u.levels {
        return;
    }
    sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
        sum += lane_sum[i];
    }
    // The exponent is read from the bits. It is at least -97, so that 1 / scale is not a denormal number.
    let exponent = max(bitcast<u32>(sum) >> 23u, 30u);
    let finite = exponent < 255u;
    let power = select(NAN, (283u - exponent) << 23u, finite);
    let inverse = select(NAN, (exponent - 29u) << 23u, finite);
    scales[l] = vec2f(bitcast<f32>(power), bitcast<f32>(inverse));
}

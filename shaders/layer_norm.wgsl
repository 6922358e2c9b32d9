// Layer normalisation of each row (Ba et al., 2016), which 64 invocations share: y = (x - mean) / sqrt(variance + epsilon)
// * scale + shift. Kept for the backward pass: the mean less the row's first number, and 1 / sqrt(variance + epsilon).

struct LayerNormUniforms {
    rows: u32,
    columns: u32,
    epsilon: f32,
    share: f32, // a power of two, at most 1 / columns
    zero: u32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormUniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;

const LANES: u32 = 64u;

// 2^40, and the exponent's bits of it.
const MOST: u32 = 167u;

var<workgroup> lane_sums: array<vec2f, LANES>;
var<workgroup> lane_squares: array<vec2f, LANES>;

fn difference(i: u32, first: f32) -> f32 {
    return from_first(x[i], first);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup.y * grid.x + workgroup.x;
    // No early return, as barriers follow: a row that does not exist has no columns.
    let columns = select(0u, u.columns, row < u.rows);
    let start = row * u.columns;
    var first = 0.0;
    if row < u.rows {
        first = x[start];
    }

    // The mean of the differences, scaled so that no sum overflows; and the largest.
    var sums = vec2f(0.0);
    for (var c = lane; c < columns; c += LANES) {
        let d = difference(start + c, first);
        sums = vec2f(sums.x + d * u.share, max(sums.y, abs(d)));
    }
    lane_sums[lane] = sums;
    workgroupBarrier();
    sums = vec2f(0.0);
    for (var i = 0u; i < LANES; i++) {
        let other = lane_sums[i];
        sums = vec2f(sums.x + other.x, max(sums.y, other.y));
    }
    let n = f32(u.columns);
    var mean = sums.x / (n * u.share);

    // The squares of the deviations, multiplied by a power of two that keeps them from overflow and, unless epsilon hides
    // them, from underflow. Their sum mends the mean: it is 0 but for the rounding errors of a long row.
    let exponent = bitcast<u32>(sums.y) >> 23u;
    let power = min(254u - exponent, MOST);
    let factor = bitcast<f32>(power << 23u);
    var squares = vec2f(0.0);
    for (var c = lane; c < columns; c += LANES) {
        let deviation = (difference(start + c, first) - mean) * factor;
        squares += deviation * vec2f(1.0, deviation);
    }
    lane_squares[lane] = squares;
    workgroupBarrier();
    squares = vec2f(0.0);
    for (var i = 0u; i < LANES; i++) {
        squares += lane_squares[i];
    }
    squares /= n;
    mean += squares.x * bitcast<f32>((254u - power) << 23u);
    let variance = squares.y - squares.x * squares.x;
    var inverse = factor / sqrt(variance + u.epsilon * factor * factor);
    // 2^125 and more: its inverse might be flushed to 0. By bits, as are NaN and infinity.
    if exponent >= 252u {
        inverse = bitcast<f32>(0x7fc00000u | u.zero);
    }

    for (var c = lane; c < columns; c += LANES) {
        y[start + c] = (difference(start + c, first) - mean) * inverse * scale[c] + shift[c];
    }
    if lane == 0u && row < u.rows {
        statistics[row] = vec2f(mean, inverse);
    }
}

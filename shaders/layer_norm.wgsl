// Layer normalisation of each row (Ba et al., 2016), which 64 invocations share: y = (x - mean) / sqrt(variance + epsilon)
// * scale + shift. Mean and 1 / sqrt(variance + epsilon) are kept for the backward pass.

struct LayerNormUniforms {
    rows: u32,
    columns: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormUniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;

const LANES: u32 = 64u;

var<workgroup> lane_sum: array<f32, LANES>;
var<workgroup> lane_square: array<f32, LANES>;

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

    var sum = 0.0;
    for (var c = lane; c < columns; c += LANES) {
        sum += x[start + c];
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
        sum += lane_sum[i];
    }
    let mean = sum / f32(u.columns);

    // Of the deviations, not of x: mean(x^2) - mean^2 would cancel.
    var square = 0.0;
    for (var c = lane; c < columns; c += LANES) {
        let deviation = x[start + c] - mean;
        square += deviation * deviation;
    }
    lane_square[lane] = square;
    workgroupBarrier();
    square = 0.0;
    for (var i = 0u; i < LANES; i++) {
        square += lane_square[i];
    }
    let inverse = 1.0 / sqrt(square / f32(u.columns) + u.epsilon);

    for (var c = lane; c < columns; c += LANES) {
        y[start + c] = (x[start + c] - mean) * inverse * scale[c] + shift[c];
    }
    if lane == 0u && row < u.rows {
        statistics[row] = vec2f(mean, inverse);
    }
}

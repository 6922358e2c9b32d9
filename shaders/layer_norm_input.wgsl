// The gradient of layer normalisation's input. With d = dy * scale and n the normalised input, both of one row, which 64
// invocations share: dx = (d - mean(d) - n * mean(d * n)) / sqrt(variance + epsilon).

struct LayerNormInputUniforms {
    rows: u32,
    columns: u32,
    zero: u32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormInputUniforms;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

const LANES: u32 = 64u;

var<workgroup> lane_sums: array<vec2f, LANES>;

// As in layer_norm.wgsl: the mean is kept less the row's first number.
fn normalised(i: u32, first: f32, of_row: vec2f) -> f32 {
    return (from_first(x[i], first) - of_row.x) * of_row.y;
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
    var of_row = vec2f(0.0);
    var first = 0.0;
    if row < u.rows {
        of_row = statistics[row];
        first = x[start];
    }

    var sums = vec2f(0.0);
    for (var c = lane; c < columns; c += LANES) {
        let d = gradient[start + c] * scale[c];
        sums += d * vec2f(1.0, normalised(start + c, first, of_row));
    }
    lane_sums[lane] = sums;
    workgroupBarrier();
    sums = vec2f(0.0);
    for (var i = 0u; i < LANES; i++) {
        sums += lane_sums[i];
    }
    let means = sums / f32(u.columns);
    for (var c = lane; c < columns; c += LANES) {
        let d = gradient[start + c] * scale[c];
        output[start + c] = (d - means.x - normalised(start + c, first, of_row) * means.y) * of_row.y;
    }
}

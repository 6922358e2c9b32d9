// The gradients of layer normalisation's scale and shift: sums of dy * n and of dy over the rows, n the normalised input.
// A workgroup has 8 columns and, for each, 32 invocations that take every 32nd row.

struct LayerNormParametersUniforms {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormParametersUniforms;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> scale_gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> shift_gradient: array<f32>;

const COLUMNS: u32 = 8u;
const LANES: u32 = 32u;

var<workgroup> lane_sums: array<vec2f, 256>;

@compute @workgroup_size(COLUMNS, LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let column = (workgroup.y * grid.x + workgroup.x) * COLUMNS + local.x;
    var sums = vec2f(0.0);
    if column < u.columns {
        for (var row = local.y; row < u.rows; row += LANES) {
            let at = row * u.columns + column;
            let of_row = statistics[row];
            sums += gradient[at] * vec2f((x[at] - of_row.x) * of_row.y, 1.0);
        }
    }
    lane_sums[local.y * COLUMNS + local.x] = sums;
    workgroupBarrier();
    if local.y == 0u && column < u.columns {
        sums = vec2f(0.0);
        for (var i = 0u; i < LANES; i++) {
            sums += lane_sums[i * COLUMNS + local.x];
        }
        scale_gradient[column] = sums.x;
        shift_gradient[column] = sums.y;
    }
}

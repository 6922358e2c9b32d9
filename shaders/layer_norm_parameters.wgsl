// The gradients of layer normalisation's scale and shift: sums of dy * n and of dy over the rows, n the normalised input.
// A workgroup has 8 columns and, for each, 32 invocations that take every 32nd row. Where rows are many, it has a part of
// them, and layer_norm_parameters.parts adds the parts up.

struct LayerNormParametersUniforms {
    rows: u32,
    columns: u32,
    parts: u32,
    part_rows: u32,
    zero: u32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormParametersUniforms;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> scale_gradient: array<f32>; // or the parts
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
    let groups = (u.columns + COLUMNS - 1u) / COLUMNS;
    let group = workgroup.y * grid.x + workgroup.x;
    let part = group / groups;
    let column = group % groups * COLUMNS + local.x;
    let first = part * u.part_rows;
    let end = min(first + u.part_rows, u.rows);
    var sums = vec2f(0.0);
    if column < u.columns {
        for (var row = first + local.y; row < end; row += LANES) {
            let at = row * u.columns + column;
            let of_row = statistics[row];
            // As in layer_norm.wgsl: the mean is kept less the row's first number.
            let d = from_first(x[at], x[row * u.columns]);
            sums += gradient[at] * vec2f((d - of_row.x) * of_row.y, 1.0);
        }
    }
    lane_sums[local.y * COLUMNS + local.x] = sums;
    workgroupBarrier();
    if local.y == 0u && column < u.columns && first < u.rows {
        sums = vec2f(0.0);
        for (var i = 0u; i < LANES; i++) {
            sums += lane_sums[i * COLUMNS + local.x];
        }
        if u.parts == 1u {
            scale_gradient[column] = sums.x;
            shift_gradient[column] = sums.y;
        } else {
            scale_gradient[part * u.columns + column] = sums.x;
            scale_gradient[(u.parts + part) * u.columns + column] = sums.y;
        }
    }
}

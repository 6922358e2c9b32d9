// The gradients of batch normalisation's scale and shift: sums of dy * n and of dy over the rows, n the normalised
// input. A workgroup has 8 channels and, for each, 32 invocations that take every 32nd row. Where rows are many, it has
// a part of them, and batch_norm_parameters.parts adds the parts up. Rows that do not exist have a dy of 0.

struct BatchNormParametersUniforms {
    rows: u32,
    columns: u32, // channels
    stride: u32,  // from the means to the variances
    parts: u32,
    part_rows: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> u: BatchNormParametersUniforms;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> scale_gradient: array<f32>; // or the parts
@group(0) @binding(5) var<storage, read_write> shift_gradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>; // both of them again

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
    var of_lane = vec2f(0.0);
    var inverse = 0.0;
    if column < u.columns {
        let mean = statistics[column];
        inverse = 1.0 / sqrt(statistics[u.stride + column] + u.epsilon);
        for (var row = first + local.y; row < end; row += LANES) {
            let at = row * u.columns + column;
            of_lane += gradient[at] * vec2f(x[at] - mean, 1.0);
        }
    }
    lane_sums[local.y * COLUMNS + local.x] = of_lane;
    workgroupBarrier();
    if local.y == 0u && column < u.columns && first < u.rows {
        var of_part = vec2f(0.0);
        for (var i = 0u; i < LANES; i++) {
            of_part += lane_sums[i * COLUMNS + local.x];
        }
        of_part.x *= inverse;
        if u.parts == 1u {
            scale_gradient[column] = of_part.x;
            shift_gradient[column] = of_part.y;
            sums[column] = of_part.x;
            sums[u.columns + column] = of_part.y;
        } else {
            scale_gradient[part * u.columns + column] = of_part.x;
            scale_gradient[(u.parts + part) * u.columns + column] = of_part.y;
        }
    }
}

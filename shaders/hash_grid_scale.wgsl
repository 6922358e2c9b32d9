// Sum of |dy| over the features of each hash grid level. hash_grid_scale.parts adds the chunks of rows.
// Grid: one workgroup for each chunk. It sums all levels, so that neighbouring invocations read neighbouring elements.

struct HashGridScaleUniforms {
    rows: u32,
    levels: u32,
    part_rows: u32,
}

@group(0) @binding(0) var<storage, read> u: HashGridScaleUniforms;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<f32>; // [parts, levels]

override FEATURES: u32 = 2; // features of a table entry

const LANES: u32 = 256u; // a row has at most 256 features

var<workgroup> lane_sum: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = workgroup.y * grid.x + workgroup.x;
    let first = part * u.part_rows;
    let end = min(first + u.part_rows, u.rows);
    // The workgroup processes several rows at a time: `rows_at_once` rows of `width` features.
    let width = u.levels * FEATURES;
    let rows_at_once = LANES / width;
    var sum = 0.0;
    if lane < rows_at_once * width {
        for (var row = first + lane / width; row < end; row += rows_at_once) {
            sum += abs(gradient[row * width + lane % width]);
        }
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    if lane < u.levels && first < u.rows {
        sum = 0.0;
        for (var row = 0u; row < rows_at_once; row++) {
            for (var f = 0u; f < FEATURES; f++) {
                sum += lane_sum[row * width + lane * FEATURES + f];
            }
        }
        parts[part * u.levels + lane] = sum;
    }
}

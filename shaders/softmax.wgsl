// Softmax of each row, y = e^z / sum(e^z). With GRADIENT: dz = y * (dy - sum(dy * y)). Tensors are [rows, columns].
// Grid: LANES invocations for each row, ROWS rows for each workgroup.

// Each invocation adds the partial sums in the same order, so all get the same bits. There is no barrier if LANES is 1.

struct SoftmaxUniforms {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> u: SoftmaxUniforms;
@group(0) @binding(1) var<storage, read> input: array<f32>; // z, or dy
@group(0) @binding(2) var<storage, read> saved: array<f32>; // y, for the gradient only
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

override LANES: u32 = 64; // invocations for a row: 1 or 64
override ROWS: u32 = 1;   // rows of a workgroup; LANES * ROWS is at most 64
override GRADIENT: bool = false;

const LOWEST: f32 = -3.4028234e38;

var<workgroup> lane_largest: array<f32, 64>;
var<workgroup> lane_sum: array<f32, 64>;

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    let row = (workgroup.y * grid.x + workgroup.x) * ROWS + local.y;
    // No early return because barriers follow: a row that does not exist has no columns.
    let columns = select(0u, u.columns, row < u.rows);
    let start = row * u.columns;

    // The maximum is subtracted so that exp does not overflow.
    var largest = LOWEST;
    if !GRADIENT {
        for (var c = lane; c < columns; c += LANES) {
            largest = max(largest, input[start + c]);
        }
        if LANES > 1u {
            lane_largest[lane] = largest;
            workgroupBarrier();
            for (var i = 0u; i < LANES; i++) {
                largest = max(largest, lane_largest[i]);
            }
        }
    }
    var sum = 0.0;
    for (var c = lane; c < columns; c += LANES) {
        if GRADIENT {
            sum += input[start + c] * saved[start + c];
        } else {
            sum += exp(input[start + c] - largest);
        }
    }
    if LANES > 1u {
        lane_sum[lane] = sum;
        workgroupBarrier();
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += lane_sum[i];
        }
    }
    for (var c = lane; c < columns; c += LANES) {
        if GRADIENT {
            output[start + c] = saved[start + c] * (input[start + c] - sum);
        } else {
            output[start + c] = exp(input[start + c] - largest) / sum;
        }
    }
}

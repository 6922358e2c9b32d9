// The sum of squares of a long tensor, in two dispatches. The first leaves a partial sum for each workgroup; the second,
// with LIMIT, is one workgroup that adds those and writes what the tensor must be scaled by for its norm to stay within.

struct SumSquaresUniforms {
    quads: u32, // numbers / 4
    limit: f32,
}

@group(0) @binding(0) var<storage, read> u: SumSquaresUniforms;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

override LIMIT: bool = false;

const LANES: u32 = 64u;

var<workgroup> lane_sum: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = 0.0;
    for (var i = workgroup.x * LANES + lane; i < u.quads; i += grid.x * LANES) {
        let values = input[i];
        if LIMIT {
            sum += (values.x + values.y) + (values.z + values.w);
        } else {
            sum += dot(values, values);
        }
    }
    lane_sum[lane] = sum;
    workgroupBarrier();
    if lane == 0u {
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += lane_sum[i];
        }
        if LIMIT {
            sum = min(1.0, u.limit / (sqrt(sum) + 1e-6));
        }
        output[workgroup.x] = sum;
    }
}

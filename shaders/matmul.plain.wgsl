// The product without workgroup memory and subgroups: each invocation reads what its 4x4 outputs take. For adapters of
// which nothing is known but that barriers are dear, and for small products, whose blocks it numbers without a gap.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;

const LANES: u32 = 16u; // few, so that a small product, too, occupies several threads of a software adapter

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    // A tile is one column of 16 blocks.
    let place = place(workgroup.y * grid.x + workgroup.x);
    let blocks_m = (u.m + 3u) / 4u;
    let block = place.tile * LANES + lane;
    let row = block % blocks_m * 4u;
    let column = block / blocks_m * 4u;
    if column >= u.n {
        return;
    }
    let rows = min(row + vec4u(0u, 1u, 2u, 3u), vec4u(u.m - 1u));
    let columns = min(column + vec4u(0u, 1u, 2u, 3u), vec4u(u.n - 1u));
    let a_stride = select(1u, u.m, TRANSPOSE_A);
    let b_stride = select(u.n, 1u, TRANSPOSE_B);
    var a_at = rows * select(u.k, 1u, TRANSPOSE_A) + place.k_start * a_stride;
    var b_at = columns * select(1u, u.k, TRANSPOSE_B) + place.k_start * b_stride;
    var column_sum = vec4f(0.0);
    var sum_0 = vec4f(0.0);
    var sum_1 = vec4f(0.0);
    var sum_2 = vec4f(0.0);
    var sum_3 = vec4f(0.0);
    let k_end = place.k_end;
    for (var k = place.k_start; k < k_end; k++) {
        let steps_a = vec4f(a[a_at.x], a[a_at.y], a[a_at.z], a[a_at.w]);
        let steps_b = vec4f(b[b_at.x], b[b_at.y], b[b_at.z], b[b_at.w]);
        a_at += vec4u(a_stride);
        b_at += vec4u(b_stride);
        if BIAS_GRADIENT {
            column_sum += steps_b;
        }
        sum_0 = fma(vec4f(steps_a.x), steps_b, sum_0);
        sum_1 = fma(vec4f(steps_a.y), steps_b, sum_1);
        sum_2 = fma(vec4f(steps_a.z), steps_b, sum_2);
        sum_3 = fma(vec4f(steps_a.w), steps_b, sum_3);
    }
    // One after the other through the first sum: some drivers take long to compile a store.
    let ends = ends();
    for (var i = 0u; i < min(4u, ends.m - row); i++) {
        leave(row + i, column, sum_0, ends);
        sum_0 = sum_1;
        sum_1 = sum_2;
        sum_2 = sum_3;
    }
    if BIAS_GRADIENT && row == 0u {
        leave_bias(column, column_sum, ends);
    }
}

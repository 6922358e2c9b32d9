// Gradient of a hash grid's table: converts the integer sums to f32 and resets them to 0 for the next step.
// Grid: one invocation for four elements of the table.

struct HashGridGradientUniforms {
    quads: u32, // elements of the table / 4
}

@group(0) @binding(0) var<storage, read> u: HashGridGradientUniforms;
@group(0) @binding(1) var<storage, read> scales: array<vec2f>; // for each level: scale, 1 / scale
@group(0) @binding(2) var<storage, read> blocks: array<u32>; // the level of each 64 elements
@group(0) @binding(3) var<storage, read_write> sums: array<vec4i>;
@group(0) @binding(4) var<storage, read_write> table_gradient: array<vec4f>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.quads {
        return;
    }
    table_gradient[i] = vec4f(sums[i]) * scales[blocks[i >> 4u]].y;
    sums[i] = vec4i(0);
}

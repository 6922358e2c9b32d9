// output = input * scale + shift, for each element. Grid: one invocation for four elements.

struct ScaleShiftUniforms {
    quads: u32, // elements / 4, rounded up; buffers have a length of whole vec4s
    scale: f32,
    shift: f32,
}

@group(0) @binding(0) var<storage, read> u: ScaleShiftUniforms;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>;

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
    output[i] = input[i] * u.scale + u.shift;
}

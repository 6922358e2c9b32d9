// SGD with momentum over the whole parameter buffer: v = momentum * v + g; w = w - learning_rate * v.

struct SgdUniforms {
    quads: u32, // parameters / 4
    learning_rate: f32,
    momentum: f32,
}

@group(0) @binding(0) var<storage, read> u: SgdUniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> velocity: array<vec4f>;

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
    let v = u.momentum * velocity[i] + gradients[i];
    velocity[i] = v;
    parameters[i] -= u.learning_rate * v;
}

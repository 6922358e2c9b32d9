// An optimizer's step over the parameters, or a part of them.

@group(0) @binding(0) var<storage, read> u: UpdateUniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> parameters: array<vec4f>;
// Of every 64 parameters the first moments, then, with MOMENTS 2, the second ones.
@group(0) @binding(5) var<storage, read_write> moments: array<vec4f>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.quads || waits() {
        return;
    }
    var quad = Quad(parameters[i], vec4f(0.0), vec4f(0.0));
    let m = moments_of(i, 16u);
    if MOMENTS > 0u { quad.moment1 = moments[m]; }
    if MOMENTS > 1u { quad.moment2 = moments[m + 16u]; }
    var gradient = gradients[i];
    if SCALE {
        gradient = clipped(gradient, scale[0]);
    }
    quad = updated(quad, gradient, now(), i >> 4u);
    parameters[i] = quad.parameters;
    if MOMENTS > 0u { moments[m] = quad.moment1; }
    if MOMENTS > 1u { moments[m + 16u] = quad.moment2; }
}

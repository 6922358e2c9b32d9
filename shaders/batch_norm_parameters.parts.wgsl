// Second dispatch of batch_norm_parameters: adds the partial sums of the chunks of rows, in order.
// Grid: one invocation for each channel.

struct BatchNormParametersPartsUniforms {
    columns: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> u: BatchNormParametersPartsUniforms;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // [2, parts, columns]: sums for scale, then for shift
@group(0) @binding(2) var<storage, read_write> scale_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> shift_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if column >= u.columns {
        return;
    }
    var total = vec2f(0.0);
    for (var part = 0u; part < u.parts; part++) {
        let at = part * u.columns + column;
        total += vec2f(parts[at], parts[u.parts * u.columns + at]);
    }
    scale_gradient[column] = total.x;
    shift_gradient[column] = total.y;
    sums[column] = total.x;
    sums[u.columns + column] = total.y;
}

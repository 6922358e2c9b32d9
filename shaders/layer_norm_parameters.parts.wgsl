// Second dispatch of layer_norm_parameters: adds the partial sums of the chunks of rows, in order.
// Grid: one invocation for each column.

struct LayerNormParametersPartsUniforms {
    columns: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> u: LayerNormParametersPartsUniforms;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // [2, parts, columns]: sums for scale, then for shift
@group(0) @binding(2) var<storage, read_write> scale_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> shift_gradient: array<f32>;

override CENTRED: bool = true; // false for RMS normalisation, which has no shift

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
    var sums = vec2f(0.0);
    for (var part = 0u; part < u.parts; part++) {
        let at = part * u.columns + column;
        sums += vec2f(parts[at], parts[u.parts * u.columns + at]);
    }
    scale_gradient[column] = sums.x;
    if CENTRED {
        shift_gradient[column] = sums.y;
    }
}

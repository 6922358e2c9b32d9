// The gradient of a hash grid's points: the interpolation is linear along each axis, so its slope there is the difference
// between the far corners and the near ones. Follows hash_grid.functions.wgsl.

struct HashGridInputUniforms {
    rows: u32,
    levels: u32,
}

@group(0) @binding(0) var<storage, read> u: HashGridInputUniforms;
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read> gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

override FEATURES: u32 = 2; // of an entry

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if row >= u.rows {
        return;
    }
    let point = coordinates(row);
    var sum = vec4f(0.0);
    for (var l = 0u; l < u.levels; l++) {
        let level = levels[l];
        let cell = cell_of(point, level.x);
        var slope = vec4f(0.0);
        for (var corner = 0u; corner < (1u << DIMENSIONS); corner++) {
            let entry = corner_entry(level, cell, corner);
            var value = 0.0;
            for (var f = 0u; f < FEATURES; f++) {
                value += table[entry * FEATURES + f] * gradient[(row * u.levels + l) * FEATURES + f];
            }
            // The shares along the other axes.
            let s = corner_shares(cell, corner);
            let others = vec4f(s.y * (s.z * s.w), s.x * (s.z * s.w), (s.x * s.y) * s.w, (s.x * s.y) * s.z);
            slope += value * select(vec4f(-1.0), vec4f(1.0), corner_bits(corner) != vec4u(0u)) * others;
        }
        sum += f32(level.x) * slope;
    }
    // Outside, a point is taken to the edge, wherever it is.
    sum = select(sum, vec4f(0.0), (point < vec4f(0.0)) | (point > vec4f(1.0)));
    let first = row * DIMENSIONS;
    output[first] = sum.x;
    if DIMENSIONS > 1u { output[first + 1u] = sum.y; }
    if DIMENSIONS > 2u { output[first + 2u] = sum.z; }
    if DIMENSIONS > 3u { output[first + 3u] = sum.w; }
}

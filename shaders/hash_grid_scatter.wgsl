// The gradient of a hash grid's table: every point adds its share to the entries it took part of. It adds whole numbers,
// gradients times a power of two: their sums are the same in any order. Follows hash_grid.functions.wgsl.

struct HashGridScatterUniforms {
    rows: u32,
    levels: u32,
    groups: u32, // workgroups of a level
}

@group(0) @binding(0) var<storage, read> u: HashGridScatterUniforms;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> sums: array<atomic<i32>>;

override FEATURES: u32 = 2; // of an entry

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = workgroup.y * grid.x + workgroup.x;
    let l = group / u.groups;
    let row = (group % u.groups) * LANES + lane;
    if l >= u.levels || row >= u.rows {
        return;
    }
    let scale = scales[l].x;
    // NaN: the whole level's gradient will be.
    if is_nan(scale) {
        return;
    }
    let level = levels[l];
    let cell = cell_of(coordinates(row), level.x);
    for (var f = 0u; f < FEATURES; f++) {
        let scaled = gradient[(row * u.levels + l) * FEATURES + f] * scale;
        for (var corner = 0u; corner < (1u << DIMENSIONS); corner++) {
            let weight = corner_weight(cell, corner);
            // Of a coordinate that is NaN, which fast mathematics may have hidden from the loss.
            let share = select(i32(round(weight * scaled)), 0, is_nan(weight));
            if share != 0 {
                atomicAdd(&sums[corner_entry(level, cell, corner) * FEATURES + f], share);
            }
        }
    }
}

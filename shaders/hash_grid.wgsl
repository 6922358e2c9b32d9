// A multiresolution hash grid (Mueller et al., "Instant Neural Graphics Primitives", 2022): the entries at the corners of a
// point's cell, interpolated linearly, of every level.
// Follows an alias `Features`, an entry's numbers. `interpolated` and what it calls are cut out for apps' shaders, with an
// `entry_of_table` of their own.

struct HashGridUniforms {
    rows: u32,
    levels: u32,
    groups: u32, // workgroups of a level
}

@group(0) @binding(0) var<storage, read> u: HashGridUniforms;
@group(0) @binding(3) var<storage, read> table: array<Features>;
@group(0) @binding(4) var<storage, read_write> y: array<Features>;

fn entry_of_table(i: u32) -> Features {
    return table[i];
}

fn interpolated(point: vec4f, level: vec4u) -> Features {
    let cell = cell_of(point, level.x);
    var sum = Features();
    for (var corner = 0u; corner < (1u << DIMENSIONS); corner++) {
        sum += corner_weight(cell, corner) * entry_of_table(corner_entry(level, cell, corner));
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    // All rows of a level, then those of the next: what is read of the table stays in the cache.
    let group = workgroup.y * grid.x + workgroup.x;
    let l = group / u.groups;
    let row = (group % u.groups) * LANES + lane;
    if l >= u.levels || row >= u.rows {
        return;
    }
    y[row * u.levels + l] = interpolated(coordinates(row), levels[l]);
}

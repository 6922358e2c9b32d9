// A multiresolution hash grid (Mueller et al., "Instant Neural Graphics Primitives", 2022): the entries at the corners of a
// point's cell, interpolated linearly, of every level.
// What stands before the mark serves hash_grid_scatter and hash_grid_input too; `interpolated` and what it calls are cut out
// for apps' shaders, with an `entry_of_table` of their own.

@group(0) @binding(1) var<storage, read> x: array<f32>; // rows of DIMENSIONS coordinates
// Of each level: cells along a side, its first entry, the mask of its hashes or 0 where vertices are numbered.
@group(0) @binding(2) var<storage, read> levels: array<vec4u>;

override DIMENSIONS: u32 = 2; // 1 to 4; the coordinates that a point lacks are 0

const LANES: u32 = 64u;
const AXES: vec4u = vec4u(0u, 1u, 2u, 3u);

// Where a point lies in a level: the first vertex of its cell, and how far it is from there to the last.
struct Cell {
    vertex: vec4u,
    fraction: vec4f,
}

fn coordinates(row: u32) -> vec4f {
    let first = row * DIMENSIONS;
    var point = vec4f(x[first], 0.0, 0.0, 0.0);
    if DIMENSIONS > 1u { point.y = x[first + 1u]; }
    if DIMENSIONS > 2u { point.z = x[first + 2u]; }
    if DIMENSIONS > 3u { point.w = x[first + 3u]; }
    return point;
}

// The cell is the same on every device, as it depends on one product, rounded. NaN stays NaN.
fn cell_of(point: vec4f, resolution: u32) -> Cell {
    let side = f32(resolution);
    let scaled = point * side;
    let is_nan = (bitcast<vec4u>(scaled) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
    let position = select(clamp(scaled, vec4f(0.0), vec4f(side)), scaled, is_nan);
    // The far edge belongs to the last cell.
    let vertex = min(vec4u(position), vec4u(resolution - 1u));
    return Cell(vertex, position - vec4f(vertex));
}

// Bit i of a corner's number tells whether it is the far one along axis i.
fn corner_bits(corner: u32) -> vec4u {
    return (vec4u(corner) >> AXES) & vec4u(1u);
}

// Along each axis, the share that a corner has.
fn corner_shares(cell: Cell, corner: u32) -> vec4f {
    return select(1.0 - cell.fraction, cell.fraction, corner_bits(corner) != vec4u(0u));
}

fn corner_weight(cell: Cell, corner: u32) -> f32 {
    let shares = corner_shares(cell, corner);
    return (shares.x * shares.y) * (shares.z * shares.w);
}

// A corner's entry in the table. The hash is the paper's, with a fourth large prime.
fn corner_entry(level: vec4u, cell: Cell, corner: u32) -> u32 {
    let v = cell.vertex + corner_bits(corner);
    let side = level.x + 1u;
    let number = v.x + side * (v.y + side * (v.z + side * v.w));
    let hash = v.x ^ (v.y * 2654435761u) ^ (v.z * 805459861u) ^ (v.w * 3674653429u);
    return level.y + select(number, hash & level.z, level.z != 0u);
}

//// The kernel.

alias Features = vec2f; // of an entry; the host puts f32, vec2f or vec4f here

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

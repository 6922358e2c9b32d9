// Cells of a hash grid and the table's entries at their corners, for hash_grid, hash_grid_scatter and hash_grid_input.

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

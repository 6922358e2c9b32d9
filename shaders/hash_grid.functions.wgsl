// Functions of the hash grid kernels: the cell of a point, and the table entries at the corners of the cell.

@group(0) @binding(1) var<storage, read> x: array<f32>; // coordinates [rows, DIMENSIONS]
// For each level: cells along a side, its first table entry, the hash mask, and the vertices along a side that have
// numbered entries. A mask of 0 means numbered entries.
@group(0) @binding(2) var<storage, read> levels: array<vec4u>;

override DIMENSIONS: u32 = 2; // 1 to 4; unused coordinates of a point are 0
override INTERPOLATION: u32 = 0; // 0 linear, 1 smoothstep, 2 the nearest vertex
override TILED: bool = false; // numbered entries repeat along each axis

const LANES: u32 = 64u;
const AXES: vec4u = vec4u(0u, 1u, 2u, 3u);

// The cell of a point in a level: its first vertex, and the position of the point in the cell, 0 to 1.
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

// The cell is the same on every device: it depends on a single rounded multiplication. NaN stays NaN.
fn cell_of(point: vec4f, resolution: u32) -> Cell {
    let side = f32(resolution);
    let scaled = point * side;
    let is_nan = (bitcast<vec4u>(scaled) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
    let position = select(clamp(scaled, vec4f(0.0), vec4f(side)), scaled, is_nan);
    // The far edge of the grid belongs to the last cell.
    let vertex = min(vec4u(position), vec4u(resolution - 1u));
    return Cell(vertex, position - vec4f(vertex));
}

// Bit i of a corner's number is 1 if the corner is the far one along axis i.
fn corner_bits(corner: u32) -> vec4u {
    return (vec4u(corner) >> AXES) & vec4u(1u);
}

// The interpolation weight of the far corners along each axis.
fn far_weights(cell: Cell) -> vec4f {
    let t = cell.fraction;
    if INTERPOLATION == 1u {
        return t * t * (3.0 - 2.0 * t);
    }
    if INTERPOLATION == 2u {
        return round(t);
    }
    return t;
}

// The derivative of far_weights.
fn far_slopes(cell: Cell) -> vec4f {
    let t = cell.fraction;
    if INTERPOLATION == 1u {
        return 6.0 * t * (1.0 - t);
    }
    return vec4f(select(1.0, 0.0, INTERPOLATION == 2u));
}

// The interpolation weight of a corner along each axis.
fn axis_weights(cell: Cell, corner: u32) -> vec4f {
    let far = far_weights(cell);
    return select(1.0 - far, far, corner_bits(corner) != vec4u(0u));
}

// The derivative of a corner's weight with respect to the weight of the far corners of each axis: the product of the
// weights along the other axes. With linear interpolation it is the derivative along each axis, in cells.
fn corner_slopes(cell: Cell, corner: u32) -> vec4f {
    let s = axis_weights(cell, corner);
    let others = vec4f(s.y * (s.z * s.w), s.x * (s.z * s.w), (s.x * s.y) * s.w, (s.x * s.y) * s.z);
    return select(-others, others, corner_bits(corner) != vec4u(0u));
}

fn corner_weight(cell: Cell, corner: u32) -> f32 {
    let weights = axis_weights(cell, corner);
    return (weights.x * weights.y) * (weights.z * weights.w);
}

// Index of a corner's entry in the table. The hash has the primes of Mueller et al. (2022), and a fourth prime.
fn corner_entry(level: vec4u, cell: Cell, corner: u32) -> u32 {
    var v = cell.vertex + corner_bits(corner);
    let side = level.w;
    if TILED {
        v = v % vec4u(side);
    }
    let number = v.x + side * (v.y + side * (v.z + side * v.w));
    let hash = v.x ^ (v.y * 2654435761u) ^ (v.z * 805459861u) ^ (v.w * 3674653429u);
    return level.y + select(number, hash & level.z, level.z != 0u);
}

// As matmul.sums.wgsl, but the sums are of a part of k.
// They wait for matmul.parts, which adds the parts up: C in rows of whole vectors, then the column sums of B as one more row.
@group(0) @binding(3) var<storage, read_write> parts: array<vec4f>;

var<private> part: u32;

// The tile of a workgroup, and the steps of k that it sums: a part of them.
struct Place {
    tile: u32,
    k_start: u32,
    k_end: u32,
}

fn place(number: u32) -> Place {
    let own_part = number / u.tiles;
    let k_start = own_part * u.part_steps;
    part = own_part;
    return Place(select(u.tiles, number % u.tiles, own_part < u.parts), k_start, min(u.k, k_start + u.part_steps));
}

fn leave(row: u32, column: u32, sums: vec4f, ends: Ends) {
    if row < ends.m && column < ends.n {
        keep(row, column, sums, ends);
    }
}

fn leave_bias(column: u32, sums: vec4f, ends: Ends) {
    if column < ends.n {
        keep(ends.m, column, sums, ends);
    }
}

fn keep(row: u32, column: u32, sums: vec4f, ends: Ends) {
    let rows = ends.m + select(0u, 1u, BIAS_GRADIENT);
    parts[(part * rows + row) * ((ends.n + 3u) / 4u) + column / 4u] = sums;
}

// Functions of the kernels that follow the tangents of points through a hash grid. The kernel declares `tangent`,
// [rows, DIMENSIONS].

// Requires hash_grid.functions.wgsl.

// The tangent of a point, in cells of a level. A point outside the grid is clamped to the edge and does not move.
fn tangent_in_cells(row: u32, point: vec4f, resolution: u32) -> vec4f {
    let first = row * DIMENSIONS;
    var along = vec4f(tangent[first], 0.0, 0.0, 0.0);
    if DIMENSIONS > 1u { along.y = tangent[first + 1u]; }
    if DIMENSIONS > 2u { along.z = tangent[first + 2u]; }
    if DIMENSIONS > 3u { along.w = tangent[first + 3u]; }
    return f32(resolution) * select(along, vec4f(0.0), (point < vec4f(0.0)) | (point > vec4f(1.0)));
}

// The derivative of a corner's weight along a tangent.
fn corner_tangent(cell: Cell, corner: u32, along: vec4f) -> f32 {
    let terms = along * corner_slopes(cell, corner);
    return (terms.x + terms.y) + (terms.z + terms.w);
}

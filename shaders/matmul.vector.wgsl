// What the kernels of a matrix and a vector share: where their outputs leave, C being a row or a column.

override C_IS_ROW: bool = false;

@group(0) @binding(1) var<storage, read> matrix: array<vec4f>;

// Four outputs leave, from `first` on.
fn leave_outputs(first: u32, sums: vec4f) {
    let ends = ends();
    if C_IS_ROW {
        leave(0u, first, sums, ends);
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        leave(first + i, 0u, vec4f(sums[i]), ends);
    }
}

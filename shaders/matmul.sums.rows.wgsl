// As matmul.sums.wgsl, in rows of any length.

@group(0) @binding(3) var<storage, read> aux: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
@group(0) @binding(5) var<storage, read_write> bias_gradient: array<f32>;

fn leave(row: u32, column: u32, sums: vec4f, ends: Ends) {
    if row >= ends.m || column >= ends.n {
        return;
    }
    let columns = min(column + vec4u(0u, 1u, 2u, 3u), vec4u(ends.n - 1u));
    let at = row * ends.n + columns;
    var value = sums;
    if EPILOGUE == 1u && BIAS {
        value += vec4f(aux[columns.x], aux[columns.y], aux[columns.z], aux[columns.w]);
    }
    if EPILOGUE == 1u {
        value = activate(value);
    }
    if EPILOGUE == 2u {
        value *= derivative(vec4f(aux[at.x], aux[at.y], aux[at.z], aux[at.w]));
    }
    c[at.x] = value.x;
    if column + 1u < ends.n { c[at.y] = value.y; }
    if column + 2u < ends.n { c[at.z] = value.z; }
    if column + 3u < ends.n { c[at.w] = value.w; }
}

fn leave_bias(column: u32, sums: vec4f, ends: Ends) {
    for (var i = 0u; i < 4u && column + i < ends.n; i++) {
        bias_gradient[column + i] = sums[i];
    }
}

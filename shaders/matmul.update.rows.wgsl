// As matmul.update.wgsl, in rows of any length.

@group(0) @binding(4) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(5) var<storage, read_write> moments: array<f32>;

fn apply(at: u32, gradient: f32, cursor: Cursor) {
    var quad = Quad(vec4f(parameters[at]), vec4f(0.0), vec4f(0.0));
    let m = moments_of(at, 64u);
    if MOMENTS > 0u { quad.moment1 = vec4f(moments[m]); }
    if MOMENTS > 1u { quad.moment2 = vec4f(moments[m + 64u]); }
    quad = updated(quad, vec4f(gradient), cursor, 0u);
    parameters[at] = quad.parameters.x;
    if MOMENTS > 0u { moments[m] = quad.moment1.x; }
    if MOMENTS > 1u { moments[m + 64u] = quad.moment2.x; }
}

fn leave(row: u32, column: u32, sums: vec4f, ends: Ends) {
    for (var i = 0u; i < 4u && row < ends.m && column + i < ends.n; i++) {
        apply(row * ends.n + column + i, sums[i], ends.cursor);
    }
}

fn leave_bias(column: u32, sums: vec4f, ends: Ends) {
    for (var i = 0u; i < 4u && column + i < ends.n; i++) {
        apply(ends.bias_at + column + i, sums[i], ends.cursor);
    }
}

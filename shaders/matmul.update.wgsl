// As matmul.sums.wgsl, but the sums are gradients, for an optimizer.

@group(0) @binding(4) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec4f>;

fn apply(at: u32, gradient: vec4f, cursor: Cursor) {
    var quad = Quad(parameters[at], vec4f(0.0), vec4f(0.0));
    let m = moments_of(at, 16u);
    if MOMENTS > 0u { quad.moment1 = moments[m]; }
    if MOMENTS > 1u { quad.moment2 = moments[m + 16u]; }
    quad = updated(quad, gradient, cursor, 0u);
    parameters[at] = quad.parameters;
    if MOMENTS > 0u { moments[m] = quad.moment1; }
    if MOMENTS > 1u { moments[m + 16u] = quad.moment2; }
}

fn leave(row: u32, column: u32, sums: vec4f, ends: Ends) {
    if row < ends.m && column < ends.n {
        apply((row * ends.n + column) / 4u, sums, ends.cursor);
    }
}

fn leave_bias(column: u32, sums: vec4f, ends: Ends) {
    if column < ends.n {
        apply((ends.bias_at + column) / 4u, sums, ends.cursor);
    }
}

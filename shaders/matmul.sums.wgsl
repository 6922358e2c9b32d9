// What becomes of the sums, for the kernels whose invocations own four columns: four of a row leave at a time, or the sums of
// four columns of B. What lies beyond C goes nowhere. Here C takes them, in rows of whole vectors.

// EPILOGUE 1: the bias [n], with BIAS. EPILOGUE 2: what the activation's derivative takes [m, n].
@group(0) @binding(3) var<storage, read> aux: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> bias_gradient: array<vec4f>;

fn leave(row: u32, column: u32, sums: vec4f, ends: Ends) {
    if row >= ends.m || column >= ends.n {
        return;
    }
    let at = (row * ends.n + column) / 4u;
    var value = sums;
    if EPILOGUE == 1u && BIAS {
        value += aux[column / 4u];
    }
    if EPILOGUE == 1u {
        value = activate(value);
    }
    if EPILOGUE == 2u {
        value *= derivative(aux[at]);
    }
    c[at] = value;
}

fn leave_bias(column: u32, sums: vec4f, ends: Ends) {
    if column >= ends.n {
        return;
    }
    bias_gradient[column / 4u] = sums;
}

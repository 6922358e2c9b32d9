// The hyperbolic tangent.

// Not the built-in function, of which some drivers make (e^2z - 1) / (e^2z + 1): that cancels near 0, to nothing at 3e-8, and
// is NaN where e^2z overflows.
fn activate(z: vec4f) -> vec4f {
    let e = exp_minus_1(-2.0 * abs(z));
    let y = -e / (2.0 + e);
    return select(y, -y, z < vec4f(0.0));
}

fn derivative(y: vec4f) -> vec4f {
    return 1.0 - y * y;
}

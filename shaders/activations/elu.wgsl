// z, or alpha * (e^z - 1) where z < 0.

override PARAMETER: f32 = 1.0; // alpha

fn activate(z: vec4f) -> vec4f {
    let zero = vec4f(0.0);
    return select(z, PARAMETER * exp_minus_1(min(z, zero)), z < zero);
}

fn derivative(y: vec4f) -> vec4f {
    return select(y + PARAMETER, vec4f(1.0), y > vec4f(0.0));
}

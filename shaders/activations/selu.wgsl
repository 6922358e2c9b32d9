// Elu with an alpha of its own, times a scale.

fn activate(z: vec4f) -> vec4f {
    let zero = vec4f(0.0);
    return 1.050701 * select(z, 1.6732632 * exp_minus_1(min(z, zero)), z < zero);
}

fn derivative(y: vec4f) -> vec4f {
    return select(y + 1.7580993, vec4f(1.050701), y > vec4f(0.0));
}

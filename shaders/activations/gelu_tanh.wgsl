// The approximation of gelu by tanh, as z * sigmoid(2 gelu_inner(z)).

fn gelu_inner(z: vec4f) -> vec4f {
    return 0.7978846 * (z + 0.044715 * z * z * z);
}

fn activate(z: vec4f) -> vec4f {
    return times_sigmoid(at_least(z, -FAR.x), 2.0 * gelu_inner(clamp(z, -FAR, FAR)));
}

fn derivative(input: vec4f) -> vec4f {
    let z = within_far(input);
    let inner = 2.0 * gelu_inner(z);
    return times_sigmoid(1.0 + z * 2.0 * sigmoid(-inner) * 0.7978846 * (1.0 + 0.134145 * z * z), inner);
}

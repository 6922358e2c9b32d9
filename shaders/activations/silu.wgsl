// z * sigmoid(z).

fn activate(z: vec4f) -> vec4f {
    return times_sigmoid(at_least(z, -FAR.x), z);
}

fn derivative(input: vec4f) -> vec4f {
    let z = within_far(input);
    return times_sigmoid(1.0 + z * sigmoid(-z), z);
}

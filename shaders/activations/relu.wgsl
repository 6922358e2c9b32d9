// max(z, 0).

fn activate(z: vec4f) -> vec4f {
    return at_least(z, 0.0);
}

fn derivative(y: vec4f) -> vec4f {
    return select(vec4f(0.0), vec4f(1.0), y > vec4f(0.0));
}

// 1 / (1 + e^-z).

fn activate(z: vec4f) -> vec4f {
    return sigmoid(z);
}

fn derivative(y: vec4f) -> vec4f {
    return y * (1.0 - y);
}

// ln(1 + e^z).

fn activate(z: vec4f) -> vec4f {
    return softplus(z);
}

fn derivative(input: vec4f) -> vec4f {
    return sigmoid(within_far(input));
}

// z * hard sigmoid(z).

fn activate(z: vec4f) -> vec4f {
    let near = at_least(z, -FAR.x);
    let y = near * at_least(near / 6.0 + 0.5, 0.0);
    return select(y, z, z > vec4f(3.0));
}

fn derivative(input: vec4f) -> vec4f {
    let z = within_far(input);
    return select(select(z / 3.0 + 0.5, vec4f(0.0), z <= vec4f(-3.0)), vec4f(1.0), z >= vec4f(3.0));
}

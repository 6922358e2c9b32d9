// z, or slope * z where z < 0.

override PARAMETER: f32 = 0.01; // the slope

fn activate(z: vec4f) -> vec4f {
    return select(z, PARAMETER * z, z < vec4f(0.0));
}

fn derivative(y: vec4f) -> vec4f {
    return select(vec4f(PARAMETER), vec4f(1.0), y > vec4f(0.0));
}

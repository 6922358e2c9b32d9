// Tone mapping, and the vertices of a pass over a whole window. It has no bindings.

// Converts radiance to sRGB from 0 to 1: L / (1 + L) (Reinhard et al., 2002), then IEC 61966-2-1.
fn display(radiance: vec3f) -> vec3f {
    let mapped = radiance / (1.0 + radiance);
    return select(1.055 * pow(mapped, vec3f(1.0 / 2.4)) - 0.055, 12.92 * mapped, mapped <= vec3f(0.0031308));
}

// One triangle covers the window.
@vertex
fn corners(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

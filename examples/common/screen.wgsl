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

// The place in a square image, from 0 to 1, that a window shows at a position. The image fills the largest square in the
// middle of the window.
fn place_in_image(position: vec2f, window: vec2f) -> vec2f {
    return (position - 0.5 * window) / min(window.x, window.y) + 0.5;
}

// Whether a position of the window is outside the image, or on the line between its halves.
fn is_border(position: vec2f, window: vec2f) -> bool {
    let at = place_in_image(position, window);
    return any(at < vec2f(0.0)) || any(at >= vec2f(1.0)) || abs(position.x - 0.5 * window.x) < 1.0;
}

const BORDER = vec4f(0.1, 0.1, 0.1, 1.0);

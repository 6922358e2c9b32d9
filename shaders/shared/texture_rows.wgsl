// Common part of the kernels that write training rows from a texture.

@group(0) @binding(0) var image: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> features: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> targets: array<f32>;

override CHANNELS: u32 = 3;

fn write_row(row: u32, point: vec2f, colour: vec4f) {
    features[row] = point;
    let first = row * CHANNELS;
    targets[first] = colour.x;
    if CHANNELS > 1u { targets[first + 1u] = colour.y; }
    if CHANNELS > 2u { targets[first + 2u] = colour.z; }
    if CHANNELS > 3u { targets[first + 3u] = colour.w; }
}

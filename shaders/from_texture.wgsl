// Rows to train on from a texture, one for each texel, line by line from the top left: the texel's centre, x and y as
// shares of width and height, and its first CHANNELS channels.

@group(0) @binding(0) var image: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> features: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> targets: array<f32>;

override CHANNELS: u32 = 3;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(image);
    if any(id.xy >= size) {
        return;
    }
    let row = id.y * size.x + id.x;
    features[row] = (vec2f(id.xy) + 0.5) / vec2f(size);
    let colour = textureLoad(image, id.xy, 0);
    let first = row * CHANNELS;
    targets[first] = colour.x;
    if CHANNELS > 1u { targets[first + 1u] = colour.y; }
    if CHANNELS > 2u { targets[first + 2u] = colour.z; }
    if CHANNELS > 3u { targets[first + 3u] = colour.w; }
}

// Rows to train on from a texture, one for each texel, line by line from the top left: the texel's centre, x and y as
// shares of width and height, and its first CHANNELS channels.

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let size = textureDimensions(image);
    if any(id.xy >= size) {
        return;
    }
    let row = id.y * size.x + id.x;
    leave_row(row, (vec2f(id.xy) + 0.5) / vec2f(size), textureLoad(image, id.xy, 0));
}

// Rows to train on from a texture, at random points: the point, x and y as shares of width and height, and the first CHANNELS
// channels there, bilinear between texels, edges clamped. Each row counts how often it was drawn, so that no invocation waits
// for another's count.

@group(0) @binding(3) var<storage, read_write> state: array<u32>; // a key of two words; how often each row was drawn

override ROWS: u32 = 1;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
    if row >= ROWS {
        return;
    }
    let drawn = state[2u + row];
    state[2u + row] = drawn + 1u;
    let hash = pcg4d(vec4u(state[0], state[1], drawn, row));
    // 24 bits, which f32 holds exactly.
    let point = vec2f(hash.xy >> vec2u(8u)) / 16777216.0;

    let size = textureDimensions(image);
    let texel = point * vec2f(size) - 0.5;
    let corner = floor(texel);
    let share = texel - corner;
    let last = vec2i(size) - 1;
    let low = clamp(vec2i(corner), vec2i(0), last);
    let high = clamp(vec2i(corner) + 1, vec2i(0), last);
    let above = mix(textureLoad(image, low, 0), textureLoad(image, vec2i(high.x, low.y), 0), share.x);
    let below = mix(textureLoad(image, vec2i(low.x, high.y), 0), textureLoad(image, high, 0), share.x);
    leave_row(row, point, mix(above, below, share.y));
}

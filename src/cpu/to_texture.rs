//! Twin of `shaders/to_texture.wgsl.in`: for its test, as only a GPU has textures.

/// The texels of rows.
pub fn to_texture(rows: &[f32], channels: usize) -> Vec<[f32; 4]> {
    let texel = |row: &[f32]| match *row {
        [grey] => [grey, grey, grey, 1.0],
        [red, green] => [red, green, 0.0, 1.0],
        [red, green, blue] => [red, green, blue, 1.0],
        _ => [row[0], row[1], row[2], row[3]],
    };
    rows.chunks_exact(channels).map(texel).collect()
}

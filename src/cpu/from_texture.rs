//! Twin of `shaders/from_texture.wgsl`: for its test, as only a GPU has textures.

/// Features and targets of texels, line by line.
pub fn from_texture(size: [u32; 2], texels: &[[f32; 4]], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let [width, height] = size;
    let mut features = Vec::new();
    let mut targets = Vec::new();
    for y in 0..height {
        for x in 0..width {
            features.extend([(x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32]);
            targets.extend(&texels[(y * width + x) as usize][..channels]);
        }
    }
    (features, targets)
}

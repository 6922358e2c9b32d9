//! CPU references of the texture kernels, for their tests. The CPU device itself has no textures.

use crate::random::{Stream, pcg4d};

/// Features and targets of all texels, line by line.
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

/// Features and targets of rows that were drawn `drawn` times before.
pub fn from_texture_random(
    size: [u32; 2],
    texels: &[[f32; 4]],
    channels: usize,
    rows: u32,
    seed: u64,
    drawn: u32,
) -> (Vec<f32>, Vec<f32>) {
    let mut features = Vec::new();
    let mut targets = Vec::new();
    for row in 0..rows {
        let key = [seed as u32, (seed >> 32) as u32 ^ Stream::Texels as u32, drawn, row];
        let [x, y, ..] = pcg4d(key).map(|bits| (bits >> 8) as f32 / 16_777_216.0);
        features.extend([x, y]);
        targets.extend(&bilinear(size, texels, [x, y])[..channels]);
    }
    (features, targets)
}

/// The image and the corner (y, x) of a random crop. `count` is the number of images, `places` the number of whole
/// corners along each axis, and `drawn` the number of earlier draws of this row.
pub fn random_crop(count: u32, places: [u32; 2], between: bool, seed: u64, drawn: u32, row: u32) -> (u32, [f32; 2]) {
    let [image, x, y, _] = pcg4d([seed as u32, (seed >> 32) as u32 ^ Stream::Crops as u32, drawn, row]);
    let place = |word: u32, places: u32| match between {
        true => (word >> 8) as f32 / 16_777_216.0 * (places - 1) as f32,
        false => (word % places) as f32,
    };
    (image % count, [place(y, places[0]), place(x, places[1])])
}

/// The bilinear colour at a point; x and y are fractions of the width and height.
pub fn bilinear(size: [u32; 2], texels: &[[f32; 4]], point: [f32; 2]) -> [f32; 4] {
    let axis = |i: usize| {
        let texel = point[i] * size[i] as f32 - 0.5;
        let corner = texel.floor();
        let place = |offset: i32| (corner as i32 + offset).clamp(0, size[i] as i32 - 1) as u32;
        (place(0), place(1), texel - corner)
    };
    let ((left, right, x), (top, bottom, y)) = (axis(0), axis(1));
    let at = |x: u32, y: u32| texels[(y * size[0] + x) as usize];
    let mix = |a: f32, b: f32, share: f32| a * (1.0 - share) + b * share;
    let corners = [at(left, top), at(right, top), at(left, bottom), at(right, bottom)];
    [0, 1, 2, 3].map(|c| {
        let [a, b, c, d] = corners.map(|colour| colour[c]);
        mix(mix(a, b, x), mix(c, d, x), y)
    })
}

/// The texels that rows of numbers are written as.
pub fn to_texture(rows: &[f32], channels: usize) -> Vec<[f32; 4]> {
    let texel = |row: &[f32]| match *row {
        [grey] => [grey, grey, grey, 1.0],
        [red, green] => [red, green, 0.0, 1.0],
        [red, green, blue] => [red, green, blue, 1.0],
        _ => [row[0], row[1], row[2], row[3]],
    };
    rows.chunks_exact(channels).map(texel).collect()
}

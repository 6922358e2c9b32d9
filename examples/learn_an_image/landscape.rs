//! Draws a landscape from noise: mountains and a lake. It is an image without copyright. It has the features of
//! photographs: smooth gradients, soft and sharp edges, fine grain and thin lines.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

type Colour = [f32; 3];

/// Draws the landscape as a square image.
#[allow(dead_code)] // some examples use only draw_from
pub fn draw(side: u32) -> RgbImage {
    draw_from(0.0, side)
}

/// Draws the landscape from another point of the shore, as a square image. `along` is the distance from the usual
/// point, in metres. The image is drawn at twice the size and scaled down, for smooth edges.
#[allow(dead_code)] // some examples use only draw
pub fn draw_from(along: f32, side: u32) -> RgbImage {
    let large = side * 2;
    let mut picture = vec![[0.0f32; 3]; (large * large) as usize];
    for column in 0..large {
        for (row, colour) in column_of(along, column, large).into_iter().enumerate() {
            picture[row * large as usize + column as usize] = colour;
        }
    }
    fence(&mut picture, large);
    let tone = |c: f32| (c.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0).round() as u8;
    let pixel = |x, y| Rgb(picture[(y * large + x) as usize].map(tone));
    imageops::resize(&RgbImage::from_fn(large, large, pixel), side, side, FilterType::Triangle)
}

/// Height of the camera above the lake, in metres.
const EYE: f32 = 9.0;
/// Position of the horizon in the image: 0 is the top, 1 the bottom.
const HORIZON: f32 = 0.44;
/// Direction to the sun.
const SUN: [f32; 3] = [-0.62, 0.42, -0.66];
const SUNLIGHT: Colour = [1.25, 1.05, 0.8];
const SKYLIGHT: Colour = [0.22, 0.3, 0.42];
const HAZE: Colour = [0.55, 0.66, 0.8];

/// A column of the image, from the top. Near parts are drawn first. They hide farther parts that are not higher.
fn column_of(along: f32, column: u32, side: u32) -> Vec<Colour> {
    let size = side as f32;
    let across = (column as f32 + 0.5) / size - 0.5;
    let horizon = (HORIZON * size) as usize;
    let mut colours: Vec<Option<Colour>> = vec![None; side as usize];
    let mut lowest = side as usize;
    let mut z = 6.0;
    while z < 900.0 && lowest > 0 {
        let x = along + across * z * 1.1;
        let ground = height(x, z);
        let top = ((HORIZON + (EYE - ground.max(0.0)) / (z * 1.1)) * size).max(0.0) as usize;
        if top < lowest {
            // Water also hides the parts behind it, but its colour is computed last.
            if ground > 0.0 {
                colours[top..lowest].fill(Some(land(x, z, ground)));
            }
            lowest = top;
        }
        z *= 1.0 + 2.0 / size;
    }
    let shore = (horizon..side as usize).find(|&row| colours[row].is_none()).unwrap_or(side as usize);
    let above: Vec<Colour> =
        (0..shore).map(|row| colours[row].unwrap_or_else(|| sky(along, across, row as f32 / size))).collect();
    let water = |row: usize| {
        // The mirror image, distorted by ripples. Distant ripples are smaller.
        let below = (row as f32 + 0.5) / size - HORIZON;
        let (z, x) = (EYE / (below * 1.1), along + across * EYE / below);
        let ripple = noise(x * 0.5, z * 1.4) + 0.5 * noise(x * 1.6, z * 4.0);
        let mirrored = shore as f32 - (row - shore) as f32 * 1.05 + ripple * 0.011 * size * (1.0 - below);
        let seen = above[(mirrored.max(0.0) as usize).min(shore - 1)];
        let glitter = (ripple - 0.62).max(0.0) * 0.9;
        let clear = (below * 1.9).min(0.75);
        mix(seen.map(|c| c * 0.82 + glitter), [0.03, 0.1, 0.11], clear)
    };
    let mut rows = Vec::with_capacity(side as usize);
    for row in 0..side as usize {
        rows.push(if row < shore { above[row] } else { colours[row].unwrap_or_else(|| water(row)) });
    }
    rows
}

/// Height of the ground above the lake: a near shore, then hills, then mountains.
fn height(x: f32, z: f32) -> f32 {
    let far = smooth(90.0, 420.0, z);
    let valley = 0.25 + 0.75 * smooth(10.0, 190.0, (x + 25.0).abs());
    let mountains = ridges(x / 150.0 + 3.1, z / 150.0) * 165.0 * far * valley;
    let hills = (fractal(x / 46.0, z / 46.0, 5) * 16.0 + 3.0) * smooth(95.0, 170.0, z) * (1.0 - 0.6 * far);
    let shore = 5.6 - 0.34 * z + 1.1 * fractal(x / 4.0, z / 4.0, 6) + 0.12 * noise(x * 9.0, z * 9.0);
    let trees = if hills > 2.0 && mountains < 45.0 { forest(x, z) } else { 0.0 };
    (mountains + hills + trees - 1.6).max(if z < 40.0 { shore } else { f32::MIN })
}

/// Height of the trees: cones at random positions.
fn forest(x: f32, z: f32) -> f32 {
    let (spacing, mut tallest) = (3.2, 0.0f32);
    let (cell_x, cell_z) = ((x / spacing).floor(), (z / spacing).floor());
    for dx in -1..=1 {
        for dz in -1..=1 {
            let (cx, cz) = (cell_x + dx as f32, cell_z + dz as f32);
            let draw = |n: u32| random(cx as i32, cz as i32, n);
            let away = (x - (cx + draw(1)) * spacing).hypot(z - (cz + draw(2)) * spacing);
            let tall = 3.0 + 4.0 * draw(3);
            if draw(4) < 0.75 {
                tallest = tallest.max(tall * (1.0 - away / 1.5));
            }
        }
    }
    tallest
}

/// Colour of the ground at a position.
fn land(x: f32, z: f32, ground: f32) -> Colour {
    let step = 0.02 + z * 0.0012;
    let slope = [(height(x + step, z) - ground) / step, (height(x, z + step) - ground) / step];
    let length = (1.0 + slope[0] * slope[0] + slope[1] * slope[1]).sqrt();
    let light = ((-slope[0] * SUN[0] + SUN[1] - slope[1] * SUN[2]) / length).max(0.0);
    let grain = 0.5 + 0.5 * fractal(x * 2.3, z * 2.3, 4);
    let steep = smooth(0.7, 1.7, length - 1.0 + 0.4 * grain);
    let colour = if z < 40.0 {
        let pebble = random((x * 7.0).floor() as i32, (z * 5.0).floor() as i32, 9);
        let meadow = mix([0.06, 0.12, 0.02], [0.3, 0.3, 0.08], grain * 0.7 + 0.3 * pebble);
        mix(mix([0.2, 0.17, 0.13], [0.45, 0.42, 0.38], pebble), meadow, smooth(0.25, 1.1, ground + 0.5 * grain))
    } else {
        let wood = mix([0.015, 0.05, 0.02], [0.06, 0.11, 0.03], grain);
        let rock = mix([0.16, 0.14, 0.13], [0.38, 0.34, 0.31], grain);
        let snow = smooth(52.0, 78.0, ground + 22.0 * fractal(x / 9.0, z / 9.0, 5)) * (1.0 - 0.8 * steep);
        let bare = smooth(20.0, 45.0, ground + 10.0 * grain).max(steep * smooth(8.0, 25.0, ground));
        mix(mix(wood, rock, bare), [0.85, 0.88, 0.95], snow)
    };
    let lit = |i: usize| colour[i] * (SUNLIGHT[i] * light + SKYLIGHT[i]);
    mix([lit(0), lit(1), lit(2)], HAZE, 1.0 - (-z / 1100.0).exp())
}

fn sky(along: f32, across: f32, down: f32) -> Colour {
    let high = 1.0 - down / HORIZON;
    let blue = mix([0.72, 0.78, 0.85], [0.13, 0.29, 0.62], high.max(0.0).powf(0.75));
    // The clouds are in a flat layer, so they look denser near the horizon.
    let away = 1.0 / (high + 0.12);
    let cloud = fractal(along + across * away * 2.2 + 7.0, away * 1.5 + 2.0, 7);
    let thick = smooth(0.02, 0.5, cloud) * 0.9;
    let shade = fractal(along + across * away * 2.2 + 6.9, away * 1.5 + 2.06, 5);
    mix(blue, mix([1.0, 0.97, 0.92], [0.6, 0.64, 0.7], smooth(0.0, 0.6, shade)), thick)
}

/// Draws posts and wires along the near shore.
fn fence(picture: &mut [Colour], side: u32) {
    let size = side as f32;
    let mut dot = |x: f32, y: f32, radius: f32, colour: Colour| {
        let bounds = |c: f32| (((c - radius) * size).max(0.0) as u32)..(((c + radius) * size).ceil().min(size) as u32);
        for row in bounds(y) {
            for column in bounds(x) {
                let grain = 0.75 + 0.5 * random(column as i32 / 3, row as i32 / 12, 5);
                picture[(row * side + column) as usize] = colour.map(|c| c * grain);
            }
        }
    };
    let post = |i: f32| (0.05 + 0.155 * i + 0.012 * (i * 2.4).sin(), 0.83 - 0.012 * (i * 1.3).cos());
    for wire in 0..3 {
        for step in 0..2400 {
            let i = step as f32 / 400.0;
            let (from, to) = (post(i.floor()), post(i.floor() + 1.0));
            let t = i.fract();
            let sag = 0.006 * (1.0 - (2.0 * t - 1.0).powi(2));
            let y = from.1 + (to.1 - from.1) * t + sag + 0.022 + 0.035 * wire as f32;
            dot(from.0 + (to.0 - from.0) * t, y, 0.0007, [0.08, 0.08, 0.09]);
        }
    }
    for i in 0..7 {
        let (x, top) = post(i as f32);
        for step in 0..120 {
            let y = top + step as f32 * 0.00125;
            dot(x - 0.0018, y, 0.004, [0.3, 0.22, 0.14]);
            dot(x + 0.0032, y, 0.0016, [0.1, 0.07, 0.05]);
        }
    }
}

fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

/// 0 below `from`, 1 above `to`, a smooth step between.
fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A random number from 0 to 1 that depends only on the position and `n`.
fn random(x: i32, y: i32, n: u32) -> f32 {
    let mut h =
        (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca6b) ^ n.wrapping_mul(0xc2b2_ae35);
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    (h ^ h >> 15) as f32 / u32::MAX as f32
}

/// Smooth noise from −1 to 1: random slopes at integer positions, interpolated (Perlin, 1985).
fn noise(x: f32, y: f32) -> f32 {
    let (cell_x, cell_y) = (x.floor(), y.floor());
    let (x, y) = (x - cell_x, y - cell_y);
    let slope = |dx: i32, dy: i32| {
        let angle = random(cell_x as i32 + dx, cell_y as i32 + dy, 0) * std::f32::consts::TAU;
        (x - dx as f32) * angle.cos() + (y - dy as f32) * angle.sin()
    };
    let blend = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (u, v) = (blend(x), blend(y));
    let (near, far) = (slope(0, 0) * (1.0 - u) + slope(1, 0) * u, slope(0, 1) * (1.0 - u) + slope(1, 1) * u);
    1.4 * (near * (1.0 - v) + far * v)
}

/// A sum of noise octaves. Each is twice as fine and half as strong, and rotated so that cells do not align.
fn octaves(x: f32, y: f32, count: u32, shape: impl Fn(f32) -> f32) -> f32 {
    let (mut sum, mut strength, mut x, mut y) = (0.0, 0.5, x, y);
    for _ in 0..count {
        sum += strength * shape(noise(x, y));
        (x, y) = (1.6 * x + 1.2 * y + 13.7, 1.6 * y - 1.2 * x - 5.1);
        strength *= 0.5;
    }
    sum
}

fn fractal(x: f32, y: f32, count: u32) -> f32 {
    octaves(x, y, count, |n| n)
}

fn ridges(x: f32, y: f32) -> f32 {
    octaves(x, y, 9, |n| (1.0 - n.abs()).powi(2))
}

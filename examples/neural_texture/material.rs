//! A material that the program draws: cobblestones with moss. It has detail at every scale, from the whole image down
//! to single texels, and repeats in both directions.

use std::array::from_fn;
use std::ops::Range;

/// Red, green, blue (sRGB), the normal's x, y, z (from −1..1), occlusion, roughness, height: all from 0 to 1.
pub const CHANNELS: usize = 9;

pub type Texel = [f32; CHANNELS];

/// The texels of all mip levels, row by row, rounded to 8 bits. Level 0 has `size` × `size` texels, the last level has
/// one.
pub struct Material {
    pub size: u32,
    pub mips: Vec<Vec<[u8; CHANNELS]>>,
}

impl Material {
    /// Draws the material. `size` is a power of two.
    pub fn draw(size: u32) -> Self {
        Self::with_mips(size, texels(size))
    }

    /// A material with these texels at level 0.
    pub fn from_texels(size: u32, texels: &[[u8; CHANNELS]]) -> Self {
        Self::with_mips(size, texels.iter().map(|texel| texel.map(|byte| f32::from(byte) / 255.0)).collect())
    }

    fn with_mips(size: u32, mut level: Vec<Texel>) -> Self {
        let mut mips = vec![rounded(&level)];
        let mut side = size as usize;
        while side > 1 {
            level = halved(&level, side);
            side /= 2;
            mips.push(rounded(&level));
        }
        Self { size, mips }
    }

    /// PSNR in dB of a mip level, over all channels, with this material as the reference.
    pub fn psnr(&self, other: &[[u8; CHANNELS]], level: usize) -> f64 {
        self.psnr_of(other, level, 0..CHANNELS)
    }

    /// PSNR in dB of some channels of a mip level.
    pub fn psnr_of(&self, other: &[[u8; CHANNELS]], level: usize, channels: Range<usize>) -> f64 {
        let square = |(a, b): (&u8, &u8)| (f64::from(a.abs_diff(*b)) / 255.0).powi(2);
        let pairs = self.mips[level].iter().zip(other);
        let squares = pairs.map(|(a, b)| a[channels.clone()].iter().zip(&b[channels.clone()]).map(square).sum::<f64>());
        let count = channels.len() * other.len();
        -10.0 * (squares.sum::<f64>() / count as f64).log10()
    }
}

fn rounded(texels: &[Texel]) -> Vec<[u8; CHANNELS]> {
    texels.iter().map(|texel| texel.map(|value| (value * 255.0).round() as u8)).collect()
}

/// The next mip level: the mean of four texels each. Colours are averaged as light, not as sRGB values.
fn halved(level: &[Texel], side: usize) -> Vec<Texel> {
    let mean = |x: usize, y: usize| {
        let four = [0, 1].map(|dy| [0, 1].map(|dx| level[(2 * y + dy) * side + 2 * x + dx])).concat();
        from_fn(|channel| match channel {
            0..3 => srgb(four.iter().map(|texel| light(texel[channel])).sum::<f32>() / 4.0),
            _ => four.iter().map(|texel| texel[channel]).sum::<f32>() / 4.0,
        })
    };
    (0..side / 2).flat_map(|y| (0..side / 2).map(move |x| (x, y))).map(|(x, y)| mean(x, y)).collect()
}

fn light(srgb: f32) -> f32 {
    if srgb <= 0.04045 { srgb / 12.92 } else { ((srgb + 0.055) / 1.055).powf(2.4) }
}

fn srgb(light: f32) -> f32 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// The texels of level 0. The surface comes first: normals and occlusion are computed from the heights.
fn texels(size: u32) -> Vec<Texel> {
    let side = size as usize;
    let places = (0..side * side).map(|i| [i % side, i / side].map(|i| (i as f32 + 0.5) / side as f32));
    let surface: Vec<Surface> = places.map(|place| Surface::at(place, size)).collect();
    let heights: Vec<f32> = surface.iter().map(|surface| surface.height).collect();
    let [near, far] = [64, 16].map(|part| blurred(&heights, side, (side / part).max(1)));
    let height = |x: usize, y: usize| heights[(y % side) * side + x % side];
    (0..side * side)
        .map(|i| {
            let (x, y) = (i % side, i / side);
            // The image is 1 wide, and the stones are about 0.1 wide and 0.02 high.
            let slope = |a: f32, b: f32| 0.02 * (a - b) * size as f32 / 2.0;
            let normal = [
                slope(height(x + side - 1, y), height(x + 1, y)),
                slope(height(x, y + side - 1), height(x, y + 1)),
                1.0,
            ];
            let length = normal.map(|n| n * n).iter().sum::<f32>().sqrt();
            let [nx, ny, nz] = normal.map(|n| 0.5 + 0.5 * n / length);
            let below = (near[i] - heights[i]).max(0.0) + (far[i] - heights[i]).max(0.0);
            let occlusion = 1.0 / (1.0 + 3.0 * below);
            let Surface { albedo: [r, g, b], roughness, height } = surface[i];
            // Dirt gathers where little light arrives.
            let dirt = 0.6 + 0.4 * occlusion;
            [r * dirt, g * dirt, b * dirt, nx, ny, nz, occlusion, roughness, height].map(|value| value.clamp(0.0, 1.0))
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Surface {
    albedo: [f32; 3],
    roughness: f32,
    height: f32,
}

/// Number of stones along a side.
const STONES: u32 = 9;

impl Surface {
    fn at(place: [f32; 2], size: u32) -> Self {
        // Its finest octave has cells of two texels.
        let octaves = size.ilog2() - 1;
        let warp = [1, 2].map(|seed| 0.02 * fractal(place, 8, 6, 0.5, seed));
        let (number, border) = stone([place[0] + warp[0], place[1] + warp[1]]);
        let [tone, hue, lift] = from_fn(|i| unit(hash([number, 40 + i as u32, 0])));
        let coarse = fractal(place, 4, 6, 0.5, 3);
        let patches = fractal(place, 2, 6, 0.5, 5);
        // The grain of stones and moss: it changes colour, roughness and height together.
        let grain = fractal(place, 32, octaves, 0.5, 4);

        let body = smoothstep(0.02, 0.36, border);
        // Crystals and lichen have clear borders, and cracks are thin.
        let crystal = smoothstep(0.0, 0.08, fractal(place, 64, 6, 0.5, 6));
        let lichen = smoothstep(0.10, 0.18, fractal(place, 16, 6, 0.6, 7)) * smoothstep(0.5, 0.7, body);
        let crack = smoothstep(0.035, 0.015, fractal(place, 8, 6, 0.6, 9).abs()) * body;
        let stone_height =
            0.35 + body * (0.25 + 0.2 * lift) + 0.22 * coarse + 0.03 * grain + 0.02 * lichen - 0.05 * crack;
        let gap_height = 0.22 + 0.05 * grain;
        let moss = smoothstep(0.0, 0.35, 0.55 * patches - 1.1 * body + 0.6 + 0.15 * grain);
        let height = mix(mix(gap_height, stone_height, body), 0.38 + 0.04 * grain + 0.1 * patches, moss);

        let grey = (0.48 + 0.22 * (tone - 0.5) + 0.25 * coarse + 0.2 * grain) * (1.0 - 0.25 * crystal);
        let warm = 0.05 * (hue - 0.3) + 0.05 * patches;
        let rock = [grey + warm, grey, grey - 1.2 * warm];
        let growth = [0.66, 0.64, 0.42].map(|value| value * (1.0 + 0.4 * grain));
        let earth = [0.23, 0.18, 0.13].map(|value| value * (1.0 + 0.8 * grain));
        let green = 0.6 + 0.7 * grain + 0.3 * coarse;
        let plant = [0.24 * green + 0.05, 0.38 * green + 0.05, 0.10 * green];
        let stone: [f32; 3] = from_fn(|i| mix(rock[i], growth[i], lichen) * (1.0 - 0.6 * crack));
        let albedo = from_fn(|i| mix(mix(earth[i], stone[i], body), plant[i], moss));
        let shine = mix(0.5 + 0.2 * crystal - 0.2 * grain + 0.2 * patches, 0.9, lichen.max(crack));
        let roughness = mix(mix(0.9, shine, body), 0.85 - 0.3 * grain, moss);
        Self { albedo, roughness, height }
    }
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The number of the stone at a place, and the distance to its border in cells: Worley noise.
fn stone(place: [f32; 2]) -> (u32, f32) {
    let at = place.map(|x| x * STONES as f32);
    let cell = at.map(|x| x.floor() as i32);
    let (mut nearest, mut second, mut number) = (f32::MAX, f32::MAX, 0);
    for (dx, dy) in (-2..=2).flat_map(|dy| (-2..=2).map(move |dx| (dx, dy))) {
        let corner = [cell[0] + dx, cell[1] + dy];
        let [x, y] = corner.map(|i| i.rem_euclid(STONES as i32) as u32);
        let jitter = |axis| 0.15 + 0.7 * unit(hash([x, y, axis]));
        let away = [corner[0] as f32 + jitter(20) - at[0], corner[1] as f32 + jitter(21) - at[1]];
        let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
        if distance < nearest {
            (second, nearest, number) = (nearest, distance, y * STONES + x);
        } else {
            second = second.min(distance);
        }
    }
    (number, second - nearest)
}

/// Octaves of gradient noise, about −0.5 to 0.5. The first has `cells` cells along a side, the last 2^`last` cells.
/// Each has twice as many as the one before, and its amplitude times `gain`.
fn fractal(place: [f32; 2], cells: u32, last: u32, gain: f32, seed: u32) -> f32 {
    let octave = |log: u32| noise(place.map(|x| x * (1u32 << log) as f32), 1 << log, seed + 8 * log);
    (cells.ilog2()..=last).rev().fold(0.0, |finer, log| octave(log) + gain * finer)
}

/// Gradient noise (Perlin, 2002) that repeats after `cells` cells.
fn noise(at: [f32; 2], cells: i32, seed: u32) -> f32 {
    let corner = at.map(|x| x.floor());
    let [fx, fy] = [at[0] - corner[0], at[1] - corner[1]];
    let of = |dx: i32, dy: i32| {
        let [x, y] = [corner[0] as i32 + dx, corner[1] as i32 + dy].map(|i| i.rem_euclid(cells) as u32);
        let bits = hash([x, y, seed]);
        let slope = [bits, bits << 16].map(|bits| 2.0 * unit(bits) - 1.0);
        slope[0] * (fx - dx as f32) + slope[1] * (fy - dy as f32)
    };
    let fade = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (u, v) = (fade(fx), fade(fy));
    mix(mix(of(0, 0), of(1, 0), u), mix(of(0, 1), of(1, 1), u), v)
}

/// Three rounds of the mixer of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020: pcg.
fn hash(key: [u32; 3]) -> u32 {
    key.into_iter().fold(0, |state: u32, word| {
        let state = (state ^ word).wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        (word >> 22) ^ word
    })
}

/// The upper bits as a number from 0 to below 1.
fn unit(bits: u32) -> f32 {
    (bits >> 16) as f32 / 65536.0
}

/// The mean over a square of 2 `radius` + 1 texels.
fn blurred(values: &[f32], side: usize, radius: usize) -> Vec<f32> {
    let wide = 2 * radius + 1;
    let pass = |values: &[f32], along: usize, across: usize| {
        let mut sums = vec![0.0; values.len()];
        for line in 0..side {
            let at = |i: usize| values[line * across + (i % side) * along];
            for i in 0..side {
                let sum: f32 = (0..wide).map(|k| at(i + side + k - radius)).sum();
                sums[line * across + i * along] = sum / wide as f32;
            }
        }
        sums
    };
    pass(&pass(values, 1, side), side, 1)
}

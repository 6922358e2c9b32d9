//! Random augmentation of gathered images: the CPU twin of `shaders/gather.functions.wgsl.in`.

use super::super::*;

/// Augmentation of one image. It depends on the seed, the epoch and the row of the data set.
pub(super) struct Change {
    flip: [bool; 2],
    shift: [i32; 2],
    /// Cosine and sine of the rotation angle, divided by the scale.
    turn: [f32; 2],
    /// Factor of the values, and the number that is added.
    tone: [f32; 2],
    /// First pixel of the cut-out square.
    cut: [i32; 2],
    /// First pixel of the crop.
    corner: [i32; 2],
}

/// A number from 0 up to, but not including, 1. It has 24 bits, which f32 represents exactly.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / 16_777_216.0
}

/// A number from −1 up to, but not including, 1.
fn either(word: u32) -> f32 {
    2.0 * unit(word) - 1.0
}

/// Cosine and sine by their series. WGSL's own functions may have errors of 2⁻¹¹.
fn cosine_and_sine(angle: f32) -> [f32; 2] {
    let square = angle * angle;
    let [mut cosine, mut sine] = [1.0f32; 2];
    for i in (1..=9).rev().map(|i| 2.0 * i as f32) {
        cosine = 1.0 - square * cosine / (i * (i - 1.0));
        sine = 1.0 - square * sine / (i * (i + 1.0));
    }
    [cosine, angle * sine]
}

impl Change {
    /// Draws the augmentation of a row for the current batch.
    pub fn drawn(row: u32, state: &StepState, data: &DataInfo, [height, width]: [u32; 2]) -> Self {
        let [a, b, c] = [0, 1, 2].map(|number| data.drawn_for(row, number, state));
        let corner = if data.crop == 0 { [0; 2] } else { data.crop_corner(row, state) };
        let shift = |word: u32| (word % (2 * data.shift + 1)) as i32 - data.shift as i32;
        let scale = data.scale + unit(b[1]) * data.scale_span;
        let turn = cosine_and_sine(either(b[0]) * data.rotation).map(|part| part / scale);
        let gain = 1.0 + either(b[2]) * data.contrast;
        Self {
            flip: [unit(a[0]) < data.flip, unit(a[1]) < data.flip_vertical],
            shift: [shift(a[2]), shift(a[3])],
            turn: if data.augment == 1 { [1.0, 0.0] } else { turn },
            tone: [gain, 0.5 - 0.5 * gain + either(b[3]) * data.brightness],
            cut: [c[0] % width, c[1] % height].map(|at| at as i32 - (data.cutout / 2) as i32),
            corner: corner.map(|at| at as i32),
        }
    }

    /// Value at a pixel, x and y, of an image or crop of this size. `raw` returns the stored values, and 0 outside of
    /// the image.
    pub fn value(
        &self,
        [x, y]: [i32; 2],
        data: &DataInfo,
        [height, width]: [u32; 2],
        raw: impl Fn([i32; 2]) -> f32,
    ) -> f32 {
        let cut = |at: i32, first: i32| at >= first && at < first + data.cutout as i32;
        if cut(x, self.cut[0]) && cut(y, self.cut[1]) {
            return 0.0;
        }
        let raw = |[x, y]: [i32; 2]| raw([x + self.corner[0], y + self.corner[1]]);
        let moved = [x - self.shift[0], y - self.shift[1]];
        let centre = [width, height].map(|length| 0.5 * (length as f32 - 1.0));
        let [x, y] = [0, 1].map(|i| moved[i] as f32 - centre[i]);
        let [cosine, sine] = self.turn;
        let rotated = [cosine * x + sine * y, cosine * y - sine * x];
        let at = [0, 1].map(|i| if self.flip[i] { -rotated[i] } else { rotated[i] } + centre[i]);
        // At whole numbers of pixels this is a copy: the shares are 0.
        let corner = at.map(f32::floor);
        let [share_x, share_y] = [0, 1].map(|i| at[i] - corner[i]);
        let [left, top] = corner.map(|at| at as i32);
        let mix = |a: f32, b: f32, share: f32| a * (1.0 - share) + b * share;
        let above = mix(raw([left, top]), raw([left + 1, top]), share_x);
        let below = mix(raw([left, top + 1]), raw([left + 1, top + 1]), share_x);
        let value = mix(above, below, share_y);
        value * self.tone[0] + self.tone[1]
    }
}

/// Error bound of the values of an augmented image. `most` is the largest stored value.
///
/// On a GPU a step of [`cosine_and_sine`] has 9 roundings, because a division has 5. Its k-th term is π²ᵏ/(2k)!, so
/// the error of all terms is 9u (π/2) sinh π = 163u. The division by the scale, which is a sum, and the sums of two
/// products add to it. On each side, a position therefore has an error below 180u of its distance. A value changes by
/// at most 2 · `most` per pixel along each axis.
pub(super) fn bound(data: &DataInfo, [height, width]: [u32; 2], most: f64) -> f64 {
    let mut off = 0.0;
    if data.augment == 2 {
        let size = f64::from(height + width);
        let distance = (size / 2.0 + 2.0 * f64::from(data.shift)) / f64::from(data.scale);
        let place = U * (360.0 * distance + 8.0 * size);
        off = 2.0 * place * 2.0 * most + 48.0 * U * most;
    }
    let (contrast, brightness) = (f64::from(data.contrast), f64::from(data.brightness));
    match contrast == 0.0 && brightness == 0.0 {
        true => off,
        // On each side the gain and its product have 3 roundings each, and the added number 8.
        false => (1.0 + contrast) * off + 16.0 * U * ((1.0 + contrast) * (most + 1.0) + 1.0 + brightness),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [u32; 2] = [6, 9];

    fn state(epoch: u32) -> StepState {
        StepState { epoch, position: 1, ..StepState::default() }
    }

    /// Pixels of an image without symmetries.
    fn raw([x, y]: [i32; 2]) -> f32 {
        let inside = (0..SIZE[1] as i32).contains(&x) && (0..SIZE[0] as i32).contains(&y);
        if inside { (1 + x + 10 * y) as f32 } else { 0.0 }
    }

    fn image(change: &Change, data: &DataInfo) -> Vec<f32> {
        let places = (0..SIZE[0] as i32).flat_map(|y| (0..SIZE[1] as i32).map(move |x| [x, y]));
        places.map(|at| change.value(at, data, SIZE, raw)).collect()
    }

    /// The augmented image of each row.
    fn images(data: &DataInfo, rows: u32) -> Vec<(Change, Vec<f32>)> {
        let of_row = |row| {
            let change = Change::drawn(row, &state(3), data, SIZE);
            let image = image(&change, data);
            (change, image)
        };
        (0..rows).map(of_row).collect()
    }

    #[test]
    fn shifts_and_flips_are_copies_and_every_one_comes() {
        let data = DataInfo { augment: 1, shift: 2, flip: 0.5, scale: 1.0, ..DataInfo::default() };
        let mut seen = std::collections::BTreeMap::new();
        for (change, image) in images(&data, 2500) {
            let Change { flip: [flip, vertical], shift: [right, down], .. } = change;
            assert!(!vertical && right.abs() <= 2 && down.abs() <= 2);
            for (i, value) in (0..).zip(image) {
                let x = i % 9 - right;
                assert_eq!(value, raw([if flip { 8 - x } else { x }, i / 9 - down]));
            }
            *seen.entry((flip, right, down)).or_insert(0u32) += 1;
        }
        // 50 kinds, 50 images of each on average. Five standard deviations are 35.
        assert_eq!(seen.len(), 50);
        assert!(seen.values().all(|&count| count.abs_diff(50) < 35), "{seen:?}");
    }

    /// A quarter turn maps pixels to pixels. Twice the size doubles the distances from the centre.
    #[test]
    fn rotation_and_scale_are_about_the_centre() {
        let data = DataInfo { augment: 2, scale: 1.0, ..DataInfo::default() };
        let same =
            Change { flip: [false; 2], shift: [0; 2], turn: [1.0, 0.0], tone: [1.0, 0.0], cut: [0; 2], corner: [0; 2] };
        let at = |change: &Change, x, y| change.value([x, y], &data, [7, 7], |[x, y]| (x + 10 * y) as f32);
        let quarter = Change { turn: cosine_and_sine(std::f32::consts::FRAC_PI_2), ..same };
        let half = Change { turn: cosine_and_sine(std::f32::consts::PI), ..same };
        let large = Change { turn: cosine_and_sine(0.0).map(|part| part / 2.0), ..same };
        for (x, y) in (0..7).flat_map(|y| (0..7).map(move |x| (x, y))) {
            // Numbers up to 66, at positions with errors of 2·10⁻⁵.
            assert!((at(&quarter, x, y) - (y + 10 * (6 - x)) as f32).abs() < 1e-3);
            assert!((at(&half, x, y) - (6 - x + 10 * (6 - y)) as f32).abs() < 1e-3);
            assert_eq!(at(&large, x, y), (x as f32 + 3.0) / 2.0 + 10.0 * ((y as f32 + 3.0) / 2.0));
            assert_eq!(at(&same, x, y), (x + 10 * y) as f32);
        }
    }

    #[test]
    fn cosine_and_sine_are_right_for_every_angle() {
        for i in -1000..=1000 {
            let angle = i as f32 / 1000.0 * std::f32::consts::PI;
            let [cosine, sine] = cosine_and_sine(angle).map(f64::from);
            let off = |value: f64, exact: f64| (value - exact).abs() / U;
            assert!(off(cosine, f64::from(angle).cos()) < 163.0 && off(sine, f64::from(angle).sin()) < 163.0);
        }
    }

    #[test]
    fn tones_and_squares() {
        let data = DataInfo { augment: 1, cutout: 3, contrast: 0.5, brightness: 0.25, ..DataInfo::default() };
        let mut squares = 0;
        for (Change { tone: [gain, add], cut, .. }, image) in images(&data, 500) {
            assert!((0.5..1.5).contains(&gain) && (0.5 * gain + add - 0.5).abs() <= 0.25);
            for (i, value) in (0..).zip(image) {
                let (x, y) = (i % 9, i / 9);
                let inside = (cut[0]..cut[0] + 3).contains(&x) && (cut[1]..cut[1] + 3).contains(&y);
                assert_eq!(value, if inside { 0.0 } else { raw([x, y]) * gain + add });
                squares += u32::from(inside);
            }
        }
        // The centres are anywhere in the image, so a square at an edge loses a third.
        let whole = (9.0 * 3.0 - 2.0) / 9.0 * (6.0 * 3.0 - 2.0) / 6.0 * 500.0;
        assert!((f64::from(squares) / whole - 1.0).abs() < 0.05, "{squares}, expected {whole}");
    }

    #[test]
    fn another_seed_epoch_or_row_changes_an_image_in_another_way() {
        let data = DataInfo { augment: 2, shift: 3, rotation: 1.0, scale: 1.0, ..DataInfo::default() };
        let of = |row, epoch, data: &DataInfo| {
            let Change { shift, turn, .. } = Change::drawn(row, &state(epoch), data, SIZE);
            (shift, turn)
        };
        let one = of(1, 1, &data);
        assert_eq!(one, of(1, 1, &data));
        let seeds = [DataInfo { seed_low: 1, ..data }, DataInfo { seed_high: 1, ..data }];
        for other in [of(2, 1, &data), of(1, 2, &data), of(1, 1, &seeds[0]), of(1, 1, &seeds[1])] {
            assert_ne!(one, other);
        }
        // With the last batch of an epoch, the cursor has moved to the next epoch.
        let last = StepState { epoch: 2, position: 0, ..StepState::default() };
        assert_eq!(Change::drawn(1, &last, &data, SIZE).turn, one.1);
    }
}

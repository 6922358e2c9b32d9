//! Checks convolutions: matmuls that read A through a window.

use super::products::{ADD, LAYOUTS, check_product};
use super::*;

/// A convolution: images, [height, width], [input channels, output channels], kernel, padding, stride.
struct Conv(u32, [u32; 2], [u32; 2], [u32; 2], [u32; 2], [u32; 2]);

/// Channels are multiples of the vector width or not, in one block or several. Sides start at 1, kernels go from 1 to 7
/// and strides from 1 to 3.
const CONVOLUTIONS: [Conv; 18] = [
    Conv(1, [1, 1], [1, 1], [1, 1], [0, 0], [1, 1]),
    Conv(2, [5, 7], [1, 5], [3, 3], [1, 1], [1, 1]),
    Conv(1, [9, 4], [3, 33], [3, 3], [0, 1], [1, 1]),
    Conv(3, [6, 6], [5, 10], [2, 3], [0, 2], [1, 1]),
    Conv(2, [8, 8], [16, 32], [3, 3], [1, 1], [1, 1]),
    Conv(1, [4, 5], [33, 20], [3, 3], [1, 1], [1, 1]),
    Conv(2, [7, 7], [8, 24], [7, 7], [3, 3], [1, 1]),
    Conv(2, [1, 20], [6, 16], [1, 5], [0, 4], [1, 1]),
    Conv(2, [20, 1], [4, 3], [3, 1], [0, 0], [1, 1]),
    Conv(3, [5, 6], [64, 64], [1, 1], [0, 0], [1, 1]),
    Conv(1, [9, 10], [12, 40], [5, 5], [2, 2], [1, 1]),
    Conv(40, [6, 5], [2, 1], [3, 2], [1, 0], [1, 1]),
    Conv(1, [13, 9000], [1, 2], [1, 3], [0, 1], [1, 1]),
    Conv(2, [6, 5], [3, 16], [2, 2], [0, 0], [2, 2]),
    Conv(2, [8, 9], [16, 20], [3, 3], [1, 1], [2, 2]),
    Conv(1, [9, 7], [4, 8], [3, 5], [1, 2], [2, 1]),
    Conv(2, [7, 7], [8, 16], [1, 1], [0, 0], [2, 2]),
    Conv(1, [11, 10], [6, 7], [5, 2], [2, 0], [2, 3]),
];

/// Plain and transposed convolutions alternate. Each runs in every layout.
pub fn convolutions_in_every_layout_with_every_epilogue(check: &mut Check) -> Result<()> {
    for (i, Conv(images, [height, width], [channels, n], taps, padding, stride)) in CONVOLUTIONS.into_iter().enumerate()
    {
        let axis = |i: usize, length: u32| {
            let positions = (length + 2 * padding[i] - taps[i]) / stride[i] + 1;
            Axis { length, positions, taps: taps[i], down: stride[i], step: 1, first: -(padding[i] as i32), up: 1 }
        };
        let window = Window { channels, groups: 1, rows: axis(0, height), columns: axis(1, width) };
        let reversed = |of: Window, channels| {
            let axis = |axis: Axis| Axis {
                length: axis.positions,
                positions: axis.length,
                down: axis.up,
                step: -axis.step,
                first: -axis.first,
                up: axis.down,
                ..axis
            };
            Window { channels, groups: 1, rows: axis(of.rows), columns: axis(of.columns) }
        };
        let transposed = i % 2 == 1;
        let window = if transposed { reversed(window, channels) } else { window };
        for (j, layout) in LAYOUTS.into_iter().enumerate() {
            let (window, columns) = if layout == Layout::Nt { (reversed(window, n), channels) } else { (window, n) };
            let pixels = |axes: [u32; 2]| images * axes[0] * axes[1];
            let image = [pixels([window.rows.length, window.columns.length]), window.channels];
            let outputs = [pixels([window.rows.positions, window.columns.positions]), columns];
            let weights = [taps[0] * taps[1] * channels, n];
            let (b, c) = if layout == Layout::Tn { (outputs, weights) } else { (weights, outputs) };
            let product = Matmul::new(tensor(0, image), tensor(1, b), tensor(3, c), layout);
            // The update epilogue applies to weights. A weight gradient has no activation epilogue.
            let epilogue = if layout == Layout::Tn {
                [3, 0, ADD][i % 3]
            } else {
                [0, 1, 2, ADD, ADD + 1, ADD + 2][(i + 3 * j) % 6]
            };
            check_product(
                check,
                Matmul { window: Some(window), ..product },
                epilogue,
                layout == Layout::Tn && i % 2 == 0,
            )?;
        }
    }
    Ok(())
}

/// Grouped convolutions along rows of 9 positions with 3 taps. Each case: input channels, groups, columns of C. Cases:
/// depthwise by four channels and by one, depthwise with a multiplier, groups of whole vectors and others.
pub fn convolutions_with_groups(check: &mut Check) -> Result<()> {
    let sizes = [(8, 8, 8), (5, 5, 5), (4, 4, 8), (8, 2, 8), (9, 3, 6), (6, 2, 32)];
    for (place, (channels, groups, n)) in sizes.into_iter().enumerate() {
        for (i, layout) in LAYOUTS.into_iter().enumerate() {
            let product = of_groups([4, 9, channels], groups, n, layout);
            let epilogue = [0, 1, 2, 3, ADD + 1][(place + i) % 5];
            check_product(check, product, epilogue, layout == Layout::Tn && place % 2 == 0)?;
        }
    }
    // A software adapter limits the steps of a loop. These convolutions have more positions than that limit.
    for n in [4, 2] {
        check_product(check, of_groups([2, (1 << 14) + 9, n], n, n, Layout::Tn), 0, true)?;
    }
    Ok(())
}

/// A grouped convolution along a row, with 3 taps.
fn of_groups([samples, length, channels]: [u32; 3], groups: u32, n: u32, layout: Layout) -> Matmul {
    let axis = |length, taps| {
        let first = -i32::from(taps > 1);
        Axis { length, positions: length, taps, down: 1, step: 1, first, up: 1 }
    };
    let window = Some(Window { channels, groups, rows: axis(1, 1), columns: axis(length, 3) });
    let (positions, weights) = (samples * length, [3 * channels / groups, n]);
    let [x, y] = [tensor(0, [positions, channels]), tensor(3, [positions, n])];
    let product = match layout {
        Layout::Nn => Matmul::new(x, tensor(1, weights), y, layout),
        Layout::Nt => Matmul::new(x, tensor(1, [3 * n / groups, channels]), y, layout),
        Layout::Tn => Matmul::new(x, tensor(1, [positions, n]), tensor(3, weights), layout),
    };
    Matmul { window, ..product }
}

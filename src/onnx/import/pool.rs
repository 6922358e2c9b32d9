//! Pooling, and local response normalisation.

use super::conv::{both, each, padding, pads, same};
use super::moving::padded;
use super::{Entry, Importer, Op, one};
use crate::network::{Layer, Margin, Pad, Pool};
use crate::onnx::Result;
use crate::onnx::layout::{View, count};
use crate::onnx::tensor::Tensor;

/// A pool along one dimension.
#[derive(Debug, Clone, Copy)]
struct Window {
    length: u64,
    size: u32,
    stride: u64,
    dilation: u64,
    sides: [u32; 2],
    /// The number of outputs.
    outputs: u64,
}

impl Window {
    /// The number of elements that a window spans.
    fn span(&self) -> u64 {
        u64::from(self.size - 1) * self.dilation + 1
    }

    /// The number of elements that all windows span.
    fn whole(&self) -> u64 {
        (self.outputs - 1) * self.stride + self.span()
    }

    /// The padding after the dimension, so that the windows fit. It is negative if elements are left over.
    fn behind(&self) -> i64 {
        self.whole() as i64 - (self.length + u64::from(self.sides[0])) as i64
    }

    /// For each output, the number of its elements that count. `padding`: those of the padding count too.
    fn counts(&self, padding: bool) -> Vec<u64> {
        let [before, behind] = self.sides.map(u64::from);
        let (first, end) = if padding { (0, before + self.length + behind) } else { (before, before + self.length) };
        let taps = |i: u64| (0..u64::from(self.size)).map(move |tap| i * self.stride + tap * self.dilation);
        (0..self.outputs).map(|i| taps(i).filter(|place| (first..end).contains(place)).count() as u64).collect()
    }

    /// Whether a pool layer has it.
    fn is_plain(&self) -> bool {
        let most = i64::from(self.size / 2);
        self.dilation == 1 && i64::from(self.sides[0]) <= most && self.behind() <= most
    }
}

/// The most elements of all windows along a dimension, for a pool that wgrad's layer does not have.
const MOST: u64 = 1 << 24;

fn windows(node: &crate::onnx::messages::Node, lengths: &[u64]) -> Result<Vec<Window>> {
    let rank = lengths.len();
    let [size, strides] = [each(node, "kernel_shape", rank, 0)?, each(node, "strides", rank, 1)?];
    let dilations = each(node, "dilations", rank, 1)?;
    if [&size, &strides, &dilations].iter().any(|all| all.iter().any(|number| !(1..=1 << 16).contains(number))) {
        return Err("attributes kernel_shape, strides and dilations: expected numbers from 1 to 65536".into());
    }
    let sides = pads(node, rank, |i| Ok(same(lengths[i], size[i], strides[i], dilations[i])))?;
    let ceil = node.int("ceil_mode", 0)? != 0;
    let window = |i: usize| {
        let (stride, dilation) = (u64::from(strides[i]), u64::from(dilations[i]));
        let mut window = Window { length: lengths[i], size: size[i], stride, dilation, sides: sides[i], outputs: 1 };
        let [before, behind] = sides[i].map(u64::from);
        let left = (lengths[i] + before + behind).checked_sub(window.span()).ok_or_else(|| {
            format!("a window of {} elements for {} elements with their padding", window.span(), lengths[i])
        })?;
        let mut last = if ceil { left.div_ceil(stride) } else { left / stride };
        // The last window must begin within the image or the padding before it.
        if ceil && last * stride >= lengths[i] + before {
            last -= 1;
        }
        window.outputs = last + 1;
        Ok(window)
    };
    (0..rank).map(window).collect()
}

pub(super) fn pool(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let max = node.op == "MaxPool";
    let first = 2 - imp.batch;
    let lengths = x.lengths().get(first..).unwrap_or_default().to_vec();
    if lengths.is_empty() {
        return Err("an input without a dimension to pool".into());
    }
    let mut windows = windows(node, &lengths)?;
    let includes = !max && node.int("count_include_pad", 0)? != 0;
    let of_image = lengths.len() <= 2 && windows.iter().all(Window::is_plain);
    // No window may reach beyond the padding that counts.
    if of_image && (!includes || windows.iter().all(|window| window.behind() <= i64::from(window.sides[1]))) {
        let mut image = imp.image(&x, false)?;
        if includes && windows.iter().any(|window| window.sides != [0; 2]) {
            let sides = windows.iter().map(|window| window.sides).collect::<Vec<_>>();
            image.value = imp.layer(Pad { with: Margin::Zeros, sides: both(&sides) }, &[image.value])?;
            for window in &mut windows {
                window.length += u64::from(window.sides[0]) + u64::from(window.sides[1]);
                window.sides = [0; 2];
            }
        }
        let of = |of: fn(&Window) -> u32| both(&windows.iter().map(of).collect::<Vec<_>>());
        let size = of(|window| window.size);
        let mut layer = if max { Pool::max(size) } else { Pool::average(size) };
        layer = layer.stride(of(|window| window.stride as u32));
        let behind = |window: &Window| window.behind().max(0) as u32;
        layer.padding = padding(&windows.iter().map(|window| [window.sides[0], behind(window)]).collect::<Vec<_>>());
        let value = imp.layer(layer, &[image.value])?;
        return one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?);
    }
    let mut y = x;
    for (i, window) in windows.iter().enumerate() {
        y = imp.pooled(&y, first + i, window, max, includes)?;
    }
    one(View { channels: Some(1 - imp.batch), ..y })
}

impl Importer<'_> {
    /// A pool along one dimension, as the width of images of height \[before\] with \[after\] channels. A pool along
    /// several dimensions is one along each.
    fn pooled(&mut self, x: &View, dim: usize, window: &Window, max: bool, includes: bool) -> Result<View> {
        let elements = window.outputs.saturating_mul(window.size.into());
        if elements > MOST {
            return Err(format!("windows of {elements} elements; at most {MOST}"));
        }
        // Left-over elements are cut off. For a dilated pool, the length becomes a multiple of the dilation.
        let kept = u64::try_from(window.length as i64 + window.behind().min(0)).unwrap_or(0);
        let mut y = self.part(x, dim, 0, kept)?;
        let whole = window.whole().next_multiple_of(window.dilation);
        let sides = [u64::from(window.sides[0]), whole - kept - u64::from(window.sides[0])];
        y = if max {
            self.surrounded(&y, dim, sides, f32::MIN)?
        } else {
            padded(self, &y, dim, sides.map(|side| u32::try_from(side).unwrap_or(u32::MAX)), Margin::Zeros)?
        };
        if window.dilation > 1 {
            // Elements with a distance of the dilation become neighbours.
            let mut dims = y.lengths();
            dims.splice(dim..=dim, [whole / window.dilation, window.dilation]);
            let columns = self.regrouped(&y, &dims)?;
            let columns = self.slid(&columns, dim, window.size, 1, max)?;
            let positions = whole - u64::from(window.size - 1) * window.dilation;
            dims.splice(dim..=dim + 1, [positions]);
            y = self.regrouped(&columns, &dims)?;
            y = self.strided(&y, dim, 0, window.stride, window.outputs)?;
        } else {
            y = self.slid(&y, dim, window.size, window.stride as u32, max)?;
        }
        if max {
            return Ok(y);
        }
        let counts = window.counts(includes);
        if counts.iter().all(|&number| number == u64::from(window.size)) {
            return Ok(y);
        }
        // The mean is over the elements that count.
        let scales = counts.iter().map(|&number| window.size as f32 / number.max(1) as f32).collect();
        let after = std::iter::repeat_n(1, y.dims.len() - dim - 1);
        let scales = Tensor::floats(std::iter::once(window.outputs).chain(after).collect(), scales);
        self.combined(&Entry::View(y), &Entry::Constant(scales), true)
    }

    /// A pool along one dimension without padding.
    fn slid(&mut self, x: &View, dim: usize, size: u32, stride: u32, max: bool) -> Result<View> {
        let (value, before, after) = self.located(x, dim)?;
        let pool = if max { Pool::max([1, size]) } else { Pool::average([1, size]) };
        let value = self.layer(pool.stride([1, stride]), &[value])?;
        let outputs = (count(&x.dims[dim]) - u64::from(size)) / u64::from(stride) + 1;
        let new = self.factors.of(outputs)?;
        let mut dims = x.dims.clone();
        dims[dim] = new.clone();
        Ok(View { value, dims, order: [before, new, after].concat(), ..x.clone() })
    }
}

pub(super) fn global(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    if x.dims.len() < 2 - imp.batch {
        return Err("an input without channels".into());
    }
    let dims: Vec<usize> = (2 - imp.batch..x.dims.len()).collect();
    let y = imp.reduced(&x, &dims, op.node.op == "GlobalMaxPool", true)?;
    one(View { channels: Some(1 - imp.batch), ..y })
}

/// y = x / (bias + alpha · mean of x² over neighbouring channels)^beta.
pub(super) fn lrn(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let size = u32::try_from(node.int("size", 0)?).unwrap_or(0);
    if size == 0 {
        return Err("attribute size: expected a number of at least 1".into());
    }
    let image = imp.image(&x, true)?;
    let positions: u64 = image.lengths.iter().product();
    let squares = imp.layer(Layer::Multiply, &[image.value, image.value])?;
    let rows = imp.shaped(squares, &[positions, image.channel_count, 1])?;
    let sides = [[0; 2], [(size - 1) / 2, size / 2]];
    let padded = imp.layer(Pad { with: Margin::Zeros, sides }, &[rows])?;
    let means = imp.layer(Pool::average([1, size]).stride(1), &[padded])?;
    let means = imp.shaped(means, &[&image.lengths[..], &[image.channel_count]].concat())?;
    let scaled = imp.scale_shift(node.float("alpha", 1e-4)?, node.float("bias", 1.0)?, means)?;
    let divisor = imp.power(scaled, -node.float("beta", 0.75)?)?;
    let value = imp.layer(Layer::Multiply, &[image.value, divisor])?;
    one(imp.view_of_image(value, Some((image.channels, image.in_memory)))?)
}

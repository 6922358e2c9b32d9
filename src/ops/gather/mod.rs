//! Gathers the rows of a batch.

mod augment;

use super::*;
use augment::Change;

const LANES: u32 = 64;

/// Columns of a row that an invocation of the variant for software adapters copies.
const WIDE_COLUMNS: u32 = 64;

/// Copies the batch's rows from the data set. Bytes are divided by 255. Channels are normalised if
/// [`DataInfo::channels`] is not 0. Images are augmented if [`DataInfo::augment`] is not 0. Rows that a partial batch
/// lacks become zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// Features of the whole data set.
    pub features: Tensor,
    /// Description of the data set: one [`DataInfo`].
    pub data: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// \[batch\]: row numbers.
    pub indices: Tensor,
    /// \[batch, columns\], written. Rows of three dimensions are images: height, width, channels.
    pub x: Tensor,
}

impl Gather {
    /// Copies, scales and augments the valid rows. The other rows become zeros.
    fn copy(&self, at: &Operands<'_>, x: &mut [f32]) {
        let (features, indices) = (at.words(self.features), at.words(self.indices));
        let (data, state, columns) = (at.data(self.data), at.step(self.step), self.x.columns() as usize);
        let (x, missing) = x.split_at_mut(self.valid_values(at));
        for (out, &row) in x.chunks_exact_mut(columns).zip(indices) {
            let words = &features[data.feature(row)..];
            let bytes: &[u8] = bytemuck::cast_slice(words);
            let raw = |column: usize| match data.bytes {
                0 => f32::from_bits(words[column]),
                _ => f32::from(bytes[column]) * U8_SCALE,
            };
            let Some([height, width, channels]) = self.image().filter(|_| data.augment != 0) else {
                out.iter_mut().enumerate().for_each(|(column, out)| *out = raw(column));
                continue;
            };
            let change = Change::drawn(row, &state, &data, [height, width]);
            let whole = [data.image_width, data.image_height].map(|length| length as i32);
            for (i, out) in (0..).zip(out) {
                let (pixel, channel) = (i / channels, i % channels);
                let at = [pixel % width, pixel / width].map(|at| at as i32);
                *out = change.value(at, &data, [height, width], |[x, y]| {
                    let inside = (0..whole[0]).contains(&x) && (0..whole[1]).contains(&y);
                    if inside { raw(((y * whole[0] + x) * channels as i32) as usize + channel as usize) } else { 0.0 }
                });
            }
        }
        missing.fill(0.0);
    }

    /// Height, width and channels if rows are images.
    fn image(&self) -> Option<[u32; 3]> {
        let [_, height, width, channels] = self.x.shape[..] else { return None };
        Some([height, width, channels])
    }

    /// Error bounds of the augmentation, for each valid row.
    fn change_bounds(&self, at: &Operands<'_>) -> Vec<f64> {
        let (data, columns) = (at.data(self.data), self.x.columns() as usize);
        let (features, indices) = (at.words(self.features), at.words(self.indices));
        let rows = self.valid_values(at) / columns;
        let Some([height, width, channels]) = self.image().filter(|_| data.augment != 0) else {
            return vec![0.0; rows];
        };
        let whole = (data.image_height * data.image_width * channels) as usize;
        let bound = |&row: &u32| {
            let words = &features[data.feature(row)..];
            let values: &[f32] = bytemuck::cast_slice(if data.bytes != 0 { &[] } else { &words[..whole] });
            // Scaled bytes are at most 1.
            let most = values.iter().fold(if data.bytes != 0 { 1.0 } else { 0.0 }, |most: f32, x| most.max(x.abs()));
            augment::bound(&data, [height, width], most.into())
        };
        indices[..rows].iter().map(bound).collect()
    }

    /// Number of values in the valid rows.
    fn valid_values(&self, at: &Operands<'_>) -> usize {
        (at.step(self.step).rows.min(self.x.rows()) * self.x.columns()) as usize
    }

    /// Mean and 1 / deviation for each value of the valid rows. Empty without normalisation.
    fn channels<'a>(&self, at: &Operands<'a>) -> impl Iterator<Item = (f32, f32)> + use<'a> {
        let (features, channels) = (at.f32s(self.features), at.data(self.data).channels as usize);
        let (columns, values) = (self.x.columns() as usize, if channels == 0 { 0 } else { self.valid_values(at) });
        (0..values).map(move |i| i % columns % channels).map(move |c| (features[c], features[channels + c]))
    }
}

/// For texts of other kernels: appends `fn load_columns(row: u32, quad: u32, count: u32) -> vec4f`, which returns four
/// columns of a row of the batch, and the functions that it calls. Rows are no images. The text declares `features`,
/// `data`, `state` and `indices`.
pub(crate) fn load_columns(texts: &mut Vec<String>) {
    let text = template::expand(text!("gather.functions.wgsl.in"), &[], &[("images", false)]);
    excerpt(texts, &text, "load_columns", str::to_owned);
}

impl Kernel for Gather {
    binds! { "gather": read features, read data, read step, read indices, write x }

    fn flops(&self) -> u64 {
        0
    }

    // A plan knows only one row of the data set, so the features count with the bytes of x.
    fn bytes(&self) -> u64 {
        let rest = self.operands().iter().skip(1).map(Operand::traffic).sum::<u64>();
        rest + self.x.bytes()
    }

    /// Copies four columns at a time; on software adapters, eight. Rows may have any length.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let columns = self.x.columns();
        let quads = columns.div_ceil(4);
        let image = self.image();
        let [height, width, channels] = image.unwrap_or_default();
        let constants = match image {
            Some(_) => vec![("HEIGHT", height.into()), ("WIDTH", width.into()), ("CHANNELS", channels.into())],
            None => vec![],
        };
        macro_rules! variant {
            ($name:literal, $($file:literal),+) => {{
                let text = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl",
                    "shared/row_random.wgsl.in",
                    "gather.functions.wgsl.in", $($file),+);
                shader($name, template::expand(text, &[], &[("images", image.is_some())]), constants)
            }};
        }
        let (shader, of_row) = match columns {
            n if n.is_multiple_of(8) && adapter.wide_access => (
                variant!("gather.wide", "software/words.wgsl", "software/gather.wide.wgsl.in"),
                n.div_ceil(WIDE_COLUMNS),
            ),
            n if n.is_multiple_of(4) => (variant!("gather.aligned", "gather.aligned.wgsl.in"), quads),
            _ => (variant!("gather", "gather.wgsl.in"), quads),
        };
        let invocations = self.x.rows() * of_row;
        vec![Launch::of(self, shader, uniforms![columns, quads, invocations], invocations.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let x: &mut [f32] = at.out(self.x);
        self.copy(at, x);
        x.iter_mut().zip(self.channels(at)).for_each(|(x, (mean, inverse))| *x = (*x - mean) * inverse);
    }

    /// Exact without normalisation and augmentation. Normalisation rounds the difference and the product. A scaled
    /// byte is rounded too, unless a GPU fuses it with the difference. A difference may be flushed to zero before it
    /// is multiplied.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let data = at.data(self.data);
        if data.channels == 0 && data.augment == 0 {
            return vec![Bounds::Exact];
        }
        let mut x = vec![0.0; self.x.len() as usize];
        self.copy(at, &mut x);
        let columns = self.x.columns() as usize;
        let mut bounds: Vec<f64> =
            self.change_bounds(at).into_iter().flat_map(|off| std::iter::repeat_n(off, columns)).collect();
        for ((off, &x), (mean, inverse)) in bounds.iter_mut().zip(&x).zip(self.channels(at)) {
            let (x, difference) = (f64::from(x), (f64::from(x) - f64::from(mean)).abs() + *off);
            let scaled_error = if data.bytes != 0 { 2.0 * U * x } else { 0.0 };
            *off = f64::from(inverse).abs() * (*off + scaled_error + 4.0 * U * difference + FLUSHED);
        }
        bounds.resize(x.len(), 0.0);
        vec![Bounds::Each(bounds)]
    }
}

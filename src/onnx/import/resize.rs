//! Resize and Upsample. An interpolation along a dimension is a list of weighted inputs for each output.

use std::collections::BTreeMap;

use super::conv::both;
use super::{Entry, Importer, Op, one};
use crate::network::{Interpolation, Upsample};
use crate::onnx::Result;
use crate::onnx::fold;
use crate::onnx::layout::{View, count};
use crate::onnx::messages::{Attribute, Node};
use crate::onnx::tensor::{Data, Int, Tensor, strides};

/// The inputs of an output along a dimension, and their weights.
type Taps = BTreeMap<u64, f64>;

/// A dimension that is resized.
struct Axis {
    /// The dimension without the batch.
    dim: usize,
    from: u64,
    to: u64,
    scale: f64,
    /// The part of the input that is read, from 0 to 1.
    region: [f64; 2],
}

/// Scales or sizes, for each dimension that is listed.
enum Wanted {
    Scales(Vec<f32>),
    Sizes(Vec<Int>),
}

/// The longest dimension of a result.
const LONGEST: u64 = 1 << 16;

/// The largest number of dimensions that change.
const MOST_RESIZED: usize = 4;

/// The most inputs of all outputs along a dimension.
const MOST_TAPS: f64 = (1 << 22) as f64;

pub(super) fn resize(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let axes = axes(imp, op, &x)?;
    if axes.is_empty() {
        return one(x);
    }
    let rule = Rule::of(op.node, imp.opset)?;
    let taps = axes.iter().map(|axis| rule.taps(axis)).collect::<Result<Vec<_>>>()?;
    imp.spend(taps.iter().flatten().map(|taps| taps.len() as u64).sum())?;
    if let Some(y) = upsampled(imp, &x, &axes, &taps)? {
        return one(y);
    }
    let mut y = x;
    for (axis, taps) in axes.iter().zip(&taps) {
        y = imp.interpolated(&y, axis.dim, taps)?;
    }
    if rule.transformation == "tf_crop_and_resize" {
        y = outside(imp, y, &axes, &taps, op.node.float("extrapolation_value", 0.0)?)?;
    }
    one(y)
}

fn wanted(imp: &Importer, op: &Op) -> Result<Wanted> {
    let of_scales = |input: usize| -> Result<Option<Wanted>> {
        Ok(match op.optional(input)? {
            Some(tensor) if tensor.len() > 0 => Some(Wanted::Scales(tensor.to_f32()?)),
            _ => None,
        })
    };
    let wanted = match op.node.attribute("scales") {
        Some(Attribute::Floats(scales)) => Some(Wanted::Scales(scales.clone())),
        _ if op.node.op == "Upsample" || imp.opset < 11 => of_scales(1)?,
        _ => match op.optional(3)? {
            Some(sizes) if sizes.len() > 0 => Some(Wanted::Sizes(sizes.to_ints()?)),
            _ => of_scales(2)?,
        },
    };
    wanted.ok_or_else(|| "neither scales nor sizes".into())
}

/// The dimensions that are resized or cropped.
fn axes(imp: &Importer, op: &Op, x: &View) -> Result<Vec<Axis>> {
    let (node, wanted, rank) = (op.node, wanted(imp, op)?, x.dims.len() + imp.batch);
    let places: Vec<usize> = match node.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| fold::axis(axis, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    if (1..places.len()).any(|i| places[..i].contains(&places[i])) {
        return Err("attribute axes: expected each axis once".into());
    }
    let count = match &wanted {
        Wanted::Scales(scales) => scales.len(),
        Wanted::Sizes(sizes) => sizes.len(),
    };
    if count != places.len() {
        return Err(format!("{count} scales or sizes for {} dimensions", places.len()));
    }
    let crops = node.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize";
    let region = if crops { op.constant(1)?.to_f32()? } else { vec![] };
    if crops && region.len() != 2 * places.len() {
        return Err(format!("a region of {} numbers for {} dimensions", region.len(), places.len()));
    }
    let mut axes = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let region = if crops { [region[i], region[i + places.len()]].map(f64::from) } else { [0.0, 1.0] };
        let Some(dim) = place.checked_sub(imp.batch) else {
            let keeps = match &wanted {
                Wanted::Scales(scales) => scales[i] == 1.0,
                Wanted::Sizes(sizes) => sizes[i] == Int::ROWS || sizes[i].known().ok() == imp.rows,
            };
            if keeps && region == [0.0, 1.0] {
                continue;
            }
            return Err("it resizes the batch".into());
        };
        let from = x.lengths()[dim];
        let (to, scale) = match &wanted {
            Wanted::Scales(scales) => {
                let scale = f64::from(scales[i]);
                ((from as f32 * scales[i]).floor() as u64, scale)
            }
            Wanted::Sizes(sizes) => {
                let to = u64::try_from(sizes[i].known()?).map_err(|_| "a negative size")?;
                (to, to as f64 / from as f64)
            }
        };
        axes.push(Axis { dim, from, to, scale, region });
    }
    let scales = axes.iter().map(|axis| axis.scale);
    let common = match node.text("keep_aspect_ratio_policy", "stretch")? {
        "not_larger" => scales.reduce(f64::min),
        "not_smaller" => scales.reduce(f64::max),
        "stretch" => None,
        other => return Err(format!("attribute keep_aspect_ratio_policy: {other} is not supported")),
    };
    if let (Some(scale), Wanted::Sizes(_)) = (common, &wanted) {
        for axis in &mut axes {
            (axis.to, axis.scale) = ((scale * axis.from as f64 + 0.5).floor() as u64, scale);
        }
    }
    axes.retain(|axis| axis.to != axis.from || axis.scale != 1.0 || axis.region != [0.0, 1.0]);
    match axes.iter().find(|axis| !(1..=LONGEST).contains(&axis.to) || !axis.scale.is_normal()) {
        Some(axis) => Err(format!("an output of {} elements; expected 1 to {LONGEST}", axis.to)),
        None if axes.len() > MOST_RESIZED => {
            Err(format!("{} dimensions that change, where at most {MOST_RESIZED} are supported", axes.len()))
        }
        None => Ok(axes),
    }
}

/// How an output reads its inputs.
struct Rule<'a> {
    mode: &'a str,
    transformation: &'a str,
    nearest: &'a str,
    antialias: bool,
    exclude_outside: bool,
    cubic: f64,
}

impl<'a> Rule<'a> {
    fn of(node: &'a Node, opset: i64) -> Result<Self> {
        let is_old = node.op == "Upsample" || opset < 11;
        let own = |name: &str, new: &'static str, old: &'static str| match is_old {
            true => Ok(old),
            false => node.text(name, new),
        };
        Ok(Self {
            mode: match node.text("mode", "nearest")? {
                "bilinear" => "linear",
                mode @ ("nearest" | "linear" | "cubic") => mode,
                other => return Err(format!("attribute mode: {other} is not supported")),
            },
            transformation: own("coordinate_transformation_mode", "half_pixel", "asymmetric")?,
            nearest: own("nearest_mode", "round_prefer_floor", "floor")?,
            antialias: node.int("antialias", 0)? != 0,
            exclude_outside: node.int("exclude_outside", 0)? != 0,
            cubic: node.float("cubic_coeff_a", -0.75)?.into(),
        })
    }

    /// The place in the input that an output reads.
    fn place(&self, axis: &Axis, i: u64) -> Result<f64> {
        let (i, n, scale) = (i as f64, axis.from as f64, axis.scale);
        let (m, [start, end]) = (n * scale, axis.region);
        Ok(match self.transformation {
            "asymmetric" => i / scale,
            "half_pixel" => (i + 0.5) / scale - 0.5,
            "pytorch_half_pixel" if axis.to <= 1 => 0.0,
            "pytorch_half_pixel" => (i + 0.5) / scale - 0.5,
            "half_pixel_symmetric" => n / 2.0 * (1.0 - axis.to as f64 / m) + (i + 0.5) / scale - 0.5,
            "align_corners" if axis.to <= 1 => 0.0,
            "align_corners" => i * (n - 1.0) / (m - 1.0),
            "tf_crop_and_resize" if axis.to <= 1 => (start + end) / 2.0 * (n - 1.0),
            "tf_crop_and_resize" => start * (n - 1.0) + i * (end - start) * (n - 1.0) / (m - 1.0),
            other => return Err(format!("attribute coordinate_transformation_mode: {other} is not supported")),
        })
    }

    /// For each output, its inputs. An output beyond the region of `tf_crop_and_resize` has none.
    fn taps(&self, axis: &Axis) -> Result<Vec<Taps>> {
        (0..axis.to).map(|i| self.taps_of(axis, self.place(axis, i)?)).collect()
    }

    fn taps_of(&self, axis: &Axis, place: f64) -> Result<Taps> {
        let last = axis.from as f64 - 1.0;
        if self.transformation == "tf_crop_and_resize" && !(0.0..=last).contains(&place) {
            return Ok(Taps::new());
        }
        if self.mode == "nearest" {
            let nearest = match self.nearest {
                "floor" => place.floor(),
                "ceil" => place.ceil(),
                "round_prefer_ceil" => (place + 0.5).floor(),
                "round_prefer_floor" => (place - 0.5).ceil(),
                other => return Err(format!("attribute nearest_mode: {other} is not supported")),
            };
            return Ok(Taps::from([(nearest.clamp(0.0, last) as u64, 1.0)]));
        }
        // Antialiasing stretches the filter over the inputs of an output.
        let stretch = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
        let radius = if self.mode == "linear" { 1.0 } else { 2.0 };
        let reach = (radius / stretch).ceil();
        if reach * axis.to as f64 > MOST_TAPS {
            return Err(format!("a filter of {reach} elements on each side for {} outputs", axis.to));
        }
        let base = place.ceil() - 1.0;
        let (mut taps, mut sum) = (Taps::new(), 0.0);
        for step in 1 - reach as i64..=reach as i64 {
            let input = base + step as f64;
            let weight = self.weight((input - place).abs() * stretch);
            if self.exclude_outside && !(0.0..=last).contains(&input) {
                continue;
            }
            sum += weight;
            *taps.entry(input.clamp(0.0, last) as u64).or_insert(0.0) += weight;
        }
        taps.retain(|_, weight| *weight != 0.0);
        taps.values_mut().for_each(|weight| *weight /= sum);
        Ok(taps)
    }

    /// The weight of an input at a distance: a triangle, or Keys' cubic.
    fn weight(&self, d: f64) -> f64 {
        let a = self.cubic;
        match self.mode {
            "linear" => (1.0 - d).max(0.0),
            _ if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            _ if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            _ => 0.0,
        }
    }
}

/// The result of wgrad's own layer, if it reads the same inputs with the same weights at every output.
fn upsampled(imp: &mut Importer, x: &View, axes: &[Axis], taps: &[Vec<Taps>]) -> Result<Option<View>> {
    let first = 2 - imp.batch;
    let rank = x.dims.len().saturating_sub(first);
    let is_one = imp.batch == 1 || x.dims.first().is_some_and(|dim| dim.is_empty());
    let mut others = axes.iter().zip(taps).filter(|(axis, _)| axis.dim < first);
    if !(1..=2).contains(&rank) || !is_one || !others.all(|(axis, taps)| is_identity(taps, axis.from)) {
        return Ok(None);
    }
    for how in [Interpolation::Nearest, Interpolation::Bilinear] {
        let is_same = axes.iter().zip(taps).filter(|(axis, _)| axis.dim >= first).all(|(axis, taps)| {
            let own = (0..axis.to).map(|i| own_taps(how, i, axis));
            own.zip(taps).all(|(own, taps)| {
                let near = |(input, weight): (&u64, &f64)| (weight - own.get(input).unwrap_or(&0.0)).abs() <= 1e-5;
                taps.iter().all(near) && own.keys().all(|input| taps.contains_key(input) || own[input].abs() <= 1e-5)
            })
        });
        if is_same {
            let image = imp.image(x, false)?;
            let mut to: Vec<u32> = image.lengths.iter().map(|&length| length as u32).collect();
            for axis in axes.iter().filter(|axis| axis.dim >= first) {
                to[axis.dim - first] = axis.to as u32;
            }
            let value = imp.layer(Upsample { how, factor: [1; 2], target: Some(both(&to)) }, &[image.value])?;
            return imp.view_of_image(value, Some((image.channels, image.in_memory))).map(Some);
        }
    }
    Ok(None)
}

fn is_identity(taps: &[Taps], from: u64) -> bool {
    taps.len() as u64 == from && taps.iter().zip(0..).all(|(taps, i)| *taps == Taps::from([(i, 1.0)]))
}

/// The inputs of wgrad's own interpolation.
fn own_taps(how: Interpolation, i: u64, axis: &Axis) -> Taps {
    let (n, m) = (axis.from, axis.to);
    if let Interpolation::Nearest = how {
        return Taps::from([(i * n / m, 1.0)]);
    }
    let place = ((i as f64 + 0.5) * n as f64 / m as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
    let (low, part) = (place.floor() as u64, place.fract());
    match low + 1 < n {
        true => Taps::from([(low, 1.0 - part), (low + 1, part)]),
        false => Taps::from([(low, 1.0)]),
    }
}

impl Importer<'_> {
    /// Interpolates along a dimension: elements in another order, or a product with a constant matrix.
    fn interpolated(&mut self, x: &View, dim: usize, taps: &[Taps]) -> Result<View> {
        const MOST: u64 = 1 << 24;
        let (from, to) = (count(&x.dims[dim]), taps.len() as u64);
        if is_identity(taps, from) {
            return Ok(x.clone());
        }
        let places = taps.iter().map(|taps| match taps.iter().next() {
            Some((input, weight)) if taps.len() == 1 && (weight - 1.0).abs() < 1e-9 => Some(*input),
            _ => None,
        });
        if let Some(places) = places.collect::<Option<Vec<u64>>>()
            && places.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() < 64
        {
            return self.picked(x, dim, places);
        }
        let products = count(&x.order).saturating_mul(to);
        if products > MOST {
            return Err(format!("an interpolation of {products} element products; at most {MOST}"));
        }
        let mut matrix = vec![0.0; (from * to) as usize];
        for (output, taps) in taps.iter().enumerate() {
            for (&input, &weight) in taps {
                matrix[input as usize * to as usize + output] = weight as f32;
            }
        }
        let mut wide = x.clone();
        wide.dims.insert(dim + 1, vec![]);
        let after = std::iter::repeat_n(1, x.dims.len() - dim - 1);
        let matrix = Tensor::floats([from, to].into_iter().chain(after).collect(), matrix);
        let products = self.combined(&Entry::View(wide), &Entry::Constant(matrix), true)?;
        let mean = self.reduced(&products, &[dim], false, false)?;
        let value = self.scale_shift(from as f32, 0.0, mean.value)?;
        Ok(View { value, channels: x.channels, ..mean })
    }
}

/// Adds the extrapolation value to the outputs that lie beyond the region in a dimension. They are 0 before.
fn outside(imp: &mut Importer, y: View, axes: &[Axis], taps: &[Vec<Taps>], value: f32) -> Result<View> {
    if value == 0.0 || taps.iter().flatten().all(|taps| !taps.is_empty()) {
        return Ok(y);
    }
    let mut dims = vec![1; y.dims.len()];
    axes.iter().for_each(|axis| dims[axis.dim] = axis.to);
    let len = Tensor::new(dims.clone(), Data::F32([value].into())).checked_len()?;
    let strides = strides(&dims);
    let is_outside =
        |i: usize| axes.iter().zip(taps).any(|(axis, taps)| taps[i / strides[axis.dim] % taps.len()].is_empty());
    let added = Tensor::floats(dims, (0..len).map(|i| if is_outside(i) { value } else { 0.0 }).collect());
    imp.combined(&Entry::View(y), &Entry::Constant(added), false)
}

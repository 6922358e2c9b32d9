//! Operators that move elements or only rename dimensions.

use super::{Entry, Importer, Op, one};
use crate::network::{Layer, Value};
use crate::onnx::Result;
use crate::onnx::fold::{self, lengths, parts, reshape_dims, squeezed, unsqueezed};
use crate::onnx::layout::{Factor, View, count};
use crate::onnx::tensor::{Data, Int, Tensor, is_float, product, type_name};

pub(super) fn identity(_: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    one(op.view(0)?)
}

pub(super) fn cast(_: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    match op.node.int("to", 0)? {
        to if is_float(to) => one(op.view(0)?),
        to => Err(format!("attribute to: a cast of computed values to {} is not supported", type_name(to))),
    }
}

/// A cast to the type of another value. A computed value holds floats.
pub(super) fn cast_like(_: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let is_float = match op.entry(1)? {
        Entry::View(_) => true,
        Entry::Constant(like) => matches!(like.data, Data::F32(_)),
    };
    match (op.entry(0)?, is_float) {
        (_, false) => Err("a cast of computed values to another type than floats is not supported".into()),
        (Entry::Constant(x), true) => Ok(vec![Entry::Constant(fold::cast(x, 1)?)]),
        (Entry::View(x), true) => one(x.clone()),
    }
}

/// Dropout trains on. It does nothing outside of training, so it must not be an output.
pub(super) fn dropout(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let rate = match op.optional(1)? {
        Some(ratio) => ratio.uniform().unwrap_or(0.5),
        None => op.node.float("ratio", 0.5)?,
    };
    let trains = match op.optional(2)? {
        Some(tensor) => matches!(&tensor.data, Data::Bool(values) if values.first() == Some(&true)),
        None => imp.opset < 7 && op.node.int("is_test", 0)? == 0,
    };
    if trains && rate != 0.0 {
        return Err("dropout in training mode is not supported; export for inference".into());
    }
    let is_output = op.node.outputs.first().is_some_and(|name| imp.is_output(name));
    if rate == 0.0 || is_output || imp.batch == 0 {
        return one(x);
    }
    let value = imp.layer(Layer::Dropout(rate), &[x.value])?;
    one(View { value, ..x })
}

impl Importer<'_> {
    /// The value with other dimensions. It moves elements only if they do not lie in ONNX's order.
    pub fn regrouped(&mut self, x: &View, dims: &[u64]) -> Result<View> {
        let mut view = x.clone();
        if view.reshape(dims, &mut self.factors) {
            return Ok(view);
        }
        let view = self.in_order(x)?;
        Ok(View { batch_at: x.batch_at, ..self.view(view.value, dims)? })
    }

    /// A dimension of a value by itself: the value of shape \[before, dimension, after\], and the factors before and
    /// after it in memory.
    pub fn located(&mut self, x: &View, dim: usize) -> Result<(Value, Vec<Factor>, Vec<Factor>)> {
        let own = &x.dims[dim];
        let first = x.order.iter().position(|factor| own.contains(factor)).unwrap_or(0);
        let (before, rest) = x.order.split_at(first);
        let after: Vec<Factor> = rest.iter().filter(|factor| !own.contains(factor)).copied().collect();
        let view = self.arranged(x, [before, own, &after].concat())?;
        let value = self.shaped(view.value, &[count(before), count(own), count(&after)])?;
        Ok((value, before.to_vec(), after))
    }

    /// A part of a dimension.
    pub fn part(&mut self, x: &View, dim: usize, start: u64, length: u64) -> Result<View> {
        if length == count(&x.dims[dim]) {
            return Ok(x.clone());
        }
        if length == 0 {
            return Err("an empty slice".into());
        }
        let (value, before, after) = self.located(x, dim)?;
        let [start, end] = [start, start + length].map(|place| u32::try_from(place).unwrap_or(u32::MAX));
        let value = self.layer(Layer::Slice { axis: 1, start, end }, &[value])?;
        let new = self.factors.of(length)?;
        let mut dims = x.dims.clone();
        dims[dim] = new.clone();
        Ok(View { value, dims, order: [before, new, after].concat(), ..x.clone() })
    }

    /// Every step-th element of a dimension. Each is the first of a block of this length. The last block may be cut
    /// off.
    pub fn strided(&mut self, x: &View, dim: usize, start: u64, step: u64, count: u64) -> Result<View> {
        if step == 1 {
            return self.part(x, dim, start, count);
        }
        let length = x.lengths()[dim] - start;
        let whole = if count * step <= length { count } else { count - 1 };
        let last = |imp: &mut Self| imp.part(x, dim, start + whole * step, 1);
        if whole == 0 {
            return last(self);
        }
        let blocks = self.part(x, dim, start, whole * step)?;
        let mut dims = blocks.lengths();
        dims.splice(dim..=dim, [whole, step]);
        let blocks = self.regrouped(&blocks, &dims)?;
        let mut firsts = self.part(&blocks, dim + 1, 0, 1)?;
        firsts.dims.remove(dim + 1);
        if whole == count {
            return Ok(View { channels: x.channels, ..firsts });
        }
        let last = last(self)?;
        Ok(View { channels: x.channels, ..self.joined(vec![firsts, last], dim)? })
    }

    /// Elements of a dimension by their indices, in any order.
    pub fn picked(&mut self, x: &View, dim: usize, places: impl IntoIterator<Item = u64>) -> Result<View> {
        // Runs of neighbours are slices.
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for place in places {
            match runs.last_mut() {
                Some((start, count)) if *start + *count == place => *count += 1,
                _ => runs.push((place, 1)),
            }
        }
        if runs.len() > 256 {
            return Err(format!("indices in {} runs; at most 256", runs.len()));
        }
        let parts =
            runs.into_iter().map(|(start, count)| self.part(x, dim, start, count)).collect::<Result<Vec<_>>>()?;
        self.joined(parts, dim)
    }

    /// A part of a value without elements. It is constant.
    fn empty(&self, x: &View, dim: usize) -> Result<Entry> {
        if self.batch == 1 {
            return Err("an empty slice".into());
        }
        let mut dims = x.lengths();
        dims[dim] = 0;
        Ok(Entry::Constant(Tensor::floats(dims, vec![])))
    }

    /// Values after each other along a dimension.
    pub fn joined(&mut self, parts: Vec<View>, dim: usize) -> Result<View> {
        let mut parts = parts.into_iter();
        let Some(mut lead) = parts.next() else { return Err("no inputs".into()) };
        let mut others: Vec<View> = parts.map(|part| part.renamed(&mut self.factors)).collect();
        if others.is_empty() {
            return Ok(lead);
        }
        let same: Vec<usize> = (0..lead.dims.len()).filter(|&d| d != dim).collect();
        for other in &others {
            let alike = other.dims.len() == lead.dims.len()
                && same.iter().all(|&d| count(&other.dims[d]) == count(&lead.dims[d]));
            if !alike {
                return Err(format!("inputs of the shapes {:?} and {:?}", lead.lengths(), other.lengths()));
            }
        }
        // The first pass splits the factors of the first value, the second one those of the others.
        for _ in 0..2 {
            for other in &mut others {
                self.unified(&mut lead, other, &same, true)?;
            }
        }
        let (first, before, after) = self.located(&lead, dim)?;
        let (mut values, mut length) = (vec![first], count(&lead.dims[dim]));
        for other in &others {
            let own = &other.dims[dim];
            let view = self.arranged(other, [&before[..], own, &after].concat())?;
            values.push(self.shaped(view.value, &[count(&before), count(own), count(&after)])?);
            length += count(own);
        }
        let value = self.layer(Layer::Concat { axis: 1 }, &values)?;
        let new = self.factors.of(length)?;
        let mut dims = lead.dims.clone();
        dims[dim] = new.clone();
        Ok(View { value, dims, order: [before, new, after].concat(), ..lead })
    }

    /// The value with these numbers of elements before and after a dimension.
    pub fn surrounded(&mut self, x: &View, dim: usize, sides: [u64; 2], with: f32) -> Result<View> {
        let mut parts = vec![];
        for (i, side) in sides.into_iter().enumerate() {
            if side > 0 {
                let mut dims = x.lengths();
                dims[dim] = side;
                parts.push(self.constant(&Tensor::new(dims, Data::F32([with].into())), None)?);
            }
            if i == 0 {
                parts.push(x.clone());
            }
        }
        self.joined(parts, dim)
    }

    /// The lengths of a value, with 2 in place of the batch, so that it is no dimension of length 1.
    fn with_batch(&self, x: &View) -> Vec<u64> {
        let mut lengths = x.lengths();
        if self.batch == 1 {
            lengths.insert(x.batch_at, 2);
        }
        lengths
    }

    /// The dimensions without the batch that a reshape asks for.
    fn target(&self, op: &Op, x: &View, to: &[Int]) -> Result<Vec<u64>> {
        let from = x.lengths();
        let Some((first, rest)) = to.split_first().filter(|_| self.batch == 1) else {
            let to = to.iter().map(|d| d.known()).collect::<Result<Vec<_>>>()?;
            return reshape_dims(op.node, &from, &to);
        };
        let keeps = op.node.int("allowzero", 0)? == 0;
        let mut sample = Vec::new();
        for (i, d) in rest.iter().enumerate() {
            sample.push(match d.known() {
                Ok(0) if keeps => *from.get(i).ok_or("a dimension that the input does not have")? as i64,
                Ok(d) => d,
                Err(_) => return Err("it mixes the batch with other dimensions".into()),
            });
        }
        let elements: u64 = product(&from);
        let known = !sample.contains(&-1);
        let fits = known && sample.iter().fold(1u64, |all, &d| all.saturating_mul(d.max(0) as u64)) == elements;
        let is_batch =
            *first == Int::ROWS || keeps && first.at == 0 && first.rows == 0 || self.rows == first.known().ok();
        match is_batch || fits {
            true if known && fits => Ok(sample.into_iter().map(|d| d as u64).collect()),
            true if is_batch => reshape_dims(op.node, &from, &sample),
            _ => Err("it mixes the batch with other dimensions".into()),
        }
    }
}

pub(super) fn reshape(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let to = op.constant(1)?.to_ints()?;
    let dims = imp.target(op, &x, &to)?;
    one(imp.regrouped(&x, &dims)?)
}

pub(super) fn flatten(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let (lengths, rank) = (x.lengths(), x.dims.len() + imp.batch);
    let at = fold::boundary(op.node, rank)?;
    let dims = match imp.batch {
        0 => vec![product(&lengths[..at]), product(&lengths[at..])],
        _ if at > 0 && product(&lengths[..at - 1]) == 1 => vec![product(&lengths[at - 1..])],
        _ => return Err("it mixes the batch with other dimensions".into()),
    };
    one(imp.regrouped(&x, &dims)?)
}

pub(super) fn squeeze(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let mut x = op.view(0)?;
    let gone = squeezed(&op.given()?, &imp.with_batch(&x))?;
    let is_sample = |place: &usize| imp.batch == 0 || *place != x.batch_at;
    let mut places = (0..x.dims.len() + imp.batch).filter(is_sample).collect::<Vec<_>>().into_iter();
    let batch_at = x.batch_at - gone.iter().filter(|&&place| place < x.batch_at).count();
    x.dims.retain(|_| places.next().is_some_and(|place| !gone.contains(&place)));
    one(View { channels: None, batch_at, ..x })
}

pub(super) fn unsqueeze(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let mut x = op.view(0)?;
    for at in unsqueezed(&op.given()?, x.dims.len() + imp.batch)? {
        let at = at.checked_sub(imp.batch).ok_or("it adds a dimension before the batch")?;
        x.dims.insert(at, vec![]);
    }
    one(View { channels: None, ..x })
}

pub(super) fn transpose(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let order = fold::order(op.node, x.dims.len() + imp.batch)?;
    let (mut batch_at, mut order) = (0, order);
    if imp.batch == 1 {
        batch_at = order.iter().position(|&i| i == x.batch_at).unwrap_or(0);
        order.remove(batch_at);
        order.iter_mut().for_each(|i| *i -= usize::from(*i > x.batch_at));
    }
    let channels = x.channels.and_then(|channels| order.iter().position(|&i| i == channels));
    one(View { dims: order.iter().map(|&i| x.dims[i].clone()).collect(), channels, batch_at, ..x })
}

pub(super) fn concat(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let has_elements = |entry: &&Option<Entry>| !matches!(entry, Some(Entry::Constant(x)) if x.len() == 0);
    let entries = op.inputs.iter().filter(has_elements).flatten();
    let views = entries.map(|entry| imp.viewed(entry)).collect::<Result<Vec<_>>>()?;
    let first = views.first().ok_or("no inputs")?;
    let dim = imp.axis(first, op.node.int("axis", 1)?)?;
    one(imp.joined(views, dim)?)
}

pub(super) fn slice(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let mut x = op.view(0)?;
    for part in parts(&op.given()?, &x.lengths(), (imp.batch == 1).then_some(x.batch_at))? {
        let (start, count) = (part.start.max(0) as u64, part.count);
        if count == 0 {
            return Ok(vec![imp.empty(&x, part.axis)?]);
        }
        x = match part.step {
            1 => imp.part(&x, part.axis, start, count)?,
            step if count == 1 || step < 0 && count <= 64 => {
                imp.picked(&x, part.axis, (0..count as i64).map(|i| (part.start + i * step) as u64))?
            }
            step @ 2.. => imp.strided(&x, part.axis, start, step as u64, count)?,
            step => return Err(format!("a slice with the step {step}")),
        };
    }
    one(x)
}

pub(super) fn split(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let dim = imp.axis(&x, op.node.int("axis", 0)?)?;
    let mut start = 0;
    let mut outputs = Vec::new();
    for length in lengths(&op.given()?, x.lengths()[dim])? {
        outputs.push(match length {
            0 => imp.empty(&x, dim)?,
            _ => Entry::View(imp.part(&x, dim, start, length)?),
        });
        start += length;
    }
    Ok(outputs)
}

pub(super) fn gather(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, indices) = (op.view(0)?, op.constant(1)?);
    let dim = imp.axis(&x, op.node.int("axis", 0)?)?;
    let length = x.lengths()[dim] as i64;
    let places = indices.to_known()?.into_iter().map(|i| if i < 0 { i + length } else { i }).collect::<Vec<_>>();
    if let Some(wrong) = places.iter().find(|&&i| !(0..length).contains(&i)) {
        return Err(format!("index {wrong} of {length} elements"));
    }
    if places.is_empty() {
        return Err("no indices".into());
    }
    let joined = imp.picked(&x, dim, places.into_iter().map(|place| place as u64))?;
    let mut dims = joined.lengths();
    dims.splice(dim..=dim, indices.dims.iter().copied());
    let mut y = imp.regrouped(&joined, &dims)?;
    if dim < y.batch_at {
        y.batch_at = y.batch_at + indices.dims.len() - 1;
    }
    one(y)
}

/// Pads a dimension by itself, as the width of images of height \[before\] with \[after\] channels.
pub(super) fn padded(
    imp: &mut Importer,
    x: &View,
    dim: usize,
    sides: [u32; 2],
    with: crate::network::Margin,
) -> Result<View> {
    if sides == [0; 2] {
        return Ok(x.clone());
    }
    let (value, before, after) = imp.located(x, dim)?;
    let value = imp.layer(crate::network::Pad { with, sides: [[0; 2], sides] }, &[value])?;
    let new = imp.factors.of(count(&x.dims[dim]) + u64::from(sides[0]) + u64::from(sides[1]))?;
    let mut dims = x.dims.clone();
    dims[dim] = new.clone();
    Ok(View { value, dims, order: [before, new, after].concat(), ..x.clone() })
}

/// A part of a dimension, without elements at its sides.
pub(super) fn cropped(imp: &mut Importer, x: &View, dim: usize, sides: [u64; 2]) -> Result<View> {
    let length = count(&x.dims[dim]);
    let left = length.checked_sub(sides[0].saturating_add(sides[1])).ok_or("padding that removes everything")?;
    imp.part(x, dim, sides[0], left)
}

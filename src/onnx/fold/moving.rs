//! Folding of operators that move elements, and of reductions.

use super::{Given, axis};
use crate::onnx::Result;
use crate::onnx::tensor::{Data, Int, Tensor, places, product, repeated_strides, strides};

pub(super) fn range(given: &Given) -> Result<Tensor> {
    let [start, limit, step] = [given.input(0)?, given.input(1)?, given.input(2)?];
    let first = |tensor: &Tensor| tensor.to_known()?.first().copied().ok_or_else(|| "an empty bound".to_owned());
    let [start, limit, step] = [first(start)?, first(limit)?, first(step)?].map(i128::from);
    let count = match step {
        0 => return Err("a step of 0".into()),
        1.. => (limit - start + step - 1).div_euclid(step),
        _ => (start - limit - step - 1).div_euclid(-step),
    };
    let count = u64::try_from(count.max(0)).unwrap_or(u64::MAX);
    let len = Tensor::new(vec![count], Data::Bool([true].into())).checked_len()?;
    Ok(Tensor::ints((0..len as i128).map(|i| Int::from((start + i * step) as i64))))
}

pub(super) fn gather(given: &Given) -> Result<Tensor> {
    let (x, indices) = (given.input(0)?, given.input(1)?);
    let at = axis(given.node.int("axis", 0)?, x.dims.len())?;
    let length = x.dims[at] as i64;
    let wanted = indices.to_known()?.into_iter().map(|i| match i {
        _ if !(-length..length).contains(&i) => Err(format!("index {i} of {length} elements")),
        i => Ok((if i < 0 { i + length } else { i }) as usize),
    });
    let wanted = wanted.collect::<Result<Vec<usize>>>()?;
    let (before, after) = (&x.dims[..at], &x.dims[at + 1..]);
    let dims = [before, &indices.dims, after].concat();
    Tensor::new(dims.clone(), x.data.clone()).checked_len()?;
    let (rows, columns) = (product(before) as usize, product(after) as usize);
    let place = |row: usize, i: usize, column: usize| (row * length as usize + i) * columns + column;
    let wanted = &wanted;
    let all = (0..rows)
        .flat_map(move |row| wanted.iter().flat_map(move |&i| (0..columns).map(move |column| place(row, i, column))));
    Ok(x.gathered(dims, all))
}

pub(super) fn concat(given: &Given) -> Result<Tensor> {
    let first = given.input(0)?;
    let at = axis(given.node.int("axis", 0)?, first.dims.len())?;
    let parts = given.inputs.iter().flatten().copied().collect::<Vec<_>>();
    let mut dims = first.dims.clone();
    dims[at] = 0;
    for part in &parts {
        let alike = part.dims.len() == dims.len() && (0..dims.len()).all(|i| i == at || part.dims[i] == dims[i]);
        if !alike {
            return Err(format!("constants of the shapes {:?} and {:?}", first.dims, part.dims));
        }
        dims[at] = dims[at].saturating_add(part.dims[at]);
    }
    let whole = Tensor::new(dims.clone(), first.data.clone());
    whole.checked_len()?;
    let rows = product(&dims[..at]) as usize;
    fn joined<T: Copy>(rows: usize, parts: &[Vec<T>]) -> Vec<T> {
        let mut all = Vec::new();
        for row in 0..rows {
            for part in parts {
                let columns = part.len() / rows;
                all.extend(&part[row * columns..(row + 1) * columns]);
            }
        }
        all
    }
    let data = match first.data {
        Data::F32(_) => {
            Data::F32(joined(rows, &parts.iter().map(|part| part.to_f32()).collect::<Result<Vec<_>>>()?).into())
        }
        Data::Int(_) => {
            Data::Int(joined(rows, &parts.iter().map(|part| part.to_ints()).collect::<Result<Vec<_>>>()?).into())
        }
        Data::Bool(_) => return Err("a concatenation of booleans".into()),
    };
    Ok(Tensor::new(dims, data))
}

/// One axis of a `Slice`: the index of its first element, the step and the number of elements.
pub(in crate::onnx) struct Part {
    pub axis: usize,
    pub start: i64,
    pub step: i64,
    pub count: u64,
}

/// The parts that a `Slice` node takes of these dimensions. `batch` is the place of the batch, which
/// they leave out.
pub(in crate::onnx) fn parts(given: &Given, dims: &[u64], batch: Option<usize>) -> Result<Vec<Part>> {
    let starts = given.ints("starts", 1)?.ok_or("the starts are missing")?;
    let ends = given.ints("ends", 2)?.ok_or("the ends are missing")?;
    let axes = given.ints("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = given.ints("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    let mut parts = Vec::new();
    for (((start, end), at), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let at = axis(at, dims.len() + usize::from(batch.is_some()))?;
        if Some(at) == batch {
            match (start, end, step) {
                (0, i64::MAX | 0x7fff_ffff, 1) => continue,
                _ => return Err("a slice of the batch".into()),
            }
        }
        let at = at - usize::from(batch.is_some_and(|batch| batch < at));
        if parts.iter().any(|part: &Part| part.axis == at) {
            return Err("axes: expected each axis once".into());
        }
        let length = i64::try_from(dims[at]).unwrap_or(i64::MAX);
        let place = |i: i64| if i < 0 { i.saturating_add(length) } else { i };
        let (start, count) = match step {
            0 => return Err("a step of 0".into()),
            1.. => {
                let (start, end) = (place(start).clamp(0, length), place(end).clamp(0, length));
                (start, (end - start).max(0) as u64 / step as u64 + u64::from((end - start).max(0) % step != 0))
            }
            _ => {
                let (start, end) = (place(start).clamp(-1, length - 1), place(end).clamp(-1, length - 1));
                let span = (start - end).max(0) as u64;
                (start, span.div_ceil(step.unsigned_abs()))
            }
        };
        parts.push(Part { axis: at, start, step, count });
    }
    Ok(parts)
}

pub(super) fn slice(given: &Given) -> Result<Tensor> {
    let x = given.input(0)?;
    x.checked_len()?;
    let (mut dims, own) = (x.dims.clone(), strides(&x.dims));
    let (mut first, mut steps) = (0i64, own.iter().map(|&stride| stride as i64).collect::<Vec<_>>());
    for Part { axis, start, step, count } in parts(given, &x.dims, None)? {
        first += start.max(0) * own[axis] as i64;
        steps[axis] = step.saturating_mul(own[axis] as i64);
        dims[axis] = count;
    }
    // A negative step is the difference of two unsigned numbers.
    let steps = steps.into_iter().map(|step| step as usize).collect();
    let all = places(&dims, steps).map(move |place| first.wrapping_add(place as i64) as usize);
    Ok(x.gathered(dims.clone(), all))
}

/// The lengths of the parts of a `Split`.
pub(in crate::onnx) fn lengths(given: &Given, length: u64) -> Result<Vec<u64>> {
    let count = given.node.outputs.len() as u64;
    let lengths = match given.ints("split", 1)? {
        Some(lengths) => {
            let lengths = lengths.into_iter().map(u64::try_from).collect::<Result<Vec<_>, _>>();
            lengths.map_err(|_| "a negative length")?
        }
        None if count == 0 => return Err("no outputs".into()),
        None => {
            let each = length.div_ceil(count);
            (0..count).map(|i| each.min(length.saturating_sub(i * each))).collect()
        }
    };
    match lengths.iter().fold(0, |sum: u64, &length| sum.saturating_add(length)) == length {
        true => Ok(lengths),
        false => Err(format!("{length} elements cannot be split into {lengths:?}")),
    }
}

pub(super) fn split(given: &Given) -> Result<Vec<Tensor>> {
    let x = given.input(0)?;
    x.checked_len()?;
    let at = axis(given.node.int("axis", 0)?, x.dims.len())?;
    let (own, mut start) = (strides(&x.dims), 0);
    let lengths = lengths(given, x.dims[at])?;
    let part = |length: u64| {
        let mut dims = x.dims.clone();
        dims[at] = length;
        let first = start * own[at];
        start += length as usize;
        x.gathered(dims.clone(), places(&dims, own.clone()).map(move |place| first + place))
    };
    Ok(lengths.into_iter().map(part).collect())
}

pub(super) fn tile(given: &Given) -> Result<Tensor> {
    let (x, times) = (given.input(0)?, given.input(1)?.to_known()?);
    if times.len() != x.dims.len() {
        return Err("expected a number of repeats for each dimension".into());
    }
    let mut wide = Vec::new();
    let mut once = Vec::new();
    let mut dims = Vec::new();
    for (&d, &times) in x.dims.iter().zip(&times) {
        let times = u64::try_from(times).map_err(|_| "a negative number of repeats")?;
        wide.extend([times, d]);
        once.extend([1, d]);
        dims.push(times.saturating_mul(d));
    }
    let steps = repeated_strides(&once, &wide);
    Tensor::new(dims.clone(), x.data.clone()).checked_len()?;
    Ok(x.gathered(dims, places(&wide, steps)))
}

/// Pads a constant with one value.
pub(super) fn pad(given: &Given) -> Result<Tensor> {
    let (x, rank) = (given.input(0)?, given.input(0)?.dims.len());
    if given.node.text("mode", "constant")? != "constant" {
        return Err("attribute mode: only constant is supported on constants".into());
    }
    let (mut dims, mut before) = (x.dims.clone(), vec![0i64; rank]);
    for (at, sides) in given.pads(rank)? {
        let at = axis(at, rank)?;
        before[at] = sides[0];
        let length = (x.dims[at] as i64).checked_add(sides[0]).and_then(|all| all.checked_add(sides[1]));
        dims[at] = length.and_then(|all| u64::try_from(all).ok()).ok_or("a padding that removes everything")?;
    }
    let len = Tensor::new(dims.clone(), x.data.clone()).checked_len()?;
    // For each element, its place in the constant, if it is no padding.
    let (inner, outer) = (strides(&x.dims), strides(&dims));
    let place = |i: usize| {
        (0..rank).try_fold(0, |place, at| {
            let index = (i / outer[at]) as i64 % dims[at] as i64 - before[at];
            (0..x.dims[at] as i64).contains(&index).then(|| place + index as usize * inner[at])
        })
    };
    fn all<T: Copy>(len: usize, place: impl Fn(usize) -> Option<usize>, values: &[T], fill: T) -> Vec<T> {
        (0..len).map(|i| place(i).map_or(fill, |i| values[i])).collect()
    }
    let fill = given.optional(2);
    let data = match &x.data {
        Data::F32(_) => {
            let own = given.node.float("value", 0.0)?;
            let fill = fill.map_or(Ok(own), |fill| fill.uniform().ok_or("a padding value that is no float"))?;
            Data::F32(all(len, place, &x.to_f32()?, fill).into())
        }
        Data::Int(_) => {
            let fill = fill.map_or(Ok(vec![]), Tensor::to_ints)?.first().copied().unwrap_or(Int::from(0));
            Data::Int(all(len, place, &x.to_ints()?, fill).into())
        }
        Data::Bool(_) => return Err("a padding of booleans".into()),
    };
    Ok(Tensor::new(dims, data))
}

pub(super) fn expand(given: &Given) -> Result<Tensor> {
    let (x, to) = (given.input(0)?, given.input(1)?.to_known()?);
    let to = to.into_iter().map(u64::try_from).collect::<Result<Vec<_>, _>>().map_err(|_| "a negative dimension")?;
    let dims = crate::onnx::tensor::broadcast(&x.dims, &to)?;
    if x.stored() == 1 {
        return Ok(Tensor { dims, ..x.clone() });
    }
    Tensor::new(dims.clone(), x.data.clone()).checked_len()?;
    Ok(x.gathered(dims.clone(), places(&dims, repeated_strides(&x.dims, &dims))))
}

pub(super) fn reduce(given: &Given) -> Result<Tensor> {
    let x = given.input(0)?;
    x.checked_len()?;
    let rank = x.dims.len();
    let axes = match given.ints("axes", 1)? {
        Some(axes) if !axes.is_empty() => axes.into_iter().map(|i| axis(i, rank)).collect::<Result<Vec<_>>>()?,
        _ => (0..rank).collect(),
    };
    let kept = |i: usize| if axes.contains(&i) { 1 } else { x.dims[i] };
    let of_ones: Vec<u64> = (0..rank).map(kept).collect();
    let len = product(&of_ones) as usize;
    let to = places(&x.dims, repeated_strides(&of_ones, &x.dims));
    let op = &*given.node.op;
    let dims = match given.node.int("keepdims", 1)? {
        0 => (0..rank).filter(|i| !axes.contains(i)).map(|i| x.dims[i]).collect(),
        _ => of_ones.clone(),
    };
    match &x.data {
        Data::Int(_) => {
            let mut out: Vec<Option<i64>> = vec![None; len];
            for (value, to) in x.to_known()?.into_iter().zip(to) {
                let so_far = &mut out[to];
                *so_far = Some(match (*so_far, op) {
                    (None, _) => value,
                    (Some(sum), "ReduceProd") => sum.wrapping_mul(value),
                    (Some(sum), "ReduceSum") => sum.wrapping_add(value),
                    (Some(sum), "ReduceMax") => sum.max(value),
                    (Some(sum), "ReduceMin") => sum.min(value),
                    _ => return Err("a mean of whole numbers".into()),
                });
            }
            let values = out.into_iter().map(|value| Int::from(value.unwrap_or(0)));
            Ok(Tensor { dims, ..Tensor::ints(values) })
        }
        Data::F32(_) => {
            let mut out: Vec<Option<f32>> = vec![None; len];
            for (value, to) in x.to_f32()?.into_iter().zip(to) {
                let so_far = &mut out[to];
                *so_far = Some(match (*so_far, op) {
                    (None, _) => value,
                    (Some(sum), "ReduceProd") => sum * value,
                    (Some(sum), "ReduceSum" | "ReduceMean") => sum + value,
                    (Some(sum), "ReduceMax") => sum.max(value),
                    (Some(sum), _) => sum.min(value),
                });
            }
            let scale = if op == "ReduceMean" { len as f32 / x.len() as f32 } else { 1.0 };
            Ok(Tensor::floats(dims, out.into_iter().map(|value| value.unwrap_or(0.0) * scale).collect()))
        }
        Data::Bool(_) => Err("a reduction of booleans".into()),
    }
}

//! Constant folding: evaluates nodes whose inputs are all known. Exporters write arithmetic on shapes as such nodes.

mod elementwise;
mod moving;

pub(super) use self::elementwise::arithmetic;
pub(super) use self::moving::{lengths, parts};
use super::Result;
use super::messages::{Attribute, Node};
use super::tensor::{Data, Int, Tensor, product};

/// A node and its inputs. An input that is left out is `None`.
pub(super) struct Given<'a> {
    pub node: &'a Node,
    pub inputs: Vec<Option<&'a Tensor>>,
}

impl<'a> Given<'a> {
    pub fn input(&self, i: usize) -> Result<&'a Tensor> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing"))
    }

    pub fn optional(&self, i: usize) -> Option<&'a Tensor> {
        self.inputs.get(i).copied().flatten()
    }

    /// Whole numbers that are an attribute in older operators, and an input in newer ones.
    pub fn ints(&self, attribute: &str, input: usize) -> Result<Option<Vec<i64>>> {
        match (self.node.attribute(attribute), self.optional(input)) {
            (Some(Attribute::Ints(ints)), _) => Ok(Some(ints.clone())),
            (Some(Attribute::Int(int)), _) => Ok(Some(vec![*int])),
            (_, Some(tensor)) => tensor.to_known().map(Some),
            _ => Ok(None),
        }
    }

    /// The axes of a `Pad`, and the padding before and after each.
    pub fn pads(&self, rank: usize) -> Result<Vec<(i64, [i64; 2])>> {
        let pads = self.ints("pads", 1)?.ok_or("the pads are missing")?;
        let axes = match self.optional(3) {
            Some(axes) => axes.to_known()?,
            None => (0..rank as i64).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!("{} pads for {} dimensions", pads.len(), axes.len()));
        }
        let (before, after) = pads.split_at(axes.len());
        Ok(axes.into_iter().zip(before.iter().zip(after)).map(|(axis, (&a, &b))| (axis, [a, b])).collect())
    }
}

/// The operators that are evaluated on constants only.
pub(super) const KNOWN: &str = "Constant Shape Size ConstantOfShape Range Mod";

/// The outputs of a node, or `None` if the evaluator does not know the operator.
pub(super) fn fold(given: &Given) -> Result<Option<Vec<Tensor>>> {
    let x = || given.input(0);
    let node = given.node;
    let one = match &*node.op {
        "Constant" => constant(node)?,
        "Identity" | "Dropout" => x()?.clone(),
        "Cast" => cast(x()?, node.int("to", 0)?)?,
        "CastLike" => cast_like(given)?,
        "Shape" => shape(node, x()?.dims.iter().map(|&d| Int::from(d as i64)).collect())?,
        "Size" => Tensor { dims: vec![], ..Tensor::ints([Int::from(x()?.len() as i64)]) },
        "ConstantOfShape" => constant_of_shape(given)?,
        "Range" => moving::range(given)?,
        "Gather" => moving::gather(given)?,
        "Concat" => moving::concat(given)?,
        "Slice" => moving::slice(given)?,
        "Split" => return moving::split(given).map(Some),
        "Tile" => moving::tile(given)?,
        // A constant for each row of the batch is a value of the network.
        "Expand" if given.input(1)?.to_ints()?.iter().any(|length| length.rows != 0) => return Ok(None),
        "Expand" => moving::expand(given)?,
        "Pad" => moving::pad(given)?,
        "Transpose" => {
            let rank = x()?.dims.len();
            x()?.transposed(&order(node, rank)?)
        }
        "Squeeze" => squeeze(given)?,
        "Unsqueeze" => unsqueeze(given)?,
        "Reshape" => x()?.reshaped(reshape_dims(node, &x()?.dims, &given.input(1)?.to_known()?)?)?,
        "Flatten" => {
            let at = boundary(node, x()?.dims.len())?;
            let (rows, rest) = x()?.dims.split_at(at);
            x()?.reshaped(vec![product(rows), product(rest)])?
        }
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => moving::reduce(given)?,
        "Where" => elementwise::select(given)?,
        _ => return elementwise::fold(given).map(|tensor| tensor.map(|tensor| vec![tensor])),
    };
    Ok(Some(vec![one]))
}

/// The index of an axis. A negative axis counts from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_first = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_first) {
        Ok(found) if found < rank => Ok(found),
        _ => Err(format!("axis {axis} of {rank} dimensions")),
    }
}

/// The number of dimensions before the axis of a `Flatten`. It may be all.
pub(super) fn boundary(node: &Node, rank: usize) -> Result<usize> {
    match node.int("axis", 1)? {
        all if all == rank as i64 => Ok(rank),
        other => axis(other, rank),
    }
}

/// The order of a transpose. By default it reverses the dimensions.
pub(super) fn order(node: &Node, rank: usize) -> Result<Vec<usize>> {
    let Some(order) = node.ints("perm")? else { return Ok((0..rank).rev().collect()) };
    let order = order.iter().map(|&i| axis(i, rank)).collect::<Result<Vec<_>>>()?;
    match order.len() == rank && (0..rank).all(|i| order.contains(&i)) {
        true => Ok(order),
        false => Err(format!("attribute perm: expected each of {rank} dimensions once, got {order:?}")),
    }
}

/// The dimensions that a reshape asks for: 0 keeps a dimension, and -1 takes the elements that are left.
pub(super) fn reshape_dims(node: &Node, from: &[u64], to: &[i64]) -> Result<Vec<u64>> {
    let keeps = node.int("allowzero", 0)? == 0;
    let fault = || format!("{from:?} elements cannot have the shape {to:?}");
    let mut dims = Vec::new();
    for (i, &d) in to.iter().enumerate() {
        dims.push(match d {
            0 if keeps => *from.get(i).ok_or_else(fault)?,
            -1 => 1,
            d => u64::try_from(d).map_err(|_| fault())?,
        });
    }
    if let Some(open) = to.iter().position(|&d| d == -1) {
        let (known, all) = (product(&dims), product(from));
        if known == 0 || !all.is_multiple_of(known) || to.iter().filter(|&&d| d == -1).count() > 1 {
            return Err(fault());
        }
        dims[open] = all / known;
    }
    match product(&dims) == product(from) {
        true => Ok(dims),
        false => Err(fault()),
    }
}

/// The axes that `Squeeze` removes from these dimensions.
pub(super) fn squeezed(given: &Given, dims: &[u64]) -> Result<Vec<usize>> {
    match given.ints("axes", 1)? {
        None => Ok((0..dims.len()).filter(|&i| dims[i] == 1).collect()),
        Some(axes) => {
            let axes = axes.into_iter().map(|i| axis(i, dims.len())).collect::<Result<Vec<_>>>()?;
            match axes.iter().find(|&&i| dims[i] != 1) {
                Some(i) => Err(format!("axis {i} of {dims:?} has more than one element")),
                None => Ok(axes),
            }
        }
    }
}

/// The axes of length 1 of the output of `Unsqueeze`, for an input of this rank.
pub(super) fn unsqueezed(given: &Given, rank: usize) -> Result<Vec<usize>> {
    let axes = given.ints("axes", 1)?.ok_or("the axes are missing")?;
    let new = rank + axes.len();
    let mut axes = axes.into_iter().map(|i| axis(i, new)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    match axes.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(format!("axes {axes:?}: expected each axis once")),
        false => Ok(axes),
    }
}

fn squeeze(given: &Given) -> Result<Tensor> {
    let x = given.input(0)?;
    let gone = squeezed(given, &x.dims)?;
    x.reshaped((0..x.dims.len()).filter(|i| !gone.contains(i)).map(|i| x.dims[i]).collect())
}

fn unsqueeze(given: &Given) -> Result<Tensor> {
    let x = given.input(0)?;
    let mut dims = x.dims.clone();
    for at in unsqueezed(given, x.dims.len())? {
        dims.insert(at, 1);
    }
    x.reshaped(dims)
}

/// The part of a shape that a `Shape` node asks for.
pub(super) fn shape(node: &Node, dims: Vec<Int>) -> Result<Tensor> {
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(node.int("start", 0)?), place(node.int("end", rank)?));
    Ok(Tensor::ints(dims[start..end.max(start)].iter().copied()))
}

fn constant(node: &Node) -> Result<Tensor> {
    let [(name, value)] = &node.attributes[..] else { return Err("expected one attribute, the value".into()) };
    Ok(match value {
        Attribute::Tensor(tensor) => tensor.clone(),
        Attribute::Float(value) => Tensor::floats(vec![], vec![*value]),
        Attribute::Floats(values) => Tensor::floats(vec![values.len() as u64], values.clone()),
        Attribute::Int(value) => Tensor { dims: vec![], ..Tensor::ints([Int::from(*value)]) },
        Attribute::Ints(values) => Tensor::ints(values.iter().map(|&value| Int::from(value))),
        _ => return Err(format!("attribute {name} is not supported")),
    })
}

fn constant_of_shape(given: &Given) -> Result<Tensor> {
    let dims = given.input(0)?.to_known()?;
    let dims = dims.iter().map(|&d| u64::try_from(d)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| "a negative dimension")?;
    let value = match given.node.attribute("value") {
        Some(Attribute::Tensor(value)) if value.stored() == 1 => value.data.clone(),
        None => Data::F32([0.0].into()),
        _ => return Err("attribute value: expected a tensor of one element".into()),
    };
    Ok(Tensor::new(dims, value))
}

fn cast_like(given: &Given) -> Result<Tensor> {
    let to = match given.input(1)?.data {
        Data::F32(_) => 1,
        Data::Int(_) => 7,
        Data::Bool(_) => 9,
    };
    cast(given.input(0)?, to)
}

/// The elements in this element type of ONNX.
pub(super) fn cast(x: &Tensor, to: i64) -> Result<Tensor> {
    let data = match (to, &x.data) {
        (1 | 10 | 11 | 16, Data::F32(_)) | (2..=7 | 12 | 13, Data::Int(_)) | (9, Data::Bool(_)) => x.data.clone(),
        (1 | 10 | 11 | 16, Data::Int(values)) => {
            Data::F32(values.iter().map(|value| Ok(value.known()? as f32)).collect::<Result<_>>()?)
        }
        (1 | 10 | 11 | 16, Data::Bool(values)) => Data::F32(values.iter().map(|&value| value.into()).collect()),
        (2..=7 | 12 | 13, Data::F32(values)) => Data::Int(values.iter().map(|&value| (value as i64).into()).collect()),
        (2..=7 | 12 | 13, Data::Bool(values)) => {
            Data::Int(values.iter().map(|&value| i64::from(value).into()).collect())
        }
        (9, Data::F32(values)) => Data::Bool(values.iter().map(|&value| value != 0.0).collect()),
        (9, Data::Int(values)) => {
            Data::Bool(values.iter().map(|value| Ok(value.known()? != 0)).collect::<Result<_>>()?)
        }
        _ => return Err(format!("a cast to the type {} is not supported", super::tensor::type_name(to))),
    };
    Ok(Tensor { data, ..x.clone() })
}

//! Constant tensors of an ONNX file: weights, and the numbers that constant folding computes.

use std::sync::Arc;

use super::Result;
use super::wire::{Fields, numbers};
use crate::half::from_f16;

/// A constant. Clones share the elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub dims: Vec<u64>,
    pub data: Data,
    /// Whether it is a weight of the file, in any shape: then it is trained.
    pub is_weight: bool,
}

/// The elements. A single element stands for all elements of a tensor, so a large constant needs no memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    F32(Arc<[f32]>),
    Int(Arc<[Int]>),
    Bool(Arc<[bool]>),
}

/// A whole number of the form `at + rows · N`, where N is the number of rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Int {
    pub at: i64,
    pub rows: i64,
}

impl From<i64> for Int {
    fn from(at: i64) -> Self {
        Self { at, rows: 0 }
    }
}

impl Int {
    /// The number of rows itself.
    pub const ROWS: Self = Self { at: 0, rows: 1 };

    pub fn known(self) -> Result<i64> {
        match self.rows {
            0 => Ok(self.at),
            _ => Err("a number that depends on the batch size".into()),
        }
    }
}

/// The largest number of elements of all constants that one model computes.
pub(super) const MOST_ELEMENTS: u64 = 1 << 28;

/// The largest number of dimensions of a tensor. Operators take time in proportion to its square.
pub(super) const MOST_DIMENSIONS: usize = 64;

impl Tensor {
    pub fn new(dims: Vec<u64>, data: Data) -> Self {
        Self { dims, data, is_weight: false }
    }

    pub fn floats(dims: Vec<u64>, values: Vec<f32>) -> Self {
        Self::new(dims, Data::F32(values.into()))
    }

    /// A list of whole numbers.
    pub fn ints(values: impl IntoIterator<Item = Int>) -> Self {
        let values: Arc<[Int]> = values.into_iter().collect();
        Self::new(vec![values.len() as u64], Data::Int(values))
    }

    /// The number of elements.
    pub fn len(&self) -> u64 {
        product(&self.dims)
    }

    /// The number of stored elements: all, or one for all.
    pub fn stored(&self) -> usize {
        match &self.data {
            Data::F32(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// The value of all elements, if they are stored as one.
    pub fn uniform(&self) -> Option<f32> {
        match &self.data {
            Data::F32(values) => (values.len() == 1).then(|| values[0]),
            _ => None,
        }
    }

    /// All elements as f32.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let len = self.checked_len()?;
        let Data::F32(values) = &self.data else { return Err("expected a tensor of floats".into()) };
        Ok(if values.len() == 1 { vec![values[0]; len] } else { values.to_vec() })
    }

    /// All elements as whole numbers.
    pub fn to_ints(&self) -> Result<Vec<Int>> {
        let len = self.checked_len()?;
        let Data::Int(values) = &self.data else { return Err("expected a tensor of whole numbers".into()) };
        Ok(if values.len() == 1 { vec![values[0]; len] } else { values.to_vec() })
    }

    /// All elements as whole numbers that do not depend on the batch size.
    pub fn to_known(&self) -> Result<Vec<i64>> {
        self.to_ints()?.into_iter().map(Int::known).collect()
    }

    /// The number of elements, if it is small enough. Other dimensions are limited beside a dimension of length 0, too,
    /// because evaluators loop over them.
    pub fn checked_len(&self) -> Result<usize> {
        match self.dims.iter().filter(|&&length| length > 0).fold(1, |len: u64, &length| len.saturating_mul(length)) {
            len if len <= MOST_ELEMENTS => Ok(self.len() as usize),
            len => Err(format!("a constant of {len} elements, where at most {MOST_ELEMENTS} are supported")),
        }
    }

    /// A tensor of floats after a function of each element.
    pub fn map(&self, of: impl Fn(f32) -> f32) -> Result<Self> {
        let Data::F32(values) = &self.data else { return Err("a constant that is no float".into()) };
        Ok(Self { data: Data::F32(values.iter().map(|&value| of(value)).collect()), ..self.clone() })
    }

    /// The same floats, with the largest finite numbers in place of infinite ones. Networks have finite numbers only.
    pub fn finite(&self) -> Self {
        let Data::F32(values) = &self.data else { return self.clone() };
        if !values.iter().any(|value| value.is_infinite()) {
            return self.clone();
        }
        Self { data: Data::F32(values.iter().map(|value| value.clamp(f32::MIN, f32::MAX)).collect()), ..self.clone() }
    }

    /// The same elements with other dimensions.
    pub fn reshaped(&self, dims: Vec<u64>) -> Result<Self> {
        match product(&dims) == self.len() {
            true => Ok(Self { dims, ..self.clone() }),
            false => Err(format!("{:?} elements cannot have the shape {dims:?}", self.dims)),
        }
    }

    /// The tensor whose element i is this tensor's element `places[i]`.
    pub fn gathered(&self, dims: Vec<u64>, places: impl Iterator<Item = usize>) -> Self {
        fn of<T: Copy>(values: &Arc<[T]>, places: impl Iterator<Item = usize>) -> Arc<[T]> {
            if values.len() == 1 { values.clone() } else { places.map(|i| values[i]).collect() }
        }
        let data = match &self.data {
            Data::F32(values) => Data::F32(of(values, places)),
            Data::Int(values) => Data::Int(of(values, places)),
            Data::Bool(values) => Data::Bool(of(values, places)),
        };
        Self { dims, data, is_weight: self.is_weight }
    }

    /// Output dimension i is dimension `order[i]`.
    pub fn transposed(&self, order: &[usize]) -> Self {
        let dims: Vec<u64> = order.iter().map(|&i| self.dims[i]).collect();
        let strides = strides(&self.dims);
        let of: Vec<usize> = order.iter().map(|&i| strides[i]).collect();
        self.gathered(dims.clone(), places(&dims, of))
    }

    /// Reads a `TensorProto`: its name and its contents.
    pub fn read(bytes: &[u8]) -> Result<(String, Self)> {
        let (mut name, mut dtype, mut external) = (String::new(), 0, false);
        let (mut dims, mut ints, mut floats, mut doubles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut raw = None;
        for field in Fields::of(bytes) {
            let field = field?;
            match field.number {
                1 => field.contents.ints(&mut dims)?,
                2 => dtype = field.contents.int()?,
                4 => field.contents.floats(&mut floats)?,
                5 | 7 | 11 => field.contents.ints(&mut ints)?,
                8 => name = field.contents.text()?,
                9 => raw = Some(field.contents.bytes()?),
                10 => field.contents.doubles(&mut doubles)?,
                14 => external = field.contents.int()? == 1,
                _ => {}
            }
        }
        let fault = |fault: String| format!("tensor {name:?}: {fault}");
        if dims.len() > MOST_DIMENSIONS {
            return Err(fault(format!("{} dimensions, where at most {MOST_DIMENSIONS} are supported", dims.len())));
        }
        if external {
            let advice = "save the model in one file, for example with onnx.save_model(onnx.load(\"FILE\"), \"NEW\")";
            return Err(fault(format!("its numbers are in another file; {advice}")));
        }
        let dims = dims.iter().map(|&d| u64::try_from(d)).collect::<Result<Vec<u64>, _>>();
        let dims = dims.map_err(|_| fault("a negative dimension".into()))?;
        let data = match raw {
            Some(raw) => from_raw(dtype, raw),
            None => from_fields(dtype, ints, floats, doubles),
        };
        let tensor = Self::new(dims, data.map_err(fault)?);
        if tensor.len() != tensor.stored() as u64 {
            let (dims, stored) = (&tensor.dims, tensor.stored());
            return Err(fault(format!("its shape {dims:?} does not fit the {stored} numbers in the file")));
        }
        Ok((name, tensor))
    }
}

/// The numbers of a type of ONNX, stored as little-endian bytes. f64 is rounded to f32; f16 and bfloat16 are widened.
fn from_raw(dtype: i64, raw: &[u8]) -> Result<Data> {
    let ints = |values: &mut dyn Iterator<Item = i64>| Data::Int(values.map(Int::from).collect());
    Ok(match dtype {
        1 => Data::F32(numbers(raw, f32::from_le_bytes)?.collect()),
        10 => Data::F32(numbers(raw, u16::from_le_bytes)?.map(from_f16).collect()),
        11 => Data::F32(numbers(raw, f64::from_le_bytes)?.map(|value| value as f32).collect()),
        16 => Data::F32(numbers(raw, u16::from_le_bytes)?.map(bfloat).collect()),
        2 => ints(&mut raw.iter().map(|&value| value.into())),
        3 => ints(&mut raw.iter().map(|&value| (value as i8).into())),
        4 => ints(&mut numbers(raw, u16::from_le_bytes)?.map(i64::from)),
        5 => ints(&mut numbers(raw, i16::from_le_bytes)?.map(i64::from)),
        6 => ints(&mut numbers(raw, i32::from_le_bytes)?.map(i64::from)),
        7 => ints(&mut numbers(raw, i64::from_le_bytes)?),
        12 => ints(&mut numbers(raw, u32::from_le_bytes)?.map(i64::from)),
        13 => ints(&mut numbers(raw, u64::from_le_bytes)?.map(|value| value as i64)),
        9 => Data::Bool(raw.iter().map(|&value| value != 0).collect()),
        other => return Err(unsupported_type(other)),
    })
}

fn from_fields(dtype: i64, ints: Vec<i64>, floats: Vec<f32>, doubles: Vec<f64>) -> Result<Data> {
    Ok(match dtype {
        1 => Data::F32(floats.into()),
        11 => Data::F32(doubles.into_iter().map(|value| value as f32).collect()),
        10 => Data::F32(ints.into_iter().map(|value| from_f16(value as u16)).collect()),
        16 => Data::F32(ints.into_iter().map(|value| bfloat(value as u16)).collect()),
        2..=7 | 12 | 13 => Data::Int(ints.into_iter().map(Int::from).collect()),
        9 => Data::Bool(ints.into_iter().map(|value| value != 0).collect()),
        other => return Err(unsupported_type(other)),
    })
}

fn unsupported_type(dtype: i64) -> String {
    format!("the element type {} is not supported", type_name(dtype))
}

/// The name of an element type, for errors.
pub(super) fn type_name(dtype: i64) -> String {
    let names = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];
    let name = usize::try_from(dtype).ok().and_then(|dtype| names.get(dtype));
    name.map_or(format!("number {dtype}"), |name| name.to_string())
}

/// Whether it is a type of floats that tensors of f32 stand for.
pub(super) fn is_float(dtype: i64) -> bool {
    matches!(dtype, 1 | 10 | 11 | 16)
}

fn bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The number of elements. `u64::MAX` if it overflows.
pub(super) fn product(dims: &[u64]) -> u64 {
    match dims.contains(&0) {
        true => 0,
        false => dims.iter().fold(1, |product: u64, &d| product.saturating_mul(d)),
    }
}

/// The row-major strides.
pub(super) fn strides(dims: &[u64]) -> Vec<usize> {
    let mut strides = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i].wrapping_mul(dims[i] as usize);
    }
    strides
}

/// The offset of each element of a tensor of these dimensions and strides, in row-major order. Strides may be negative,
/// in two's complement.
pub(super) fn places(dims: &[u64], strides: Vec<usize>) -> impl Iterator<Item = usize> + use<> {
    let dims = dims.to_vec();
    let count = product(&dims) as usize;
    let (mut index, mut place) = (vec![0; dims.len()], 0);
    (0..count).map(move |i| {
        if i > 0 {
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                place = usize::wrapping_add(place, strides[axis]);
                if index[axis] < dims[axis] {
                    break;
                }
                place = place.wrapping_sub(strides[axis].wrapping_mul(dims[axis] as usize));
                index[axis] = 0;
            }
        }
        place
    })
}

/// The broadcast shape of two shapes, as in NumPy.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Result<Vec<u64>> {
    let rank = a.len().max(b.len());
    let length = |dims: &[u64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (length(a, i), length(b, i)) {
            (a, b) if a == b => Ok(a),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(format!("the shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// Strides that repeat a tensor to a broadcast shape.
pub(super) fn repeated_strides(of: &[u64], to: &[u64]) -> Vec<usize> {
    let own = strides(of);
    let missing = to.len() - of.len();
    (0..to.len()).map(|i| if i < missing || of[i - missing] == 1 { 0 } else { own[i - missing] }).collect()
}

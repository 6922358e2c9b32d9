//! The safetensors format: length of the header, header as JSON, and the tensors as little-endian numbers. The
//! tensors of other formats are read into the same form.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use super::containers::{self, Tensors};
use super::foreign;
use crate::error::{Error, Result};
use crate::half::from_f16;

/// A tensor to write, with its words.
pub(super) struct Tensor<'a> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u32>,
    pub words: Cow<'a, [u32]>,
}

/// The bytes of a file. The same contents give the same bytes. The crate `safetensors` does not guarantee that: it
/// writes metadata in the order of a hash map.
pub(super) fn encode(metadata: &BTreeMap<&'static str, String>, tensors: &[Tensor<'_>]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Entry<'a> {
        Metadata(&'a BTreeMap<&'static str, String>),
        Tensor(TensorInfo),
    }
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        entries.push(("__metadata__", Entry::Metadata(metadata)));
    }
    let mut end = 0;
    for Tensor { name, dtype, shape, words } in tensors {
        let (start, shape) = (end, shape.iter().map(|&d| d as usize).collect());
        end += words.len() * 4;
        entries.push((name, Entry::Tensor(TensorInfo { dtype: *dtype, shape, data_offsets: (start, end) })));
    }
    let mut header = Vec::new();
    serde_json::Serializer::new(&mut header).collect_map(entries).expect("text and whole numbers");
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    for word in tensors.iter().flat_map(|tensor| tensor.words.iter()) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Length of the longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file that was read. Tensors are checked when they are taken out. Nothing is allocated for data that the file
/// does not hold.
pub(super) struct Contents<'a> {
    path: &'a str,
    metadata: HashMap<String, String>,
    tensors: Tensors<'a>,
    /// Whether the file states the order of its layers.
    is_ordered: bool,
    /// Whether tensors of numbers may have NaN or infinity.
    pub allow_non_finite: bool,
}

impl<'a> Contents<'a> {
    pub fn read(path: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let fault = |reason: String| Error::File { path: path.into(), reason };
        if let Some(tensors) = containers::tensors(bytes) {
            let containers::Read { tensors, is_ordered } = tensors.map_err(fault)?;
            return Ok(Self { path, metadata: HashMap::new(), tensors, is_ordered, allow_non_finite: false });
        }
        foreign::recognise(bytes).map_or(Ok(()), |reason| Err(fault(reason)))?;
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Err(fault(format!("not a safetensors file: it has {} bytes", bytes.len())));
        };
        let length = u64::from_le_bytes(*length);
        if rest.first().is_some_and(|&byte| byte != b'{') || length > LONGEST_HEADER {
            let start = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            return Err(fault(format!("not a safetensors file, and of an unknown kind: it begins with {start}")));
        }
        let Some((header, numbers)) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            return Err(fault(format!(
                "not a safetensors file, or cut short: expected a header of {length} bytes, got {}",
                rest.len()
            )));
        };
        let header: Metadata = serde_json::from_slice(header)
            .map_err(|e| fault(format!("not a safetensors file, or damaged: error in the header: {e}")))?;
        let expected = header.data_len();
        if expected != numbers.len() {
            let got = numbers.len();
            return Err(fault(format!("cut short or damaged: expected {expected} bytes of tensors, got {got}")));
        }
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let tensors = header.tensors().into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            (name, (info.clone(), numbers[start..end].into()))
        });
        Ok(Self { path, metadata, tensors: tensors.collect(), is_ordered: false, allow_non_finite: false })
    }

    pub fn fault(&self, reason: impl Into<String>) -> Error {
        Error::File { path: self.path.into(), reason: reason.into() }
    }

    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The value of a metadata entry in JSON.
    pub fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let text = self.metadata(key).ok_or_else(|| self.fault(format!("metadata {key:?}: missing")))?;
        serde_json::from_str(text).map_err(|e| self.fault(format!("metadata {key:?}: cannot be read: {e}")))
    }

    /// Name, shape and offset in the file of each remaining tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], usize)> {
        self.tensors.iter().map(|(name, (info, _))| (name.as_str(), info.shape.as_slice(), info.data_offsets.0))
    }

    /// The shape of a remaining tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(info, _)| info.shape.as_slice())
    }

    /// Whether the tensors are ordered by type size, largest first, and then by name. The crate `safetensors` always
    /// sorts them so. `false` if the file states the order.
    pub fn is_sorted(&self) -> bool {
        if self.is_ordered {
            return false;
        }
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, (info, _))| info.data_offsets);
        tensors.is_sorted_by(|(a, (left, _)), (b, (right, _))| right.dtype.cmp(&left.dtype).then(a.cmp(b)).is_le())
    }

    /// Removes the tensors whose names begin with `prefix`.
    pub fn leave_out(&mut self, prefix: &str) {
        self.tensors.retain(|name, _| !name.starts_with(prefix));
    }

    /// Takes a tensor of exactly this type and shape. Numbers must be finite, unless others are allowed.
    pub fn take(&mut self, name: &str, dtype: Dtype, shape: &[u32]) -> Result<Vec<u32>> {
        let (_, bytes) = self.remove(name, &[dtype], shape)?;
        let words = words(&bytes);
        if dtype == Dtype::F32 {
            let numbers: &[f32] = bytemuck::cast_slice(&words);
            self.check(name, shape, numbers.iter().map(|&number| number.into()))?;
        }
        Ok(words)
    }

    /// Takes a tensor of numbers of this shape: F32, or F64, F16 or BF16 rounded to F32.
    pub fn take_numbers(&mut self, name: &str, shape: &[u32]) -> Result<Vec<f32>> {
        let (dtype, bytes) = self.remove(name, &[Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16], shape)?;
        let halves = bytes.as_chunks().0.iter().map(|&half| u16::from_le_bytes(half));
        if dtype == Dtype::F64 {
            let doubles = bytes.as_chunks().0.iter().map(|&double| f64::from_le_bytes(double));
            self.check(name, shape, doubles.clone())?;
            return Ok(doubles.map(|double| double as f32).collect());
        }
        let numbers: Vec<f32> = match dtype {
            Dtype::F16 => halves.map(from_f16).collect(),
            Dtype::BF16 => halves.map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
            _ => bytemuck::cast_vec(words(&bytes)),
        };
        self.check(name, shape, numbers.iter().map(|&number| number.into()))?;
        Ok(numbers)
    }

    /// Returns an error for numbers outside the range of f32, and for numbers that are not finite unless they are
    /// allowed.
    fn check(&self, name: &str, shape: &[u32], numbers: impl Iterator<Item = f64>) -> Result<()> {
        let is_wrong = |number: &f64| match number.is_finite() {
            true => (*number as f32).is_infinite(),
            false => !self.allow_non_finite,
        };
        let Some((index, number)) = numbers.enumerate().find(|(_, number)| is_wrong(number)) else { return Ok(()) };
        let (mut place, mut left) = (vec![0; shape.len()], index);
        for (at, &d) in place.iter_mut().zip(shape).rev() {
            (*at, left) = (left % d as usize, left / d as usize);
        }
        let what = match number.is_finite() {
            true => "is outside the range of f32 (±3.4e38)",
            false => "is not finite; to load it nevertheless, use allow_non_finite or load_non_finite",
        };
        Err(self.fault(format!("tensor {name}: {number:e} at {place:?} {what}")))
    }

    fn remove(&mut self, name: &str, dtypes: &[Dtype], shape: &[u32]) -> Result<(Dtype, Cow<'a, [u8]>)> {
        let kinds = dtypes.iter().map(Dtype::to_string).collect::<Vec<_>>().join(" or ");
        let Some((info, bytes)) = self.tensors.remove(name) else {
            let names: Vec<&str> = self.tensors().map(|(name, ..)| name).take(8).collect();
            let left = if names.is_empty() { "no more tensors".into() } else { names.join(", ") };
            return Err(self.fault(format!("tensor {name}: expected {kinds} {shape:?}, got none; the file has {left}")));
        };
        let fits = info.shape.iter().copied().eq(shape.iter().map(|&d| d as usize));
        if !fits || !dtypes.contains(&info.dtype) {
            let TensorInfo { dtype, shape: got, .. } = info;
            return Err(self.fault(format!("tensor {name}: expected {kinds} {shape:?}, got {dtype} {got:?}")));
        }
        Ok((info.dtype, bytes))
    }

    /// Returns an error if the file has unused tensors; `note` follows the list of their names.
    pub fn finish(self, note: &str) -> Result<()> {
        let left: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        match left[..] {
            [] => Ok(()),
            _ => Err(self.fault(format!("tensors that the network does not have: {}{note}", left.join(", ")))),
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_safetensors_and_always_the_same() {
        let metadata = BTreeMap::from([("b", "2".into()), ("a", "\"1\"".into()), ("c", "3".into())]);
        let words = [1, 2, 3, u32::MAX];
        let tensor = |name: &str, words: &'static [u32]| Tensor {
            name: name.into(),
            dtype: Dtype::U32,
            shape: vec![1, words.len() as u32],
            words: words.into(),
        };
        let bytes = encode(&metadata, &[tensor("z.1", &[1, 2, 3, u32::MAX]), tensor("empty", &[])]);
        let header = r#"{"__metadata__":{"a":"\"1\"","b":"2","c":"3"},"#;
        assert_eq!(&bytes[8..8 + header.len()], header.as_bytes());
        let parsed = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let z = parsed.tensor("z.1").unwrap();
        assert_eq!((z.dtype(), z.shape()), (Dtype::U32, &[1, 4][..]));
        assert_eq!(z.data(), words.map(u32::to_le_bytes).as_flattened());
        let mut contents = Contents::read("file", &bytes).unwrap();
        assert_eq!(contents.metadata("a"), Some("\"1\""));
        assert_eq!(contents.take("z.1", Dtype::U32, &[1, 4]).unwrap(), words);
        assert_eq!(contents.finish("").unwrap_err().to_string(), "file: tensors that the network does not have: empty");
    }

    #[test]
    fn an_absurd_header_is_refused() {
        let file = |header: &str, numbers: &[u8]| {
            let length = (header.len() as u64).to_le_bytes();
            [&length[..], header.as_bytes(), numbers].concat()
        };
        let huge = u64::MAX / 16;
        let tensors: Vec<String> = (0..9)
            .map(|i| {
                let (start, end) = (i * (u64::MAX / 9), (i + 1) * (u64::MAX / 9));
                format!(r#""{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, u64::MAX / 9)
            })
            .collect();
        let files = [
            vec![],
            u64::MAX.to_le_bytes().to_vec(),
            file("{", b""),
            file(&"[".repeat(100_000), b""),
            file(&format!(r#"{{"x":{{"dtype":"F32","shape":[{huge}],"data_offsets":[0,{huge}]}}}}"#), b""),
            file(r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,0]}}"#, b""),
            file(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
            file(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 8]),
            file(r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &[0; 4]),
            file(&format!("{{{}}}", tensors.join(",")), b""),
        ];
        for bytes in files {
            assert!(Contents::read("file", &bytes).is_err());
        }
    }
}

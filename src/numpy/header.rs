//! The header of a `.npy` file: a Python dictionary with the type, the order and the shape.

use safetensors::tensor::Dtype;

/// A result whose error says what is wrong, without naming the file.
type Result<T> = std::result::Result<T, String>;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The types that arrays may have, and their names in files, without the byte order.
const TYPES: [(&str, Dtype); 12] = [
    ("b1", Dtype::BOOL),
    ("u1", Dtype::U8),
    ("i1", Dtype::I8),
    ("u2", Dtype::U16),
    ("i2", Dtype::I16),
    ("u4", Dtype::U32),
    ("i4", Dtype::I32),
    ("u8", Dtype::U64),
    ("i8", Dtype::I64),
    ("f2", Dtype::F16),
    ("f4", Dtype::F32),
    ("f8", Dtype::F64),
];

/// The most dimensions of an array, as in NumPy.
pub(super) const MOST_DIMENSIONS: usize = 64;

#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub dtype: Dtype,
    pub big_endian: bool,
    /// Whether the first dimension is innermost.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

/// The number of elements. `None` if it overflows.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |elements, &length| elements.checked_mul(length))
}

/// The header of a file, and the data after it. The data has the length that the header states.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a .npy file, because it does not begin with \\x93NUMPY")?;
    let short = || "cut short within the header".to_owned();
    let (&[major, _], rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk().map(|(length, rest)| (u16::from_le_bytes(*length).into(), rest)),
        2 | 3 => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest)),
        other => return Err(format!("version of the format: expected 1, 2 or 3, got {other}")),
    }
    .ok_or_else(short)?;
    let (text, data) = rest.split_at_checked(length).ok_or_else(short)?;
    let header = dictionary(&String::from_utf8_lossy(text))?;
    let bytes = elements(&header.shape).and_then(|elements| elements.checked_mul(header.dtype.bitsize() / 8));
    match bytes {
        Some(bytes) if bytes == data.len() => Ok((header, data)),
        Some(bytes) => Err(format!("cut short or damaged: expected {bytes} bytes of numbers, got {}", data.len())),
        None => Err(format!("shape: {:?} is too large", header.shape)),
    }
}

/// The values of a dictionary such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn dictionary(text: &str) -> Result<Header> {
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'")).ok_or_else(|| format!("header: {key:?} is missing"))?;
        rest.trim_start().strip_prefix(':').map(str::trim_start).ok_or_else(|| format!("header: {key:?} has no value"))
    };
    let descr = value("descr")?;
    let name = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(name, _)| name);
    let (order, kind) = name.and_then(|name| name.split_at_checked(1)).unwrap_or_default();
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return Err(unsupported(descr)),
    };
    let (_, dtype) = TYPES.iter().find(|(name, _)| *name == kind).ok_or_else(|| unsupported(descr))?;
    let fortran = match value("fortran_order")? {
        flag if flag.starts_with("True") => true,
        flag if flag.starts_with("False") => false,
        flag => return Err(format!("header: \"fortran_order\": expected True or False, got {}", start(flag))),
    };
    let shape = value("shape")?;
    let list = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(list, _)| list.trim());
    // Python 2 wrote 3L for a long integer. A tuple of one ends with a comma.
    let length = |text: &str| text.trim().trim_end_matches('L').parse().ok();
    let lengths = |list: &str| match list.trim_end_matches(',') {
        "" => Some(vec![]),
        list => list.split(',').map(length).collect(),
    };
    let shape =
        list.and_then(lengths).ok_or_else(|| format!("header: \"shape\": expected a tuple, got {}", start(shape)))?;
    if shape.len() > MOST_DIMENSIONS {
        return Err(format!("shape: expected at most {MOST_DIMENSIONS} dimensions, got {}", shape.len()));
    }
    Ok(Header { dtype: *dtype, big_endian, fortran, shape })
}

fn unsupported(descr: &str) -> String {
    let advice = "Convert it in Python with array.astype(numpy.float32)";
    format!("type: expected booleans, integers or floats of at most 8 bytes, got {}. {advice}", start(descr))
}

/// The start of a text from a file, for errors.
fn start(text: &str) -> String {
    format!("{:?}", text.chars().take(24).collect::<String>())
}

/// The header of version 1 for an array in C order, little-endian. Its length is a multiple of 64, as NumPy's is.
pub(super) fn encode(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    let (name, _) = TYPES.iter().find(|(_, other)| *other == dtype).expect("a type that an array may have");
    let order = if name.ends_with('1') { '|' } else { '<' };
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let lengths = if shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") };
    let text = format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ({lengths}), }}");
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let padded = format!("{text:<0$}\n", length - 1);
    [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), padded.as_bytes()].concat()
}

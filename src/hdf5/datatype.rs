//! Types and shapes of arrays, and texts.

use super::{Array, BYTES_OF_A_STEP, Bytes, Cursor, Result, UNDEFINED};

/// The type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float {
        size: usize,
        big_endian: bool,
    },
    /// A text of this many bytes, padded.
    Text(usize),
    /// A length, and the place of the text in a heap.
    LongText,
    /// Another type, with elements of this many bytes. The name is for errors.
    Other(&'static str, usize),
}

/// The name of a type that is not read. Keras stores it as bytes without a meaning.
pub(crate) const BFLOAT16: &str = "bfloat16";

/// The most dimensions that the format allows.
const MOST_DIMENSIONS: u8 = 32;

impl Kind {
    pub(super) fn read(mut body: Cursor<'_>) -> Result<Self> {
        let class = body.byte()? & 0xf;
        let bits = body.number(3)?;
        let size = body.number(4)? as usize;
        Ok(match class {
            1 => {
                body.take(5)?;
                let exponent = body.byte()?;
                match (size, exponent) {
                    (2, 5) | (4, 8) | (8, 11) if bits & 0x40 == 0 => Self::Float { size, big_endian: bits & 1 == 1 },
                    (2, 8) => Self::Other(BFLOAT16, size),
                    _ => Self::Other("other floats", size),
                }
            }
            0 => Self::Other("integers", size),
            3 => Self::Text(size),
            9 if bits & 0xf == 1 && size == 16 => Self::LongText,
            5 if size == 2 => Self::Other(BFLOAT16, size),
            _ => Self::Other("another type", size),
        })
    }

    pub(super) fn size(self) -> usize {
        match self {
            Self::Float { size, .. } | Self::Text(size) | Self::Other(_, size) => size,
            Self::LongText => 16,
        }
    }
}

pub(super) fn shape(mut body: Cursor<'_>) -> Result<Vec<u64>> {
    let (version, rank) = (body.byte()?, body.byte()?);
    if rank > MOST_DIMENSIONS {
        return Err(format!("damaged: an array of {rank} dimensions; expected at most {MOST_DIMENSIONS}"));
    }
    let rest = match version {
        1 => body.take(6)?,
        2 => body.take(2)?,
        other => return Err(format!("version of a shape: expected 1 or 2, got {other}")),
    };
    // A shape without elements.
    if version == 2 && rest[1] == 2 {
        return Ok(vec![0]);
    }
    (0..rank).map(|_| body.number(8)).collect()
}

/// The texts of an array, with a replacement character for what is no UTF-8.
pub(super) fn texts(bytes: &Bytes<'_>, array: &Array<'_>) -> Result<Vec<String>> {
    let text = |text: &[u8]| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
    match array.kind {
        Kind::Text(size) if size > 0 => Ok(array.bytes.chunks_exact(size).map(text).collect()),
        Kind::LongText => {
            let each = array.bytes.chunks_exact(16).map(|element| {
                let mut element = Cursor(element);
                let (length, heap, index) = (element.number(4)?, element.number(8)?, element.number(4)?);
                let whole = if length == 0 || heap == UNDEFINED { &[][..] } else { in_heap(bytes, heap, index)? };
                let whole = &whole[..whole.len().min(length as usize)];
                // Many elements may name the same long text.
                bytes.steps(whole.len() / BYTES_OF_A_STEP)?;
                Ok(text(whole))
            });
            each.collect()
        }
        // h5py stores an empty list as f64.
        _ if array.bytes.is_empty() => Ok(vec![]),
        _ => Err("expected text".into()),
    }
}

/// An object of a global heap.
fn in_heap<'a>(bytes: &Bytes<'a>, heap: u64, index: u64) -> Result<&'a [u8]> {
    let mut start = bytes.from(heap)?;
    start.expect(b"GCOL\x01\0\0\0", "a global heap")?;
    let size = start.number(8)?;
    let mut objects = Cursor(bytes.at(heap, size)?);
    objects.take(16)?;
    while objects.0.len() >= 16 {
        bytes.step()?;
        let own = objects.number(2)?;
        objects.take(6)?;
        let length = usize::try_from(objects.number(8)?).unwrap_or(usize::MAX);
        if own == index && own != 0 {
            return objects.take(length);
        }
        // Index 0 is the free space at the end.
        if own == 0 {
            break;
        }
        objects.take(length.checked_next_multiple_of(8).unwrap_or(usize::MAX))?;
    }
    Err(format!("damaged: a global heap has no object {index}"))
}

impl Array<'_> {
    /// The numbers of an array of floats. f64 is rounded.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let (size, big_endian) = match self.kind {
            Kind::Float { size, big_endian } => (size, big_endian),
            Kind::Text(_) | Kind::LongText => return Err("expected f16, f32 or f64, got text".into()),
            Kind::Other(name, _) => return Err(format!("expected f16, f32 or f64, got {name}")),
        };
        let each = self.bytes.chunks_exact(size).map(|element| {
            let bits = element.iter().enumerate().fold(0u64, |bits, (i, &byte)| {
                let place = if big_endian { size - 1 - i } else { i };
                bits | u64::from(byte) << (8 * place)
            });
            match size {
                2 => crate::half::from_f16(bits as u16),
                4 => f32::from_bits(bits as u32),
                _ => f64::from_bits(bits) as f32,
            }
        });
        Ok(each.collect())
    }
}

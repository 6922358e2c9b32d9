//! Tensors of the test cases: protocol buffers with raw data, as `scripts/onnx_cases.py` writes them.

use std::path::Path;

use crate::Result;

/// A tensor and its file's bytes.
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u32>,
    /// The elements as f32, if they are floats.
    pub floats: Option<Vec<f32>>,
    /// Whether the elements are bfloat16.
    pub is_bfloat: bool,
    pub bytes: Vec<u8>,
}

/// A field of a message: a number, or bytes.
enum Contents<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first().ok_or("a truncated tensor")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place).min(63);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number of more than 10 bytes".into())
}

fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Contents<'a>)> {
    let tag = varint(bytes)?;
    let contents = match tag & 7 {
        0 => Contents::Number(varint(bytes)?),
        2 => {
            let length = varint(bytes)? as usize;
            let (taken, rest) = bytes.split_at_checked(length).ok_or("a truncated tensor")?;
            *bytes = rest;
            Contents::Bytes(taken)
        }
        kind => return Err(format!("a field of wire type {kind} in a tensor").into()),
    };
    Ok((tag >> 3, contents))
}

/// An IEEE 754 number of 16 bits.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

fn numbers<const N: usize>(raw: &[u8], number: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
    Some(raw.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect())
}

impl Tensor {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let (mut name, mut dims, mut dtype, mut raw) = (String::new(), Vec::new(), 0, &[][..]);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match field(&mut rest)? {
                (1, Contents::Number(length)) => dims.push(u32::try_from(length)?),
                (1, Contents::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        dims.push(u32::try_from(varint(&mut packed)?)?);
                    }
                }
                (2, Contents::Number(number)) => dtype = number,
                (8, Contents::Bytes(text)) => name = String::from_utf8(text.to_vec())?,
                (9, Contents::Bytes(data)) => raw = data,
                _ => {}
            }
        }
        let floats = match dtype {
            1 => numbers(raw, f32::from_le_bytes),
            10 => numbers(raw, |bytes| half(u16::from_le_bytes(bytes))),
            11 => numbers(raw, |bytes| f64::from_le_bytes(bytes) as f32),
            16 => numbers(raw, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
            _ => None,
        };
        Ok(Self { name, dims, floats, is_bfloat: dtype == 16, bytes })
    }
}

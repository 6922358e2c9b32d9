//! The wire format of protocol buffers: fields of a message, read in place. It knows no messages.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use super::Result;

/// A field of a message: its number and its contents.
pub(super) struct Field<'a> {
    pub number: u32,
    pub contents: Contents<'a>,
}

/// The contents of a field, by its wire type.
#[derive(Clone, Copy)]
pub(super) enum Contents<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message. It borrows the bytes, so a message of any size needs no memory.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let (count, left) = (usize::try_from(count).unwrap_or(usize::MAX), self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| {
            format!("a field of {count} bytes, where {left} bytes are left: the file is truncated or damaged")
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f).wrapping_shl(7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 10 bytes: the file is damaged, or no ONNX file".into())
    }

    fn field(&mut self) -> Result<Field<'a>> {
        let tag = self.varint()?;
        let contents = match tag & 7 {
            0 => Contents::Varint(self.varint()?),
            1 => Contents::Fixed64(self.take(8)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))),
            2 => {
                let length = self.varint()?;
                Contents::Bytes(self.take(length)?)
            }
            5 => Contents::Fixed32(self.take(4)?.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte))),
            kind => return Err(format!("a field of wire type {kind}: the file is damaged, or no ONNX file")),
        };
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 => Ok(Field { number, contents }),
            _ => Err(format!("a field with the number {}: the file is damaged, or no ONNX file", tag >> 3)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Contents<'a> {
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("a number where a text or a message belongs: the file is damaged".into()),
        }
    }

    pub fn text(self) -> Result<String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text that is no UTF-8".into())
    }

    pub fn int(self) -> Result<i64> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            _ => Err("another type of field where a whole number belongs: the file is damaged".into()),
        }
    }

    pub fn float(self) -> Result<f32> {
        match self {
            Self::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err("another type of field where an f32 belongs: the file is damaged".into()),
        }
    }

    /// Appends one number, or packed numbers.
    pub fn ints(self, to: &mut Vec<i64>) -> Result<()> {
        let Self::Bytes(bytes) = self else {
            to.push(self.int()?);
            return Ok(());
        };
        let mut packed = Fields::of(bytes);
        while !packed.rest.is_empty() {
            to.push(packed.varint()? as i64);
        }
        Ok(())
    }

    /// Appends one number, or packed numbers.
    pub fn floats(self, to: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Bytes(bytes) => to.extend(numbers(bytes, f32::from_le_bytes)?),
            _ => to.push(self.float()?),
        }
        Ok(())
    }

    /// Appends one number, or packed numbers.
    pub fn doubles(self, to: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Bytes(bytes) => to.extend(numbers(bytes, f64::from_le_bytes)?),
            Self::Fixed64(bits) => to.push(f64::from_bits(bits)),
            _ => return Err("another type of field where an f64 belongs: the file is damaged".into()),
        }
        Ok(())
    }
}

/// Little-endian numbers of N bytes each.
pub(super) fn numbers<const N: usize, T>(
    bytes: &[u8],
    number: impl Fn([u8; N]) -> T,
) -> Result<impl Iterator<Item = T>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    match rest {
        [] => Ok(chunks.iter().map(move |chunk| number(*chunk))),
        _ => Err(format!("{} bytes of numbers of {N} bytes each: the file is damaged", bytes.len())),
    }
}

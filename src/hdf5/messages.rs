//! The messages of an object header.

use super::datatype::{self, Kind};
use super::{Array, Bytes, Cursor, Result, UNDEFINED, sized};

pub const DATASPACE: u16 = 0x01;
pub const LINK_INFO: u16 = 0x02;
pub const DATATYPE: u16 = 0x03;
pub const LINK: u16 = 0x06;
pub const LAYOUT: u16 = 0x08;
pub const FILTERS: u16 = 0x0b;
pub const ATTRIBUTE: u16 = 0x0c;
const CONTINUATION: u16 = 0x10;
pub const SYMBOL_TABLE: u16 = 0x11;

pub struct Message<'a> {
    pub id: u16,
    pub body: Cursor<'a>,
}

/// All messages of the header at this address.
pub fn messages<'a>(bytes: &Bytes<'a>, header: u64) -> Result<Vec<Message<'a>>> {
    let mut start = bytes.from(header)?;
    let mut found = Vec::new();
    // Blocks of messages: the first follows the header, the others are its continuations.
    let mut blocks = Vec::new();
    let flags = if start.0.starts_with(b"OHDR") {
        start.take(4)?;
        let (version, flags) = (start.byte()?, start.byte()?);
        if version != 2 {
            return Err(format!("version of an object header: expected 1 or 2, got {version}"));
        }
        start.take(if flags & 0x20 != 0 { 16 } else { 0 } + if flags & 0x10 != 0 { 4 } else { 0 })?;
        let length = start.number(1 << (flags & 3))?;
        blocks.push(start.take(usize::try_from(length).map_err(|_| "an object header that is too long")?)?);
        Some(flags)
    } else {
        let version = start.byte()?;
        if version != 1 {
            return Err(format!("version of an object header: expected 1 or 2, got {version}"));
        }
        start.take(7)?;
        let length = start.number(4)?;
        start.take(4)?;
        blocks.push(start.take(length as usize)?);
        None
    };
    while let Some(block) = blocks.pop() {
        let mut block = Cursor(block);
        let least = if flags.is_some() { 4 } else { 8 };
        while block.0.len() >= least {
            bytes.step()?;
            let id = block.number(if flags.is_some() { 1 } else { 2 })? as u16;
            let length = block.number(2)? as usize;
            block.take(match flags {
                None => 4,
                Some(flags) if flags & 4 != 0 => 3,
                Some(_) => 1,
            })?;
            let mut body = Cursor(block.take(length)?);
            if id == CONTINUATION {
                let (address, length) = (body.number(8)?, body.number(8)?);
                let mut more = Cursor(bytes.at(address, length)?);
                if flags.is_some() {
                    // A signature and a checksum are around the messages.
                    more.expect(b"OCHK", "the continuation of an object header")?;
                    more = Cursor(&more.0[..more.0.len().saturating_sub(4)]);
                }
                blocks.push(more.0);
            } else {
                found.push(Message { id, body });
            }
        }
    }
    Ok(found)
}

/// An attribute. `None` if its name is no text.
pub fn attribute<'a>(mut body: Cursor<'a>) -> Result<Option<(&'a str, Array<'a>)>> {
    let (version, _) = (body.byte()?, body.byte()?);
    if !(1..=3).contains(&version) {
        return Err(format!("version of an attribute: expected 1 to 3, got {version}"));
    }
    let lengths = [body.number(2)?, body.number(2)?, body.number(2)?].map(|length| length as usize);
    if version == 3 {
        body.byte()?;
    }
    let padded = |length: usize| if version == 1 { length.next_multiple_of(8) } else { length };
    let [name, kind, shape] = lengths.map(|length| body.take(padded(length)));
    let name = std::str::from_utf8(name?).map(|name| name.trim_end_matches('\0'));
    let (kind, shape) = (Kind::read(Cursor(kind?))?, datatype::shape(Cursor(shape?))?);
    let Ok(name) = name else { return Ok(None) };
    Ok(Some((name, Array { bytes: sized(&shape, kind, body.0)?, kind, shape })))
}

/// The bytes of an array.
pub fn layout<'a>(bytes: &Bytes<'a>, mut body: Cursor<'a>) -> Result<&'a [u8]> {
    let version = body.byte()?;
    if !(3..=4).contains(&version) {
        return Err(format!("version of the layout of an array: expected 3 or 4, got {version}"));
    }
    match body.byte()? {
        0 => {
            let length = body.number(2)?;
            body.take(length as usize)
        }
        1 => match (body.number(8)?, body.number(8)?) {
            (UNDEFINED, 0) => Ok(&[]),
            (UNDEFINED, _) => Err("its numbers were never written".into()),
            (address, length) => bytes.at(address, length),
        },
        _ => Err("it is chunked; rewrite the file with h5repack -l CONTI".into()),
    }
}

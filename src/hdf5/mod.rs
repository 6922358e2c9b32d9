//! HDF5 files in memory, as far as Keras and h5py use them: groups, attributes with text, and contiguous arrays.
//!
//! The format: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>. A file is a tree of objects. An
//! object has a header of messages: its attributes, the links of a group, or the type, shape and place of an array.
//!
//! A damaged file may link an object many times or to itself. So every step of reading is counted, and limited.

mod datatype;
mod groups;
mod messages;
#[cfg(test)]
mod tests;
mod write;

use std::cell::Cell;
use std::collections::BTreeMap;

pub(crate) use self::datatype::{BFLOAT16, Kind};
use self::messages::{Message, messages};
pub(crate) use self::write::{Attribute, Group as NewGroup, Member, write};

/// A result whose error says what is wrong, without naming the file.
type Result<T> = std::result::Result<T, String>;

/// The first bytes of a file.
pub(crate) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The address of what does not exist.
const UNDEFINED: u64 = u64::MAX;

/// The most steps (objects, messages, links, heap entries) that reading a file may take. A small file may take fewer:
/// `LEAST_STEPS`, and four for each byte.
const MOST_STEPS: u32 = 1 << 21;
const LEAST_STEPS: u32 = 1 << 16;

/// This many bytes of text count as a step.
const BYTES_OF_A_STEP: usize = 16;

/// The deepest nesting of groups.
const DEEPEST: usize = 64;

/// The bytes of a file, and the number of steps that may still be taken.
#[derive(Debug)]
struct Bytes<'a> {
    bytes: &'a [u8],
    left: Cell<u32>,
}

impl<'a> Bytes<'a> {
    fn at(&self, address: u64, length: u64) -> Result<&'a [u8]> {
        let range = usize::try_from(address).ok().zip(usize::try_from(length).ok());
        let found = range.and_then(|(start, length)| self.bytes.get(start..start.checked_add(length)?));
        found.ok_or_else(|| format!("cut short or damaged: nothing at byte {address} with a length of {length}"))
    }

    /// The bytes from an address to the end of the file.
    fn from(&self, address: u64) -> Result<Cursor<'a>> {
        Ok(Cursor(self.at(address, (self.bytes.len() as u64).saturating_sub(address))?))
    }

    fn step(&self) -> Result<()> {
        self.steps(1)
    }

    fn steps(&self, count: usize) -> Result<()> {
        let left = u32::try_from(count).ok().and_then(|count| self.left.get().checked_sub(count));
        self.left.set(left.ok_or("it has too many objects, or is damaged")?);
        Ok(())
    }
}

/// Reads little-endian numbers one after the other.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("cut short or damaged within an object")?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of up to 8 bytes.
    fn number(&mut self, length: usize) -> Result<u64> {
        Ok(self.take(length)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn expect(&mut self, signature: &[u8], what: &str) -> Result<()> {
        match self.take(signature.len())? == signature {
            true => Ok(()),
            false => Err(format!("damaged: expected {what}")),
        }
    }
}

/// A file that has been read. The arrays are still in the bytes that were given.
#[derive(Debug)]
pub(crate) struct File<'a> {
    bytes: Bytes<'a>,
    pub root: Group<'a>,
}

/// A group: named objects with attributes.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    attributes: BTreeMap<&'a str, Array<'a>>,
    pub members: BTreeMap<&'a str, Object<'a>>,
}

#[derive(Debug)]
pub(crate) enum Object<'a> {
    Group(Group<'a>),
    Array(Array<'a>),
    /// An array that cannot be read: the reason.
    Unknown(String),
}

/// An array, or the value of an attribute.
#[derive(Debug, Clone)]
pub(crate) struct Array<'a> {
    pub kind: Kind,
    pub shape: Vec<u64>,
    pub bytes: &'a [u8],
}

impl<'a> File<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let of_length = u32::try_from(bytes.len()).unwrap_or(MOST_STEPS).saturating_mul(4).saturating_add(LEAST_STEPS);
        let bytes = Bytes { bytes, left: Cell::new(MOST_STEPS.min(of_length)) };
        let mut start = bytes.from(0)?;
        start.expect(SIGNATURE, "an HDF5 file")?;
        let version = start.byte()?;
        let root = match version {
            0 | 1 => {
                start.take(4)?;
                sizes(&mut start)?;
                start.take(9 + if version == 1 { 4 } else { 0 })?;
                start.take(4 * 8 + 8)?;
                start.number(8)?
            }
            2 | 3 => {
                sizes(&mut start)?;
                start.take(1 + 3 * 8)?;
                start.number(8)?
            }
            other => return Err(format!("version of the superblock: expected 0 to 3, got {other}")),
        };
        match object(&bytes, root, 0)? {
            Object::Group(root) => Ok(Self { bytes, root }),
            _ => Err("damaged: its root is no group".into()),
        }
    }

    /// The number of bytes.
    pub fn length(&self) -> u64 {
        self.bytes.bytes.len() as u64
    }

    /// The texts of an attribute of a group: one, or a list. `None` if the group does not have it.
    pub fn texts(&self, group: &Group<'a>, name: &str) -> Result<Option<Vec<String>>> {
        self.bytes.step()?;
        let Some(array) = group.attributes.get(name) else { return Ok(None) };
        let texts = datatype::texts(&self.bytes, array).map_err(|reason| format!("attribute {name:?}: {reason}"))?;
        Ok(Some(texts))
    }

    /// The texts of an attribute that Keras divides if it is long: `weight_names0`, `weight_names1` and so on.
    pub fn list(&self, group: &Group<'a>, name: &str) -> Result<Option<Vec<String>>> {
        let mut texts = self.texts(group, name)?;
        for i in 0.. {
            match self.texts(group, &format!("{name}{i}"))? {
                Some(more) => texts.get_or_insert_default().extend(more),
                None => break,
            }
        }
        Ok(texts)
    }
}

impl<'a> Group<'a> {
    pub fn member(&self, name: &str) -> Option<&Object<'a>> {
        self.members.get(name)
    }

    /// The object at a path with slashes.
    pub fn at(&self, path: &str) -> Option<&Object<'a>> {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (self.member(first)?, rest) {
            (object, None) => Some(object),
            (Object::Group(group), Some(rest)) => group.at(rest),
            _ => None,
        }
    }

    pub fn group(&self, path: &str) -> Option<&Group<'a>> {
        if let Object::Group(group) = self.at(path)? { Some(group) } else { None }
    }
}

/// Checks that addresses and lengths have 8 bytes, as in all files of h5py.
fn sizes(start: &mut Cursor<'_>) -> Result<()> {
    match [start.byte()?, start.byte()?] {
        [8, 8] => Ok(()),
        other => Err(format!("sizes of addresses and lengths: expected 8 and 8 bytes, got {other:?}")),
    }
}

/// The object whose header is at this address.
fn object<'a>(bytes: &Bytes<'a>, header: u64, depth: usize) -> Result<Object<'a>> {
    if depth > DEEPEST {
        return Err(format!("groups are nested more than {DEEPEST} deep, or it is damaged"));
    }
    let (mut group, mut links, mut is_group) = (Group::default(), Vec::new(), false);
    let (mut kind, mut shape, mut data) = (None, None, None);
    let mut unknown = None;
    for Message { id, body } in messages(bytes, header)? {
        match id {
            messages::SYMBOL_TABLE => {
                is_group = true;
                links.extend(groups::symbols(bytes, body)?);
            }
            messages::LINK_INFO => {
                is_group = true;
                groups::check_link_info(body)?;
            }
            messages::LINK => links.extend(groups::link(body)?),
            messages::ATTRIBUTE => group.attributes.extend(messages::attribute(body)?),
            messages::DATASPACE => shape = Some(datatype::shape(body)?),
            messages::DATATYPE => kind = Some(Kind::read(body)?),
            messages::LAYOUT => data = Some(messages::layout(bytes, body)),
            messages::FILTERS => {
                unknown = Some("it is compressed; rewrite the file with h5repack -f NONE -l CONTI".to_owned())
            }
            _ => {}
        }
    }
    if let (Some(kind), Some(shape), Some(data)) = (kind, shape, data) {
        return Ok(match unknown.map_or(data, Err) {
            Ok(data) => Object::Array(Array { bytes: sized(&shape, kind, data)?, kind, shape }),
            Err(reason) => Object::Unknown(reason),
        });
    }
    if !is_group {
        return Ok(Object::Unknown("it is no group and no array".into()));
    }
    for (name, address) in links {
        bytes.step()?;
        group.members.insert(name, object(bytes, address, depth + 1)?);
    }
    Ok(Object::Group(group))
}

/// The bytes of an array of this shape and kind, at the start of `data`.
fn sized<'a>(shape: &[u64], kind: Kind, data: &'a [u8]) -> Result<&'a [u8]> {
    let length = shape.iter().try_fold(kind.size() as u64, |length, &d| length.checked_mul(d));
    let found = length.and_then(|length| data.get(..usize::try_from(length).ok()?));
    found.ok_or_else(|| format!("cut short or damaged: an array of the shape {shape:?} in {} bytes", data.len()))
}

//! Writes files: groups with links in their headers, attributes with text of fixed length, and arrays of f32.
//!
//! Headers and the superblock are of the oldest versions, without checksums; every version of the HDF5 library reads
//! them.

use super::messages::{ATTRIBUTE, DATASPACE, DATATYPE, LAYOUT, LINK, LINK_INFO};
use super::{Result, SIGNATURE, UNDEFINED};

/// A group to write.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub attributes: Vec<(String, Attribute)>,
    pub members: Vec<(String, Member)>,
}

#[derive(Debug)]
pub(crate) enum Member {
    Group(Group),
    Array { shape: Vec<u32>, words: Vec<u32> },
}

#[derive(Debug)]
pub(crate) enum Attribute {
    Text(String),
    Texts(Vec<String>),
}

const LENGTH_OF_SUPERBLOCK: usize = 96;

/// The length of the longest name, in bytes. Readers accept at least this.
const LONGEST_NAME: usize = 1024;

/// The most members and attributes of a group: their count has 2 bytes.
const MOST_MEMBERS: usize = u16::MAX as usize - 1;

/// The bytes of a file.
///
/// # Errors
/// A name of more than 1024 bytes, or a group of more than 65,534 members and attributes.
pub(crate) fn write(root: &Group) -> Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH_OF_SUPERBLOCK];
    let root = group(&mut bytes, root)?;
    let mut start = SIGNATURE.to_vec();
    // Versions, 8 bytes for addresses and lengths, and the sizes of symbol tables, which this file does not have.
    start.extend([0, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0]);
    for address in [0, UNDEFINED, bytes.len() as u64, UNDEFINED, 0, root, 0, 0, 0] {
        start.extend(address.to_le_bytes());
    }
    bytes[..LENGTH_OF_SUPERBLOCK].copy_from_slice(&start);
    Ok(bytes)
}

/// Appends a group after its members. Returns the address of its header.
fn group(bytes: &mut Vec<u8>, group: &Group) -> Result<u64> {
    let count = group.members.len() + group.attributes.len();
    if count > MOST_MEMBERS {
        return Err(format!("an HDF5 group of {count} members and attributes; expected at most {MOST_MEMBERS}"));
    }
    // The version and the flags; there is no heap and no tree of links.
    let link_info = [&[0, 0][..], &UNDEFINED.to_le_bytes(), &UNDEFINED.to_le_bytes()].concat();
    let mut messages = vec![(LINK_INFO, link_info)];
    for (name, member) in &group.members {
        if name.len() > LONGEST_NAME {
            let start: String = name.chars().take(40).collect();
            return Err(format!("the name {start:?}... has {} bytes; expected at most {LONGEST_NAME}", name.len()));
        }
        let address = match member {
            Member::Group(inner) => self::group(bytes, inner)?,
            Member::Array { shape, words } => array(bytes, shape, words),
        };
        // The name's length has 2 bytes.
        let start = [&[1, 1][..], &(name.len() as u16).to_le_bytes()].concat();
        messages.push((LINK, [&start, name.as_bytes(), &address.to_le_bytes()].concat()));
    }
    messages.extend(group.attributes.iter().map(|(name, value)| (ATTRIBUTE, attribute(name, value))));
    Ok(header(bytes, messages))
}

fn array(bytes: &mut Vec<u8>, shape: &[u32], words: &[u32]) -> u64 {
    let data = bytes.len() as u64;
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    // IEEE 754 single precision, little-endian: the places of sign, exponent and mantissa, and the bias.
    let float = [&[0x11, 0x20, 31, 0][..], &4u32.to_le_bytes(), &[0, 0, 32, 0, 23, 8, 0, 23], &127u32.to_le_bytes()];
    let place = [&[3, 1][..], &data.to_le_bytes(), &(words.len() as u64 * 4).to_le_bytes()];
    let shape: Vec<u64> = shape.iter().map(|&length| length.into()).collect();
    header(bytes, vec![(DATASPACE, dataspace(&shape)), (DATATYPE, float.concat()), (LAYOUT, place.concat())])
}

fn dataspace(shape: &[u64]) -> Vec<u8> {
    let lengths: Vec<u8> = shape.iter().flat_map(|length| length.to_le_bytes()).collect();
    [&[1, shape.len() as u8, 0, 0, 0, 0, 0, 0][..], &lengths].concat()
}

fn attribute(name: &str, value: &Attribute) -> Vec<u8> {
    let (texts, shape) = match value {
        Attribute::Text(text) => (std::slice::from_ref(text), vec![]),
        Attribute::Texts(texts) => (&texts[..], vec![texts.len() as u64]),
    };
    let longest = texts.iter().map(String::len).max().unwrap_or(0).max(1);
    let data: Vec<u8> = texts.iter().flat_map(|text| padded(text.as_bytes(), longest)).collect();
    // Text in UTF-8, padded with zeros.
    let kind = [&[0x13, 0x11, 0, 0][..], &(longest as u32).to_le_bytes()].concat();
    let (name, space) = ([name.as_bytes(), b"\0"].concat(), dataspace(&shape));
    let lengths = [name.len(), kind.len(), space.len()].map(|length| (length as u16).to_le_bytes()).concat();
    let name = padded(&name, name.len().next_multiple_of(8));
    [&[1, 0][..], &lengths, &name, &kind, &space, &data].concat()
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(length, 0);
    bytes
}

/// Appends an object header. Returns its address.
fn header(bytes: &mut Vec<u8>, messages: Vec<(u16, Vec<u8>)>) -> u64 {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let address = bytes.len() as u64;
    let count = messages.len() as u16;
    let mut body = Vec::new();
    for (id, message) in messages {
        let message = padded(&message, message.len().next_multiple_of(8));
        body.extend([id.to_le_bytes(), (message.len() as u16).to_le_bytes(), [0; 2], [0; 2]].concat());
        body.extend(message);
    }
    bytes.extend([&[1, 0][..], &count.to_le_bytes(), &1u32.to_le_bytes(), &(body.len() as u32).to_le_bytes()].concat());
    bytes.extend([0; 4]);
    bytes.extend(body);
    address
}

//! The links of groups: symbol tables, as h5py writes by default, and link messages.

use super::{BYTES_OF_A_STEP, Bytes, Cursor, Result, UNDEFINED};

/// The length of the longest name of an object, in bytes.
const LONGEST_NAME: usize = 4096;

/// Names of members, and the addresses of their headers.
type Links<'a> = Vec<(&'a str, u64)>;

fn name(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| "damaged: the name of an object is no text".into())
}

/// The members of a symbol table: a B-tree whose leaves list names in a local heap.
pub(super) fn symbols<'a>(bytes: &Bytes<'a>, mut body: Cursor<'a>) -> Result<Links<'a>> {
    let (tree, heap) = (body.number(8)?, body.number(8)?);
    let mut start = bytes.from(heap)?;
    start.expect(b"HEAP\0\0\0\0", "a local heap")?;
    let (length, _) = (start.number(8)?, start.number(8)?);
    let names = bytes.at(start.number(8)?, length)?;
    let (mut links, mut nodes) = (Vec::new(), vec![(tree, None)]);
    while let Some((address, level)) = nodes.pop() {
        bytes.step()?;
        let mut node = bytes.from(address)?;
        if level == Some(0) {
            node.expect(b"SNOD\x01\0", "a list of symbols")?;
            for _ in 0..node.number(2)? {
                bytes.step()?;
                let (at, header) = (node.number(8)?, node.number(8)?);
                node.take(24)?;
                let text =
                    usize::try_from(at).ok().and_then(|at| names.get(at..)).ok_or("damaged: a name is missing")?;
                let end = text.iter().take(LONGEST_NAME + 1).position(|&byte| byte == 0);
                let end = end.ok_or_else(|| format!("damaged: a name of more than {LONGEST_NAME} bytes"))?;
                bytes.steps(end / BYTES_OF_A_STEP)?;
                links.push((name(&text[..end])?, header));
            }
            continue;
        }
        node.expect(b"TREE\0", "a tree of symbols")?;
        let own = node.byte()?;
        // Levels decrease, so that a damaged tree has no cycle.
        if level.is_some_and(|level| own.checked_add(1) != Some(level)) {
            return Err("damaged: the levels of a tree of symbols".into());
        }
        let count = node.number(2)?;
        node.take(16 + 8)?;
        for _ in 0..count {
            bytes.step()?;
            nodes.push((node.number(8)?, Some(own)));
            node.take(8)?;
        }
    }
    Ok(links)
}

/// Returns an error for a group whose links are in a fractal heap.
pub(super) fn check_link_info(mut body: Cursor<'_>) -> Result<()> {
    let (_, flags) = (body.byte()?, body.byte()?);
    body.take(if flags & 1 != 0 { 8 } else { 0 })?;
    match body.number(8)? {
        UNDEFINED => Ok(()),
        _ => Err("a group with links in a fractal heap; rewrite the file with h5repack --low=0 --high=0".into()),
    }
}

/// A link message. `None` for links to other files and names.
pub(super) fn link<'a>(mut body: Cursor<'a>) -> Result<Option<(&'a str, u64)>> {
    let (_, flags) = (body.byte()?, body.byte()?);
    let kind = if flags & 8 != 0 { body.byte()? } else { 0 };
    body.take(if flags & 4 != 0 { 8 } else { 0 } + usize::from(flags & 16 != 0))?;
    let length = body.number(1 << (flags & 3))?;
    let name = name(body.take(usize::try_from(length).unwrap_or(usize::MAX))?)?;
    Ok(if kind == 0 { Some((name, body.number(8)?)) } else { None })
}

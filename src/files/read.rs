//! Reads files whole, or only their first bytes if they are of another format.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::foreign;
use crate::disk::{self, DEVICE};
use crate::error::Result;

/// Number of bytes that are enough to recognise a file format.
const HEAD: usize = 1 << 16;

/// Reads a file and passes it to `parse`, with its name for errors. If it is not safetensors, only the start is read.
pub(super) fn read<T>(path: &Path, parse: impl FnOnce(&str, &[u8]) -> Result<T>) -> Result<T> {
    let bytes = read_whole(path).map_err(|e| disk::fault(path, "read", &e))?;
    parse(&path.display().to_string(), &bytes)
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe can be read. A terminal or a device has no end.
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::other(foreign::directory(path)));
    }
    if disk::special(&metadata) == Some(DEVICE) {
        return Err(io::Error::other(format!("it is {DEVICE}; give the name of a regular file")));
    }
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut bytes)?;
    if bytes.len() == HEAD && metadata.is_file() && foreign::recognise(&bytes).is_some() {
        return Ok(bytes);
    }
    bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or(0).saturating_sub(bytes.len()));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn a_device_that_never_ends_is_not_read() {
        let error = super::read("/dev/zero".as_ref(), |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.contains("it is a device"), "{error}");
    }
}

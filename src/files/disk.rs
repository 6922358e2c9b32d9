//! Files read and written whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

fn fault(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::File { path: path.display().to_string(), reason: format!("cannot be {what}: {error}") }
}

/// Reads a file and hands it on, with its name for errors.
pub(super) fn read<T>(path: &Path, parse: impl FnOnce(&str, &[u8]) -> Result<T>) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| fault(path, "read", &e))?;
    parse(&path.display().to_string(), &bytes)
}

/// Replaces a file, or makes it: whoever reads it, and whenever this process dies, it is the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|e| fault(path, "written", &e))
}

/// Makes a folder, with those above it, where there is none.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| fault(path, "made", &e))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // In the same folder, as a file can only be renamed within a file system; no two writers share one.
    let unique = format!(".{name}.{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let temporary = path.with_file_name(unique);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        // Else the new name could outlive a power cut, and the contents not.
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The error to tell is the first one.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("wgrad-disk-{}", std::process::id()));
        let occupied = folder.join("occupied");
        fs::create_dir_all(occupied.join("inside")).unwrap();
        let file = folder.join("file");
        write(&file, b"old").unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let message = write(&occupied, b"x").unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: cannot be written: ", occupied.display())), "{message}");
        assert!(write(&folder.join("absent").join("file"), b"x").is_err());
        assert!(write(Path::new("/"), b"x").is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary file stays");
        fs::remove_dir_all(&folder).unwrap();
    }
}

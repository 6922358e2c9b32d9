//! Files read and written whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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
    let path = &behind_links(path);
    path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // In the same folder, as a file can only be renamed within a file system; no two writers share one.
    let unique = format!(".wgrad-{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let temporary = path.with_file_name(unique);
    let written = File::create(&temporary).and_then(|mut file| {
        // Who may read the file before may read it after, and nobody else.
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
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

/// What a name stands for in the end: it is to stay a link where it is one.
fn behind_links(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40; // as many as Linux follows
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => break,
        }
    }
    path
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

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = std::env::temp_dir().join(format!("wgrad-links-{}", std::process::id()));
        fs::create_dir_all(folder.join("far")).unwrap();
        let [link, second, file] = ["link", "far/second", "far/file"].map(|name| folder.join(name));
        symlink("far/second", &link).unwrap();
        symlink("file", &second).unwrap();
        write(&link, b"where nothing was").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        write(&link, b"new").unwrap();
        assert!(link.is_symlink() && second.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // As long as a name may be.
        write(&folder.join("n".repeat(255)), b"x").unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

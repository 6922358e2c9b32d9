//! Files that are written atomically: complete, or not at all.

mod stale;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// An error about a file.
pub(crate) fn fault(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::File { path: path.display().to_string(), reason: format!("cannot be {what}: {error}") }
}

/// Creates a regular file, or replaces it atomically: readers see the old or the new contents, even if this process
/// is killed. Returns an error if the path is not a regular file or is read-only.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|e| fault(path, "written", &e))
}

/// Checks that [`write`] could write this file, by making and deleting a temporary file in its folder.
pub fn check(path: &Path) -> Result<()> {
    let check = || {
        let (target, _) = target(path)?;
        let (_, temporary) = temporary(&target)?;
        fs::remove_file(temporary)
    };
    check().map_err(|e| fault(path, "written", &e))
}

/// Creates a folder and its parents if they do not exist.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| fault(path, "created", &e))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, before) = target(path)?;
    stale::remove(folder(&path));
    let (mut file, temporary) = temporary(&path)?;
    let mut written = || {
        if let Some(before) = &before {
            keep_access(&file, before)?;
        }
        file.write_all(bytes)?;
        // Without this, a power failure could keep the new name but lose the contents.
        file.sync_all()
    };
    let written = written();
    drop(file);
    let replaced = written.and_then(|()| fs::rename(&temporary, &path));
    if replaced.is_err() {
        // Return the first error, not this one.
        let _ = fs::remove_file(&temporary);
    }
    // The new name also survives a power failure, if the system supports it.
    #[cfg(unix)]
    if replaced.is_ok() {
        let _ = File::open(folder(&path)).and_then(|folder| folder.sync_all());
    }
    replaced
}

/// The file that a path refers to, after links, and its metadata if it exists. An error says why it cannot be
/// replaced.
fn target(path: &Path) -> io::Result<(PathBuf, Option<fs::Metadata>)> {
    // Links of the system, such as /dev/stdout, refer to files without a path.
    if let Some(kind) = fs::metadata(path).ok().and_then(|metadata| special(&metadata)) {
        return Err(io::Error::other(format!("it is {kind}; give the name of a regular file")));
    }
    let path = behind_links(path)?;
    let names_a_folder = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    if path.file_name().is_none() || names_a_folder {
        return Err(io::Error::other("the path names a directory; give the name of a file"));
    }
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path, None)),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory; give the name of a file in it"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file; give the name of a regular file"));
    }
    // Root can write to any file, but the read-only mode still shows that nobody should.
    let refused = is_read_only(&metadata) || {
        let opened = OpenOptions::new().write(true).open(&path);
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if refused {
        return Err(io::Error::other("the file is read-only; make it writable, or save under another name"));
    }
    Ok((path, Some(metadata)))
}

fn is_read_only(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o200 == 0;
    #[cfg(not(unix))]
    metadata.permissions().readonly()
}

/// The kind of a file that is neither a regular file nor a directory.
pub(crate) fn special(metadata: &fs::Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    #[cfg(unix)]
    let kinds = {
        use std::os::unix::fs::FileTypeExt;
        let is_device = kind.is_char_device() || kind.is_block_device();
        [(is_device, DEVICE), (kind.is_fifo(), "a named pipe"), (kind.is_socket(), "a socket")]
    };
    #[cfg(not(unix))]
    let kinds = [(!kind.is_file() && !kind.is_dir(), DEVICE)];
    kinds.into_iter().find_map(|(is, name)| is.then_some(name))
}

/// A device has no end, or does not keep data.
pub(crate) const DEVICE: &str = "a device";

/// Gives the new file the owner and the permissions of the old one.
fn keep_access(file: &File, before: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            // Only root can change the owner. A user can often change the group.
            let given = fchown(file, Some(before.uid()), Some(before.gid()));
            let _ = given.or_else(|_| fchown(file, None, Some(before.gid())));
        }
    }
    file.set_permissions(before.permissions())
}

/// A new temporary file beside `path`, because a file can only be renamed within a file system. Every writer has its
/// own.
fn temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let temporary = path.with_file_name(stale::name(COUNT.fetch_add(1, Ordering::Relaxed)));
        match File::create_new(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            // Left by an earlier process with the same id.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(explained(error, folder(path))),
        }
    }
}

/// The system's error for a folder in which no file can be made, and what to do.
fn explained(error: io::Error, folder: &Path) -> io::Error {
    let kind = error.kind();
    let folder = folder.display();
    let reason = match kind {
        ErrorKind::NotFound => format!("the directory {folder} does not exist"),
        ErrorKind::NotADirectory => format!("{folder} is not a directory"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("a new file cannot be created in the directory {folder}: {error}; saving writes a new file first")
        }
        _ => return error,
    };
    io::Error::new(kind, reason)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path after all symbolic links, so that a link stays a link.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    const MOST_LINKS: usize = 40; // as many as Linux follows
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("the symbolic link leads in a circle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder for one test.
    fn empty(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("wgrad-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn refused(path: &Path) -> String {
        let Error::File { reason, .. } = write(path, b"x").unwrap_err() else { panic!() };
        let Error::File { reason: checked, .. } = check(path).unwrap_err() else { panic!() };
        assert_eq!(checked, reason);
        reason
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = empty("disk");
        let occupied = folder.join("occupied");
        fs::create_dir_all(occupied.join("inside")).unwrap();
        let file = folder.join("file");
        check(&file).unwrap();
        assert!(!file.exists());
        write(&file, b"old").unwrap();
        write(&file, b"new").unwrap();
        check(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let directory = "cannot be written: it is a directory; give the name of a file in it";
        assert_eq!(refused(&occupied), directory);
        assert!(refused(&folder.join("absent").join("file")).contains("absent does not exist"));
        assert!(refused(&file.join("below")).contains("cannot be written: "));
        assert!(refused(Path::new("/")).contains("the path names a directory"));
        assert!(refused(&folder.join("new/")).contains("the path names a directory"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary file stays");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = empty("links");
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
        // The longest allowed name.
        write(&folder.join("n".repeat(255)), b"x").unwrap();
        // Another hard link keeps the old contents.
        let other = folder.join("other");
        fs::hard_link(&file, &other).unwrap();
        write(&file, b"newer").unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read(&other).unwrap()), (b"newer".to_vec(), b"new".to_vec()));
        symlink("circle", folder.join("circle")).unwrap();
        assert!(refused(&folder.join("circle")).contains("leads in a circle"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_that_are_not_read_only_are_replaced() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = empty("kinds");
        assert_eq!(
            refused(Path::new("/dev/full")),
            "cannot be written: it is a device; give the name of a regular file"
        );
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
        symlink("/dev/null", folder.join("link")).unwrap();
        assert!(refused(&folder.join("link")).contains("it is a device"));
        let socket = folder.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(refused(&socket).contains("it is a socket"));
        let pipe = folder.join("pipe");
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            assert!(refused(&pipe).contains("it is a named pipe"));
        }
        let file = folder.join("file");
        write(&file, b"old").unwrap();
        for mode in [0o444, 0o400, 0o044, 0o555] {
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            assert!(refused(&file).contains("the file is read-only"), "{mode:o}");
        }
        fs::set_permissions(&file, PermissionsExt::from_mode(0o200)).unwrap();
        write(&file, b"new").unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

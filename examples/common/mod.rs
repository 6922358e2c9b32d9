//! What the examples share: devices, plots, pictures and data sets.
#![allow(dead_code, unused_imports)] // each example uses a part

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub mod cats;
pub mod device;
pub mod digits;
pub mod passes;
pub mod picture;
pub mod plot;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod window;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// How an example ends: an error is told in its own words.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a file whole or not at all, making its folder where there is none.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    in_folder(path, |partial| {
        std::fs::write(partial, contents.as_ref())
            .and_then(|()| std::fs::rename(partial, path))
            .inspect_err(|_| drop(std::fs::remove_file(partial)))
    })
}

/// Whether a file could be written there: better to know before the training than after it.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(format!("cannot write {}: it is a folder", path.display()).into());
    }
    in_folder(path, |partial| std::fs::write(partial, []).and_then(|()| std::fs::remove_file(partial)))
}

/// The same of several files, which must not be one.
pub fn check_outputs(paths: &[&Path]) -> Result<()> {
    let mut whole: Vec<PathBuf> = Vec::new();
    for path in paths {
        check_writable(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = folder.canonicalize()?.join(path.file_name().unwrap_or_default());
        if whole.contains(&file) {
            return Err(format!("{} is asked to hold two things: give each a file of its own", path.display()).into());
        }
        whole.push(file);
    }
    Ok(())
}

/// Makes the folder of a file, then does something with the place where the file stands until it is whole.
fn in_folder(path: &Path, act: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| act(&partial(path))).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

/// Where a file stands until it is whole.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

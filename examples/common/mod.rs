//! What the examples share: options, devices, plots, pictures and data sets.
#![allow(dead_code, unused_imports, unused_macros)] // each example uses a part

use std::path::{Path, PathBuf};
use std::process::ExitCode;

// These hide the standard macros of the same names, which panic where nobody reads on, as in `neuron | head -1`: a
// training goes on then, and its files are written.
macro_rules! println {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}
macro_rules! eprintln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

pub mod cats;
pub mod device;
pub mod digits;
pub mod folder;
pub mod networks;
pub mod options;
pub mod passes;
pub mod picture;
pub mod plot;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod steps;
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
    in_folder(path)?;
    Ok(wgrad::write_output(path, contents.as_ref())?)
}

/// Whether these files could be written, each one of its own, in folders that are made where there are none: better to
/// know before the training than after it.
pub fn check_outputs<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<()> {
    let mut whole: Vec<PathBuf> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(format!("cannot write {}: it is a folder", path.display()).into());
        }
        in_folder(path)?;
        wgrad::check_output(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = folder.canonicalize()?.join(path.file_name().unwrap_or_default());
        if whole.contains(&file) {
            return Err(format!("{} is asked to hold two things: give each a file of its own", path.display()).into());
        }
        whole.push(file);
    }
    Ok(())
}

/// The files of a folder that are to be written, checked.
pub fn outputs<const N: usize>(folder: &Path, names: [&str; N]) -> Result<[PathBuf; N]> {
    let files = names.map(|name| folder.join(name));
    check_outputs(&files)?;
    Ok(files)
}

/// Makes the folder of a file.
fn in_folder(path: &Path) -> Result<()> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.map_err(|error| {
        let reason = match path.ancestors().skip(1).find(|above| above.is_file()) {
            Some(file) => format!("{} is a file, not a folder", file.display()),
            None => error.to_string(),
        };
        format!("cannot write {}: {reason}", path.display()).into()
    })
}

//! Code that the examples share: options, devices, plots, images and data sets.
#![allow(dead_code, unused_imports, unused_macros)] // each example uses some of the modules

use std::path::{Path, PathBuf};
use std::process::ExitCode;

// These replace the standard macros, which panic if the reader closes the pipe, as in `neuron | head -1`. With these
// the training continues and writes its files.
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

pub mod camera;
pub mod cats;
pub mod device;
pub mod digit_plots;
pub mod mnist_files;
pub mod networks;
pub mod options;
pub mod passes;
pub mod picture;
pub mod picture_folder;
pub mod plot;
pub mod progress;
pub mod report;
pub mod snapshots;
pub mod training_options;
pub mod window;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The exit code of an example. Prints the error, if there is one.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a file completely or not at all. Creates its folder if necessary.
pub fn write_file(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    create_folder_of(path)?;
    Ok(wgrad::write_output(path, contents.as_ref())?)
}

/// Checks before the training that these files can be written. Creates their folders. Returns an error for a path that
/// is a folder, cannot be written, or occurs twice.
pub fn check_outputs<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<()> {
    let mut checked: Vec<PathBuf> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(format!("cannot write {}: it is a folder", path.display()).into());
        }
        create_folder_of(path)?;
        wgrad::check_output(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = folder.canonicalize()?.join(path.file_name().unwrap_or_default());
        if checked.contains(&file) {
            return Err(format!("two outputs would be written to {}: give each its own file", path.display()).into());
        }
        checked.push(file);
    }
    Ok(())
}

/// The paths of output files in a folder, after [`check_outputs`].
pub fn checked_outputs<const N: usize>(folder: &Path, names: [&str; N]) -> Result<[PathBuf; N]> {
    let files = names.map(|name| folder.join(name));
    check_outputs(&files)?;
    Ok(files)
}

/// Creates the folder of a file.
fn create_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.map_err(|error| {
        let reason = match path.ancestors().skip(1).find(|above| above.is_file()) {
            Some(file) => format!("{} is a file, not a folder", file.display()),
            None => error.to_string(),
        };
        format!("cannot write {}: {reason}", path.display()).into()
    })
}

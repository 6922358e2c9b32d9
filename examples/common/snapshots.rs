//! Image files of the network's state after 1, 2, 4, 8, ... steps.

use std::path::{Path, PathBuf};

use super::Result;

/// The steps with a snapshot: the powers of two, and the last step.
pub fn steps(last: u32) -> Vec<u32> {
    (0..32).map(|power| 1u32 << power).take_while(|&step| step < last).chain([last]).collect()
}

/// The image file of a step.
pub fn path(folder: &Path, step: u32) -> PathBuf {
    folder.join(format!("step_{step:06}.png"))
}

/// Removes the image files of other steps, which a longer run wrote.
pub fn remove_old(folder: &Path, last: u32) -> Result<()> {
    let of_this_run: Vec<PathBuf> = steps(last).into_iter().map(|step| path(folder, step)).collect();
    for entry in folder.read_dir()? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let step = name.strip_prefix("step_").and_then(|rest| rest.strip_suffix(".png")).and_then(|n| n.parse().ok());
        if step.is_some_and(|step| file == path(folder, step)) && !of_this_run.contains(&file) {
            std::fs::remove_file(&file).map_err(|e| format!("cannot remove {}: {e}", file.display()))?;
        }
    }
    Ok(())
}

//! Pictures of what is learned at every power of two steps.

use std::path::{Path, PathBuf};

use super::Result;

/// The steps that are looked at: every power of two, and the last.
pub fn looked_at(last: u32) -> Vec<u32> {
    (0..32).map(|power| 1u32 << power).take_while(|&step| step < last).chain([last]).collect()
}

/// The picture of a step.
pub fn file(folder: &Path, step: u32) -> PathBuf {
    folder.join(format!("step_{step:06}.png"))
}

/// Removes the pictures of other steps, which a longer run has left.
pub fn remove_others(folder: &Path, last: u32) -> Result<()> {
    let of_this_run: Vec<PathBuf> = looked_at(last).into_iter().map(|step| file(folder, step)).collect();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name.strip_prefix("step_").and_then(|rest| rest.strip_suffix(".png")).and_then(|n| n.parse().ok());
        if step.is_some_and(|step| path == file(folder, step)) && !of_this_run.contains(&path) {
            std::fs::remove_file(&path).map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
        }
    }
    Ok(())
}

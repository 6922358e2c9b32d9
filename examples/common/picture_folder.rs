//! Folders of images: their files, and a data set from one folder per class.

use std::path::{Path, PathBuf};

use wgrad::Dataset;

use super::{Result, picture};

/// The entries of a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The PNG and JPEG files of a folder, sorted by name.
pub fn picture_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_picture = |file: &PathBuf| {
        let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
        ["png", "jpg", "jpeg"].iter().any(|known| extension == *known)
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
}

/// A data set of the PNG and JPEG images in the subfolders of a folder, and the names of the classes. Each subfolder
/// is a class. Images are scaled to \[`side`, `side`, 3\]. The input is named "image" and the labels "class".
pub fn labelled_pictures(folder: &Path, side: u32) -> Result<(Dataset, Vec<String>)> {
    let (mut pixels, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let files = picture_files(&class)?;
        for file in &files {
            pixels.extend(picture::load_rgb(file, side, side)?);
            labels.push(names.len() as u32);
        }
        if !files.is_empty() {
            names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    if names.len() < 2 {
        let found = names.len();
        let what = "at least 2 subfolders with PNG or JPEG images, one subfolder per class";
        return Err(format!("{}: expected {what}, found {found}", folder.display()).into());
    }
    let data = Dataset::of_rows(labels.len())
        .input("image", pixels, [side, side, 3])
        .normalised("image", &[0.5], &[0.25])
        .labels("class", labels, names.len() as u32)
        .build()?;
    Ok((data, names))
}

//! The cat data set of Coursera's course "Neural Networks and Deep Learning": 209 training images and 50 test images,
//! in two HDF5 files.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use hdf5_reader::{Dataset, Hdf5File};
use sha2::{Digest, Sha256};

use super::{Result, write_file};

/// Width and height of an image, in pixels.
pub const SIDE: u32 = 64;
/// Features of an image: red, green and blue of each pixel, row by row.
pub const FEATURES: usize = (SIDE * SIDE * 3) as usize;

/// Training and test images. Class 1 is a cat, class 0 is no cat.
pub struct Cats {
    pub train: Pictures,
    pub test: Pictures,
    /// The name of each class.
    pub classes: Vec<String>,
}

/// Images of [`FEATURES`] bytes each, one after the other, and their classes.
pub struct Pictures {
    pub pixels: Vec<u8>,
    pub labels: Vec<u32>,
}

/// The files and their SHA-256.
const FILES: [(&str, &str); 2] = [
    ("train_catvnoncat.h5", "fbe56ab67c3ae28d564e3a644189117976d6b31af0a3ce9bb17dbf22908af242"),
    ("test_catvnoncat.h5", "6a9d39ce52fa85953c5834695b8534a30ed8cfd54971fb2f080b5a24d002b951"),
];

/// Addresses of public copies, tried in this order.
const SOURCES: [&str; 3] = [
    "https://github.com/ridhimagarg/Cat-vs-Non-cat-Deep-learning-implementation/raw/master/datasets",
    "https://raw.githubusercontent.com/jalalmansoori19/Cat-Classifier/master/datasets",
    "https://raw.githubusercontent.com/Youngyi/DeepLearning/dff21304241c5e651d4a6680cba6e23c3990e915/datasets",
];

/// Downloads missing files with curl. Prints a warning if an existing file has another SHA-256.
pub fn download_missing(folder: &Path) -> Result<()> {
    for (file, sha256) in FILES {
        let path = folder.join(file);
        match std::fs::read(&path) {
            Ok(contents) => {
                let found = digest(&contents);
                if found != sha256 {
                    let advice = "not the file of the course, or damaged: delete it to download it again";
                    eprintln!("{}: {advice} (SHA-256 expected {sha256}, got {found})", path.display());
                }
                continue;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        }
        println!("{} is missing: downloading it", path.display());
        let mut faults = String::new();
        let contents = SOURCES.iter().find_map(|source| {
            let url = format!("{source}/{file}");
            download(&url, sha256).inspect_err(|e| faults += &format!("\n  {url}: {e}")).ok()
        });
        let Some(contents) = contents else {
            let advice = format!("download it by hand from one of these addresses, SHA-256 {sha256}");
            return Err(format!("cannot download {}: {advice}{faults}", path.display()).into());
        };
        write_file(&path, contents)?;
    }
    Ok(())
}

fn digest(contents: &[u8]) -> String {
    Sha256::digest(contents).iter().map(|b| format!("{b:02x}")).collect()
}

fn download(url: &str, sha256: &str) -> Result<Vec<u8>> {
    let mut curl = Command::new("curl");
    curl.args([
        "--fail",
        "--location",
        "--silent",
        "--show-error",
        "--connect-timeout",
        "20",
        "--max-time",
        "300",
        url,
    ]);
    let output = curl.output().map_err(|e| format!("cannot run curl: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let digest = digest(&output.stdout);
    match digest == sha256 {
        true => Ok(output.stdout),
        false => Err(format!("SHA-256: expected {sha256}, got {digest}").into()),
    }
}

/// Reads both files.
pub fn read(folder: &Path) -> Result<Cats> {
    let [train, test] = FILES.map(|(file, _)| folder.join(file));
    let classes = read_file(&train, class_names)?;
    let pictures = |path, part| read_file(path, |file| pictures(file, part, classes.len()));
    Ok(Cats { train: pictures(&train, "train")?, test: pictures(&test, "test")?, classes })
}

/// Opens a file and reads a part of it. Errors name the file.
fn read_file<T>(path: &Path, read: impl FnOnce(&Hdf5File) -> Result<T>) -> Result<T> {
    let open = || -> Result<_> { Ok(Hdf5File::from_vec(std::fs::read(path)?)?) };
    open().and_then(|file| read(&file)).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn class_names(file: &Hdf5File) -> Result<Vec<String>> {
    let name = "list_classes";
    let names = dataset(file, name, |shape| shape == [2], "[2]")?.read_strings();
    names.map_err(|e| format!("data set {name}: {e}").into())
}

fn pictures(file: &Hdf5File, part: &str, classes: usize) -> Result<Pictures> {
    let fits = |shape: &[u64]| matches!(shape, [n, h, w, 3] if *n > 0 && [*h, *w] == [u64::from(SIDE); 2]);
    let (x, y) = (format!("{part}_set_x"), format!("{part}_set_y"));
    let pixels = dataset(file, &x, fits, &format!("[pictures, {SIDE}, {SIDE}, 3]"))?;
    let rows = pixels.shape()[0];
    let labels = dataset(file, &y, |shape| shape == [rows], &format!("[{rows}]"))?;
    let pixels = pixels.read_array::<u8>()?.into_iter().collect();
    let labels = labels.read_array::<i64>()?;
    let labels = labels.into_iter().enumerate().map(|(row, label)| match u32::try_from(label) {
        Ok(label) if (label as usize) < classes => Ok(label),
        _ => Err(format!("data set {y}: label of row {row}: expected 0 to {}, got {label}", classes - 1)),
    });
    Ok(Pictures { pixels, labels: labels.collect::<Result<_, _>>()? })
}

fn dataset(file: &Hdf5File, name: &str, fits: impl Fn(&[u64]) -> bool, expected: &str) -> Result<Dataset> {
    let dataset = file.dataset(name)?;
    match fits(dataset.shape()) {
        true => Ok(dataset),
        false => Err(format!("data set {name}: expected the shape {expected}, got {:?}", dataset.shape()).into()),
    }
}

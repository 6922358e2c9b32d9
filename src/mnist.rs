//! Reads and checks the MNIST files. Feature `mnist`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// The MNIST data set: images and labels of the training set and of the test set.
#[derive(Debug, Clone)]
pub struct Mnist {
    /// 60,000 images of shape \[28, 28, 1\]; a network of 784 inputs also takes them. The input is named "input", the
    /// labels "output".
    pub train: Dataset,
    /// 10,000 images for testing.
    pub test: Dataset,
}

/// Height and width of an image.
pub const SIDE: usize = 28;

/// Number of training images.
pub const TRAIN_ROWS: usize = 60_000;
const TEST: u32 = 10_000;

/// A file of the set: its name, its magic number and its dimensions.
struct IdxFile {
    name: &'static str,
    magic: u32,
    dimensions: &'static [u32],
}

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

const FILES: [IdxFile; 4] = [
    IdxFile {
        name: "train-images-idx3-ubyte",
        magic: IMAGES,
        dimensions: &[TRAIN_ROWS as u32, SIDE as u32, SIDE as u32],
    },
    IdxFile { name: "train-labels-idx1-ubyte", magic: LABELS, dimensions: &[TRAIN_ROWS as u32] },
    IdxFile { name: "t10k-images-idx3-ubyte", magic: IMAGES, dimensions: &[TEST, SIDE as u32, SIDE as u32] },
    IdxFile { name: "t10k-labels-idx1-ubyte", magic: LABELS, dimensions: &[TEST] },
];

impl Mnist {
    /// Reads the four files from a folder, under their usual names, with or without `.gz`. Fashion-MNIST and other
    /// sets of the same size and format work too.
    ///
    /// # Errors
    /// - [`Error::File`] for the first file that is missing, truncated, or not IDX of the right size.
    /// - [`Error::LabelOutOfRange`] for the first label above 9.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        // The parser reads only uncompressed files and panics on invalid ones. So check the files, and unpack them
        // into a temporary folder.
        let unpacked = Unpacked::new()?;
        std::thread::scope(|scope| {
            let files = FILES.each_ref().map(|file| {
                let to = unpacked.0.join(file.name);
                scope.spawn(move || {
                    let (path, bytes) = read_unpacked(folder, file.name)?;
                    check(file, &path, &bytes)?;
                    fs::write(&to, bytes).map_err(|e| data_file(&to, e.to_string()))
                })
            });
            files.into_iter().try_for_each(|file| file.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
        })?;
        let base = unpacked.0.to_str().ok_or_else(|| data_file(&unpacked.0, "the path is not valid UTF-8".into()))?;
        let mnist = mnist::MnistBuilder::new()
            .base_path(base)
            .label_format_digit()
            .training_set_length(TRAIN_ROWS as u32)
            .validation_set_length(0)
            .test_set_length(TEST)
            .finalize();
        let dataset = |images, labels: Vec<u8>| {
            let labels = labels.into_iter().map(u32::from).collect();
            let data = Dataset::from_u8(images, SIDE * SIDE, labels, 10)?;
            Ok::<_, Error>(data.with_input_shape(Shape::of(&[SIDE as u32, SIDE as u32, 1])))
        };
        Ok(Self { train: dataset(mnist.trn_img, mnist.trn_lbl)?, test: dataset(mnist.tst_img, mnist.tst_lbl)? })
    }
}

/// Prefix of the folder's name. The process id and a number follow.
const FOLDER: &str = "wgrad-mnist-";

/// A temporary folder, deleted when dropped.
struct Unpacked(PathBuf);

impl Unpacked {
    fn new() -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self::remove_stale(&std::env::temp_dir());
        let path = std::env::temp_dir().join(format!("{FOLDER}{}-{count}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| data_file(&path, e.to_string()))?;
        Ok(Self(path))
    }

    /// Deletes folders that killed processes have left. Process ids are not unique if containers share the temporary
    /// folder, so only folders older than a minute are deleted.
    fn remove_stale(folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split_once('-'));
            let process = process.and_then(|(process, count)| count.parse::<u32>().ok().and(process.parse().ok()));
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            #[cfg(not(target_family = "wasm"))]
            if age.as_secs() > 60 && process.is_some_and(crate::process::is_gone) {
                let _ = fs::remove_dir_all(entry.path());
            }
            #[cfg(target_family = "wasm")]
            let _: (Option<u32>, _) = (process, age);
        }
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // An error has no consequence: the system clears its temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The contents of `name` or `name.gz`, and the path of the file that was read.
fn read_unpacked(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let plain = folder.join(name);
    if plain.exists() {
        let bytes = fs::read(&plain).map_err(|e| data_file(&plain, e.to_string()))?;
        return Ok((plain, bytes));
    }
    let packed = folder.join(format!("{name}.gz"));
    let file = fs::read(&packed).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => data_file(&packed, format!("not found, and {name} was not found either")),
        _ => data_file(&packed, e.to_string()),
    })?;
    // The last four bytes of a gzip file are its unpacked size.
    let size = file.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b)).min(1 << 28);
    let mut bytes = Vec::with_capacity(size as usize);
    flate2::read::GzDecoder::new(file.as_slice())
        .read_to_end(&mut bytes)
        .map_err(|e| data_file(&packed, format!("cannot be unpacked: {e}")))?;
    Ok((packed, bytes))
}

/// Checks the header and the length of an IDX file: magic number and dimensions, big-endian, then one byte a value.
fn check(file: &IdxFile, path: &Path, bytes: &[u8]) -> Result<()> {
    let word = |i: usize| -> Result<u32> {
        let word = bytes.as_chunks().0.get(i).map(|word| u32::from_be_bytes(*word));
        word.ok_or_else(|| data_file(path, format!("cut short: the header ends after {} bytes", bytes.len())))
    };
    let magic = word(0)?;
    if magic != file.magic {
        return Err(data_file(
            path,
            format!("not the IDX file: expected the start {:#010x}, got {magic:#010x}", file.magic),
        ));
    }
    let dimensions = (1..=file.dimensions.len()).map(word).collect::<Result<Vec<_>>>()?;
    if dimensions != file.dimensions {
        return Err(data_file(path, format!("dimensions: expected {:?}, got {dimensions:?}", file.dimensions)));
    }
    let expected = 4 * (1 + dimensions.len()) + dimensions.iter().map(|&d| d as usize).product::<usize>();
    if bytes.len() != expected {
        let fault = if bytes.len() < expected { "cut short" } else { "too long" };
        return Err(data_file(path, format!("{fault}: expected {expected} bytes, got {}", bytes.len())));
    }
    Ok(())
}

fn data_file(path: &Path, reason: String) -> Error {
    Error::File { path: path.display().to_string(), reason }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_are_removed() {
        let folder = std::env::temp_dir().join(format!("wgrad-mnist-test-{}", std::process::id()));
        let own = format!("{}-999", std::process::id());
        let [gone, new, own, other] = [&format!("{}-0", u32::MAX), &format!("{}-1", u32::MAX), &own, "notes"]
            .map(|name| folder.join(format!("{FOLDER}{name}")));
        for made in [&gone, &new, &own, &other] {
            fs::create_dir_all(made.join("inside")).unwrap();
        }
        for old in [&gone, &own, &other] {
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(90);
            fs::File::open(old).unwrap().set_modified(time).unwrap();
        }
        Unpacked::remove_stale(&folder);
        assert!(!gone.exists() && new.exists() && own.exists() && other.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! The MNIST files: checked, unpacked and read. Feature `mnist`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// Images and labels of the training and of the test set.
#[derive(Debug, Clone)]
pub struct Mnist {
    /// 60,000 images of 28×28 pixels.
    pub train: Dataset,
    /// 10,000 more.
    pub test: Dataset,
}

/// Rows and columns of an image.
pub const SIDE: usize = 28;

/// Images to train on.
pub const TRAIN_ROWS: usize = 60_000;
const TEST: u32 = 10_000;

/// A file of the set: its name, the magic number it starts with, and its dimensions.
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
    /// sets of the same size and format will do.
    ///
    /// # Errors
    /// [`Error::File`] for the first file that is missing, cut short, or not IDX of the right size;
    /// [`Error::LabelOutOfRange`].
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        // The parser takes plain files only, and panics on bad ones: check, and unpack into a folder of our own.
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
        let base = unpacked.0.to_str().ok_or_else(|| data_file(&unpacked.0, "its path is not UTF-8".into()))?;
        let mnist = mnist::MnistBuilder::new()
            .base_path(base)
            .label_format_digit()
            .training_set_length(TRAIN_ROWS as u32)
            .validation_set_length(0)
            .test_set_length(TEST)
            .finalize();
        let dataset = |images, labels: Vec<u8>| {
            Dataset::from_u8(images, SIDE * SIDE, labels.into_iter().map(u32::from).collect(), 10)
        };
        Ok(Self { train: dataset(mnist.trn_img, mnist.trn_lbl)?, test: dataset(mnist.tst_img, mnist.tst_lbl)? })
    }
}

/// A temporary folder, removed when dropped.
struct Unpacked(PathBuf);

impl Unpacked {
    fn new() -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wgrad-mnist-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| data_file(&path, e.to_string()))?;
        Ok(Self(path))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Nothing is lost where this fails: the system clears its temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The contents of `name` or `name.gz`, and which of the two it was.
fn read_unpacked(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let plain = folder.join(name);
    if plain.exists() {
        let bytes = fs::read(&plain).map_err(|e| data_file(&plain, e.to_string()))?;
        return Ok((plain, bytes));
    }
    let packed = folder.join(format!("{name}.gz"));
    let file = fs::read(&packed).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => data_file(&packed, format!("not found, and neither is {name}")),
        _ => data_file(&packed, e.to_string()),
    })?;
    // The last four bytes of a gzip file tell its unpacked size.
    let size = file.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b)).min(1 << 28);
    let mut bytes = Vec::with_capacity(size as usize);
    flate2::read::GzDecoder::new(file.as_slice())
        .read_to_end(&mut bytes)
        .map_err(|e| data_file(&packed, format!("cannot be unpacked: {e}")))?;
    Ok((packed, bytes))
}

/// Checks the header and the length of an IDX file: magic number and dimensions, big-endian, then a byte each.
fn check(file: &IdxFile, path: &Path, bytes: &[u8]) -> Result<()> {
    let word = |i: usize| -> Result<u32> {
        let end = bytes.get(i * 4..i * 4 + 4).and_then(|b| b.first_chunk::<4>());
        end.map(|b| u32::from_be_bytes(*b))
            .ok_or_else(|| data_file(path, format!("cut short: {} bytes, in the midst of its header", bytes.len())))
    };
    let magic = word(0)?;
    if magic != file.magic {
        return Err(data_file(path, format!("not IDX: it starts with {magic:#010x}, expected {:#010x}", file.magic)));
    }
    let dimensions = (1..=file.dimensions.len()).map(word).collect::<Result<Vec<_>>>()?;
    if dimensions != file.dimensions {
        return Err(data_file(path, format!("its dimensions are {dimensions:?}, expected {:?}", file.dimensions)));
    }
    let expected = 4 * (1 + dimensions.len()) + dimensions.iter().map(|&d| d as usize).product::<usize>();
    if bytes.len() != expected {
        let fault = if bytes.len() < expected { "cut short" } else { "too long" };
        return Err(data_file(path, format!("{fault}: {} bytes, expected {expected}", bytes.len())));
    }
    Ok(())
}

fn data_file(path: &Path, reason: String) -> Error {
    Error::File { path: path.display().to_string(), reason }
}

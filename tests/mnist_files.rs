//! Tests the reader of the MNIST files. It reads valid files and returns an error for missing, truncated or wrong
//! files.

use std::path::{Path, PathBuf};

use wgrad::Error;
use wgrad::mnist::Mnist;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist")
}

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// A folder with the four files. A test damages one of them.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wgrad-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for file in FILES {
            std::fs::copy(data().join(format!("{file}.gz")), path.join(format!("{file}.gz"))).unwrap();
        }
        Self(path)
    }

    fn fault(&self) -> String {
        let Error::File { path, reason } = Mnist::read(&self.0).unwrap_err() else { panic!("another error") };
        format!("{}: {reason}", Path::new(&path).file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_real_files_are_read_whole() {
    let mnist = Mnist::read(data()).unwrap();
    assert_eq!((mnist.train.rows(), mnist.test.rows(), mnist.train.features()), (60_000, 10_000, 784));
    assert_eq!(mnist.train.labels()[..8], [5, 0, 4, 1, 9, 2, 1, 3]);
    assert_eq!(mnist.test.labels()[..8], [7, 2, 1, 0, 4, 1, 4, 9]);
    // The pixel sum of the first image and the class counts are published facts of the data set.
    let first: f32 = mnist.train.features_of(0..1).iter().map(|p| p * 255.0).sum();
    assert_eq!(first.round(), 27_525.0);
    assert_eq!(mnist.train.labels().iter().filter(|&&l| l == 5).count(), 5421);
}

#[test]
fn missing_and_foreign_files_are_named() {
    let folder = Folder::new("missing");
    std::fs::remove_file(folder.0.join("t10k-labels-idx1-ubyte.gz")).unwrap();
    assert_eq!(folder.fault(), "t10k-labels-idx1-ubyte.gz: not found, and t10k-labels-idx1-ubyte was not found either");
    std::fs::write(folder.0.join("t10k-labels-idx1-ubyte"), b"<html>404</html>").unwrap();
    assert_eq!(
        folder.fault(),
        "t10k-labels-idx1-ubyte: not the IDX file: expected the start 0x00000801, got 0x3c68746d"
    );
    std::fs::write(folder.0.join("t10k-labels-idx1-ubyte"), b"\0\0").unwrap();
    assert_eq!(folder.fault(), "t10k-labels-idx1-ubyte: cut short: the header ends after 2 bytes");
    let gone = Mnist::read("no/such/folder").unwrap_err().to_string();
    assert!(gone.starts_with("no/such/folder/train-images-idx3-ubyte.gz: not found"), "{gone}");
}

#[test]
fn files_cut_short_or_of_another_size_are_named() {
    let folder = Folder::new("short");
    let packed = folder.0.join("train-labels-idx1-ubyte.gz");
    let whole = std::fs::read(&packed).unwrap();
    std::fs::write(&packed, &whole[..whole.len() / 2]).unwrap();
    assert!(folder.fault().starts_with("train-labels-idx1-ubyte.gz: cannot be unpacked: "), "{}", folder.fault());

    let mut labels = 0x0801u32.to_be_bytes().to_vec();
    labels.extend(60_000u32.to_be_bytes());
    labels.resize(8 + 59_999, 3);
    let plain = folder.0.join("train-labels-idx1-ubyte");
    std::fs::write(&plain, &labels).unwrap();
    assert_eq!(folder.fault(), "train-labels-idx1-ubyte: cut short: expected 60008 bytes, got 60007");
    labels.resize(8 + 60_001, 3);
    std::fs::write(&plain, &labels).unwrap();
    assert_eq!(folder.fault(), "train-labels-idx1-ubyte: too long: expected 60008 bytes, got 60009");
    labels[4..8].copy_from_slice(&1000u32.to_be_bytes());
    std::fs::write(&plain, &labels).unwrap();
    assert_eq!(folder.fault(), "train-labels-idx1-ubyte: dimensions: expected [60000], got [1000]");

    labels[4..8].copy_from_slice(&60_000u32.to_be_bytes());
    labels.resize(8 + 60_000, 3);
    labels[8 + 123] = 77;
    std::fs::write(&plain, &labels).unwrap();
    let error = Mnist::read(&folder.0).unwrap_err().to_string();
    assert_eq!(error, "label of row 123: expected a class below 10, got 77");
}

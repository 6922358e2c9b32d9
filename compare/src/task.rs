//! What every engine is given: the network, where its weights start, and the data, in files that any language can read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use wgrad::{Activation, Network, mnist::Mnist};

use crate::Result;

/// Units of each layer, the input first.
pub const WIDTHS: [usize; 5] = [784, 512, 256, 128, 10];
pub const FEATURES: usize = WIDTHS[0];
pub const CLASSES: usize = WIDTHS[4];

/// Whole batches of every size that is compared: nobody has a short one.
pub const ROWS: usize = 58 * 1024;

pub const LEARNING_RATE: f64 = 0.001;
pub const BETA1: f64 = 0.9;
pub const BETA2: f64 = 0.999;
pub const EPSILON: f64 = 1e-8;

const TRAIN_IMAGES: &str = "train-images.u8";
const TRAIN_LABELS: &str = "train-labels.u8";
const TEST_IMAGES: &str = "test-images.u8";
const TEST_LABELS: &str = "test-labels.u8";
const WEIGHTS: &str = "weights.f32";

/// A folder of files, and the batch size of one process.
pub struct Task {
    folder: PathBuf,
    pub batch: usize,
}

/// Row-major [inputs, outputs], and one number an output.
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Task {
    /// Unpacks MNIST into the folder, and draws the weights that all start from.
    pub fn write(mnist: &Path, folder: &Path) -> Result<()> {
        let data = Mnist::read(mnist)?;
        for (set, rows, images, labels) in
            [(&data.train, ROWS, TRAIN_IMAGES, TRAIN_LABELS), (&data.test, data.test.rows(), TEST_IMAGES, TEST_LABELS)]
        {
            let bytes: Vec<u8> = set.features_of(0..rows).iter().map(|v| (v * 255.0).round() as u8).collect();
            fs::write(folder.join(images), bytes)?;
            let classes: Vec<u8> = set.labels()[..rows].iter().map(|&c| c as u8).collect();
            fs::write(folder.join(labels), classes)?;
        }
        let network = network()?;
        let start = network.initial_parameters(0);
        let weights: Vec<u8> =
            network.parameters().iter().flat_map(|p| &start[p.range()]).flat_map(|v| v.to_le_bytes()).collect();
        fs::write(folder.join(WEIGHTS), weights)?;
        Ok(())
    }

    pub fn open(folder: PathBuf, batch: usize) -> Self {
        Self { folder, batch }
    }

    fn file(&self, name: &str) -> Result<File> {
        let path = self.folder.join(name);
        File::open(&path).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        self.file(name)?.read_to_end(&mut contents).map_err(|e| format!("{name}: {e}"))?;
        Ok(contents)
    }

    pub fn train_images(&self) -> Result<Vec<u8>> {
        self.read(TRAIN_IMAGES)
    }

    /// The same, to be read piece by piece.
    pub fn train_images_file(&self) -> Result<File> {
        self.file(TRAIN_IMAGES)
    }

    pub fn train_labels(&self) -> Result<Vec<u8>> {
        self.read(TRAIN_LABELS)
    }

    /// The first rows of the test set, as many as a batch has.
    pub fn test_features(&self) -> Result<Vec<f32>> {
        Ok(scaled(&self.read(TEST_IMAGES)?[..self.batch * FEATURES]))
    }

    pub fn test_labels(&self) -> Result<Vec<u8>> {
        Ok(self.read(TEST_LABELS)?[..self.batch].to_vec())
    }

    /// The weights to start from, in the order of the layers.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let bytes = self.read(WEIGHTS)?;
        let mut values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut take = |count| values.by_ref().take(count).collect::<Vec<f32>>();
        let layer = |w: &[usize]| Layer { inputs: w[0], outputs: w[1], weight: take(w[0] * w[1]), bias: take(w[1]) };
        Ok(WIDTHS.windows(2).map(layer).collect())
    }

    /// The training set, a batch at a time, for engines that take batches from the host.
    pub fn batches(&self) -> Result<Batches> {
        Ok(Batches { images: self.train_images()?, labels: self.train_labels()?, rows: self.batch, next: 0 })
    }

    /// Mean softmax cross-entropy of logits of the test rows.
    pub fn loss(&self, logits: &[f32]) -> Result<f64> {
        let labels = self.test_labels()?;
        if logits.len() != labels.len() * CLASSES {
            return Err(format!("{} logits for {} rows", logits.len(), labels.len()).into());
        }
        let of_row = |(row, &label): (&[f32], &u8)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
            sum.ln() - f64::from(row[usize::from(label)] - most)
        };
        Ok(logits.chunks_exact(CLASSES).zip(&labels).map(of_row).sum::<f64>() / labels.len() as f64)
    }
}

/// Batches of the training set, in its order, round and round.
pub struct Batches {
    images: Vec<u8>,
    labels: Vec<u8>,
    rows: usize,
    next: usize,
}

impl Batches {
    /// Features as numbers from 0 to 1, and labels.
    pub fn next_batch(&mut self) -> (Vec<f32>, &[u8]) {
        let rows = self.next..self.next + self.rows;
        self.next = if rows.end + self.rows > ROWS { 0 } else { rows.end };
        (scaled(&self.images[rows.start * FEATURES..rows.end * FEATURES]), &self.labels[rows])
    }
}

fn scaled(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&b| f32::from(b) * (1.0 / 255.0)).collect()
}

/// The network as wgrad describes it.
pub fn network() -> Result<Network> {
    let [input, hidden @ .., output] = WIDTHS.map(|w| w as u32);
    let network = hidden.into_iter().fold(Network::input(input), |n, units| n.dense(units, Activation::Relu));
    Ok(network.dense(output, Activation::Identity).build()?)
}

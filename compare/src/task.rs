//! The task of every engine: the network, its initial weights and the data, in files that any language can read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wgrad::{Network, mnist::Mnist};

use crate::Result;
use crate::benchmarks::{Benchmark, Data, Step, weighted};
use crate::networks::NETWORKS;

pub const LEARNING_RATE: f64 = 0.001;
pub const BETA1: f64 = 0.9;
pub const BETA2: f64 = 0.999;
pub const EPSILON: f64 = 1e-8;

/// Number of classes of every task with labels.
pub const CLASSES: usize = 10;

const NETWORK: &str = "network.json";
const WEIGHTS: &str = "weights.f32";
const TRAIN: [&str; 2] = ["train-inputs.u8", "train-targets.u8"];
const TEST: [&str; 2] = ["test-inputs.u8", "test-targets.u8"];

/// A folder with the task's files, and the batch size of one process.
pub struct Task {
    folder: PathBuf,
    pub batch: usize,
    pub network: Description,
    /// Whether images and their weights are returned with channels first: \[channels, height, width\].
    channels_first: bool,
}

/// The contents of network.json.
#[derive(Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    /// Shape of a sample, channels last.
    pub input: Vec<usize>,
    /// Whether targets are labels (softmax cross-entropy) or images of the input's shape (mean squared error).
    pub labels: bool,
    pub steps: Vec<Step>,
    /// Names and shapes of the weights, in file order.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// Weights, row-major.
#[derive(Clone)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A step with weights: weight and bias, or scale and shift.
pub struct Layer {
    pub step: Step,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Description {
    /// Number of values in a sample.
    pub fn features(&self) -> usize {
        self.input.iter().product()
    }

    /// The network as a wgrad network.
    pub fn network(&self) -> Result<Network> {
        let (_, make) = NETWORKS.iter().find(|(name, _)| *name == self.name).ok_or("no such network")?;
        Ok(make()?)
    }
}

impl Task {
    /// Writes the data and the initial weights.
    pub fn write(benchmark: &Benchmark, mnist: &Path, folder: &Path) -> Result<()> {
        let sets = [(TRAIN, benchmark.rows), (TEST, benchmark.test_rows)];
        let mnist = (benchmark.data == Data::Mnist).then(|| Mnist::read(mnist)).transpose()?;
        let mut made_up = MadeUp::new(benchmark.input);
        for (names, rows) in sets {
            let pair = match (&mnist, benchmark.data) {
                (Some(mnist), _) => {
                    let set = if names == TRAIN { &mnist.train } else { &mnist.test };
                    let bytes = set.features_of(0..rows).iter().map(|v| (v * 255.0).round() as u8).collect();
                    [bytes, set.labels()[..rows].iter().map(|&class| class as u8).collect()]
                }
                (None, Data::Denoising) => made_up.denoising(rows),
                (None, _) => made_up.classes(rows),
            };
            for (name, bytes) in names.iter().zip(pair) {
                fs::write(folder.join(name), bytes)?;
            }
        }
        let mut description = Description {
            name: benchmark.name.into(),
            input: benchmark.input.to_vec(),
            labels: benchmark.data != Data::Denoising,
            steps: (benchmark.steps)(),
            tensors: Vec::new(),
        };
        let network = description.network()?;
        let shape = |shape: &[u32]| shape.iter().map(|&length| length as usize).collect();
        description.tensors = network.parameters().iter().map(|p| (p.name.clone(), shape(&p.shape))).collect();
        fs::write(folder.join(NETWORK), serde_json::to_vec(&description)?)?;
        let start = network.initial_parameters(0);
        let weights = network.parameters().iter().flat_map(|p| &start[p.range()]).flat_map(|v| v.to_le_bytes());
        fs::write(folder.join(WEIGHTS), weights.collect::<Vec<u8>>())?;
        Ok(())
    }

    pub fn open(folder: PathBuf, batch: usize, channels_first: bool) -> Result<Self> {
        let network = serde_json::from_slice(&fs::read(folder.join(NETWORK))?)?;
        Ok(Self { folder, batch, network, channels_first })
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

    /// Samples in the requested order of dimensions; labels stay unchanged.
    fn samples(&self, bytes: Vec<u8>, labels: bool) -> Vec<u8> {
        match self.network.input[..] {
            [height, width, channels] if self.channels_first && !labels => {
                let rows = bytes.len() / self.network.features();
                permuted(&bytes, &[rows, height, width, channels], &[0, 3, 1, 2])
            }
            _ => bytes,
        }
    }

    /// The shape of a batch of samples.
    pub fn batch_shape(&self) -> [usize; 4] {
        match self.network.input[..] {
            [height, width, channels] if self.channels_first => [self.batch, channels, height, width],
            [height, width, channels] => [self.batch, height, width, channels],
            _ => [self.batch, self.network.features(), 1, 1],
        }
    }

    /// A reader of the training inputs, channels last, and their length in bytes.
    pub fn train_inputs_file(&self) -> Result<(File, usize)> {
        let file = self.file(TRAIN[0])?;
        let length = file.metadata()?.len() as usize;
        Ok((file, length))
    }

    pub fn train_targets(&self) -> Result<Vec<u8>> {
        Ok(self.samples(self.read(TRAIN[1])?, self.network.labels))
    }

    /// The first rows of the test set: one batch.
    pub fn test_features(&self) -> Result<Vec<f32>> {
        let rows = &self.read(TEST[0])?[..self.batch * self.network.features()];
        Ok(scaled(&self.samples(rows.to_vec(), false)))
    }

    /// The initial weights.
    fn tensors(&self) -> Result<Vec<Tensor>> {
        let bytes = self.read(WEIGHTS)?;
        let mut values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut tensor = |shape: &Vec<usize>| Tensor {
            shape: shape.clone(),
            values: values.by_ref().take(shape.iter().product()).collect(),
        };
        Ok(self.network.tensors.iter().map(|(_, shape)| tensor(shape)).collect())
    }

    /// The initial weights, concatenated.
    pub fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.tensors()?.into_iter().flat_map(|t| t.values).collect())
    }

    /// The steps with weights. With channels first, weights of convolutions are \[outputs, inputs, height, width\],
    /// those of transposed convolutions \[inputs, outputs, height, width\], and a dense layer's inputs follow its
    /// image's order.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let mut tensors = self.tensors()?.into_iter();
        let mut next = || tensors.next().ok_or("fewer weights than the steps need");
        let mut layers = Vec::new();
        for step in weighted(&self.network.steps) {
            let mut weight = next()?;
            let bias = if matches!(step, Step::Conv { bias: false, .. }) { None } else { Some(next()?) };
            match step {
                Step::Dense { image: Some(image), .. } if self.channels_first => {
                    let shape = weight.shape.clone();
                    weight.shape = [&image[..], &shape[1..]].concat();
                    weight = Tensor { shape, ..weight.permuted(&[2, 0, 1, 3]) };
                }
                Step::Conv { .. } if self.channels_first => weight = weight.permuted(&[3, 2, 0, 1]),
                Step::Transposed if self.channels_first => weight = weight.permuted(&[2, 3, 0, 1]),
                _ => (),
            }
            layers.push(Layer { step: step.clone(), weight, bias });
        }
        Ok(layers)
    }

    /// The training set in batches, for engines that upload each batch.
    pub fn batches(&self) -> Result<Batches> {
        let inputs = self.samples(self.read(TRAIN[0])?, false);
        let targets = self.train_targets()?;
        let rows = inputs.len() / self.network.features();
        Ok(Batches {
            widths: [inputs.len() / rows, targets.len() / rows],
            inputs,
            targets,
            rows,
            batch: self.batch,
            next: 0,
        })
    }

    /// Mean loss of the outputs for the test rows: softmax cross-entropy or mean squared error.
    pub fn loss(&self, outputs: &[f32]) -> Result<f64> {
        let targets = self.read(TEST[1])?;
        let expected = self.batch * if self.network.labels { CLASSES } else { self.network.features() };
        if outputs.len() != expected {
            return Err(format!("expected {expected} outputs, got {}", outputs.len()).into());
        }
        if !self.network.labels {
            let targets = scaled(&self.samples(targets[..expected].to_vec(), false));
            let square = |(y, target): (&f32, f32)| f64::from(y - target).powi(2);
            return Ok(outputs.iter().zip(targets).map(square).sum::<f64>() / expected as f64);
        }
        let of_row = |(row, &label): (&[f32], &u8)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
            sum.ln() - f64::from(row[usize::from(label)] - most)
        };
        Ok(outputs.chunks_exact(CLASSES).zip(&targets).map(of_row).sum::<f64>() / self.batch as f64)
    }
}

/// Batches of the training set, in order. After the last batch it starts again.
pub struct Batches {
    inputs: Vec<u8>,
    targets: Vec<u8>,
    /// Bytes of a feature row and of a target row.
    widths: [usize; 2],
    rows: usize,
    batch: usize,
    next: usize,
}

impl Batches {
    /// Features from 0 to 1, and labels or image bytes.
    pub fn next_batch(&mut self) -> (Vec<f32>, &[u8]) {
        let rows = self.next..self.next + self.batch;
        self.next = if rows.end + self.batch > self.rows { 0 } else { rows.end };
        let of = |width: usize| rows.start * width..rows.end * width;
        (scaled(&self.inputs[of(self.widths[0])]), &self.targets[of(self.widths[1])])
    }
}

/// Bytes as numbers from 0 to 1.
pub fn scaled(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&b| f32::from(b) * (1.0 / 255.0)).collect()
}

impl Tensor {
    fn permuted(&self, order: &[usize; 4]) -> Self {
        let shape = order.iter().map(|&i| self.shape[i]).collect();
        Self { shape, values: permuted(&self.values, &self.shape, order) }
    }
}

/// The values of a tensor of this shape with its dimensions in another order.
fn permuted<T: Copy>(values: &[T], shape: &[usize], order: &[usize; 4]) -> Vec<T> {
    let strides: [usize; 4] = std::array::from_fn(|i| shape[i + 1..].iter().product());
    let [a, b, c, d] = order.map(|i| (0..shape[i]).map(move |at| at * strides[i]));
    let mut all = Vec::with_capacity(values.len());
    for a in a {
        for b in b.clone() {
            for c in c.clone() {
                all.extend(d.clone().map(|d| values[a + b + c + d]));
            }
        }
    }
    all
}

/// Generates the same images in each run.
struct MadeUp {
    state: u64,
    shape: Vec<usize>,
}

impl MadeUp {
    fn new(shape: &[usize]) -> Self {
        Self { state: 1, shape: shape.to_vec() }
    }

    /// The upper bits of a linear congruential generator with Knuth's constants.
    fn byte(&mut self) -> u8 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 56) as u8
    }

    /// Images, half noise and half a colour of the class, and their labels.
    fn classes(&mut self, rows: usize) -> [Vec<u8>; 2] {
        let features: usize = self.shape.iter().product();
        let labels: Vec<u8> = (0..rows).map(|_| self.byte() % CLASSES as u8).collect();
        let pixel = |label: u8, i: usize| label.wrapping_mul(25 + 50 * (i % 3) as u8) / 2;
        let images = labels.iter().flat_map(|&label| (0..features).map(move |i| pixel(label, i)));
        let images: Vec<u8> = images.map(|colour| colour + self.byte() / 2).collect();
        [images, labels]
    }

    /// Images of 8×8 squares, with noise and without.
    fn denoising(&mut self, rows: usize) -> [Vec<u8>; 2] {
        const SIDE: usize = 8;
        let [height, width, channels] = self.shape[..] else { unreachable!("it has images") };
        let mut clean = Vec::with_capacity(rows * height * width * channels);
        for _ in 0..rows * height / SIDE {
            let line: Vec<[u8; 3]> = (0..width / SIDE).map(|_| [(); 3].map(|()| self.byte())).collect();
            let pixels = (0..SIDE * width).flat_map(|i| line[i % width / SIDE]);
            clean.extend(pixels);
        }
        let noisy = clean.iter().map(|&value| value / 2 + self.byte() / 2).collect();
        [noisy, clean]
    }
}

//! Tests the pipeline cache on disk. A later run must find the kernels. A damaged file or another device's file must
//! not be used.
#![cfg(not(target_family = "wasm"))]

mod common;

use std::fs;
use std::path::PathBuf;

use common::*;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Error, Fit, Gpu, Loss, Network, Trainer, TrainerConfig, wgpu};

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wgrad-pipelines-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// The only file in the folder.
    fn file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Trains a little and returns the weights.
fn weights(gpu: &Gpu) -> Vec<f32> {
    let network = Network::input(4).dense(8, Relu).dense(3, Identity).build().unwrap();
    let config = TrainerConfig { batch: 8, seed: 1, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let data = Dataset::from_f32(Random(9).f32s(20 * 4), 4, (0..20).map(|i| i % 3).collect(), 3).unwrap();
    trainer.fit(&data, Fit::default(), |_| {}).unwrap();
    trainer.model().parameters().unwrap()
}

fn caches(gpu: &Gpu) -> bool {
    wgpu::util::pipeline_cache_key(gpu.adapter_info()).is_some()
        && gpu.device().features().contains(wgpu::Features::PIPELINE_CACHE)
}

/// A later run must find the cached kernels.
#[test]
fn kernels_are_found_again() {
    let folder = Folder::new("found");
    let expected = weights(&Gpu::request().unwrap());
    for time in 0..3 {
        let gpu = Gpu::request().unwrap();
        assert_eq!(gpu.cache_pipelines(folder.0.join("made/too")).unwrap(), time > 0 && caches(&gpu));
        assert_eq!(weights(&gpu), expected);
    }
}

/// Damaged files and files of another device must be replaced.
#[test]
fn damaged_and_foreign_files_are_replaced() {
    let folder = Folder::new("damaged");
    let gpu = Gpu::request().unwrap();
    gpu.cache_pipelines(&folder.0).unwrap();
    let expected = weights(&gpu);
    if !caches(&gpu) {
        assert!(!folder.0.exists());
        return;
    }
    let file = folder.file();
    let sound = fs::read(&file).unwrap();
    let changed = |i: usize| {
        let mut bytes = sound.clone();
        bytes[i] ^= 0x20;
        bytes
    };
    let line = sound.iter().position(|&b| b == b'\n').unwrap();
    let noise: Vec<u8> = (0..5000).map(|i| Random(i + 1).word() as u8).collect();
    let damages = [
        ("empty", vec![]),
        ("noise", noise),
        ("cut short", sound[..sound.len() - 1].to_vec()),
        ("too long", [sound.as_slice(), b"x"].concat()),
        ("another driver's", changed(line + 20)),
        ("another format", changed(3)),
        ("damaged at its end", changed(sound.len() - 1)),
    ];
    for (what, bytes) in damages {
        fs::write(&file, bytes).unwrap();
        let gpu = Gpu::request().unwrap();
        assert!(!gpu.cache_pipelines(&folder.0).unwrap(), "{what}");
        assert_eq!(weights(&gpu), expected, "{what}");
        let gpu = Gpu::request().unwrap();
        assert!(gpu.cache_pipelines(&folder.0).unwrap(), "{what}: replaced by a sound one");
    }
}

/// An impossible cache folder must return an error. Training must still work.
#[test]
fn a_folder_that_cannot_be_is_an_error_and_training_goes_on() {
    let folder = Folder::new("occupied");
    fs::create_dir_all(&folder.0).unwrap();
    let occupied = folder.0.join("file");
    fs::write(&occupied, "x").unwrap();
    let gpu = Gpu::request().unwrap();
    if caches(&gpu) {
        let Error::File { path, reason } = gpu.cache_pipelines(&occupied).unwrap_err() else { panic!("another error") };
        assert_eq!(path, occupied.display().to_string());
        assert!(reason.starts_with("cannot be created: "), "{reason}");
    }
    assert_eq!(weights(&gpu).len() % 64, 0);
}

/// A device without the pipeline cache feature must write no file.
#[test]
fn a_device_without_the_feature_writes_nothing() {
    let folder = Folder::new("plain");
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device, queue);
    assert!(!gpu.cache_pipelines(&folder.0).unwrap());
    weights(&gpu);
    assert!(!folder.0.exists());
}

/// A folder that vanishes later must not cause an error.
#[test]
fn a_folder_that_vanishes_later_is_no_error() {
    let folder = Folder::new("vanished");
    let gpu = Gpu::request().unwrap();
    gpu.cache_pipelines(&folder.0).unwrap();
    let _ = fs::remove_dir_all(&folder.0);
    weights(&gpu);
}

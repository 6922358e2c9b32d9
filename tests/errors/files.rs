//! Errors of files: missing, damaged, written by another program, or for another network.

use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use wgrad::Activation::{Identity, Relu};
use wgrad::*;

use super::page::{Section, folder, line};

fn network() -> Network {
    Network::input(3).dense(4, Relu).dense(2, Identity).build().unwrap()
}

fn model() -> Model {
    let network = network();
    Model::new(Device::Cpu, &network, &network.initial_parameters(3)).unwrap()
}

fn trainer() -> Trainer {
    let config = TrainerConfig { batch: 4, ..TrainerConfig::default() };
    let mut trainer =
        Trainer::new(Device::Cpu, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let data = Dataset::from_f32(vec![0.5; 12], 3, vec![0, 1, 1, 0], 2).unwrap();
    trainer.fit(data, Fit::default(), |_| {}).unwrap();
    trainer
}

fn load(bytes: &[u8]) -> Result<Model> {
    Model::from_bytes(Device::Cpu, bytes)
}

/// Replaces a text in the header with another text of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "{from}");
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    [&bytes[..at], to.as_bytes(), &bytes[at + to.len()..]].concat()
}

/// Replaces the operating system's text in the error.
fn without_system<T>(path: &Path, result: Result<T>) -> Result<T> {
    let system: io::Error = std::fs::read(path).expect_err("a file that cannot be read");
    result.map_err(|error| match error {
        Error::File { path, reason } => Error::File { path, reason: reason.replace(&system.to_string(), "SYSTEM") },
        error => error,
    })
}

pub fn models() -> Section {
    let good = model().to_bytes().unwrap();
    let run = trainer().to_bytes().unwrap();
    let folder = folder();
    let absent = folder.join("absent");
    let infinite = {
        let mut parameters = network().initial_parameters(3);
        parameters[1] = f32::INFINITY;
        model().allow_non_finite().set_parameters(&parameters)
    };
    let nan = {
        let at = good.len() - 4;
        [&good[..at], &f32::NAN.to_le_bytes()].concat()
    };
    let resume = |bytes: &[u8], resume: Resume| Trainer::resume_from_bytes_with(Device::Cpu, bytes, &resume);
    let lines = vec![
        line("load a missing file", without_system(&absent, Model::load(Device::Cpu, &absent))),
        line("load a directory", Model::load(Device::Cpu, &folder)),
        line("save to a directory", model().save(&folder)),
        line("save to a missing directory", {
            let path = absent.join("model");
            without_system(&path, model().save(&path))
        }),
        line("load 3 bytes", load(b"abc")),
        line("load a web page", load(b"<!DOCTYPE html><title>404</title>")),
        line("load a PyTorch pickle", load(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")),
        line("load an HDF5 file that is cut short", load(b"\x89HDF\r\n\x1a\n\0\0")),
        line("load a compressed file", load(b"\x1f\x8b\x08\0\0\0\0\0\0")),
        line("load a picture", load(b"\x89PNG\r\n\x1a\n\0")),
        line("load a Git LFS pointer", load(b"version https://git-lfs.github.com/spec/v1\noid")),
        line("load text", load(b"Not Found, see elsewhere")),
        line("load bytes of an unknown kind", load(b"\x10\x9a\xb3\xc4\xd5\xe6\xf7\x88\x99")),
        line("load a model cut short in its header", load(&good[..100])),
        line("load a model cut short in its tensors", load(&good[..good.len() - 8])),
        line("load a model with bytes behind it", load(&[&good[..], &[0; 4]].concat())),
        line("load a model with a damaged header", load(&replaced(&good, "\"dtype\"", "\"ptype\""))),
        line("load weights of another program", load(&replaced(&good, "\"format\":\"wgrad\"", "\"format\":\"other\""))),
        line("load a model of a newer version", load(&replaced(&good, "\"version\":\"1\"", "\"version\":\"3\""))),
        line("load a model without a tensor", load(&replaced(&good, "dense_1.bias", "dense_9.bias"))),
        line("load a model with an unknown activation", load(&replaced(&good, "Relu", "Rulu"))),
        line("load a model with a layer without units", load(&replaced(&good, "\\\"units\\\":4", "\\\"units\\\":0"))),
        line("load a model with NaN", load(&nan)),
        line("set_parameters of infinite weights", infinite),
        line("resume a model without a run", Trainer::resume_from_bytes(Device::Cpu, &good)),
        line(
            "resume with a negative learning rate",
            resume(&run, Resume { learning_rate: Some(-1.0), ..Resume::default() }),
        ),
        line("resume with a batch of 0 rows", resume(&run, Resume { batch: Some(0), ..Resume::default() })),
        line("snapshot_to_bytes without a snapshot", trainer().snapshot_to_bytes()),
    ];
    Section { title: "Files of models and training runs", lines }
}

/// A file of another program with these names and shapes. Its numbers ascend.
fn foreign(tensors: &[(&str, &[usize])], format: Option<&str>) -> Vec<u8> {
    let numbers: Vec<Vec<u8>> = (tensors.iter())
        .map(|(_, shape)| (0..shape.iter().product::<usize>()).flat_map(|i| (i as f32).to_le_bytes()).collect())
        .collect();
    let views = (tensors.iter().zip(&numbers))
        .map(|((name, shape), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata = format.map(|format| [("format".to_owned(), format.to_owned())].into());
    safetensors::serialize(views, metadata).unwrap()
}

pub fn weights() -> Section {
    let read =
        |file: &[u8], options: LoadWeights| Model::weights_from_bytes_with(Device::Cpu, &network(), file, &options);
    let new = LoadWeights::new;
    let good: &[(&str, &[usize])] = &[("0.weight", &[4, 3]), ("0.bias", &[4]), ("2.weight", &[2, 4]), ("2.bias", &[2])];
    let of = |tensors: &[(&str, &[usize])]| read(&foreign(tensors, None), new());
    let file = foreign(good, None);
    let square = Network::input(4).dense(4, Relu).dense(4, Identity).build().unwrap();
    let squares: &[(&str, &[usize])] =
        &[("b.weight", &[4, 4]), ("b.bias", &[4]), ("a.weight", &[4, 4]), ("a.bias", &[4])];
    let transposed = Network::input([4, 4, 2]).layer(Conv::transposed(3, 2)).build().unwrap();
    let kernel: &[(&str, &[usize])] = &[("ConvTranspose_0.kernel", &[2, 2, 2, 3]), ("ConvTranspose_0.bias", &[3])];
    let grouped = Network::input([4, 4, 4]).layer(Conv::transposed(4, 2).groups(2)).build().unwrap();
    let save = |network: &Network| {
        Model::new(Device::Cpu, network, &network.initial_parameters(1))
            .and_then(|m| m.weights_to_bytes(Naming::PyTorch))
    };
    let on = |network: &Network, file: &[u8]| Model::weights_from_bytes(Device::Cpu, network, file);
    let lines = vec![
        line("a tensor of another shape", of(&[good[0], good[1], ("2.weight", &[2, 5]), good[3]])),
        line("a tensor is missing", of(&good[..3])),
        line("a layer is missing", of(&good[..2])),
        line("a tensor too many", of(&[good[0], good[1], good[2], good[3], ("steps", &[1])])),
        line("only vectors", of(&[good[0], good[1], ("2.bias", &[2])])),
        line("names that do not give the order", on(&square, &foreign(squares, None))),
        line("map, unknown layer of the file", read(&file, new().map([("encoder", "dense_1")]))),
        line("map, unknown layer of the network", read(&file, new().map([("0", "dense_9")]))),
        line("map, a layer twice", read(&file, new().map([("0", "dense_1"), ("0", "dense_2")]))),
        line("map, two tensors for one", {
            read(&file, new().map([("0.weight", "dense_1.weight"), ("2.weight", "dense_1.weight")]))
        }),
        line("order that contradicts the shapes", read(&file, new().layout(Naming::Keras))),
        line("transposed convolution from Flax", on(&transposed, &foreign(kernel, Some("flax")))),
        line("save transposed groups for PyTorch", save(&grouped)),
    ];
    Section { title: "Weights of other programs", lines }
}

pub fn mnist() -> Section {
    use wgrad::mnist::Mnist;
    let first = "train-images-idx3-ubyte";
    let with = |name: &str, bytes: &[u8]| {
        let folder = folder().join(format!("mnist-{}", bytes.len()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
        Mnist::read(folder)
    };
    let header = |rows: u32| [0x803u32, rows, 28, 28].map(u32::to_be_bytes).concat();
    let lines = vec![
        line("a missing file", Mnist::read(folder().join("absent"))),
        line("a web page", with(first, b"<html>404</html>")),
        line("cut short in the header", with(first, &header(60_000)[..10])),
        line("other dimensions", with(first, &[header(10), vec![0]].concat())),
        line("cut short in the images", with(first, &[header(60_000), vec![0; 5]].concat())),
    ];
    Section { title: "MNIST files", lines }
}

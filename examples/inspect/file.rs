//! Reads files by their contents.

use std::path::Path;

use safetensors::SafeTensors;
use wgrad::{Device, Keras, Model, Network, NumpyArray, Onnx, TensorSpec};

use crate::Args;
use crate::common::Result;

const ONNX: &str = "an ONNX model";

/// What a file has.
pub enum Contents {
    Model {
        form: &'static str,
        network: Network,
        weights: Vec<f32>,
    },
    /// Tensors without a network: names, and shapes with their type.
    Tensors {
        form: &'static str,
        tensors: Vec<(String, String)>,
    },
}

impl Contents {
    pub fn read(args: &Args) -> Result<Self> {
        let path = args.file.display();
        let bytes = std::fs::read(&args.file).map_err(|e| format!("cannot read {path}: {e}"))?;
        let contents = Self::of(args, &bytes).map_err(|error| format!("{path}: {error}"))?;
        let of_onnx = args.channels_first || args.fold_batch_norm || !args.dimension.is_empty();
        match contents {
            Self::Model { form: ONNX, .. } => Ok(contents),
            _ if of_onnx => Err("--dimension, --channels-first and --fold-batch-norm are for ONNX files only".into()),
            _ => Ok(contents),
        }
    }

    fn of(args: &Args, bytes: &[u8]) -> Result<Self> {
        let path = &args.file;
        let is_keras = bytes.starts_with(b"PK") && path.extension().is_some_and(|extension| extension == "keras");
        if bytes.starts_with(b"\x93NUMPY") {
            Ok(arrays([(String::from("array"), NumpyArray::read(bytes)?)]))
        } else if is_keras || bytes.starts_with(b"\x89HDF") {
            let (network, weights) = Keras::read(bytes)?.network()?;
            Ok(Self::Model { form: "a Keras model", network, weights })
        } else if bytes.starts_with(b"PK") {
            Ok(arrays(NumpyArray::read_npz(bytes)?))
        } else if bytes.get(8) == Some(&b'{') {
            of_safetensors(bytes)
        } else {
            let mut onnx = Onnx::read(bytes)?;
            for (name, length) in &args.dimension {
                onnx = onnx.dimension(name, *length);
            }
            if args.channels_first {
                onnx = onnx.channels_first();
            }
            if args.fold_batch_norm {
                onnx = onnx.fold_batch_norm();
            }
            let (network, weights) = onnx.network()?;
            Ok(Self::Model { form: ONNX, network, weights })
        }
    }
}

fn arrays(arrays: impl IntoIterator<Item = (String, NumpyArray)>) -> Contents {
    let tensors = arrays.into_iter().map(|(name, array)| (name, format!("{:?}", array.shape()))).collect();
    Contents::Tensors { form: "NumPy arrays", tensors }
}

/// A model of this library has its network in the file. Files of other programs have only tensors.
fn of_safetensors(bytes: &[u8]) -> Result<Contents> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    if header.metadata().as_ref().is_some_and(|metadata| metadata.contains_key("network")) {
        let model = Model::from_bytes(Device::Cpu, bytes)?;
        let (network, weights) = (model.network().clone(), model.parameters()?);
        return Ok(Contents::Model { form: "a model of wgrad", network, weights });
    }
    let tensors = SafeTensors::deserialize(bytes)?;
    let mut tensors: Vec<(String, String)> = tensors
        .iter()
        .map(|(name, tensor)| (name.to_owned(), format!("{:?} {:?}", tensor.shape(), tensor.dtype())))
        .collect();
    tensors.sort();
    Ok(Contents::Tensors { form: "safetensors", tensors })
}

/// The values of each input: zeros, or the arrays of a file.
pub fn inputs(path: &Path, specs: &[TensorSpec], rows: Option<u32>) -> Result<Vec<Vec<f32>>> {
    if path == Path::new("zeros") {
        let rows = rows.unwrap_or(1);
        return Ok(specs.iter().map(|spec| vec![0.0; rows as usize * spec.features() as usize]).collect());
    }
    if rows.is_some() {
        return Err("--rows is for zeros only; a file has its own rows".into());
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let arrays = match bytes.starts_with(b"PK") {
        true => NumpyArray::read_npz(&bytes)?,
        false => [(specs[0].name.clone(), NumpyArray::read(&bytes)?)].into(),
    };
    let of = |spec: &TensorSpec| {
        let array = arrays.get(&spec.name).ok_or_else(|| format!("{}: no array {:?}", path.display(), spec.name))?;
        let sample: Vec<usize> = spec.shape.iter().map(|&n| n as usize).collect();
        // An array may be a single sample.
        let shape = array.shape();
        if shape != sample && shape.get(1..) != Some(&sample) {
            let name = &spec.name;
            return Err(format!("array {name:?}: expected the shape {sample:?}, or rows of it, got {shape:?}"));
        }
        Ok(array.to_f32())
    };
    Ok(specs.iter().map(of).collect::<Result<_, String>>()?)
}

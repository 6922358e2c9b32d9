//! The file of a compressed material, in the safetensors format: latents of 1 to 8 bits, and the decoder. Its weights have
//! 8 bits, with a scale for each unit; its biases have f32.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use wgrad::{Gpu, Model, wgpu};

use crate::common::{self, Result};
use crate::learner::buffer;
use crate::pyramid::Pyramid;

/// A compressed material in host memory.
pub struct Compressed {
    pub pyramid: Pyramid,
    pub latents: Vec<u8>,
    /// The decoder's weights, in the layout of [`wgrad::Network::parameters`].
    pub decoder: Vec<f32>,
}

impl Compressed {
    /// Writes the file completely or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let form = [("size", self.pyramid.size), ("bits", self.pyramid.bits)];
        let form: HashMap<String, String> = form.map(|(name, value)| (name.into(), value.to_string())).into();
        let mut tensors = vec![("latents".to_string(), Dtype::U8, vec![self.latents.len()], self.latents.clone())];
        for tensor in self.pyramid.decoder()?.parameters() {
            let values = &self.decoder[tensor.range()];
            let shape: Vec<usize> = tensor.shape.iter().map(|&n| n as usize).collect();
            let words = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let &[_, units] = &shape[..] else {
                tensors.push((tensor.name.clone(), Dtype::F32, shape, words(values)));
                continue;
            };
            let largest = |unit: usize| values.iter().skip(unit).step_by(units).fold(0f32, |most, w| most.max(w.abs()));
            let scales: Vec<f32> = (0..units).map(|unit| largest(unit).max(f32::MIN_POSITIVE) / 127.0).collect();
            let codes = values.iter().enumerate().map(|(i, w)| (w / scales[i % units]).round() as i8 as u8).collect();
            tensors.push((tensor.name.clone(), Dtype::I8, shape, codes));
            tensors.push((scale_of(&tensor.name), Dtype::F32, vec![units], words(&scales)));
        }
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)));
        let bytes = safetensors::serialize(views.collect::<Result<Vec<_>>>()?, Some(form))?;
        common::write_file(path, bytes)
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let fault = |what: String| format!("cannot read the material {}: {what}", path.display());
        let bytes = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fault(e.to_string()))?;
        let form = |name: &str| {
            let value = header.metadata().as_ref().and_then(|form| form.get(name)?.parse::<u32>().ok());
            value.ok_or_else(|| fault(format!("expected a number named {name:?} in the metadata")))
        };
        let pyramid = Pyramid::new(form("size")?, form("bits")?).map_err(fault)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| fault(e.to_string()))?;
        let tensor = |name: &str, dtype: Dtype, count: usize| {
            let tensor = tensors.tensor(name).map_err(|e| fault(e.to_string()))?;
            let actual = (tensor.dtype(), tensor.shape().iter().product::<usize>());
            match actual == (dtype, count) {
                true => Ok(tensor.data()),
                false => Err(fault(format!("{name}: expected {count} elements of {dtype:?}, got {actual:?}"))),
            }
        };
        let network = pyramid.decoder()?;
        let mut decoder = vec![0.0; network.parameter_words() as usize];
        let words = |name: &str, count: usize| -> Result<Vec<f32>> {
            let words = tensor(name, Dtype::F32, count)?.chunks_exact(4);
            Ok(words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        for parameter in network.parameters() {
            let (name, count) = (&parameter.name, parameter.len() as usize);
            let values = if let &[_, units] = &parameter.shape[..] {
                let scales = words(&scale_of(name), units as usize)?;
                let codes = tensor(name, Dtype::I8, count)?.iter().enumerate();
                codes.map(|(i, &code)| f32::from(code as i8) * scales[i % units as usize]).collect()
            } else {
                words(name, count)?
            };
            decoder[parameter.range()].copy_from_slice(&values);
        }
        let latents = tensor("latents", Dtype::U8, pyramid.words() as usize * 4)?.to_vec();
        Ok(Self { pyramid, latents, decoder })
    }

    /// Copies it to the GPU.
    pub fn upload(&self, gpu: &Gpu) -> Result<(wgpu::Buffer, Model)> {
        let latents = buffer(gpu, self.pyramid.words());
        gpu.queue().write_buffer(&latents, 0, &self.latents);
        Ok((latents, Model::new(gpu, &self.pyramid.decoder()?, &self.decoder)?))
    }
}

/// Name of the tensor of a weight's scales.
fn scale_of(weight: &str) -> String {
    format!("{weight}.scale")
}

//! Pipeline cache: keeps compiled kernels in a file for later processes, if the driver supports it.
//!
//! Drivers trust the data they receive. So data is passed on only if wgrad wrote it, complete, for the same adapter,
//! driver and version of wgrad. The file has a line with its format, a line with its key, the length and hash of the
//! data, and the driver's data.

use std::path::{Path, PathBuf};

use super::{Gpu, lock};
use crate::disk;
use crate::error::Result;

const MAGIC: &[u8] = b"wgrad's compiled kernels, version 1\n";

/// The pipeline cache of a device and its file.
#[derive(Debug)]
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    key: String,
    /// Hash of the file's contents.
    kept: Option<u64>,
}

impl Gpu {
    /// Caches compiled kernels in a file in `folder`. Call it before making trainers and models. Blocks.
    ///
    /// It loads the kernels of an earlier process, and saves those that the driver compiles from now on. The folder
    /// is created if it does not exist. Returns whether kernels were loaded. Kernels from another adapter, driver or
    /// version of wgrad are not loaded, and neither are damaged files; the file is replaced then.
    ///
    /// Does nothing if the backend has no pipeline cache (only Vulkan has one) or the device lacks the feature
    /// [`PIPELINE_CACHE`](wgpu::Features::PIPELINE_CACHE).
    ///
    /// The driver executes the contents of the file: only the user should be able to write to the folder.
    ///
    /// ```no_run
    /// let gpu = wgrad::Gpu::request()?;
    /// let found = gpu.cache_pipelines(std::env::home_dir().unwrap().join(".cache/my-app"))?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::File`](crate::Error::File) if the folder cannot be created or written to. If writing fails later,
    ///   it is not an error.
    /// - [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn cache_pipelines(&self, folder: impl AsRef<Path>) -> Result<bool> {
        let name = wgpu::util::pipeline_cache_key(self.adapter_info());
        let supported = self.device().features().contains(wgpu::Features::PIPELINE_CACHE);
        let Some(name) = name.filter(|_| supported) else { return Ok(false) };
        let path = folder.as_ref().join(name);
        disk::make_folder(folder.as_ref())?;
        let key = key(self.adapter_info());
        let file = std::fs::read(&path).unwrap_or_default();
        let data = payload(&file, &key);
        let made = data.and_then(|data| self.driver_cache(Some(data)).ok());
        let found = made.is_some();
        let cache = made.map_or_else(|| self.driver_cache(None), Ok)?;
        let mut cache = PipelineCache { cache, path, key, kept: data.filter(|_| found).map(hash) };
        // Write now, to return an error if the folder is not writable.
        cache.write()?;
        *lock(&self.inner.pipelines.cache) = Some(cache);
        Ok(found)
    }

    fn driver_cache(&self, data: Option<&[u8]>) -> Result<wgpu::PipelineCache> {
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("wgrad"), data, fallback: true };
        // SAFETY: the key shows that the data come from a cache of the same adapter and driver; the hash shows that
        // they are complete.
        self.guard("pipeline cache", 0, || unsafe { self.device().create_pipeline_cache(&descriptor) })
    }

    /// The cache for creating pipelines.
    pub(super) fn pipeline_cache(&self) -> Option<wgpu::PipelineCache> {
        lock(&self.inner.pipelines.cache).as_ref().map(|cache| cache.cache.clone())
    }

    /// Writes the kernels that the driver has compiled. If this fails, the next process compiles them again.
    pub(super) fn keep_pipelines(&self) {
        if let Some(cache) = lock(&self.inner.pipelines.cache).as_mut() {
            let _ = cache.write();
        }
    }
}

impl PipelineCache {
    fn write(&mut self) -> Result<()> {
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        let hash = hash(&data);
        if self.kept != Some(hash) {
            disk::write(&self.path, &file(&data, &self.key))?;
            self.kept = Some(hash);
        }
        Ok(())
    }
}

/// Identifies everything that a driver's result depends on, except the kernels: the driver identifies these itself.
pub(super) fn key(info: &wgpu::AdapterInfo) -> String {
    let wgpu::AdapterInfo { name, vendor, device, driver, driver_info, backend, .. } = info;
    let key = format!(
        "wgrad {}, {backend}, {vendor:x}:{device:x} {name}, {driver}, {driver_info}",
        env!("CARGO_PKG_VERSION")
    );
    key.replace('\n', " ")
}

fn file(data: &[u8], key: &str) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [MAGIC, key.as_bytes(), b"\n", &length, &hash(data).to_le_bytes(), data].concat()
}

/// The driver's data in a file, if it is complete and has this key.
fn payload<'a>(file: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let rest = file.strip_prefix(MAGIC)?.strip_prefix(key.as_bytes())?.strip_prefix(b"\n")?;
    let (length, rest) = rest.split_first_chunk()?;
    let (expected, data) = rest.split_first_chunk()?;
    let whole = u64::from_le_bytes(*length) == data.len() as u64 && u64::from_le_bytes(*expected) == hash(data);
    whole.then_some(data)
}

/// 64-bit FNV-1a hash.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_of_the_same_key_are_taken() {
        let data: Vec<u8> = (0..200).map(|i| (i * 31) as u8).collect();
        let sound = file(&data, "this driver");
        assert_eq!(payload(&sound, "this driver"), Some(data.as_slice()));
        assert_eq!(payload(&sound, "that driver"), None);
        assert_eq!(payload(&sound, "this drive"), None);
        assert_eq!(payload(&file(&[], "x"), "x"), Some([].as_slice()));
        for length in 0..sound.len() {
            assert_eq!(payload(&sound[..length], "this driver"), None, "cut to {length} bytes");
        }
        assert_eq!(payload(&[sound.as_slice(), &[0]].concat(), "this driver"), None, "a byte more");
        for i in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[i] ^= 1 << (i % 8);
            assert_eq!(payload(&damaged, "this driver"), None, "byte {i} damaged");
        }
    }
}

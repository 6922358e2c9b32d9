//! Compiled kernels. Each pipeline is made once for a device; several are compiled in parallel if threads are
//! available.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;

use super::{Gpu, lock};
use crate::error::Result;
use crate::ops::Shader;

/// Identity of a module: its source, and whether it has runtime checks.
type Text = (Cow<'static, str>, bool);

/// Identity of a pipeline: its module, and the bits of its constants.
type Key = (Text, Vec<(&'static str, u64)>);

impl Shader {
    fn key(&self) -> Key {
        let constants = self.constants.iter().map(|&(name, value)| (name, value.to_bits()));
        ((self.source.clone(), self.checked), constants.collect())
    }
}

/// All pipelines made for a device so far.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
    modules: Mutex<HashMap<Text, wgpu::ShaderModule>>,
    layouts: Mutex<HashMap<Vec<Option<bool>>, wgpu::BindGroupLayout>>,
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub cache: Mutex<Option<super::cache::PipelineCache>>,
}

impl Pipelines {
    pub(super) fn count(&self) -> usize {
        lock(&self.made).len()
    }
}

impl Gpu {
    /// The pipeline of each shader, given [`Launch::writable`](crate::ops::Launch::writable).
    ///
    /// Binding 0, the kernel's uniforms, is read-only storage too. From a uniform buffer, lavapipe would compile the
    /// values into branches: again for each op, and for some shapes at every submission.
    pub(super) fn pipelines(&self, wanted: &[(&Shader, &[Option<bool>])]) -> Result<Vec<wgpu::ComputePipeline>> {
        let pipelines = &self.inner.pipelines;
        let keys: Vec<Key> = wanted.iter().map(|(shader, _)| shader.key()).collect();
        let mut missing: Vec<usize> = Vec::new();
        {
            let made = lock(&pipelines.made);
            for (i, key) in keys.iter().enumerate() {
                if !made.contains_key(key) && !missing.iter().any(|&j| keys[j] == *key) {
                    missing.push(i);
                }
            }
        }
        // The longest sources first, so that threads end at about the same time.
        missing.sort_by_key(|&i| std::cmp::Reverse(wanted[i].0.source.len()));
        let compile = |&i: &usize| -> Result<()> {
            let (shader, writable) = wanted[i];
            let pipeline = self.compile(shader, &keys[i], Some(writable))?;
            lock(&pipelines.made).insert(keys[i].clone(), pipeline);
            Ok(())
        };
        in_parallel(&missing, compile)?;
        if !missing.is_empty() {
            self.keep_pipelines();
        }
        let made = lock(&pipelines.made);
        Ok(keys.iter().map(|key| made[key].clone()).collect())
    }

    /// The layout of a kernel's only bind group.
    pub(super) fn bind_group_layout(&self, writable: &[Option<bool>]) -> wgpu::BindGroupLayout {
        let mut layouts = lock(&self.inner.pipelines.layouts);
        let make = || {
            let entries: Vec<_> = writable
                .iter()
                .zip(0..)
                .filter_map(|(writable, binding)| Some(((*writable)?, binding)))
                .map(|(writable, binding)| wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only: !writable },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            self.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
        };
        layouts.entry(writable.to_vec()).or_insert_with(make).clone()
    }

    /// The pipeline of a shader that uses textures. Its layout is derived from the source.
    pub(crate) fn pipeline_of_its_own_layout(&self, shader: &Shader) -> Result<wgpu::ComputePipeline> {
        let key = shader.key();
        if let Some(pipeline) = lock(&self.inner.pipelines.made).get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.compile(shader, &key, None)?;
        lock(&self.inner.pipelines.made).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, shader: &Shader, key: &Key, writable: Option<&[Option<bool>]>) -> Result<wgpu::ComputePipeline> {
        self.check_lost()?;
        let what = match shader.constants.is_empty() {
            true => format!("kernel {}", shader.name),
            false => format!("kernel {} {:?}", shader.name, shader.constants),
        };
        let module = self.module(&what, shader, &key.0)?;
        self.guard(&what, 0, || {
            let layout = writable.map(|writable| {
                self.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &[Some(&self.bind_group_layout(writable))],
                    ..Default::default()
                })
            });
            self.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&shader.name),
                layout: layout.as_ref(),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &shader.constants,
                    // wgrad's kernels write workgroup memory before they read it, and zeroing it is slow on some
                    // GPUs. Custom kernels are checked, and get the zeros that WGSL promises.
                    zero_initialize_workgroup_memory: shader.checked,
                },
                cache: self.pipeline_cache().as_ref(),
            })
        })
    }

    #[cfg(not(all(feature = "files", not(target_family = "wasm"))))]
    fn pipeline_cache(&self) -> Option<wgpu::PipelineCache> {
        None
    }

    #[cfg(not(all(feature = "files", not(target_family = "wasm"))))]
    fn keep_pipelines(&self) {}

    /// Only valid modules are kept, because wgpu reports the error of an invalid module only once.
    fn module(&self, what: &str, shader: &Shader, text: &Text) -> Result<wgpu::ShaderModule> {
        if let Some(module) = lock(&self.inner.pipelines.modules).get(text) {
            return Ok(module.clone());
        }
        let checks = match text.1 {
            true => wgpu::ShaderRuntimeChecks::checked(),
            false => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&shader.name),
            source: wgpu::ShaderSource::Wgsl(shader.source.clone()),
        };
        // SAFETY: in plans that `Plan` makes, every index of a kernel is below the length of its binding, and every
        // loop ends. Shapes of the plan determine buffers and uniforms; GpuExecutor and `Rows::strided` check buffers
        // from outside. Other plans use `Shader::checked`, or Lockstep::new_unchecked with the caller's guarantee.
        let make = || unsafe { self.device().create_shader_module_trusted(descriptor, checks) };
        let module = self.guard(what, 0, make)?;
        Ok(lock(&self.inner.pipelines.modules).entry(text.clone()).or_insert(module).clone())
    }
}

/// Calls `work` for every item; returns the first error.
#[cfg(target_family = "wasm")]
fn in_parallel<T>(items: &[T], work: impl Fn(&T) -> Result<()>) -> Result<()> {
    items.iter().try_for_each(work)
}

/// Calls `work` for every item, on all cores; returns the first error.
#[cfg(not(target_family = "wasm"))]
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(items.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            work(item)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mine = worker();
        others.into_iter().fold(mine, |result, other| {
            result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_told_apart_by_text_constants_and_checks() {
        let gpu = Gpu::request().unwrap_or_else(|e| panic!("{e}"));
        let shader = |name: &'static str, factor: &str, value| {
            let text = format!(
                "override VALUE: u32 = 1;\n@group(0) @binding(1) var<storage, read_write> x: array<u32>;
                @compute @workgroup_size(1) fn main() {{ x[0] = {factor} * VALUE; }}"
            );
            crate::ops::shader(name, text, [("VALUE", value)])
        };
        let make = |shader: Shader, checked| {
            gpu.pipelines(&[(&Shader { checked, ..shader }, &[Some(false), Some(true)])]).unwrap();
            gpu.inner.pipelines.count()
        };
        assert_eq!(make(shader("a", "2", 3.0), false), 1);
        assert_eq!(make(shader("b", "2", 3.0), false), 1, "a name is only a label");
        assert_eq!(make(shader("a", "4", 3.0), false), 2, "another text");
        assert_eq!(make(shader("a", "2", 5.0), false), 3, "another constant");
        assert_eq!(make(shader("a", "2", 3.0), true), 4, "checked");
        assert_eq!(lock(&gpu.inner.pipelines.modules).len(), 3, "two texts, one of them checked too");
    }
}

//! The GPU: a device, its compiled kernels, and plans bound to its buffers.

#[cfg(all(feature = "files", not(target_family = "wasm")))]
mod cache;
mod dispatches;
mod executor;
mod limits;
mod memory;
pub(crate) mod pending_reads;
mod pipelines;
mod readback_tokens;
mod recorder;
pub(crate) mod timing;
mod traffic;
#[cfg(all(feature = "files", not(target_family = "wasm")))]
mod tuning;
#[cfg(not(target_family = "wasm"))]
mod wait;
pub(crate) mod warm_up;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::callback_future::lock;
use crate::error::{Error, Result};
use crate::ops::{Adapter, MatmulKernel};
pub(crate) use executor::{GpuExecutor, Region};
pub use limits::{optional_features, required_limits};
pub(crate) use memory::Reading;
use pipelines::Pipelines;
pub(crate) use readback_tokens::Tokens;
pub use recorder::Recorder;
pub use traffic::Traffic;
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub use tuning::Tuning;

/// A GPU: a `wgpu` device and queue with the kernels compiled for them. A clone refers to the same GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    adapter: Adapter,
    pipelines: Pipelines,
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    tuner: Mutex<Option<tuning::Tuner>>,
    /// The reason why the device was lost, if it was.
    lost: Arc<Mutex<Option<String>>>,
    /// Submissions of wgrad that have not been waited for, oldest first.
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    traffic: Mutex<Traffic>,
    /// Whether the queue is known to belong to the device.
    own_queue: AtomicBool,
}

/// Optional device features. Variants of kernels, the pipeline cache and the profiler use them.
const OPTIONAL_FEATURES: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::TIMESTAMP_QUERY);

/// PCI vendor ids.
const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;

impl Adapter {
    /// On software adapters the invocations of a subgroup are the lanes of a vector register. Subgroup matmuls are
    /// the fastest there: a broadcast is one instruction, and workgroup memory has no advantage. They need a fixed
    /// subgroup size. A memory access is a loop over the lanes, so 64 bits cost as much as 32. But with
    /// 16 lanes, 64 bits need two registers. Browsers need another subgroup syntax, which naga rejects.
    ///
    /// On NVIDIA and AMD an invocation has about 250 registers. On Intel and Arm, kernels spill with far fewer
    /// registers. A browser does not tell the vendor.
    fn of(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let lanes = info.subgroup_min_size;
        let known = info.subgroup_max_size == lanes && matches!(lanes, 8 | 16);
        let native = info.backend != wgpu::Backend::BrowserWebGpu;
        let subgroups = software && known && native && features.contains(wgpu::Features::SUBGROUP);
        let wide_access = software && lanes == 8 && features.contains(wgpu::Features::SHADER_INT64);
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
        let many_registers = matches!(info.vendor, NVIDIA | AMD);
        let matmul_subgroup = subgroups.then_some(lanes);
        Self { software, threads, matmul_subgroup, wide_access, many_registers, forced_matmul: None }
    }
}

impl Gpu {
    /// Opens the fastest GPU, or a software GPU if there is no other. Blocks; not for browsers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::NoDevice`].
    #[cfg(not(target_family = "wasm"))]
    pub fn request() -> Result<Self> {
        pollster::block_on(Self::request_async())
    }

    /// Opens the first GPU whose name contains `name`, ignoring case. Blocks; not for browsers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], which lists the available adapters; [`Error::NoDevice`].
    #[cfg(not(target_family = "wasm"))]
    pub fn request_named(name: &str) -> Result<Self> {
        pollster::block_on(Self::request_named_async(name))
    }

    /// Opens one of several equal GPUs, by number from 0: for programs with one [rank](crate::Ranks) for each GPU.
    /// Blocks; not for browsers.
    ///
    /// It counts the adapters of the fastest type that there is: discrete GPUs, or else integrated ones, or else
    /// software. Numbers from their count on begin with the first adapter again.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::NoDevice`].
    #[cfg(not(target_family = "wasm"))]
    pub fn request_number(number: u32) -> Result<Self> {
        pollster::block_on(async {
            // An adapter has several backends: this is the order in which they are preferred.
            let order = [wgpu::Backend::Vulkan, wgpu::Backend::Metal, wgpu::Backend::Dx12, wgpu::Backend::Gl];
            let place = |adapter: &wgpu::Adapter| {
                let info = adapter.get_info();
                let backend = order.iter().position(|backend| *backend == info.backend).unwrap_or(order.len());
                let speed = match info.device_type {
                    wgpu::DeviceType::DiscreteGpu => 0,
                    wgpu::DeviceType::VirtualGpu => 1,
                    wgpu::DeviceType::IntegratedGpu => 2,
                    wgpu::DeviceType::Other => 3,
                    wgpu::DeviceType::Cpu => 4,
                };
                (speed, backend)
            };
            let adapters = instance(String::new)?.enumerate_adapters(wgpu::Backends::all()).await;
            let best = adapters.iter().map(place).min();
            let equal: Vec<_> = adapters.iter().filter(|adapter| Some(place(adapter)) == best).collect();
            match equal.get(number as usize % equal.len().max(1)) {
                Some(adapter) => Self::from_adapter(adapter).await,
                None => Err(Error::NoAdapter { wanted: String::new(), reason: "there is none".into() }),
            }
        })
    }

    /// [`request`](Self::request) for async code and browsers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::NoDevice`].
    pub async fn request_async() -> Result<Self> {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance(String::new)?
            .request_adapter(&options)
            .await
            .map_err(|e| Error::NoAdapter { wanted: String::new(), reason: reason(&e) })?;
        Self::from_adapter(&adapter).await
    }

    /// [`request_named`](Self::request_named) for async code. In a browser adapters have no names: use
    /// [`request_async`](Self::request_async).
    ///
    /// # Errors
    /// [`Error::NoAdapter`], which lists the available adapters; [`Error::NoDevice`].
    pub async fn request_named_async(name: &str) -> Result<Self> {
        let wanted = || format!(" named {name:?}");
        let adapters = instance(wanted)?.enumerate_adapters(wgpu::Backends::all()).await;
        let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
        let matches = |n: &String| n.to_lowercase().contains(&name.to_lowercase());
        match names.iter().position(matches).and_then(|i| adapters.into_iter().nth(i)) {
            Some(adapter) => Self::from_adapter(&adapter).await,
            None => {
                let reason = match names.len() {
                    0 => "there is none".into(),
                    count => format!("there are {count}: {}", names.join(", ")),
                };
                Err(Error::NoAdapter { wanted: wanted(), reason })
            }
        }
    }

    /// Opens an adapter that the app has chosen, with the available [`optional_features`].
    ///
    /// # Errors
    /// [`Error::NoDevice`].
    pub async fn from_adapter(adapter: &wgpu::Adapter) -> Result<Self> {
        let available = adapter.limits();
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features: optional_features(adapter),
            // The default limits, with the largest buffers that the adapter allows.
            required_limits: wgpu::Limits {
                max_buffer_size: available.max_buffer_size,
                max_storage_buffer_binding_size: available.max_storage_buffer_binding_size,
                ..wgpu::Limits::default().or_worse_values_from(&available)
            },
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::NoDevice { adapter: info.name.clone(), reason: e.to_string() })?;
        let gpu = Self::from_parts(device, queue);
        gpu.inner.own_queue.store(true, Ordering::Relaxed);
        let lost = gpu.inner.lost.clone();
        gpu.device().set_device_lost_callback(move |reason, message| {
            *lock(&lost) = Some(first_line(&format!("{reason:?}: {message}")).into());
        });
        Ok(gpu)
    }

    /// Uses an app's own device and queue. Creates and submits nothing.
    ///
    /// WebGPU's default limits are enough unless buffers are very long. [`required_limits`] returns the limits that a
    /// plan needs, and [`optional_features`] the useful features. The app keeps its device-lost callback and its
    /// uncaptured-error handler.
    ///
    /// Trainers and models share compiled kernels if they use clones of one `Gpu`. So make one `Gpu` for a device and
    /// clone it.
    ///
    /// If the queue belongs to another device, the first call that prepares kernels or writes a buffer returns
    /// [`Error::Gpu`]. If the device is busy then, the first call that waits for a result returns it.
    pub fn from_parts(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        let adapter = Adapter::of(&info, device.features());
        let inner = Inner {
            device,
            queue,
            info,
            adapter,
            pipelines: Pipelines::default(),
            #[cfg(all(feature = "files", not(target_family = "wasm")))]
            tuner: Mutex::default(),
            lost: Arc::default(),
            in_flight: Mutex::default(),
            traffic: Mutex::default(),
            own_queue: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Uses this matmul kernel whenever it supports the matmul. For tests that run every kernel on one adapter.
    ///
    /// # Panics
    /// If there are clones.
    #[doc(hidden)]
    pub fn with_products(mut self, kernel: MatmulKernel) -> Self {
        Arc::get_mut(&mut self.inner).expect("no clone yet").adapter.forced_matmul = Some(kernel);
        self
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The device's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Name, driver, backend and type of the adapter.
    pub fn adapter_info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Number of kernels compiled for this GPU so far.
    pub fn kernels_compiled(&self) -> usize {
        self.inner.pipelines.count()
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgrad") })
    }

    /// Returns an error if the device is known to be lost.
    pub(crate) fn check_lost(&self) -> Result<()> {
        match &*lock(&self.inner.lost) {
            Some(reason) => Err(Error::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

fn instance(wanted: impl Fn() -> String) -> Result<wgpu::Instance> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        let reason = "wgpu was built without a backend for this platform; enable wgrad's feature \"backends\"";
        return Err(Error::NoAdapter { wanted: wanted(), reason: reason.into() });
    }
    Ok(wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env()))
}

/// The reason why there is no adapter.
#[cfg(not(target_family = "wasm"))]
fn reason(error: &wgpu::RequestAdapterError) -> String {
    error.to_string()
}

/// The reason why there is no adapter. wgpu's own text names missing build features, which do not help a visitor of a
/// page.
#[cfg(target_family = "wasm")]
fn reason(_: &wgpu::RequestAdapterError) -> String {
    crate::web::why_no_adapter().into()
}

/// The first line of an error text that is not empty. This line has the cause.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().trim_end_matches([':', ' '])
}

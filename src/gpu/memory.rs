//! Buffers: allocation within the device's limits and memory, and readback.

use super::{Gpu, first_line};
use crate::callback_future::CallbackFuture;
use crate::error::{Error, Result};
use crate::plan::LONGEST_TENSOR;

/// The error for a lost device whose device-lost callback belongs to the app.
#[cfg(not(target_family = "wasm"))]
fn lost() -> Error {
    Error::DeviceLost { reason: "it was destroyed, reset or removed".into() }
}

/// UNIFORM is for the weights, which an app's shader can read as uniforms: see [`Wgsl`](crate::Wgsl).
const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::UNIFORM)
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// Returns an error if the device cannot allocate a buffer of this size, or cannot bind it whole.
    pub(crate) fn check_size(&self, what: &str, bytes: u64) -> Result<()> {
        self.check_buffer(what, bytes)?;
        self.check_limit(what, bytes, self.largest_binding(), "max_storage_buffer_binding_size")
    }

    /// Returns an error if the device cannot allocate a buffer of this size. Ops can bind parts of a buffer that is
    /// too long to bind whole.
    pub(crate) fn check_buffer(&self, what: &str, bytes: u64) -> Result<()> {
        self.check_limit(what, bytes, LONGEST_TENSOR * 4, "32-bit indices")?;
        self.check_limit(what, bytes, self.device().limits().max_buffer_size, "max_buffer_size")
    }

    fn check_limit(&self, what: &str, bytes: u64, limit: u64, name: &str) -> Result<()> {
        if bytes <= limit {
            return Ok(());
        }
        let what = format!("GPU buffer for {what} ({name})");
        Err(Error::LimitExceeded { what, needed: bytes, limit, unit: "bytes" })
    }

    /// Size of the longest buffer that can be allocated and bound whole, and that 32-bit indices can address.
    pub(crate) fn largest_binding(&self) -> u64 {
        let limits = self.device().limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size).min(LONGEST_TENSOR * 4)
    }

    /// A storage buffer of zeros.
    pub(crate) fn zeros(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer> {
        self.buffer(what, bytes, USAGE, None)
    }

    /// A storage buffer with initial `contents`.
    pub(crate) fn upload(&self, what: &str, contents: &[u8]) -> Result<wgpu::Buffer> {
        self.buffer(what, contents.len() as u64, USAGE, Some(contents))
    }

    /// The buffer that timestamps are resolved into.
    pub(crate) fn query_buffer(&self, bytes: u64) -> Result<wgpu::Buffer> {
        self.buffer("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC, None)
    }

    fn buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        contents: Option<&[u8]>,
    ) -> Result<wgpu::Buffer> {
        self.check_lost()?;
        self.check_buffer(what, bytes)?;
        // Whole vec4s, so that kernels can read four numbers at a time to the end.
        let size = bytes.max(16).next_multiple_of(16);
        // In a browser, creation throws if the memory cannot be mapped, and wgpu then panics.
        let mapped_at_creation = contents.is_some() && !cfg!(target_family = "wasm");
        // A software adapter uses host memory, so contents are written in place without a staging copy.
        let in_place = mapped_at_creation && self.maps_buffers();
        let usage = if in_place { usage | wgpu::BufferUsages::MAP_WRITE } else { usage };
        self.guard(what, bytes, || {
            let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(what),
                size,
                usage,
                mapped_at_creation,
            });
            if let Some(contents) = contents.filter(|_| !mapped_at_creation) {
                self.queue().write_buffer(&buffer, 0, contents);
            }
            if let Some(contents) = contents.filter(|_| mapped_at_creation) {
                // Mapping fails if creation has failed. The guard reports that.
                if let Ok(mut view) = buffer.get_mapped_range_mut(..) {
                    view.slice(..contents.len()).copy_from_slice(contents);
                }
                buffer.unmap();
            }
            buffer
        })
    }

    /// Whether every buffer can be mapped without a loss of speed.
    fn maps_buffers(&self) -> bool {
        self.adapter_info().device_type == wgpu::DeviceType::Cpu
            && self.device().features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
    }

    /// Runs `make` and converts errors that wgpu reports into an [`Error`].
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn guard<T>(&self, what: &str, bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        let device = self.device();
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory]
            .map(|filter| device.push_error_scope(filter));
        let made = make();
        // On native platforms the result is available at once.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        match errors.fold(None, |first, error| first.or(error)) {
            None => Ok(made),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: what.into(), bytes }),
            Some(error) => {
                self.check_lost()?;
                let reason = error.to_string();
                if self.can_allocate() {
                    return Err(Error::Gpu { what: what.into(), reason });
                }
                // The device-lost callback belongs to the app, so this is how wgrad detects the loss.
                Err(lost())
            }
        }
    }

    /// Returns an error if the device is lost, by testing it. Only the app's callback is notified of the loss, and
    /// allocations on a lost device fail silently.
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.check_lost()?;
        #[cfg(not(target_family = "wasm"))]
        if !self.can_allocate() {
            return Err(lost());
        }
        Ok(())
    }

    /// Whether the device can still allocate a small buffer.
    #[cfg(not(target_family = "wasm"))]
    fn can_allocate(&self) -> bool {
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let usage = wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: true };
        self.device().create_buffer(&descriptor).unmap();
        pollster::block_on(scope.pop()).is_none()
    }

    /// Overwrites part of a buffer before the next submission.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check_lost()?;
        self.check_queue()?;
        self.guard("a write to a buffer", 0, || self.queue().write_buffer(buffer, offset, bytes))
    }

    /// Returns an error if an app's buffer is destroyed or belongs to another device. The text names it `what`.
    pub(crate) fn check_buffer_is_ours(&self, what: &str, buffer: &wgpu::Buffer) -> Result<()> {
        let layout = self.bind_group_layout(&[Some(false)]);
        let binding = wgpu::BufferBinding { buffer, offset: 0, size: std::num::NonZeroU64::new(4) };
        let entries = [wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }];
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        self.check_owner(what, "buffer", || drop(self.device().create_bind_group(&descriptor)))
    }

    /// Returns a view of mip level 0 of an app's texture, with the texture's dimension unless `dimension` is given.
    /// Returns an error if the texture is destroyed or belongs to another device; the text names it `what`.
    pub(crate) fn view(
        &self,
        what: &str,
        texture: &wgpu::Texture,
        dimension: Option<wgpu::TextureViewDimension>,
    ) -> Result<wgpu::TextureView> {
        // Errors of a texture go to its own device, where wgrad cannot catch them. So test it with an encoder of this
        // device first.
        self.check_owner(what, "texture", || {
            let mut encoder = self.encoder();
            let state = wgpu::TextureUses::RESOURCE;
            let texture = wgpu::wgt::TextureTransition { texture, selector: None, state };
            encoder.transition_resources(std::iter::empty(), std::iter::once(texture));
            drop(encoder.finish());
        })?;
        let descriptor = wgpu::TextureViewDescriptor { mip_level_count: Some(1), dimension, ..Default::default() };
        self.check_owner(what, "texture", || texture.create_view(&descriptor))
    }

    fn check_owner<T>(&self, what: &str, kind: &str, make: impl FnOnce() -> T) -> Result<T> {
        self.check_lost()?;
        // wgpu panics if the object belongs to another `wgpu::Instance`.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.guard(what, 0, make)));
        let fault = |actual: &str| Error::shape(what, format!("a {kind} of this Gpu's device"), actual);
        made.map_err(|_| fault("one of another device, of another wgpu::Instance"))?.map_err(|error| match error {
            Error::Gpu { reason, .. } => fault(match () {
                () if reason.contains("has been destroyed") => "one that has been destroyed",
                () if reason.contains("is invalid") => "one that wgpu could not make",
                () if reason.contains("evice") => "one of another device",
                () => first_line(&reason),
            }),
            error => error,
        })
    }

    /// In a browser the result arrives later, and nothing awaits it. Errors go to the device's own handler, which by
    /// default writes them to the console.
    #[cfg(target_family = "wasm")]
    pub(crate) fn guard<T>(&self, _: &str, _: u64, make: impl FnOnce() -> T) -> Result<T> {
        Ok(make())
    }

    /// A buffer that the host can read.
    pub(crate) fn staging(&self, bytes: u64) -> Result<wgpu::Buffer> {
        self.buffer("a readback", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST, None)
    }

    /// A buffer that the host can write. It is mapped when created.
    pub(crate) fn staging_up(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        self.check_lost()?;
        self.check_buffer("a write", bytes)?;
        let size = bytes.max(16).next_multiple_of(16);
        let descriptor = wgpu::BufferDescriptor { label: Some("writing"), size, usage, mapped_at_creation: true };
        self.guard("a write", bytes, || self.device().create_buffer(&descriptor))
    }

    /// Records a copy of a range of a buffer, in bytes, into a buffer that the host can read.
    pub(crate) fn record_readback(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        range: std::ops::Range<u64>,
    ) -> Result<Readback> {
        let bytes = range.end - range.start;
        let staging = self.staging(bytes)?;
        encoder.copy_buffer_to_buffer(buffer, range.start, &staging, 0, bytes);
        Ok(Readback { staging, bytes })
    }
}

impl Gpu {
    /// The words of copies, in their order. Call it after the encoder has been submitted.
    pub(crate) async fn read_copies(&self, copies: Vec<Readback>) -> Result<Vec<Vec<u32>>> {
        let readings = copies.into_iter().map(|copy| copy.read(self)).collect::<Result<Vec<_>>>()?;
        let mut read = Vec::with_capacity(readings.len());
        for reading in readings {
            read.push(reading.finish().await?);
        }
        Ok(read)
    }

    /// The error of a failed call: the loss of the device, or wgpu's reason.
    pub(crate) fn fault(&self, what: &str, reason: String) -> Error {
        self.check_alive().err().unwrap_or_else(|| Error::Gpu { what: what.into(), reason })
    }

    /// The contents of a mapped buffer, which is unmapped afterwards. `None` if the device or the buffer has been
    /// destroyed; the app's error handler is not notified.
    pub(crate) fn take_mapped(&self, buffer: &wgpu::Buffer) -> Option<Vec<u32>> {
        let words = buffer.get_mapped_range(..).ok().map(|view| bytemuck::pod_collect_to_vec(&view))?;
        self.unmap(buffer).ok()?;
        Some(words)
    }

    /// Unmaps a buffer, even if its device has been destroyed.
    pub(crate) fn unmap(&self, buffer: &wgpu::Buffer) -> Result<()> {
        self.guard("a mapped buffer", 0, || buffer.unmap())
    }
}

/// A pending copy to the host. Call [`read`](Self::read) after the encoder has been submitted.
#[derive(Debug)]
pub(crate) struct Readback {
    staging: wgpu::Buffer,
    bytes: u64,
}

impl Readback {
    /// Requests the bytes.
    pub(crate) fn read(self, gpu: &Gpu) -> Result<Reading> {
        let (mapped, fulfil) = CallbackFuture::new();
        gpu.guard("a readback", self.bytes, || gpu.map(&self.staging, self.bytes, fulfil))?;
        Ok(Reading { readback: self, mapped, gpu: gpu.clone() })
    }
}

/// Requested bytes.
#[derive(Debug)]
pub(crate) struct Reading {
    readback: Readback,
    mapped: CallbackFuture<Result<(), wgpu::BufferAsyncError>>,
    gpu: Gpu,
}

impl Reading {
    /// Waits for the bytes and returns them as words.
    pub(crate) async fn finish(self) -> Result<Vec<u32>> {
        let mapped = self.mapped.await;
        self.gpu.check_lost()?;
        let failed = |reason: String| self.gpu.fault("a readback", reason);
        mapped.map_err(|e| failed(e.to_string()))?;
        let Readback { staging, bytes } = &self.readback;
        let view = staging.get_mapped_range(..bytes).map_err(|e| failed(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}

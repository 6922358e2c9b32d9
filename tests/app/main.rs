//! Tests the advanced interface for apps that own the device. `tests/embedding.rs` tests the basics.

#[path = "../common/mod.rs"]
mod common;

mod chains;
mod frames;
mod limits;
mod losing;
mod named;
mod named_chains;
mod parts;
mod rows;
mod warm_up;

use common::pass::Pass;
use common::*;
use wgrad::wgpu;

/// The app's own device and queue, with wgrad on them.
pub struct App {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub gpu: wgrad::Gpu,
}

impl App {
    pub fn open() -> Self {
        let (device, queue) = own_device();
        Self::on(device, queue)
    }

    pub fn on(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let gpu = wgrad::Gpu::from_parts(device.clone(), queue.clone());
        Self { device, queue, gpu }
    }

    pub fn storage<T: bytemuck::Pod>(&self, contents: &[T]) -> wgpu::Buffer {
        use wgpu::util::DeviceExt;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let contents = bytemuck::cast_slice(contents);
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    }

    /// Makes one submission of the app.
    pub fn frame<R>(&self, record: impl FnOnce(&mut wgpu::CommandEncoder) -> R) -> R {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let result = record(&mut encoder);
        self.queue.submit([encoder.finish()]);
        result
    }

    /// Reads a buffer with the app's own code.
    pub fn read<T: bytemuck::Pod>(&self, buffer: &wgpu::Buffer) -> Vec<T> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.frame(|encoder| encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size()));
        staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        self.wait();
        bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
    }

    pub fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }

    /// Makes a compute pass of the app. The WGSL source has an entry point `main` with workgroups of 64. The buffers
    /// take the bindings from 0.
    pub fn pass(&self, source: &str, buffers: &[&wgpu::Buffer]) -> Pass {
        Pass::new(&self.device, source, buffers)
    }
}

//! Measures the roofline of an adapter: its memory bandwidth, and its multiply-add operations per second.

use wgrad::{Gpu, wgpu};

use super::common::Result;
use super::timing::{Effort, least_seconds};

/// The limits of a roofline.
#[derive(Clone, Copy)]
pub struct Roofs {
    /// Bytes read plus bytes written, by a kernel that copies.
    pub kernel_bytes_per_second: f64,
    /// Bytes read plus bytes written, by the command that copies buffers.
    pub command_bytes_per_second: f64,
    pub flops_per_second: f64,
}

impl Roofs {
    pub fn measure(gpu: &Gpu, effort: Effort, copy_bytes: u64) -> Result<Self> {
        let [kernel_bytes_per_second, command_bytes_per_second] = copy(gpu, effort, copy_bytes)?;
        // Long unrolled loops have less overhead. But a compiler may order them so that few independent chains run at
        // once. So both lengths are measured, and the best counts.
        let mut flops_per_second = 0f64;
        for unrolled in [8, 32] {
            for fused in [true, false] {
                flops_per_second = flops_per_second.max(multiply_add(gpu, effort, unrolled, fused)?);
            }
        }
        Ok(Self { kernel_bytes_per_second, command_bytes_per_second, flops_per_second })
    }

    /// The faster of the two copies.
    pub fn bytes_per_second(&self) -> f64 {
        self.kernel_bytes_per_second.max(self.command_bytes_per_second)
    }

    /// The largest number of operations per second at this arithmetic intensity, in operations per byte.
    pub fn at(&self, intensity: f64) -> f64 {
        self.flops_per_second.min(self.bytes_per_second() * intensity)
    }
}

/// Bytes per second of a copy by a kernel, and by a command.
fn copy(gpu: &Gpu, effort: Effort, bytes: u64) -> Result<[f64; 2]> {
    let words: Vec<u32> = (0..bytes as u32 / 4).map(|i| i.wrapping_mul(0x9e37_79b9) >> 9).collect();
    let from = buffer(gpu, bytes);
    let to = buffer(gpu, bytes);
    gpu.queue().write_buffer(&from, 0, bytemuck::cast_slice(&words));
    let workgroups = (bytes / 16).div_ceil(64) as u32;
    let rows = workgroups.div_ceil(gpu.device().limits().max_compute_workgroups_per_dimension);
    let grid = [workgroups.div_ceil(rows), rows];
    let kernel = Kernel::new(gpu, "copy", include_str!("copy.wgsl"), &[], [&from, &to], grid);
    let by_kernel = least_seconds(gpu, effort, |encoder, repetitions| kernel.record(encoder, repetitions));
    if read(gpu, &to)? != words {
        return Err("copy.wgsl: the copy differs from its source".into());
    }
    let by_command = least_seconds(gpu, effort, |encoder, repetitions| {
        (0..repetitions).for_each(|_| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes));
    });
    Ok([by_kernel, by_command].map(|seconds| 2.0 * bytes as f64 / seconds))
}

/// Multiply-add operations per second; a multiply-add counts as two.
fn multiply_add(gpu: &Gpu, effort: Effort, unrolled: u32, fused: bool) -> Result<f64> {
    // Enough workgroups to fill any GPU.
    const WORKGROUPS: u32 = 8192;
    const STEPS: u32 = 512;
    let invocations = u64::from(WORKGROUPS) * 64;
    let [ab, sums] = [16, invocations * 4].map(|bytes| buffer(gpu, bytes));
    gpu.queue().write_buffer(&ab, 0, bytemuck::cast_slice(&[0.5f32, 0.5]));
    let constants = [("FUSED", f64::from(u8::from(fused))), ("ROUNDS", f64::from(STEPS / unrolled))];
    let source = include_str!("multiply_add.wgsl");
    let line = source.lines().find(|line| line.contains("x = step(")).expect("one line with a step");
    let source = source.replace(line, &[line].repeat(unrolled as usize).join("\n"));
    let kernel = Kernel::new(gpu, "multiply_add", &source, &constants, [&ab, &sums], [WORKGROUPS, 1]);
    let seconds = least_seconds(gpu, effort, |encoder, repetitions| kernel.record(encoder, repetitions));
    if read(gpu, &sums)?.iter().any(|&sum| f32::from_bits(sum) != 12.0) {
        return Err("multiply_add.wgsl: its sums are not 12".into());
    }
    // A step has three multiply-adds of vec4f, two operations per number.
    Ok((invocations * u64::from(STEPS) * 12 * 2) as f64 / seconds)
}

fn buffer(gpu: &Gpu, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

pub fn read(gpu: &Gpu, from: &wgpu::Buffer) -> Result<Vec<u32>> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: from.size(), usage, mapped_at_creation: false };
    let staging = gpu.device().create_buffer(&descriptor);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(from, 0, &staging, 0, from.size());
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| {});
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    Ok(bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..)?))
}

/// A kernel with one input and one output.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl Kernel {
    fn new(
        gpu: &Gpu,
        name: &str,
        source: &str,
        constants: &[(&str, f64)],
        buffers: [&wgpu::Buffer; 2],
        grid: [u32; 2],
    ) -> Self {
        let device = gpu.device();
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(name), source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
        Self { bind_group: device.create_bind_group(&descriptor), pipeline, grid }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, repetitions: u32) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        (0..repetitions).for_each(|_| pass.dispatch_workgroups(self.grid[0], self.grid[1], 1));
    }
}

//! Pipelines, bind groups, buffers and passes of the example apps.
#![allow(dead_code)] // each user needs some of the items

use std::error::Error;

use wgrad::{Gpu, wgpu};

/// A render pipeline that draws one triangle over the whole target. The shader has the vertex entry point `corners`;
/// `entry` is the fragment entry point.
pub fn fullscreen_pipeline(
    device: &wgpu::Device,
    layout: Option<&wgpu::PipelineLayout>,
    module: &wgpu::ShaderModule,
    entry: &str,
    format: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some(entry),
        layout,
        vertex: wgpu::VertexState {
            module,
            entry_point: Some("corners"),
            compilation_options: Default::default(),
            buffers: &[],
        },
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        fragment: Some(wgpu::FragmentState {
            module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
}

/// A render pass over the whole target, which starts black.
pub fn render_pass<'a>(encoder: &'a mut wgpu::CommandEncoder, view: &wgpu::TextureView) -> wgpu::RenderPass<'a> {
    let ops = wgpu::Operations::default();
    let colour = wgpu::RenderPassColorAttachment { view, depth_slice: None, resolve_target: None, ops };
    let color_attachments = &[Some(colour)];
    encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments, ..Default::default() })
}

/// Draws a pipeline of [`fullscreen_pipeline`] with its resources in group 0.
pub fn draw_fullscreen(
    encoder: &mut wgpu::CommandEncoder,
    view: &wgpu::TextureView,
    (pipeline, group): &(wgpu::RenderPipeline, wgpu::BindGroup),
) {
    let mut pass = render_pass(encoder, view);
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.draw(0..3, 0..1);
}

/// A storage buffer that can be copied.
pub fn storage_buffer(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// Submits the encoder, waits, and reads a buffer.
pub fn read_buffer<T: bytemuck::Pod>(
    gpu: &Gpu,
    mut encoder: wgpu::CommandEncoder,
    buffer: &wgpu::Buffer,
) -> Result<Vec<T>, Box<dyn Error>> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let (size, mapped_at_creation) = (buffer.size(), false);
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation });
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| {});
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    Ok(bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..)?))
}

/// A bind group of these resources, each with its binding number.
pub fn bind_group(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    resources: &[(u32, wgpu::BindingResource<'_>)],
) -> wgpu::BindGroup {
    let entries = resources.iter().cloned().map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
    let entries: Vec<_> = entries.collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}

/// A compute pass of one entry point. Its resources are in group 0.
pub struct Pass {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Pass {
    pub fn new(
        device: &wgpu::Device,
        module: &wgpu::ShaderModule,
        entry: &str,
        resources: &[(u32, wgpu::BindingResource<'_>)],
    ) -> Self {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let group = bind_group(device, &pipeline.get_bind_group_layout(0), resources);
        Self { pipeline, group }
    }

    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, [x, y, z]: [u32; 3]) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

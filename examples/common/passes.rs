//! What the apps' own passes are made of.
#![allow(dead_code)] // each user takes a part

use wgrad::wgpu;

/// A render pipeline that covers its target: one triangle of the shader's `corners`, coloured by `entry`.
pub fn covering(
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

/// Resources, each at its binding.
pub fn group(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    resources: &[(u32, wgpu::BindingResource<'_>)],
) -> wgpu::BindGroup {
    let entries = resources.iter().cloned().map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
    let entries: Vec<_> = entries.collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}

/// A compute pass of an entry point that binds what it names of group 0.
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
        let group = group(device, &pipeline.get_bind_group_layout(0), resources);
        Self { pipeline, group }
    }

    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, [x, y, z]: [u32; 3]) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

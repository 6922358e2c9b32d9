//! Computes the pixels of a window with the network, and draws them.

use bytemuck::{Pod, Zeroable};
use wgrad::{Forward, wgpu};

use crate::Learner;
use crate::common::Result;
use crate::common::passes::{bind_group, fullscreen_pipeline};

/// The window's pixels are divided into this number of lattices: see `view.wgsl`. The network computes one at a time.
pub const LATTICES: u32 = 64;

/// The part of the image that the window shows.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct View {
    /// The window's top left corner in image coordinates. The image is 1 wide and 1 high.
    corner: [f32; 2],
    /// Size of a window pixel in image coordinates.
    pixel: [f32; 2],
    size: [u32; 2],
    fresh: u32,
    padding: u32,
}

impl View {
    /// Shows the whole image, centred.
    pub fn integer(picture: [u32; 2], size: [u32; 2]) -> Self {
        let [picture, window] = [picture, size].map(|size| size.map(|n| n as f32));
        let scale = (picture[0] / window[0]).max(picture[1] / window[1]);
        let pixel = picture.map(|side| scale / side);
        let corner = [0, 1].map(|i| 0.5 - 0.5 * pixel[i] * window[i]);
        Self { corner, pixel, size, fresh: 1, padding: 0 }
    }

    pub fn resize(&mut self, size: [u32; 2]) {
        self.size = size;
    }

    /// Moves the image by a distance in window pixels.
    pub fn pan(&mut self, by: [f64; 2]) {
        for ((corner, pixel), by) in self.corner.iter_mut().zip(self.pixel).zip(by) {
            *corner -= by as f32 * pixel;
        }
    }

    /// Zooms about a window pixel, which does not move.
    pub fn zoom(&mut self, factor: f64, about: [f64; 2]) {
        for ((corner, pixel), about) in self.corner.iter_mut().zip(&mut self.pixel).zip(about) {
            let before = *pixel;
            *pixel = (f64::from(before) / factor).clamp(1e-6, 0.1) as f32;
            *corner += about as f32 * (before - *pixel);
        }
    }
}

/// Resources for one window size: the network's input and output for a lattice, and the pixels of the window.
pub struct Painter {
    forward: Forward,
    view: wgpu::Buffer,
    ask: wgpu::ComputePipeline,
    show: wgpu::ComputePipeline,
    draw: wgpu::RenderPipeline,
    /// Bind groups of two screen buffers. One is filled while the other is shown, so all shown pixels are from the
    /// same round.
    asking: [wgpu::BindGroup; 2],
    drawing: [wgpu::BindGroup; 2],
    /// Number of pixels of a lattice.
    places: u32,
    /// The next lattice to compute.
    next: u32,
    /// Whether the view has changed and the first round is not finished.
    fresh: bool,
    /// Index of the screen buffer that is filled.
    filling: usize,
}

/// Size of a slot of the uniform buffer, in bytes: the alignment of dynamic offsets.
const SLOT: u32 = 256;

impl Painter {
    pub fn new(learner: &Learner, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let device = learner.gpu.device();
        let places = size[0].div_ceil(8) * size[1].div_ceil(8);
        let buffer = |words: u32, usage| {
            let size = (u64::from(words) * 4).next_multiple_of(16);
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let input = buffer(places * 2, Usage::STORAGE);
        let output = buffer(places * 3, Usage::STORAGE);
        let screens = [(); 2].map(|()| buffer(size[0] * size[1], Usage::STORAGE));
        let view = buffer(8, Usage::UNIFORM | Usage::COPY_DST);
        let lattices = buffer(LATTICES * SLOT / 4, Usage::UNIFORM | Usage::COPY_DST);
        for n in 0..LATTICES {
            learner.gpu.queue().write_buffer(&lattices, u64::from(n * SLOT), &n.to_ne_bytes());
        }
        let forward = learner.trainer.model().prepare_forward(&input, &output, places)?;

        let source = wgpu::ShaderSource::Wgsl(include_str!("../view.wgsl").into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("view"), source });
        let entry = |binding, visibility, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let layout = |entries: &[wgpu::BindGroupLayoutEntry]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries })
        };
        let pipeline_layout = |layout: &wgpu::BindGroupLayout| {
            let bind_group_layouts = &[Some(layout)];
            device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor { bind_group_layouts, ..Default::default() })
        };
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let (uniform, compute) = (wgpu::BufferBindingType::Uniform, wgpu::ShaderStages::COMPUTE);
        let asking_layout = layout(&[
            entry(0, compute, uniform, false),
            entry(1, compute, storage(false), false),
            entry(2, compute, storage(true), false),
            entry(3, compute, storage(false), false),
            entry(4, compute, uniform, true),
        ]);
        let fragment = wgpu::ShaderStages::FRAGMENT;
        let drawing_layout = layout(&[entry(0, fragment, uniform, false), entry(5, fragment, storage(true), false)]);
        let lattice = wgpu::BufferBinding { buffer: &lattices, offset: 0, size: wgpu::BufferSize::new(4) };
        let asking = screens.each_ref().map(|screen| {
            let resources = [
                (0, view.as_entire_binding()),
                (1, input.as_entire_binding()),
                (2, output.as_entire_binding()),
                (3, screen.as_entire_binding()),
                (4, wgpu::BindingResource::Buffer(lattice.clone())),
            ];
            bind_group(device, &asking_layout, &resources)
        });
        let drawing = screens.each_ref().map(|screen| {
            bind_group(device, &drawing_layout, &[(0, view.as_entire_binding()), (5, screen.as_entire_binding())])
        });
        let compute = |entry_point| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry_point),
                layout: Some(&pipeline_layout(&asking_layout)),
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: Default::default(),
                cache: None,
            })
        };
        let drawing_pipeline = pipeline_layout(&drawing_layout);
        let draw = fullscreen_pipeline(device, Some(&drawing_pipeline), &module, "colour", format);
        let (ask, show) = (compute("ask"), compute("show"));
        Ok(Self { forward, view, ask, show, draw, asking, drawing, places, next: 0, fresh: true, filling: 0 })
    }

    /// Restarts after a change of the view. The first round shows coarse pixels at once.
    pub fn start_over(&mut self) {
        (self.next, self.fresh) = (0, true);
    }

    /// Records the next lattices, at most to the end of the round, and draws the window.
    pub fn record(
        &mut self,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        view: &View,
        lattices: u32,
        target: &wgpu::Texture,
    ) {
        let view = View { fresh: self.fresh.into(), ..*view };
        queue.write_buffer(&self.view, 0, bytemuck::bytes_of(&view));
        let end = LATTICES.min(self.next + lattices);
        for lattice in self.next..end {
            self.compute(encoder, &self.ask, lattice);
            self.forward.record_forward(encoder);
            self.compute(encoder, &self.show, lattice);
        }
        let shown = if self.fresh { self.filling } else { 1 - self.filling };
        self.next = end % LATTICES;
        if self.next == 0 {
            (self.fresh, self.filling) = (false, 1 - self.filling);
        }

        let view = target.create_view(&Default::default());
        let colour = wgpu::RenderPassColorAttachment {
            view: &view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations::default(),
        };
        let color_attachments = &[Some(colour)];
        let mut pass =
            encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments, ..Default::default() });
        pass.set_pipeline(&self.draw);
        pass.set_bind_group(0, &self.drawing[shown], &[]);
        pass.draw(0..3, 0..1);
    }

    fn compute(&self, encoder: &mut wgpu::CommandEncoder, pipeline: &wgpu::ComputePipeline, lattice: u32) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.asking[self.filling], &[lattice * SLOT]);
        pass.dispatch_workgroups(self.places.div_ceil(64), 1, 1);
    }
}

//! Runs a plan alone on a GPU, with the kernels of training, for benchmarks. For checks see
//! [`lockstep`](crate::lockstep).

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuExecutor};
use crate::network::Conv;
use crate::plan::{Buffer, BufferId, Dtype, LONGEST_TENSOR, Layout, Matmul, Op, Plan, Role, Tensor, Window};
use crate::profile::Profile;

/// A plan bound to buffers of a GPU.
#[derive(Debug)]
pub struct PlanRunner {
    executor: GpuExecutor,
}

impl PlanRunner {
    /// A matmul with the kernels of training, op(A) · op(B) of \[m, n, k\], without an epilogue. Buffer 0 is A, 1 is
    /// B, 2 is C.
    ///
    /// # Errors
    /// - [`Error::Shape`] if a dimension is 0 or a tensor is too long.
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`].
    pub fn matmul(gpu: &Gpu, shape: [u32; 3], layout: Layout) -> Result<Self> {
        let [m, n, k] = shape;
        let a = if layout == Layout::Tn { [k, m] } else { [m, k] };
        let b = if layout == Layout::Nt { [n, k] } else { [k, n] };
        Self::of(gpu, [a, b, [m, n]], layout, None)
    }

    /// The matmul of a convolution over a batch of samples \[height, width, channels\]. `layout` selects the forward
    /// pass or the gradient of the input or the weights. Buffers as in [`matmul`](Self::matmul).
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul).
    pub fn convolution(gpu: &Gpu, batch: u32, sample: [u32; 3], conv: &Conv, layout: Layout) -> Result<Self> {
        let window = conv.window(sample.into());
        let [height, width, channels] = sample;
        let image = [batch * height * width, channels];
        let output = [batch * window.rows.positions * window.columns.positions, conv.channels];
        let weights = [conv.kernel[0] * conv.kernel[1] * channels, conv.channels];
        match layout {
            Layout::Nn => Self::of(gpu, [image, weights, output], layout, Some(window)),
            Layout::Nt => Self::of(gpu, [output, weights, image], layout, Some(window.reversed(conv.channels))),
            Layout::Tn => Self::of(gpu, [image, output, weights], layout, Some(window)),
        }
    }

    fn of(gpu: &Gpu, shapes: [[u32; 2]; 3], layout: Layout, window: Option<Window>) -> Result<Self> {
        Ok(Self { executor: GpuExecutor::new(gpu, Arc::new(matmul(shapes, layout, window)?), &[])? })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// Binds a plan. Every buffer starts with the plan's initial contents, or zeros.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`].
    ///
    /// # Safety
    /// As [`Lockstep::new_unchecked`](crate::lockstep::Lockstep::new_unchecked).
    pub unsafe fn new_unchecked(gpu: &Gpu, plan: Plan) -> Result<Self> {
        Ok(Self { executor: GpuExecutor::new(gpu, Arc::new(plan), &[])? })
    }

    /// Sets the contents of a buffer.
    ///
    /// # Errors
    /// [`Error::Shape`] if `contents` is shorter than the plan's buffer; [`Error::OutOfMemory`].
    pub fn set<T: bytemuck::Pod>(&mut self, buffer: BufferId, contents: &[T]) -> Result<()> {
        let name = &self.executor.plan().buffer(buffer).name;
        let uploaded = self.executor.gpu().upload(name, bytemuck::cast_slice(contents))?;
        self.executor.bind(buffer, uploaded)
    }

    /// Records steps in one compute pass.
    pub fn record_steps(&self, encoder: &mut wgpu::CommandEncoder, steps: u32) {
        self.executor.record_steps(encoder, steps);
    }

    /// Submits steps and waits until they have run.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn run(&self, steps: u32) -> Result<()> {
        let gpu = self.executor.gpu();
        gpu.check_lost()?;
        let mut encoder = gpu.encoder();
        self.record_steps(&mut encoder, steps);
        gpu.submit(encoder)?;
        gpu.finish()
    }

    /// The contents of a buffer. The plan must know its length, or [`set`](Self::set) must have set it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    ///
    /// # Panics
    /// If the length is unknown.
    pub fn get(&self, buffer: BufferId) -> Result<Vec<f32>> {
        let gpu = self.executor.gpu();
        let from = self.executor.buffer(buffer).expect("a buffer that was made or set");
        let words = self.executor.plan().buffer(buffer).words();
        let bytes = words.map_or(from.size(), |words| words * 4);
        let mut encoder = gpu.encoder();
        let readback = gpu.record_readback(&mut encoder, from, 0..bytes)?;
        gpu.submit(encoder)?;
        Ok(bytemuck::cast_vec(gpu.block_on(readback.read(gpu)?.finish())?))
    }

    /// Measures the time of each op: see [`Trainer::profile`](crate::Trainer::profile).
    ///
    /// # Errors
    /// As [`Trainer::profile`](crate::Trainer::profile).
    pub fn profile(&self, steps: u32) -> Result<Profile> {
        self.executor.gpu().block_on(Profile::of(&self.executor, steps))
    }
}

fn matmul([a, b, c]: [[u32; 2]; 3], layout: Layout, window: Option<Window>) -> Result<Plan> {
    let shapes = [("a", a), ("b", b), ("c", c)];
    for (name, [rows, columns]) in shapes {
        if !(1..=LONGEST_TENSOR).contains(&(u64::from(rows) * u64::from(columns))) {
            let expected = format!("1 to {LONGEST_TENSOR} numbers");
            return Err(Error::shape(name, expected, format!("{rows}x{columns}")));
        }
    }
    let buffers = shapes.map(|(name, [rows, columns])| Buffer {
        name: name.into(),
        dtype: Dtype::F32,
        shape: Some([rows, columns].into()),
        role: Role::Activation,
        contents: Vec::new(),
        memory: None,
    });
    let tensor = |i: usize| Tensor::new(BufferId(i), Dtype::F32, shapes[i].1);
    let [a, b, c] = [0, 1, 2].map(tensor);
    let step = vec![Op::Matmul(Matmul { window, ..Matmul::new(a, b, c, layout) })];
    Ok(Plan { name: "product", batch: shapes[2].1[0], buffers: buffers.into(), step, report: Vec::new() })
}

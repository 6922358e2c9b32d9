//! GPU executor: a plan bound to buffers. Pipelines and bind groups are made once; a step is then a list of
//! dispatches.

use std::collections::btree_map::{BTreeMap, Entry};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use super::{Gpu, Recorder, warm_up};
use crate::error::{Error, Result};
use crate::ops::{BufferId, Launch, Operand, Tensor};
use crate::plan::{Plan, Role};

/// Bindings that share a buffer start at multiples of this offset, which every device allows.
const STRIDE: usize = 256;

/// The largest number of bindings of a kernel that every device allows.
const MOST_BINDINGS: usize = 8;

// Bindings are numbered from 1, after the uniforms.
const UNUSED_BYTES: u64 = ((MOST_BINDINGS + 1) * STRIDE) as u64;

/// Size of the longest buffer that an executor makes in addition to the plan's buffers.
pub(super) fn own_bytes(launches: usize) -> u64 {
    UNUSED_BYTES.max((launches * STRIDE) as u64)
}

/// Size of the scratch buffer, which passes results from one launch of an op to the next.
pub(super) fn scratch_bytes<'a>(launches: impl Iterator<Item = &'a Launch>) -> u64 {
    launches.flat_map(|launch| &launch.bindings).map(|binding| binding.scratch).max().unwrap_or(0)
}

/// A plan with its buffers on a GPU. Buffers with the same [memory](crate::plan::Buffer::memory) share one GPU
/// buffer, unless they are given.
#[derive(Debug, Clone)]
pub(crate) struct GpuExecutor {
    gpu: Gpu,
    plan: Arc<Plan>,
    buffers: Vec<Option<Region>>,
    uniforms: wgpu::Buffer,
    /// Bound to unused bindings of an op: one buffer for read-only bindings, one for writable ones.
    unused: [wgpu::Buffer; 2],
    /// Passes results from one launch of an op to the next.
    scratch: wgpu::Buffer,
    launches: Vec<Launch>,
    dispatches: Vec<Dispatch>,
}

/// A range of a buffer, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub buffer: wgpu::Buffer,
    /// A multiple of the device's `min_storage_buffer_offset_alignment`.
    pub offset: u64,
    pub bytes: u64,
}

impl From<wgpu::Buffer> for Region {
    fn from(buffer: wgpu::Buffer) -> Self {
        Self { offset: 0, bytes: buffer.size(), buffer }
    }
}

#[derive(Debug, Clone)]
struct Dispatch {
    /// Index of the op in the plan.
    op: usize,
    pipeline: wgpu::ComputePipeline,
    /// `None` until all buffers of the op are given.
    bind_group: Option<wgpu::BindGroup>,
    /// One bind group for each [variant](GpuExecutor::make_variants), used instead of `bind_group`. Empty if the op
    /// has no variants.
    variants: Vec<Option<wgpu::BindGroup>>,
    grid: [u32; 2],
}

impl GpuExecutor {
    /// Uses the buffers in `given`. Makes the buffers whose length the plan knows, with the plan's initial contents.
    /// The other buffers are given later with [`bind`](Self::bind).
    pub(crate) fn new(gpu: &Gpu, plan: Arc<Plan>, given: &[(BufferId, Region)]) -> Result<Self> {
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        gpu.measure(&plan)?;
        let launches = gpu.checked_launches(&plan)?;
        Self::with_launches(gpu, plan, given, launches)
    }

    /// As [`new`](Self::new), with kernels that check their indices and loops. For plans that may be invalid.
    pub(crate) fn checked(gpu: &Gpu, plan: Arc<Plan>, given: &[(BufferId, Region)]) -> Result<Self> {
        let mut launches = gpu.checked_launches(&plan)?;
        launches.iter_mut().flatten().for_each(|launch| launch.shader.checked = true);
        Self::with_launches(gpu, plan, given, launches)
    }

    /// An executor with these launches, one list for each op.
    pub(super) fn with_launches(
        gpu: &Gpu,
        plan: Arc<Plan>,
        given: &[(BufferId, Region)],
        launches: Vec<Vec<Launch>>,
    ) -> Result<Self> {
        let of_ops = launches.into_iter().enumerate();
        let (ops, launches): (Vec<usize>, Vec<Launch>) =
            of_ops.flat_map(|(op, launches)| launches.into_iter().map(move |launch| (op, launch))).unzip();
        let grids = launches.iter().map(|l| gpu.grid(l)).collect::<Result<Vec<_>>>()?;

        let shaders: Vec<_> = launches.iter().map(|l| (&l.shader, l.writable())).collect();
        let shaders: Vec<_> = shaders.iter().map(|(shader, writable)| (*shader, writable.as_slice())).collect();
        let pipelines = gpu.pipelines(&shaders)?;

        let mut buffers = vec![None; plan.buffers.len()];
        for (id, region) in given {
            buffers[id.0] = Some(region.clone());
        }
        let mut shared: BTreeMap<u32, Region> = BTreeMap::new();
        for (slot, buffer) in buffers.iter_mut().zip(&plan.buffers) {
            if let (None, Some(bytes)) = (&slot, buffer.bytes()) {
                let made = match buffer.memory {
                    Some(memory) => match shared.entry(memory) {
                        Entry::Occupied(made) => made.get().clone(),
                        Entry::Vacant(slot) => {
                            let what = format!("memory {memory}, of {} and others", buffer.name);
                            slot.insert(gpu.zeros(&what, plan.memory_bytes(memory))?.into()).clone()
                        }
                    },
                    None if buffer.contents.is_empty() => gpu.zeros(&buffer.name, bytes)?.into(),
                    None => gpu.upload(&buffer.name, bytemuck::cast_slice(&buffer.contents))?.into(),
                };
                *slot = Some(made);
            }
        }
        let mut uniforms = vec![0; launches.len() * STRIDE];
        for (slot, launch) in uniforms.chunks_exact_mut(STRIDE).zip(&launches) {
            let bytes = launch.bytes();
            slot[..bytes.len()].copy_from_slice(&bytes);
        }
        let uniforms = gpu.upload("uniforms", &uniforms)?;
        let unused = [gpu.zeros("unused inputs", UNUSED_BYTES)?, gpu.zeros("unused outputs", UNUSED_BYTES)?];
        let scratch = gpu.zeros("scratch", scratch_bytes(launches.iter()))?;

        let dispatches = pipelines
            .into_iter()
            .zip(grids)
            .zip(ops)
            .map(|((pipeline, grid), op)| Dispatch { op, pipeline, bind_group: None, variants: Vec::new(), grid })
            .collect();
        let mut executor = Self { gpu: gpu.clone(), plan, buffers, uniforms, unused, scratch, launches, dispatches };
        executor.make_bind_groups(|_| true)?;
        Ok(executor)
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A text for each kernel, which shows how it was chosen.
    pub(crate) fn kernels(&self) -> impl Iterator<Item = String> {
        self.launches.iter().map(|launch| format!("{:?} {:?}", launch.shader, launch.workgroups))
    }

    /// The GPU buffer of a plan's buffer, if it is given.
    pub(crate) fn buffer(&self, id: BufferId) -> Option<&wgpu::Buffer> {
        self.buffers[id.0].as_ref().map(|region| &region.buffer)
    }

    /// The buffer of a role. The plan must have this role.
    pub(crate) fn of(&self, role: Role) -> &wgpu::Buffer {
        let id = self.plan.find(role).expect("a role of every plan of this kind");
        self.buffer(id).expect("a buffer that was made")
    }

    /// Binds a buffer or a range of one. On an error the previous buffer stays bound.
    pub(crate) fn bind(&mut self, id: BufferId, region: impl Into<Region>) -> Result<()> {
        let before = self.buffers[id.0].replace(region.into());
        let bound =
            self.make_bind_groups(|launch| launch.bindings.iter().flat_map(|b| b.tensor).any(|t| t.buffer == id));
        if bound.is_err() {
            self.buffers[id.0] = before;
        }
        bound
    }

    /// Makes variants of all dispatches that read the buffer `id`. In variant i they read `contents[i]` instead. A
    /// dispatch may have only one buffer that varies.
    pub(crate) fn make_variants<T: bytemuck::Pod>(&mut self, id: BufferId, contents: &[T]) -> Result<()> {
        let mut bytes = vec![0; contents.len() * STRIDE];
        for (slot, contents) in bytes.chunks_exact_mut(STRIDE).zip(contents) {
            slot[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(contents));
        }
        let buffer = self.gpu.upload("variants", &bytes)?;
        let before = self.buffers[id.0].clone();
        let reads = |launch: &Launch| launch.bindings.iter().flat_map(|b| b.tensor).any(|t| t.buffer == id);
        for i in 0..self.launches.len() {
            if !reads(&self.launches[i]) {
                continue;
            }
            for n in 0..contents.len() {
                let offset = (n * STRIDE) as u64;
                self.buffers[id.0] = Some(Region { buffer: buffer.clone(), offset, bytes: STRIDE as u64 });
                let bind_group = self.bind_group(i, &self.launches[i])?;
                self.dispatches[i].variants.push(Some(bind_group));
            }
        }
        self.buffers[id.0] = before;
        Ok(())
    }

    /// Records some ops of a step, in a variant that [`make_variants`](Self::make_variants) has made.
    pub(crate) fn record_variant(&self, to: &mut impl Recorder, label: &str, part: Range<usize>, variant: usize) {
        to.compute(label, |pass| {
            for dispatch in self.of_ops(part) {
                let bind_group = dispatch.variants.get(variant).unwrap_or(&dispatch.bind_group);
                record(pass, dispatch, bind_group);
            }
        });
    }

    /// Records steps in one compute pass, without allocation.
    pub(crate) fn record_steps(&self, to: &mut impl Recorder, steps: u32) {
        let (end, all) = (self.plan.end_of_slice(), self.plan.step.len());
        let (of_slice, of_batch) = (self.of_ops(0..end), self.of_ops(end..all));
        let slices = self.plan.share().own;
        to.compute(self.plan.name, |pass| {
            for _ in 0..steps {
                (0..slices).for_each(|_| dispatch(pass, of_slice));
                dispatch(pass, of_batch);
            }
        });
    }

    /// Records the sum of the metrics.
    pub(crate) fn record_report(&self, to: &mut impl Recorder) {
        let report = self.plan.step.len()..usize::MAX;
        self.record(to, "report", self.of_ops(report), 1);
    }

    /// Records some ops of a step.
    pub(crate) fn record_part(&self, to: &mut impl Recorder, label: &str, part: Range<usize>) {
        self.record(to, label, self.of_ops(part), 1);
    }

    /// Records every op with zero workgroups, so nothing runs. Some drivers compile a kernel at its first dispatch;
    /// this makes them compile it now. All buffers must be given.
    pub(crate) fn record_warm_up(&self, to: &mut impl Recorder) {
        warm_up::record(to, self.dispatches.iter().map(|d| (&d.pipeline, d.bind_group.as_ref())));
    }

    /// Submits what [`record_warm_up`](Self::record_warm_up) records. Binds the unused buffers instead of the plan's
    /// buffers, because some of those may be missing or destroyed.
    pub(crate) fn warm_up(&self) -> Result<()> {
        self.warm_up_ops(0..usize::MAX)
    }

    /// As [`warm_up`](Self::warm_up), without the ops of the report: these can be compiled at the first report.
    pub(crate) fn warm_up_step(&self) -> Result<()> {
        self.warm_up_ops(0..self.plan.step.len())
    }

    fn warm_up_ops(&self, ops: Range<usize>) -> Result<()> {
        self.gpu.warm_up(|encoder| {
            let dispatches = self.of_ops(ops);
            let stand_ins = self.launches.iter().take(dispatches.len()).map(|launch| {
                let unused = launch.bindings.iter().map(|&b| Operand { tensor: None, ..b }).collect();
                self.bind_group(0, &Launch { bindings: unused, ..launch.clone() })
            });
            let stand_ins = stand_ins.collect::<Result<Vec<_>>>()?;
            warm_up::record(encoder, dispatches.iter().map(|d| &d.pipeline).zip(stand_ins.iter().map(Some)));
            Ok(())
        })
    }

    /// Records one op, by its index in [`Plan::ops`].
    pub(crate) fn record_op(&self, encoder: &mut wgpu::CommandEncoder, index: usize) {
        self.record(encoder, "op", self.of_ops(index..index + 1), 1);
    }

    /// Records some ops of a step with timestamps at their start and end.
    pub(crate) fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        ops: Range<usize>,
        writes: wgpu::ComputePassTimestampWrites<'_>,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes: Some(writes) };
        dispatch(&mut encoder.begin_compute_pass(&descriptor), self.of_ops(ops));
    }

    fn of_ops(&self, ops: Range<usize>) -> &[Dispatch] {
        let begin = |op| self.dispatches.partition_point(|dispatch| dispatch.op < op);
        &self.dispatches[begin(ops.start)..begin(ops.end)]
    }

    fn record(&self, to: &mut impl Recorder, label: &str, dispatches: &[Dispatch], times: u32) {
        to.compute(label, |pass| {
            for _ in 0..times {
                dispatch(pass, dispatches);
            }
        });
    }

    fn make_bind_groups(&mut self, affected: impl Fn(&Launch) -> bool) -> Result<()> {
        for i in (0..self.launches.len()).filter(|&i| affected(&self.launches[i])) {
            let launch = &self.launches[i];
            let given = launch.bindings.iter().flat_map(|b| b.tensor).all(|t| self.buffer(t.buffer).is_some());
            if given {
                let bind_group = self.bind_group(i, launch)?;
                self.dispatches[i].bind_group = Some(bind_group);
            }
        }
        Ok(())
    }

    fn bind_group(&self, index: usize, launch: &Launch) -> Result<wgpu::BindGroup> {
        let uniforms = wgpu::BufferBinding {
            buffer: &self.uniforms,
            offset: (index * STRIDE) as u64,
            size: NonZeroU64::new(4 * launch.uniforms.len() as u64),
        };
        let has_uniforms = !launch.uniforms.is_empty();
        let uniforms = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniforms) };
        let mut entries = Vec::from_iter(has_uniforms.then_some(uniforms));
        for (binding, used) in (1..).zip(&launch.bindings) {
            let resource = match used.tensor {
                Some(tensor) => self.binding(tensor)?,
                None if used.scratch > 0 => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.scratch,
                    offset: 0,
                    size: NonZeroU64::new(used.scratch),
                }),
                // One range for each binding, because writable ones must not overlap. It is longer than any struct in
                // a kernel.
                None => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.unused[usize::from(used.is_written())],
                    offset: (binding as usize * STRIDE) as u64,
                    size: NonZeroU64::new(STRIDE as u64),
                }),
            };
            entries.push(wgpu::BindGroupEntry { binding, resource });
        }
        let layout = self.gpu.bind_group_layout(&launch.writable());
        let what = format!("bind group of {}", launch.shader.name);
        self.gpu.guard(&what, 0, || {
            self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&launch.shader.name),
                layout: &layout,
                entries: &entries,
            })
        })
    }

    fn binding(&self, tensor: Tensor) -> Result<wgpu::BindingResource<'_>> {
        let region = self.buffers[tensor.buffer.0].as_ref().expect("make_bind_groups has looked");
        let std::ops::Range { start, end } = tensor.words();
        let (offset, bytes) = match self.plan.buffer(tensor.buffer).shape {
            None => (0, region.bytes),
            Some(_) => (start as u64 * 4, ((end - start) as u64 * 4).next_multiple_of(16)),
        };
        self.gpu.check_size(&self.plan.buffer(tensor.buffer).name, bytes)?;
        if offset + bytes > region.bytes {
            return Err(Error::shape(
                format!("buffer given as {}", self.plan.buffer(tensor.buffer).name),
                format!("at least {} bytes (rows x features x 4, rounded up to a multiple of 16)", offset + bytes),
                format!("{} bytes", region.bytes),
            ));
        }
        let (buffer, offset) = (&region.buffer, region.offset + offset);
        Ok(wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: NonZeroU64::new(bytes) }))
    }
}

fn dispatch(pass: &mut wgpu::ComputePass<'_>, dispatches: &[Dispatch]) {
    for dispatch in dispatches {
        record(pass, dispatch, &dispatch.bind_group);
    }
}

fn record(pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch, bind_group: &Option<wgpu::BindGroup>) {
    pass.set_pipeline(&dispatch.pipeline);
    pass.set_bind_group(0, bind_group, &[]);
    pass.dispatch_workgroups(dispatch.grid[0], dispatch.grid[1], 1);
}

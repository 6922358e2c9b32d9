//! Required limits and optional features of a device, for apps that create the device themselves.

use super::{OPTIONAL_FEATURES, executor};
use crate::ops::{Adapter, MOST_INVOCATIONS, MOST_WORKGROUP_MEMORY};
use crate::plan::Plan;

/// The device limits that a plan needs. Merge them into the app's own request.
///
/// They include the two buffers of a data set, which are bound whole. They do not include buffers of [strided
/// rows](crate::Rows), which can be longer. Limits for uniforms and textures are the defaults of WebGPU; all other
/// limits are as low as possible.
///
/// WebGPU's default limits are enough for most plans. Only the length of a buffer can exceed them. The longest buffer
/// is often that of the optimizer's moments: Adam needs 8 bytes for each weight.
///
/// ```no_run
/// # async fn f(adapter: wgrad::wgpu::Adapter, mine: wgrad::wgpu::Limits,
/// #            network: wgrad::Network) -> wgrad::Result<()> {
/// use wgrad::{Adam, Loss, Plan, TrainerConfig, wgpu};
/// let config = TrainerConfig::default();
/// let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config)?;
/// let descriptor = wgpu::DeviceDescriptor {
///     required_limits: mine.or_better_values_from(&wgrad::required_limits(&plan)),
///     required_features: wgrad::optional_features(&adapter), // and the app's own
///     ..Default::default()
/// };
/// let (device, queue) = adapter.request_device(&descriptor).await.expect("a device");
/// # Ok(())
/// # }
/// ```
pub fn required_limits(plan: &Plan) -> wgpu::Limits {
    let lowest = wgpu::Limits::downlevel_webgl2_defaults();
    let most = wgpu::Limits::default();
    let launches: Vec<_> = plan.ops().flat_map(|op| op.launches(&Adapter::default())).collect();
    let bindings =
        launches.iter().map(|launch| launch.writable().into_iter().flatten().count() as u32).max().unwrap_or(1);
    // Whole vec4s, and the executor's own buffers: bindings for up to two launches of each op (a measured matmul
    // kernel may need two), and scratch.
    let own = executor::own_bytes(2 * launches.len()).max(executor::scratch_bytes(launches.iter()));
    let whole = |words: u64| (words * 4).next_multiple_of(16).max(own);
    let longest = plan.buffers.iter().filter_map(|buffer| buffer.words()).max().unwrap_or(0);
    let tensors = launches.iter().flat_map(|launch| &launch.bindings).flat_map(|binding| binding.tensor);
    let bound =
        tensors.filter(|t| plan.buffer(t.buffer).shape.is_some()).map(|t| t.words().len() as u64).max().unwrap_or(0);
    wgpu::Limits {
        max_buffer_size: whole(longest),
        max_storage_buffer_binding_size: whole(bound),
        max_storage_buffers_per_shader_stage: bindings,
        max_bindings_per_bind_group: bindings,
        max_compute_workgroup_storage_size: MOST_WORKGROUP_MEMORY,
        max_compute_invocations_per_workgroup: MOST_INVOCATIONS,
        max_compute_workgroup_size_x: MOST_INVOCATIONS,
        max_compute_workgroup_size_y: MOST_ROWS,
        max_compute_workgroup_size_z: MOST_SLICES,
        // The minimum of every device; larger grids are divided over two dimensions. The grid depends on the
        // adapter's kernels.
        max_compute_workgroups_per_dimension: most.max_compute_workgroups_per_dimension,
        min_storage_buffer_offset_alignment: most.min_storage_buffer_offset_alignment,
        // For `Model::wgsl`, whose weights can be uniforms, and for textures as outputs.
        max_uniform_buffer_binding_size: most.max_uniform_buffer_binding_size,
        max_storage_textures_per_shader_stage: most.max_storage_textures_per_shader_stage,
        ..lowest
    }
}

/// The largest number of k chunks that a workgroup of any kernel sums: its size in z.
const MOST_SLICES: u32 = 4;

/// The largest number of rows of a workgroup of any kernel: its size in y.
const MOST_ROWS: u32 = 64;

/// The adapter's features that wgrad can use. It also runs without them.
///
/// - Subgroups, 64-bit integers and mappable storage buffers make software adapters faster.
/// - The pipeline cache saves compiled kernels.
/// - Timestamps measure steps in [`Training::record_within`](crate::Training::record_within).
pub fn optional_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let wanted = match adapter.get_info().device_type {
        wgpu::DeviceType::Cpu => OPTIONAL_FEATURES | wgpu::Features::MAPPABLE_PRIMARY_BUFFERS,
        _ => OPTIONAL_FEATURES,
    };
    adapter.features() & wanted
}

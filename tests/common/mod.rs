//! Shared code of several tests.
#![allow(dead_code, unused_imports)] // each test uses some of it

mod inputs;
pub mod pass;
pub mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

pub use inputs::{Random, single};
use wgrad::plan::{DataInfo, K, MatmulKernel, Role, Tile};
use wgrad::{Gpu, Network, Plan, lockstep::Lockstep};

/// The GPU. Without one the test fails, and the error tells how to install one. No test is skipped.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::request().unwrap_or_else(|e| panic!("{e}")))
}

/// The same adapter as a device without optional features, with the matmul kernels of real GPUs.
pub fn plain_gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let (device, queue) = own_device();
        Gpu::from_parts(device, queue).with_products(whole(Tile::Square32))
    })
}

/// Both devices.
pub fn gpus() -> [&'static Gpu; 2] {
    [gpu(), plain_gpu()]
}

/// A matmul kernel whose workgroups sum all of k.
pub const fn whole(tile: Tile) -> MatmulKernel {
    MatmulKernel { tile, k: K::Whole }
}

/// The matmul kernels, except the one of [`plain_gpu`].
pub const PRODUCTS: [MatmulKernel; 9] = [
    MatmulKernel { tile: Tile::Square32, k: K::Slices(4) },
    MatmulKernel { tile: Tile::Square32, k: K::Parts(8) },
    whole(Tile::Square64),
    whole(Tile::Vector { lanes: 64 }),
    whole(Tile::Plain),
    whole(Tile::Subgroup { rows: 16 }),
    whole(Tile::Wide { rows: 16 }),
    whole(Tile::Panel),
    whole(Tile::Sliding),
];

/// The GPU. It uses the given matmul kernel wherever that kernel can run.
pub fn with_products(kernel: MatmulKernel) -> Gpu {
    Gpu::request().unwrap_or_else(|e| panic!("{e}")).with_products(kernel)
}

/// A device that an app would request: default limits and no features.
pub fn own_device() -> (wgrad::wgpu::Device, wgrad::wgpu::Queue) {
    own_device_with(wgrad::wgpu::Limits::default())
}

pub fn own_device_with(required_limits: wgrad::wgpu::Limits) -> (wgrad::wgpu::Device, wgrad::wgpu::Queue) {
    use wgrad::wgpu;
    pollster::block_on(async {
        // `Gpu::request()` makes the instance in the same way, so this gets the same adapter.
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        let adapter = instance.request_adapter(&options).await.expect("an adapter: see scripts/setup.sh");
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        adapter.request_device(&descriptor).await.expect("a device")
    })
}

/// A lockstep with the kernels that training uses.
pub fn lockstep(gpu: &Gpu, plan: Plan) -> Lockstep {
    assert_shares_memory_soundly(&plan);
    // SAFETY: these tests make plans and buffers with the lengths that their ops state.
    unsafe { Lockstep::new_unchecked(gpu, plan) }.unwrap()
}

/// Checks the sharing of memory in a step. When an op reads a buffer, the buffer's memory must hold the buffer's data.
/// No op may use a buffer after another buffer took its memory. The operands of one op lie in separate memory.
pub fn assert_shares_memory_soundly(plan: &Plan) {
    let (mut holds, mut lost) = (BTreeMap::new(), BTreeSet::new());
    for op in &plan.step {
        let what = plan.describe(op);
        let mut operands = BTreeMap::new();
        let inputs = op.inputs().into_iter().map(|tensor| (tensor, false));
        let outputs = op.outputs().into_iter().map(|(tensor, _)| (tensor, true));
        for (tensor, is_written) in inputs.chain(outputs) {
            let (id, buffer) = (tensor.buffer, plan.buffer(tensor.buffer));
            let Some(memory) = buffer.memory else { continue };
            let may_share =
                matches!(buffer.role, Role::Activation | Role::ActivationGradient | Role::Statistics | Role::Choices);
            assert!(may_share && buffer.shape.is_some() && buffer.contents.is_empty(), "{buffer:?}");
            assert_eq!(*operands.entry(memory).or_insert(id), id, "two operands in memory {memory}: {what} in\n{plan}");
            assert!(!lost.contains(&id), "{what} touches {}, whose memory others have, in\n{plan}", buffer.name);
            match is_written {
                true => lost.extend(holds.insert(memory, id).filter(|before| *before != id)),
                false => assert_eq!(holds.get(&memory), Some(&id), "{what} does not find {} in\n{plan}", buffer.name),
            }
        }
    }
    for (tensor, _) in plan.report.iter().flat_map(|op| op.outputs()) {
        assert_eq!(plan.buffer(tensor.buffer).memory, None, "in the report of\n{plan}");
    }
    for tensor in plan.report.iter().flat_map(|op| op.inputs()) {
        assert_eq!(plan.buffer(tensor.buffer).memory, None, "in the report of\n{plan}");
    }
}

/// The same plan without shared memory.
pub fn without_sharing(mut plan: Plan) -> Plan {
    plan.buffers.iter_mut().for_each(|buffer| buffer.memory = None);
    plan
}

/// The kind of targets in a data set.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TargetKind {
    /// Whether targets are numbers from 0 to 1, one for each output. Otherwise they are labels.
    pub values: bool,
    /// Whether rows have weights.
    pub weighted: bool,
}

/// A lockstep of a training or evaluation plan, with random rows and the network's initial weights.
pub fn lockstep_with_data(gpu: &Gpu, network: &Network, plan: Plan, rows: u32, seed: u64) -> Lockstep {
    lockstep_with_targets(gpu, network, plan, rows, seed, TargetKind::default())
}

pub fn lockstep_with_targets(
    gpu: &Gpu,
    network: &Network,
    plan: Plan,
    rows: u32,
    seed: u64,
    kind: TargetKind,
) -> Lockstep {
    filled(lockstep(gpu, plan), network, rows, seed, kind)
}

/// Fills a lockstep with random rows and the network's initial weights.
pub fn filled(mut lockstep: Lockstep, network: &Network, rows: u32, seed: u64, kind: TargetKind) -> Lockstep {
    let mut random = Random(seed | 1);
    let find = |l: &Lockstep, role| l.plan().find(role).unwrap();
    let features = random.f32s((rows * network.inputs()) as usize);
    let mut targets = Vec::new();
    for _ in 0..rows {
        match kind.values {
            true => targets.extend((0..network.outputs()).map(|_| random.f32().abs().to_bits())),
            false => targets.push(random.below(network.outputs())),
        }
        if kind.weighted {
            targets.push((random.f32() + 1.0).to_bits());
        }
    }
    let (values, weighted) = (kind.values.into(), kind.weighted.into());
    let info = DataInfo {
        rows,
        shuffle: 1,
        seed_low: seed as u32,
        values,
        weighted,
        feature_stride: network.inputs(),
        target_stride: targets.len() as u32 / rows,
        ..DataInfo::default()
    };
    let id = find(&lockstep, Role::Features(0));
    lockstep.set(id, &features).unwrap();
    let id = find(&lockstep, Role::Targets(0));
    lockstep.set(id, &targets).unwrap();
    let id = find(&lockstep, Role::Data(0));
    lockstep.set(id, &[info]).unwrap();
    let id = find(&lockstep, Role::Parameters);
    lockstep.set(id, &network.initial_parameters(seed)).unwrap();
    lockstep
}

/// A configuration with this batch size.
pub fn batches_of(batch: u32) -> wgrad::TrainerConfig {
    wgrad::TrainerConfig { batch, ..Default::default() }
}

/// Runs the ops of a plan on GPU and CPU. Fails at the first op that diverges, and names it.
pub fn assert_agree(lockstep: &mut Lockstep, what: &str) {
    for comparison in lockstep.run().unwrap() {
        assert!(comparison.divergence.is_none(), "{what}: {comparison}");
    }
}

//! Measures matrix multiplications, and each kernel of a training step alone.

mod common;

use std::collections::BTreeSet;

use common::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::plan::{BufferId, DataInfo, Layout, Role, StepState};
use wgrad::plan_runner::PlanRunner;
use wgrad::{Adam, Gpu, Loss, Plan, TrainerConfig};

fn matmuls(criterion: &mut Criterion) {
    let gpu = gpu();
    let mut group = group(criterion, "matmul");
    let shapes = [
        (Layout::Nn, [128, 512, 784]),
        (Layout::Nt, [128, 512, 256]),
        (Layout::Tn, [784, 512, 128]),
        (Layout::Nn, [512, 512, 512]),
        (Layout::Nn, [1, 1024, 1024]),
        (Layout::Nn, [4096, 64, 64]),
    ];
    for (layout, [m, n, k]) in shapes {
        let mut matmul = PlanRunner::matmul(&gpu, [m, n, k], layout).expect("a matmul that fits");
        matmul.set(BufferId(0), &random((m * k) as usize)).expect("memory");
        matmul.set(BufferId(1), &random((k * n) as usize)).expect("memory");
        group.throughput(Throughput::Elements(matmul.plan().cost().total().flops));
        group.bench_function(format!("{layout:?} {m}x{n}x{k}"), |bencher| {
            bencher.iter_custom(|times| submitted(&gpu, times, |encoder, times| matmul.record_steps(encoder, times)));
        });
    }
}

fn kernels_of_a_step(criterion: &mut Criterion) {
    const BATCH: u32 = 128;
    let (gpu, network) = (gpu(), mnist_network());
    // Gradients are kept, so that the update is an op of its own.
    let config = TrainerConfig { batch: BATCH, keep_gradients: true, ..TrainerConfig::default() };
    let plan =
        Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config).expect("a valid plan");
    let mut group = group(criterion, "kernel");
    let mut seen = BTreeSet::new();
    for op in plan.step.iter().chain(&plan.report) {
        // Matrix multiplications are in the other group.
        if op.kernel() == "matmul" || !seen.insert(op.kernel()) {
            continue;
        }
        let alone = Plan { step: vec![op.clone()], report: Vec::new(), ..plan.clone() };
        let runner = alone_on(&gpu, alone, BATCH);
        group.throughput(Throughput::Bytes(op.work().bytes));
        group.bench_function(op.kernel(), |bencher| {
            bencher.iter_custom(|times| submitted(&gpu, times, |encoder, times| runner.record_steps(encoder, times)));
        });
    }
}

/// A plan with one op of a training plan, random tensors and a full batch.
fn alone_on(gpu: &Gpu, plan: Plan, batch: u32) -> PlanRunner {
    const ROWS: u32 = 1024;
    let buffers = plan.buffers.clone();
    // SAFETY: the plan is made by wgrad, with some ops removed. The data set has `ROWS` rows, and all row indices are
    // below `ROWS`.
    let mut runner = unsafe { PlanRunner::new_unchecked(gpu, plan) }.expect("a plan that fits");
    for (i, buffer) in buffers.iter().enumerate() {
        let id = BufferId(i);
        let set = match buffer.role {
            Role::Features(0) => runner.set(id, &random((ROWS * 784) as usize)),
            Role::Targets(0) => runner.set(id, &(0..ROWS).map(|row| row % 10).collect::<Vec<_>>()),
            Role::Data(0) => {
                let [feature_stride, target_stride] = [784, 1];
                let info = DataInfo { rows: ROWS, shuffle: 1, feature_stride, target_stride, ..DataInfo::default() };
                runner.set(id, &[info])
            }
            Role::Step => {
                runner.set(id, &[StepState { step: 1, rows: batch, update: 1, due: 1, ..StepState::default() }])
            }
            Role::Indices => runner.set(id, &(0..batch).map(|row| row * 7 % ROWS).collect::<Vec<_>>()),
            Role::RowMetrics | Role::Totals => Ok(()),
            // Second moments must not be negative.
            Role::Moments => {
                runner.set(id, &random(buffer.words().unwrap_or(0) as usize).iter().map(|x| x * x).collect::<Vec<_>>())
            }
            _ => runner.set(id, &random(buffer.words().unwrap_or(0) as usize)),
        };
        set.expect("memory");
    }
    runner
}

criterion_group! { name = benches; config = criterion(); targets = matmuls, kernels_of_a_step }
criterion_main!(benches);

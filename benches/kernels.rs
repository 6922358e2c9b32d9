//! Products, and every kernel of a training step by itself.

mod common;

use std::collections::BTreeSet;

use common::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::plan::{BufferId, DataInfo, Layout, Role, StepState};
use wgrad::runner::Runner;
use wgrad::{Adam, Gpu, Loss, Plan, TrainerConfig};

fn products(criterion: &mut Criterion) {
    let gpu = gpu();
    let mut group = group(criterion, "product");
    let shapes = [
        (Layout::Nn, [128, 512, 784]),
        (Layout::Nt, [128, 512, 256]),
        (Layout::Tn, [784, 512, 128]),
        (Layout::Nn, [512, 512, 512]),
        (Layout::Nn, [1, 1024, 1024]),
        (Layout::Nn, [4096, 64, 64]),
    ];
    for (layout, [m, n, k]) in shapes {
        let mut product = Runner::product(&gpu, [m, n, k], layout).expect("a product that fits");
        product.set(BufferId(0), &random((m * k) as usize)).expect("memory");
        product.set(BufferId(1), &random((k * n) as usize)).expect("memory");
        group.throughput(Throughput::Elements(product.plan().cost().total().flops));
        group.bench_function(format!("{layout:?} {m}x{n}x{k}"), |bencher| {
            bencher.iter_custom(|times| submitted(&gpu, times, |encoder, times| product.record_steps(encoder, times)));
        });
    }
}

fn kernels_of_a_step(criterion: &mut Criterion) {
    const BATCH: u32 = 128;
    let (gpu, network) = (gpu(), mnist_network());
    // With an update of its own.
    let config = TrainerConfig { batch: BATCH, keep_gradients: true, ..TrainerConfig::default() };
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config)
        .expect("a plan without fault");
    let mut group = group(criterion, "kernel");
    let mut seen = BTreeSet::new();
    for op in plan.step.iter().chain(&plan.report) {
        // Products have a group of their own.
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

/// An op of a training plan, its tensors random and its batch full.
fn alone_on(gpu: &Gpu, plan: Plan, batch: u32) -> Runner {
    const ROWS: u32 = 1024;
    let buffers = plan.buffers.clone();
    // SAFETY: the plan is one of wgrad's, less some ops; the data set has the rows that it is said to have, and row
    // numbers are below that.
    let mut runner = unsafe { Runner::new_unchecked(gpu, plan) }.expect("a plan that fits");
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
            // Means of squares are not negative.
            Role::Moments => {
                runner.set(id, &random(buffer.words().unwrap_or(0) as usize).iter().map(|x| x * x).collect::<Vec<_>>())
            }
            _ => runner.set(id, &random(buffer.words().unwrap_or(0) as usize)),
        };
        set.expect("memory");
    }
    runner
}

criterion_group! { name = benches; config = criterion(); targets = products, kernels_of_a_step }
criterion_main!(benches);

//! Plans that together use every kind of op, every activation and every optimizer. The library's own tests and the
//! example `kernels` use them.

use wgrad::plan::*;
use wgrad::{
    Activation, AdaBound, Adagrad, Adam, AdamW, Clip, Ema, Encoding, GridInterpolation, GridStorage, GroupNorm,
    HashGrid, Lion, Lookahead, Loss, Losses, Network, Optimizer, Pool, RmsNorm, RmsProp, Schedule, Sgd, TrainerConfig,
    Upsample,
};

/// Plans that together use every kind of op, every activation and every optimizer.
pub fn plans() -> Vec<Plan> {
    let network = Network::input(5)
        .dense(7, Activation::Relu)
        .layer_norm()
        .dense(100, Activation::Silu)
        .dropout(0.5)
        .dense(6, Activation::Softmax)
        .dense(3, Activation::Sigmoid)
        .build()
        .unwrap();
    let grid = HashGrid { levels: 4, log2_hashmap_size: 8, features_per_level: 4, ..HashGrid::default() };
    let smooth = HashGrid {
        features_per_level: 8,
        storage: GridStorage::Tiled,
        interpolation: GridInterpolation::Smoothstep,
        ..grid
    };
    let encoded = Network::input(2)
        .encoding(grid)
        .dense(2, Activation::Tanh)
        .encoding(smooth)
        .dense(3, Activation::Tanh)
        .encoding(grid)
        .encoding(Encoding::Identity { scale: 0.5, offset: 0.25 })
        .dense(3, Activation::Identity)
        .build()
        .unwrap();
    let logits = Network::input(5).dense(3, Activation::Identity).build().unwrap();
    let waves = [Encoding::Frequency { frequencies: 2 }, Encoding::TriangleWave { frequencies: 2 }];
    let waves = waves.into_iter().fold(Network::input(2), |network, encoding| network.encoding(encoding));
    let waves = waves.dense(3, Activation::Tanh).encoding(Encoding::SphericalHarmonics { degree: 3 });
    let waves = waves.encoding(Encoding::OneBlob { bins: 3 }).dense(3, Activation::Identity).build().unwrap();
    // Encodings of parts of a row, before and after a hash grid.
    let parts = [
        (2, Encoding::Identity { scale: -0.5, offset: 0.25 }),
        (2, HashGrid { interpolation: GridInterpolation::Nearest, ..grid }.into()),
        (3, Encoding::SphericalHarmonics { degree: 2 }),
        (1, Encoding::OneBlob { bins: 5 }),
    ];
    let parts = Network::input(5).dense(8, Activation::Tanh).composite_encoding(parts);
    let parts = parts.dense(3, Activation::Identity).build().unwrap();
    let channels = Network::input([3, 5])
        .dense(7, Activation::Relu)
        .batch_norm()
        .activation(Activation::Tanh)
        .batch_norm()
        .dense(4, Activation::Identity)
        .batch_norm()
        .flatten()
        .dense(3, Activation::Identity);
    let channels = channels.build().unwrap();
    // Pooling with and without a multiple of four channels, with and without overlapping windows, with and without a
    // gradient.
    let pools = [3, 4].into_iter().fold(Network::input([20, 16, 1]), |network, channels| {
        let pools = [Pool::max(2), Pool::average(2)];
        let overlapping = [Pool::max(3), Pool::average(3)].map(|pool| pool.stride(1).padding(1));
        overlapping
            .into_iter()
            .chain(pools)
            .fold(network.conv(channels, 1, Activation::Identity), |network, pool| network.layer(pool))
    });
    let pools = pools.layer(Upsample::bilinear([5, 3])).conv(4, 1, Activation::Identity).layer(Upsample::nearest(2));
    let pools = pools.flatten().dense(3, Activation::Identity).build().unwrap();
    let groups = Network::input([3, 6]).layer(GroupNorm::new(2)).layer(RmsNorm::default()).flatten();
    let groups = groups.dense(3, Activation::Identity).build().unwrap();
    // Row lengths that are multiples of four and of eight.
    let of_rows = |columns| {
        let network = Network::input(columns).dense(3, Activation::Identity).build().unwrap();
        Plan::evaluation(&network, Loss::MeanSquaredError, 12).unwrap()
    };
    let images = |columns| {
        let network = Network::input([2, 3, columns]).flatten().dense(3, Activation::Identity).build().unwrap();
        Plan::evaluation(&network, Loss::MeanSquaredError, 12).unwrap()
    };
    let schedule = Schedule::cosine(50, 0.25).warm_up(3);
    let clip = Some(Clip::Norm(1.0));
    let config = TrainerConfig { batch: 12, accumulate: 2, clip, schedule, ..TrainerConfig::default() };
    let adam =
        Adam { learning_rate: 0.5, beta1: 0.75, beta2: 0.875, epsilon: 0.0625, weight_decay: 0.25, ..Adam::default() }
            .into();
    let sgd = Sgd { momentum: 0.75, ..Sgd::default() }.into();
    let smoothed = Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.125 };
    let batches_of = |batch| TrainerConfig { batch, ..TrainerConfig::default() };
    // Activations in a matmul's epilogue and as separate ops.
    let activations = Activation::ALL
        .into_iter()
        .fold(Network::input(12), |network, activation| {
            network.dense(68, activation).layer_norm().activation(activation)
        })
        .dense(3, Activation::Identity)
        .build()
        .unwrap();
    let optimizers: [Optimizer; 5] = [
        RmsProp::default().into(),
        Adagrad::default().into(),
        AdamW::default().into(),
        Lion::default().into(),
        AdaBound::default().into(),
    ];
    let (ema, lookahead) = (Some(Ema::default()), Some(Lookahead::default()));
    let averaging = TrainerConfig { ema, lookahead, absolute_decay: 0.5, ..config.clone() };
    let averaging = Plan::training(&channels, Loss::MeanSquaredError, &adam, &averaging).unwrap();
    let by = |optimizer: &Optimizer| Plan::training(&logits, smoothed, optimizer, &config).unwrap();
    // Distances, with second derivatives: in a matmul's epilogue and alone, under every encoding.
    let grid = HashGrid { levels: 2, log2_hashmap_size: 8, ..HashGrid::default() };
    let curved = Activation::ALL.into_iter().filter(|a| *a != Activation::Softmax);
    let curved = curved.fold(Network::input(2).encoding(grid), |network, activation| network.dense(12, activation));
    let curved = curved.dense(1, Activation::Identity).build().unwrap();
    let eikonal = |network: &Network| {
        let losses = Losses::from(Loss::MeanAbsoluteError).eikonal(0.25);
        Plan::training(network, losses, &sgd, &batches_of(12)).unwrap()
    };
    let sliced = |network: &Network, batch, loss| {
        let config = TrainerConfig { slices: Some(2), op_by_op: true, ..batches_of(batch) };
        Plan::training(network, loss, &adam, &config).unwrap()
    };
    // Kernels of a whole narrow network: an activation apart, and rows of outputs that are long and short.
    let narrow = |outputs| {
        let encoded = Network::input(5).encoding(Encoding::Frequency { frequencies: 3 }).dense(24, Activation::Relu);
        let network = encoded.activation(Activation::Tanh).dense(outputs, Activation::Identity).build().unwrap();
        Plan::training(&network, Loss::MeanSquaredError, &sgd, &batches_of(2048)).unwrap()
    };
    let wave = |encoding| Network::input(2).encoding(encoding).dense(1, Activation::Tanh).build().unwrap();
    let plans = [
        Plan::training(&network, Loss::Huber { delta: 0.75 }, &adam, &config).unwrap(),
        Plan::training(&logits, smoothed, &sgd, &batches_of(12)).unwrap(),
        Plan::training(&logits, smoothed, &sgd, &batches_of(4096)).unwrap(),
        Plan::training(&network, Loss::MeanSquaredError, &sgd, &batches_of(4097)).unwrap(),
        Plan::training(&encoded, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        Plan::evaluation(&network, Loss::BinaryCrossEntropy, 12).unwrap(),
        Plan::evaluation(&logits, Loss::SoftmaxCrossEntropy, 12).unwrap(),
        Plan::training(&waves, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        Plan::training(&parts, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        of_rows(12),
        of_rows(8),
        images(1),
        images(2),
        images(4),
        Plan::forward(&logits, 12).unwrap().strided(Role::Input(0), 3, 8),
        Plan::finite(&Plan::training(&logits, smoothed, &adam, &config).unwrap()),
        Plan::training(&activations, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        products_with_addends(),
        Plan::training(&pools, Loss::MeanSquaredError, &sgd, &batches_of(2)).unwrap(),
        Plan::forward(&pools, 2).unwrap(),
        Plan::training(&channels, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        Plan::training(&channels, Loss::MeanSquaredError, &sgd, &batches_of(4096)).unwrap(),
        sliced(&channels, 12, Loss::MeanSquaredError),
        sliced(&logits, 2 * 4097, Loss::SumOfSquares),
        Plan::training(&groups, Loss::MeanSquaredError, &sgd, &config).unwrap(),
        Plan::averaged(&averaging).unwrap(),
        averaging,
        narrow(24),
        narrow(3),
        eikonal(&curved),
        eikonal(&wave(Encoding::Frequency { frequencies: 2 })),
        eikonal(&wave(Encoding::TriangleWave { frequencies: 2 })),
        eikonal(&wave(Encoding::OneBlob { bins: 3 })),
        eikonal(&wave(Encoding::Identity { scale: 0.5, offset: 0.25 })),
    ];
    plans.into_iter().chain(optimizers.iter().map(by)).chain([tensor_ops()]).collect()
}

/// A tensor in a new buffer.
fn tensor_in(buffers: &mut Vec<Buffer>, shape: Shape) -> Tensor {
    let id = BufferId(buffers.len());
    let name = format!("tensor{}", id.0);
    buffers.push(Buffer {
        name,
        dtype: Dtype::F32,
        shape: Some(shape),
        role: Role::Activation,
        contents: vec![],
        memory: None,
    });
    Tensor::new(id, Dtype::F32, shape)
}

/// The tensor ops of graphs, with one loop and with several, by single numbers and by vectors of four.
fn tensor_ops() -> Plan {
    let mut buffers = Vec::new();
    let mut tensor = |shape| tensor_in(&mut buffers, shape);
    let mut step: Vec<Op> = Vec::new();
    for columns in [5, 8] {
        let shape: Shape = [3, 4, columns].into();
        let [x, y] = [0, 1].map(|_| tensor(shape));
        let wide: Shape = [3, 4, 3 * columns].into();
        let mut of = |shape: Shape| tensor(shape);
        for (b, how) in [(y, Combination::Add), (of(columns.into()), Combination::Multiply)] {
            step.push(Combine { a: x, b, output: of(shape), how }.into());
        }
        step.push(Combine { a: x, b: of([4, 1].into()), output: of(shape), how: Combination::Multiply }.into());
        step.push(ScaleShift { input: x, output: of(shape), scale: 0.5, shift: -1.0 }.into());
        for scale in [1.0, 0.25] {
            let output = of(wide).range(2, columns..2 * columns);
            step.push(Rearrange { input: x, output, scale }.into());
            let output = of([columns, 4, 3].into()).permuted(&[2, 1, 0]);
            step.push(Rearrange { input: x, output, scale }.into());
        }
        step.push(Pad { input: x, output: of(wide), start: [0, 0, columns].into() }.into());
        step.push(Pad { input: x, output: of([3, 9, columns].into()), start: [0, 2, 0].into() }.into());
        for how in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            step.push(Reduce { input: x, output: of([3, 4, 1].into()), how }.into());
            step.push(Reduce { input: x, output: of([1, 4, 1].into()), how }.into());
            step.push(Reduce { input: of([70_000, 2].into()), output: of([1, 2].into()), how }.into());
        }
        let [output, gradient] = [0, 1].map(|_| of([3, 1, columns].into()));
        step.push(ReduceMaxGradient { input: x, output, gradient, input_gradient: of(shape) }.into());
    }
    Plan { name: "tensors", batch: 3, buffers, step, report: Vec::new() }
}

/// Matmuls with an addend, with every epilogue that allows one. Their shapes make each class of adapter use several
/// kernels.
fn products_with_addends() -> Plan {
    let mut buffers = Vec::new();
    let mut tensor = |rows: u32, columns: u32| tensor_in(&mut buffers, [rows, columns].into());
    let mut step: Vec<Op> = Vec::new();
    let activation = Activation::GeluTanh;
    for [m, n, k] in [[9, 7, 5], [64, 96, 96], [64, 99, 99], [128, 192, 192], [32, 32, 2048]] {
        let products = [
            (Layout::Nn, Epilogue::Bias { bias: Some(tensor(1, n)), activation }),
            (Layout::Nt, Epilogue::Derivative { saved: tensor(m, n), activation }),
            (Layout::Tn, Epilogue::None),
        ];
        for (layout, epilogue) in products {
            let a = if layout == Layout::Tn { tensor(k, m) } else { tensor(m, k) };
            let b = if layout == Layout::Nt { tensor(n, k) } else { tensor(k, n) };
            let [c, addend] = [0, 1].map(|_| tensor(m, n));
            step.push(Matmul { epilogue, addend: Some(addend), ..Matmul::new(a, b, c, layout) }.into());
        }
    }
    Plan { name: "products", batch: 64, buffers, step, report: Vec::new() }
}

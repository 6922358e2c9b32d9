//! Errors of a trainer's options, and of calls of trainers, models and predictors.

use wgrad::Activation::{Identity, Relu, Sigmoid, Softmax};
use wgrad::*;

use super::page::{Section, line};

fn network() -> Network {
    Network::input(4).dense(3, Relu).dense(2, Identity).build().unwrap()
}

fn trainer(loss: impl Into<Losses>, optimizer: impl Into<Optimizer>, config: TrainerConfig) -> Result<Trainer> {
    Trainer::new(Device::Cpu, &network(), loss, optimizer, config)
}

fn data() -> Dataset {
    Dataset::from_f32(vec![0.5; 12], 4, vec![0, 1, 1], 2).unwrap()
}

pub fn options() -> Section {
    let with = |optimizer: Optimizer| trainer(Loss::MeanSquaredError, optimizer, TrainerConfig::default());
    let config = |config: TrainerConfig| trainer(Loss::MeanSquaredError, Adam::default(), config);
    let lookahead = |lookahead| config(TrainerConfig { lookahead: Some(lookahead), ..TrainerConfig::default() });
    let schedule = |schedule: Schedule| config(TrainerConfig { schedule, ..TrainerConfig::default() });
    let group = |group: Group| config(TrainerConfig { groups: vec![group], ..TrainerConfig::default() });
    let plain = TrainerConfig::default;
    let nesterov = Sgd { nesterov: true, momentum: 0.9, ..Sgd::default() };
    let plateau = Plateau { min_delta: -1.0, ..Plateau::default() };
    let run = |fit: Fit<'_>| config(plain()).and_then(|mut trainer| trainer.fit(data(), fit, |_| {}));
    let lines = vec![
        line("negative learning rate", with(Sgd { learning_rate: -0.1, ..Sgd::default() }.into())),
        line("negative weight decay", with(AdamW { weight_decay: -1.0, ..AdamW::default() }.into())),
        line("momentum 1", with(Sgd { momentum: 1.0, ..Sgd::default() }.into())),
        line("dampening above 1", with(Sgd { dampening: 1.5, ..Sgd::default() }.into())),
        line("Nesterov without momentum", with(Sgd { momentum: 0.0, ..nesterov }.into())),
        line("Nesterov with dampening", with(Sgd { dampening: 0.1, ..nesterov }.into())),
        line("beta2 above 1", with(Adam { beta2: 1.5, ..Adam::default() }.into())),
        line("epsilon 0", with(Adam { epsilon: 0.0, ..Adam::default() }.into())),
        line("epsilon that GPUs take for 0", with(Adagrad { epsilon: 1e-40, ..Adagrad::default() }.into())),
        line("alpha 1", with(RmsProp { alpha: 1.0, ..RmsProp::default() }.into())),
        line("infinite accumulator", with(Adagrad { initial_accumulator: f32::INFINITY, ..Adagrad::default() }.into())),
        line("AdaBound without a rate", with(AdaBound { learning_rate: 0.0, ..AdaBound::default() }.into())),
        line("AdaBound, gamma 0", with(AdaBound { gamma: 0.0, ..AdaBound::default() }.into())),
        line(
            "AdaBound, ratio of the rates",
            with(AdaBound { learning_rate: 1e-38, final_learning_rate: 10.0, ..AdaBound::default() }.into()),
        ),
        line("EMA with decay 1", config(TrainerConfig { ema: Some(Ema { decay: 1.0 }), ..plain() })),
        line("lookahead, alpha 0", lookahead(Lookahead { alpha: 0.0, ..Lookahead::default() })),
        line("lookahead of 0 updates", lookahead(Lookahead { updates: 0, ..Lookahead::default() })),
        line("negative absolute decay", config(TrainerConfig { absolute_decay: -0.1, ..plain() })),
        line("batch of 0 rows", config(TrainerConfig { batch: 0, ..plain() })),
        line("very large batch", config(TrainerConfig { batch: u32::MAX, ..plain() })),
        line("accumulate 0", config(TrainerConfig { accumulate: 0, ..plain() })),
        line("slices that do not divide the batch", config(TrainerConfig { slices: Some(5), ..plain() })),
        line("window of 0 rows", config(TrainerConfig { window: Some(0), ..plain() })),
        line("clip norm 0", config(TrainerConfig { clip: Some(Clip::Norm(0.0)), ..plain() })),
        line("clip value that is NaN", config(TrainerConfig { clip: Some(Clip::Value(f32::NAN)), ..plain() })),
        line("group of an unknown layer", group(Group::layer("dense_3"))),
        line("group with a negative rate", group(Group::layer("dense_1").rate(-1.0))),
        line("fixed statistics of a dense layer", group(Group::layer("dense_1").fixed_statistics())),
        line("schedule of steps every 0 updates", schedule(Schedule::step(0, 0.5))),
        line("schedule, factor 0", schedule(Schedule::step(10, 0.0))),
        line(
            "step decay, interval 0",
            schedule(Schedule::step_decay(StepDecay { interval: 0, ..StepDecay::default() })),
        ),
        line(
            "step decay that ends early",
            schedule(Schedule::step_decay(StepDecay { end: 9, ..StepDecay::default() })),
        ),
        line("cosine over 0 updates", schedule(Schedule::cosine(0, 0.1))),
        line("cosine, floor above 1", schedule(Schedule::cosine(10, 1.5))),
        line("one cycle of 3 updates", schedule(Schedule::one_cycle(3))),
        line("plateau, negative min_delta", schedule(Schedule::reduce_on_plateau(plateau))),
        line("set_rate_scale(NaN)", config(plain()).and_then(|mut trainer| trainer.set_rate_scale(f32::NAN))),
        line("fit, reports every 0 steps", run(Fit { every: Some(0), ..Fit::default() })),
        line("fit, early stopping with a negative min_delta", {
            run(Fit {
                early_stopping: Some(EarlyStopping { min_delta: -1.0, ..EarlyStopping::default() }),
                ..Fit::default()
            })
        }),
    ];
    Section { title: "Options of training", lines }
}

/// The errors of rank 0 of two ranks.
pub fn ranks() -> Section {
    let both = |config: [TrainerConfig; 2], data: [Dataset; 2], times: [usize; 2]| {
        let ranks = LocalRank::all(2, std::time::Duration::from_secs(60));
        std::thread::scope(|scope| {
            let run = |(((rank, config), data), times): (((LocalRank, TrainerConfig), Dataset), usize)| {
                scope.spawn(move || {
                    let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Adam::default(), config)?;
                    (0..times).try_for_each(|_| {
                        trainer.fit(&data, Fit { ranks: Some(&rank), ..Fit::default() }, |_| {}).map(|_| ())
                    })
                })
            };
            let threads: Vec<_> = ranks.into_iter().zip(config).zip(data).zip(times).map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).next().unwrap()
        })
    };
    let plain = |slices| TrainerConfig { slices: Some(slices), ..TrainerConfig::default() };
    let longer = || Dataset::from_f32(vec![0.5; 16], 4, vec![0, 1, 1, 0], 2).unwrap();
    let lines = vec![
        line("one slice for two ranks", both([plain(1), plain(1)], [data(), data()], [1, 1])),
        line("a rank with another seed", {
            both([plain(2), TrainerConfig { seed: 7, ..plain(2) }], [data(), data()], [1, 1])
        }),
        line("a rank with other data", both([plain(2), plain(2)], [data(), longer()], [1, 1])),
        line("a rank that ends", both([plain(2), plain(2)], [data(), data()], [2, 1])),
    ];
    Section { title: "Ranks", lines }
}

pub fn losses() -> Section {
    let under = |network: NetworkBuilder, loss: Loss| {
        Trainer::new(Device::Cpu, &network.build().unwrap(), loss, Adam::default(), TrainerConfig::default())
    };
    let dense = |outputs, activation| Network::input(4).dense(outputs, activation);
    let both = || {
        let mut graph = Graph::new();
        let x = graph.input("x", 3);
        let kind = graph.layer(Dense::new(1, Identity), x).unwrap();
        let size = graph.layer(Dense::new(2, Sigmoid), x).unwrap();
        graph.build([("kind", kind), ("size", size)]).unwrap()
    };
    let named = |losses: Losses| Trainer::new(Device::Cpu, &both(), losses, Adam::default(), TrainerConfig::default());
    let squares = Loss::MeanSquaredError;
    let eikonal = |network: NetworkBuilder, weight| {
        let losses = Losses::from(squares).eikonal(weight);
        Trainer::new(Device::Cpu, &network.build().unwrap(), losses, Adam::default(), TrainerConfig::default())
    };
    let lines = vec![
        line("softmax cross-entropy of 1 output", under(dense(1, Identity), Loss::SoftmaxCrossEntropy)),
        line("softmax cross-entropy after a sigmoid", under(dense(2, Sigmoid), Loss::SoftmaxCrossEntropy)),
        line("binary cross-entropy after a relu", under(dense(1, Relu), Loss::BinaryCrossEntropy)),
        line("softmax cross-entropy of a reshaped softmax", {
            under(dense(6, Softmax).layer(Layer::Reshape([2, 3].into())), Loss::SoftmaxCrossEntropy)
        }),
        line("label smoothing of 1", under(dense(2, Identity), Loss::SmoothedSoftmaxCrossEntropy { smoothing: 1.0 })),
        line("Huber loss, delta 0", under(dense(2, Identity), Loss::Huber { delta: 0.0 })),
        line("relative L2, epsilon 0", under(dense(2, Identity), Loss::RelativeL2 { epsilon: 0.0 })),
        line("relative L2 by the luminance of 4 outputs", {
            under(dense(4, Identity), Loss::RelativeL2Luminance { epsilon: 0.01 })
        }),
        line("one loss for two outputs", named(squares.into())),
        line("loss of one of two outputs", named(Losses::new().output("kind", squares))),
        line("loss of an unknown output", named(Losses::new().output("kind", squares).output("sizes", squares))),
        line("negative weight of a loss", {
            named(Losses::new().output("kind", squares).weighted("size", squares, -1.0))
        }),
        line("softmax cross-entropy of one of two outputs", {
            named(Losses::new().output("kind", Loss::SoftmaxCrossEntropy).output("size", squares))
        }),
        line("eikonal term of a network with layer normalisation and softmax", {
            eikonal(dense(5, Softmax).layer_norm().dense(1, Identity), 0.1)
        }),
        line("eikonal term above an encoding of a dense layer", {
            eikonal(dense(2, Identity).encoding(Encoding::Frequency { frequencies: 2 }).dense(1, Identity), 0.1)
        }),
        line("eikonal term above a composite encoding and a hash grid with smoothstep", {
            let grid = HashGrid { interpolation: GridInterpolation::Smoothstep, ..HashGrid::default() };
            let parts = [1, 1].map(|coordinates| (coordinates, Encoding::OneBlob { bins: 1 }));
            eikonal(Network::input(2).composite_encoding(parts).encoding(grid).dense(1, Identity), 0.1)
        }),
        line("eikonal term of 2 outputs", eikonal(dense(2, Identity), 0.1)),
        line(
            "eikonal term of two outputs",
            named(Losses::new().output("kind", squares).output("size", squares).eikonal(1.0)),
        ),
        line("eikonal term with a negative weight", eikonal(dense(1, Identity), -0.1)),
        line("network gradient with weights that are not finite", {
            let network = dense(1, Identity).build().unwrap();
            let config = TrainerConfig::default();
            Plan::chain_with_network_gradient(&network, &Adam::default().into(), &config, &[], &[f32::NAN])
        }),
        line("very many classes", under(dense(1 << 25, Identity), Loss::SoftmaxCrossEntropy)),
    ];
    Section { title: "Losses", lines }
}

pub fn calls() -> Section {
    let network = network();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    let huge = vec![3e38; network.parameter_words() as usize];
    let diverging = Sgd { learning_rate: 1e38, ..Sgd::default() };
    let with_nan = || {
        let mut parameters = network.initial_parameters(1);
        parameters[2] = f32::NAN;
        parameters
    };
    let config = TrainerConfig::default;
    let snapshotless = || trainer(Loss::MeanSquaredError, Adam::default(), config()).unwrap();
    let two = {
        let mut graph = Graph::new();
        let (image, age) = (graph.input("image", 4), graph.input("age", 2));
        let both = graph.concat([image, age], -1).unwrap();
        let y = graph.layer(Dense::new(2, Identity), both).unwrap();
        let network = graph.build([("y", y)]).unwrap();
        Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap()
    };
    let forward = |inputs: &[(&str, &[f32])]| two.forward(inputs.to_vec());
    let mut predictor = model.predictor(2).unwrap();
    let lines = vec![
        line("Model::new with too few parameters", Model::new(Device::Cpu, &network, &[0.0; 3])),
        line("Model::new with NaN", Model::new(Device::Cpu, &network, &with_nan())),
        line("set_parameters with NaN", model.set_parameters(&with_nan())),
        line("output of an unknown name", model.output("kind")),
        line("predict, part of a row", model.predict(&[0.0; 7])),
        line("predict, a feature is infinite", model.predict(&[0.0, f32::INFINITY, 0.0, 0.0])),
        line("predict, outputs that overflow", {
            Model::new(Device::Cpu, &network, &huge).unwrap().predict(&[3e38, 3e38, -3e38, 3e38])
        }),
        line("forward, one input without a name", two.forward(&[0.0; 4])),
        line("forward, an unknown input", forward(&[("image", &[0.0; 4]), ("ages", &[0.0; 2])])),
        line("forward, an input is missing", forward(&[("image", &[0.0; 4])])),
        line("forward, an input twice", forward(&[("image", &[0.0; 4]), ("age", &[0.0; 2]), ("age", &[0.0; 2])])),
        line("forward, other numbers of rows", forward(&[("image", &[0.0; 8]), ("age", &[0.0; 2])])),
        line("Predictor::predict, 3 rows of 2", predictor.predict(&[0.0; 12])),
        line("Predictor::forward_into, slice too short", predictor.forward_into(&[0.0; 8], &mut [0.0; 3])),
        line("fit, learning rate 1e38", {
            trainer(Loss::MeanSquaredError, diverging, config()).and_then(|mut trainer| {
                let data = Dataset::from_f32_targets(vec![1e3; 12], 4, vec![1.0; 6], 2)?;
                trainer.fit(data, Fit { epochs: 3, ..Fit::default() }, |_| {})
            })
        }),
        line("rebuild without a snapshot", snapshotless().rebuild(Device::Cpu)),
        line("prepare on the CPU", snapshotless().prepare(data())),
        line("prepare_snapshots on the CPU", snapshotless().prepare_snapshots()),
        line("profile on the CPU", snapshotless().profile(&data(), 1)),
        line("Model::parameter_buffer on the CPU", model.parameter_buffer()),
    ];
    Section { title: "Calls of trainers and models", lines }
}

pub fn functions() -> Section {
    let function = |network: NetworkBuilder, name: &str| {
        let network = network.build().unwrap();
        Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap().wgsl(name)
    };
    let dense = || Network::input(2).dense(5, Relu);
    let grid = HashGrid { log2_hashmap_size: 4, levels: 2, ..HashGrid::default() };
    let lines = vec![
        line("name that begins with a digit", function(dense(), "2f")),
        line("name of a built-in function", function(dense(), "tanh")),
        line("network with residual layers", function(dense().residual(|x| x.dense(5, Relu)), "f")),
        line("layer of 65 units", function(Network::input(2).dense(65, Relu).dense(1, Relu), "f")),
        line("layer normalisation", function(dense().layer_norm(), "f")),
        line("dense layer of several positions", function(Network::input([4, 2]).dense(5, Relu), "f")),
        line("encoding after a dense layer", function(Network::input(2).dense(2, Relu).encoding(grid), "f")),
        line("encoding alone", function(Network::input(2).encoding(grid), "f")),
    ];
    Section { title: "WGSL functions (Model::wgsl)", lines }
}

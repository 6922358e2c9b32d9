//! Command-line options of a training run: network, loss, optimizer, learning-rate schedule and batch size.

use clap::{Arg, Args, Command, ValueEnum};
use wgrad::{
    Activation, Adagrad, Adam, AdamW, Lion, Loss, Network, NetworkBuilder, Optimizer, Plateau, Resume, RmsProp,
    Schedule, Sgd, Trainer, TrainerConfig,
};

use super::Result;
use super::options::{integer, number, rate, seed};

#[derive(Args)]
pub struct TrainingOptions {
    /// Batch size, in images; a resumed run keeps its own unless this is given
    #[arg(long, default_value_t = 32, value_parser = integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Units of each hidden layer, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "512,256,128", value_parser = integer(1..=u32::MAX))]
    hidden: Vec<u32>,
    /// Dropout rate of the hidden layers, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    dropout: f32,
    /// Dropout rate of the input pixels, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    input_dropout: f32,
    /// Label smoothing, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    smoothing: f32,
    /// Optimizer; if a resumed run gets another kind, its moments restart at 0
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    /// Learning rate before the schedule [default: 0.1 for sgd, 0.01 for adagrad, 0.0001 for lion, else 0.001]
    #[arg(long, value_parser = rate)]
    learning_rate: Option<f32>,
    /// Momentum of sgd and rmsprop
    #[arg(long, default_value_t = 0.9, value_parser = number)]
    momentum: f32,
    /// Weight decay: decoupled for adamw and lion, else an L2 penalty [default: 0.01 for adamw, else 0]
    #[arg(long, value_parser = number)]
    weight_decay: Option<f32>,
    /// Learning-rate schedule over all epochs; a resumed run keeps its own unless this, --warm-up or --optimizer is
    /// given
    #[arg(long, value_enum, default_value_t = ScheduleName::Cosine)]
    schedule: ScheduleName,
    /// Linear warm-up of the learning rate, in epochs
    #[arg(long, default_value_t = 0, value_parser = integer(0..=u32::MAX))]
    warm_up: u32,
    /// Seed of the initial weights, the shuffle and dropout; a resumed run keeps its seed
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Sgd,
    #[value(name = "rmsprop")]
    RmsProp,
    Adagrad,
    Adam,
    #[value(name = "adamw")]
    AdamW,
    Lion,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// No change
    Constant,
    /// Divided by 10 after each third of the run
    Step,
    /// Exponential decay to 1/100
    Exponential,
    /// Cosine decay to 1/1000
    Cosine,
    /// One cycle: rises, then falls
    OneCycle,
    /// Divided by 10 after 3 epochs without a lower validation loss
    Plateau,
}

impl TrainingOptions {
    /// The options in this list that are training options.
    pub fn among(options: &[String]) -> Vec<&str> {
        let command = Self::augment_args(Command::default());
        let own: Vec<String> =
            command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}")).collect();
        options.iter().filter(|option| own.contains(option)).map(String::as_str).collect()
    }

    /// The changes that the given options make to a resumed run. Also returns two lists of given options: those that
    /// change the run, and those without effect.
    pub fn changes<'a>(
        &self,
        given: &'a [String],
        saved: &Trainer,
        epochs: u32,
        rows: usize,
    ) -> Result<(Resume, Vec<&'a str>, Vec<&'a str>)> {
        const OF_OPTIMIZER: [&str; 2] = ["--momentum", "--weight-decay"];
        const OF_SCHEDULE: [&str; 3] = ["--schedule", "--warm-up", "--optimizer"];
        let is_given = |option: &str| given.iter().any(|given| given == option);
        if let Some(option) = OF_OPTIMIZER.into_iter().find(|&option| is_given(option) && !is_given("--optimizer")) {
            return Err(format!("{option} of a resumed run needs --optimizer too").into());
        }
        let batch = if is_given("--batch") { self.batch } else { saved.config().batch };
        let mut resume = Resume { batch: Some(batch), ..Resume::default() };
        if is_given("--optimizer") {
            resume.optimizer = Some(self.optimizer());
        } else if is_given("--learning-rate") {
            resume.learning_rate = self.learning_rate;
        }
        // A new schedule covers the updates that are done and those to come. A new optimizer counts updates from 1.
        if OF_SCHEDULE.into_iter().any(is_given) {
            let config = TrainerConfig { batch, ..saved.config().clone() };
            let left = epochs.saturating_sub(saved.epochs());
            let made: u32 = saved.history().epochs.iter().map(|epoch| epoch.steps).sum();
            let made = if is_given("--optimizer") { 0 } else { made };
            let updates = made.saturating_add(config.updates(rows, left));
            let warm_up = self.warm_up.saturating_mul(config.updates(rows, 1));
            resume.schedule = Some(self.schedule_over(updates, warm_up));
        }
        let changing = ["--batch", "--learning-rate"].iter().chain(&OF_OPTIMIZER).chain(&OF_SCHEDULE);
        let changing: Vec<&str> = changing.copied().collect();
        let (changes, kept) = Self::among(given).into_iter().partition(|option| changing.contains(option));
        Ok((resume, changes, kept))
    }

    /// The network: 784 inputs and 10 classes.
    pub fn network(&self) -> wgrad::Result<Network> {
        let dropout = |network: NetworkBuilder, rate| if rate == 0.0 { network } else { network.dropout(rate) };
        let input = dropout(Network::input(784), self.input_dropout);
        let network = self
            .hidden
            .iter()
            .fold(input, |network, &units| dropout(network.dense(units, Activation::Relu), self.dropout));
        network.dense(10, Activation::Softmax).build()
    }

    pub fn loss(&self) -> Loss {
        match self.smoothing {
            0.0 => Loss::SoftmaxCrossEntropy,
            smoothing => Loss::SmoothedSoftmaxCrossEntropy { smoothing },
        }
    }

    pub fn optimizer(&self) -> Optimizer {
        let rate = |default| self.learning_rate.unwrap_or(default);
        let weight_decay = self.weight_decay.unwrap_or(0.0);
        let momentum = self.momentum;
        match self.optimizer {
            OptimizerName::Sgd => Sgd { learning_rate: rate(0.1), momentum, weight_decay, ..Sgd::default() }.into(),
            OptimizerName::RmsProp => {
                RmsProp { learning_rate: rate(0.001), momentum, weight_decay, ..RmsProp::default() }.into()
            }
            OptimizerName::Adagrad => Adagrad { learning_rate: rate(0.01), weight_decay, ..Adagrad::default() }.into(),
            OptimizerName::Adam => Adam { learning_rate: rate(0.001), weight_decay, ..Adam::default() }.into(),
            OptimizerName::AdamW => {
                let weight_decay = self.weight_decay.unwrap_or(AdamW::default().weight_decay);
                AdamW { learning_rate: rate(0.001), weight_decay, ..AdamW::default() }.into()
            }
            OptimizerName::Lion => Lion { learning_rate: rate(0.0001), weight_decay, ..Lion::default() }.into(),
        }
    }

    /// The configuration of a run of `epochs` epochs over `rows` rows.
    pub fn config(&self, epochs: u32, rows: usize) -> Result<TrainerConfig> {
        if self.warm_up > epochs {
            return Err(format!("--warm-up: expected at most --epochs ({epochs}), got {}", self.warm_up).into());
        }
        let config = TrainerConfig { batch: self.batch, seed: self.seed, ..TrainerConfig::default() };
        let schedule = self.schedule(epochs, config.updates(rows, 1));
        Ok(TrainerConfig { schedule, ..config })
    }

    /// The schedule of a run of `epochs` epochs of `updates` updates each.
    fn schedule(&self, epochs: u32, updates: u32) -> Schedule {
        self.schedule_over(epochs.saturating_mul(updates), self.warm_up.saturating_mul(updates))
    }

    /// The schedule of a run of `updates` updates. The first `warm_up` updates are the warm-up.
    fn schedule_over(&self, updates: u32, warm_up: u32) -> Schedule {
        let rest = updates.saturating_sub(warm_up).max(1);
        let schedule = match self.schedule {
            ScheduleName::Constant => Schedule::constant(),
            ScheduleName::Step => Schedule::step(rest.div_ceil(3), 0.1),
            ScheduleName::Exponential => Schedule::exponential(0.01f32.powf(1.0 / rest as f32)),
            ScheduleName::Cosine => Schedule::cosine(rest, 0.001),
            ScheduleName::OneCycle => Schedule::one_cycle(rest),
            ScheduleName::Plateau => Schedule::reduce_on_plateau(Plateau { patience: 3, ..Plateau::default() }),
        };
        schedule.warm_up(warm_up)
    }
}

//! Options that say what to train and how: layers, optimizer, learning rate, schedule.

use clap::{Arg, Args, Command, ValueEnum};
use wgrad::{
    Activation, Adagrad, Adam, AdamW, Lion, Loss, Network, NetworkBuilder, Optimizer, Plateau, RmsProp, Schedule, Sgd,
    TrainerConfig,
};

use super::Result;
use super::options::{number, rate, seed, whole};

#[derive(Args)]
pub struct Recipe {
    /// Images of a step
    #[arg(long, default_value_t = 32, value_parser = whole(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Units of each hidden layer
    #[arg(long, value_delimiter = ',', default_value = "512,256,128", value_parser = whole(1..=u32::MAX))]
    hidden: Vec<u32>,
    /// Share of the numbers into each layer but the first that a step leaves out
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    dropout: f32,
    /// Share of the pixels that a step leaves out
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    input_dropout: f32,
    /// Share of each label that is spread over all classes
    #[arg(long, default_value_t = 0.0, value_parser = number)]
    smoothing: f32,
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    /// Step size, at first [default: 0.1 for sgd, 0.01 for adagrad, 0.0001 for lion, else 0.001]
    #[arg(long, value_parser = rate)]
    learning_rate: Option<f32>,
    /// Momentum of sgd and rmsprop
    #[arg(long, default_value_t = 0.9, value_parser = number)]
    momentum: f32,
    /// Weight decay: decoupled in adamw and lion, else L2 [default: 0.01 for adamw, else 0]
    #[arg(long, value_parser = number)]
    weight_decay: Option<f32>,
    /// How the step size changes over the epochs asked for; a run that is resumed keeps its own
    #[arg(long, value_enum, default_value_t = ScheduleName::Cosine)]
    schedule: ScheduleName,
    /// Epochs over which the step size first rises
    #[arg(long, default_value_t = 0, value_parser = whole(0..=u32::MAX))]
    warm_up: u32,
    /// Seed of the initial weights, of the shuffle and of dropout
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
    Constant,
    /// A tenth after each third of the run
    Step,
    /// Down to a hundredth at the end
    Exponential,
    /// Down to a thousandth along half a cosine
    Cosine,
    /// Up, then down
    OneCycle,
    /// A tenth after three epochs without improvement
    Plateau,
}

impl Recipe {
    /// Those of some options that are a recipe's.
    pub fn among(options: &[String]) -> Vec<&str> {
        let of_recipe = Self::augment_args(Command::default());
        let own: Vec<String> =
            of_recipe.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}")).collect();
        options.iter().filter(|option| own.contains(option)).map(String::as_str).collect()
    }

    /// For 28x28 pixels and ten classes.
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

    /// What a run of so many epochs over so many rows is configured as.
    pub fn config(&self, epochs: u32, rows: usize) -> Result<TrainerConfig> {
        if self.warm_up > epochs {
            return Err(format!("--warm-up: expected at most the {epochs} of --epochs, got {}", self.warm_up).into());
        }
        let config = TrainerConfig { batch: self.batch, seed: self.seed, ..TrainerConfig::default() };
        let schedule = self.schedule(epochs, config.updates(rows, 1));
        Ok(TrainerConfig { schedule, ..config })
    }

    /// The schedule of a run of `epochs` epochs of `updates` updates each.
    fn schedule(&self, epochs: u32, updates: u32) -> Schedule {
        let warm_up = self.warm_up.saturating_mul(updates);
        let rest = epochs.saturating_mul(updates).saturating_sub(warm_up).max(1);
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

//! Options of a trainer: batches, seeds, and how gradients become updates.

use crate::averaging::{Averages, Ema, Lookahead};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::optimizer::{Optimizer, above_zero, at_least_zero, option};
use crate::schedule::Schedule;
use crate::slices::Share;

/// Options of a trainer: batches, seed, learning-rate schedule, and how gradients become updates.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct TrainerConfig {
    /// Batch size: the number of samples in a batch. Default 32. The last batch of an epoch has the remaining samples,
    /// and its loss is the mean over them. For full-batch training, use the size of the data set.
    pub batch: u32,
    /// Seed of the initial weights, the shuffle and dropout. Default 0. The same seed on the same adapter gives the
    /// same weights, bit for bit.
    pub seed: u64,
    /// Whether to shuffle the samples in each epoch. Default true.
    pub shuffle: bool,
    /// Learning-rate schedule. Default constant.
    pub schedule: Schedule,
    /// Gradient clipping. Default none.
    pub clip: Option<Clip>,
    /// Gradient accumulation: the number of batches in one update. Default 1. The update is that of one large batch.
    /// The last update of an epoch has the remaining batches.
    pub accumulate: u32,
    /// Whether weight decay also applies to biases, scales and shifts, as in PyTorch. Default true.
    pub decay_biases: bool,
    /// Number of slices of a batch. Default none. It must divide `batch`.
    ///
    /// With slices, the gradients of each slice are computed by themselves, and their sums are added in an order that
    /// depends only on this number. So one process gets the same weights, bit for bit, as several that train together:
    /// see [`Ranks`](crate::Ranks). The number of ranks must divide the number of slices. One slice for each rank is
    /// the fastest; more let the training go on with other numbers of ranks.
    ///
    /// - [`BatchNorm`](crate::BatchNorm) takes mean and variance of each slice (Hoffer et al., 2017, "ghost batch
    ///   normalization"). The running statistics move once an update, towards the average over its slices.
    /// - Gradients are kept. They take 4 bytes for each weight and each slice that a process computes.
    /// - The running metrics take 16 bytes and more for each row of the batch.
    /// - A file or a snapshot of steps that an app records discards an update that has not ended.
    /// - A [chain](crate::Trainer::prepare_chain) has no slices.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub slices: Option<u32>,
    /// Whether to keep the gradients of all weights in a buffer. Default false.
    ///
    /// By default, a matmul passes a weight's gradient directly to the optimizer if nothing else needs it. This saves a
    /// quarter of the optimizer's memory traffic. Some options keep gradients anyway:
    ///
    /// - A limit on the norm, gradient accumulation and a chain keep all gradients.
    /// - [`ema`](Self::ema) and [`lookahead`](Self::lookahead) keep all gradients.
    /// - A group with another rate or without decay keeps the gradients of its layer.
    /// - Biases without decay, tied layers and layers that are not dense keep their gradients.
    /// - A batch or a layer that is too large for one op keeps the gradients of that layer.
    #[cfg_attr(feature = "files", serde(default))]
    pub keep_gradients: bool,
    /// Whether each layer of a narrow network stays an op of its own. Default false.
    ///
    /// By default, a network of dense layers with at most 64 inputs and units, with or without an encoding before them,
    /// trains in a few dispatches per step. One computes everything up to the gradients of the activations, the others
    /// the gradients of the weights and the update. The results of both ways agree within the rounding errors.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub op_by_op: bool,
    /// Layers with other training options than the rest. Default none.
    pub groups: Vec<Group>,
    /// The largest number of samples that are on the device at a time. Default none: the limit of one binding.
    ///
    /// [`fit`](crate::Trainer::fit) and [`evaluate`](crate::Trainer::evaluate) upload a larger data set in windows. A
    /// window holds whole updates: a multiple of `batch` · `accumulate` samples, at least one. Samples are shuffled
    /// inside their window. Each epoch draws the order of the windows and the row where the first one begins.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub window: Option<u32>,
    /// Absolute weight decay: the strength of L1 regularisation, at least 0. Default 0.
    ///
    /// After each update of a weight: w ← sign(w) · max(|w| − learning_rate · absolute_decay, 0). This is the step of
    /// forward-backward splitting (Duchi and Singer, 2009, section 4). Weights that the loss does not need become
    /// exactly 0. It works with any optimizer, next to its weight decay. It applies to the same weights as weight
    /// decay: see [`decay_biases`](Self::decay_biases) and [`Group::without_decay`].
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "is_zero"))]
    pub absolute_decay: f32,
    /// Lookahead: slow weights that follow the optimizer's weights. Default none.
    ///
    /// It takes 4 bytes for each weight, and 12 more bytes of memory traffic in each update.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub lookahead: Option<Lookahead>,
    /// Exponential moving average of the weights. Default none.
    ///
    /// It does not change the training. Each update of a weight updates the average, in the same dispatch. It takes 4
    /// bytes for each weight, and 8 more bytes of memory traffic in each update. Gradients are kept, which takes as
    /// much again. Running statistics are not averaged.
    /// [`Trainer::averaged_model`](crate::Trainer::averaged_model) returns the network with the averaged weights.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub ema: Option<Ema>,
    /// Whether the trainer evaluates and predicts with the averaged weights. Default true, as in tiny-cuda-nn. Keras
    /// evaluates the weights of the last update.
    ///
    /// It applies to [`evaluate`](crate::Trainer::evaluate), [`predict`](crate::Trainer::predict), and the validation
    /// and the best weights of [`fit`](crate::Trainer::fit). The averaged weights are the [EMA](Self::ema), or else
    /// the slow weights of [lookahead](Self::lookahead). Without both, it has no effect.
    #[cfg_attr(feature = "files", serde(default = "yes", skip_serializing_if = "Clone::clone"))]
    pub evaluate_averaged: bool,
}

/// Default of options that are on.
#[cfg(feature = "files")]
fn yes() -> bool {
    true
}

#[cfg(feature = "files")]
fn is_zero(number: &f32) -> bool {
    *number == 0.0
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            batch: 32,
            seed: 0,
            shuffle: true,
            schedule: Schedule::constant(),
            clip: None,
            accumulate: 1,
            slices: None,
            decay_biases: true,
            keep_gradients: false,
            op_by_op: false,
            groups: Vec::new(),
            window: None,
            absolute_decay: 0.0,
            lookahead: None,
            ema: None,
            evaluate_averaged: true,
        }
    }
}

impl TrainerConfig {
    /// The number of updates for this number of samples and epochs. Use it as the length of a [`Schedule`].
    pub fn updates(&self, rows: usize, epochs: u32) -> u32 {
        let batches = rows.div_ceil(self.batch.max(1) as usize);
        (batches.div_ceil(self.accumulate.max(1) as usize) as u64 * u64::from(epochs)).min(u32::MAX.into()) as u32
    }

    /// All slices of a batch, if there are slices.
    pub(crate) fn share(&self) -> Option<Share> {
        self.slices.map(Share::whole)
    }

    /// The averages of the weights.
    pub(crate) fn averages(&self) -> Averages {
        Averages { lookahead: self.lookahead, ema: self.ema }
    }

    /// The names in files of the states of each weight: the optimizer's moments, then the averages.
    pub(crate) fn states(&self, optimizer: &Optimizer) -> impl Iterator<Item = String> {
        let moments = (1..=optimizer.moments()).map(|number| format!("moment{number}"));
        moments.chain(self.averages().names().map(String::from))
    }

    /// Checks each option, and that the layers of the groups exist.
    pub(crate) fn check(&self, network: &Network) -> Result<()> {
        self.schedule.check()?;
        match self.clip {
            Some(Clip::Norm(limit)) => above_zero("norm of gradient clipping", limit)?,
            Some(Clip::Value(limit)) => above_zero("value of gradient clipping", limit)?,
            None => {}
        }
        option("accumulate", "at least 1", self.accumulate, self.accumulate > 0)?;
        if let Some(slices) = self.slices {
            let divides = slices > 0 && self.batch.is_multiple_of(slices);
            option("slices", "a divisor of the batch size, or None", slices, divides)?;
        }
        at_least_zero("absolute_decay", self.absolute_decay)?;
        self.averages().check()?;
        option("window", "at least 1 row, or None", "Some(0)", self.window != Some(0))?;
        for group in &self.groups {
            at_least_zero("learning-rate factor of a group", group.rate)?;
            if group.fixed_statistics && !network.states().iter().any(|state| state.layer() == group.layer) {
                let expected = "a layer with running statistics";
                return Err(Error::shape("layer of a group with fixed statistics", expected, &group.layer));
            }
            if !network.layers().any(|(name, _)| name == group.layer) {
                let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
                return Err(Error::shape("layer of a group", format!("one of {}", names.join(", ")), &group.layer));
            }
        }
        Ok(())
    }

    /// The factors of the learning rate and of the weight decay for a parameter of the network.
    pub(crate) fn multipliers(&self, network: &Network, parameter: usize) -> [f32; 2] {
        let parameter = &network.parameters()[parameter];
        let group = self.group(parameter.layer());
        let decays = group.is_none_or(|g| g.decay) && (self.decay_biases || parameter.shape.len() > 1);
        [group.map_or(1.0, |g| g.rate), f32::from(u8::from(decays))]
    }

    /// Whether training keeps the running statistics of a layer constant.
    pub(crate) fn fixes_statistics(&self, layer: &str) -> bool {
        self.group(layer).is_some_and(|group| group.fixed_statistics)
    }

    fn group(&self, layer: &str) -> Option<&Group> {
        self.groups.iter().rev().find(|group| group.layer == layer)
    }
}

/// Gradient clipping, applied to each update.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Clip {
    /// Clips the global norm (Pascanu et al., 2013), as in PyTorch. All gradients are multiplied by min(1, limit /
    /// (norm + 1e-6)).
    ///
    /// The norm is the square root of the sum of all squared gradients. It may exceed the range of f32. If a gradient
    /// is infinite or NaN, all trained weights become NaN, and the next loss shows it.
    Norm(f32),
    /// Clamps each gradient to ± this limit. NaN stays NaN.
    Value(f32),
}

/// Training options of one layer.
///
/// ```
/// use wgrad::Group;
/// let groups = vec![Group::layer("dense_1").frozen(), Group::layer("dense_2").rate(0.1).without_decay()];
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Group {
    layer: String,
    rate: f32,
    decay: bool,
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    fixed_statistics: bool,
}

impl Group {
    /// Options for the layer of this name. By default, it trains like the other layers.
    pub fn layer(name: impl Into<String>) -> Self {
        Self { layer: name.into(), rate: 1.0, decay: true, fixed_statistics: false }
    }

    /// Multiplies the learning rate of the layer.
    pub fn rate(mut self, multiplier: f32) -> Self {
        self.rate = multiplier;
        self
    }

    /// Freezes the weights. Their gradients are not computed, and [`Clip::Norm`] does not count them.
    pub fn frozen(self) -> Self {
        self.rate(0.0)
    }

    /// Makes training use the running mean and variance of a [`BatchNorm`](crate::BatchNorm) layer, without updating
    /// them.
    ///
    /// Use it to fine-tune a network with small batches or other data. Scale and shift are still trained, unless the
    /// layer is also [`frozen`](Self::frozen).
    pub fn fixed_statistics(mut self) -> Self {
        self.fixed_statistics = true;
        self
    }

    /// Turns off weight decay for the layer.
    pub fn without_decay(mut self) -> Self {
        self.decay = false;
        self
    }
}

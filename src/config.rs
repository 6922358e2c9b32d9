//! How a trainer makes batches and turns gradients into updates.

use crate::error::{Error, Result};
use crate::network::Network;
use crate::optimizer::{above_zero, at_least_zero, option};
use crate::schedule::Schedule;

/// How batches are made, where chance comes from, and what happens to gradients.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct TrainerConfig {
    /// Rows of a batch. Default 32. The last batch of an epoch has what is left, and its mean is over its own rows. As
    /// many as the data set has is full-batch training.
    pub batch: u32,
    /// Seed of the initial weights, of the shuffle and of dropout. Default 0. The same seed on the same adapter gives the
    /// same weights, bit for bit.
    pub seed: u64,
    /// Whether each epoch has an order of its own. Default true.
    pub shuffle: bool,
    /// How the learning rate changes. Default constant.
    pub schedule: Schedule,
    /// A limit on gradients. Default none.
    pub clip: Option<Clip>,
    /// Batches whose gradients make one update, as one batch of all their rows would. Default 1. The last update of an
    /// epoch has what is left.
    pub accumulate: u32,
    /// Whether weight decay takes hold of biases, scales and shifts too, as in PyTorch. Default true.
    pub decay_biases: bool,
    /// Whether the gradients of weights are left in a buffer of their own. Default false: where nothing needs them
    /// there, the products that make them hand them straight to the optimizer, which saves a quarter of its memory
    /// traffic. What needs all of them: a limit on their norm, accumulation, a chain. What needs those of a layer: a
    /// group with another rate or without decay, biases that do not decay, a layer that is not dense or that another
    /// one is tied to, and a batch or a layer too large for one operation.
    #[cfg_attr(feature = "files", serde(default))]
    pub keep_gradients: bool,
    /// Layers that are trained in another way than the rest. Default none.
    pub groups: Vec<Group>,
    /// Most rows of a data set that [`fit`](crate::Trainer::fit) and [`evaluate`](crate::Trainer::evaluate) have on the
    /// device at a time. Default none: as many as one binding holds. Longer data train window by window: the rows of a
    /// window are shuffled, and windows come in an order, and begin at a row, that are drawn for each epoch. Windows
    /// hold whole updates, `batch` · `accumulate` rows or a multiple, at least one. Each is uploaded as its turn comes.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub window: Option<u32>,
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
            decay_biases: true,
            keep_gradients: false,
            groups: Vec::new(),
            window: None,
        }
    }
}

impl TrainerConfig {
    /// Updates that so many epochs over so many rows take: for a [`Schedule`]'s length.
    pub fn updates(&self, rows: usize, epochs: u32) -> u32 {
        let batches = rows.div_ceil(self.batch.max(1) as usize);
        (batches.div_ceil(self.accumulate.max(1) as usize) as u64 * u64::from(epochs)).min(u32::MAX.into()) as u32
    }

    /// Checks each option, and that the groups' layers exist.
    pub(crate) fn check(&self, network: &Network) -> Result<()> {
        self.schedule.check()?;
        match self.clip {
            Some(Clip::Norm(limit)) => above_zero("limit of the gradient's norm", limit)?,
            Some(Clip::Value(limit)) => above_zero("limit of the gradient's values", limit)?,
            None => {}
        }
        option("accumulate", "at least 1", self.accumulate, self.accumulate > 0)?;
        option("window", "at least 1 row, or None", "Some(0)", self.window != Some(0))?;
        for group in &self.groups {
            at_least_zero("rate of a group", group.rate)?;
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

    /// What the learning rate and the weight decay of a parameter of the network are multiplied by.
    pub(crate) fn multipliers(&self, network: &Network, parameter: usize) -> [f32; 2] {
        let parameter = &network.parameters()[parameter];
        let group = self.group(parameter.layer());
        let decays = group.is_none_or(|g| g.decay) && (self.decay_biases || parameter.shape.len() > 1);
        [group.map_or(1.0, |g| g.rate), f32::from(u8::from(decays))]
    }

    /// Whether training leaves the running statistics of a layer as they are.
    pub(crate) fn fixes_statistics(&self, layer: &str) -> bool {
        self.group(layer).is_some_and(|group| group.fixed_statistics)
    }

    fn group(&self, layer: &str) -> Option<&Group> {
        self.groups.iter().rev().find(|group| group.layer == layer)
    }
}

/// A limit on gradients, applied to each update.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Clip {
    /// All gradients are scaled by the same factor, min(1, limit / (norm + 1e-6)), so that the square root of the sum of
    /// all their squares is at most this: Pascanu et al., 2013, in PyTorch's form. The norm may be beyond f32's range; a
    /// gradient that is infinite or NaN makes all trained weights NaN, which the next loss shows.
    Norm(f32),
    /// Each gradient is held between ± this. NaN stays NaN.
    Value(f32),
}

/// A layer that is trained in another way than the rest.
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
    /// The layer of this name, trained as the rest: see the methods.
    pub fn layer(name: impl Into<String>) -> Self {
        Self { layer: name.into(), rate: 1.0, decay: true, fixed_statistics: false }
    }

    /// Multiplies its learning rate.
    pub fn rate(mut self, multiplier: f32) -> Self {
        self.rate = multiplier;
        self
    }

    /// Leaves its weights as they are: no gradients are computed for them, and none count in [`Clip::Norm`].
    pub fn frozen(self) -> Self {
        self.rate(0.0)
    }

    /// Training takes the running mean and variance of this [`BatchNorm`](crate::BatchNorm) too, and leaves them as they
    /// are: to go on training a network with small batches or other data. Its weights are trained unless it is
    /// [`frozen`](Self::frozen) as well.
    pub fn fixed_statistics(mut self) -> Self {
        self.fixed_statistics = true;
        self
    }

    /// Without weight decay.
    pub fn without_decay(mut self) -> Self {
        self.decay = false;
        self
    }
}

//! Averages of the weights over updates: the exponential moving average and lookahead. Update kernels compute them.

use crate::error::Result;
use crate::optimizer::{below_one, option};

/// Exponential moving average (EMA) of the weights: see [`TrainerConfig::ema`](crate::TrainerConfig::ema).
///
/// At update t, counted from 1: e ← e + (1 − decay) / (1 − decayᵗ) · (w − e), where w is the weight after the update.
/// So e is the mean of the weights after all updates, and the weight after update i counts decayᵗ⁻ⁱ. The divisor is
/// the bias correction of Adam's means. tiny-cuda-nn's `EMA` has it too. Keras and PyTorch's `swa_utils` have no bias
/// correction: the initial weights, or those after the first update, count decayᵗ.
///
/// ```
/// use wgrad::{Ema, TrainerConfig};
/// let config = TrainerConfig { ema: Some(Ema { decay: 0.999 }), ..TrainerConfig::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Ema {
    /// Decay of the average in each update, from 0 to below 1. The mean is over about 1 / (1 − decay) updates. Default
    /// 0.99, as in tiny-cuda-nn and Keras. For long training, 0.999 is common.
    pub decay: f32,
}

impl Default for Ema {
    fn default() -> Self {
        Self { decay: 0.99 }
    }
}

/// Lookahead (Zhang et al., 2019, algorithm 1), around any optimizer: see
/// [`TrainerConfig::lookahead`](crate::TrainerConfig::lookahead).
///
/// The optimizer changes the weights w. After every `updates` updates: s ← s + alpha · (w − s); w ← s. The slow
/// weights s start at the initial weights. The optimizer's moments are kept.
///
/// ```
/// use wgrad::{Lookahead, TrainerConfig};
/// let config = TrainerConfig { lookahead: Some(Lookahead::default()), ..TrainerConfig::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Lookahead {
    /// Step size of the slow weights, above 0 and at most 1. Default 0.5.
    pub alpha: f32,
    /// Number of updates between two steps of the slow weights. Default 16, as in tiny-cuda-nn. The paper has 5.
    pub updates: u32,
}

impl Default for Lookahead {
    fn default() -> Self {
        Self { alpha: 0.5, updates: 16 }
    }
}

/// The averages of a training run. By default there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Averages {
    /// Lookahead.
    pub lookahead: Option<Lookahead>,
    /// Exponential moving average.
    pub ema: Option<Ema>,
}

impl Averages {
    /// The number of averages, 0 to 2.
    pub fn count(&self) -> u32 {
        u32::from(self.lookahead.is_some()) + u32::from(self.ema.is_some())
    }

    /// The names of the averages in files, in the order of the update kernel's state.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.lookahead.map(|_| "slow_weights"), self.ema.map(|_| "ema")].into_iter().flatten()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(Ema { decay }) = self.ema {
            below_one("decay of the EMA", decay)?;
        }
        if let Some(Lookahead { alpha, updates }) = self.lookahead {
            option("alpha of lookahead", "above 0 and at most 1", alpha, alpha > 0.0 && alpha <= 1.0)?;
            option("updates of lookahead", "at least 1", updates, updates >= 1)?;
        }
        Ok(())
    }
}

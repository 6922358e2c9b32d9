//! Losses: what training makes small.

mod custom;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::optimizer::{above_zero, below_one};
pub use custom::CustomLoss;
#[cfg(feature = "files")]
pub(crate) use custom::REGISTERED;

/// How wrong an output is. With t a target and y an output, a loss is the mean over the rows of a batch that exist, and a
/// row's loss the mean over its outputs, unless said otherwise. A row's weight multiplies its loss; the mean is still
/// over the number of rows (as in Keras), not over the sum of weights.
///
/// Where samples have several positions, each with outputs and targets of its own, each position counts as a row. A
/// position whose label is ignored has loss 0 and gradient 0; the mean is still over all positions, ignored ones
/// included.
///
/// Targets are numbers, one for each output, or labels. A label stands for 1 at that output and 0 elsewhere; where there
/// is one output only, for the number itself, so that 0 and 1 are the two classes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Loss {
    /// (y − t)².
    MeanSquaredError,
    /// Σ (y − t)², over outputs and rows: a sum, not a mean.
    SumOfSquares,
    /// |y − t|; its derivative at 0 is taken as 0.
    MeanAbsoluteError,
    /// (y − t)² / 2 within delta of the target, delta · (|y − t| − delta / 2) beyond: Huber, 1964.
    Huber {
        /// Where the square ends, above 0. PyTorch and Keras have 1.
        delta: f32,
    },
    /// −t ln p − (1 − t) ln(1 − p), with p = sigmoid(z): each output a question of its own, t from 0 to 1, which is checked
    /// where a [`Dataset`](crate::Dataset) holds the targets. The last
    /// layer's activation is [`Sigmoid`](Activation::Sigmoid), or [`Identity`](Activation::Identity) for outputs that are
    /// logits. Either way it is computed from z as ln(1 + e^−|z|) plus |z| times what the target says against the sign
    /// of z: that neither overflows nor loses the small losses of right answers.
    BinaryCrossEntropy,
    /// −Σ t ln softmax(z), over the outputs: the classes exclude each other. Each t is from 0 to 1, which is checked where a
    /// [`Dataset`](crate::Dataset) holds the targets. The last layer's activation is
    /// [`Softmax`](Activation::Softmax), or [`Identity`](Activation::Identity) for outputs that are logits. Either way it
    /// is computed from z as Σ t (ln Σ e^(z − max z) − (z − max z)), with the small losses of right answers. Its gradient is
    /// softmax(z) Σ t − t.
    ///
    /// The softmax must be last, but for a flatten or a reshape: what one before a transpose, a slice or a sum puts out
    /// is taken for logits. So it is with a sigmoid under [`BinaryCrossEntropy`](Self::BinaryCrossEntropy).
    SoftmaxCrossEntropy,
    /// The same with targets (1 − smoothing) · t + smoothing / classes: Szegedy et al., 2016, in PyTorch's form.
    SmoothedSoftmaxCrossEntropy {
        /// From 0 to below 1, where all targets would be alike; 0.1 is usual.
        smoothing: f32,
    },
    /// An app's own: see [`CustomLoss`].
    Custom(&'static CustomLoss),
}

impl Loss {
    /// Whether it treats the outputs of a row as logits of classes that exclude each other.
    pub(crate) fn is_softmax(self) -> bool {
        matches!(self, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. })
    }

    /// Its name where it takes targets from 0 to 1 only.
    pub(crate) fn of_probabilities(self) -> Option<&'static str> {
        match self.output_activation() {
            Activation::Sigmoid => Some("binary cross-entropy"),
            Activation::Softmax => Some("softmax cross-entropy"),
            _ => None,
        }
    }

    /// Whether it is a mean over rows; else a sum.
    pub(crate) fn is_mean(self) -> bool {
        self != Loss::SumOfSquares
    }

    /// The activation it is computed together with, from that one's input: what turns logits into probabilities.
    pub(crate) fn output_activation(self) -> Activation {
        match self {
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            _ if self.is_softmax() => Activation::Softmax,
            _ => Activation::Identity,
        }
    }

    /// What lacks a twin, where it is an app's own without one.
    pub(crate) fn without_twin(self) -> Option<String> {
        if let Loss::Custom(own) = self { own.without_twin() } else { None }
    }

    /// Checks its parameter or expressions, and that the network's last activation goes with it.
    pub(crate) fn check(self, last: Activation) -> Result<()> {
        match self {
            Loss::Huber { delta } => above_zero("delta", delta)?,
            Loss::SmoothedSoftmaxCrossEntropy { smoothing } => below_one("smoothing", smoothing)?,
            Loss::Custom(own) => own.check()?,
            _ => {}
        }
        let expected = match self.output_activation() {
            Activation::Identity => return Ok(()),
            Activation::Sigmoid => "Sigmoid or Identity, as binary cross-entropy is computed from logits",
            _ => "Softmax or Identity, as softmax cross-entropy is computed from logits",
        };
        if last == self.output_activation() || last == Activation::Identity {
            return Ok(());
        }
        Err(Error::InvalidOption { name: "the last layer's activation", expected, actual: format!("{last:?}") })
    }
}

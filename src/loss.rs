//! Losses: the functions that training minimises.

mod custom;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::optimizer::{above_zero, below_one, moderate};
pub use custom::CustomLoss;
#[cfg(feature = "files")]
pub(crate) use custom::REGISTERED;

/// A loss function of outputs y and targets t.
///
/// The loss of a row is the mean over its outputs. The loss of a batch is the mean over its rows. Exceptions are stated
/// below. A row is a sample. If samples have several positions with their own outputs and targets, each position is a
/// row.
///
/// A weight multiplies the loss of its row. The mean still divides by the number of rows, as in Keras, not by the sum
/// of weights. A position with an ignored label has loss 0 and gradient 0. It still counts as a row in the mean.
///
/// Targets are numbers, one for each output, or labels. A label is a one-hot target: 1 at that output and 0 elsewhere.
/// If there is only one output, the label is the target itself: 0 or 1 for two classes.
///
/// # Losses of a renderer
///
/// [`RelativeL2`](Self::RelativeL2) and the losses after it are those of tiny-cuda-nn (NVIDIA, `losses/*.h`, read on
/// 2026-11-29), except for `LogL1`, which is Instant NGP's. They suit outputs that span many orders of magnitude, such
/// as radiance: an error counts relative to the brightness. An epsilon from 1e-20 to 1e20 keeps them finite at 0.
/// tiny-cuda-nn has 0.01 for the relative losses.
///
/// "The divisor counts as a constant" means that the gradient does not go through the divisor. Otherwise a network
/// could lower the loss by larger outputs instead of by smaller errors.
///
/// If rows are samples that are drawn with a probability density p, give each row the
/// [weight](crate::Dataset::with_weights) 1 / p. The mean over the rows is then the Monte Carlo estimate of the
/// integral of the loss. This is tiny-cuda-nn's `data_pdf`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Loss {
    /// Mean squared error: (y − t)².
    MeanSquaredError,
    /// Sum of squared errors: Σ (y − t)² over outputs and rows. It is a sum, not a mean.
    SumOfSquares,
    /// Mean absolute error: |y − t|. The derivative at 0 is 0.
    MeanAbsoluteError,
    /// Huber loss (Huber, 1964): (y − t)² / 2 if |y − t| ≤ delta, else delta · (|y − t| − delta / 2).
    Huber {
        /// The threshold between the quadratic and the linear part, above 0. PyTorch and Keras have 1.
        delta: f32,
    },
    /// Binary cross-entropy: −t ln p − (1 − t) ln(1 − p), with p = sigmoid(z). Each output is a separate yes-or-no
    /// question.
    ///
    /// Targets are from 0 to 1. Targets of a [`Dataset`](crate::Dataset) are checked, those in GPU buffers are not. The
    /// last layer's activation must be [`Sigmoid`](Activation::Sigmoid), or [`Identity`](Activation::Identity) for
    /// logits. Both are computed from z as ln(1 + e^−|z|) + |z| · (1 − t if z > 0, else t). This form does not
    /// overflow, and small losses keep their precision.
    BinaryCrossEntropy,
    /// Softmax cross-entropy: −Σ t ln softmax(z) over the outputs. The classes are exclusive.
    ///
    /// Targets are from 0 to 1. Targets of a [`Dataset`](crate::Dataset) are checked, those in GPU buffers are not. The
    /// last layer's activation must be [`Softmax`](Activation::Softmax), or [`Identity`](Activation::Identity) for
    /// logits. Both are computed from z as Σ t (ln Σ e^(z − max z) − (z − max z)). In this form small losses keep their
    /// precision. The gradient is softmax(z) Σ t − t.
    ///
    /// Only a flatten or a reshape may follow the softmax. If a transpose, a slice or a sum follows it, the loss treats
    /// its outputs as logits. The same is true for a sigmoid with [`BinaryCrossEntropy`](Self::BinaryCrossEntropy).
    SoftmaxCrossEntropy,
    /// Softmax cross-entropy with label smoothing (Szegedy et al., 2016), as in PyTorch. Targets are (1 − smoothing) ·
    /// t + smoothing / classes.
    SmoothedSoftmaxCrossEntropy {
        /// Label smoothing, from 0 to below 1. 0.1 is usual.
        smoothing: f32,
    },
    /// Relative squared error: (y − t)² / (y² + epsilon). The divisor counts as a constant (Lehtinen et al., 2018,
    /// "Noise2Noise"). Because it does not contain t, noisy targets lead to their mean.
    RelativeL2 {
        /// Added to the divisor.
        epsilon: f32,
    },
    /// Relative squared error of a colour: (y − t)² / (L² + epsilon) with the luminance of the row's outputs,
    /// L = 0.299 red + 0.587 green + 0.114 blue. The divisor counts as a constant. A row must have 3 outputs.
    RelativeL2Luminance {
        /// Added to the divisor.
        epsilon: f32,
    },
    /// Relative absolute error: |y − t| / (|y| + epsilon). The divisor counts as a constant. The derivative of
    /// |y − t| at 0 is 0.
    RelativeL1 {
        /// Added to the divisor.
        epsilon: f32,
    },
    /// Mean absolute percentage error, as a fraction: |y − t| / (|t| + epsilon).
    Mape {
        /// Added to the divisor.
        epsilon: f32,
    },
    /// Symmetric mean absolute percentage error, as a fraction: |y − t| / ((|y| + |t|) / 2 + epsilon). The divisor
    /// counts as a constant.
    Smape {
        /// Added to the divisor.
        epsilon: f32,
    },
    /// Logarithm of the absolute error: ln(1 + |y − t|). Large errors count little. The derivative at 0 is 0.
    LogL1,
    /// Variance of importance sampling with the density y, for an integrand t: t² / (y + epsilon). With row weights
    /// 1 / p, this is the second moment of the estimator t / y (Müller et al., 2019, "Neural Importance Sampling").
    ///
    /// tiny-cuda-nn also subtracts t² / p², which does not depend on y, and has no epsilon. Below 0, the tangent at 0
    /// continues the loss. Use an activation with positive outputs.
    Variance {
        /// Added to the density.
        epsilon: f32,
    },
    /// Cross-entropy of the density y relative to t: −t ln(y + epsilon). With row weights 1 / p, this is the
    /// Kullback-Leibler divergence up to a constant (Müller et al., 2019, "Neural Importance Sampling").
    ///
    /// y is a density, not a logit. It must be normalised, or the loss falls without limit. Below 0, the tangent at 0
    /// continues the loss. tiny-cuda-nn has no epsilon.
    DensityCrossEntropy {
        /// Added to the density.
        epsilon: f32,
    },
    /// A custom loss. See [`CustomLoss`].
    Custom(&'static CustomLoss),
}

impl Loss {
    /// Whether the outputs of a row are logits of exclusive classes.
    pub(crate) fn is_softmax(self) -> bool {
        matches!(self, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. })
    }

    /// The name of a loss whose targets must be from 0 to 1.
    pub(crate) fn of_probabilities(self) -> Option<&'static str> {
        match self.output_activation() {
            Activation::Sigmoid => Some("binary cross-entropy"),
            Activation::Softmax => Some("softmax cross-entropy"),
            _ => None,
        }
    }

    /// Whether the loss is a mean over rows. Otherwise it is a sum.
    pub(crate) fn is_mean(self) -> bool {
        self != Loss::SumOfSquares
    }

    /// The activation that the loss computes itself. It turns logits into probabilities.
    pub(crate) fn output_activation(self) -> Activation {
        match self {
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            _ if self.is_softmax() => Activation::Softmax,
            _ => Activation::Identity,
        }
    }

    /// The name of a custom loss without a CPU reference, for errors.
    pub(crate) fn without_twin(self) -> Option<String> {
        if let Loss::Custom(own) = self { own.without_twin() } else { None }
    }

    /// The epsilon and its name for errors, if there is one.
    pub(crate) fn epsilon(self) -> Option<(f32, &'static str)> {
        Some(match self {
            Loss::RelativeL2 { epsilon } => (epsilon, "epsilon of Loss::RelativeL2"),
            Loss::RelativeL2Luminance { epsilon } => (epsilon, "epsilon of Loss::RelativeL2Luminance"),
            Loss::RelativeL1 { epsilon } => (epsilon, "epsilon of Loss::RelativeL1"),
            Loss::Mape { epsilon } => (epsilon, "epsilon of Loss::Mape"),
            Loss::Smape { epsilon } => (epsilon, "epsilon of Loss::Smape"),
            Loss::Variance { epsilon } => (epsilon, "epsilon of Loss::Variance"),
            Loss::DensityCrossEntropy { epsilon } => (epsilon, "epsilon of Loss::DensityCrossEntropy"),
            _ => return None,
        })
    }

    /// Checks the parameter or the expressions, and whether the loss works with the network's last activation.
    pub(crate) fn check(self, last: Activation) -> Result<()> {
        if let Some((epsilon, name)) = self.epsilon() {
            moderate(name, epsilon)?;
        }
        match self {
            Loss::Huber { delta } => above_zero("delta of the Huber loss", delta)?,
            Loss::SmoothedSoftmaxCrossEntropy { smoothing } => below_one("label smoothing", smoothing)?,
            Loss::Custom(own) => own.check()?,
            _ => {}
        }
        let expected = match self.output_activation() {
            Activation::Identity => return Ok(()),
            Activation::Sigmoid => {
                "Sigmoid or Identity for binary cross-entropy (with Identity, the outputs are logits)"
            }
            _ => "Softmax or Identity for softmax cross-entropy (with Identity, the outputs are logits)",
        };
        if last == self.output_activation() || last == Activation::Identity {
            return Ok(());
        }
        Err(Error::InvalidOption { name: "the last layer's activation", expected, actual: format!("{last:?}") })
    }
}

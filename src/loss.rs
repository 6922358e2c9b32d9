//! Losses: what training makes small.

/// How wrong an output is. A loss is the mean over the rows of a batch that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Softmax and cross-entropy in one, from logits (so the last layer is [`Identity`](crate::Activation::Identity))
    /// and integer labels: −ln softmax(z)\[label\], computed as ln Σ exp(z − max z) − (z\[label\] − max z), which does
    /// not overflow. Its gradient is (softmax(z) − one_hot(label)) / rows.
    SoftmaxCrossEntropy,
}

//! Groups the parts of [`NarrowRows`] into phases for the kernel of software adapters.

use super::*;
use crate::activation::Activation;

/// Widest thin tensor. One lane holds a whole row of it.
pub(super) const WIDEST_THIN: u32 = 16;

/// A loop over the rows of a workgroup.
#[expect(clippy::large_enum_variant, reason = "a text has few of them, for a short time")]
pub(super) enum Phase<'a> {
    Gather(&'a Gather),
    Encode(&'a Encode),
    Grid(&'a HashGridForward),
    Layer(Layer),
    Pointwise(Layer),
    Thin(Thin<'a>),
    Loss(&'a LossOp),
}

/// A dense layer, forward or backward, with its activation or the derivative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layer {
    pub a: Tensor,
    /// The weights. For a pointwise op they are its input, unused.
    pub b: Tensor,
    pub b_is_transposed: bool,
    pub c: Tensor,
    pub bias: Option<Tensor>,
    /// What the derivative is computed from. `None`: the activation is applied.
    pub saved: Option<Tensor>,
    /// Where the sums are stored before the activation or the derivative.
    pub kept: Option<Tensor>,
    pub activation: Activation,
}

/// A thin tensor between wider ones: the rows pass through it eight at a time.
pub(super) struct Thin<'a> {
    pub tensor: Tensor,
    pub source: ThinSource,
    pub loss: Option<&'a LossOp>,
    /// Layer whose A is the thin tensor, or its gradient if there is a loss.
    pub after: Option<Layer>,
}

#[expect(clippy::large_enum_variant, reason = "a text has few of them, for a short time")]
pub(super) enum ThinSource {
    Gather,
    Memory,
    Layer(Layer),
}

impl Layer {
    fn of(matmul: &Matmul) -> Self {
        let (bias, saved, activation) = match matmul.epilogue {
            Epilogue::Bias { bias, activation } => (bias, None, activation),
            Epilogue::Derivative { saved, activation } => (None, Some(saved), activation),
            Epilogue::None | Epilogue::Update(_) => (None, None, Activation::Identity),
        };
        let Matmul { a, b, c, layout, .. } = *matmul;
        Self { a, b, b_is_transposed: layout == Layout::Nt, c, bias, saved, kept: None, activation }
    }

    fn of_pointwise(op: &Pointwise) -> Self {
        let Pointwise { input, saved, output, activation, .. } = *op;
        Self { a: input, b: input, b_is_transposed: false, c: output, bias: None, saved, kept: None, activation }
    }

    /// The layer with an op after it that acts on each sum.
    fn then(self, op: &Pointwise) -> Option<Self> {
        let is_plain = self.saved.is_none() && self.kept.is_none() && self.activation == Activation::Identity;
        let Pointwise { input, saved, output, activation, .. } = *op;
        (is_plain && input == self.c).then_some(Self { c: output, saved, kept: Some(self.c), activation, ..self })
    }

    /// Word of the weight between a column of the wider side and one of the thinner side: the first one, and the
    /// distances along both sides. `thin_is_k`: whether A is the thinner side.
    pub fn weights(&self, thin_is_k: bool) -> (Tensor, [u32; 2]) {
        let columns = self.b.columns();
        (self.b, if self.b_is_transposed == thin_is_k { [columns, 1] } else { [1, columns] })
    }

    /// Tensors that are accessed as octets. Biases are as long as rows of C.
    fn octets(&self) -> impl Iterator<Item = Tensor> {
        let bias = self.bias.map(|bias| Tensor { buffer: bias.buffer, ..self.c });
        [Some(self.c), self.saved, self.kept, bias].into_iter().flatten()
    }
}

fn is_thin(tensor: &Tensor) -> bool {
    tensor.columns() <= WIDEST_THIN
}

fn is_odd(tensor: &Tensor) -> bool {
    !tensor.columns().is_multiple_of(8)
}

/// Phases of the parts, in order.
pub(super) fn phases(parts: &[Op]) -> Vec<Phase<'_>> {
    let mut phases: Vec<Phase<'_>> = Vec::new();
    for part in parts {
        let phase = match part {
            Op::Gather(op) if is_thin(&op.x) && is_odd(&op.x) => {
                Phase::Thin(Thin { tensor: op.x, source: ThinSource::Gather, loss: None, after: None })
            }
            Op::Gather(op) => Phase::Gather(op),
            Op::Encode(op) => Phase::Encode(op),
            Op::HashGridForward(op) => Phase::Grid(op),
            Op::Matmul(op) => Phase::Layer(Layer::of(op)),
            Op::Pointwise(op) => match phases.last() {
                Some(Phase::Layer(layer)) if layer.then(op).is_some() => {
                    let layer = layer.then(op);
                    phases.pop();
                    layer.map_or(Phase::Pointwise(Layer::of_pointwise(op)), Phase::Layer)
                }
                _ => Phase::Pointwise(Layer::of_pointwise(op)),
            },
            Op::LossOp(op) => Phase::Loss(op),
            _ => unreachable!("no part of a narrow network: {part}"),
        };
        phases.push(phase);
    }
    joined(phases)
}

/// Makes thin tensors phases of their own, together with what follows.
fn joined(phases: Vec<Phase<'_>>) -> Vec<Phase<'_>> {
    let mut joined: Vec<Phase<'_>> = Vec::new();
    let mut next_is_loss = phases.iter().skip(1).map(|phase| matches!(phase, Phase::Loss(_))).collect::<Vec<_>>();
    next_is_loss.push(false);
    for (phase, before_loss) in phases.into_iter().zip(next_is_loss) {
        let thin = if let Some(Phase::Thin(thin)) = joined.last_mut() { Some(thin) } else { None };
        match (phase, thin) {
            (Phase::Loss(op), Some(thin))
                if thin.tensor == op.output && thin.loss.is_none() && thin.after.is_none() =>
            {
                thin.loss = Some(op);
            }
            (Phase::Layer(layer), Some(thin)) if thin.takes(&layer) => thin.after = Some(layer),
            (Phase::Layer(layer), _) if is_thin(&layer.c) && (is_odd(&layer.c) || before_loss) => {
                let source = ThinSource::Layer(layer);
                joined.push(Phase::Thin(Thin { tensor: layer.c, source, loss: None, after: None }));
            }
            (Phase::Layer(layer), _) if is_thin(&layer.a) && is_odd(&layer.a) => {
                let source = ThinSource::Memory;
                joined.push(Phase::Thin(Thin { tensor: layer.a, source, loss: None, after: Some(layer) }));
            }
            (phase, _) => joined.push(phase),
        }
    }
    joined
}

impl Thin<'_> {
    /// The thin tensor after the loss.
    pub fn last(&self) -> Tensor {
        self.loss.and_then(|loss| loss.gradient).unwrap_or(self.tensor)
    }

    /// Whether a layer may follow in the same loop. The layers before and after must share their weights.
    fn takes(&self, layer: &Layer) -> bool {
        let same = match self.source {
            ThinSource::Layer(before) => before.weights(false) == layer.weights(true),
            _ => true,
        };
        self.after.is_none() && same && layer.a == self.last() && !is_thin(&layer.c)
    }

    pub fn weights(&self) -> Option<(Tensor, [u32; 2])> {
        match self.source {
            ThinSource::Layer(layer) => Some(layer.weights(false)),
            _ => self.after.map(|layer| layer.weights(true)),
        }
    }
}

impl Phase<'_> {
    /// Whether a layer of [`finish`](super::lanes) stores its sums before the activation.
    pub fn keeps(&self) -> bool {
        match self {
            Self::Layer(layer) | Self::Thin(Thin { after: Some(layer), .. }) => layer.kept.is_some(),
            _ => false,
        }
    }

    /// Tensors with rows that the kernel accesses as octets.
    pub fn octets(&self) -> Vec<Tensor> {
        match self {
            Self::Gather(op) => vec![op.x],
            Self::Encode(op) => vec![op.output],
            Self::Grid(op) => vec![op.y],
            Self::Layer(layer) => layer.octets().chain([layer.a, layer.b]).collect(),
            Self::Pointwise(layer) => layer.octets().chain([layer.a]).collect(),
            Self::Thin(thin) => {
                let before = if let ThinSource::Layer(layer) = thin.source { Some(layer.a) } else { None };
                before.into_iter().chain(thin.after.iter().flat_map(Layer::octets)).collect()
            }
            Self::Loss(op) => [op.output].into_iter().chain(op.gradient).collect(),
        }
    }
}

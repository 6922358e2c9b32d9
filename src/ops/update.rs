//! Optimizers.

use super::*;
use crate::optimizer::Optimizer;

/// An optimizer's step over the parameters, or a part of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Which, with its hyperparameters.
    pub optimizer: Optimizer,
    /// Read and written.
    pub parameters: Tensor,
    /// Read; laid out as the parameters.
    pub gradients: Tensor,
    /// Up to two for each parameter; read and written. Of Adam the means of gradients and of their squares, of SGD the
    /// velocity, of RMSProp the mean of squares and the velocity, of Adagrad their sum, of Lion the mean.
    pub moments: Vec<Tensor>,
    /// The cursor, for the number of the update and its learning rate.
    pub step: Tensor,
    /// For every 64 parameters, what their learning rate and their weight decay are multiplied by, if not by 1.
    pub multipliers: Option<Tensor>,
    /// One factor for all gradients, if their norm has a limit.
    pub scale: Option<Tensor>,
    /// Each gradient is held between ± this.
    pub clip: Option<f32>,
    /// Whether it only acts at the last batch of an update.
    pub accumulates: bool,
}

impl Kernel for Update {
    fn stem(&self) -> &'static str {
        "update"
    }

    fn options(&self) -> String {
        format!(" {:?}", self.optimizer)
    }

    fn operands(&self) -> Vec<Operand> {
        [vec![read(self.gradients), read(self.scale)], self.bound()].concat()
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_update(self)
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::update::launch(self, *adapter)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let multipliers = self.multipliers.map(|t| at.f32s(t));
        let scale = self.scale.map(|t| at.f32s(t)[0]);
        let (gradients, state) = (at.f32s(self.gradients), at.step(self.step));
        let parameters = at.out(self.parameters);
        let mut moments: Vec<&mut [f32]> = self.moments.iter().map(|&m| at.out(m)).collect();
        crate::cpu::update::update(self, gradients, &state, multipliers, scale, parameters, &mut moments);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::update::of_update(self, at)
    }
}

impl Update {
    /// What a kernel that makes an update binds from 3 on.
    pub(crate) fn bound(&self) -> Vec<Operand> {
        let moment = |i: usize| change(self.moments.get(i).copied());
        vec![read(self.step), change(self.parameters), moment(0), moment(1), read(self.multipliers)]
    }
}

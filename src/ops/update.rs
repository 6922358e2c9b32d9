//! Optimizers.

use super::*;
use crate::network::PARAMETER_ALIGNMENT;
use crate::optimizer::Optimizer;
use crate::plan::LONGEST_UPDATE;

/// An optimizer's step over the parameters, or a part of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Which, with its hyperparameters.
    pub optimizer: Optimizer,
    /// Read and written.
    pub parameters: Tensor,
    /// Read; laid out as the parameters.
    pub gradients: Tensor,
    /// The optimizer's moments; read and written. Of Adam the means of gradients and of their squares, of SGD the velocity, of
    /// RMSProp the mean of squares and the velocity, of Adagrad their sum, of Lion the mean. \[parameters / 64 rounded up,
    /// [`Optimizer::moments`], 64\]: of every 64 parameters the first moments, then the second ones.
    pub moments: Option<Tensor>,
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
        let moments = self.moments.map_or(&mut [][..], |moments| at.out(moments));
        crate::cpu::update::update(self, 0, gradients, &state, multipliers, scale, parameters, moments);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::update::of_update(self, at)
    }
}

impl Update {
    /// What a kernel that makes an update binds from 3 on.
    pub(crate) fn bound(&self) -> Vec<Operand> {
        vec![read(self.step), change(self.parameters), change(self.moments), read(self.multipliers)]
    }

    /// The same of `len` parameters from the one numbered `first` on, a multiple of 64.
    pub(crate) fn part(&self, first: u32, len: u32) -> Self {
        let of_blocks = |tensor: Tensor, each: u32| {
            tensor.part(first / PARAMETER_ALIGNMENT * each, len.div_ceil(PARAMETER_ALIGNMENT) * each)
        };
        Self {
            parameters: self.parameters.part(first, len),
            gradients: self.gradients.part(first, len),
            moments: self.moments.map(|moments| of_blocks(moments, self.optimizer.moments() * PARAMETER_ALIGNMENT)),
            multipliers: self.multipliers.map(|multipliers| of_blocks(multipliers, 2)),
            ..self.clone()
        }
    }

    /// Most parameters of a part whose tensors can all be bound.
    pub(crate) fn longest(&self) -> u32 {
        LONGEST_UPDATE / self.optimizer.moments().max(1)
    }
}

const BLOCK: usize = PARAMETER_ALIGNMENT as usize;

/// Where the moment of that number, from 0, of a parameter lies among the moments of `count` each.
pub(crate) fn moment_at(parameter: usize, number: usize, count: usize) -> usize {
    (parameter / BLOCK * count + number) * BLOCK + parameter % BLOCK
}

/// Moments of `count` for each parameter as a tensor for each, laid out as the parameters: as files have them.
pub(crate) fn separate_moments(moments: &[u32], count: usize) -> Vec<Vec<u32>> {
    let blocks = |number| moments.chunks(BLOCK).skip(number).step_by(count);
    (0..count).map(|number| blocks(number).flatten().copied().collect()).collect()
}

/// The inverse of [`separate_moments`].
pub(crate) fn join_moments(moments: &[Vec<u32>]) -> Vec<u32> {
    let starts = (0..moments.first().map_or(0, Vec::len)).step_by(BLOCK);
    starts.flat_map(|start| moments.iter().flat_map(move |moment| &moment[start..][..BLOCK])).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Op, Plan};
    use crate::{Activation::Identity, Adam, Loss, Network, RmsProp, TrainerConfig};

    #[test]
    fn moments_are_joined_and_separated_as_kernels_have_them() {
        let value = |parameter: usize, number: usize| (parameter * 2 + number) as u32;
        for count in 0..3 {
            let separate: Vec<Vec<u32>> =
                (0..count).map(|number| (0..192).map(|parameter| value(parameter, number)).collect()).collect();
            let joined = join_moments(&separate);
            assert_eq!(joined.len(), 192 * count);
            for (parameter, number) in (0..192).flat_map(|parameter| (0..count).map(move |number| (parameter, number)))
            {
                assert_eq!(joined[moment_at(parameter, number, count)], value(parameter, number));
            }
            assert_eq!(separate_moments(&joined, count), separate);
        }
    }

    /// Parts follow one another in each tensor, and the longest can be bound by default.
    #[test]
    fn a_long_update_is_made_in_parts_that_can_be_bound() {
        let network = Network::input(6000).dense(6000, Identity).build().unwrap();
        let config = TrainerConfig { batch: 1, ..TrainerConfig::default() };
        for (optimizer, parts) in [(Optimizer::from(Adam::default()), 3), (RmsProp::default().into(), 2)] {
            let plan = Plan::training(&network, Loss::MeanSquaredError, &optimizer, &config).unwrap();
            let updates =
                plan.step.iter().filter_map(|op| if let Op::Update(update) = op { Some(update) } else { None });
            let mut ends = [0; 2];
            for update in updates.clone() {
                for (end, tensor) in ends.iter_mut().zip([update.parameters, update.moments.unwrap()]) {
                    assert_eq!(*end, tensor.offset);
                    *end += tensor.len();
                    assert!(tensor.len() <= LONGEST_UPDATE);
                }
            }
            let words = network.parameter_words();
            assert_eq!((updates.count(), ends), (parts, [words, words * optimizer.moments()]));
        }
    }
}

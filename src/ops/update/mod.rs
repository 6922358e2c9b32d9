//! Optimizer steps.

mod formulas;

use std::ops::Range;

use super::template::expand;
use super::*;
pub use crate::averaging::Averages;
use crate::optimizer::Optimizer;
pub(crate) use formulas::Off;

/// An optimizer step over the parameters, or a part of them. It does not say where the gradients come from.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerStep {
    /// The optimizer, with its hyperparameters.
    pub optimizer: Optimizer,
    /// Parameters, read and written.
    pub parameters: Tensor,
    /// The optimizer's moments and the averages, read and written: \[parameters / 64 rounded up,
    /// [`states`](Self::states), 64\]. Each block has the first moments of 64 parameters, then their second moments,
    /// then their slow weights, then their EMA.
    ///
    /// - Adam: means of the gradients and of their squares.
    /// - SGD: velocity.
    /// - RMSProp: mean of squares, and velocity.
    /// - Adagrad: sum of squares.
    /// - Lion: mean of the gradients.
    pub moments: Option<Tensor>,
    /// The cursor, which has the update's number and its learning rate.
    pub cursor: Tensor,
    /// For each 64 parameters, factors of their learning rate and of their weight decay. `None`: all factors are 1.
    pub multipliers: Option<Tensor>,
    /// Strength of the L1 regularisation: [`TrainerConfig::absolute_decay`](crate::TrainerConfig::absolute_decay).
    pub absolute_decay: f32,
    /// Averages of the weights. Only an [`Update`] can have averages, not the epilogue of a [`Matmul`].
    pub averages: Averages,
    /// Clips each gradient to ± this value.
    pub clip: Option<f32>,
    /// True if the step runs only at the last batch of an update.
    pub accumulates: bool,
}

/// An optimizer step with gradients in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Parameters to update, and how.
    pub step: OptimizerStep,
    /// Gradients, in the layout of the parameters.
    pub gradients: Tensor,
    /// One factor for all gradients, if their norm has a limit.
    pub scale: Option<Tensor>,
}

/// Most parameters of one [`Update`]; half of that if each has two [states](OptimizerStep::states). A binding holds
/// this many by default: 128 MiB.
pub const LONGEST_UPDATE: u32 = 1 << 25;

const LANES: u32 = 64;

/// 2⁹⁶: a factor below f32's range is stored as −factor · 2⁹⁶, see [`SumSquares`].
const UNSCALED: f32 = (1u128 << 96) as f32;

impl Kernel for Update {
    fn stem(&self) -> &'static str {
        "update"
    }

    fn options(&self) -> String {
        format!(" {:?}", self.step.optimizer)
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let own = std::iter::once(&mut self.gradients).chain(&mut self.scale);
        own.chain(self.step.tensors_mut()).collect()
    }

    fn operands(&self) -> Vec<Operand> {
        [vec![read(self.gradients), read(self.scale)], self.step.operands()].concat()
    }

    fn flops(&self) -> u64 {
        self.step.flops() + if self.scale.is_some() { self.gradients.len().into() } else { 0 }
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let averaged = self.step.averages.count() > 0;
        let (name, source, parameters_each) = match adapter.wide_access && !averaged {
            false => {
                let conditions = [("weights are averaged", averaged), ("weights are not averaged", !averaged)];
                let averages = if averaged { text!("update.averages.wgsl.in") } else { "" };
                let kernel = expand(text!("update.wgsl.in"), &[], &conditions);
                ("update", [OptimizerStep::TEXT, averages, &kernel].concat(), 4)
            }
            true => ("update.wide", [OptimizerStep::WIDE_TEXT, text!("software/update.wide.wgsl.in")].concat(), 8),
        };
        let mut constants = [self.step.constants(), vec![("SCALE", self.scale.is_some().into())]].concat();
        if averaged {
            constants.push(("STATES", self.step.states().into()));
            constants.extend(formulas::averaging_constants(&self.step.averages));
        }
        let len = self.step.parameters.len();
        let shader = shader(name, source, constants);
        vec![Launch::of(self, shader, uniforms![quads: len / 4], len.div_ceil(parameters_each * LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (gradients, scale) = (at.f32s(self.gradients), self.scale.map(|scale| at.f32s(scale)[0]));
        let gradient = |i: usize| match scale {
            Some(scale) if scale < 0.0 => gradients[i] * (1.0 / UNSCALED) * -scale,
            scale => gradients[i] * scale.unwrap_or(1.0),
        };
        let (parameters, moments) = self.step.take(at);
        self.step.apply(0..gradients.len(), gradient, at, parameters, moments);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let scale = self.scale.map_or(1.0, |scale| at.f64s(scale)[0]);
        let scale = if scale < 0.0 { -scale / f64::from(UNSCALED) } else { scale };
        let roundings = f64::from(u8::from(self.scale.is_some()));
        let gradients = at.f64s(self.gradients).into_iter();
        let gradients: Vec<_> = gradients.map(|g| Off::sum([Off::exact(g * scale)], roundings)).collect();
        self.step.bounds(&gradients, at)
    }
}

impl OptimizerStep {
    /// Text that all kernels with an optimizer step share.
    pub(crate) const TEXT: &str = text!("shared/step_state.wgsl", "update.functions.wgsl.in");
    /// The same text for kernels that access memory in words of 64 bits.
    pub(crate) const WIDE_TEXT: &str = text!(
        "shared/step_state.wgsl",
        "update.functions.wgsl.in",
        "software/words.wgsl",
        "software/update.octet.wgsl.in"
    );

    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        [&mut self.cursor, &mut self.parameters].into_iter().chain(&mut self.moments).chain(&mut self.multipliers)
    }

    /// Operands of a kernel with an optimizer step, from binding 3.
    pub(crate) fn operands(&self) -> Vec<Operand> {
        vec![read(self.cursor), change(self.parameters), change(self.moments), read(self.multipliers)]
    }

    /// The number of states of each parameter: the optimizer's moments, then the averages.
    pub fn states(&self) -> u32 {
        self.optimizer.moments() + self.averages.count()
    }

    /// Compile-time constants of the step.
    pub(crate) fn constants(&self) -> Vec<(&'static str, f64)> {
        let decay = match self.optimizer.weight_decay() {
            (0.0, _) => 0,
            (_, false) => 1,
            (_, true) => 2,
        };
        let constants = vec![
            ("MOMENTS", self.optimizer.moments().into()),
            ("DECAY", decay.into()),
            ("WEIGHT_DECAY", self.optimizer.weight_decay().0.into()),
            ("ABSOLUTE_DECAY", self.absolute_decay.into()),
            ("MULTIPLIERS", self.multipliers.is_some().into()),
            ("CLIP", self.clip.is_some().into()),
            ("LIMIT", self.clip.unwrap_or(0.0).into()),
            ("ACCUMULATES", self.accumulates.into()),
            ("SKIP_ZEROS", self.optimizer.skips_zero_gradients().into()),
        ];
        [constants, formulas::constants(&self.optimizer)].concat()
    }

    pub(crate) fn flops(&self) -> u64 {
        let decay = if self.optimizer.weight_decay().0 == 0.0 { 0 } else { 2 };
        let limits = if self.clip.is_some() { 2 } else { 0 };
        let groups = if self.multipliers.is_some() { 2 } else { 0 };
        let absolute_decay = if self.absolute_decay == 0.0 { 0 } else { 3 };
        let averages = 3 * u64::from(self.averages.count());
        let each = formulas::flops(&self.optimizer) + decay + limits + groups + absolute_decay + averages;
        u64::from(self.parameters.len()) * each
    }

    /// Parameters and moments. They can be taken once.
    pub(crate) fn take<'a>(&self, at: &mut Operands<'a>) -> (&'a mut [f32], &'a mut [f32]) {
        (at.out(self.parameters), self.moments.map_or(&mut [], |moments| at.out(moments)))
    }

    /// Whether no step is due after this batch.
    fn waits(&self, state: &StepState) -> bool {
        self.accumulates && (state.due == 0 || !state.takes_gradients() || state.passes > 1)
    }

    /// CPU twin for a range of parameters.
    pub(crate) fn apply(
        &self,
        range: Range<usize>,
        gradient: impl Fn(usize) -> f32,
        at: &Operands<'_>,
        parameters: &mut [f32],
        moments: &mut [f32],
    ) {
        let (state, multipliers) = (at.step(self.cursor), self.multipliers.map(|t| at.f32s(t)));
        if self.waits(&state) {
            return;
        }
        let (count, moments_count) = (self.states() as usize, self.optimizer.moments() as usize);
        for i in range {
            let w = &mut parameters[i];
            let scales = multipliers.map_or([1.0, 1.0], |m| [m[i / 64 * 2], m[i / 64 * 2 + 1]]);
            let g = gradient(i);
            let state_at = |number: usize| (number < count).then(|| moment_at(i, number, count));
            let load = |number: usize| state_at(number).map_or(0.0, |at| moments[at]);
            let mut own = [0, 1].map(load);
            let mut averages = [0, 1].map(|number| load(moments_count + number));
            if g != 0.0 || !self.optimizer.skips_zero_gradients() {
                *w = self.stepped(*w, g, scales, &state, &mut own);
            }
            formulas::average(&self.averages, w, &mut averages, &state);
            for (number, new) in own.into_iter().take(moments_count).chain(averages).enumerate().take(count) {
                moments[moment_at(i, number, count)] = new;
            }
        }
    }

    /// A weight after its step. `scales` are the factors of its learning rate and of its weight decay.
    fn stepped(&self, mut w: f32, mut g: f32, scales: [f32; 2], state: &StepState, moments: &mut [f32; 2]) -> f32 {
        let (weight_decay, decoupled) = self.optimizer.weight_decay();
        let (rate, decay) = (state.learning_rate * scales[0], weight_decay * scales[1]);
        if let Some(limit) = self.clip {
            g = g.clamp(-limit, limit);
        }
        match decoupled {
            // Otherwise an infinite weight would become NaN.
            _ if weight_decay == 0.0 => {}
            true => w -= rate * decay * w,
            false => g += decay * w,
        }
        w -= formulas::step(&self.optimizer, rate, g, state, moments);
        // NaN and numbers that become NaN below stay as they are.
        if self.absolute_decay > 0.0 && w.abs() <= 3.4e38 {
            let decay = state.learning_rate * self.absolute_decay * scales[0] * scales[1];
            w = w.signum() * (w.abs() - decay).max(0.0);
        }
        // An infinite weight would never change, and behind a ReLU the loss would not show it.
        formulas::within(w, 3.4e38)
    }

    /// Error bounds of parameters and moments, for gradients with errors.
    pub(crate) fn bounds(&self, gradients: &[Off], at: &Operands<'_>) -> Vec<Bounds> {
        let state = at.step(self.cursor);
        let w = at.f64s(self.parameters);
        let moments = self.moments.map(|m| at.f64s(m));
        let (count, moments_count) = (self.states() as usize, self.optimizer.moments() as usize);
        let mut bounds = [vec![0.0; w.len()], vec![0.0; moments.as_ref().map_or(0, Vec::len)]];
        let multipliers = self.multipliers.map(|m| at.f64s(m));
        let (weight_decay, decoupled) = self.optimizer.weight_decay();
        let range = if self.waits(&state) { 0..0 } else { 0..w.len() };
        for i in range {
            let scales = multipliers.as_ref().map_or([1.0, 1.0], |m| [m[i / 64 * 2], m[i / 64 * 2 + 1]]);
            let rate = f64::from(state.learning_rate) * scales[0];
            let decay = f64::from(weight_decay) * scales[1];
            let mut g = gradients[i];
            let skips = self.optimizer.skips_zero_gradients();
            let skipped = skips && g.value == 0.0 && g.off == 0.0;
            // Only one side may see a gradient of 0 and skip the weight.
            let unsure = skips && g.value.abs() <= g.off + FLUSHED;
            if let Some(limit) = self.clip {
                g.value = g.value.clamp(-f64::from(limit), limit.into());
            }
            let mut before = Off::exact(w[i]);
            if decay != 0.0 && decoupled {
                before = Off::sum([before, Off::sum([Off::exact(-rate * decay * w[i])], 3.0)], 1.0);
            } else if decay != 0.0 {
                g = Off::sum([g, Off::exact(decay * w[i])], 3.0);
            }
            let own = |m: usize| moments.as_ref().filter(|_| m < count).map_or(0.0, |all| all[moment_at(i, m, count)]);
            let (step, mut kept) = formulas::bounds(&self.optimizer, rate, g, &state, own(0), own(1));
            let mut after = Off::sum([before, Off { value: -step.value, ..step }], 1.0);
            if self.absolute_decay > 0.0 {
                let decay = rate * scales[1] * f64::from(self.absolute_decay);
                let size = Off { value: after.value.abs(), ..after };
                let left = Off::sum([size, Off::sum([Off::exact(-decay)], 3.0)], 1.0);
                after = Off { value: left.value.max(0.0) * after.value.signum(), ..left };
            }
            if skipped {
                (after, kept) = (Off::exact(w[i]), [own(0), own(1)].map(Off::exact));
            } else if unsure {
                after.off += (after.value - w[i]).abs();
                kept = [0, 1].map(|number| Off {
                    off: kept[number].off + (kept[number].value - own(number)).abs(),
                    ..kept[number]
                });
            }
            let averages = [0, 1].map(|number| own(moments_count + number));
            let (after, averages) = formulas::average_bounds(&self.averages, after, averages, &state);
            bounds[0][i] = after.off;
            for (number, new) in kept.into_iter().take(moments_count).chain(averages).enumerate().take(count) {
                bounds[1][moment_at(i, number, count)] = new.off;
            }
        }
        let outputs = 1 + usize::from(moments.is_some());
        bounds.into_iter().take(outputs).map(Bounds::Each).collect()
    }

    /// The same step for `len` parameters from number `first` on. `first` must be a multiple of 64.
    pub(crate) fn part(&self, first: u32, len: u32) -> Self {
        let of_blocks = |tensor: Tensor, each: u32| {
            tensor.part(first / PARAMETER_ALIGNMENT * each, len.div_ceil(PARAMETER_ALIGNMENT) * each)
        };
        Self {
            parameters: self.parameters.part(first, len),
            moments: self.moments.map(|moments| of_blocks(moments, self.states() * PARAMETER_ALIGNMENT)),
            multipliers: self.multipliers.map(|multipliers| of_blocks(multipliers, 2)),
            ..self.clone()
        }
    }

    /// Most parameters of a part whose tensors can all be bound.
    pub(crate) fn longest(&self) -> u32 {
        LONGEST_UPDATE / self.states().max(1) / PARAMETER_ALIGNMENT * PARAMETER_ALIGNMENT
    }
}

const BLOCK: usize = PARAMETER_ALIGNMENT as usize;

/// Index of a parameter's state with this number, from 0. Each parameter has `count` states: moments, then averages.
pub(crate) fn moment_at(parameter: usize, number: usize, count: usize) -> usize {
    (parameter / BLOCK * count + number) * BLOCK + parameter % BLOCK
}

/// Splits moments into one tensor for each number, in the layout of the parameters. Files store moments this way.
pub(crate) fn separate_moments(moments: &[u32], count: usize) -> Vec<Vec<u32>> {
    let blocks = |number| moments.chunks(BLOCK).skip(number).step_by(count);
    (0..count).map(|number| blocks(number).flatten().copied().collect()).collect()
}

/// Inverse of [`separate_moments`].
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

    /// Parts are contiguous in each tensor, and the longest part fits in a binding of default size.
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
                for (end, tensor) in ends.iter_mut().zip([update.step.parameters, update.step.moments.unwrap()]) {
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

//! Updates: clips and accumulates gradients, and applies the optimizer layer by layer.

use std::ops::Range;

use super::builder::{Builder, DataSet};
use super::*;
use crate::config::Clip;
use crate::schedule::Schedule;

impl Builder<'_> {
    /// Adds the optimizer's buffers.
    pub fn optimizer(&mut self, optimizer: &Optimizer, config: &TrainerConfig, set: &DataSet) -> OptimizerStep {
        let parameters = self.parameters.part(0, self.network.trained_words());
        let len = parameters.len();
        let averages = config.averages();
        let shape = [len / PARAMETER_ALIGNMENT, optimizer.moments() + averages.count(), PARAMETER_ALIGNMENT];
        let moments = (shape[1] > 0).then(|| self.add("moments", shape, Role::Moments));
        let clip = match config.clip {
            Some(Clip::Value(limit)) => Some(limit),
            _ => None,
        };
        OptimizerStep {
            optimizer: *optimizer,
            parameters,
            moments,
            cursor: set.step,
            multipliers: None,
            absolute_decay: config.absolute_decay,
            averages,
            clip,
            accumulates: config.accumulate > 1 || self.share.is_some(),
        }
    }

    /// The buffer of gradients. The first call adds it.
    pub fn gradients(&mut self) -> Result<Tensor> {
        let words = match self.share {
            None => self.network.trained_words(),
            Some(_) => self.network.parameter_words(),
        };
        let made = match self.gradients {
            Some(gradients) => gradients,
            None => self.buffer("gradients", [words], Role::Gradients)?,
        };
        self.gradients = Some(made);
        Ok(made)
    }

    /// Adds the updates of all parameters, layer by layer. Frozen parameters have a rate of 0, and their moments still
    /// change. A chain's update runs once, and only after a backward pass.
    pub fn update(
        &mut self,
        mut all: OptimizerStep,
        config: &TrainerConfig,
        mean: bool,
        chain: Option<&DataSet>,
    ) -> Result<()> {
        let mut gradients = self.gradients()?;
        self.keeps_gradients = config.keep_gradients || self.share.is_some();
        let (len, cursor) = (all.parameters.len(), all.cursor);
        if let Some(set) = chain {
            all.accumulates = true;
            self.mark(set, 1);
        }
        if let Some(share) = self.share {
            gradients = self.sum_of_slices(share, gradients, cursor, mean)?;
        } else if config.accumulate > 1 {
            let sum = self.add("accumulated_gradients", len, Role::AccumulatedGradients);
            self.push(Accumulate { gradients, sum, step: cursor, mean });
            gradients = sum;
        }
        let mut scale = None;
        if let Some(Clip::Norm(limit)) = config.clip {
            let sums = self.add("square_sums", SUM_PARTS, Role::SquareSums);
            let factor = self.add("gradient_scale", 1, Role::GradientScale);
            self.push(SumSquares { input: gradients, output: sums, limit: None });
            self.push(SumSquares { input: sums, output: factor, limit: Some(limit) });
            scale = Some(factor);
        }
        for node in 0..self.network.nodes().len() {
            let own = self.network.own_parameters(node);
            let (Some(first), Some(last)) = (own.clone().next(), own.last()) else { continue };
            let [first, last] = [first, last].map(|p| &self.network.parameters()[p]);
            let end = (last.offset + last.len()).next_multiple_of(PARAMETER_ALIGNMENT);
            for start in (first.offset..end).step_by(all.longest() as usize) {
                let len = all.longest().min(end - start);
                let multipliers = self.multipliers(config, node, start, len);
                let step = OptimizerStep { multipliers, ..all.part(start, len) };
                self.push(Update { step, gradients: gradients.part(start, len), scale });
            }
        }
        if let Some(set) = chain {
            self.mark(set, 2);
        }
        Ok(())
    }

    /// Adds the sum of the gradients over the slices of a batch. Returns the tensor of the sum.
    fn sum_of_slices(&mut self, share: Share, gradients: Tensor, step: Tensor, mean: bool) -> Result<Tensor> {
        let (trained, all) = (self.network.trained_words(), gradients.len());
        let sums = self.buffer("slice_sums", [share.own, all], Role::SliceSums)?;
        let of_slice = |range: Range<u32>, mean| SumSlices {
            gradients: gradients.part(range.start, range.end - range.start),
            step,
            sums: sums.range(1, range),
            share,
            mean,
        };
        let states = (!self.running.is_empty()).then_some(trained..all);
        self.push(of_slice(0..trained, mean));
        if let Some(states) = states.clone() {
            self.push(of_slice(states, true));
        }
        self.push(CombineSlices { step, sums, share, mean: false });
        // Only the total is divided, after the sums of all ranks have been added.
        let total = sums.range(0, 0..1);
        let means = match (mean, states) {
            (true, None) => Some(0..trained),
            (true, Some(states)) => Some(0..states.end),
            (false, states) => states,
        };
        if let Some(range) = means {
            self.push(CombineSlices { step, sums: total.range(1, range), share: Share::default(), mean: true });
        }
        for running in std::mem::take(&mut self.running) {
            self.push(RunningStatistics { statistics: Tensor { buffer: sums.buffer, ..running.running }, ..running });
        }
        Ok(sums.part(0, trained))
    }

    /// Adds the statistics of a slice to those that are averaged over the slices. The running statistics are updated
    /// once an update, from the average.
    pub fn sum_statistics(&mut self, update: RunningStatistics) -> Result<()> {
        let output = Tensor { buffer: self.gradients()?.buffer, ..update.running };
        self.push(Rearrange { input: update.statistics, output, scale: 1.0 });
        self.running.push(RunningStatistics { of_update: true, ..update });
        Ok(())
    }

    /// The table of a layer's multipliers, with an entry for each block of 64 of `len` parameters. `None` if all are 1.
    fn multipliers(&mut self, config: &TrainerConfig, node: usize, start: u32, len: u32) -> Option<Tensor> {
        let own = self.network.own_parameters(node);
        let of = |i: usize| config.multipliers(self.network, i);
        if own.clone().all(|i| of(i) == [1.0, 1.0]) {
            return None;
        }
        let block = |block: u32| {
            let at = start + block * PARAMETER_ALIGNMENT;
            let parameter = own.clone().find(|&i| self.network.parameters()[i].range().contains(&(at as usize)));
            parameter.map_or([1.0, 1.0], of)
        };
        let table: Vec<f32> = (0..len.div_ceil(PARAMETER_ALIGNMENT)).flat_map(block).collect();
        let name = format!("{}.multipliers", self.network.nodes()[node].name);
        let tensor = self.add(&name, table.len() as u32, Role::Multipliers);
        self.fill(tensor, bytemuck::cast_vec(table));
        Some(tensor)
    }

    /// Tells the cursor of a chain that a pass has run.
    fn mark(&mut self, set: &DataSet, chain_pass: u32) {
        let data = self.add(&format!("chain_pass_{chain_pass}"), words::<DataInfo>(), Role::ChainMarks);
        let info = DataInfo { chain: 2, chain_pass, ..DataInfo::default() };
        self.fill(data, bytemuck::cast_slice(&[info]).to_vec());
        // No rows are numbered.
        let (step, indices) = (set.step, set.indices.part(0, 1));
        let (share, accumulate, learning_rate, schedule) = (Share::default(), 1, 0.0, Schedule::constant());
        self.push(NextBatch { data, step, indices, share, accumulate, learning_rate, schedule });
    }
}

//! Data-parallel training: several ranks train one network, each on its share of every batch.

use super::{Progress, Trainer, all_rows};
use crate::dataset::{Dataset, Matched};
use crate::device::Device;
use crate::error::Result;
use crate::executor::{Executor, Run, Submission};
use crate::fit::{Control, Fit};
use crate::history::History;
use crate::plan::{Op, Plan, Role, RowMetrics, Tensor};
use crate::ranks::{self, Description, Fingerprint, Ranks, SumOverRanks};
use crate::slices::Share;

impl Trainer {
    /// Plans the training for a share of the slices of each batch. Weights, optimizer state and cursor stay.
    pub(super) async fn set_share(&mut self, share: Option<Share>) -> Result<()> {
        if self.share == share {
            return Ok(());
        }
        self.plan_share(share)?;
        // The cursor of a rank is after its last slice. The next share begins with another one.
        let step = self.training.storage(Role::Step);
        let mut words = self.device.read(&step, self.training.words(Role::Step)).await?;
        self.normalise(Role::Step, &mut words);
        self.device.write(&step, 0, bytemuck::cast_slice(&words))
    }

    /// As [`set_share`](Self::set_share), for calls that move the cursor to the start of an epoch.
    pub(super) fn plan_share(&mut self, share: Option<Share>) -> Result<()> {
        if self.share == share {
            return Ok(());
        }
        let plan = Plan::training_of(&self.network, self.losses.clone(), &self.optimizer, &self.config, share)?;
        self.device.check_plan(&plan)?;
        let kept = [Role::Parameters, Role::Moments, Role::Step, Role::RowMetrics];
        let kept = kept.into_iter().filter(|role| plan.find(*role).is_some());
        let kept: Vec<_> = kept.map(|role| (role, self.training.storage(role))).collect();
        self.training = self.device.executor(plan, &kept)?;
        // These are of the plan before.
        (self.evaluation, self.finite, self.warm) = (None, None, false);
        self.share = share;
        Ok(())
    }

    /// Checks that all ranks train the same, and plans the training for the share of this one.
    pub(super) async fn join(&mut self, ranks: &dyn Ranks, train: &Dataset, fit: &Fit<'_>) -> Result<()> {
        // An error of this rank alone is in its description, so that the others get to know it too.
        let share = ranks::share_of(ranks, self.config.slices);
        let checked = fit.check();
        let data = self.data_in_words(train);
        let validation = fit.validation.map_or(Ok("none".into()), |data| self.data_in_words(data));
        fn shown(result: &Result<String>) -> String {
            result.as_ref().map_or_else(|error| format!("error: {error}"), Clone::clone)
        }
        let mut description = Description::default();
        description.add("version of wgrad", env!("CARGO_PKG_VERSION"));
        let device = match &self.device {
            Device::Cpu => "the CPU".into(),
            Device::Gpu(gpu) => {
                let info = gpu.adapter_info();
                format!("{}, {} {}", info.name, info.driver, info.driver_info)
            }
        };
        description.add("device", device);
        if let Executor::Gpu(executor) = &self.training {
            let print = executor.kernels().fold(Fingerprint::new(), |print, text| print.add(text.as_bytes()));
            description.add("choice of kernels", print);
        }
        description.add("network", format!("{:#?}", self.network));
        description.add("losses", format!("{:#?}", self.losses));
        description.add("optimizer", format!("{:#?}", self.optimizer));
        description.add("training options", format!("{:#?}", self.config));
        description.add("fit options", fit.in_words());
        description.add("training data", shown(&data));
        description.add("validation data", shown(&validation));
        let progress = Progress { history: History::default(), ..self.progress.clone() };
        let has_best = self.best.is_some();
        description.add("progress", format!("{} epochs, best weights {has_best}, {progress:?}", self.epochs()));
        let parts = self.parts();
        let words = self.device.read_all(parts.iter().map(|(_, storage, words)| (storage, *words))).await?;
        for ((role, ..), mut words) in parts.iter().zip(words) {
            self.normalise(*role, &mut words);
            let print = Fingerprint::new().add(bytemuck::cast_slice(&words));
            description.add("state of the training", format!("{role:?} {print}"));
        }
        description.compare(ranks)?;
        checked?;
        data?;
        validation?;
        self.set_share(share?).await
    }

    /// The data set of a rank: its size and a fingerprint of all its numbers.
    fn data_in_words(&self, data: &Dataset) -> Result<String> {
        let matched = self.matched(data)?;
        let print = fingerprint(data, &matched);
        Ok(format!("{} rows, {} features, fingerprint {print}", data.rows(), data.features()))
    }

    /// Number of batches between places where training can be interrupted: with slices, those of an update, because
    /// the sums of the slices are not saved.
    pub(super) fn unit(&self) -> u32 {
        if self.share.is_some() { self.config.accumulate } else { 1 }
    }

    /// Submits training steps. With ranks, each update waits for the others.
    pub(super) async fn submit(
        &self,
        run: Run,
        check: Option<&Executor>,
        fit: &Fit<'_>,
        sum: &mut SumOverRanks,
    ) -> Result<Submission> {
        let Some(ranks) = fit.ranks.filter(|_| self.share.is_some()) else {
            return self.training.submit(run, check).await;
        };
        let slices = self.training.plan().share().all;
        let (mut done, mut clear) = (0, run.clear);
        while done < run.steps {
            let batches = self.config.accumulate.min(run.steps - done);
            let own = self.training.sums_of_slices(batches, clear).await?;
            let own: Vec<&[u32]> = own.iter().map(Vec::as_slice).collect();
            self.training.update_with(sum.sum_slices(ranks, slices, &own)?).await?;
            (done, clear) = (done + batches, false);
        }
        if run.report {
            self.gather_metrics(&self.training, ranks).await?;
        }
        self.training.submit(Run { steps: 0, clear: false, report: run.report }, check).await
    }

    /// Gives each rank the running metrics of all slices.
    pub(super) async fn gather_metrics(&self, executor: &Executor, ranks: &dyn Ranks) -> Result<()> {
        let storage = executor.storage(Role::RowMetrics);
        let mut metrics = self.device.read(&storage, executor.words(Role::RowMetrics)).await?;
        let slots = |rank: u32| slots_of(executor.plan(), rank, ranks.count());
        let own = slots(ranks.rank()).map(|slot| &metrics[slot]).collect::<Vec<_>>().concat();
        for (rank, message) in (0..).zip(ranks.gather(&own)?) {
            let words: usize = slots(rank).map(|slot| slot.len()).sum();
            ranks::check_words(rank, "metrics", message.len(), words)?;
            let mut message = &message[..];
            for slot in slots(rank) {
                let (of_slot, rest) = message.split_at(slot.len());
                metrics[slot].copy_from_slice(of_slot);
                message = rest;
            }
        }
        self.device.write(&storage, 0, bytemuck::cast_slice(&metrics))
    }

    /// The answer of the callbacks of all ranks: they stop if one of them stops. Otherwise, the first rank that
    /// changes the learning rate changes it for all.
    pub(super) fn agreed(&self, fit: &Fit<'_>, own: Control) -> Result<Control> {
        let Some(ranks) = fit.ranks else { return Ok(own) };
        let words = match own {
            Control::Continue => [0, 0],
            Control::Stop => [1, 0],
            Control::RateScale(scale) => [2, scale.to_bits()],
        };
        let answers = ranks.gather(&words)?;
        (0..).zip(&answers).try_for_each(|(rank, answer)| ranks::check_words(rank, "answers", answer.len(), 2))?;
        let has = |wanted: u32| answers.iter().find(|answer| answer[0] == wanted);
        Ok(match (has(1), has(2)) {
            (Some(_), _) => Control::Stop,
            (None, Some(scale)) => Control::RateScale(f32::from_bits(scale[1])),
            (None, None) => Control::Continue,
        })
    }
}

/// Words of the slots of a rank's metrics, for each output, level and slice.
fn slots_of(plan: &Plan, rank: u32, ranks: u32) -> impl Iterator<Item = std::ops::Range<usize>> {
    let share = Share::of_rank(rank, ranks, plan.share().all);
    plan.step.iter().flat_map(Op::parts).filter_map(metrics_of).flat_map(move |metrics| {
        let [levels, turns, rows, words] = std::array::from_fn(|i| metrics.shape[i] as usize);
        let each = rows * words;
        let start = metrics.offset as usize;
        (0..levels * turns).filter_map(move |turn| {
            // Slots are used in the order of the cursor's steps, which count slices from 1.
            let slice = ((turn % turns) as u32 + share.all - 1) % share.all;
            let at = start + turn * each;
            share.range().contains(&slice).then_some(at..at + each)
        })
    })
}

/// The slots of the running metrics of a loss.
fn metrics_of(op: &Op) -> Option<Tensor> {
    let Op::LossOp(loss) = op else { return None };
    debug_assert_eq!(loss.metrics.shape[3] as usize * 4, size_of::<RowMetrics>());
    Some(loss.metrics)
}

fn fingerprint(data: &Dataset, matched: &Matched) -> Fingerprint {
    let rows = all_rows(data);
    let print = data.feature_words(matched, &rows).fold(Fingerprint::new(), |print, words| print.add(&words));
    let targets = data.target_words(matched, &rows);
    let print = targets.fold(print, |print, words| print.add(bytemuck::cast_slice(&words)));
    let infos = data.infos(matched, true);
    print.add(bytemuck::cast_slice(&infos))
}

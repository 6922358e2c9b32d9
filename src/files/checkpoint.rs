//! Files of training runs.

use std::ops::Range;

use safetensors::tensor::Dtype;

use super::format::{Contents, Tensor, encode};
use super::model::{json, metadata, tensors};
use super::resume::{Change, Resume};
use super::{BYTES, STATE, epochs};
use crate::config::TrainerConfig;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::optimizer::Optimizer;
use crate::output_losses::Losses;
use crate::plan::{Buffer, Op, Plan, Role, RowMetrics, StepState, join_moments, separate_moments};
use crate::trainer::{CARRIED, Cut, Progress, Snapshot, Trainer};

/// The data type of a role's words in a file.
fn dtype(role: Role) -> Dtype {
    match role.dtype() {
        crate::plan::Dtype::U32 => Dtype::U32,
        _ => Dtype::F32,
    }
}

/// Number of words of the cursor in a file: all except those of a chain's batch, which is discarded.
const CURSOR: usize = std::mem::offset_of!(StepState, chain) / 4;

/// The shape of a state buffer in a file.
fn shape(buffer: &Buffer) -> Vec<u32> {
    match (buffer.role, buffer.shape) {
        (Role::Step, _) => vec![CURSOR as u32],
        (_, shape) => shape.map_or(vec![], |shape| shape.to_vec()),
    }
}

/// Name of the best epoch's weights.
const BEST: &str = "best";

/// Methods that block, or that read and write files.
#[cfg(not(target_family = "wasm"))]
impl Trainer {
    /// Saves the training run to a file, from which [`resume`](Self::resume) continues. Blocks, submits and polls;
    /// not for browsers.
    ///
    /// The file has the weights, the optimizer's state, the averages of the weights, the place in the epoch, the
    /// history and all options. It is a [model's file](crate::Model::save) with additional tensors, so
    /// [`Model::load`](crate::Model::load) reads it too: the weights of the last update, not the averaged ones. The history takes 36 bytes an epoch, or 56 with a validation set or [measured](crate::Epoch::measured)
    /// epochs.
    ///
    /// An existing file is replaced atomically; on an error it is kept. [`Fit::checkpoint`](crate::Fit::checkpoint)
    /// saves during training.
    ///
    /// # Errors
    /// - [`Error::NonFiniteParameter`] if a weight or an optimizer moment is NaN or infinite, unless
    ///   [allowed](Self::set_allow_non_finite).
    /// - [`Error::File`] if the file cannot be written.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        self.device.block_on(self.save_async(path))
    }

    /// [`save`](Self::save) for async code: submits, but leaves polling to the app. Writing the file blocks.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn save_async(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        crate::disk::write(path.as_ref(), &self.to_bytes_async().await?)
    }

    /// The bytes of the file that [`save`](Self::save) writes. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::NonFiniteParameter`], as [`save`](Self::save); [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.device.block_on(self.to_bytes_async())
    }

    /// Saves the last [snapshot](Self::prepare_snapshots) to a file, like [`save`](Self::save). Not for browsers; see
    /// [`snapshot_to_bytes`](Self::snapshot_to_bytes).
    ///
    /// The snapshot is in main memory, so this submits nothing and does not wait for the GPU. An app can call it
    /// between two frames, or after its device was lost. The file does not have the best epoch's weights that `fit`
    /// keeps for early stopping.
    ///
    /// # Errors
    /// - [`Error::NoSnapshot`] if there is no snapshot.
    /// - [`Error::NonFiniteParameter`], as [`save`](Self::save).
    /// - [`Error::File`] if the file cannot be written.
    pub fn save_snapshot(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        crate::disk::write(path.as_ref(), &self.snapshot_to_bytes()?)
    }

    /// Continues a training run from a file that [`save`](Self::save) has written.
    ///
    /// On the same adapter and driver, and over the same data, training gives the same weights as without the
    /// interruption, bit for bit. This holds within an epoch too. The [history](Self::history) is also the same,
    /// except for the times.
    ///
    /// The file does not have the arguments of [`fit`](Self::fit): pass them again, with the remaining epochs. With 0
    /// epochs, `fit` still restores the best weights if early stopping is set. An app that records its own steps
    /// prepares them again. The place in the data is kept until [`fit`](Self::fit) or [`reset`](Self::reset).
    ///
    /// ```no_run
    /// use std::path::Path;
    /// use wgrad::{Activation::*, Adam, Checkpoint, Fit, Gpu, Loss, Network, Trainer, TrainerConfig};
    /// # fn data() -> wgrad::Result<wgrad::Dataset> { unimplemented!() }
    /// let path = Path::new("run.safetensors");
    /// let gpu = Gpu::request()?;
    /// let mut trainer = match path.exists() {
    ///     true => Trainer::resume(&gpu, path)?,
    ///     false => {
    ///         let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
    ///         let config = TrainerConfig::default();
    ///         Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config)?
    ///     }
    /// };
    /// let checkpoint = Some(Checkpoint { path, every: Some(500) });
    /// let epochs = 10u32.saturating_sub(trainer.epochs());
    /// trainer.fit(&data()?, Fit { epochs, checkpoint, ..Fit::default() }, |event| println!("{event:?}"))?;
    /// trainer.model().save("model.safetensors")?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::File`] if the file cannot be read, is damaged, or is of another format or version; if it has only a
    ///   model, describes a network that cannot be built, or has missing or additional tensors.
    /// - As [`new`](Self::new).
    pub fn resume(device: impl Into<Device>, path: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::resume_with(device, path, &Resume::default())
    }

    /// [`resume`](Self::resume) with another batch size, learning rate, optimizer or schedule: see [`Resume`]. The
    /// default `Resume` changes nothing.
    ///
    /// # Errors
    /// As [`resume`](Self::resume); [`Error::InvalidOption`] and [`Error::LimitExceeded`] for the changed options.
    pub fn resume_with(device: impl Into<Device>, path: impl AsRef<std::path::Path>, resume: &Resume) -> Result<Self> {
        super::read::read(path.as_ref(), |path, bytes| read(device.into(), path, bytes, resume))
    }
}

impl Trainer {
    /// Allows saving weights and moments that are NaN or infinite, for example to inspect a run that diverged.
    /// Default false: saving is an error, and an existing file is kept.
    ///
    /// It applies to [`save`](Self::save), checkpoints and [`save_snapshot`](Self::save_snapshot).
    /// [`Resume::allow_non_finite`] reads such files.
    pub fn set_allow_non_finite(&mut self, allow: bool) {
        self.allow_non_finite = allow;
    }

    /// [`to_bytes`](Self::to_bytes) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub async fn to_bytes_async(&self) -> Result<Vec<u8>> {
        let parts = self.parts();
        let best = self.best.iter().map(|best| (best, self.network.parameter_words() as usize));
        let stored = parts.iter().map(|(_, storage, words)| (storage, *words));
        let mut read = self.device.read_all(stored.chain(best)).await?;
        let best = read.split_off(parts.len()).pop();
        parts.iter().zip(&mut read).for_each(|((role, ..), words)| self.normalise(*role, words));
        let parts: Vec<_> = parts.into_iter().map(|(role, ..)| role).zip(read).collect();
        self.encoded(&parts, best.as_ref(), &self.progress)
    }

    /// The bytes of the file that [`save_snapshot`](Self::save_snapshot) writes.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] if there is no snapshot; [`Error::NonFiniteParameter`], as [`save`](Self::save).
    pub fn snapshot_to_bytes(&self) -> Result<Vec<u8>> {
        let snapshot = self.taken();
        let Snapshot { parts, progress } = snapshot.as_ref().ok_or(Error::NoSnapshot)?;
        let mut parts = parts.clone();
        parts.iter_mut().for_each(|(role, words)| self.normalise(*role, words));
        self.encoded(&parts, None, progress)
    }

    /// The file with the state of [`parts`](Self::parts) and the best epoch's weights.
    fn encoded(&self, parts: &[(Role, Vec<u32>)], best: Option<&Vec<u32>>, progress: &Progress) -> Result<Vec<u8>> {
        if !self.allow_non_finite {
            parts.iter().try_for_each(|(role, words)| self.check_finite(*role, words))?;
            best.map_or(Ok(()), |best| self.network.check_finite("the best weights", bytemuck::cast_slice(best)))?;
        }
        let mut metadata = metadata(&self.model());
        metadata.extend([
            ("loss", json(&self.of_outputs[0].0)),
            ("optimizer", json(&self.optimizer)),
            ("config", json(&self.config)),
            ("progress", json(progress)),
        ]);
        if self.has_losses() {
            metadata.insert("losses", json(&self.losses));
        }
        let mut file = Vec::new();
        let tensor = |name: &str, dtype, shape: &[u32], words| Tensor {
            name: format!("{STATE}{name}"),
            dtype,
            shape: shape.to_vec(),
            words,
        };
        let (all, trained) = ([self.network.parameter_words()], [self.network.trained_words()]);
        for &(role, ref words) in parts {
            match self.plan().find(role).map(|id| self.plan().buffer(id)) {
                _ if role == Role::Parameters => file.extend(tensors(&self.network, bytemuck::cast_slice(words))),
                _ if role == Role::Moments => {
                    let names: Vec<String> = self.config.states(&self.optimizer).collect();
                    let states = separate_moments(words, names.len());
                    let state = |(name, words): (&String, Vec<u32>)| tensor(name, Dtype::F32, &trained, words.into());
                    file.extend(names.iter().zip(states).map(state));
                }
                Some(buffer) => {
                    let shape = shape(buffer);
                    let words = if role == Role::Step { &words[..CURSOR] } else { &words[..] };
                    file.push(tensor(&buffer.name, dtype(role), &shape, words.into()));
                }
                None => {}
            }
        }
        file.extend(best.map(|best| tensor(BEST, Dtype::F32, &all, best.into())));
        file.extend(epochs::tensors(&progress.history));
        Ok(encode(&metadata, &file))
    }

    /// [`resume`](Self::resume) from the bytes of a file. Submits nothing.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_from_bytes(device: impl Into<Device>, bytes: &[u8]) -> Result<Self> {
        read(device.into(), BYTES, bytes, &Resume::default())
    }

    /// [`resume_with`](Self::resume_with) from the bytes of a file. Submits nothing.
    ///
    /// # Errors
    /// As [`resume_with`](Self::resume_with).
    pub fn resume_from_bytes_with(device: impl Into<Device>, bytes: &[u8], resume: &Resume) -> Result<Self> {
        read(device.into(), BYTES, bytes, resume)
    }
}

fn read(device: Device, path: &str, bytes: &[u8], resume: &Resume) -> Result<Trainer> {
    let mut file = Contents::read(path, bytes)?;
    file.allow_non_finite = resume.allow_non_finite;
    file.check_registered(&["network", "loss", "losses"])?;
    let network = file.network()?;
    if file.metadata("progress").is_none() {
        return Err(file.fault(
            "a model without a training run: load it with Model::load, or start a new run from its weights with \
             Trainer::from_parameters",
        ));
    }
    let (optimizer, config): (Optimizer, TrainerConfig) = (file.json("optimizer")?, file.json("config")?);
    let losses: Losses = match file.metadata("losses") {
        Some(_) => file.json("losses")?,
        None => file.json::<Loss>("loss")?.into(),
    };
    let mut progress: Progress = file.json("progress")?;
    let plan = Plan::training(&network, losses.clone(), &optimizer, &config)
        .map_err(|e| file.fault(format!("training run: cannot be built: {e}")))?;

    let parameters = file.parameters(&network)?;
    let (all, trained) = ([network.parameter_words()], [network.trained_words()]);
    let take = |name: String| Ok((file.take(&format!("{STATE}{name}"), Dtype::F32, &trained)?, name));
    let mut saved = config.states(&optimizer).map(take).collect::<Result<Vec<_>>>()?;
    let mut state = Vec::new();
    for role in CARRIED.into_iter().filter(|role| *role != Role::Moments) {
        if let Some(id) = plan.find(role) {
            let buffer = plan.buffer(id);
            let name = format!("{STATE}{}", buffer.name);
            let mut shape = shape(buffer);
            // Files of version 0.1 have only the first level of the metrics' slots.
            if let Some(slots) = first_level(&plan).filter(|_| role == Role::RowMetrics) {
                let earlier = [slots as usize, shape[1] as usize];
                if file.shape(&name).is_some_and(|shape| shape == earlier) {
                    shape[0] = slots;
                }
            }
            let mut words = file.take(&name, dtype(role), &shape)?;
            if role == Role::Step {
                // No update is due before the next forward pass.
                words.extend([1, 0, 0, 0]);
            }
            state.push((role, words));
        }
    }
    let best = format!("{STATE}{BEST}");
    let best = file.shape(&best).is_some().then(|| file.take(&best, Dtype::F32, &all)).transpose()?;
    if let Some(history) = epochs::take(&mut file, network.output_specs())? {
        progress.history = history;
    }
    check_place(&file, &state, &metrics_parts(&plan), &config, &mut progress)?;
    file.finish("")?;

    let change = resume.change(optimizer, config);
    if !change.is_none() {
        state.retain(|(role, _)| *role != Role::AccumulatedGradients || !change.breaks_update());
        if change.is_of_another_kind() {
            saved.clear();
        }
        let words = state.iter_mut().find(|(role, _)| *role == Role::Step);
        let step: &mut StepState = &mut bytemuck::cast_slice_mut(&mut words.expect("every plan has a cursor").1)[0];
        change.apply(step, &mut progress);
    }
    let (optimizer, config) = change.after;
    // A moment that the run did not have starts from zero, an average from the weights.
    let weights: &[u32] = &bytemuck::cast_slice(&parameters)[..trained[0] as usize];
    let averages: Vec<&str> = config.averages().names().collect();
    let start = |name: &String| match averages.contains(&name.as_str()) {
        true => weights.to_vec(),
        false => vec![0; weights.len()],
    };
    let kept = |name: &String| saved.iter().find(|(_, saved)| saved == name).map(|(words, _)| words.clone());
    let moments: Vec<_> = config.states(&optimizer).map(|name| kept(&name).unwrap_or_else(|| start(&name))).collect();
    state.push((Role::Moments, join_moments(&moments)));
    let mut trainer = Trainer::with_parameters(device, &network, losses, optimizer, config, Some(&parameters))?;
    let (before, after) = (metrics_parts(&plan), metrics_parts(trainer.plan()));
    for (role, words) in &state {
        // State that the plan no longer has is ignored.
        let Some(id) = trainer.plan().find(*role) else { continue };
        let slots = trainer.plan().buffer(id).shape.map_or(0, |shape| shape[0]) as usize;
        let folded = match role {
            Role::RowMetrics if words.len() != slots * 4 || before != after => {
                let mut folded = vec![RowMetrics::default(); slots];
                for (before, after) in before.iter().zip(&after) {
                    let slots = Change::fold(before.of(bytemuck::cast_slice(words)), after.slots.len());
                    folded[after.slots.clone()].copy_from_slice(&slots);
                }
                bytemuck::cast_vec(folded)
            }
            _ => words.clone(),
        };
        trainer.device.write(&trainer.training.storage(*role), 0, bytemuck::cast_slice(&folded))?;
    }
    if let Some(best) = best {
        trainer.best = Some(trainer.device.upload("the best weights", bytemuck::cast_slice(&best))?);
    }
    trainer.progress = progress;
    trainer.keep_cursor = true;
    trainer.allow_non_finite = resume.allow_non_finite;
    Ok(trainer)
}

/// Returns an error for a cursor that training cannot reach. Discards a cut epoch that does not match the cursor.
fn check_place(
    file: &Contents<'_>,
    state: &[(Role, Vec<u32>)],
    parts: &[MetricsPart],
    config: &TrainerConfig,
    progress: &mut Progress,
) -> Result<()> {
    let words = |wanted| state.iter().find(|(role, _)| *role == wanted).map_or(&[][..], |(_, words)| words);
    let step: StepState = bytemuck::cast_slice(words(Role::Step))[0];
    // The cursor counts slices.
    let steps = step.step / config.slices.unwrap_or(1);
    let counts = [steps, step.epoch, step.update, step.batches, step.update_rows, progress.updates];
    let beyond = step.position != 0 && step.position >= step.data_rows;
    if beyond || counts.iter().any(|&count| count > i32::MAX as u32) {
        return Err(file.fault(format!("training run: impossible position {step:?}")));
    }
    // If an app has recorded its own steps since an epoch was cut short, the epoch is discarded.
    let metrics: &[RowMetrics] = bytemuck::cast_slice(words(Role::RowMetrics));
    let intact = |part: &MetricsPart, position: u64, ignores: bool| {
        let slots = part.of(metrics);
        let sum = |count: fn(&RowMetrics) -> u32| slots.iter().map(|row| u64::from(count(row))).sum::<u64>();
        let (all, counted) = (position * u64::from(part.positions), sum(|row| row.rows));
        (counted == all || ignores && counted < all) && sum(|row| row.correct) <= counted
    };
    let stale = |cut: &mut Cut| {
        let possible = cut.before.0 <= cut.steps && cut.before.1 <= cut.rows && cut.steps <= i32::MAX as u32;
        let done = cut.rows_done(config.batch);
        let intact = parts.iter().all(|part| intact(part, done, cut.ignores));
        !possible || !cut.is_at(done, step.position, step.data_rows) || !intact
    };
    if let Some(cut) = progress.cut.take_if(stale) {
        let steps = cut.steps.saturating_sub(cut.before.0);
        progress.updates = progress.updates.saturating_add(steps / config.accumulate);
    }
    Ok(())
}

/// The place of one output's running metrics.
#[derive(Debug, PartialEq)]
struct MetricsPart {
    slots: Range<usize>,
    positions: u32,
}

impl MetricsPart {
    /// Its slots among those of a file. Older files have only the first levels.
    fn of<'a>(&self, metrics: &'a [RowMetrics]) -> &'a [RowMetrics] {
        &metrics[self.slots.start.min(metrics.len())..self.slots.end.min(metrics.len())]
    }
}

/// The place of each output's running metrics.
fn metrics_parts(plan: &Plan) -> Vec<MetricsPart> {
    let part = |op: &Op| match op {
        Op::LossOp(loss) => {
            let [start, len] = [loss.metrics.offset as usize, loss.metrics.len() as usize].map(|words| words / 4);
            Some(MetricsPart { slots: start..start + len, positions: loss.positions })
        }
        _ => None,
    };
    plan.step.iter().flat_map(Op::parts).filter_map(part).collect()
}

/// Number of metrics slots at the first level, for a plan with one loss. Files of version 0.1 have only these.
fn first_level(plan: &Plan) -> Option<u32> {
    let mut losses = plan.step.iter().flat_map(Op::parts).filter_map(|op| match op {
        Op::LossOp(loss) => Some(loss.slots()),
        _ => None,
    });
    losses.next().filter(|_| losses.next().is_none())
}

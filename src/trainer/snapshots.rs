//! Snapshots of a training run, from which it continues after the device is lost.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Progress, Trainer};
use crate::callback_future::lock;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::executor::Storage;
use crate::gpu::{Gpu, Tokens};
use crate::plan::{Role, StepState, separate_moments};

/// State that a training run keeps between steps, besides the weights. Each role is present only if the plan has it.
pub(crate) const CARRIED: [Role; 4] = [Role::Moments, Role::AccumulatedGradients, Role::Step, Role::RowMetrics];

/// State of a training run at one moment: the weights, then the other state.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub parts: Vec<(Role, Vec<u32>)>,
    pub progress: Progress,
}

impl Trainer {
    /// Keeps the state of the training run in main memory, for [`rebuild`](Self::rebuild). Blocks, submits and polls;
    /// not for browsers. [`prepare_snapshots`](Self::prepare_snapshots) does the same without waiting.
    ///
    /// # Errors
    /// - [`Error::NonFiniteParameter`] if a weight or an optimizer moment is NaN or infinite. The previous snapshot
    ///   is kept.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn snapshot(&mut self) -> Result<()> {
        self.device.clone().block_on(self.snapshot_async())
    }

    /// [`snapshot`](Self::snapshot) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub async fn snapshot_async(&mut self) -> Result<()> {
        let parts = self.parts();
        let read = self.device.read_all(parts.iter().map(|(_, storage, words)| (storage, *words))).await?;
        let parts: Vec<_> = parts.into_iter().map(|(role, ..)| role).zip(read).collect();
        parts.iter().try_for_each(|(role, words)| self.check_finite(*role, words))?;
        *lock(&self.snapshot) = Some(Snapshot { parts, progress: self.progress.clone() });
        Ok(())
    }

    /// Prepares snapshots that are recorded into the app's own encoders. Submits nothing.
    ///
    /// It allocates staging buffers of the size of the weights and the optimizer's state.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`]; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_snapshots(&self) -> Result<Snapshots> {
        let gpu = self.device.needs_gpu("Trainer::prepare_snapshots")?.clone();
        gpu.check_alive()?;
        let copies = self.parts().into_iter().enumerate().map(|(i, (role, storage, words))| {
            let from = storage.gpu().clone();
            // The first buffer also holds the token.
            let token = if i == 0 { Tokens::BYTES } else { 0 };
            let staging = gpu.staging(from.size() + token)?;
            Ok(Copy { role, from, staging, words, mapped: AtomicBool::new(false) })
        });
        let copies = copies.collect::<Result<_>>()?;
        let progress = self.progress.clone();
        let (left, busy) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (snapshot, tokens) = (self.snapshot.clone(), Tokens::new(&gpu)?);
        let (calls, token, held) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let shared = Shared { gpu, copies, tokens, calls, token, held, progress, left, busy, snapshot };
        Ok(Snapshots { shared: Arc::new(shared) })
    }

    /// Number of steps of the training at the last snapshot that has arrived; `None` before the first.
    pub fn steps_at_snapshot(&self) -> Option<u32> {
        let snapshot = self.taken();
        let (_, words) = snapshot.as_ref()?.parts.iter().find(|(role, _)| *role == Role::Step)?;
        let step = bytemuck::pod_read_unaligned::<StepState>(bytemuck::cast_slice(words)).step;
        Some(step.div_ceil(self.config.slices.unwrap_or(1)))
    }

    /// The last snapshot. It is locked while the guard lives.
    pub(crate) fn taken(&self) -> MutexGuard<'_, Option<Snapshot>> {
        lock(&self.snapshot)
    }

    /// Continues from the last snapshot on another device, or on this one. Use it after a device is lost. Submits
    /// nothing.
    ///
    /// Options, weights, optimizer state, history and the place in the data are restored. Over the same data, the
    /// same steps follow. On the same adapter and driver they give the same bits.
    ///
    /// Passes that were prepared from this trainer belong to the lost device. Prepare them again, and set
    /// [`on_frame`](crate::Training::on_frame) again. Until [`fit`](Self::fit) or [`reset`](Self::reset), preparing
    /// data of the same length keeps the restored place in the data. A snapshot that has not arrived is lost.
    ///
    /// # Errors
    /// The trainer is not changed on an error:
    /// - [`Error::NoSnapshot`] if there is no snapshot.
    /// - As [`new`](Self::new).
    pub fn rebuild(&mut self, device: impl Into<Device>) -> Result<()> {
        // Holds no lock here, because a pending snapshot may arrive.
        let Some(snapshot) = self.taken().take() else { return Err(Error::NoSnapshot) };
        match self.rebuilt(device.into(), &snapshot) {
            Ok(rebuilt) => {
                // Snapshots that arrive from now on belong to the old trainer.
                *self = Self { snapshot: Arc::new(Mutex::new(Some(snapshot))), keep_cursor: true, ..rebuilt };
                Ok(())
            }
            Err(error) => {
                self.taken().get_or_insert(snapshot);
                Err(error)
            }
        }
    }

    fn rebuilt(&self, device: Device, snapshot: &Snapshot) -> Result<Self> {
        let Snapshot { parts, progress } = snapshot;
        let (losses, optimizer, config) = (self.losses.clone(), self.optimizer, self.config.clone());
        let parameters = bytemuck::cast_slice(&parts[0].1);
        let mut trainer = Self::from_parameters(device, &self.network, losses, optimizer, config, parameters)?;
        for (role, words) in &parts[1..] {
            let mut words = words.clone();
            trainer.normalise(*role, &mut words);
            trainer.device.write(&trainer.training.storage(*role), 0, bytemuck::cast_slice(&words))?;
        }
        trainer.device.check_alive()?;
        trainer.progress = progress.clone();
        Ok(trainer)
    }

    /// Restarts the training before the next submission. The weights are drawn again from the seed. Submits nothing.
    ///
    /// Optimizer state, cursor, metrics and history are cleared. Prepared passes stay valid. On a lost device it
    /// resets only the host's state; the next call that can fail returns [`Error::DeviceLost`].
    pub fn reset(&mut self) {
        let weights = self.network.initial_parameters(self.config.seed);
        let _ = self.device.write(&self.parameters, 0, bytemuck::cast_slice(&weights));
        let _ = self.clear_roles(CARRIED);
        let _ = self.start_averages(&weights);
        let step = self.training.storage(Role::Step);
        let _ = self.device.write(&step, 0, bytemuck::bytes_of(&StepState::default()));
        self.order.interrupt();
        self.progress = Progress::default();
        self.best = None;
        self.keep_cursor = false;
    }

    /// Clears these roles before the next submission.
    pub(super) fn clear_roles<const N: usize>(&self, roles: [Role; N]) -> Result<()> {
        for (_, storage, words) in self.parts().iter().filter(|(role, ..)| roles.contains(role)) {
            self.device.write(storage, 0, &vec![0; words * 4])?;
        }
        Ok(())
    }

    /// Returns an error for NaN or infinity among the weights or the optimizer's state.
    pub(crate) fn check_finite(&self, role: Role, words: &[u32]) -> Result<()> {
        let check = |of: &str, words: &[u32]| self.network.check_finite(of, bytemuck::cast_slice(words));
        match role {
            _ if is_finite(role, words) => Ok(()),
            Role::Moments => {
                let names: Vec<String> = self.config.states(&self.optimizer).collect();
                let moments = separate_moments(words, names.len());
                names
                    .iter()
                    .zip(&moments)
                    .try_for_each(|(name, words)| check(&name.replace("moment", "moment_"), words))
            }
            Role::AccumulatedGradients => check("accumulated gradients", words),
            _ => check("", words),
        }
    }

    /// Makes the cursor of a rank the same as that of a process that computes all slices. Its batch has ended. An
    /// update that has not ended is discarded, because the sums of its slices are not kept.
    pub(crate) fn normalise(&self, role: Role, words: &mut [u32]) {
        if let (Role::Step, Some(slices)) = (role, self.config.slices) {
            let state: &mut StepState = &mut bytemuck::cast_slice_mut(words)[0];
            (state.step, state.rows) = (state.step.next_multiple_of(slices), 0);
            if state.due == 0 && state.batches > 0 {
                state.update = state.update.saturating_sub(1);
                (state.batches, state.update_rows, state.due) = (0, 0, 1);
            }
        }
    }

    /// The weights, then the other state, each with its length in words.
    pub(crate) fn parts(&self) -> Vec<(Role, Storage, usize)> {
        let roles = [Role::Parameters].into_iter().chain(CARRIED);
        let parts = roles.filter_map(|role| {
            let id = self.plan().find(role)?;
            Some((role, self.training.storage(role), self.plan().buffer(id).words()? as usize))
        });
        parts.collect()
    }
}

/// Snapshots recorded into the app's own encoders: see [`Trainer::prepare_snapshots`].
#[derive(Debug, Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gpu: Gpu,
    copies: Vec<Copy>,
    tokens: Tokens,
    calls: AtomicU64,
    /// The token of the pending copy, which is stored after the weights, and the token that is there now.
    token: AtomicU32,
    held: AtomicU32,
    progress: Progress,
    /// Number of pending copies.
    left: AtomicUsize,
    busy: AtomicBool,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

#[derive(Debug)]
struct Copy {
    role: Role,
    from: wgpu::Buffer,
    /// Size is rounded up to whole vec4s, as that of `from`.
    staging: wgpu::Buffer,
    words: usize,
    mapped: AtomicBool,
}

impl Snapshots {
    /// Records a copy of the state at this point of the encoder. Never waits. Returns false and records nothing while
    /// the previous copy is pending.
    ///
    /// The copy arrives some frames later, while the app submits or polls. It then becomes the trainer's last
    /// snapshot. If `wgpu` rejects the submission, or a weight or an optimizer moment is NaN or infinite, the
    /// previous snapshot is kept.
    ///
    /// The host's state is stored as it was at [`prepare_snapshots`](Trainer::prepare_snapshots): the history, and
    /// the rate scale that `fit` reports and changes on a plateau. (The rate scale that steps use is part of the
    /// GPU's state.) So prepare again after a `fit` or a [`set_rate_scale`](Trainer::set_rate_scale).
    ///
    /// It allocates nothing on the GPU. On the host, `wgpu` allocates a callback for each buffer, and the arrived
    /// state is kept in main memory.
    pub fn record_snapshot(&self, encoder: &mut wgpu::CommandEncoder) -> bool {
        if self.shared.busy.swap(true, Ordering::AcqRel) {
            return false;
        }
        let shared = &self.shared;
        let call = shared.calls.fetch_add(1, Ordering::AcqRel);
        let token = Tokens::of(call, shared.held.load(Ordering::Acquire));
        shared.token.store(token, Ordering::Release);
        shared.left.store(shared.copies.len(), Ordering::Release);
        for (i, Copy { from, staging, .. }) in shared.copies.iter().enumerate() {
            encoder.copy_buffer_to_buffer(from, 0, staging, 0, from.size());
            if i == 0 {
                shared.tokens.record(encoder, token, staging, from.size());
            }
            let pending = PendingCopy(shared.clone());
            self.shared.gpu.record_map(encoder, staging, move |mapped| {
                pending.0.copies[i].mapped.store(mapped.is_ok(), Ordering::Release);
            });
        }
        true
    }
}

/// A pending copy. It is dropped with its callback, even if that is never called.
struct PendingCopy(Arc<Shared>);

impl Drop for PendingCopy {
    fn drop(&mut self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrive();
            self.0.busy.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Takes the copies if all are mapped and belong to the pending call. Unmaps all of them.
    fn arrive(&self) {
        let read = |copy: &Copy| match copy.mapped.swap(false, Ordering::AcqRel) {
            true => self.gpu.take_mapped(&copy.staging),
            false => None,
        };
        // Reads every copy first, so that a missing one does not leave others mapped.
        let read: Vec<_> = self.copies.iter().map(read).collect();
        let Some(mut read) = read.into_iter().collect::<Option<Vec<Vec<u32>>>>() else { return };
        let token = self.token.load(Ordering::Acquire);
        let at = (self.copies[0].from.size() / 4) as usize;
        if read[0].get(at) != Some(&token) {
            return;
        }
        self.held.store(token, Ordering::Release);
        for (copy, words) in self.copies.iter().zip(&mut read) {
            words.truncate(copy.words);
        }
        let parts: Vec<_> = self.copies.iter().map(|copy| copy.role).zip(read).collect();
        if parts.iter().all(|(role, words)| is_finite(*role, words)) {
            *lock(&self.snapshot) = Some(Snapshot { parts, progress: self.progress.clone() });
        }
    }
}

/// Whether the numbers of a role are finite. The cursor and the metrics are always finite.
fn is_finite(role: Role, words: &[u32]) -> bool {
    matches!(role, Role::Step | Role::RowMetrics) || words.iter().all(|&word| f32::from_bits(word).is_finite())
}

//! The state of a training run, copied out as it goes: to go on from where a device is lost.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::readback_tokens::Tokens;
use super::{Progress, Trainer};
use crate::callback_future::lock;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::executor::Storage;
use crate::gpu::Gpu;
use crate::plan::{Role, StepState, separate_moments};

/// What a training run leaves from one step to the next, beside the weights; each where the plan has it.
pub(crate) const CARRIED: [Role; 4] = [Role::Moments, Role::AccumulatedGradients, Role::Step, Role::RowMetrics];

/// A training run at one moment: the weights, then the rest.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub parts: Vec<(Role, Vec<u32>)>,
    pub progress: Progress,
}

impl Trainer {
    /// Keeps the state of the training run in main memory, for [`rebuild`](Self::rebuild). Blocks, submits and polls; not
    /// for browsers. [`prepare_snapshots`](Self::prepare_snapshots) does it without waiting.
    ///
    /// # Errors
    /// [`Error::NonFiniteParameter`] where a weight or an optimizer moment is NaN or infinite: then the snapshot before stays.
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
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

    /// Makes what is needed to copy the state of the training run to main memory from within the app's own frames: as many
    /// bytes as the weights and what the optimizer keeps. Submits nothing.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`]; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_snapshots(&self) -> Result<Snapshots> {
        let gpu = self.device.needs_gpu("Trainer::prepare_snapshots")?.clone();
        gpu.check_alive()?;
        let copies = self.parts().into_iter().enumerate().map(|(i, (role, storage, words))| {
            let from = storage.gpu().clone();
            // The first has room for the token of all.
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

    /// How many steps the training had taken at the last snapshot, of those that have arrived; none before the first.
    pub fn steps_at_snapshot(&self) -> Option<u32> {
        let snapshot = self.taken();
        let (_, words) = snapshot.as_ref()?.parts.iter().find(|(role, _)| *role == Role::Step)?;
        Some(bytemuck::pod_read_unaligned::<StepState>(bytemuck::cast_slice(words)).step)
    }

    /// The last snapshot, while nothing else takes one.
    pub(crate) fn taken(&self) -> MutexGuard<'_, Option<Snapshot>> {
        lock(&self.snapshot)
    }

    /// Goes on from the last snapshot, on this device or on another, as one that was lost takes everything with it. Options, weights,
    /// what the optimizer keeps, history and the place in the data are as they were: over the same data, the same steps
    /// follow, and on the same adapter and driver to the same bits. What was prepared from this trainer belongs to the lost
    /// device: prepare it anew (and set [`on_frame`](crate::Training::on_frame) again), which leaves the place in data of the
    /// same length as it is, until [`fit`](Self::fit) or [`reset`](Self::reset) starts over. A copy still under way is lost.
    /// Submits nothing.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] where none has been taken. As [`new`](Self::new); the trainer is then left as it is.
    pub fn rebuild(&mut self, device: impl Into<Device>) -> Result<()> {
        // Nothing is locked meanwhile, as what is under way may arrive.
        let Some(snapshot) = self.taken().take() else { return Err(Error::NoSnapshot) };
        match self.rebuilt(device.into(), &snapshot) {
            Ok(rebuilt) => {
                // What arrives from now on is the old trainer's.
                *self = Self { snapshot: Arc::new(Mutex::new(Some(snapshot))), brought_back: true, ..rebuilt };
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
            trainer.device.write(&trainer.training.storage(*role), 0, bytemuck::cast_slice(words))?;
        }
        trainer.device.check_alive()?;
        trainer.progress = progress.clone();
        Ok(trainer)
    }

    /// Starts the training anew, from the weights that the seed draws, before whatever is submitted next: weights, what the
    /// optimizer keeps, cursor, metrics and history. What has been prepared stays valid. Submits nothing. On a lost device it
    /// resets only what the host keeps; the next call that can fail says that the device is lost.
    pub fn reset(&mut self) {
        let weights = self.network.initial_parameters(self.config.seed);
        let _ = self.device.write(&self.parameters, 0, bytemuck::cast_slice(&weights));
        let _ = self.forget(CARRIED);
        let step = self.training.storage(Role::Step);
        let _ = self.device.write(&step, 0, bytemuck::bytes_of(&StepState::default()));
        self.order.interrupt();
        self.progress = Progress::default();
        self.best = None;
        self.brought_back = false;
    }

    /// Sets some of the state to zero, before whatever is submitted next.
    pub(super) fn forget<const N: usize>(&self, roles: [Role; N]) -> Result<()> {
        for (_, storage, words) in self.parts().iter().filter(|(role, ..)| roles.contains(role)) {
            self.device.write(storage, 0, &vec![0; words * 4])?;
        }
        Ok(())
    }

    /// Refuses NaN and infinities among the weights or what the optimizer keeps for them.
    pub(crate) fn check_finite(&self, role: Role, words: &[u32]) -> Result<()> {
        let check = |of: &str, words: &[u32]| self.network.check_finite(of, bytemuck::cast_slice(words));
        match role {
            _ if is_finite(role, words) => Ok(()),
            Role::Moments => {
                let moments = separate_moments(words, self.optimizer.moments() as usize);
                (1..).zip(&moments).try_for_each(|(number, words)| check(&format!("moment_{number}"), words))
            }
            Role::AccumulatedGradients => check("accumulated gradients", words),
            _ => check("", words),
        }
    }

    /// The weights, then the rest of the state, each with its length in words.
    pub(crate) fn parts(&self) -> Vec<(Role, Storage, usize)> {
        let roles = [Role::Parameters].into_iter().chain(CARRIED);
        let parts = roles.filter_map(|role| {
            let id = self.plan().find(role)?;
            Some((role, self.training.storage(role), self.plan().buffer(id).words()? as usize))
        });
        parts.collect()
    }
}

/// Copies of a training run's state, recorded into the app's own encoders: see [`Trainer::prepare_snapshots`].
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
    /// What the copy that is under way leaves behind the weights, and what lies there.
    token: AtomicU32,
    held: AtomicU32,
    progress: Progress,
    /// Copies that are under way.
    left: AtomicUsize,
    busy: AtomicBool,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

#[derive(Debug)]
struct Copy {
    role: Role,
    from: wgpu::Buffer,
    /// Rounded up to whole vec4s, as `from` is.
    staging: wgpu::Buffer,
    words: usize,
    mapped: AtomicBool,
}

impl Snapshots {
    /// Records a copy of the state as it is at this point of the encoder; when it has arrived, some frames later, while the
    /// app submits or polls, it is the trainer's last snapshot. It is none where `wgpu` refuses the app's submission, nor where
    /// a weight or an optimizer moment is NaN or infinite: then the snapshot before stays. What the host keeps of the run is in it as it was when this
    /// was prepared: the history, and the rate scale that `fit` reports and multiplies on a plateau, where the one that
    /// steps go by is in the GPU's state. Prepare anew after a `fit` or a [`set_rate_scale`](Trainer::set_rate_scale).
    /// Returns false, and records nothing, while the one before is still under way. Allocates nothing on the GPU; on the host,
    /// `wgpu` boxes a callback for each buffer of the state, and what arrives is kept there. Never waits.
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
            let taking = Taking(shared.clone());
            self.shared.gpu.record_map(encoder, staging, move |mapped| {
                taking.0.copies[i].mapped.store(mapped.is_ok(), Ordering::Release);
            });
        }
        true
    }
}

/// A copy under way: dropped with its callback, called or not.
struct Taking(Arc<Shared>);

impl Drop for Taking {
    fn drop(&mut self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrive();
            self.0.busy.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Takes the copies, if all have been mapped and are of the call that is under way, and leaves none of them mapped.
    fn arrive(&self) {
        let read = |copy: &Copy| match copy.mapped.swap(false, Ordering::AcqRel) {
            true => self.gpu.take_mapped(&copy.staging),
            false => None,
        };
        // Each, before what is missing ends it.
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

/// Whether the numbers of a role are finite; the cursor and the metrics are not trained, and always are.
fn is_finite(role: Role, words: &[u32]) -> bool {
    matches!(role, Role::Step | Role::RowMetrics) || words.iter().all(|&word| f32::from_bits(word).is_finite())
}

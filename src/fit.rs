//! Options of a training run, the events it reports, and the answers it takes.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::history::{Epoch, Evaluation, Monitor};
use crate::optimizer::{at_least_zero, option};
use crate::ranks::Ranks;

/// Options of [`Trainer::fit`](crate::Trainer::fit).
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// Number of epochs (passes over the data set). Default 1.
    pub epochs: u32,
    /// Validation set, evaluated after each epoch. Default none. [`Dataset::hold_out`] splits one off.
    pub validation: Option<&'a Dataset>,
    /// Reads the running loss and accuracy back with every submission, for a progress bar. Default false: once an
    /// epoch. Each read is 16 bytes; there are about 24 an epoch.
    pub live: bool,
    /// Reports the running loss and accuracy every `n` steps, at least 1, and after the first step. Default none. With
    /// [slices](crate::TrainerConfig::slices), `n` is rounded up to whole updates.
    pub every: Option<u32>,
    /// Trains together with other ranks, each on its share of every batch. Default none: alone. Needs
    /// [`TrainerConfig::slices`](crate::TrainerConfig::slices).
    ///
    /// All ranks call `fit` with the same options and data. A rank that differs is refused before the training starts,
    /// on all ranks. All pass a [`checkpoint`](Self::checkpoint), and rank 0 writes it. If a callback answers
    /// [`Control::Stop`], all ranks stop.
    pub ranks: Option<&'a dyn Ranks>,
    /// Ends training when it stops improving. Default none.
    pub early_stopping: Option<EarlyStopping>,
    /// Saves the trainer during training, for [`Trainer::resume`](crate::Trainer::resume). Default none. Not
    /// available in browsers.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub checkpoint: Option<Checkpoint<'a>>,
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Self {
            epochs: 1,
            validation: None,
            live: false,
            every: None,
            ranks: None,
            early_stopping: None,
            #[cfg(all(feature = "files", not(target_family = "wasm")))]
            checkpoint: None,
        }
    }
}

impl Fit<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(stopping) = self.early_stopping {
            at_least_zero("min_delta of EarlyStopping", stopping.min_delta)?;
        }
        let expected = "at least 1 step, or None (at the end of an epoch only)";
        let steps = |name, every: Option<u32>| option(name, expected, "Some(0)", every != Some(0));
        steps("every of Fit", self.every)?;
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        steps("every of Checkpoint", self.checkpoint.and_then(|checkpoint| checkpoint.every))?;
        Ok(())
    }

    /// The options that all ranks must have in common, one in each line.
    pub(crate) fn in_words(&self) -> String {
        let save_every = self.save_every();
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        let saves = self.checkpoint.is_some();
        #[cfg(not(all(feature = "files", not(target_family = "wasm"))))]
        let saves = false;
        let Self { epochs, live, every, early_stopping, .. } = self;
        format!(
            "epochs: {epochs}\nlive: {live}\nevery: {every:?}\nearly_stopping: {early_stopping:?}\n\
             checkpoints: {saves}\nsteps between checkpoints: {save_every}"
        )
    }

    pub(crate) fn restores(&self) -> bool {
        self.early_stopping.is_some_and(|stopping| stopping.restore_best)
    }

    /// Whether the training data are evaluated after each epoch, to find the best weights.
    pub(crate) fn measures(&self) -> bool {
        self.validation.is_none() && self.restores()
    }

    /// Steps between checkpoints within an epoch.
    pub(crate) fn save_every(&self) -> u32 {
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        return self.checkpoint.and_then(|checkpoint| checkpoint.every).unwrap_or(u32::MAX);
        #[cfg(not(all(feature = "files", not(target_family = "wasm"))))]
        u32::MAX
    }
}

/// Where and when [`Trainer::fit`](crate::Trainer::fit) saves the trainer.
#[cfg(all(feature = "files", not(target_family = "wasm")))]
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// Path of the file.
    ///
    /// Each save replaces the file atomically, by renaming. If the process is killed, the file holds the last
    /// complete save. An unfinished save stays beside it as a hidden file that ends in `.tmp`. The next save in that
    /// folder deletes such files; if another machine wrote the file, only when it is an hour old.
    ///
    /// The file grows by 36 bytes an epoch for the history, or 56 bytes with a validation set.
    pub path: &'a std::path::Path,
    /// Saves every `n` steps of an epoch, at least 1, and at the end of each epoch. Default: only at the end of each
    /// epoch. With [slices](crate::TrainerConfig::slices), `n` is rounded up to whole updates.
    pub every: Option<u32>,
}

/// Early stopping: ends training after `patience` epochs in a row without improvement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// The monitored metric, of the validation set if there is one, otherwise of the training data. Default the loss.
    pub monitor: Monitor,
    /// Number of epochs in a row without improvement. Default 5; 0 means 1.
    pub patience: u32,
    /// Minimum change that counts as an improvement, at least 0. Default 0.
    pub min_delta: f64,
    /// Restores the best weights when training ends for any reason, including a loss that diverges. Default true.
    /// [`Trainer::best`](crate::Trainer::best) returns which epoch they are from.
    ///
    /// With a validation set, the best weights are those after the epoch with the best validation metric.
    ///
    /// Without one, the training data are evaluated before the first epoch and [after each](Epoch::measured). The
    /// weights with the best value are restored; they can be those from before the first epoch. This evaluation takes
    /// about a third of an epoch's time. The training loss cannot replace it, because the weights change during the
    /// epoch.
    ///
    /// After a divergence, the optimizer's state is reset to that before the first update.
    pub restore_best: bool,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { monitor: Monitor::Loss, patience: 5, min_delta: 0.0, restore_best: true }
    }
}

/// The best value of a [`Monitor`] so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Watch {
    best: Option<f64>,
    /// Number of epochs since the best one.
    pub waited: u32,
}

impl Watch {
    /// Whether the epoch is better than the best one so far by more than `min_delta`.
    pub(crate) fn improves(&mut self, monitor: Monitor, epoch: &Epoch, min_delta: f64) -> bool {
        let seen: &Evaluation = epoch.validation.as_ref().unwrap_or(&epoch.train);
        let badness = monitor.badness(seen);
        let improves = self.best.is_none_or(|best| badness < best - min_delta);
        if improves {
            *self = Watch { best: Some(badness), waited: 0 };
        } else {
            self.waited += 1;
        }
        improves
    }

    /// Whether `patience` epochs in a row have passed without improvement.
    pub(crate) fn is_over(&self, patience: u32) -> bool {
        self.waited >= patience.max(1)
    }
}

/// Progress that [`Trainer::fit`](crate::Trainer::fit) reports to its callback.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The GPU has finished more steps. The first report comes after one step.
    Steps {
        /// Number of the epoch, from 1, counted over all epochs of the trainer.
        epoch: u32,
        /// Number of finished steps of this epoch.
        done: u32,
        /// Number of steps in the epoch.
        steps: u32,
        /// Running loss and accuracy of this epoch. Present at the end of the epoch, and where [`Fit::live`] or
        /// [`Fit::every`] requests it.
        train: Option<Evaluation>,
    },
    /// An epoch and its validation have ended.
    Epoch(Epoch),
}

/// Answer of the callback of [`Trainer::fit`](crate::Trainer::fit). A callback that returns `()` continues.
///
/// ```no_run
/// # fn f(trainer: &mut wgrad::Trainer, train: &wgrad::Dataset) -> wgrad::Result<()> {
/// use wgrad::{Control, Event, Fit};
/// trainer.fit(train, Fit { epochs: 20, ..Fit::default() }, |event| match event {
///     Event::Epoch(epoch) if epoch.train.accuracy > 0.99 => Control::Stop,
///     Event::Epoch(epoch) if epoch.epoch == 10 => Control::RateScale(0.1),
///     _ => Control::Continue,
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Control {
    /// Continue.
    Continue,
    /// Stop, even within an epoch. Steps that are already submitted still run: at most those of three reports. A
    /// later [`fit`](crate::Trainer::fit) over the same number of rows finishes the epoch first.
    Stop,
    /// Multiplies the scheduled learning rate by this factor, finite and at least 0. It applies from the next
    /// submission until another `RateScale`.
    RateScale(f32),
}

impl From<()> for Control {
    fn from((): ()) -> Self {
        Control::Continue
    }
}

//! What a training run is asked for, what it tells while it runs, and what it can be told.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::history::{Epoch, Evaluation, Monitor};
use crate::optimizer::{at_least_zero, option};

/// What [`Trainer::fit`](crate::Trainer::fit) is to do.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// How many times over the data set. Default 1.
    pub epochs: u32,
    /// Evaluated after each epoch. Default none. [`Dataset::hold_out`] splits one off.
    pub validation: Option<&'a Dataset>,
    /// Reads the running loss and accuracy back with every submission (16 bytes, about 24 times an epoch), for a
    /// progress bar, instead of once an epoch. Default false.
    pub live: bool,
    /// Reports the running loss and accuracy every `n` steps, at least 1, and after the first step. Default none.
    pub every: Option<u32>,
    /// Ends training that has stopped improving. Default none.
    pub early_stopping: Option<EarlyStopping>,
    /// Saves the trainer as it goes, to be [resumed](crate::Trainer::resume). Default none. Not in browsers.
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

    pub(crate) fn restores(&self) -> bool {
        self.early_stopping.is_some_and(|stopping| stopping.restore_best)
    }

    /// Whether the training data are evaluated after each epoch, to know the best weights.
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
    /// The file. It is replaced whole, by renaming: whenever the process is killed, it holds the last state saved. What was
    /// being written then stays beside it, as a hidden file that ends in `.tmp`, until the next file that is saved in the
    /// folder; one of another machine's process until it is an hour old. It grows by 36 bytes an epoch, for the history, 56
    /// with a validation set.
    pub path: &'a std::path::Path,
    /// Saves every `n` steps of an epoch, at least 1, and at its end. Default: at its end only.
    pub every: Option<u32>,
}

/// When training has stopped improving: after `patience` epochs in a row without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// What is watched, of the validation set where there is one, else of the training data. Default the loss.
    pub monitor: Monitor,
    /// How many epochs in a row; 0 is as 1. Default 5.
    pub patience: u32,
    /// What counts as improvement: by more than this, at least 0. Default 0.
    pub min_delta: f64,
    /// Whether the weights go back to the best, whatever ends the training, a loss that diverges too: then what the optimizer
    /// keeps, which is ruined, is as before the first update. With a validation set, they are those after the epoch whose
    /// validation was the best. Without one, a training loss tells of weights that changed meanwhile: then the training data
    /// are evaluated before the first epoch and [after each](Epoch::measured), which takes about a third of an epoch's time,
    /// and the weights with the best value come back, those of before the first epoch included.
    /// [`Trainer::best`](crate::Trainer::best) tells which. Default true.
    pub restore_best: bool,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { monitor: Monitor::Loss, patience: 5, min_delta: 0.0, restore_best: true }
    }
}

/// What has been seen of a [`Monitor`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Watch {
    best: Option<f64>,
    /// Epochs since the best.
    pub waited: u32,
}

impl Watch {
    /// Whether the epoch is the best so far, by more than `min_delta`.
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

    /// Whether so many epochs in a row have passed without improvement.
    pub(crate) fn is_over(&self, patience: u32) -> bool {
        self.waited >= patience.max(1)
    }
}

/// What [`Trainer::fit`](crate::Trainer::fit) tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The GPU has finished some more steps. The first one comes after a single step.
    Steps {
        /// From 1; of all epochs that the trainer has trained.
        epoch: u32,
        /// Steps of this epoch that are done.
        done: u32,
        /// Steps of the epoch.
        steps: u32,
        /// Over the epoch so far, where [`Fit::live`] or [`Fit::every`] asks for it and at the end of the epoch.
        train: Option<Evaluation>,
    },
    /// An epoch and its validation are over.
    Epoch(Epoch),
}

/// What the callback of [`Trainer::fit`](crate::Trainer::fit) answers. One that returns nothing says `Continue`.
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
    /// Go on.
    Continue,
    /// Stop, within an epoch too: what has been submitted, three reports' worth at most, still runs. A later
    /// [`fit`](crate::Trainer::fit) over as many rows finishes the epoch first.
    Stop,
    /// Multiply the scheduled learning rate by this, finite and at least 0, from the next submission on, until another such
    /// answer.
    RateScale(f32),
}

impl From<()> for Control {
    fn from((): ()) -> Self {
        Control::Continue
    }
}

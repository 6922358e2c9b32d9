//! Shows the progress of a training run: a progress bar, and a line of text for each epoch.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::{Epoch, Event};

pub struct Progress {
    bar: ProgressBar,
    epochs: u32,
    batch: u32,
    epoch_start: Instant,
    /// When the first report arrived.
    first_step: Option<Instant>,
}

impl Progress {
    /// `epochs` is the total number of epochs.
    pub fn new(epochs: u32, batch: u32) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3}% {msg}").expect("a valid template");
        Self {
            bar: ProgressBar::new(0).with_style(style),
            epochs,
            batch,
            epoch_start: Instant::now(),
            first_step: None,
        }
    }

    /// Whether the progress bar is visible; it is hidden if the output is not a terminal.
    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    pub fn show(&mut self, event: Event) {
        self.first_step.get_or_insert_with(Instant::now);
        match event {
            Event::Steps { epoch, done, steps, train } => {
                if self.bar.position() >= u64::from(done) || self.bar.length() != Some(steps.into()) {
                    self.bar.reset();
                    self.bar.set_length(steps.into());
                }
                self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
                self.bar.set_position(done.into());
                let rate = f64::from(done * self.batch) / self.epoch_start.elapsed().as_secs_f64();
                let train = train.map(|t| format!("loss {:.4}, accuracy {:.2}%, ", t.loss, t.accuracy * 100.0));
                self.bar.set_message(format!("{}{rate:.0} samples/s", train.unwrap_or_default()));
            }
            Event::Epoch(epoch) => {
                self.epoch_start = Instant::now();
                self.bar.suspend(|| println!("{}", line(&epoch, self.epochs)));
            }
            _ => {}
        }
    }

    /// Removes the progress bar. Returns the seconds from `start` to the first report, if there was one.
    pub fn seconds_to_first_step(self, start: Instant) -> Option<f64> {
        self.first_step.map(|first| first.duration_since(start).as_secs_f64())
    }
}

/// The line of an epoch.
fn line(epoch: &Epoch, epochs: u32) -> String {
    let seconds = epoch.seconds.unwrap_or(f64::NAN);
    let validation =
        epoch.validation.map(|v| format!("validation loss {:.4}, accuracy {:.2}%, ", v.loss, v.accuracy * 100.0));
    format!(
        "epoch {}/{epochs}: train loss {:.4}, accuracy {:.2}%; {}{seconds:.1} s, {:.0} samples/s",
        epoch.epoch,
        epoch.train.loss,
        epoch.train.accuracy * 100.0,
        validation.unwrap_or_default(),
        f64::from(epoch.train.rows) / seconds,
    )
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

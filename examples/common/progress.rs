//! A progress bar, and a line for each epoch.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::{Epoch, Event};

pub struct Progress {
    bar: ProgressBar,
    epochs: u32,
    batch: u32,
    /// When this epoch began.
    began: Instant,
}

impl Progress {
    pub fn new(epochs: u32, batch: u32) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3}% {msg}").expect("a valid template");
        Self { bar: ProgressBar::new(0).with_style(style), epochs, batch, began: Instant::now() }
    }

    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Steps { epoch, done, steps, train } => {
                if self.bar.position() >= u64::from(done) || self.bar.length() != Some(steps.into()) {
                    self.bar.reset();
                    self.bar.set_length(steps.into());
                }
                self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
                self.bar.set_position(done.into());
                let rate = f64::from(done * self.batch) / self.began.elapsed().as_secs_f64();
                let train = train.map(|t| format!("loss {:.4}, accuracy {:.2}%, ", t.loss, t.accuracy * 100.0));
                self.bar.set_message(format!("{}{rate:.0} samples/s", train.unwrap_or_default()));
            }
            Event::Epoch(epoch) => {
                self.began = Instant::now();
                self.bar.suspend(|| println!("{}", line(&epoch, self.epochs)));
            }
            _ => {}
        }
    }
}

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

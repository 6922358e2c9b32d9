//! The files that `mnist_gpu` and `mnist_options` read and write.

use std::path::{Path, PathBuf};

use clap::Args;
use wgrad::mnist::Mnist;
use wgrad::{Checkpoint, Dataset, Device, Model, Scores, Trainer};

use super::{Result, digit_plots, report};

#[derive(Args)]
pub struct MnistFiles {
    /// Folder of the four MNIST files, compressed (.gz) or not
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    pub data: PathBuf,
    /// File for the trained model
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// File of a saved model to evaluate; no model is trained
    #[arg(long, value_name = "FILE", conflicts_with_all = ["epochs", "resume", "save"])]
    pub load: Option<PathBuf>,
    /// Checkpoint file, written after each epoch; training resumes from it if it exists. Give the total number of
    /// epochs from the start, because the learning-rate schedule ends with them
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Folder for plots: training curves, test digits and confusion matrix
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// File for the results, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl MnistFiles {
    /// Checks before the training that every output file can be written. Returns an error if an output is also an
    /// input: the file of `--load`, or `other_input`.
    pub fn check(&self, other_input: Option<&PathBuf>) -> Result<()> {
        let plots = self.plot.iter().flat_map(|folder| digit_plots::FILES.map(|plot| folder.join(plot)));
        let outputs: Vec<_> =
            [&self.save, &self.resume, &self.json].into_iter().flatten().cloned().chain(plots).collect();
        super::check_outputs(&outputs)?;
        for input in self.load.iter().chain(other_input) {
            let same = |output: &&PathBuf| {
                output.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|input| input == path))
            };
            if let Some(output) = outputs.iter().find(same) {
                let output = output.display();
                return Err(format!("{output} is read, so it cannot be written: give another file").into());
            }
        }
        Ok(())
    }

    /// Starts to read the data set in a thread. The returned function waits for the result.
    pub fn start_reading(&self) -> impl FnOnce() -> Result<Mnist> {
        let folder = self.data.clone();
        let thread = std::thread::spawn(move || Mnist::read(folder));
        || Ok(thread.join().map_err(|_| "reading the data set panicked")??)
    }

    /// The checkpoint to resume from, if the file exists.
    pub fn checkpoint(&self) -> Option<&Path> {
        self.resume.as_deref().filter(|path| path.exists())
    }

    /// The checkpoint to write after each epoch.
    pub fn new_checkpoint(&self) -> Option<Checkpoint<'_>> {
        self.resume.as_ref().map(|path| Checkpoint { path, every: None })
    }

    /// Writes the model, the JSON report and the training curves, each if its option is given.
    pub fn write_training(
        &self,
        trainer: &mut Trainer,
        test: &Dataset,
        seconds_to_first_step: Option<f64>,
    ) -> Result<()> {
        if let Some(path) = &self.save {
            trainer.model().save(path)?;
        }
        if let Some(path) = &self.json {
            let result = trainer.evaluate(test)?;
            report::write_training(path, trainer, seconds_to_first_step, result)?;
        }
        if let Some(folder) = &self.plot {
            digit_plots::draw_history(folder, trainer.history())?;
        }
        Ok(())
    }

    /// Evaluates the model of `--load`: scores, plots and JSON report.
    pub fn evaluate_saved(&self, device: &Device, test: &Dataset) -> Result<Model> {
        let path = self.load.as_ref().ok_or("--load: expected a file")?;
        let model = Model::load(device.clone(), path)?;
        let (inputs, outputs) = (model.network().inputs(), model.network().outputs());
        if (inputs, outputs) != (784, 10) {
            let path = path.display();
            return Err(format!("{path}: expected 784 inputs and 10 outputs, got {inputs} and {outputs}").into());
        }
        let scores = self.report_scores(&model, test)?;
        if let Some(path) = &self.json {
            report::write_model(path, &model, device, test, scores.accuracy())?;
        }
        Ok(model)
    }

    /// Prints the scores on the test set, and draws its plots if `--plot` is given.
    pub fn report_scores(&self, model: &Model, test: &Dataset) -> Result<Scores> {
        let scores = model.score(test)?;
        if let Some(folder) = &self.plot {
            digit_plots::draw_scores(folder, test, &scores)?;
            println!("plots are in {}", folder.display());
        }
        println!("top-2 accuracy {:.2}%", scores.top_k_accuracy(2) * 100.0);
        println!("test accuracy {:.2}%, error {:.2}%", scores.accuracy() * 100.0, (1.0 - scores.accuracy()) * 100.0);
        Ok(scores)
    }
}

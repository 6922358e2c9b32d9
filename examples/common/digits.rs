//! Pictures of a network that reads digits.

use std::path::Path;

use wgrad::{Dataset, Device, Epoch, Evaluation, History, Model, Scores, Trainer};

use super::picture::{self, Tile};
use super::plot::{self, Curve, Panel};
use super::recipe::Recipe;
use super::{Result, options};

/// A saved model that reads digits, if no option is given that would train another.
pub fn load(device: Device, path: &Path, given: &[String]) -> Result<Model> {
    let idle = Recipe::among(given);
    if !idle.is_empty() {
        return Err(format!("--load trains no network, so {} would change nothing", idle.join(", ")).into());
    }
    let model = Model::load(device, path)?;
    match (model.network().inputs(), model.network().outputs()) {
        (784, 10) => Ok(model),
        (inputs, outputs) => {
            Err(format!("{}: expected 784 inputs and 10 outputs, got {inputs} and {outputs}", path.display()).into())
        }
    }
}

/// A training run that goes on from its file, with what the options that were given change of it.
pub fn resume(device: Device, path: &Path, epochs: u32, recipe: &Recipe, given: &[String]) -> Result<Trainer> {
    // Read on the CPU first, as the schedule depends on how far it came.
    let saved = Trainer::resume(Device::Cpu, path)?;
    let (resume, changed, kept) = recipe.changes(given, &saved, epochs, wgrad::mnist::TRAIN_ROWS)?;
    let trainer = Trainer::resume_with(device, path, &resume).map_err(|e| options::blame("--batch", e))?;
    match trainer.epochs() {
        done if done < epochs => println!("resumed {} after epoch {done}", path.display()),
        done => println!("resumed {}, which has all its {done} epochs: nothing is left to train", path.display()),
    }
    if !changed.is_empty() {
        println!("from here on with the new {}", changed.join(", "));
    }
    if !kept.is_empty() {
        println!("taken from the file, not from the command line: {}", kept.join(", "));
    }
    Ok(trainer)
}

/// The files that the pictures are.
pub const PLOTS: [&str; 3] = ["history.svg", "digits.svg", "confusion.svg"];

/// Loss and accuracy, of training and validation.
pub fn draw_history(folder: &Path, history: &History) -> Result<()> {
    let curve = |label: &str, value: &dyn Fn(&Epoch) -> Option<f64>| {
        let points = history.epochs.iter().filter_map(|e| Some((f64::from(e.epoch), value(e)?))).collect();
        Curve { label: label.into(), points }
    };
    let panel = |title, y_label, value: fn(&Evaluation) -> f64| Panel {
        title,
        x_label: "epoch",
        y_label,
        log_y: false,
        curves: vec![
            curve("training", &|e| Some(value(&e.train))),
            curve("validation", &|e| e.validation.as_ref().map(value)),
        ],
    };
    let panels = [panel("Loss", "loss", |e| e.loss), panel("Accuracy", "accuracy, %", |e| e.accuracy * 100.0)];
    plot::curves(&folder.join("history.svg"), &panels)
}

/// The first hundred digits, those misread first and framed, with what each was taken for; and the confusion matrix.
pub fn draw(folder: &Path, data: &Dataset, scores: &Scores) -> Result<()> {
    let (predictions, expected) = (scores.predictions(), scores.expected());
    let mut rows: Vec<usize> = (0..data.rows()).collect();
    rows.sort_by_key(|&row| (predictions[row] == expected[row], row));
    // Some that were read right keep them company.
    let misread = rows.iter().filter(|&&row| predictions[row] != expected[row]).count();
    let most = misread.min(70);
    let shown = rows[..most].iter().chain(rows.iter().filter(|&&row| predictions[row] == expected[row]));
    let tiles: Vec<Tile> = shown
        .take(100)
        .map(|&row| {
            let pixels = data.features_of(row..row + 1).iter().map(|ink| (ink * 255.0).round() as u8).collect();
            let frame = (predictions[row] != expected[row]).then_some(picture::MISTAKE);
            let was = if frame.is_some() { format!(", was {}", expected[row]) } else { String::new() };
            Tile { pixels, width: 28, height: 28, caption: format!("{}{was}", predictions[row]), frame }
        })
        .collect();
    let title = format!("Test digits as read; framed: misread ({most} of {misread} shown)");
    picture::sheet(&folder.join("digits.svg"), &title, &tiles, 10)?;
    let names: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let counts = scores.confusion_matrix();
    plot::confusion_matrix(&folder.join("confusion.svg"), "Test digits", &names, &counts)
}

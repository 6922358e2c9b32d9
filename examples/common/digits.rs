//! Pictures of a network that reads digits.

use std::path::Path;

use wgrad::{Dataset, Device, Epoch, Evaluation, History, Model, Scores};

use super::Result;
use super::picture::{self, Tile};
use super::plot::{self, Curve, Panel};

/// A saved model that reads digits.
pub fn load(device: Device, path: &Path) -> Result<Model> {
    let model = Model::load(device, path)?;
    match (model.network().inputs(), model.network().outputs()) {
        (784, 10) => Ok(model),
        (inputs, outputs) => {
            Err(format!("{}: expected 784 inputs and 10 outputs, got {inputs} and {outputs}", path.display()).into())
        }
    }
}

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

/// The first hundred digits, those misread first and marked, with what each was taken for; and the confusion matrix.
pub fn draw(folder: &Path, data: &Dataset, scores: &Scores) -> Result<()> {
    let (predictions, expected) = (scores.predictions(), scores.expected());
    let mut rows: Vec<usize> = (0..data.rows()).collect();
    rows.sort_by_key(|&row| (predictions[row] == expected[row], row));
    // Some that were read right keep them company.
    let misread = rows.iter().filter(|&&row| predictions[row] != expected[row]).count().min(70);
    let shown = rows[..misread].iter().chain(rows.iter().filter(|&&row| predictions[row] == expected[row]));
    let tiles: Vec<Tile> = shown
        .take(100)
        .map(|&row| {
            let pixels = data.features_of(row..row + 1).iter().map(|ink| (ink * 255.0).round() as u8).collect();
            let marked = predictions[row] != expected[row];
            let was = if marked { format!(", was {}", expected[row]) } else { String::new() };
            Tile { pixels, width: 28, height: 28, caption: format!("{}{was}", predictions[row]), marked }
        })
        .collect();
    let title = format!("Test digits as read; marked: misread ({misread} shown)");
    picture::sheet(&folder.join("digits.svg"), &title, &tiles, 10)?;
    let names: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let counts = scores.confusion_matrix();
    plot::confusion_matrix(&folder.join("confusion.svg"), "Test digits", &names, &counts)
}

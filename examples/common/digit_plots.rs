//! Plots of a network that classifies digits: training curves, test digits and confusion matrix.

use std::path::Path;

use wgrad::{Dataset, Epoch, Evaluation, History, Scores};

use super::Result;
use super::picture::{self, Tile};
use super::plot::{self, Curve, Panel};

/// Names of the files that [`draw_history`] and [`draw_scores`] write.
pub const FILES: [&str; 3] = ["history.svg", "digits.svg", "confusion.svg"];

/// Draws `history.svg`: loss and accuracy of each epoch, in training and validation.
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

/// Draws `digits.svg`: 100 test digits with their predictions, the wrong ones first and framed. Draws `confusion.svg`:
/// the confusion matrix.
pub fn draw_scores(folder: &Path, data: &Dataset, scores: &Scores) -> Result<()> {
    let (predictions, expected) = (scores.predictions(), scores.expected());
    let mut rows: Vec<usize> = (0..data.rows()).collect();
    rows.sort_by_key(|&row| (predictions[row] == expected[row], row));
    // At most 70 wrong predictions, so that the sheet shows right ones too.
    let wrong = rows.iter().filter(|&&row| predictions[row] != expected[row]).count();
    let most = wrong.min(70);
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
    let title = format!("Test digits and predictions; framed: wrong predictions ({most} of {wrong} shown)");
    picture::write_sheet(&folder.join("digits.svg"), &title, &tiles, 10)?;
    let names: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let counts = scores.confusion_matrix();
    plot::confusion_matrix(&folder.join("confusion.svg"), "Test digits", &names, &counts)
}

//! Plots the confusion matrix of a classifier.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::Result;
use super::{BLUE, TEXT, UNIT, VERMILLION, save, text};

/// Writes a confusion matrix. `counts[i][j]` is the number of samples of class i that were predicted as class j. The
/// strength of a cell's colour is the cube root of its share of the row, so that a few errors are visible.
pub fn confusion_matrix<S: AsRef<str>>(path: &Path, title: &str, classes: &[S], counts: &[Vec<u32>]) -> Result<()> {
    let n = classes.len();
    if n == 0 || counts.len() != n || counts.iter().any(|row| row.len() != n) {
        let got: Vec<_> = counts.iter().map(Vec::len).collect();
        return Err(
            format!("confusion matrix: expected {n} rows of {n} counts, at least 1, got rows of {got:?}").into()
        );
    }
    // Sizes in pixels; a letter is about 8 pixels wide.
    let cell = (480 / n as i32).clamp(52, 120);
    let left = 60 + 8 * classes.iter().map(|c| c.as_ref().chars().count() as i32).max().unwrap_or(0);
    let (top, side) = (100, cell * n as i32);
    let middle = |i: usize| cell * i as i32 + cell / 2;
    save(path, (left + side + 28, top + side + 24), |root| {
        let write = |text: TextStyle, words: &str, h, (x, y): (i32, i32)| {
            let style = text.pos(Pos::new(h, VPos::Center));
            root.draw(&Text::new(words.to_owned(), (x * UNIT, y * UNIT), style))
        };
        write(text(18.0), title, HPos::Center, ((left + side + 28) / 2, 26))?;
        write(text(14.0), "predicted", HPos::Center, (left + side / 2, top - 42))?;
        write(text(14.0).transform(FontTransform::Rotate270), "true", HPos::Center, (24, top + side / 2))?;
        for (i, class) in classes.iter().enumerate() {
            write(text(14.0), class.as_ref(), HPos::Center, (left + middle(i), top - 16))?;
            write(text(14.0), class.as_ref(), HPos::Right, (left - 12, top + middle(i)))?;
        }
        for (i, row) in counts.iter().enumerate() {
            let total: u64 = row.iter().map(|&n| u64::from(n)).sum();
            for (j, &count) in row.iter().enumerate() {
                let strength = (f64::from(count) / total.max(1) as f64).cbrt();
                // On a strong colour, white text is easier to read.
                let (colour, dark) = if i == j { (BLUE, 0.6) } else { (VERMILLION, 0.9) };
                let [x, y] = [left + cell * j as i32, top + cell * i as i32];
                let corners = [(x + 1, y + 1), (x + cell - 1, y + cell - 1)].map(|(x, y)| (x * UNIT, y * UNIT));
                root.draw(&Rectangle::new(corners, RGBColor(244, 244, 244).filled()))?;
                root.draw(&Rectangle::new(corners, colour.mix(strength).filled()))?;
                let ink = match count {
                    0 => RGBColor(187, 187, 187),
                    _ if strength > dark => WHITE,
                    _ => TEXT,
                };
                write(text(14.0).color(&ink), &count.to_string(), HPos::Center, (left + middle(j), top + middle(i)))?;
            }
        }
        Ok(String::new())
    })
}

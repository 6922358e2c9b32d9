//! Plots the decision boundary of a network with two inputs.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::Result;
use super::super::picture::png_data_url;
use super::axis::Axis;
use super::{Area, BLUE, PIXEL, UNIT, VERMILLION, chart, draw_legend, emptiest_corner, save, text};

/// A regular grid over the two inputs of a network.
pub struct Grid {
    pub x: Range<f64>,
    pub y: Range<f64>,
    pub columns: usize,
    pub rows: usize,
}

impl Grid {
    /// A grid of 200 x 160 cells over these points, with a margin.
    pub fn over(points: &[(f64, f64, bool)]) -> Self {
        let around = |of: fn(&(f64, f64, bool)) -> f64| {
            let (start, end) = points.iter().map(of).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
            let margin = if start < end { 0.08 * (end - start) } else { 1.0 };
            start - margin..end + margin
        };
        Self { x: around(|p| p.0), y: around(|p| p.1), columns: 200, rows: 160 }
    }

    /// The centres of the cells, row by row, with increasing y.
    pub fn cells(&self) -> impl Iterator<Item = (f64, f64)> {
        (0..self.rows * self.columns).map(|i| self.at((i % self.columns) as f64, (i / self.columns) as f64))
    }

    fn at(&self, column: f64, row: f64) -> (f64, f64) {
        let along = |r: &Range<f64>, i: f64, cells: usize| r.start + (r.end - r.start) * (i + 0.5) / cells as f64;
        (along(&self.x, column, self.columns), along(&self.y, row, self.rows))
    }

    /// Lines at which the probability is 0.5 (marching squares). `probability` has one value per cell.
    fn boundary(&self, probability: &[f32]) -> Vec<[(f64, f64); 2]> {
        let mut lines = Vec::new();
        for (row, column) in (1..self.rows).flat_map(|row| (1..self.columns).map(move |column| (row, column))) {
            let corners = [(column - 1, row - 1), (column, row - 1), (column, row), (column - 1, row)];
            let crossings: Vec<_> = (0..4)
                .filter_map(|i| {
                    let [a, b] = [corners[i], corners[(i + 1) % 4]];
                    let [p, q] = [a, b].map(|(column, row)| f64::from(probability[row * self.columns + column]));
                    let t = (0.5 - p) / (q - p);
                    let between = |a: usize, b: usize| a as f64 + t * (b as f64 - a as f64);
                    ((p < 0.5) != (q < 0.5)).then(|| self.at(between(a.0, b.0), between(a.1, b.1)))
                })
                .collect();
            lines.extend(crossings.chunks_exact(2).map(|ends| [ends[0], ends[1]]));
        }
        lines
    }
}

/// Writes a map of the probability of the second class, with the decision boundary at 0.5 and the data. `probability`
/// has one value per grid cell. A point is x, y, and whether it belongs to the second class.
pub fn decision_boundary(
    path: &Path,
    title: &str,
    axes: [&str; 2],
    grid: &Grid,
    probability: &[f32],
    points: &[(f64, f64, bool)],
    classes: [&str; 2],
) -> Result<()> {
    if probability.len() != grid.columns * grid.rows {
        let expected = format!("{} ({} x {} cells)", grid.columns * grid.rows, grid.columns, grid.rows);
        return Err(format!("probabilities in “{title}”: expected {expected}, got {}", probability.len()).into());
    }
    if let Some(p) = probability.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(format!("probability in “{title}”: expected 0 to 1, got {p}").into());
    }
    save(path, (800, 520), |root| {
        let (map, _) = root.split_horizontally(690 * UNIT);
        let x = Axis::linear([grid.x.start, grid.x.end].into_iter(), false)?;
        let y = Axis::linear([grid.y.start, grid.y.end].into_iter(), false)?;
        let boundary = grid.boundary(probability);
        let drawn = points.iter().map(|p| (p.0, p.1)).chain(boundary.iter().map(|ends| ends[0]));
        let corner = emptiest_corner(&x, &y, drawn);
        let mut chart = chart(&map, title, (x, axes[0]), (y, axes[1]))?;
        let line = BLACK.stroke_width(2 * PIXEL);
        // There is no boundary if the whole map is on one side of 0.5.
        if !boundary.is_empty() {
            chart
                .draw_series(boundary.into_iter().map(|ends| PathElement::new(ends, line)))?
                .label("probability 0.5")
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22 * UNIT, y)], line));
        }
        for (class, colour) in [(false, BLUE), (true, VERMILLION)] {
            let point = move |at| {
                let edge = Circle::new((0, 0), 5 * UNIT, WHITE.filled());
                EmptyElement::at(at) + edge + Circle::new((0, 0), 4 * UNIT, colour.filled())
            };
            let inside = |p: &&(f64, f64, bool)| grid.x.contains(&p.0) && grid.y.contains(&p.1);
            chart
                .draw_series(points.iter().filter(|p| p.2 == class).filter(inside).map(|p| point((p.0, p.1))))?
                .label(classes[usize::from(class)])
                .legend(move |(x, y)| Circle::new((x + 11 * UNIT, y), 4 * UNIT, colour.filled()));
        }
        draw_legend(&mut chart, corner)?;

        let (across, down) = chart.plotting_area().get_pixel_range();
        let rows = probability.chunks(grid.columns).rev();
        let map = image(rows.flatten().copied(), grid.columns, grid.rows, &across, &down)?;
        let bar = across.end + 18 * UNIT..across.end + 34 * UNIT;
        let steps = 101;
        let scale = image((0..steps).rev().map(|i| i as f32 / 100.0), 1, steps, &bar, &down)?;
        for i in 0..=4 {
            let at = (bar.end + 8 * UNIT, down.end - (down.end - down.start) * i / 4);
            let style = text(13.0).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(format!("{:.2}", f64::from(i) / 4.0), at, style))?;
        }
        let style = text(14.0).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Center));
        let at = (bar.end + 54 * UNIT, i32::midpoint(down.start, down.end));
        root.draw(&Text::new(format!("probability of {}", classes[1]), at, style))?;
        Ok(map + &scale)
    })
}

/// An SVG image with a colour for each probability, stretched over this part of the canvas.
fn image(
    probability: impl Iterator<Item = f32>,
    columns: usize,
    rows: usize,
    across: &Range<i32>,
    down: &Range<i32>,
) -> Result<String> {
    let pixels: Vec<u8> = probability.flat_map(colour).collect();
    let url = png_data_url(&pixels, columns as u32, rows as u32)?;
    Ok(format!(
        "<image x='{}' y='{}' width='{}' height='{}' preserveAspectRatio='none' href='{url}'/>\n",
        across.start,
        down.start,
        across.end - across.start,
        down.end - down.start
    ))
}

/// The colour of a probability: pale blue at 0, white at 0.5, pale vermillion at 1.
fn colour(probability: f32) -> [u8; 3] {
    let RGBColor(r, g, b) = if probability < 0.5 { BLUE } else { VERMILLION };
    let strength = (probability - 0.5).abs();
    [r, g, b].map(|c| (255.0 + (f32::from(c) - 255.0) * strength).round() as u8)
}

//! Plots as SVG files. The colours are the palette of Okabe and Ito, which is safe for colour-blind readers.

use std::path::Path;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::{Result, write_file};
use axis::Axis;

mod axis;
mod boundary;
mod confusion;
mod roofline;

pub use boundary::{Grid, decision_boundary};
pub use confusion::confusion_matrix;
pub use roofline::{Roofline, roofline};

const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const PALETTE: [RGBColor; 7] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK];
const TEXT: RGBColor = RGBColor(51, 51, 51);
const LINES: RGBColor = RGBColor(221, 221, 221);

/// Canvas units per pixel of the plot. plotters rounds to whole units, so smaller units are more precise.
const UNIT: i32 = 4;
/// The width of a line of one pixel, in canvas units.
const PIXEL: u32 = UNIT as u32;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// A line of a panel.
pub struct Curve {
    /// Text in the legend.
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve of one value per epoch, from epoch 1 on.
    pub fn per_epoch(label: impl Into<String>, values: impl IntoIterator<Item = f32>) -> Self {
        let points = values.into_iter().enumerate().map(|(i, v)| ((i + 1) as f64, v.into()));
        Self { label: label.into(), points: points.collect() }
    }
}

/// A coordinate system with its curves.
pub struct Panel<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
    /// Whether the y axis is logarithmic. It leaves out values of 0 and less.
    pub log_y: bool,
    pub curves: Vec<Curve>,
}

/// Writes a plot with panels side by side. Points that are not finite are left out.
pub fn curves(path: &Path, panels: &[Panel]) -> Result<()> {
    if panels.is_empty() {
        return Err("panels of a plot: expected at least 1, got 0".into());
    }
    let width = if panels.len() == 1 { 760 } else { 600 * panels.len() as i32 };
    save(path, (width, 440), |root| {
        for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
            draw_panel(area, panel).map_err(|e| format!("plot “{}”: {e}", panel.title))?;
        }
        Ok(String::new())
    })
}

fn draw_panel(area: &Area, panel: &Panel) -> Result<()> {
    let is_shown = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite() && (p.1 > 0.0 || !panel.log_y);
    let shown = |curve: &Curve| -> Vec<_> { curve.points.iter().copied().filter(is_shown).collect() };
    let lines: Vec<_> = panel.curves.iter().map(|curve| (&curve.label, shown(curve))).collect();
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let x = Axis::linear(points().map(|p| p.0), false)?;
    let y = points().map(|p| p.1);
    let y = if panel.log_y { Axis::log(y)? } else { Axis::linear(y, true)? };
    let corner = emptiest_corner(&x, &y, points());
    let mut chart = chart(area, panel.title, (x, panel.x_label), (y, panel.y_label))?;
    for (i, (label, points)) in lines.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        let style = colour.stroke_width(2 * PIXEL);
        let dot = move |at| Circle::new(at, 3 * UNIT, colour.filled());
        // A solid line is one long dash. Curves that repeat a colour are dashed, with a longer gap each time.
        let (dash, gap) = match i / PALETTE.len() {
            0 => (1 << 20, 0),
            round => (7 * UNIT, 6 * UNIT * round as i32),
        };
        let line = chart.draw_series(DashedLineSeries::new(points.iter().copied(), dash, gap, style))?.label(*label);
        match points.len() {
            1 => line.legend(move |(x, y)| dot((x + 11 * UNIT, y))),
            _ => line.legend(move |(x, y)| DashedPathElement::new([(x, y), (x + 22 * UNIT, y)], dash, gap, style)),
        };
        if points.len() <= 30 {
            chart.draw_series(points.iter().map(|&p| Circle::new(p, 3 * UNIT, colour.filled())))?;
        }
    }
    if lines.len() > 1 { draw_legend(&mut chart, corner) } else { Ok(()) }
}

/// An empty coordinate system.
fn chart<'a>(area: &Area<'a>, title: &str, x: (Axis, &str), y: (Axis, &str)) -> Result<Chart<'a>> {
    let area = area.margin(12 * UNIT, 0, 0, 0).titled(title, text(18.0))?;
    // Room for the tick labels and the name of the y axis. A letter is about 8 pixels wide.
    let room = (32 + 8 * y.0.longest_label() as i32).max(64);
    let mut chart = ChartBuilder::on(&area)
        .margin(12 * UNIT)
        .margin_right(24 * UNIT) // for half of the last tick label
        .x_label_area_size(46 * UNIT)
        .y_label_area_size(room * UNIT)
        .build_cartesian_2d(x.0, y.0)?;
    chart
        .configure_mesh()
        .bold_line_style(LINES.stroke_width(PIXEL))
        .light_line_style(TRANSPARENT)
        .axis_style(TEXT.stroke_width(PIXEL))
        .set_all_tick_mark_size(5 * UNIT)
        .label_style(text(13.0))
        .axis_desc_style(text(14.0))
        .x_desc(x.1)
        .y_desc(y.1)
        .draw()?;
    Ok(chart)
}

/// The corner in which a legend hides the fewest points.
fn emptiest_corner(x: &Axis, y: &Axis, points: impl Iterator<Item = (f64, f64)>) -> SeriesLabelPosition {
    use SeriesLabelPosition::{LowerLeft, LowerRight, UpperLeft, UpperRight};
    let mut corners = [(0, UpperRight), (0, LowerRight), (0, UpperLeft), (0, LowerLeft)];
    for (x, y) in points.map(|p| (x.position(p.0), y.position(p.1))) {
        // Width and height of a legend are less than a third of the plot's.
        if (x - 0.5).abs() > 0.17 && (y - 0.5).abs() > 0.17 {
            corners[usize::from(x < 0.5) * 2 + usize::from(y < 0.5)].0 += 1;
        }
    }
    corners.into_iter().min_by_key(|corner| corner.0).map_or(UpperRight, |corner| corner.1)
}

fn draw_legend<'a>(chart: &mut Chart<'a>, position: SeriesLabelPosition) -> Result<()> {
    let mut labels = chart.configure_series_labels();
    labels.position(position).margin(8 * UNIT).legend_area_size(28 * UNIT).label_font(text(13.0));
    Ok(labels.background_style(WHITE.mix(0.85)).draw()?)
}

fn text(pixels: f64) -> TextStyle<'static> {
    // plotters divides font sizes by 1.24.
    ("sans-serif", pixels * 1.24 * f64::from(UNIT)).into_font().color(&TEXT)
}

/// Writes an SVG file of this size, in pixels. `draw` draws on the canvas, and returns SVG elements for the layer
/// below it.
fn save(path: &Path, (width, height): (i32, i32), draw: impl FnOnce(&Area) -> Result<String>) -> Result<()> {
    let [canvas_width, canvas_height] = [width, height].map(|pixels| (pixels * UNIT) as u32);
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (canvas_width, canvas_height)).into_drawing_area();
    let beneath = draw(&root)?;
    root.present()?;
    drop(root);
    // Replaces the first line: it has the size in pixels, and lines with round ends.
    let drawn = svg.split_once('\n').map_or("", |(_, drawn)| drawn);
    let head = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         viewBox='0 0 {canvas_width} {canvas_height}' stroke-linecap='round' stroke-linejoin='round'>\n\
         <rect width='100%' height='100%' fill='white'/>\n"
    );
    write_file(path, head + &beneath + drawn)
}

//! Draws a roofline plot: measured speeds, and the limits of the machine (Williams, Waterman and Patterson, 2009).

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::Result;
use super::axis::Axis;
use super::{PALETTE, PIXEL, TEXT, UNIT, chart, draw_legend, emptiest_corner, save, text};

/// Name, operations per byte, operations per second.
pub type Point = (String, f64, f64);

pub struct Roofline<'a> {
    pub title: &'a str,
    pub flops_per_second: f64,
    pub bytes_per_second: f64,
    /// Name and points of each group.
    pub series: Vec<(&'a str, Vec<Point>)>,
}

const SIZE: (i32, i32) = (1160, 760);
const LABEL: f64 = 11.0;

/// A rectangle of the canvas: left, top, right, bottom.
type Rect = [i32; 4];

/// Writes a roofline plot with a name at each point.
pub fn roofline(path: &Path, plot: &Roofline) -> Result<()> {
    let points = || plot.series.iter().flat_map(|(_, points)| points).map(|(_, x, y)| (*x, *y * 1e-9));
    let (bandwidth, peak) = (plot.bytes_per_second * 1e-9, plot.flops_per_second * 1e-9);
    let ridge = peak / bandwidth;
    let x = Axis::log(points().map(|p| p.0).chain([ridge / 2.0, ridge * 4.0]))?;
    let y = Axis::log(points().map(|p| p.1).chain([peak]))?;
    let (start, end) = (x.range().start, x.range().end);
    let bottom = y.range().start;
    // The legend must not hide the rooflines or their names.
    let along = |share: f64| start * (end / start).powf(share);
    let roofs = (0..=20).map(|i| along(f64::from(i) / 20.0)).map(|x| (x, peak.min(x * bandwidth)));
    let copy = (1..=10).map(|i| (ridge * (start / end).powf(f64::from(i) / 80.0), peak));
    let corner = emptiest_corner(&x, &y, points().chain(roofs).chain(copy));
    save(path, SIZE, |root| {
        let (x, y) = ((x, "floating-point operations per byte"), (y, "GFLOP/s"));
        let mut chart = chart(root, &format!("{}: speed and measured roofline", plot.title), x, y)?;
        // The slanted line starts where it enters the plot.
        let foot = start.max(bottom / bandwidth);
        let roof = [(foot, foot * bandwidth), (ridge, peak), (end, peak)];
        chart.draw_series(LineSeries::new(roof, TEXT.stroke_width(2 * PIXEL)))?;
        let place = |p: (f64, f64)| chart.backend_coord(&p);
        let (left, top) = place((start, chart_top(&chart)));
        let (right, low) = place((end, bottom));
        let mut taken: Vec<Rect> = Vec::new();
        for (_, x, y) in plot.series.iter().flat_map(|(_, points)| points) {
            let (x, y) = place((*x, *y * 1e-9));
            taken.push([x - 5 * UNIT, y - 5 * UNIT, x + 5 * UNIT, y + 5 * UNIT]);
        }
        // The names of the two lines, above them.
        for (name, at, anchor) in [
            (format!("multiply-add in registers {peak:.1} GFLOP/s"), (end, peak), HPos::Right),
            (format!("copy {bandwidth:.1} GB/s"), (ridge, peak), HPos::Right),
        ] {
            let (x, y) = place(at);
            let (x, y) = if at.0 < end { (x - 10 * UNIT, y - 6 * UNIT) } else { (x - 4 * UNIT, y - 6 * UNIT) };
            let width = width(&name);
            taken.push([x - width, y - 16 * UNIT, x, y]);
            root.draw(&Text::new(name, (x, y), text(LABEL + 1.0).pos(Pos::new(anchor, VPos::Bottom))))?;
        }
        let mut leaders = Vec::new();
        let mut names = Vec::new();
        for (i, (_, points)) in plot.series.iter().enumerate() {
            for (name, x, y) in points {
                let at = place((*x, *y * 1e-9));
                let rect = free_place(at, width(name), [left, top, right, low], &taken);
                taken.push(rect);
                let middle = (rect[0] + rect[2]) / 2;
                let edge = (
                    middle.clamp(at.0.min(rect[2]), at.0.max(rect[0])).clamp(rect[0], rect[2]),
                    at.1.clamp(rect[1], rect[3]),
                );
                leaders.push(PathElement::new([at, edge], PALETTE[i].mix(0.5).stroke_width(PIXEL)));
                // The text is aligned to the side next to the point.
                let (side, x) = if middle < at.0 { (HPos::Right, rect[2]) } else { (HPos::Left, rect[0]) };
                let style = text(LABEL).color(&PALETTE[i]).pos(Pos::new(side, VPos::Top));
                names.push(Text::new(name.clone(), (x, rect[1]), style));
            }
        }
        for leader in leaders {
            root.draw(&leader)?;
        }
        for (i, (kind, points)) in plot.series.iter().enumerate() {
            let colour = PALETTE[i];
            let circles = points.iter().map(|(_, x, y)| Circle::new((*x, *y * 1e-9), 4 * UNIT, colour.filled()));
            chart
                .draw_series(circles)?
                .label(*kind)
                .legend(move |(x, y)| Circle::new((x + 14 * UNIT, y), 4 * UNIT, colour.filled()));
        }
        for name in names {
            root.draw(&name)?;
        }
        draw_legend(&mut chart, corner)?;
        Ok(String::new())
    })
}

fn chart_top(chart: &super::Chart) -> f64 {
    chart.y_range().end
}

/// Approximate width of a name, in canvas units.
fn width(name: &str) -> i32 {
    (name.chars().count() as f64 * 0.64 * LABEL) as i32 * UNIT
}

/// A rectangle for a name, near its point, that hides as little as possible.
fn free_place((x, y): (i32, i32), width: i32, [left, top, right, low]: Rect, taken: &[Rect]) -> Rect {
    let height = 14 * UNIT;
    let overlap = |a: &Rect, b: &Rect| {
        let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0) as i64;
        side(0) * side(1)
    };
    let candidates = (0..12).flat_map(|ring| (0..16).map(move |i| (ring, i))).map(|(ring, i)| {
        let angle = f64::from(i) * std::f64::consts::TAU / 16.0;
        let distance = f64::from((10 + 9 * ring) * UNIT);
        let (dx, dy) = (angle.cos() * distance, angle.sin() * distance);
        let left = x + dx as i32
            - if dx < -1.0 {
                width
            } else if dx > 1.0 {
                0
            } else {
                width / 2
            };
        let top = y + dy as i32 - height / 2;
        (ring, [left, top, left + width, top + height])
    });
    let cost = |&(ring, rect): &(i32, Rect)| {
        let outside = rect[0] < left || rect[1] < top || rect[2] > right || rect[3] > low;
        let hidden: i64 = taken.iter().map(|other| overlap(&rect, other)).sum();
        (outside, hidden > 0, if hidden > 0 { hidden } else { i64::from(ring) })
    };
    candidates.min_by_key(cost).map_or([x, y, x + width, y + height], |(_, rect)| rect)
}

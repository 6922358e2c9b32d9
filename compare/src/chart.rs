//! The speeds as a bar chart.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::{factor, name, thousands};
use crate::results::{Peer, Results, Run};
use compare::Result;
use compare::engines::{BASE, FLOOR};

const WIDTH: i32 = 980;
const PANELS_A_ROW: i32 = 2;
const MARGIN: i32 = 20;
const TITLE: i32 = 56;
const PANEL_TITLE: i32 = 34;
const BAR: i32 = 24;
const NAMES: i32 = 160;
/// Space for the numbers to the right of the longest bar.
const NUMBERS: i32 = 110;

const OWN: RGBColor = RGBColor(214, 90, 49);
const GPU: RGBColor = RGBColor(74, 111, 165);
const CPU: RGBColor = RGBColor(150, 158, 170);
const INK: RGBColor = RGBColor(35, 38, 43);
const PALE: RGBColor = RGBColor(100, 106, 115);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The chart as SVG; empty if nothing was measured.
pub fn draw(results: &Results) -> Result<String> {
    let mut svg = String::new();
    let Some(first) = results.runs.first() else { return Ok(svg) };
    let height = TITLE + results.runs.iter().map(|run| panel_height(run) * rows(run)).sum::<i32>();
    let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    write(&area, "Samples per second, Adam: longer is faster", (MARGIN, 14), 18, INK)?;
    write(&area, &subtitle(first), (MARGIN, 38), 12, PALE)?;
    let mut top = TITLE;
    for run in &results.runs {
        panels(&area, run, top)?;
        top += panel_height(run) * rows(run);
    }
    area.present()?;
    drop(area);
    Ok(svg)
}

/// The chart shows one vector width: the driver's default.
fn peers(run: &Run) -> Vec<&Peer> {
    run.peers.iter().filter(|p| p.vector_width.is_none() && p.name != FLOOR).collect()
}

fn panel_height(run: &Run) -> i32 {
    PANEL_TITLE + BAR * peers(run).len() as i32 + MARGIN
}

/// Panels of the chart.
fn rows(run: &Run) -> i32 {
    (run.jobs().len() as i32 + PANELS_A_ROW - 1) / PANELS_A_ROW
}

/// One panel for each job and batch size.
fn panels(area: &Area, run: &Run, top: i32) -> Result<()> {
    let peers = peers(run);
    for (i, (job, batch)) in run.jobs().into_iter().enumerate() {
        let (column, row) = (i as i32 % PANELS_A_ROW, i as i32 / PANELS_A_ROW);
        let (x, y) = (MARGIN + column * (WIDTH / PANELS_A_ROW), top + row * panel_height(run));
        write(area, &format!("{}: {job}, batch {batch}", run.network), (x, y + 12), 15, INK)?;
        let measured = |peer: &Peer| peer.measured(job, batch).cloned();
        let most = peers.iter().filter_map(|p| measured(p)).map(|m| m.throughput()).fold(0.0, f64::max);
        let room = f64::from(WIDTH / PANELS_A_ROW - MARGIN - NAMES - NUMBERS);
        let base = run.fields()[0].base.measured(job, batch);
        for (line, peer) in peers.iter().enumerate() {
            let y = y + PANEL_TITLE + BAR * line as i32;
            write(area, &name(peer), (x, y + 7), 13, INK)?;
            let left = x + NAMES;
            let (Some(own), Some(base)) = (measured(peer), base) else {
                write(area, "not measured", (left, y + 7), 13, PALE)?;
                continue;
            };
            let right = left + (own.throughput() / most * room).max(1.0) as i32;
            area.draw(&Rectangle::new([(left, y + 3), (right, y + BAR - 4)], colour(peer).filled()))?;
            let ratio =
                if peer.name == BASE { String::new() } else { format!(" ({})", factor(own.speed_beside(base))) };
            write(area, &format!("{}{ratio}", thousands(own.throughput())), (right + 6, y + 7), 13, INK)?;
        }
    }
    Ok(())
}

fn subtitle(run: &Run) -> String {
    let c = &run.circumstances;
    format!(
        "{}; {}; {}. Blue: engines on the GPU; grey: engines on the CPU. In brackets: speed relative to wgrad.",
        run.adapter, c.machine, c.date
    )
}

fn colour(peer: &Peer) -> RGBColor {
    match (peer.name.as_str(), peer.device.starts_with("CPU")) {
        (BASE, _) => OWN,
        (_, true) => CPU,
        (_, false) => GPU,
    }
}

fn write(area: &Area, text: &str, at: (i32, i32), size: i32, colour: RGBColor) -> Result<()> {
    area.draw(&Text::new(text.to_string(), at, ("sans-serif", size).into_font().color(&colour)))?;
    Ok(())
}

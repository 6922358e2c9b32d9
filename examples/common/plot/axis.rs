//! A plot axis: its range and its ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::super::Result;

pub struct Axis {
    /// First and last value. A logarithmic axis has their decimal logarithms.
    range: Range<f64>,
    /// Values of the ticks, inside the range.
    ticks: Vec<f64>,
    /// Decimal places of each label; a logarithmic axis chooses them for each tick.
    decimals: usize,
    log: bool,
    /// Whether all labels have the form 1e-5.
    scientific: bool,
}

impl Axis {
    /// An axis with ticks at multiples of 1, 2 or 5 times a power of ten. If `rounded`, it starts and ends at a tick.
    /// If not, and all values are integers, so are the ticks.
    pub fn linear(values: impl Iterator<Item = f64> + Clone, rounded: bool) -> Result<Self> {
        let whole = !rounded && values.clone().all(|v| v.fract() == 0.0);
        let mut range = extent(values, if whole { 1.0 } else { 0.01 })?;
        let least_step = (range.end - range.start) / 10.0;
        let power = 10f64.powf(least_step.log10().floor());
        let nice = [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|&s| s >= least_step).unwrap_or(10.0 * power);
        let step = if whole { nice.max(1.0) } else { nice };
        if rounded {
            range = (range.start / step).floor() * step..(range.end / step).ceil() * step;
        }
        // The tolerance keeps a tick that rounding moves just outside.
        let ticks = (range.start / step - 1e-6).ceil() as i64..=(range.end / step + 1e-6).floor() as i64;
        let ticks: Vec<f64> = ticks.map(|i| i as f64 * step).collect();
        let decimals = (-step.log10() - 1e-6).ceil().max(0.0) as usize;
        let scientific = decimals > 5 || ticks.iter().any(|tick| tick.abs() >= 1e6);
        Ok(Self { range, ticks, decimals, log: false, scientific })
    }

    /// A logarithmic axis that starts and ends at a tick. The values must be positive. If all are within a factor of
    /// 2, the axis is linear, because a linear axis has more ticks there.
    pub fn log(values: impl Iterator<Item = f64> + Clone) -> Result<Self> {
        let Range { start, end } = extent(values.clone().map(f64::log10), 0.0)?;
        if end - start < 0.3 {
            return Self::linear(values, true);
        }
        let digits: &[f64] = if end - start <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = ((end - start) / 8.0).ceil().max(1.0);
        let decades = (0..).map(|i| start.floor() + f64::from(i) * stride).take_while(|d| d - stride <= end);
        let mut ticks: Vec<f64> = decades.flat_map(|d| digits.iter().map(move |m| d + m.log10())).collect();
        // The axis ends at the last tick before the values and at the first tick after them.
        ticks.drain(..ticks.iter().rposition(|&t| t <= start).unwrap_or(0));
        ticks.truncate(ticks.iter().position(|&t| t >= end).map_or(ticks.len(), |last| last + 1));
        let range = ticks[0]..ticks[ticks.len() - 1];
        let scientific = ticks.iter().any(|tick| !(-4.0..6.0).contains(&decade(*tick)));
        let ticks = ticks.into_iter().map(|t| 10f64.powf(t)).collect();
        Ok(Self { range, ticks, decimals: 0, log: true, scientific })
    }

    /// Number of letters of the longest label.
    pub fn longest_label(&self) -> usize {
        self.ticks.iter().map(|tick| self.format_ext(tick).len()).max().unwrap_or(0)
    }

    /// Relative position of a value: 0 at the start of the axis, 1 at its end.
    pub fn position(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        (value - self.range.start) / (self.range.end - self.range.start)
    }
}

/// The power of ten of a number with this decimal logarithm. The tolerance is for rounded ticks.
fn decade(logarithm: f64) -> f64 {
    (logarithm + 1e-6).floor()
}

/// The range of the values. Nearly equal values get a wider range.
fn extent(values: impl Iterator<Item = f64>, least: f64) -> Result<Range<f64>> {
    let (start, end) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let least = least * start.abs().max(1.0);
    match end - start {
        0.0..1e-300 => Ok(start - least..end + least),
        span if span.is_finite() => Ok(start..end),
        _ => Err("expected at least one finite point, got none".into()),
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.position(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        if self.log { 10f64.powf(self.range.start)..10f64.powf(self.range.end) } else { self.range.clone() }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        match (self.log, self.scientific) {
            (true, true) => format!("{value:.0e}"),
            (true, false) => format!("{value:.*}", (-decade(value.log10())).max(0.0) as usize),
            (false, true) if *value == 0.0 => "0".into(),
            (false, true) => format!("{value:.1e}"),
            (false, false) => format!("{value:.*}", self.decimals),
        }
    }
}

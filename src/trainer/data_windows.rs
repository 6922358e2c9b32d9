//! Data windows: a data set that does not fit on the device is trained on window by window.

use std::ops::Range;

use super::{Cut, Trainer, upload};
use crate::dataset::{Dataset, Matched};
use crate::device::Device;
use crate::error::Result;
use crate::plan::DataInfo;
use crate::random::{self, Stream};

/// A data set of which only one window is on the device at a time.
#[derive(Debug)]
pub(super) struct Windowed<'a> {
    pub data: &'a Dataset,
    pub matched: &'a Matched,
    pub windows: Windows,
}

impl Windowed<'_> {
    /// The kernels' parameters of a window.
    pub fn infos(&self, window: u32, training: bool) -> Vec<DataInfo> {
        let rows = self.windows.rows_of(window);
        self.data.infos(self.matched, training).into_iter().map(|info| DataInfo { rows, ..info }).collect()
    }
}

/// The data of a `fit`.
pub(super) struct Data<'a> {
    /// Number of training rows.
    pub rows: u32,
    /// The training data and the evaluation data, if they do not fit on the device as a whole.
    pub train: Option<Windowed<'a>>,
    pub evaluated: Option<Windowed<'a>>,
}

impl Data<'_> {
    /// A cut epoch that ends after `steps` steps.
    pub fn cut(&self, steps: u32, before: (u32, u32)) -> Cut {
        let window = self.train.as_ref().map_or(0, |windowed| windowed.windows.window);
        Cut { rows: self.rows, steps, before, ignores: false, window }
    }
}

/// The number of rows of the data, and of a window: a whole number of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub rows: u32,
    pub window: u32,
}

impl Windows {
    pub fn count(self) -> u32 {
        self.rows.div_ceil(self.window)
    }

    /// The window that holds row number `row` of the epoch's order, and the row's place in the window.
    pub fn place(self, row: u32) -> (u32, u32) {
        (row / self.window, row % self.window)
    }

    /// Number of rows of window number `window`. All windows but the last are full.
    pub fn rows_of(self, window: u32) -> u32 {
        self.window.min(self.rows - window * self.window)
    }

    /// Rows of window number `window`, in the order of the data set.
    pub fn in_order(self, window: u32) -> Range<usize> {
        let first = (window * self.window) as usize;
        first..first + self.rows_of(window) as usize
    }

    /// Rows of window number `window` in a shuffled epoch: one range or two.
    ///
    /// The windows are cut from the data as from a ring. The first row and the order of the full windows are drawn
    /// for each epoch. The last window has the remaining rows, so only the last batch and the last update of an epoch
    /// are partial.
    pub fn shuffled(self, window: u32, seed: u64, epoch: u32) -> Vec<Range<usize>> {
        let draw =
            |index: u32, below: u32| (random::uniform(seed, Stream::Windows, epoch, index) * f64::from(below)) as u32;
        let mut order: Vec<u32> = (0..self.rows / self.window).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, draw(i as u32, i as u32 + 1) as usize);
        }
        let place = order.get(window as usize).copied().unwrap_or(window);
        let (rows, first) = (u64::from(self.rows), u64::from(draw(0, self.rows)));
        let first = (first + u64::from(place) * u64::from(self.window)) % rows;
        let end = first + u64::from(self.rows_of(window));
        let ranges = [first..end.min(rows), 0..end.saturating_sub(rows)];
        ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .map(|range| range.start as usize..range.end as usize)
            .collect()
    }
}

impl Trainer {
    /// Divides the data into windows of whole multiples of `unit` rows; `None` if no windows are needed. Returns an
    /// error if not even `unit` rows fit.
    pub(super) fn windows(&self, data: &Dataset, matched: &Matched, unit: u32) -> Result<Option<Windows>> {
        let rows = data.rows() as u32;
        let mut most = self.config.window.unwrap_or(rows).max(unit);
        if let Device::Gpu(gpu) = &self.device {
            for (what, of_none, of_row) in data.sizes(matched) {
                let fitting = gpu.largest_binding().saturating_sub(of_none) / of_row;
                if fitting < u64::from(unit.min(rows)) {
                    gpu.check_size(&what, of_none + of_row * u64::from(unit.min(rows)))?;
                }
                most = most.min(u32::try_from(fitting).unwrap_or(u32::MAX));
            }
        }
        if rows <= most {
            return Ok(None);
        }
        // Windows of about equal length.
        let window = rows.div_ceil(rows.div_ceil(most / unit * unit)).next_multiple_of(unit);
        Ok(Some(Windows { rows, window }))
    }

    /// Binds a window of an epoch for training.
    pub(super) fn bind_window(&mut self, windowed: &Windowed<'_>, window: u32) -> Result<()> {
        let (epoch, windows) = (self.epochs(), windowed.windows);
        let ranges = match self.config.shuffle {
            true => windows.shuffled(window, self.config.seed, epoch),
            false => Vec::from_iter([windows.in_order(window)]),
        };
        upload(&self.device, &mut self.training, windowed.data, windowed.matched, &ranges)?;
        self.set_data_info(&windowed.infos(window, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_visits_every_row_once_in_windows_of_its_own() {
        let windows = Windows { rows: 100, window: 12 };
        assert_eq!((windows.count(), windows.place(99), windows.rows_of(8)), (9, (8, 3), 4));
        let epoch = |seed, epoch| (0..9).map(|window| windows.shuffled(window, seed, epoch)).collect::<Vec<_>>();
        for (i, of) in (0..40).map(|i| (i, epoch(5, i))) {
            for (window, ranges) in (0..).zip(&of) {
                let rows: usize = ranges.iter().map(ExactSizeIterator::len).sum();
                assert_eq!(rows, windows.rows_of(window) as usize, "epoch {i}, window {window}");
            }
            let mut rows: Vec<usize> = of.into_iter().flatten().flatten().collect();
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..100), "epoch {i}");
        }
        assert_eq!(epoch(5, 3), epoch(5, 3));
        assert_ne!(epoch(5, 3), epoch(5, 4));
        assert_ne!(epoch(5, 3), epoch(6, 3));
        let in_order: Vec<usize> = (0..9).flat_map(|window| windows.in_order(window)).collect();
        assert!(in_order.into_iter().eq(0..100));
    }

    /// A row is equally likely in every place. Over 4000 epochs, its count in a window has a standard deviation below
    /// 30.
    #[test]
    fn every_row_is_as_likely_in_every_window() {
        let windows = Windows { rows: 10, window: 4 };
        let mut counts = [[0u32; 10]; 3];
        for epoch in 0..4000 {
            for window in 0..3 {
                windows
                    .shuffled(window, 1, epoch)
                    .into_iter()
                    .flatten()
                    .for_each(|row| counts[window as usize][row] += 1);
            }
        }
        for (window, counts) in (0..).zip(counts) {
            let expected = 400.0 * f64::from(windows.rows_of(window));
            assert!(counts.iter().all(|&count| (f64::from(count) - expected).abs() < 5.0 * 31.0), "{counts:?}");
        }
    }
}

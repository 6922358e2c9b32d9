//! Data longer than a device can bind at once: an epoch goes over them window by window.

use std::ops::Range;

use super::{Cut, Trainer, upload};
use crate::dataset::{Dataset, Matched};
use crate::device::Device;
use crate::error::Result;
use crate::plan::DataInfo;
use crate::random::{self, Stream};

/// Data of which only some rows are on the device at a time.
#[derive(Debug)]
pub(super) struct Windowed<'a> {
    pub data: &'a Dataset,
    pub matched: &'a Matched,
    pub windows: Windows,
}

impl Windowed<'_> {
    /// What kernels are told of a window.
    pub fn infos(&self, window: u32, training: bool) -> Vec<DataInfo> {
        let rows = self.windows.rows_of(window);
        self.data.infos(self.matched, training).into_iter().map(|info| DataInfo { rows, ..info }).collect()
    }
}

/// What a `fit` goes over.
pub(super) struct Data<'a> {
    /// Of the training data.
    pub rows: u32,
    /// The training data, and those that are evaluated, where they are not on the device as a whole.
    pub train: Option<Windowed<'a>>,
    pub evaluated: Option<Windowed<'a>>,
}

impl Data<'_> {
    /// An epoch that ends after so many steps.
    pub fn cut(&self, steps: u32, before: (u32, u32)) -> Cut {
        let window = self.train.as_ref().map_or(0, |windowed| windowed.windows.window);
        Cut { rows: self.rows, steps, before, ignores: false, window }
    }
}

/// How many rows there are, and how many are on the device at a time: those of whole updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub rows: u32,
    pub window: u32,
}

impl Windows {
    pub fn count(self) -> u32 {
        self.rows.div_ceil(self.window)
    }

    /// The window of an epoch that the row of this number in the epoch's order is in, and where in it.
    pub fn place(self, row: u32) -> (u32, u32) {
        (row / self.window, row % self.window)
    }

    /// Rows of the window of this number in an epoch: all windows are full but the last.
    pub fn rows_of(self, window: u32) -> u32 {
        self.window.min(self.rows - window * self.window)
    }

    /// The rows of the window of this number, as they are in the data.
    pub fn in_order(self, window: u32) -> Range<usize> {
        let first = (window * self.window) as usize;
        first..first + self.rows_of(window) as usize
    }

    /// The rows of the window of this number in an epoch's order: one range or two. The windows are cut from the data
    /// as from a ring, from a row on that is drawn anew for each epoch, as is the order of the full windows. The last
    /// one has what is left, so that only the last batch of an epoch, and its last update, are partial.
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
    /// How data are cut so that what is on the device consists of whole multiples of `unit` rows; none where they fit
    /// as a whole. An error where not even so many rows fit.
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
        // Windows that are about as long as each other.
        let window = rows.div_ceil(rows.div_ceil(most / unit * unit)).next_multiple_of(unit);
        Ok(Some(Windows { rows, window }))
    }

    /// Gives the training a window of an epoch.
    pub(super) fn bind_window(&mut self, windowed: &Windowed<'_>, window: u32) -> Result<()> {
        let (epoch, windows) = (self.epochs(), windowed.windows);
        let ranges = match self.config.shuffle {
            true => windows.shuffled(window, self.config.seed, epoch),
            false => Vec::from_iter([windows.in_order(window)]),
        };
        upload(&self.device, &mut self.training, windowed.data, windowed.matched, &ranges)?;
        self.tell(&windowed.infos(window, true))
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

    /// A row is as likely in every place: of 4000 epochs its count in a window has a standard deviation below 30.
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

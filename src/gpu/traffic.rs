//! Submitting, polling and mapping: each is done and counted in one place.

use super::{Gpu, lock};
use crate::callback_future::CallbackFuture;

/// Counts of wgrad's own submissions, polls, mappings and read bytes.
///
/// `record_*` calls change only [`maps_on_submit`](Self::maps_on_submit). `prepare_*` calls change nothing, unless
/// `Gpu::tune` requests measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Number of submitted command buffers.
    pub submits: u64,
    /// Number of polls that waited for the device.
    pub polls: u64,
    /// Number of buffers mapped for reading.
    pub maps: u64,
    /// Number of mappings that the app's own submissions will request.
    /// [`record_within`](crate::Training::record_within) adds one a call, and
    /// [`record_snapshot`](crate::Snapshots::record_snapshot) one for each buffer of the training state.
    pub maps_on_submit: u64,
    /// Number of bytes read back by wgrad's own submissions.
    pub readback_bytes: u64,
}

impl Gpu {
    /// Counts of wgrad's submissions, polls, mappings and read bytes on this GPU so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.inner.traffic)
    }

    /// Finishes an encoder and submits it. If the app has destroyed a buffer of wgrad, this returns the error; the
    /// app's error handler is not called.
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> crate::Result<()> {
        lock(&self.inner.traffic).submits += 1;
        let index = self.guard("a submission", 0, || self.queue().submit([encoder.finish()]))?;
        let mut in_flight = lock(&self.inner.in_flight);
        in_flight.push_back(index);
        // If an app uses only async calls, nothing waits here, so old submissions are dropped from the list.
        if in_flight.len() > 8 {
            in_flight.pop_front();
        }
        Ok(())
    }

    /// Waits for the oldest submission that has not been waited for, or for the last one. Returns whether the device
    /// is idle.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost). Pending results may never arrive after it.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn poll(&self) -> crate::Result<bool> {
        lock(&self.inner.traffic).polls += 1;
        let submission_index = lock(&self.inner.in_flight).pop_front();
        self.poll_once(wgpu::PollType::Wait { submission_index, timeout: None })
    }

    /// Polls without waiting. Returns whether the device is idle.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn poll_without_waiting(&self) -> crate::Result<bool> {
        self.poll_once(wgpu::PollType::Poll)
    }

    #[cfg(not(target_family = "wasm"))]
    fn poll_once(&self, kind: wgpu::PollType) -> crate::Result<bool> {
        let poll = || self.device().poll(kind);
        // wgpu panics if the driver has lost the device.
        let idle = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(Ok(status)) => status.is_queue_empty(),
            // The submission belongs to another device, so there was no wait.
            Ok(Err(_)) => true,
            Err(panic) => {
                let reason = panic.downcast::<String>().map_or("wgpu panicked".into(), |message| *message);
                lock(&self.inner.lost).get_or_insert_with(|| super::first_line(&reason).into());
                false
            }
        };
        self.check_lost()?;
        Ok(idle)
    }

    /// A future that completes when all work submitted so far has finished.
    pub(crate) fn submitted_work_done(&self) -> CallbackFuture<()> {
        let (signal, fulfil) = CallbackFuture::new();
        self.queue().on_submitted_work_done(move || fulfil(()));
        signal
    }

    /// Requests the first bytes of a buffer.
    pub(crate) fn map(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        done: impl FnOnce(MapResult) + wgpu::WasmNotSend + 'static,
    ) {
        let mut traffic = lock(&self.inner.traffic);
        traffic.maps += 1;
        traffic.readback_bytes += bytes;
        drop(traffic);
        ask(buffer, wgpu::MapMode::Read, bytes, done);
    }

    /// Requests a whole buffer for writing. Not counted, because nothing is read back.
    pub(crate) fn map_to_write(
        &self,
        buffer: &wgpu::Buffer,
        done: impl FnOnce(MapResult) + wgpu::WasmNotSend + 'static,
    ) {
        ask(buffer, wgpu::MapMode::Write, buffer.size(), done);
    }

    /// Records that the submission of an app's encoder maps a buffer.
    pub(crate) fn record_map(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        done: impl FnOnce(MapResult) + wgpu::WasmNotSend + 'static,
    ) {
        lock(&self.inner.traffic).maps_on_submit += 1;
        encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Read, .., done);
    }
}

/// In a browser nothing can wait for the result or report it.
#[cfg(target_family = "wasm")]
impl Gpu {
    pub(crate) async fn confirm_queue(&self) -> crate::Result<()> {
        Ok(())
    }

    pub(crate) fn check_queue(&self) -> crate::Result<()> {
        Ok(())
    }
}

fn ask(
    buffer: &wgpu::Buffer,
    mode: wgpu::MapMode,
    bytes: u64,
    done: impl FnOnce(MapResult) + wgpu::WasmNotSend + 'static,
) {
    buffer.map_async(mode, ..bytes, done);
}

/// Result that a mapping's callback receives.
type MapResult = Result<(), wgpu::BufferAsyncError>;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Each counted call of wgpu must occur in this file only, and once, or it would not be counted.
    #[test]
    fn what_is_counted_happens_in_one_place() {
        let calls = ["queue().submit(", "device().poll(", ".map_async(", ".map_buffer_on_submit("];
        // Other names under which a queue or a device could be used.
        let others = ["queue.submit(", "device.poll("];
        let mut found = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("mod tests {").next().unwrap();
                for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                    let here = calls.iter().chain(&others).filter(|call| line.contains(**call));
                    found.extend(here.map(|call| (*call, path.file_name().unwrap().to_owned())));
                }
            }
        }
        found.sort();
        let mut expected = calls.map(|call| (call, "traffic.rs".into()));
        expected.sort();
        assert_eq!(found, expected);
    }
}

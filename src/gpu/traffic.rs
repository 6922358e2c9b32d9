//! Submitting, polling and mapping: each in one place, where it is counted.

use super::{Gpu, lock};
use crate::callback_future::CallbackFuture;

/// What wgrad itself has asked of the device, and what has gone over the bus for it. Nothing that is called `record_*`
/// adds to it but [`maps_on_submit`](Self::maps_on_submit), nor does a `prepare_*`, unless `Gpu::tune` asks for measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Command buffers submitted.
    pub submits: u64,
    /// Times that a thread has polled the device, and so waited for it.
    pub polls: u64,
    /// Buffers mapped to be read.
    pub maps: u64,
    /// Mappings that [`record_within`](crate::Training::record_within) and
    /// [`record_snapshot`](crate::Snapshots::record_snapshot) have left in an app's encoders, for the app's own submission to
    /// ask for: one a call of the former, one for each buffer of the training state of the latter.
    pub maps_on_submit: u64,
    /// Bytes read back by wgrad's own submissions.
    pub readback_bytes: u64,
}

impl Gpu {
    /// What wgrad itself has submitted, waited for and read back on this GPU so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.inner.traffic)
    }

    /// Finishes an encoder and submits it. An app may have destroyed a buffer that it got from us: that is our error then, not
    /// one of the app's handler.
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> crate::Result<()> {
        lock(&self.inner.traffic).submits += 1;
        let index = self.guard("a submission", 0, || self.queue().submit([encoder.finish()]))?;
        let mut in_flight = lock(&self.inner.in_flight);
        in_flight.push_back(index);
        // Where only async forms are used, nobody waits here: old ones need not be kept.
        if in_flight.len() > 8 {
            in_flight.pop_front();
        }
        Ok(())
    }

    /// Waits for the oldest submission that nobody has waited for, or for the last. Returns whether the device has nothing left to
    /// do, as far as it knows.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), after which nothing that is waited for may ever come.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn poll(&self) -> crate::Result<bool> {
        lock(&self.inner.traffic).polls += 1;
        let submission_index = lock(&self.inner.in_flight).pop_front();
        self.poll_once(wgpu::PollType::Wait { submission_index, timeout: None })
    }

    /// Looks whether something has finished, without waiting. Returns what [`poll`](Self::poll) does.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn look(&self) -> crate::Result<bool> {
        self.poll_once(wgpu::PollType::Poll)
    }

    #[cfg(not(target_family = "wasm"))]
    fn poll_once(&self, kind: wgpu::PollType) -> crate::Result<bool> {
        let poll = || self.device().poll(kind);
        // Where the driver has lost the device, wgpu panics.
        let idle = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(Ok(status)) => status.is_queue_empty(),
            // A submission that this device does not know of: nothing was waited for.
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

    /// A future of the end of everything submitted so far.
    pub(crate) fn submitted_work_done(&self) -> CallbackFuture<()> {
        let (signal, fulfil) = CallbackFuture::new();
        self.queue().on_submitted_work_done(move || fulfil(()));
        signal
    }

    /// Asks for the first bytes of a buffer.
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

    /// Asks for a buffer to be written, whole. It is not read back, so it does not count.
    pub(crate) fn map_to_write(
        &self,
        buffer: &wgpu::Buffer,
        done: impl FnOnce(MapResult) + wgpu::WasmNotSend + 'static,
    ) {
        ask(buffer, wgpu::MapMode::Write, buffer.size(), done);
    }

    /// Records that the submission of an app's encoder is to ask for a buffer.
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

/// In a browser nobody could wait for the answer, nor tell.
#[cfg(target_family = "wasm")]
impl Gpu {
    pub(crate) async fn know_queue(&self) -> crate::Result<()> {
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

/// What a callback of a mapping is told.
type MapResult = Result<(), wgpu::BufferAsyncError>;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What is not counted would not be seen: each call of wgpu's that is counted stands in this file, once.
    #[test]
    fn what_is_counted_happens_in_one_place() {
        let calls = ["queue().submit(", "device().poll(", ".map_async(", ".map_buffer_on_submit("];
        // By whatever name else a queue or a device might go.
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

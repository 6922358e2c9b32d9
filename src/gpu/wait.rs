//! Waiting for the GPU on native platforms: polls the device until a future is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Gpu;
use crate::callback_future::CallbackFuture;
use crate::error::{Error, Result};

/// How long to wait for a result while the device is idle: a callback may be running in another thread of the app.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for the queue's answer while the device is idle.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(300);

/// Whether an awaited result has arrived.
#[derive(Default)]
struct Progress(AtomicBool);

impl std::task::Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Gpu {
    /// Waits until all work submitted so far has finished.
    pub(crate) fn finish(&self) -> Result<()> {
        let done = self.submitted_work_done();
        self.block_on(async {
            done.await;
            Ok(())
        })?;
        self.check_lost()
    }

    /// Runs a future of this crate to its end. Blocks and polls the device. It waits for the oldest submission first,
    /// so that later ones keep the GPU busy. Returns an error if the device is idle and the result does not arrive.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.block_on_within(future, IDLE_TIMEOUT)
    }

    fn block_on_within<T>(&self, future: impl Future<Output = Result<T>>, timeout: Duration) -> Result<T> {
        let mut future = std::pin::pin!(future);
        let progress = Arc::new(Progress::default());
        let waker = Waker::from(progress.clone());
        let mut context = Context::from_waker(&waker);
        let mut idle_since: Option<Instant> = None;
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let idle = self.poll()?;
            if progress.0.swap(false, Ordering::AcqRel) || !idle {
                idle_since = None;
                continue;
            }
            match idle_since {
                None => idle_since = Some(Instant::now()),
                Some(since) if since.elapsed() < timeout => std::thread::sleep(Duration::from_millis(1)),
                Some(_) => {
                    self.check_alive()?;
                    let reason = "the device is idle, but no result has arrived; check that Gpu::from_parts was given \
                                  the queue of this device";
                    return Err(Error::Gpu { what: "a wait for the GPU".into(), reason: reason.into() });
                }
            }
        }
    }

    /// Tests whether the queue belongs to this device: if so, it answers while the device is polled. `None` if this
    /// is already known.
    fn queue_answer(&self) -> Option<impl Fn() -> bool> {
        if self.inner.own_queue.load(Ordering::Relaxed) {
            return None;
        }
        let answered = Arc::new(AtomicBool::new(false));
        let answer = answered.clone();
        self.queue().on_submitted_work_done(move || answer.store(true, Ordering::Release));
        Some(move || {
            let is_own = answered.load(Ordering::Acquire);
            self.inner.own_queue.fetch_or(is_own, Ordering::Relaxed);
            is_own
        })
    }

    /// Returns an error if the queue belongs to another device. `wgpu` does not report this; work on such a queue
    /// never ends while this device is polled. Polls without waiting until the answer is known. If the device is
    /// busy, the question stays open.
    pub(crate) fn check_queue(&self) -> Result<()> {
        let Some(is_own) = self.queue_answer() else { return Ok(()) };
        let since = Instant::now();
        loop {
            let idle = self.poll_without_waiting()?;
            if is_own() || !idle {
                return Ok(());
            }
            if since.elapsed() > QUEUE_TIMEOUT {
                return Err(another_devices_queue());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As [`check_queue`](Self::check_queue), but waits for the answer while the device is busy. Call it before
    /// awaiting any other result: with another device's queue, that result could be missing or wrong. It continues
    /// when the app polls.
    pub(crate) async fn confirm_queue(&self) -> Result<()> {
        self.check_queue()?;
        let Some(is_own) = self.queue_answer() else { return Ok(()) };
        // The next poll of the device answers a mapping, whatever its queue does.
        let buffer = self.staging_up(4)?;
        let mut idle_since: Option<Instant> = None;
        loop {
            self.unmap(&buffer)?;
            let (polled, fulfil) = CallbackFuture::new();
            self.map_to_write(&buffer, fulfil);
            if polled.await.is_err() {
                return self.check_alive();
            }
            let idle = self.poll_without_waiting()?;
            if is_own() {
                return Ok(());
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            if !idle {
                idle_since = None;
            } else if since.elapsed() > QUEUE_TIMEOUT {
                return Err(another_devices_queue());
            }
        }
    }
}

fn another_devices_queue() -> Error {
    Error::Gpu {
        what: "the queue given to Gpu::from_parts".into(),
        reason: "it belongs to another device; pass the device and the queue that Adapter::request_device returned"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waiting for several results allows the full time for each. A result that never arrives ends the wait.
    #[test]
    fn waiting_ends_where_nothing_comes_and_only_there() {
        let gpu = Gpu::request().unwrap_or_else(|e| panic!("{e}"));
        let timeout = Duration::from_millis(60);
        let long = async {
            for _ in 0..20 {
                gpu.submit(gpu.encoder())?;
                gpu.submitted_work_done().await;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        };
        gpu.block_on_within(long, timeout).unwrap();
        let (never, fulfil) = CallbackFuture::<()>::new();
        let stuck = async {
            never.await;
            Ok(())
        };
        let error = gpu.block_on_within(stuck, timeout).unwrap_err().to_string();
        assert!(error.starts_with("GPU error in a wait for the GPU: the device is idle"), "{error}");
        drop(fulfil);
    }
}

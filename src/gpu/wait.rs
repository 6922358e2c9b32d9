//! Waiting for the GPU, which nobody does in a browser: a loop that polls until a future is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Gpu;
use crate::callback_future::CallbackFuture;
use crate::error::{Error, Result};

/// How long an idle device is asked again for what is waited for: a callback may be on its way in another thread of the app's.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a device that has nothing to do is asked whether the queue is its own.
const QUEUE_PATIENCE: Duration = Duration::from_millis(300);

/// Whether something that is waited for has come.
#[derive(Default)]
struct Progress(AtomicBool);

impl std::task::Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Gpu {
    /// Waits for the end of everything submitted so far.
    pub(crate) fn finish(&self) -> Result<()> {
        let done = self.submitted_work_done();
        self.block_on(async {
            done.await;
            Ok(())
        })?;
        self.check_lost()
    }

    /// Runs a future of this module to its end. Blocks and polls the device, waiting for the oldest submission first
    /// so that younger ones keep the GPU busy. Ends with an error where the device has nothing left to do, and what is waited
    /// for still does not come.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.block_on_within(future, PATIENCE)
    }

    fn block_on_within<T>(&self, future: impl Future<Output = Result<T>>, patience: Duration) -> Result<T> {
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
                Some(since) if since.elapsed() < patience => std::thread::sleep(Duration::from_millis(1)),
                Some(_) => {
                    self.check_alive()?;
                    let reason = "the device is idle, but no result has arrived; check that Gpu::from_parts was given \
                                  the queue of this device";
                    return Err(Error::Gpu { what: "a wait for the GPU".into(), reason: reason.into() });
                }
            }
        }
    }

    /// Asks the queue whether it is this device's own: then it answers while the device is polled. None where that is
    /// known.
    fn ask_queue(&self) -> Option<impl Fn() -> bool> {
        if self.inner.own_queue.load(Ordering::Relaxed) {
            return None;
        }
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        self.queue().on_submitted_work_done(move || tell.store(true, Ordering::Release));
        Some(move || {
            let is_own = told.load(Ordering::Acquire);
            self.inner.own_queue.fetch_or(is_own, Ordering::Relaxed);
            is_own
        })
    }

    /// Refuses a queue that is another device's, which `wgpu` tells nobody: such a queue ends nothing while this device
    /// is polled. Polls once, without waiting, until it is known. While the device is busy, that stays open.
    pub(crate) fn check_queue(&self) -> Result<()> {
        let Some(is_own) = self.ask_queue() else { return Ok(()) };
        let since = Instant::now();
        loop {
            let idle = self.look()?;
            if is_own() || !idle {
                return Ok(());
            }
            if since.elapsed() > QUEUE_PATIENCE {
                return Err(another_devices_queue());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As [`check_queue`](Self::check_queue), which a busy device leaves open: awaits the answer, before anything is
    /// awaited that a queue of another device would never give, or give wrongly. Goes on whenever the app polls.
    pub(crate) async fn know_queue(&self) -> Result<()> {
        self.check_queue()?;
        let Some(is_own) = self.ask_queue() else { return Ok(()) };
        // A mapping is answered by the next poll of the device, whatever its queue does.
        let buffer = self.staging_up(4)?;
        let mut idle_since: Option<Instant> = None;
        loop {
            self.unmap(&buffer)?;
            let (polled, fulfil) = CallbackFuture::new();
            self.map_to_write(&buffer, fulfil);
            if polled.await.is_err() {
                return self.check_alive();
            }
            let idle = self.look()?;
            if is_own() {
                return Ok(());
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            if !idle {
                idle_since = None;
            } else if since.elapsed() > QUEUE_PATIENCE {
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

    /// What waits for many things, one after the other, is patient with each; what nothing will answer ends.
    #[test]
    fn waiting_ends_where_nothing_comes_and_only_there() {
        let gpu = Gpu::request().unwrap_or_else(|e| panic!("{e}"));
        let patience = Duration::from_millis(60);
        let long = async {
            for _ in 0..20 {
                gpu.submit(gpu.encoder())?;
                gpu.submitted_work_done().await;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        };
        gpu.block_on_within(long, patience).unwrap();
        let (never, fulfil) = CallbackFuture::<()>::new();
        let stuck = async {
            never.await;
            Ok(())
        };
        let error = gpu.block_on_within(stuck, patience).unwrap_err().to_string();
        assert!(error.starts_with("GPU error in a wait for the GPU: the device is idle"), "{error}");
        drop(fulfil);
    }
}

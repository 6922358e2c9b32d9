//! Waiting for the GPU: signals for async code, and a loop that blocks for the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::{Gpu, lock};
#[cfg(not(target_family = "wasm"))]
use crate::error::Result;

/// A value that a callback of wgpu will give: a future of it.
#[derive(Debug)]
pub(crate) struct Signal<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Signal<T> {
    /// The future, and the function that fulfils it.
    pub(crate) fn new() -> (Self, impl FnOnce(T) + use<T>) {
        let state = Arc::new(Mutex::new(State { value: None, waker: None }));
        let given = state.clone();
        let fulfil = move |value| {
            let waker = {
                let mut state = lock(&given);
                state.value = Some(value);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        (Self(state), fulfil)
    }
}

impl<T> Future for Signal<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Gpu {
    /// A future of the end of everything submitted so far.
    pub(crate) fn submitted_work_done(&self) -> Signal<()> {
        let (signal, fulfil) = Signal::new();
        self.queue().on_submitted_work_done(move || fulfil(()));
        signal
    }

    /// Waits for the end of everything submitted so far.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn finish(&self) -> Result<()> {
        let done = self.submitted_work_done();
        self.block_on(async {
            done.await;
            Ok(())
        })?;
        self.check_lost()
    }

    /// Runs a future of this module to its end. Blocks and polls the device, waiting for the oldest submission first
    /// so that younger ones keep the GPU busy.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut future = std::pin::pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.poll()?;
        }
    }
}

//! A future that a callback of wgpu or of a browser fulfils, and locking of mutexes.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A future of the value that a callback will give.
#[derive(Debug)]
pub(crate) struct CallbackFuture<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> CallbackFuture<T> {
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

impl<T> Future for CallbackFuture<T> {
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

/// Locks a mutex. A panic of another thread does not make the data unusable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

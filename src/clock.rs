//! Time measurement, and yielding to a browser's event loop.

/// A stopwatch.
#[derive(Debug)]
pub(crate) struct Clock {
    #[cfg(not(target_family = "wasm"))]
    start: std::time::Instant,
    /// Start time in milliseconds.
    #[cfg(target_family = "wasm")]
    start: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(not(target_family = "wasm"))]
            start: std::time::Instant::now(),
            #[cfg(target_family = "wasm")]
            start: crate::web::now(),
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        #[cfg(not(target_family = "wasm"))]
        return self.start.elapsed().as_secs_f64();
        // If the clock is not monotonic, it may have been set back.
        #[cfg(target_family = "wasm")]
        return ((crate::web::now() - self.start) / 1e3).max(0.0);
    }
}

/// The longest time that CPU work may block a page, in seconds.
#[cfg(target_family = "wasm")]
const LONGEST_TIMESLICE: f64 = 0.01;

/// CPU work between two yields to the page. Outside browsers it has no limit, because the app decides which thread
/// runs it.
#[derive(Debug)]
pub(crate) struct Timeslice {
    #[cfg(target_family = "wasm")]
    clock: Option<Clock>,
}

impl Timeslice {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(target_family = "wasm")]
            clock: Some(Clock::start()),
        }
    }

    /// Whether it is time to [yield](Self::yield_now). After it returns true, the next call starts the time again.
    pub(crate) fn is_over(&mut self) -> bool {
        #[cfg(target_family = "wasm")]
        {
            let over = self.clock.get_or_insert_with(Clock::start).seconds() >= LONGEST_TIMESLICE;
            if over {
                self.clock = None;
            }
            return over;
        }
        #[cfg(not(target_family = "wasm"))]
        false
    }

    /// Yields this thread: in a browser to drawing, input and messages, elsewhere to the other tasks of an async
    /// runtime.
    pub(crate) async fn yield_now() {
        #[cfg(target_family = "wasm")]
        crate::web::next_task().await;
        #[cfg(not(target_family = "wasm"))]
        {
            let mut yielded = false;
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
    }
}

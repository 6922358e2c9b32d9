//! Time, where there is a clock.

/// A stopwatch, except in a browser.
#[derive(Debug)]
pub(crate) struct Clock {
    #[cfg(not(target_family = "wasm"))]
    start: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(not(target_family = "wasm"))]
            start: std::time::Instant::now(),
        }
    }

    pub(crate) fn seconds(&self) -> Option<f64> {
        #[cfg(not(target_family = "wasm"))]
        return Some(self.start.elapsed().as_secs_f64());
        #[cfg(target_family = "wasm")]
        None
    }
}

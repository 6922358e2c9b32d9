//! Ranks that are threads of one process, each with a GPU of its own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Ranks;
use crate::callback_future::lock;
use crate::error::{Error, Result};

/// One of several ranks that are threads of one process: for several equal GPUs in one machine, without MPI.
///
/// ```no_run
/// use std::time::Duration;
/// use wgrad::{Fit, Gpu, LocalRank, Loss, Network, Sgd, Trainer, TrainerConfig};
/// # fn data() -> wgrad::Result<wgrad::Dataset> { unimplemented!() }
/// # fn gpu(rank: u32) -> wgrad::Result<Gpu> { Gpu::request() }
/// # let network = Network::input(784).dense(10, wgrad::Activation::Identity).build()?;
/// let (data, ranks) = (data()?, LocalRank::all(2, Duration::from_secs(60)));
/// std::thread::scope(|scope| {
///     for rank in ranks {
///         let (data, network) = (&data, &network);
///         scope.spawn(move || -> wgrad::Result<()> {
///             let gpu = gpu(wgrad::Ranks::rank(&rank))?; // one for each rank
///             let config = TrainerConfig { slices: Some(2), ..TrainerConfig::default() };
///             let mut trainer = Trainer::new(&gpu, network, Loss::SoftmaxCrossEntropy, Sgd::default(), config)?;
///             trainer.fit(data, Fit { ranks: Some(&rank), ..Fit::default() }, |_| {})?;
///             Ok(())
///         });
///     }
/// });
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// If a rank is dropped, for example because its thread ends or panics, the others get an error that names it.
#[derive(Debug)]
pub struct LocalRank {
    rank: u32,
    timeout: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The messages from each rank to each rank. `None` until it has sent them.
    sent: Vec<Option<Vec<Vec<u32>>>>,
    /// Which ranks have taken theirs.
    taken: Vec<bool>,
    /// The first rank that was dropped.
    dropped: Option<u32>,
}

impl LocalRank {
    /// All ranks, one for each thread. `timeout` is the longest time that a rank waits for another one: longer than
    /// an update, an evaluation or a checkpoint takes.
    pub fn all(count: u32, timeout: Duration) -> Vec<Self> {
        let each = count as usize;
        let state = State { sent: vec![None; each], taken: vec![true; each], dropped: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        (0..count).map(|rank| Self { rank, timeout, shared: shared.clone() }).collect()
    }

    /// Waits until `missing` returns no rank.
    fn wait(&self, missing: impl Fn(&State) -> Option<u32>) -> Result<MutexGuard<'_, State>> {
        let start = Instant::now();
        let mut state = lock(&self.shared.state);
        while let Some(rank) = missing(&state) {
            if let Some(rank) = state.dropped {
                return Err(Error::Rank { rank, reason: "has ended".into() });
            }
            let Some(left) = self.timeout.checked_sub(start.elapsed()) else {
                return Err(Error::Rank { rank, reason: format!("did not answer within {:?}", self.timeout) });
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        Ok(state)
    }
}

impl Ranks for LocalRank {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn count(&self) -> u32 {
        lock(&self.shared.state).sent.len() as u32
    }

    fn exchange(&self, messages: &[&[u32]], received: &mut Vec<Vec<u32>>) -> Result<()> {
        let own = self.rank as usize;
        let wrong = |reason: &str| Err(Error::Rank { rank: self.rank, reason: reason.into() });
        if messages.len() != self.count() as usize {
            return wrong("needs one message for each rank");
        }
        // The messages of the exchange before have all been taken.
        let mut state = self.wait(|state| state.taken.iter().position(|taken| !taken).map(|rank| rank as u32))?;
        if state.sent[own].is_some() {
            return wrong("is used by two threads");
        }
        state.sent[own] = Some(messages.iter().map(|message| message.to_vec()).collect());
        drop(state);
        self.shared.changed.notify_all();
        let mut state = self.wait(|state| state.sent.iter().position(Option::is_none).map(|rank| rank as u32))?;
        if state.taken.iter().all(|taken| *taken) {
            state.taken.fill(false);
        }
        let take = |messages: &mut Option<Vec<Vec<u32>>>| messages.as_mut().map(|all| std::mem::take(&mut all[own]));
        received.clear();
        received.extend(state.sent.iter_mut().filter_map(take));
        state.taken[own] = true;
        if state.taken.iter().all(|taken| *taken) {
            state.sent.fill(None);
        }
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for LocalRank {
    fn drop(&mut self) {
        lock(&self.shared.state).dropped.get_or_insert(self.rank);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn messages_reach_their_ranks_in_order() {
        std::thread::scope(|scope| {
            for rank in LocalRank::all(3, SOON) {
                scope.spawn(move || {
                    let mut received = Vec::new();
                    for round in 0..50 {
                        let own = rank.rank();
                        let message = |to: u32| vec![round * 100 + own * 10 + to; (own + to) as usize];
                        let messages = [0, 1, 2].map(message);
                        rank.exchange(&messages.each_ref().map(Vec::as_slice), &mut received).unwrap();
                        for (from, words) in (0..).zip(&received) {
                            assert_eq!(*words, vec![round * 100 + from * 10 + own; (from + own) as usize]);
                        }
                        let gathered = rank.gather(&vec![own; own as usize]).unwrap();
                        assert_eq!(gathered, [vec![], vec![1], vec![2, 2]]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_rank_that_ends_or_hangs_is_named() {
        let mut ranks = LocalRank::all(3, SOON);
        drop(ranks.remove(1));
        let error = ranks[0].gather(&[]).unwrap_err().to_string();
        assert_eq!(error, "rank 1: has ended");
        let ranks = LocalRank::all(2, Duration::from_millis(10));
        let error = ranks[0].gather(&[]).unwrap_err().to_string();
        assert_eq!(error, "rank 1: did not answer within 10ms");
    }
}

//! Data-parallel training of wgrad's networks over MPI: several processes, each with a GPU, on one machine or on many.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use wgrad::{Activation::*, Adam, Fit, Loss, Network, Ranks, Trainer, TrainerConfig};
//! # fn data() -> wgrad::Result<wgrad::Dataset> { unimplemented!() }
//!
//! fn main() -> ExitCode {
//!     wgrad_mpi::run(wgrad_mpi::TIMEOUT, |world| {
//!         let gpu = world.gpu()?;
//!         let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
//!         let config = TrainerConfig { batch: 1024, slices: Some(world.count()), ..TrainerConfig::default() };
//!         let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config)?;
//!         trainer.fit(data()?, Fit { ranks: Some(world), ..Fit::default() }, |_| {})?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Start it with `mpirun -n 4 PROGRAM`. The page `docs/scaling.md` of wgrad says when more processes pay.

#![warn(missing_docs)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};
use wgrad::{Error, Gpu, Ranks, Result};

/// A timeout for [`run`]: ten minutes. It must be longer than the time by which one rank can be behind the others: at
/// the start of the training, when it reads its data and compiles its kernels, and while rank 0 writes a checkpoint.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// All processes that `mpirun` has started.
pub struct World {
    /// One thread at a time calls MPI.
    communicator: Mutex<SimpleCommunicator>,
    rank: u32,
    count: u32,
    local_rank: u32,
    timeout: Duration,
    /// Ends MPI when it is dropped.
    _universe: Universe,
}

// SAFETY: MPI is initialized for calls from any thread, one at a time. The mutex keeps them apart: every call goes
// through it, except the end of MPI when the world is dropped.
unsafe impl Sync for World {}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, count, local_rank, timeout, .. } = self;
        write!(f, "World {{ rank: {rank}, count: {count}, local_rank: {local_rank}, timeout: {timeout:?} }}")
    }
}

/// Runs a rank of an MPI program. Call it once, in `main`.
///
/// Every rank must call the same methods of wgrad. A rank that returns `Ok` while the others still train lets them wait
/// until the timeout.
///
/// If `body` returns an error or panics on one rank, this prints the error with the number of the rank, and ends all
/// ranks. It does the same if a rank waits for another one for longer than `timeout`. If a process is killed, `mpirun`
/// ends the others and names it.
pub fn run(
    timeout: Duration,
    body: impl FnOnce(&World) -> std::result::Result<(), Box<dyn std::error::Error>>,
) -> ExitCode {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
        eprintln!("error: MPI is already initialized: call wgrad_mpi::run only once");
        return ExitCode::FAILURE;
    };
    // A communicator of its own: other messages of the program do not get mixed up with its own.
    let communicator = universe.world().duplicate();
    let (rank, count) = (communicator.rank() as u32, communicator.size() as u32);
    let local_rank = communicator.split_shared(communicator.rank()).rank() as u32;
    let world = World { communicator: Mutex::new(communicator), rank, count, local_rank, timeout, _universe: universe };
    if threading < Threading::Serialized {
        world.end_all("this MPI library does not support calls from several threads (MPI_THREAD_SERIALIZED)");
    }
    // A panic that unwinds past here would wait for the other ranks in MPI_Finalize, and they for this one.
    let body = std::panic::AssertUnwindSafe(|| body(&world));
    match std::panic::catch_unwind(body) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => world.end_all(&error.to_string()),
        Err(_) => world.end_all("it has panicked: see its message above"),
    }
}

impl World {
    /// The number of this rank among those of the same machine, from 0.
    pub fn local_rank(&self) -> u32 {
        self.local_rank
    }

    /// A GPU for this rank: those of the machine in turn, by [local rank](Self::local_rank). Hardware GPUs come first.
    /// A software adapter is used only if there is no other, by all ranks.
    ///
    /// # Errors
    /// As [`Gpu::request`].
    pub fn gpu(&self) -> Result<Gpu> {
        Gpu::request_number(self.local_rank)
    }

    /// Prints an error of this rank and ends all ranks.
    fn end_all(&self, reason: &str) -> ! {
        eprintln!("error on rank {} of {}: {reason}", self.rank, self.count);
        // A poisoned lock is no reason to let the other ranks wait.
        self.communicator.lock().unwrap_or_else(std::sync::PoisonError::into_inner).abort(1)
    }

    /// Ends all ranks, because this one has waited too long for another one.
    fn end_late(&self, world: &SimpleCommunicator, rank: usize) -> ! {
        let (own, count) = (self.rank, self.count);
        eprintln!("error on rank {own} of {count}: rank {rank}: did not answer within {:?}", self.timeout);
        world.abort(1)
    }
}

impl Ranks for World {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn exchange(&self, messages: &[&[u32]], received: &mut Vec<Vec<u32>>) -> Result<()> {
        let world = self.communicator.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (own, count) = (self.rank as usize, self.count as usize);
        let wrong = |reason: String| Err(Error::Rank { rank: self.rank, reason });
        if messages.len() != count {
            return wrong(format!("has {} messages for {count} ranks", messages.len()));
        }
        if let Some(words) = messages.iter().map(|message| message.len()).find(|words| i32::try_from(*words).is_err()) {
            return wrong(format!("has a message of {words} words, and MPI's limit is {}", i32::MAX));
        }
        received.resize(count, Vec::new());
        received[own].clear();
        received[own].extend_from_slice(messages[own]);
        let others = (1..count).map(|step| (own + step) % count);
        let process = |rank: usize| world.process_at_rank(rank as i32);
        let mut waiting = Waiting::start();
        let mut buffers: Vec<Option<&mut Vec<u32>>> = received.iter_mut().map(Some).collect();
        mpi::request::scope(|scope| {
            let sends = others.clone().map(|rank| (rank, process(rank).immediate_send(scope, messages[rank])));
            let mut sends: Vec<_> = sends.collect();
            let (mut missing, mut receives): (Vec<usize>, Vec<_>) = (others.collect(), Vec::new());
            loop {
                missing.retain(|&rank| {
                    let Some((message, status)) = process(rank).immediate_matched_probe() else { return true };
                    let Some(buffer) = buffers[rank].take() else { return false };
                    buffer.resize(status.count(u32::equivalent_datatype()) as usize, 0);
                    receives.push((rank, message.immediate_matched_receive_into(scope, &mut buffer[..])));
                    false
                });
                // Both sends and receives go on only while MPI is asked about them.
                sends = sends.into_iter().filter_map(|(rank, send)| Some((rank, send.test().err()?))).collect();
                receives =
                    receives.into_iter().filter_map(|(rank, receive)| Some((rank, receive.test().err()?))).collect();
                let left = missing.iter().chain(receives.iter().map(|(rank, _)| rank));
                let Some(&rank) = left.chain(sends.iter().map(|(rank, _)| rank)).next() else { break };
                if waiting.is_over(self.timeout) {
                    self.end_late(&world, rank);
                }
            }
        });
        Ok(())
    }
}

/// How long a rank has waited for the others.
struct Waiting {
    start: Instant,
}

/// A rank first asks without a pause: a message of some megabytes takes about this long. Then it lets others run, and at
/// last it sleeps between two questions. Several ranks may share a core with each other and with a software adapter.
const EAGER: Duration = Duration::from_micros(500);
const PATIENT: Duration = Duration::from_millis(5);

impl Waiting {
    fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Pauses. Returns whether the wait was longer than the timeout.
    fn is_over(&mut self, timeout: Duration) -> bool {
        match self.start.elapsed() {
            waited if waited < EAGER => std::hint::spin_loop(),
            waited if waited < PATIENT => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
        self.start.elapsed() > timeout
    }
}

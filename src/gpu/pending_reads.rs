//! Results of calls whose encoders the app submits: each arrives in a staging buffer, without waiting.

use std::sync::{Arc, Mutex};

use super::Gpu;
use super::readback_tokens::Tokens;
use crate::callback_future::lock;
use crate::error::Result;

/// The largest number of calls whose results have not arrived.
pub(crate) const MOST_PENDING: usize = 3;

/// Staging buffers for the results of calls.
pub(crate) struct PendingReads {
    slots: [wgpu::Buffer; MOST_PENDING],
    /// Size of the results of a call, in bytes.
    bytes: u64,
    tokens: Tokens,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of slots taken so far.
    calls: u64,
    busy: [bool; MOST_PENDING],
    /// The token in each slot.
    held: [u32; MOST_PENDING],
}

impl PendingReads {
    /// `bytes` is the size of the results of a call.
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Self> {
        gpu.check_alive()?;
        let slot = || gpu.staging(bytes + Tokens::BYTES);
        Ok(Self { slots: [slot()?, slot()?, slot()?], bytes, tokens: Tokens::new(gpu)?, state: Mutex::default() })
    }

    /// Takes a slot for a call, if one is free.
    pub fn begin(self: &Arc<Self>) -> Option<PendingRead> {
        let mut state = lock(&self.state);
        let slot = state.busy.iter().position(|busy| !busy)?;
        state.busy[slot] = true;
        state.calls += 1;
        Some(PendingRead { reads: self.clone(), slot, token: Tokens::of(state.calls, state.held[slot]) })
    }
}

/// A used slot. It is freed when this is dropped: after the results have arrived, or with an encoder that was never
/// submitted.
pub(crate) struct PendingRead {
    reads: Arc<PendingReads>,
    /// Index of the slot.
    pub slot: usize,
    /// The token that the slot holds when this call's results have arrived.
    token: u32,
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        lock(&self.reads.state).busy[self.slot] = false;
    }
}

impl PendingRead {
    /// The buffer that the caller copies the results to, from its start.
    pub fn staging(&self) -> &wgpu::Buffer {
        &self.reads.slots[self.slot]
    }

    /// Records the arrival of the results, after their copies. `arrive` is called with them. It is dropped without a
    /// call if the encoder is dropped or `wgpu` rejects the submission.
    pub fn record(
        self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        arrive: impl FnOnce(Vec<u32>) + wgpu::WasmNotSend + 'static,
    ) {
        let staging = self.staging().clone();
        self.reads.tokens.record(encoder, self.token, &staging, self.reads.bytes);
        let of_mapping = gpu.clone();
        gpu.record_map(encoder, &staging, move |mapped| {
            let words = mapped.ok().and_then(|()| of_mapping.take_mapped(self.staging()));
            let Some(mut words) = words else { return };
            // Of a rejected submission, the slot still has an older token.
            if words.get(self.reads.bytes as usize / 4) == Some(&self.token) {
                lock(&self.reads.state).held[self.slot] = self.token;
                words.truncate(self.reads.bytes as usize / 4);
                arrive(words);
            }
        });
    }
}

//! Tokens that identify the call whose results are in a staging buffer.

use super::Gpu;
use crate::error::Result;

/// Tokens that a submission copies beside its results. `wgpu` maps a staging buffer even if it rejected the
/// submission. The buffer then holds zeros or an older call's results, with an older call's token.
#[derive(Debug)]
pub(crate) struct Tokens(wgpu::Buffer);

/// Number of tokens.
const COUNT: u32 = 256;

impl Tokens {
    /// Size of a token in a staging buffer, in bytes.
    pub const BYTES: u64 = 4;

    pub fn new(gpu: &Gpu) -> Result<Self> {
        let tokens: Vec<u32> = (1..=COUNT).collect();
        Ok(Self(gpu.upload("numbers of calls", bytemuck::cast_slice(&tokens))?))
    }

    /// The token of a call. It differs from `held`, the token that the call's staging buffer holds (0 for none).
    pub fn of(call: u64, held: u32) -> u32 {
        let token = |call: u64| (call % u64::from(COUNT)) as u32 + 1;
        match token(call) == held {
            true => token(call.wrapping_add(1)),
            false => token(call),
        }
    }

    /// Records the copy of a token to `offset` bytes into a staging buffer.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, token: u32, staging: &wgpu::Buffer, offset: u64) {
        encoder.copy_buffer_to_buffer(&self.0, u64::from(token - 1) * 4, staging, offset, Self::BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;

    #[test]
    fn a_token_is_never_the_one_that_is_there() {
        for call in (0..600).chain([u64::MAX]) {
            for held in 0..=256 {
                let token = Tokens::of(call, held);
                assert!(token != held && (1..=256).contains(&token), "call {call}, held {held}");
            }
        }
    }
}

//! Which call the contents of a staging buffer are of.

use crate::error::Result;
use crate::gpu::Gpu;

/// Numbers that a submission copies beside its results. `wgpu` maps a staging buffer even where it refused the submission that
/// was to fill it: then the buffer holds zeros, or an older call's results, and an older call's number.
#[derive(Debug)]
pub(super) struct Tokens(wgpu::Buffer);

/// How many there are.
const COUNT: u32 = 256;

impl Tokens {
    /// Bytes that a staging buffer needs for a token.
    pub const BYTES: u64 = 4;

    pub fn new(gpu: &Gpu) -> Result<Self> {
        let tokens: Vec<u32> = (1..=COUNT).collect();
        Ok(Self(gpu.upload("numbers of calls", bytemuck::cast_slice(&tokens))?))
    }

    /// The token of a call whose results go to a buffer that holds the token `held`, or 0: another one.
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

//! Damaged copies of files: cut short, and with changed bytes. The same in every run.

/// Calls `read` with each damaged copy. `read` must return and not panic; it says whether it accepted the file. Returns
/// how many copies it refused.
pub fn each(files: &[impl AsRef<[u8]>], copies: usize, mut read: impl FnMut(&[u8]) -> bool) -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit.max(1) as u64) as usize
    };
    let mut refused = 0;
    for copy in 0..copies {
        let mut bytes = files[copy % files.len()].as_ref().to_vec();
        let length = bytes.len();
        match copy / files.len() % 4 {
            0 => bytes.truncate(below(length)),
            // Most structure is near the start.
            1 => (0..=below(4)).for_each(|_| bytes[below(length.min(512))] = below(256) as u8),
            2 => (0..=below(16)).for_each(|_| bytes[below(length)] = [0, 1, 0x7f, 0x80, 0xff][below(5)]),
            _ => {
                let (from, to, count) = (below(length), below(length), below(64));
                let moved = bytes[from..length.min(from + count)].to_vec();
                let end = length.min(to + moved.len());
                bytes[to..end].copy_from_slice(&moved[..end - to]);
            }
        }
        refused += usize::from(!read(&bytes));
    }
    refused
}

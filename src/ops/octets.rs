//! Texts of kernels for software adapters in which each lane owns eight neighbouring columns of a row.

use super::template::expand;
use super::*;

/// What all such kernels share.
pub(crate) const OCTETS: &str = text!("software/words.wgsl", "software/octets.wgsl");

/// A buffer of f32 numbers in such a kernel.
pub(crate) struct Octets<'a> {
    pub name: &'a str,
    pub binding: usize,
    pub written: bool,
    /// Whether rows that are accessed as octets begin at multiples of eight numbers, so that words have 64 bits.
    pub wide: bool,
    /// Whether the kernel also reads pairs of numbers, and stores rows that are no whole octets: pairs, and `thin`.
    pub thin: bool,
}

impl Octets<'_> {
    /// Declares the buffer and the functions that access it.
    pub fn text(&self) -> String {
        let Self { name, binding, written, wide, thin } = *self;
        let access = if written { "read_write" } else { "read" };
        let (numbers, functions) = match wide {
            true => ("vec4<u64>", text!("software/octets.wide.wgsl.in")),
            false => ("f32", text!("software/octets.single.wgsl.in")),
        };
        let functions = expand(
            functions,
            &[("pair", 4)],
            &[
                ("BUFFER is written", written),
                ("BUFFER has thin rows", thin),
                ("thin rows of BUFFER are stored", written && thin),
            ],
        );
        format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{numbers}>;\n")
            + &functions.replace("BUFFER", name)
    }
}

/// Whether a tensor's rows are whole octets at multiples of eight numbers.
pub(crate) fn has_whole_octets(tensor: &Tensor) -> bool {
    tensor.columns().is_multiple_of(8)
}

//! Operands of an op: bindings on the GPU, and slices of main memory for the CPU twin and the bounds.

use std::ops::Range;

use super::{DataInfo, StepState, Tensor};

/// How an op accesses a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The op only reads the tensor.
    Read,
    /// The op writes every element and reads none.
    Write,
    /// The op reads and writes elements, or writes only some of them.
    ReadWrite,
}

/// A storage binding of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    /// `None` if this op does not use the binding.
    pub tensor: Option<Tensor>,
    pub access: Access,
    /// Bytes of scratch memory. It passes values from one launch of an op to the next.
    pub scratch: u64,
}

impl Operand {
    pub fn is_written(&self) -> bool {
        self.access != Access::Read
    }

    /// Least number of bytes read and written.
    pub fn traffic(&self) -> u64 {
        self.tensor.map_or(0, |t| t.bytes()) * if self.access == Access::ReadWrite { 2 } else { 1 }
    }
}

pub(crate) fn read(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { tensor: tensor.into(), access: Access::Read, scratch: 0 }
}

/// Read access to a tensor with any strides: see [`Tensor::bound`].
pub(crate) fn read_bound(tensor: Tensor) -> Operand {
    read(tensor.bound().0)
}

/// A tensor that is fully overwritten.
pub(crate) fn write(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { access: Access::Write, ..read(tensor) }
}

/// A tensor that is read and written, or partly written.
pub(crate) fn change(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { access: Access::ReadWrite, ..read(tensor) }
}

/// Scratch memory of this many words, which a launch writes for the next one.
pub(crate) fn write_scratch(words: u64) -> Operand {
    Operand { scratch: words * 4, ..write(None) }
}

/// Scratch memory that the previous launch has written.
pub(crate) fn read_scratch(words: u64) -> Operand {
    Operand { access: Access::Read, ..write_scratch(words) }
}

/// Implements the name and the operands of a [`Kernel`](super::Kernel) from `"stem": read x, write y`. The operands
/// are in the order of the shader's bindings.
macro_rules! binds {
    ($stem:literal: $($how:ident $field:ident),+) => {
        fn stem(&self) -> &'static str {
            $stem
        }

        fn operands(&self) -> Vec<Operand> {
            vec![$($how(self.$field)),+]
        }

        fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
            // Some fields are optional.
            let tensors: Vec<Option<&mut Tensor>> = vec![$((&mut self.$field).into()),+];
            tensors.into_iter().flatten().collect()
        }
    };
}
pub(crate) use binds;

/// Operands of an op in main memory, looked up by tensor. A tensor of unknown length covers its whole buffer.
pub(crate) struct Operands<'a> {
    slices: Vec<(Tensor, Slice<'a>)>,
    /// Rows that the CPU twin computes, out of [`Kernel::rows`](super::Kernel::rows).
    pub rows: Range<usize>,
}

enum Slice<'a> {
    Read(&'a [u32]),
    Written(&'a mut [u32]),
    Taken,
}

impl<'a> Operands<'a> {
    /// Operands in the buffers of a plan. `range` returns a tensor's words, given the buffer's length in words.
    pub fn new(
        operands: &[Operand],
        rows: Range<usize>,
        buffers: impl Iterator<Item = &'a mut [u32]>,
        range: impl Fn(Tensor, usize) -> Range<usize>,
    ) -> Self {
        let mut used: Vec<(Tensor, bool)> =
            operands.iter().filter_map(|o| o.tensor.map(|tensor| (tensor, o.is_written()))).collect();
        // Of inputs that begin at the same word, the longest comes first.
        used.sort_by_key(|(tensor, _)| (tensor.buffer, tensor.offset, std::cmp::Reverse(tensor.len())));
        let mut slices = Vec::with_capacity(used.len());
        let mut buffers = buffers.enumerate();
        for here in used.chunk_by(|a, b| a.0.buffer == b.0.buffer) {
            let words = buffers.find(|(i, _)| *i == here[0].0.buffer.0).expect("a buffer of the plan").1;
            let len = words.len();
            if here.iter().all(|(_, written)| !written) {
                let words: &'a [u32] = words;
                slices.extend(here.iter().map(|&(t, _)| (t, Slice::Read(&words[range(t, len)]))));
                continue;
            }
            // An output overlaps no other operand in its buffer. Inputs may overlap each other.
            let (mut rest, mut at) = (words, 0);
            let mut before: (usize, &'a [u32]) = (0, &[]);
            for &(tensor, is_written) in here {
                let Range { start, end } = range(tensor, len);
                if start < at && !is_written {
                    let (first, words) = before;
                    slices.push((tensor, Slice::Read(&words[start - first..end - first])));
                    continue;
                }
                let (own, after) = std::mem::take(&mut rest)[start - at..].split_at_mut(end - start);
                (rest, at) = (after, end);
                if is_written {
                    slices.push((tensor, Slice::Written(own)));
                } else {
                    before = (start, own);
                    slices.push((tensor, Slice::Read(before.1)));
                }
            }
        }
        Self { slices, rows }
    }

    /// All operands as read-only slices, outputs included. The bounds use them.
    pub fn all_read(operands: &[Operand], mut words: impl FnMut(Tensor) -> &'a [u32]) -> Self {
        let tensors = operands.iter().filter_map(|operand| operand.tensor);
        Self { slices: tensors.map(|tensor| (tensor, Slice::Read(words(tensor)))).collect(), rows: 0..0 }
    }

    /// The same operands for a CPU twin. `words` are the memory of the written operands, in order.
    pub fn with_outputs<'b>(&'b self, operands: &[Operand], words: &'b mut [Vec<u32>]) -> Operands<'b> {
        let mut words = words.iter_mut();
        let slice = |operand: &Operand| {
            let tensor = operand.tensor?;
            let slice = match operand.is_written() {
                true => Slice::Written(words.next()?),
                false => Slice::Read(self.words(tensor)),
            };
            Some((tensor, slice))
        };
        Operands { slices: operands.iter().filter_map(slice).collect(), rows: 0..0 }
    }

    fn find(&self, tensor: Tensor) -> usize {
        self.slices.iter().position(|(own, _)| *own == tensor).expect("an operand of the op")
    }

    /// Values of a tensor that the op reads.
    pub fn words(&self, tensor: Tensor) -> &'a [u32] {
        match self.slices[self.find(tensor)].1 {
            Slice::Read(words) => words,
            _ => panic!("{tensor:?} is written, not read"),
        }
    }

    pub fn f32s(&self, tensor: Tensor) -> &'a [f32] {
        bytemuck::cast_slice(self.words(tensor))
    }

    pub fn f64s(&self, tensor: Tensor) -> Vec<f64> {
        self.f32s(tensor).iter().copied().map(f64::from).collect()
    }

    pub fn step(&self, tensor: Tensor) -> StepState {
        bytemuck::cast_slice(self.words(tensor))[0]
    }

    pub fn data(&self, tensor: Tensor) -> DataInfo {
        bytemuck::cast_slice(self.words(tensor))[0]
    }

    /// Values of a tensor that the op writes. They can be taken once.
    pub fn out<T: bytemuck::Pod>(&mut self, tensor: Tensor) -> &'a mut [T] {
        let at = self.find(tensor);
        match std::mem::replace(&mut self.slices[at].1, Slice::Taken) {
            Slice::Written(words) => bytemuck::cast_slice_mut(words),
            _ => panic!("{tensor:?} is not written, or was taken before"),
        }
    }
}

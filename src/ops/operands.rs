//! What an op binds, and the same as slices of main memory for its twin and its bounds.

use std::ops::Range;

use super::{DataInfo, StepState, Tensor};

/// How an op uses a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written.
    Read,
    /// Every element is written, none is read.
    Write,
    /// What is there matters, and elements may stay as they are.
    ReadWrite,
}

/// A storage binding of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    /// `None` where this op leaves it unused.
    pub tensor: Option<Tensor>,
    pub access: Access,
    /// Bytes that are of no tensor, left by one launch of an op for the next.
    pub scratch: u64,
}

impl Operand {
    pub fn is_written(&self) -> bool {
        self.access != Access::Read
    }

    /// Bytes that must be read and written at least.
    pub fn traffic(&self) -> u64 {
        self.tensor.map_or(0, |t| t.bytes()) * if self.access == Access::ReadWrite { 2 } else { 1 }
    }
}

pub(crate) fn read(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { tensor: tensor.into(), access: Access::Read, scratch: 0 }
}

/// What is bound of a tensor with any strides.
pub(crate) fn read_bound(tensor: Tensor) -> Operand {
    read(tensor.bound().0)
}

/// A tensor that is overwritten as a whole.
pub(crate) fn write(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { access: Access::Write, ..read(tensor) }
}

/// A tensor that is read and written, or written in part.
pub(crate) fn change(tensor: impl Into<Option<Tensor>>) -> Operand {
    Operand { access: Access::ReadWrite, ..read(tensor) }
}

/// Words that one launch of an op leaves there for the next.
pub(crate) fn leave(words: u64) -> Operand {
    Operand { scratch: words * 4, ..write(None) }
}

/// What the launch before has left.
pub(crate) fn left(words: u64) -> Operand {
    Operand { access: Access::Read, ..leave(words) }
}

/// From `"stem": read x, write y`, in the order of the shader's bindings: a [`Kernel`](super::Kernel)'s name and
/// tensors.
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

/// The operands of an op in main memory, found by their tensors. What is known at run time only is there as a whole.
pub(crate) struct Operands<'a> {
    parts: Vec<(Tensor, Part<'a>)>,
    /// The rows that the twin is to make, of as many as [`Kernel::rows`](super::Kernel::rows) says.
    pub rows: Range<usize>,
}

enum Part<'a> {
    Read(&'a [u32]),
    Written(&'a mut [u32]),
    Taken,
}

impl<'a> Operands<'a> {
    /// In the buffers of a plan; `range` tells where in one of so many words a tensor lies.
    pub fn new(
        operands: &[Operand],
        rows: Range<usize>,
        buffers: impl Iterator<Item = &'a mut [u32]>,
        range: impl Fn(Tensor, usize) -> Range<usize>,
    ) -> Self {
        let mut used: Vec<(Tensor, bool)> =
            operands.iter().filter_map(|o| o.tensor.map(|tensor| (tensor, o.is_written()))).collect();
        used.sort_by_key(|(tensor, _)| (tensor.buffer, tensor.offset));
        let mut parts = Vec::with_capacity(used.len());
        let mut buffers = buffers.enumerate();
        for here in used.chunk_by(|a, b| a.0.buffer == b.0.buffer) {
            let words = buffers.find(|(i, _)| *i == here[0].0.buffer.0).expect("a buffer of the plan").1;
            let len = words.len();
            if here.iter().all(|(_, written)| !written) {
                let words: &'a [u32] = words;
                parts.extend(here.iter().map(|&(t, _)| (t, Part::Read(&words[range(t, len)]))));
                continue;
            }
            // Several outputs in one buffer lie apart.
            let (mut rest, mut at) = (words, 0);
            for &(tensor, _) in here {
                let Range { start, end } = range(tensor, len);
                let (own, after) = std::mem::take(&mut rest)[start - at..].split_at_mut(end - start);
                parts.push((tensor, Part::Written(own)));
                (rest, at) = (after, end);
            }
        }
        Self { parts, rows }
    }

    /// All of them to be read, also what the op will write: for its bounds.
    pub fn all_read(operands: &[Operand], mut words: impl FnMut(Tensor) -> &'a [u32]) -> Self {
        let tensors = operands.iter().filter_map(|operand| operand.tensor);
        Self { parts: tensors.map(|tensor| (tensor, Part::Read(words(tensor)))).collect(), rows: 0..0 }
    }

    /// The same for a twin: what it is to write are these words, those of each such operand.
    pub fn with_outputs<'b>(&'b self, operands: &[Operand], words: &'b mut [Vec<u32>]) -> Operands<'b> {
        let mut words = words.iter_mut();
        let part = |operand: &Operand| {
            let tensor = operand.tensor?;
            let part = match operand.is_written() {
                true => Part::Written(words.next()?),
                false => Part::Read(self.words(tensor)),
            };
            Some((tensor, part))
        };
        Operands { parts: operands.iter().filter_map(part).collect(), rows: 0..0 }
    }

    fn find(&self, tensor: Tensor) -> usize {
        self.parts.iter().position(|(own, _)| *own == tensor).expect("an operand of the op")
    }

    /// What a tensor that is read holds.
    pub fn words(&self, tensor: Tensor) -> &'a [u32] {
        match self.parts[self.find(tensor)].1 {
            Part::Read(words) => words,
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

    /// A tensor that is written, to be asked for once.
    pub fn out<T: bytemuck::Pod>(&mut self, tensor: Tensor) -> &'a mut [T] {
        let at = self.find(tensor);
        match std::mem::replace(&mut self.parts[at].1, Part::Taken) {
            Part::Written(words) => bytemuck::cast_slice_mut(words),
            _ => panic!("{tensor:?} is not written, or was taken before"),
        }
    }
}

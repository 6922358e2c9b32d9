//! The kernels of a custom layer, and the tensors that they may use.

use std::ops::Deref;

use crate::error::{Error, Result};
use crate::ops::{
    Access, BufferId, Combination, Combine, CustomOp, Dtype, Layout, Matmul, Op, Reduce, Reduction, Tensor, rows,
    seen_as,
};
use crate::shape::{LONGEST_TENSOR, Shape};

/// The tensors that the kernels of a pass may use.
///
/// The first dimension of each tensor is the batch, except for parameters and states. In a partial batch, the missing
/// rows hold arbitrary values in the forward pass. In the backward pass, their output gradients are zeros.
#[derive(Debug, Clone, Default)]
pub struct LayerTensors {
    /// The inputs.
    pub inputs: Vec<Tensor>,
    /// The outputs. The forward pass writes them, and the backward pass may read them.
    pub outputs: Vec<Tensor>,
    /// The parameters.
    pub parameters: Vec<Tensor>,
    /// The states. The forward pass may change them in training.
    pub states: Vec<Tensor>,
    /// The gradient of each output. `None` if no loss depends on the output. Empty in the forward pass.
    pub output_gradients: Vec<Option<Tensor>>,
    /// The gradient of each input, to be written. `None` if it is not needed. Empty in the forward pass.
    pub input_gradients: Vec<Option<Tensor>>,
    /// The gradient of each parameter, to be written. `None` if the parameter is frozen. Empty in the forward pass.
    pub parameter_gradients: Vec<Option<Tensor>>,
    /// Whether the plan trains. Only then may the forward pass change states.
    pub is_training: bool,
}

/// Collects the kernels of a [`CustomLayer`](crate::CustomLayer)'s forward or backward pass, in order. Its fields are
/// those of [`LayerTensors`], such as `ops.inputs`.
pub struct LayerOps<'a> {
    /// Private, because the engine's own kernels do not check indices.
    pub(crate) tensors: LayerTensors,
    pub(crate) layer: &'a str,
    /// Intermediate tensors of the layer, by name.
    pub(crate) own: Vec<(String, Tensor)>,
    /// The number of intermediate tensors that the forward pass made, if this is the backward pass.
    pub(crate) before: usize,
    /// The index of the plan's buffer for the next intermediate tensor.
    pub(crate) next: usize,
    pub(crate) ops: Vec<Op>,
}

impl Deref for LayerOps<'_> {
    type Target = LayerTensors;

    fn deref(&self) -> &LayerTensors {
        &self.tensors
    }
}

impl LayerOps<'_> {
    /// Makes an intermediate tensor of this shape. A kernel must write it before another one reads it. The backward
    /// pass gets it with [`made`](Self::made).
    ///
    /// # Errors
    /// [`Error::Layer`] if the name is taken, or if the shape has no elements or more than 2³⁰.
    pub fn tensor(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Result<Tensor> {
        let (name, shape) = (name.into(), shape.into());
        if self.own.iter().any(|(other, _)| *other == name) {
            return self.fault(format!("tensor {name}: expected a name that no other tensor of the layer has"));
        }
        if shape.elements() == 0 || shape.elements() > LONGEST_TENSOR {
            return self.fault(format!("tensor {name}: expected 1 to {LONGEST_TENSOR} numbers, got {shape:?}"));
        }
        let tensor = Tensor::new(BufferId(self.next), Dtype::F32, shape);
        self.next += 1;
        self.own.push((name, tensor));
        Ok(tensor)
    }

    /// An intermediate tensor that this pass, or the forward pass before it, has made.
    ///
    /// # Errors
    /// [`Error::Layer`] if there is no tensor with this name.
    pub fn made(&self, name: &str) -> Result<Tensor> {
        let found = self.own.iter().find(|(own, _)| own == name);
        found.map_or_else(
            || self.fault(format!("tensor {name}: expected a tensor made by LayerOps::tensor, got none of this name")),
            |(_, tensor)| Ok(*tensor),
        )
    }

    /// The gradient of an output, for the backward pass.
    ///
    /// # Errors
    /// [`Error::Layer`] in the forward pass, or if no loss depends on the output.
    pub fn output_gradient(&self, output: usize) -> Result<Tensor> {
        let gradient = self.output_gradients.get(output).copied().flatten();
        gradient.map_or_else(
            || {
                self.fault(format!(
                    "output {output}: no gradient, because this is the forward pass or no loss reads the output"
                ))
            },
            Ok,
        )
    }

    /// Adds a kernel.
    ///
    /// # Errors
    /// - [`Error::Layer`] if it reads or writes a tensor that it may not use.
    /// - [`Error::Layer`] if it reads and writes the same buffer. Parameters and states share a buffer, so a kernel
    ///   that changes a state cannot read a parameter.
    /// - [`Error::Shape`] if a name is not an identifier or is used twice, or if there are more than 7 tensors.
    pub fn run(&mut self, op: CustomOp) -> Result<()> {
        let op = op.of_layer(self.layer);
        op.check()?;
        let kernel = format!("kernel {}", op.name());
        let used: Vec<(&str, Tensor, Access)> = op.tensors().collect();
        for &(name, tensor, access) in &used {
            self.check_use(&kernel, name, tensor, access)?;
        }
        for (i, &(name, tensor, _)) in used.iter().enumerate().filter(|(_, (.., access))| *access != Access::Read) {
            let binds_again = |&(j, (_, other, access)): &(usize, &(&str, Tensor, Access))| match access {
                Access::Read => other.buffer == tensor.buffer,
                _ => j != i && other.overlaps(&tensor),
            };
            if used.iter().enumerate().any(|other| binds_again(&other)) {
                let what = "and binds the same memory a second time; WebGPU allows one binding of written memory";
                return self.fault(format!("{kernel} writes {name} {what}"));
            }
        }
        self.ops.push(op.into());
        Ok(())
    }

    /// Adds a matmul by the engine's own kernels: output = A · B.
    ///
    /// [`Layout::Nn`] multiplies \[m, k\] by \[k, n\]. The other [`Layout`]s transpose A or B. All dimensions except
    /// the last count as rows.
    ///
    /// # Errors
    /// [`Error::Layer`] if the shapes do not match, or if this pass may not use a tensor.
    pub fn matmul(&mut self, a: Tensor, b: Tensor, layout: Layout, output: Tensor) -> Result<()> {
        self.check_engine("matmul", &[("A", a), ("B", b)], output)?;
        let [a, b, c] = [a, b, output].map(rows);
        let ([m, k], [inner, n]) = match layout {
            Layout::Nn => ([a.rows(), a.columns()], [b.rows(), b.columns()]),
            Layout::Nt => ([a.rows(), a.columns()], [b.columns(), b.rows()]),
            Layout::Tn => ([a.columns(), a.rows()], [b.rows(), b.columns()]),
        };
        if k != inner || [c.rows(), c.columns()] != [m, n] {
            let shapes = format!("{:?} · {:?} -> {:?}, {layout:?}", a.shape, b.shape, c.shape);
            return self.fault(format!("matmul: expected shapes [m, k] · [k, n] -> [m, n], got {shapes}"));
        }
        self.ops.push(Matmul::new(a, b, c, layout).into());
        Ok(())
    }

    /// Adds an elementwise addition: output = a + b. b [broadcasts](Shape::broadcast), so it can be a bias.
    ///
    /// # Errors
    /// The errors of [`matmul`](Self::matmul).
    pub fn add(&mut self, a: Tensor, b: Tensor, output: Tensor) -> Result<()> {
        self.check_engine("add", &[("a", a), ("b", b)], output)?;
        if a.shape.broadcast(&b.shape) != Some(output.shape) {
            let shapes = format!("{:?} + {:?} -> {:?}", a.shape, b.shape, output.shape);
            return self.fault(format!("add: expected shapes that broadcast to the shape of the output, got {shapes}"));
        }
        // As rows, a bias can be fused into the matmul before it.
        let [a, output] = if b.shape.len() == 1 { [a, output].map(rows) } else { [a, output] };
        self.ops.push(Combine { a, b, output, how: Combination::Add }.into());
        Ok(())
    }

    /// Adds the sum over all rows: output = \[columns\]. This is the gradient of a bias.
    ///
    /// # Errors
    /// The errors of [`matmul`](Self::matmul).
    pub fn sum_rows(&mut self, input: Tensor, output: Tensor) -> Result<()> {
        self.check_engine("sum_rows", &[("input", input)], output)?;
        let input = rows(input);
        if output.len() != input.columns() {
            return self.fault(format!(
                "sum_rows: expected one output per column, got {:?} -> {:?}",
                input.shape, output.shape
            ));
        }
        let output = seen_as(output, [1, output.len()]);
        self.ops.push(Reduce { input, output, how: Reduction::Sum }.into());
        Ok(())
    }

    /// Allows only whole tensors of this pass, because the engine's kernels do not check indices.
    fn check_engine(&self, what: &str, reads: &[(&str, Tensor)], output: Tensor) -> Result<()> {
        for &(name, tensor) in reads {
            self.check_use(what, name, tensor, Access::Read)?;
        }
        self.check_use(what, "output", output, Access::Write)?;
        match reads.iter().any(|(_, tensor)| tensor.buffer == output.buffer) {
            true => self.fault(format!("{what} reads and writes the same memory, which WebGPU does not allow")),
            false => Ok(()),
        }
    }

    /// Returns an error for a tensor that a kernel of this pass may not use in this way. A tensor that the pass makes
    /// is written once, before it is read. Fusing relies on this, and its memory may hold other data before.
    fn check_use(&self, kernel: &str, name: &str, tensor: Tensor, access: Access) -> Result<()> {
        let (way, verb, is_written) =
            if access == Access::Read { ("reads", "read", false) } else { ("writes", "write", true) };
        let is = |own: &Tensor| {
            (own.buffer, own.offset, own.dtype) == (tensor.buffer, tensor.offset, tensor.dtype)
                && own.shape.elements() == tensor.shape.elements()
                && tensor.is_packed()
        };
        let in_backward = self.in_backward();
        let outputs = self.outputs.iter().filter(|_| !in_backward);
        let gradients = self.input_gradients.iter().chain(&self.parameter_gradients).flatten();
        let is_made_here = outputs.chain(gradients).chain(self.own[self.before..].iter().map(|(_, t)| t)).any(is);
        if is_made_here {
            let has_been_written = self.ops.iter().any(|op| op.outputs().iter().any(|(written, _)| is(written)));
            return match (access, has_been_written) {
                (Access::Write, true) => self.fault(format!(
                    "{kernel} writes {name}, which an earlier kernel writes; use a new tensor, or CustomOp::change"
                )),
                (Access::Read | Access::ReadWrite, false) => {
                    self.fault(format!("{kernel} reads {name}, which no earlier kernel writes"))
                }
                _ => Ok(()),
            };
        }
        let is_state = self.states.iter().any(is);
        let given = self.inputs.iter().chain(&self.parameters).chain(&self.outputs);
        let given = given.chain(self.own.iter().map(|(_, own)| own)).chain(self.output_gradients.iter().flatten());
        let is_allowed = match is_written {
            true => is_state && self.is_training && !in_backward,
            false => is_state || given.into_iter().any(is),
        };
        let shape = tensor.shape;
        match is_allowed {
            true => Ok(()),
            false => self.fault(format!("{kernel} {way} {name} {shape:?}, a tensor that this pass must not {verb}")),
        }
    }

    fn in_backward(&self) -> bool {
        !self.output_gradients.is_empty()
    }

    /// Returns an error if no kernel writes a tensor that must be written.
    pub(crate) fn check_written(&self) -> Result<()> {
        let in_backward = self.in_backward();
        let numbered = |of: &'static str, tensors: &[Option<Tensor>]| {
            tensors.iter().enumerate().filter_map(|(i, t)| t.map(|t| (format!("{of} {i}"), t))).collect::<Vec<_>>()
        };
        let outputs: Vec<Option<Tensor>> = self.outputs.iter().copied().map(Some).collect();
        let wanted = match in_backward {
            false => numbered("output", &outputs),
            true => [
                numbered("the gradient of input", &self.input_gradients),
                numbered("the gradient of parameter", &self.parameter_gradients),
            ]
            .concat(),
        };
        let own = self.own[self.before..].iter().map(|(name, tensor)| (format!("tensor {name}"), *tensor));
        for (what, tensor) in wanted.into_iter().chain(own) {
            let is = |(t, _): &(Tensor, Access)| t.buffer == tensor.buffer && t.offset == tensor.offset;
            if !self.ops.iter().any(|op| op.outputs().iter().any(is)) {
                let pass = if in_backward { "backward" } else { "forward" };
                return self.fault(format!("no kernel of its {pass} pass writes {what}"));
            }
        }
        Ok(())
    }

    fn fault<T>(&self, fault: String) -> Result<T> {
        Err(Error::Layer { layer: self.layer.into(), fault })
    }
}

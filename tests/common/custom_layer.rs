//! A custom layer of which tests replace parts, shared by the tests of custom layers and of errors.

use std::sync::Arc;

use wgrad::plan::Tensor;
use wgrad::*;

pub type Pass = Arc<dyn Fn(&mut LayerOps<'_>) -> Result<()> + Send + Sync>;

/// A layer y = x. A test may replace any part of it.
#[derive(Clone)]
pub struct Made {
    pub kind: &'static str,
    pub outputs: Vec<Shape>,
    pub parameters: Vec<CustomParameter>,
    pub states: Vec<CustomParameter>,
    pub forward: Pass,
    pub backward: Pass,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl Default for Made {
    fn default() -> Self {
        let [forward, backward] = [
            pass(|ops| copy(ops, ops.inputs[0], ops.outputs[0])),
            pass(|ops| copy(ops, ops.output_gradient(0)?, ops.input_gradients[0].unwrap())),
        ];
        let (parameters, states) = (Vec::new(), Vec::new());
        Self { kind: "made", outputs: vec![FEATURES.into()], parameters, states, forward, backward }
    }
}

impl CustomLayer for Made {
    fn kind(&self) -> &str {
        self.kind
    }

    fn shapes(&self, _: &[Shape]) -> Result<Vec<Shape>> {
        Ok(self.outputs.clone())
    }

    fn parameters(&self, _: &[Shape]) -> Vec<CustomParameter> {
        self.parameters.clone()
    }

    fn states(&self, _: &[Shape]) -> Vec<CustomParameter> {
        self.states.clone()
    }

    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        (self.forward)(ops)
    }

    fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        (self.backward)(ops)
    }
}

pub const FEATURES: u32 = 8;
/// The kernel of `copy`.
pub const COPY: &str = "fn run(i: u32) { y[i] = x[i]; }";

pub fn pass(pass: impl Fn(&mut LayerOps<'_>) -> Result<()> + Send + Sync + 'static) -> Pass {
    Arc::new(pass)
}

pub fn copy(ops: &mut LayerOps<'_>, x: Tensor, y: Tensor) -> Result<()> {
    let kernel = CustomOp::new("copy", COPY);
    ops.run(kernel.read("x", x).write("y", y).invocations(y.len().clamp(1, 1 << 20)))
}

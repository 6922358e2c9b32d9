//! A custom layer, the sine layer of SIREN (Sitzmann et al., 2020): y = sin(omega · (x · W + b)).

use wgrad::plan::{Layout, Tensor};
use wgrad::{CustomLayer, CustomOp, CustomParameter, Error, Init, LayerOps, Result, Shape};

/// A sine layer. The first layer of a network (`is_first`) has other initial weights.
#[derive(Debug)]
pub struct Sine {
    pub units: u32,
    pub omega: f32,
    pub is_first: bool,
}

/// WGSL's sine is exact only near 0, so this reduces the angle to −π to π.
const ANGLE: &str = "fn angle(z: f32) -> f32 { return 6.2831853 * (fract(omega / 6.2831853 * z + 0.5) - 0.5); }";
const FORWARD: &str = "fn run(i: u32) { y[i] = sin(angle(z[i])); }";
const BACKWARD: &str = "fn run(i: u32) { dz[i] = dy[i] * omega * cos(angle(z[i])); }";

impl Sine {
    fn kernel(&self, name: &str, text: &str, z: Tensor) -> CustomOp {
        let kernel = CustomOp::new(name, [ANGLE, text].concat()).read("z", z);
        kernel.constant("omega", self.omega).invocations(z.len())
    }
}

impl CustomLayer for Sine {
    fn kind(&self) -> &str {
        "sine"
    }
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        match inputs {
            [x] if x.len() == 1 => Ok(vec![self.units.into()]),
            _ => Err(Error::shape("sine layer", "one input of shape [features]", format!("{inputs:?}"))),
        }
    }
    fn parameters(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        let n = inputs[0][0];
        let bound = if self.is_first { 1.0 / n as f32 } else { (6.0 / n as f32).sqrt() / self.omega };
        let weight = CustomParameter::new("weight", [n, self.units], Init::Uniform { bound });
        vec![weight, CustomParameter::new("bias", self.units, Init::Uniform { bound })]
    }
    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (y, omega) = (ops.outputs[0], self.omega);
        let (xw, z) = (ops.tensor("xw", y.shape)?, ops.tensor("z", y.shape)?);
        ops.matmul(ops.inputs[0], ops.parameters[0], Layout::Nn, xw)?;
        ops.add(xw, ops.parameters[1], z)?;
        // WGSL allows an error of 2⁻¹¹ for a sine. The twin is the CPU reference, in Rust.
        ops.run(self.kernel("forward", FORWARD, z).write("y", y).twin(1e-3, move |at| {
            at.write("y").iter_mut().zip(at.read("z")).for_each(|(y, z)| *y = (omega * z).sin());
        }))
    }
    fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (dy, z, omega) = (ops.output_gradient(0)?, ops.made("z")?, self.omega);
        let dz = ops.tensor("dz", z.shape)?;
        ops.run(self.kernel("backward", BACKWARD, z).read("dy", dy).write("dz", dz).twin(1e-3, move |at| {
            let each = at.read("dy").iter().zip(at.read("z"));
            at.write("dz").iter_mut().zip(each).for_each(|(dz, (dy, z))| *dz = dy * omega * (omega * z).cos());
        }))?;
        if let Some(dx) = ops.input_gradients[0] {
            ops.matmul(dz, ops.parameters[0], Layout::Nt, dx)?;
        }
        let [Some(dw), Some(db)] = ops.parameter_gradients[..] else { return Ok(()) };
        ops.matmul(ops.inputs[0], dz, Layout::Tn, dw)?;
        ops.sum_rows(dz, db)
    }
}

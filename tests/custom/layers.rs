//! Layers of an app's own.

use wgrad::plan::Layout;
use wgrad::{
    Activation::*, Adam, CustomLayer, CustomOp, CustomParameter, Dataset, Device, Fit, Init, LayerOps, Loss, Network,
    Plan, Result, Shape, Trainer, TrainerConfig,
};

use crate::common::*;

/// y = sin(omega · (x · W + b)), by the engine's products and kernels of its own.
#[derive(Debug)]
pub struct Sine {
    pub units: u32,
    pub omega: f32,
}

impl CustomLayer for Sine {
    fn kind(&self) -> &str {
        "sine"
    }

    fn options(&self) -> String {
        format!("{{\"units\":{},\"omega\":{:?}}}", self.units, self.omega)
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        match inputs {
            [x] if x.len() == 1 => Ok(vec![self.units.into()]),
            _ => Err(wgrad::Error::shape("sine", "a row of features", format!("{inputs:?}"))),
        }
    }

    fn parameters(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        let init = Init::Uniform { bound: (6.0 / inputs[0][0] as f32).sqrt() / self.omega };
        let own = |name: &str, shape: Shape| CustomParameter::new(name, shape, init);
        vec![own("weight", [inputs[0][0], self.units].into()), own("bias", self.units.into())]
    }

    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (x, y) = (ops.inputs[0], ops.outputs[0]);
        let (product, sums) = (ops.tensor("product", y.shape)?, ops.tensor("sums", y.shape)?);
        ops.matmul(x, ops.parameters[0], Layout::Nn, product)?;
        ops.add(product, ops.parameters[1], sums)?;
        let omega = self.omega;
        let kernel =
            CustomOp::new("forward", "fn run(i: u32) { y[i] = sin(omega * z[i]); }").read("z", sums).write("y", y);
        ops.run(kernel.constant("omega", omega).invocations(y.len()).twin(1e-4, move |at| {
            let z = at.read("z");
            at.write("y").iter_mut().zip(z).for_each(|(y, z)| *y = (omega * z).sin());
        }))
    }

    fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
        let (dy, z) = (ops.output_gradient(0)?, ops.made("sums")?);
        let dz = ops.tensor("gradient", z.shape)?;
        let text = "fn run(i: u32) { dz[i] = dy[i] * omega * cos(omega * z[i]); }";
        let kernel = CustomOp::new("backward", text).read("dy", dy).read("z", z).write("dz", dz);
        let omega = self.omega;
        ops.run(kernel.constant("omega", omega).invocations(dz.len()).twin(1e-4, move |at| {
            let (dy, z) = (at.read("dy"), at.read("z"));
            for (i, dz) in at.write("dz").iter_mut().enumerate() {
                *dz = dy[i] * omega * (omega * z[i]).cos();
            }
        }))?;
        if let Some(dx) = ops.input_gradients[0] {
            ops.matmul(dz, ops.parameters[0], Layout::Nt, dx)?;
        }
        if let Some(dw) = ops.parameter_gradients[0] {
            ops.matmul(ops.inputs[0], dz, Layout::Tn, dw)?;
        }
        if let Some(db) = ops.parameter_gradients[1] {
            ops.sum_rows(dz, db)?;
        }
        Ok(())
    }
}

fn network() -> Network {
    let sine = |omega| Sine { units: 12, omega };
    Network::input(3).layer(sine(3.0)).layer(sine(2.0)).dense(2, Identity).build().unwrap()
}

#[test]
fn the_lockstep_checks_every_op_of_an_own_layer() {
    let network = network();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(9)).unwrap();
    assert_eq!(plan.step.iter().filter(|op| op.kernel() == "custom").count(), 4, "{plan}");
    // The products take the bias and the optimizer in, as those of a dense layer do.
    assert_eq!(
        plan.step.iter().filter(|op| matches!(op.kernel(), "combine" | "reduce" | "update")).count(),
        0,
        "{plan}"
    );
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 23, 5);
    for _ in 0..4 {
        assert_agree(&mut lockstep, "an own layer");
    }
}

#[test]
fn an_own_layer_trains_on_the_gpu_and_on_the_cpu() {
    let network = network();
    assert_eq!(network.layers().next().unwrap().0, "sine_1");
    assert_eq!(network.parameters()[0].name, "sine_1.weight");
    let rows = 64;
    let x: Vec<f32> = (0..rows * 3).map(|i| (i * 7 % 13) as f32 / 13.0).collect();
    let y: Vec<f32> = x.chunks(3).flat_map(|x| [(3.0 * x[0]).sin() * x[1], x[2] - x[0]]).collect();
    let data = Dataset::from_f32_targets(x, 3, y, 2).unwrap();
    let losses = [Device::from(gpu()), Device::Cpu].map(|device| {
        let config = TrainerConfig { batch: 16, ..TrainerConfig::default() };
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap();
        let before = trainer.evaluate(&data).unwrap().loss;
        trainer.fit(&data, Fit { epochs: 30, ..Fit::default() }, |_| {}).unwrap();
        (before, trainer.evaluate(&data).unwrap().loss)
    });
    for (before, after) in losses {
        assert!(after < before / 10.0, "{losses:?}");
    }
}

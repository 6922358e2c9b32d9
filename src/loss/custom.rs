//! Custom losses.

use std::fmt;

use crate::error::Result;
use crate::expression::{Formula, Twin, check_slope, points};

/// A custom loss: its value and its derivative, as WGSL expressions of an output and its target.
///
/// The loss of a row is the mean over its outputs. The loss of a batch is the mean over its rows. Accuracy is counted
/// as for [`Loss::MeanSquaredError`](super::Loss::MeanSquaredError).
///
/// ```
/// use wgrad::{CustomLoss, Loss};
///
/// static LOG_COSH: CustomLoss = CustomLoss::new("log_cosh", "log(cosh(y - t))", "tanh(y - t)")
///     .twin(|y, t| (y - t).cosh().ln(), |y, t| (y - t).tanh(), 1e-5);
///
/// let loss = Loss::Custom(&LOG_COSH);
/// ```
///
/// An expression consists of the output `y`, the target `t`, numbers, operators and parentheses. It may call WGSL
/// functions of f32, such as `abs`, `log` and `select`.
///
/// - Making a trainer checks and compiles the expressions. It also compares the derivative in Rust with numerical
///   differences of the value in Rust. An error names the loss.
/// - Files store only the name. Register the loss with `wgrad::custom` before loading.
/// - Two losses are equal if their names and expressions are equal.
pub struct CustomLoss {
    formula: Formula<fn(f64, f64) -> f64>,
}

impl CustomLoss {
    /// A loss with a name of letters, digits and underscores. `value` and `derivative` are WGSL expressions of the
    /// output `y` and the target `t`. The derivative is by `y`.
    pub const fn new(name: &'static str, value: &'static str, derivative: &'static str) -> Self {
        Self { formula: Formula::new(name, value, derivative) }
    }

    /// Adds the CPU reference: value and derivative as Rust functions of y and t. Without it, the loss needs a GPU.
    ///
    /// [`Device::Cpu`](crate::Device::Cpu) runs it, and [`lockstep`](crate::lockstep) compares the GPU's results with
    /// it. A result r of the GPU may differ by `share` · max(|r|, 1).
    pub const fn twin(mut self, value: fn(f64, f64) -> f64, derivative: fn(f64, f64) -> f64, share: f64) -> Self {
        self.formula.twin = Some(Twin { value, derivative, share });
        self
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.formula.name
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.formula.check("loss", &["y", "t"])?;
        let Some(twin) = self.formula.twin else { return Ok(()) };
        points().flat_map(|y| [0.0, 0.4, 1.0].map(|t| (y, t))).try_for_each(|(y, t)| {
            let what = format!("derivative in the CPU twin of loss {} at y = {y:.2}, t = {t}", self.name());
            check_slope(&what, |y| (twin.value)(y, t), y, (twin.derivative)(y, t))
        })
    }

    pub(crate) fn without_twin(&self) -> Option<String> {
        self.formula.without_twin("loss", "CustomLoss::twin")
    }

    /// The function that `shaders/pointwise_loss.functions.wgsl.in` calls.
    pub(crate) fn text(&self) -> String {
        let Formula { value, derivative, .. } = self.formula;
        let lines = format!("    let loss: f32 = {value};\n    let slope: f32 = {derivative};\n");
        format!("\nfn loss_of(y: f32, t: f32, norm: f32) -> vec2f {{\n{lines}    return vec2f(loss, slope);\n}}\n")
    }

    pub(crate) fn flops(&self) -> [u64; 2] {
        self.formula.flops()
    }

    /// The loss of an output and its derivative. NaN without a CPU reference.
    pub(crate) fn twin_of(&self, y: f64, t: f64) -> [f64; 2] {
        self.formula.twin.map_or([f64::NAN; 2], |twin| [(twin.value)(y, t), (twin.derivative)(y, t)])
    }

    /// The error bound of a GPU result.
    pub(crate) fn bound(&self, result: f64) -> f64 {
        self.formula.bound(result)
    }
}

impl fmt::Debug for CustomLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for CustomLoss {
    fn eq(&self, other: &Self) -> bool {
        self.formula == other.formula
    }
}

#[cfg(feature = "files")]
pub(crate) static REGISTERED: crate::registry::Registry<&CustomLoss> = crate::registry::Registry::new("loss", |_| None);

#[cfg(feature = "files")]
crate::registry::by_name!(CustomLoss, REGISTERED);

//! An app's own losses.

use std::fmt;

use crate::error::Result;
use crate::expression::{Formula, Twin, check_slope, points};

/// An app's own loss: a function of an output and its target, given as an expression of WGSL, and its derivative by
/// the output. The loss of a row is the mean over its outputs, that of a batch the mean over its rows, as for
/// [`Loss::MeanSquaredError`](super::Loss::MeanSquaredError), and so are rows counted as correct.
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
/// An expression has the variables `y`, the output, and `t`, the target, numbers, operators and parentheses, and calls
/// WGSL's functions of f32, such as `abs`, `log` and `select`.
///
/// Making a trainer checks names and expressions, compares the twin's derivative with differences of the twin's value,
/// and compiles; each error names the loss. Files have the name only: register it with `wgrad::custom`. Equal losses
/// have the same name and the same expressions.
pub struct CustomLoss {
    formula: Formula<fn(f64, f64) -> f64>,
}

impl CustomLoss {
    /// A loss by name, letters, digits and underscores; its value, an expression of the output `y` and the target `t`;
    /// and its derivative by `y`, an expression of both too.
    pub const fn new(name: &'static str, value: &'static str, derivative: &'static str) -> Self {
        Self { formula: Formula::new(name, value, derivative) }
    }

    /// Adds value and derivative in Rust, functions of y and t, for [`Device::Cpu`](crate::Device::Cpu) and for
    /// [`lockstep`](crate::lockstep), which compares a GPU's results with them. A result r of a GPU may be off by
    /// `share` · max(|r|, 1). Without a twin the loss needs a GPU.
    pub const fn twin(mut self, value: fn(f64, f64) -> f64, derivative: fn(f64, f64) -> f64, share: f64) -> Self {
        self.formula.twin = Some(Twin { value, derivative, share });
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.formula.name
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.formula.check("loss", &["y", "t"])?;
        let Some(twin) = self.formula.twin else { return Ok(()) };
        points().flat_map(|y| [0.0, 0.4, 1.0].map(|t| (y, t))).try_for_each(|(y, t)| {
            let what = format!("twin's derivative of loss {} at y = {y:.2}, t = {t}", self.name());
            check_slope(&what, |y| (twin.value)(y, t), y, (twin.derivative)(y, t))
        })
    }

    pub(crate) fn without_twin(&self) -> Option<String> {
        self.formula.without_twin("loss", "CustomLoss::twin")
    }

    /// The function of `shaders/pointwise_loss.functions.wgsl.in`.
    pub(crate) fn text(&self) -> String {
        let Formula { value, derivative, .. } = self.formula;
        let lines = format!("    let loss: f32 = {value};\n    let slope: f32 = {derivative};\n");
        format!("\nfn loss_of(y: f32, t: f32) -> vec2f {{\n{lines}    return vec2f(loss, slope);\n}}\n")
    }

    pub(crate) fn flops(&self) -> [u64; 2] {
        self.formula.flops()
    }

    /// The loss of one output and its derivative; NaN without a twin.
    pub(crate) fn twin_of(&self, y: f64, t: f64) -> [f64; 2] {
        self.formula.twin.map_or([f64::NAN; 2], |twin| [(twin.value)(y, t), (twin.derivative)(y, t)])
    }

    /// How far a result may be off.
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
pub(crate) static REGISTERED: crate::registry::Registry<&CustomLoss> = crate::registry::Registry::new("loss");

#[cfg(feature = "files")]
crate::registry::by_name!(CustomLoss, REGISTERED);

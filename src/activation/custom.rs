//! An app's own activations.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use crate::error::Result;
use crate::expression::{Formula, Twin, check_slope, points};

/// An app's own activation: a function of one number, given as an expression of WGSL, and its derivative. It goes
/// wherever an [`Activation`](super::Activation) goes, and is fused as the others are.
///
/// ```
/// use wgrad::{Activation, CustomActivation, Network};
///
/// static SNAKE: CustomActivation = CustomActivation::new("snake", "z + sin(z) * sin(z)", "1.0 + sin(2.0 * z)")
///     .twin(|z| z + z.sin().powi(2), |z| 1.0 + (2.0 * z).sin(), 1e-5);
///
/// let network = Network::input(2).dense(64, Activation::Custom(&SNAKE)).dense(1, Activation::Identity).build()?;
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// An expression has the variable `z`, numbers, operators and parentheses, and calls WGSL's functions of f32, such as
/// `sin`, `exp` and `select`. NaN should stay NaN, so that a network that diverges shows.
///
/// Building a network checks names and expressions, and compares the twin's derivative with differences of the twin's
/// value. What does not compile is found when a trainer or a model is made; the error names the activation. Files
/// have the name only: register it with `wgrad::custom`. Equal activations have the same name and the same expressions.
pub struct CustomActivation {
    formula: Formula<fn(f64) -> f64>,
    text: OnceLock<String>,
}

impl CustomActivation {
    /// An activation by name, letters, digits and underscores; its value, an expression of its input `z`; and its
    /// derivative, an expression of `z` too.
    pub const fn new(name: &'static str, value: &'static str, derivative: &'static str) -> Self {
        Self { formula: Formula::new(name, value, derivative), text: OnceLock::new() }
    }

    /// Adds value and derivative in Rust, for [`Device::Cpu`](crate::Device::Cpu) and for
    /// [`lockstep`](crate::lockstep), which compares a GPU's results with them. A result y of a GPU may be off by
    /// `share` · max(|y|, 1), beside what its input is off by. Without a twin the activation needs a GPU.
    ///
    /// WGSL lets `sin` and `cos` err by 2⁻¹¹ between −π and π, and `exp(x)` by 3 + 2|x| units in the last place.
    pub const fn twin(mut self, value: fn(f64) -> f64, derivative: fn(f64) -> f64, share: f64) -> Self {
        self.formula.twin = Some(Twin { value, derivative, share });
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.formula.name
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.formula.check("activation", &["z"])?;
        let Some(twin) = self.formula.twin else { return Ok(()) };
        points().try_for_each(|z| {
            let what = format!("twin's derivative of activation {} at z = {z:.2}", self.name());
            check_slope(&what, twin.value, z, (twin.derivative)(z))
        })
    }

    pub(crate) fn without_twin(&self) -> Option<String> {
        self.formula.without_twin("activation", "CustomActivation::twin")
    }

    /// Tells apart what has the same name but other expressions, for names in a text.
    pub(crate) fn hash(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.formula.value, self.formula.derivative).hash(&mut hasher);
        hasher.finish() as u32
    }

    /// As [`Activation::text`](super::Activation::text).
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let of_four = |function: &str, expression: &str| {
                let of = |axis| format!("    {{ let z = input.{axis}; y.{axis} = {expression}; }}\n");
                let each = ["x", "y", "z", "w"].map(of).concat();
                format!("\nfn {function}(input: vec4f) -> vec4f {{\n    var y: vec4f;\n{each}    return y;\n}}\n")
            };
            let Formula { value, derivative, .. } = self.formula;
            [super::functions::SHARED, &of_four("activate", value), &of_four("derivative", derivative)].concat()
        })
    }

    pub(super) fn flops(&self) -> [u64; 2] {
        self.formula.flops()
    }

    /// NaN without a twin: what would need it asks [`without_twin`](Self::without_twin) before.
    pub(super) fn value(&self, z: f64) -> f64 {
        self.formula.twin.map_or(f64::NAN, |twin| (twin.value)(z))
    }

    pub(super) fn derivative(&self, z: f64) -> f64 {
        self.formula.twin.map_or(f64::NAN, |twin| (twin.derivative)(z))
    }

    /// How far a value may be off where z may be by `error`.
    pub(super) fn value_bound(&self, z: f64, error: f64) -> f64 {
        let y = self.value(z);
        let moved = [z - error, z + error].map(|z| (self.value(z) - y).abs());
        moved[0].max(moved[1]) + self.formula.bound(y)
    }

    pub(super) fn derivative_bound(&self, z: f64) -> f64 {
        self.formula.bound(self.derivative(z))
    }
}

impl fmt::Debug for CustomActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for CustomActivation {
    fn eq(&self, other: &Self) -> bool {
        self.formula == other.formula
    }
}

#[cfg(feature = "files")]
pub(crate) static REGISTERED: crate::registry::Registry<&CustomActivation> =
    crate::registry::Registry::new("activation");

#[cfg(feature = "files")]
crate::registry::by_name!(CustomActivation, REGISTERED);
